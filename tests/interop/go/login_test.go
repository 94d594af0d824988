package interop

import (
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/jcmturner/gokrb5/v8/client"
	"github.com/jcmturner/gokrb5/v8/config"
	"github.com/jcmturner/gokrb5/v8/keytab"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/kerberos"
	"github.com/twmb/franz-go/pkg/sasl/oauth"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"
	xdg "github.com/xdg-go/scram"
)

// franzLogin is what KAFKA_SASL says to franz-go; nil without it.
func franzLogin(t *testing.T) sasl.Mechanism {
	t.Helper()
	mechanism, user, password := login()
	switch mechanism {
	case "":
		return nil
	case "PLAIN":
		return plain.Auth{User: user, Pass: password}.AsMechanism()
	case "SCRAM-SHA-256":
		return scram.Auth{User: user, Pass: password}.AsSha256Mechanism()
	case "SCRAM-SHA-512":
		return scram.Auth{User: user, Pass: password}.AsSha512Mechanism()
	case "OAUTHBEARER":
		return oauth.Auth{Token: password}.AsMechanism()
	case "GSSAPI": // the password is the file with the user's key
		name, realm, _ := strings.Cut(user, "@")
		settings, err := config.Load(os.Getenv("KRB5_CONFIG"))
		check(t, err)
		keys, err := keytab.Load(password)
		check(t, err)
		krb5 := client.NewWithKeytab(name, realm, keys, settings)
		t.Cleanup(krb5.Destroy)
		return kerberos.Auth{Client: krb5, Service: "kafka", PersistAfterAuth: true}.AsMechanism()
	}
	t.Fatal("unknown mechanism " + mechanism)
	return nil
}

// saramaSCRAM is what Sarama leaves to its users.
type saramaSCRAM struct {
	hash xdg.HashGeneratorFcn
	*xdg.ClientConversation
}

func (s *saramaSCRAM) Begin(user, password, authorizationID string) error {
	client, err := s.hash.NewClient(user, password, authorizationID)
	if err == nil {
		s.ClientConversation = client.NewConversation()
	}
	return err
}

type saramaToken string

func (s saramaToken) Token() (*sarama.AccessToken, error) {
	return &sarama.AccessToken{Token: string(s)}, nil
}

// saramaLogin does the same with Sarama.
func saramaLogin(config *sarama.Config) {
	mechanism, user, password := login()
	if mechanism == "" {
		return
	}
	config.Net.SASL.Enable = true
	config.Net.SASL.Mechanism = sarama.SASLMechanism(mechanism)
	config.Net.SASL.User, config.Net.SASL.Password = user, password
	switch mechanism {
	case sarama.SASLTypeSCRAMSHA256:
		config.Net.SASL.SCRAMClientGeneratorFunc = func() sarama.SCRAMClient { return &saramaSCRAM{hash: sha256.New} }
	case sarama.SASLTypeSCRAMSHA512:
		config.Net.SASL.SCRAMClientGeneratorFunc = func() sarama.SCRAMClient { return &saramaSCRAM{hash: sha512.New} }
	case sarama.SASLTypeOAuth:
		config.Net.SASL.TokenProvider = saramaToken(password)
	case sarama.SASLTypeGSSAPI:
		name, realm, _ := strings.Cut(user, "@")
		config.Net.SASL.GSSAPI = sarama.GSSAPIConfig{
			AuthType: sarama.KRB5_KEYTAB_AUTH, KeyTabPath: password, KerberosConfigPath: os.Getenv("KRB5_CONFIG"),
			ServiceName: "kafka", Username: name, Realm: realm,
		}
	}
}

// count is how many records a login writes and reads.
func count(t *testing.T) int {
	t.Helper()
	number, err := strconv.Atoi(os.Getenv("KAFKA_COUNT"))
	check(t, err)
	return number
}

// TestFranzLogin creates a topic, writes records and reads them as a group.
func TestFranzLogin(t *testing.T) {
	producer, admin, ctx := franz(t)
	topic := franzTopic(t, admin, ctx, 1)
	records := make([]*kgo.Record, count(t))
	for i := range records {
		records[i] = &kgo.Record{Topic: topic, Value: []byte(fmt.Sprint(i))}
	}
	check(t, producer.ProduceSync(ctx, records...).FirstErr())
	member, _, _ := franz(t, kgo.ConsumerGroup(topic), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	for seen := 0; seen < len(records); {
		fetches := member.PollFetches(ctx)
		check(t, fetches.Err())
		fetches.EachRecord(func(record *kgo.Record) {
			if string(record.Value) != fmt.Sprint(seen) {
				t.Fatalf("record %d is %q", seen, record.Value)
			}
			seen++
		})
	}
}

// TestSaramaLogin does the same.
func TestSaramaLogin(t *testing.T) {
	topic := saramaTopic(t, saramaAdmin(t), 1)
	producer, err := sarama.NewSyncProducer([]string{bootstrap(t)}, saramaConfig(t))
	check(t, err)
	defer producer.Close()
	messages := make([]*sarama.ProducerMessage, count(t))
	for i := range messages {
		messages[i] = &sarama.ProducerMessage{Topic: topic, Value: sarama.StringEncoder(fmt.Sprint(i))}
	}
	check(t, producer.SendMessages(messages))
	member, err := sarama.NewConsumerGroup([]string{bootstrap(t)}, topic, saramaConfig(t))
	check(t, err)
	defer member.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	seen := collector{make(chan string, len(messages))}
	failed := make(chan error, 1)
	go func() {
		for ctx.Err() == nil {
			if err := member.Consume(ctx, []string{topic}, seen); err != nil {
				failed <- err
				return
			}
		}
	}()
	for i := range messages {
		select {
		case value := <-seen.seen:
			if value != fmt.Sprint(i) {
				t.Fatalf("record %d is %q", i, value)
			}
		case err := <-failed:
			t.Fatal(err)
		case <-ctx.Done():
			t.Fatalf("only %d records came", i)
		}
	}
}
