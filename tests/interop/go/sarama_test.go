package interop

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/IBM/sarama"
)

func saramaConfig(t *testing.T) *sarama.Config {
	t.Helper()
	config := sarama.NewConfig()
	config.Net.TLS.Config = tlsConfig(t)
	config.Net.TLS.Enable = config.Net.TLS.Config != nil
	saramaLogin(config)
	config.Version = sarama.V3_6_0_0
	config.Producer.RequiredAcks = sarama.WaitForAll
	config.Producer.Return.Successes = true
	config.Consumer.Offsets.Initial = sarama.OffsetOldest
	config.Consumer.Group.Heartbeat.Interval = 100 * time.Millisecond
	return config
}

func saramaTopic(t *testing.T, admin sarama.ClusterAdmin, partitions int32) string {
	t.Helper()
	topic := unique("sarama")
	check(t, admin.CreateTopic(topic, &sarama.TopicDetail{NumPartitions: partitions, ReplicationFactor: 1}, false))
	return topic
}

func saramaAdmin(t *testing.T) sarama.ClusterAdmin {
	t.Helper()
	admin, err := sarama.NewClusterAdmin([]string{bootstrap(t)}, saramaConfig(t))
	check(t, err)
	t.Cleanup(func() { _ = admin.Close() })
	return admin
}

func TestSaramaCodecs(t *testing.T) {
	admin := saramaAdmin(t)
	codecs := []sarama.CompressionCodec{
		sarama.CompressionNone, sarama.CompressionGZIP, sarama.CompressionSnappy, sarama.CompressionLZ4, sarama.CompressionZSTD,
	}
	for _, codec := range codecs {
		for _, idempotent := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s idempotent=%v", codec, idempotent), func(t *testing.T) {
				topic := saramaTopic(t, admin, 1)
				config := saramaConfig(t)
				config.Producer.Compression = codec
				config.Producer.Idempotent = idempotent
				if idempotent {
					config.Net.MaxOpenRequests = 1
				}
				producer, err := sarama.NewSyncProducer([]string{bootstrap(t)}, config)
				check(t, err)
				defer producer.Close()
				messages := make([]*sarama.ProducerMessage, 50)
				for i := range messages {
					messages[i] = &sarama.ProducerMessage{
						Topic: topic, Key: sarama.StringEncoder(fmt.Sprint(i)), Value: sarama.StringEncoder("value"),
						Headers: []sarama.RecordHeader{{Key: []byte("h"), Value: []byte{byte(i)}}},
					}
				}
				check(t, producer.SendMessages(messages))
				consumer, err := sarama.NewConsumer([]string{bootstrap(t)}, config)
				check(t, err)
				defer consumer.Close()
				partition, err := consumer.ConsumePartition(topic, 0, sarama.OffsetOldest)
				check(t, err)
				defer partition.Close()
				for i := range messages {
					select {
					case message := <-partition.Messages():
						if message.Offset != int64(i) || string(message.Key) != fmt.Sprint(i) || message.Headers[0].Value[0] != byte(i) {
							t.Fatalf("message %d is %+v", i, message)
						}
					case <-time.After(20 * time.Second):
						t.Fatalf("message %d did not come", i)
					}
				}
			})
		}
	}
}

type collector struct{ seen chan string }

func (collector) Setup(sarama.ConsumerGroupSession) error   { return nil }
func (collector) Cleanup(sarama.ConsumerGroupSession) error { return nil }
func (c collector) ConsumeClaim(session sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	for message := range claim.Messages() {
		session.MarkMessage(message, "")
		c.seen <- string(message.Value)
	}
	return nil
}

func TestSaramaGroup(t *testing.T) {
	admin := saramaAdmin(t)
	topic, group := saramaTopic(t, admin, 3), unique("sarama-group")
	producer, err := sarama.NewSyncProducer([]string{bootstrap(t)}, saramaConfig(t))
	check(t, err)
	defer producer.Close()
	for i := 0; i < 30; i++ {
		_, _, err = producer.SendMessage(&sarama.ProducerMessage{Topic: topic, Value: sarama.StringEncoder(fmt.Sprint(i))})
		check(t, err)
	}
	config := saramaConfig(t)
	config.Consumer.Group.Rebalance.GroupStrategies = []sarama.BalanceStrategy{sarama.NewBalanceStrategySticky()}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	seen := collector{make(chan string, 100)}
	for i := 0; i < 2; i++ {
		member, err := sarama.NewConsumerGroup([]string{bootstrap(t)}, group, config)
		check(t, err)
		defer member.Close()
		go func() {
			for ctx.Err() == nil {
				if member.Consume(ctx, []string{topic}, seen) != nil {
					return
				}
			}
		}()
	}
	values := map[string]bool{}
	for len(values) < 30 {
		select {
		case value := <-seen.seen:
			values[value] = true
		case <-ctx.Done():
			t.Fatalf("only %d values came", len(values))
		}
	}
	groups, err := admin.ListConsumerGroups()
	check(t, err)
	if groups[group] != "consumer" {
		t.Fatalf("groups are %v", groups)
	}
}

func TestSaramaAdmin(t *testing.T) {
	admin := saramaAdmin(t)
	topic := saramaTopic(t, admin, 1)
	check(t, admin.CreatePartitions(topic, 2, nil, false))
	value := "120000"
	check(t, admin.IncrementalAlterConfig(sarama.TopicResource, topic,
		map[string]sarama.IncrementalAlterConfigsEntry{
			"retention.ms": {Operation: sarama.IncrementalAlterConfigsOperationSet, Value: &value}}, false))
	entries, err := admin.DescribeConfig(sarama.ConfigResource{Type: sarama.TopicResource, Name: topic})
	check(t, err)
	for _, entry := range entries {
		if entry.Name == "retention.ms" && entry.Value != value {
			t.Fatalf("retention.ms is %s", entry.Value)
		}
	}
	details, err := admin.DescribeTopics([]string{topic})
	check(t, err)
	if len(details[0].Partitions) != 2 {
		t.Fatalf("topic is %+v", details[0])
	}
	brokers, _, err := admin.DescribeCluster()
	check(t, err)
	if len(brokers) != 1 {
		t.Fatalf("brokers are %v", brokers)
	}
	if _, err = admin.DescribeLogDirs([]int32{brokers[0].ID()}); err != nil {
		t.Fatal(err)
	}
	check(t, admin.DeleteRecords(topic, map[int32]int64{0: 0}))
	check(t, admin.DeleteTopic(topic))
}
