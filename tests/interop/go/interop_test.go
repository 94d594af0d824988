// Package interop talks to the broker named by KAFKA_BOOTSTRAP with franz-go and Sarama.
package interop

import (
	"crypto/rand"
	"encoding/hex"
	"os"
	"testing"
)

func bootstrap(t *testing.T) string {
	t.Helper()
	address := os.Getenv("KAFKA_BOOTSTRAP")
	if address == "" {
		t.Skip("KAFKA_BOOTSTRAP is not set")
	}
	return address
}

// unique makes names of topics and groups that nobody has used.
func unique(prefix string) string {
	bytes := make([]byte, 4)
	_, _ = rand.Read(bytes)
	return prefix + "-" + hex.EncodeToString(bytes)
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
