// Package interop talks to the broker named by KAFKA_BOOTSTRAP with franz-go and Sarama; through TLS when KAFKA_CA names
// the file of an authority's certificates, showing the certificate in KAFKA_CERTIFICATE when that names one; with SASL when
// KAFKA_SASL is MECHANISM:USER:PASSWORD, where the password may be a token for OAUTHBEARER, or a key tab for GSSAPI.
package interop

import (
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"os"
	"strings"
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

// tlsConfig is nil for plaintext.
func tlsConfig(t *testing.T) *tls.Config {
	t.Helper()
	path := os.Getenv("KAFKA_CA")
	if path == "" {
		return nil
	}
	trusted, err := os.ReadFile(path)
	check(t, err)
	config := &tls.Config{RootCAs: x509.NewCertPool()}
	if !config.RootCAs.AppendCertsFromPEM(trusted) {
		t.Fatal("no certificate in " + path)
	}
	if own := os.Getenv("KAFKA_CERTIFICATE"); own != "" {
		pair, err := tls.LoadX509KeyPair(own, own)
		check(t, err)
		config.Certificates = []tls.Certificate{pair}
	}
	return config
}

// login is what KAFKA_SASL says; the mechanism is empty without it.
func login() (mechanism, user, password string) {
	parts := strings.SplitN(os.Getenv("KAFKA_SASL"), ":", 3)
	if len(parts) < 3 {
		return "", "", ""
	}
	return parts[0], parts[1], parts[2]
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
