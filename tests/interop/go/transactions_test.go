package interop

import (
	"fmt"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kgo"
)

// committed reads as many records of partition 0 as there are before the last stable offset.
func committed(t *testing.T, topic string, count int) []string {
	t.Helper()
	consumer, _, ctx := franz(t, kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.ConsumePartitions(
		map[string]map[int32]kgo.Offset{topic: {0: kgo.NewOffset().AtStart()}}))
	values := []string{}
	for len(values) < count {
		fetches := consumer.PollFetches(ctx)
		check(t, fetches.Err())
		fetches.EachRecord(func(record *kgo.Record) { values = append(values, string(record.Value)) })
	}
	return values
}

// checkNumbers: value i is the number i, and there are no more.
func checkNumbers(t *testing.T, values []string, count int) {
	t.Helper()
	if len(values) != count {
		t.Fatalf("%d values: %v", len(values), values)
	}
	for i, value := range values {
		if value != fmt.Sprint(i) {
			t.Fatalf("value %d is %s", i, value)
		}
	}
}

// A session that consumes, transforms and produces; every second transaction is aborted, and its input comes again.
func TestFranzTransactions(t *testing.T) {
	const count = 60
	producer, admin, ctx := franz(t)
	input, output := franzTopic(t, admin, ctx, 1), franzTopic(t, admin, ctx, 1)
	for i := 0; i < count; i++ {
		check(t, producer.ProduceSync(ctx, &kgo.Record{Topic: input, Value: []byte(fmt.Sprint(i))}).FirstErr())
	}
	session, err := kgo.NewGroupTransactSession(
		kgo.SeedBrokers(bootstrap(t)), kgo.TransactionalID(unique("franz-transaction")), kgo.ConsumerGroup(unique("franz-group")),
		kgo.ConsumeTopics(input), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.RequireStableFetchOffsets(),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	check(t, err)
	defer session.Close()
	for done, turn := 0, 0; done < count; turn++ {
		fetches := session.PollRecords(ctx, 10)
		check(t, fetches.Err())
		check(t, session.Begin())
		fetches.EachRecord(func(record *kgo.Record) {
			session.Produce(ctx, &kgo.Record{Topic: output, Value: record.Value}, nil)
		})
		check(t, session.Client().Flush(ctx)) // also what is aborted reaches the broker
		commits := turn%2 == 1
		ended, err := session.End(ctx, kgo.TransactionEndTry(commits))
		check(t, err)
		if ended != commits {
			t.Fatalf("transaction %d: committed is %v", turn, ended)
		}
		if ended {
			done += fetches.NumRecords()
		}
	}
	checkNumbers(t, committed(t, output, count), count)
	ends, err := admin.ListEndOffsets(ctx, output)
	check(t, err)
	if end, _ := ends.Lookup(output, 0); end.Offset < 2*count {
		t.Fatalf("the log ends at %d: nothing was aborted", end.Offset)
	}
}

// A transactional producer that commits records and the offset of a group, and aborts both.
func TestSaramaTransactions(t *testing.T) {
	admin := saramaAdmin(t)
	topic, group := saramaTopic(t, admin, 1), unique("sarama-group")
	config := saramaConfig(t)
	config.Producer.Idempotent = true
	config.Producer.Transaction.ID = unique("sarama-transaction")
	config.Net.MaxOpenRequests = 1
	producer, err := sarama.NewSyncProducer([]string{bootstrap(t)}, config)
	check(t, err)
	defer producer.Close()
	count, offset := 0, func() int64 {
		found, err := admin.ListConsumerGroupOffsets(group, map[string][]int32{topic: {0}})
		check(t, err)
		return found.GetBlock(topic, 0).Offset
	}
	for turn := 0; turn < 6; turn++ {
		check(t, producer.BeginTxn())
		for i := count; i < count+5; i++ {
			_, _, err := producer.SendMessage(&sarama.ProducerMessage{Topic: topic, Value: sarama.StringEncoder(fmt.Sprint(i))})
			check(t, err)
		}
		position := []*sarama.PartitionOffsetMetadata{{Partition: 0, Offset: int64(turn + 1)}}
		check(t, producer.AddOffsetsToTxn(map[string][]*sarama.PartitionOffsetMetadata{topic: position}, group))
		if turn%2 == 0 {
			check(t, producer.AbortTxn())
			continue
		}
		check(t, producer.CommitTxn())
		count += 5
		deadline := time.Now().Add(20 * time.Second) // pending offsets are shown when the marker is written
		for offset() != int64(turn+1) {
			if time.Now().After(deadline) {
				t.Fatalf("the offset is %d", offset())
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
	checkNumbers(t, committed(t, topic, count), count)
}
