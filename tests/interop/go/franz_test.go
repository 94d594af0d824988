package interop

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

func franz(t *testing.T, options ...kgo.Opt) (*kgo.Client, *kadm.Client, context.Context) {
	t.Helper()
	options = append(options, kgo.SeedBrokers(bootstrap(t)))
	if config := tlsConfig(t); config != nil {
		options = append(options, kgo.DialTLSConfig(config))
	}
	if mechanism := franzLogin(t); mechanism != nil {
		options = append(options, kgo.SASL(mechanism))
	}
	client, err := kgo.NewClient(options...)
	check(t, err)
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(func() { client.Close(); cancel() })
	return client, kadm.NewClient(client), ctx
}

func franzTopic(t *testing.T, admin *kadm.Client, ctx context.Context, partitions int32) string {
	t.Helper()
	topic := unique("franz")
	created, err := admin.CreateTopics(ctx, partitions, 1, nil, topic)
	check(t, err)
	check(t, created[topic].Err)
	return topic
}

func TestFranzCodecs(t *testing.T) {
	codecs := map[string]kgo.CompressionCodec{
		"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(),
		"lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
	}
	for name, codec := range codecs {
		t.Run(name, func(t *testing.T) {
			producer, admin, ctx := franz(t, kgo.ProducerBatchCompression(codec))
			topic := franzTopic(t, admin, ctx, 1)
			records := make([]*kgo.Record, 100)
			for i := range records {
				records[i] = &kgo.Record{
					Topic: topic, Key: []byte(fmt.Sprint(i)), Value: make([]byte, 500),
					Headers: []kgo.RecordHeader{{Key: "h", Value: []byte{byte(i)}}}, Timestamp: time.UnixMilli(1e12 + int64(i)),
				}
			}
			records[7].Value = nil
			check(t, producer.ProduceSync(ctx, records...).FirstErr())
			consumer, _, _ := franz(t, kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
			seen := 0
			for seen < len(records) {
				fetches := consumer.PollFetches(ctx)
				check(t, fetches.Err())
				fetches.EachRecord(func(record *kgo.Record) {
					want := records[seen]
					if string(record.Key) != string(want.Key) || record.Offset != int64(seen) ||
						!record.Timestamp.Equal(want.Timestamp) || (record.Value == nil) != (seen == 7) ||
						len(record.Headers) != 1 || record.Headers[0].Value[0] != byte(seen) {
						t.Fatalf("record %d is %+v", seen, record)
					}
					seen++
				})
			}
		})
	}
}

func TestFranzCooperativeGroup(t *testing.T) {
	_, admin, ctx := franz(t)
	topic, group := franzTopic(t, admin, ctx, 6), unique("franz-group")
	var mutex sync.Mutex
	owned := map[string]map[int32]bool{}
	member := func(name string) *kgo.Client {
		owned[name] = map[int32]bool{}
		change := func(add bool) func(context.Context, *kgo.Client, map[string][]int32) {
			return func(_ context.Context, _ *kgo.Client, changed map[string][]int32) {
				mutex.Lock()
				defer mutex.Unlock()
				for _, partition := range changed[topic] {
					if add {
						owned[name][partition] = true
					} else {
						delete(owned[name], partition)
					}
				}
			}
		}
		client, _, _ := franz(t, kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic), kgo.HeartbeatInterval(100*time.Millisecond),
			kgo.Balancers(kgo.CooperativeStickyBalancer()), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
			kgo.OnPartitionsAssigned(change(true)), kgo.OnPartitionsRevoked(change(false)), kgo.OnPartitionsLost(change(false)))
		go func() {
			for ctx.Err() == nil {
				if client.PollFetches(ctx).IsClientClosed() {
					return
				}
			}
		}()
		return client
	}
	waitFor := func(counts map[string]int) {
		t.Helper()
		for ctx.Err() == nil {
			mutex.Lock()
			done := true
			for name, count := range counts {
				done = done && len(owned[name]) == count
			}
			mutex.Unlock()
			if done {
				return
			}
			time.Sleep(20 * time.Millisecond)
		}
		t.Fatalf("assignment never became %v: %v", counts, owned)
	}
	first := member("first")
	waitFor(map[string]int{"first": 6})
	second := member("second")
	waitFor(map[string]int{"first": 3, "second": 3})
	described, err := admin.DescribeGroups(ctx, group)
	check(t, err)
	if len(described[group].Members) != 2 || described[group].Protocol != "cooperative-sticky" {
		t.Fatalf("described as %+v", described[group])
	}
	second.Close()
	waitFor(map[string]int{"first": 6})
	first.Close()
}

func TestFranzAdmin(t *testing.T) {
	producer, admin, ctx := franz(t)
	topic := franzTopic(t, admin, ctx, 2)
	again, err := admin.CreateTopics(ctx, 2, 1, nil, topic)
	check(t, err)
	if !errors.Is(again[topic].Err, kerr.TopicAlreadyExists) {
		t.Fatal(again[topic].Err)
	}
	for i := int32(0); i < 10; i++ {
		check(t, producer.ProduceSync(ctx, &kgo.Record{Topic: topic, Value: []byte("v")}).FirstErr())
	}
	ends, err := admin.ListEndOffsets(ctx, topic)
	check(t, err)
	total := int64(0)
	ends.Each(func(offset kadm.ListedOffset) { check(t, offset.Err); total += offset.Offset })
	if total != 10 {
		t.Fatalf("%d records", total)
	}
	grown, err := admin.CreatePartitions(ctx, 1, topic)
	check(t, err)
	check(t, grown[topic].Err)
	details, err := admin.ListTopics(ctx, topic)
	check(t, err)
	if len(details[topic].Partitions) != 3 {
		t.Fatalf("topic is %+v", details[topic])
	}
	value := "60000"
	altered, err := admin.AlterTopicConfigs(ctx, []kadm.AlterConfig{{Name: "retention.ms", Value: &value}}, topic)
	check(t, err)
	check(t, altered[0].Err)
	configs, err := admin.DescribeTopicConfigs(ctx, topic)
	check(t, err)
	for _, config := range configs[0].Configs {
		if config.Key == "retention.ms" && config.MaybeValue() != value {
			t.Fatalf("retention.ms is %s", config.MaybeValue())
		}
	}
	group := unique("franz-offsets")
	offsets := kadm.Offsets{}
	offsets.AddOffset(topic, 0, 3, -1)
	check(t, admin.CommitAllOffsets(ctx, group, offsets))
	fetched, err := admin.FetchOffsets(ctx, group)
	check(t, err)
	if committed, _ := fetched.Lookup(topic, 0); committed.At != 3 {
		t.Fatalf("committed offset is %+v", committed)
	}
	lag, err := admin.Lag(ctx, group)
	check(t, err)
	described := lag[group]
	check(t, described.Error())
	_, err = admin.DeleteRecords(ctx, kadm.Offsets{topic: {0: {Topic: topic, Partition: 0, At: -1}}})
	check(t, err)
	dirs, err := admin.DescribeAllLogDirs(ctx, nil)
	check(t, err)
	if len(dirs) != 1 {
		t.Fatalf("log dirs are %+v", dirs)
	}
	deleted, err := admin.DeleteGroups(ctx, group)
	check(t, err)
	check(t, deleted[group].Err)
	gone, err := admin.DeleteTopics(ctx, topic)
	check(t, err)
	check(t, gone[topic].Err)
}
