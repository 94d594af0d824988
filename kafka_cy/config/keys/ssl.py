"""Keys of TLS."""

from typing import Final

from kafka_cy.config.types import Entry

_NO_PEERS: Final = "ignored: kafka-cy runs as a single broker and sends no requests to other brokers"
_NO_JVM: Final = "ignored: TLS uses OpenSSL, not Java's security providers"
_NO_PRINCIPALS: Final = "ignored: there is no authorizer yet, so no user names are needed"

KEYS: Final[tuple[Entry, ...]] = (
    ("security.providers", "STRING", None, "read-only", None, "LOW", _NO_JVM,
     "Java security providers."),
    ("ssl.allow.dn.changes", "BOOLEAN", "false", "read-only", None, "LOW", "server",
     "Whether a new certificate can have another distinguished name."),
    ("ssl.allow.san.changes", "BOOLEAN", "false", "read-only", None, "LOW", "server",
     "Whether a new certificate can lack alternative names of the old one."),
    ("ssl.cipher.suites", "LIST", "", "per-broker", None, "MEDIUM", "security",
     "Cipher suites. Empty: the library's default."),
    ("ssl.client.auth", "STRING", "none", "per-broker", ("in", "required", "requested", "none"), "MEDIUM", "security",
     "Whether a client certificate is required, requested or not asked for."),
    ("ssl.enabled.protocols", "LIST", "TLSv1.2,TLSv1.3", "per-broker", ("list_not_empty",), "MEDIUM", "security",
     "TLS versions."),
    ("ssl.endpoint.identification.algorithm", "STRING", "https", "per-broker", None, "LOW", _NO_PEERS,
     "Algorithm that checks the host name in a server's certificate. Empty: no check."),
    ("ssl.engine.factory.class", "CLASS", None, "per-broker", None, "LOW", "security",
     "Java class that creates TLS engines. Setting it stops the start of a TLS listener."),
    ("ssl.key.password", "PASSWORD", None, "per-broker", None, "MEDIUM", "security",
     "Password of the private key."),
    ("ssl.keymanager.algorithm", "STRING", "SunX509", "per-broker", None, "MEDIUM", _NO_JVM,
     "Algorithm of Java's key manager."),
    ("ssl.keystore.certificate.chain", "PASSWORD", None, "per-broker", None, "MEDIUM", "security",
     "Certificate chain as PEM text."),
    ("ssl.keystore.key", "PASSWORD", None, "per-broker", None, "MEDIUM", "security",
     "Private key as PEM text."),
    ("ssl.keystore.location", "STRING", None, "per-broker", None, "MEDIUM", "security",
     "File with the broker's private key and certificates."),
    ("ssl.keystore.password", "PASSWORD", None, "per-broker", None, "MEDIUM", "security",
     "Password of the key store."),
    ("ssl.keystore.type", "STRING", "JKS", "per-broker", None, "MEDIUM", "security",
     "Format of the key store."),
    ("ssl.principal.mapping.rules", "STRING", "DEFAULT", "read-only", None, "LOW", _NO_PRINCIPALS,
     "Rules that map distinguished names to user names."),
    ("ssl.protocol", "STRING", "TLSv1.3", "per-broker",
     None, "MEDIUM", "ignored: ssl.enabled.protocols selects the TLS versions",
     "TLS version of a Java SSL context."),
    ("ssl.provider", "STRING", None, "per-broker", None, "MEDIUM", _NO_JVM,
     "Java security provider for TLS."),
    ("ssl.secure.random.implementation", "STRING", None, "per-broker", None, "LOW", _NO_JVM,
     "Java's random number generator for TLS."),
    ("ssl.trustmanager.algorithm", "STRING", "PKIX", "per-broker", None, "MEDIUM", _NO_JVM,
     "Algorithm of Java's trust manager."),
    ("ssl.truststore.certificates", "PASSWORD", None, "per-broker", None, "MEDIUM", "security",
     "Trusted certificates as PEM text."),
    ("ssl.truststore.location", "STRING", None, "per-broker", None, "MEDIUM", "security",
     "File with the trusted certificates."),
    ("ssl.truststore.password", "PASSWORD", None, "per-broker", None, "MEDIUM", "security",
     "Password of the trust store."),
    ("ssl.truststore.type", "STRING", "JKS", "per-broker", None, "MEDIUM", "security",
     "Format of the trust store."),
)
