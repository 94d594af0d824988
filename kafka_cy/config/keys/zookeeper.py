"""Keys of a member of a cluster: ZooKeeper, the controller, controlled shutdown. Apache Kafka 4 does not have them."""

from typing import Final

from kafka_cy.config.types import Entry

_NO_REVOCATION: Final = "refused: kafka-cy does not ask whether certificates are revoked, and starting without it would be unsafe"
_OPENSSL: Final = "ignored: zookeeper.ssl.enabled.protocols selects the TLS versions"
_NO_NETTY: Final = "ignored: zookeeper.ssl.client.enable alone decides whether TLS is used"
_NO_MIGRATION: Final = "refused: kafka-cy cannot take part in a migration from ZooKeeper to KRaft"

#: Apache Kafka 4 does not know these keys, so clients do not see them.
INTERNAL_KEYS: Final[tuple[Entry, ...]] = (
    ("broker.id.generation.enable", "BOOLEAN", "true", "read-only", None, "MEDIUM", "in a cluster: config",
     "Whether a broker without an id gets one from ZooKeeper, above reserved.broker.max.id."),
    ("control.plane.listener.name", "STRING", None, "read-only", None, "HIGH", "in a cluster: config",
     "Listener on which the controller sends its requests to the brokers. All listeners accept them; unset: "
     "the controller uses inter.broker.listener.name."),
    ("controlled.shutdown.max.retries", "INT", "3", "read-only", ("at_least", 0), "MEDIUM", "in a cluster: server",
     "Number of further attempts at a controlled shutdown."),
    ("controlled.shutdown.retry.backoff.ms", "LONG", "5000", "read-only", ("at_least", 0), "MEDIUM", "in a cluster: server",
     "Pause between attempts at a controlled shutdown."),
    ("inter.broker.protocol.version", "STRING", "3.9", "read-only", None, "MEDIUM", "in a cluster: server",
     "Versions of the requests between brokers: those of this Apache Kafka release, from 2.6 to 3.9."),
    ("leader.imbalance.per.broker.percentage", "INT", "10", "read-only", ("at_least", 0), "HIGH", "in a cluster: server",
     "Share of its preferred partitions that a broker may not lead before the controller gives them back."),
    ("reserved.broker.max.id", "INT", "1000", "read-only", ("at_least", 0), "MEDIUM", "in a cluster: config",
     "Largest broker id that is not generated."),
    ("zookeeper.connect", "STRING", None, "read-only", None, "HIGH", "config",
     "ZooKeeper servers of the cluster, as host:port,host:port/chroot. Set: this broker is a member of that cluster. Unset: it "
     "is a cluster by itself."),
    ("zookeeper.connection.timeout.ms", "INT", None, "read-only", ("at_least", 1), "HIGH", "in a cluster: server",
     "How long the start waits for ZooKeeper. Unset: zookeeper.session.timeout.ms."),
    ("zookeeper.max.in.flight.requests", "INT", "10", "read-only", ("at_least", 1), "HIGH", "in a cluster: server",
     "Maximum number of unanswered requests to ZooKeeper."),
    ("zookeeper.metadata.migration.enable", "BOOLEAN", "false", "read-only", None, "HIGH", _NO_MIGRATION,
     "Whether the cluster migrates from ZooKeeper to KRaft."),
    ("zookeeper.session.timeout.ms", "INT", "18000", "read-only", ("at_least", 1), "HIGH", "in a cluster: server",
     "Time without a sign of life after which ZooKeeper ends the session, and with it the registration of this broker."),
    ("zookeeper.set.acl", "BOOLEAN", "false", "read-only", None, "HIGH", "in a cluster: security",
     "Whether nodes in ZooKeeper get ACLs: only who logs in as this broker does may change them, or read credentials."),
    ("zookeeper.clientCnxnSocket", "STRING", None, "read-only", None, "MEDIUM", _NO_NETTY,
     "Java class of the connection to ZooKeeper."),
    ("zookeeper.ssl.cipher.suites", "LIST", None, "read-only", None, "LOW", "in a cluster: security",
     "Cipher suites of the connection to ZooKeeper. Unset: the library's default."),
    ("zookeeper.ssl.client.enable", "BOOLEAN", "false", "read-only", None, "MEDIUM", "in a cluster: security",
     "Whether the connection to ZooKeeper uses TLS."),
    ("zookeeper.ssl.crl.enable", "BOOLEAN", "false", "read-only", None, "LOW", _NO_REVOCATION,
     "Whether revocation lists are asked about ZooKeeper's certificate."),
    ("zookeeper.ssl.enabled.protocols", "LIST", None, "read-only", None, "LOW", "in a cluster: security",
     "TLS versions of the connection to ZooKeeper. Unset: TLSv1.2 and TLSv1.3."),
    ("zookeeper.ssl.endpoint.identification.algorithm", "STRING", "HTTPS", "read-only", None, "LOW", "in a cluster: security",
     "HTTPS: ZooKeeper's certificate must have its name or address as in zookeeper.connect. Any other value: no check."),
    ("zookeeper.ssl.keystore.location", "STRING", None, "read-only", None, "MEDIUM", "in a cluster: security",
     "File with the private key and certificates that are shown to ZooKeeper, which may ask for them."),
    ("zookeeper.ssl.keystore.password", "PASSWORD", None, "read-only", None, "MEDIUM", "in a cluster: security",
     "Password of that key store; with PEM, of the private key."),
    ("zookeeper.ssl.keystore.type", "STRING", None, "read-only", None, "MEDIUM", "in a cluster: security",
     "Format of that key store: JKS, PKCS12 or PEM. Unset: by the end of the file's name."),
    ("zookeeper.ssl.ocsp.enable", "BOOLEAN", "false", "read-only", None, "LOW", _NO_REVOCATION,
     "Whether a responder is asked about ZooKeeper's certificate."),
    ("zookeeper.ssl.protocol", "STRING", "TLSv1.2", "read-only", None, "LOW", _OPENSSL,
     "TLS version of a Java SSL context."),
    ("zookeeper.ssl.truststore.location", "STRING", None, "read-only", None, "MEDIUM", "in a cluster: security",
     "File with the certificates that sign ZooKeeper's. Unset: the authorities that this machine trusts."),
    ("zookeeper.ssl.truststore.password", "PASSWORD", None, "read-only", None, "MEDIUM", "in a cluster: security",
     "Password of that trust store."),
    ("zookeeper.ssl.truststore.type", "STRING", None, "read-only", None, "MEDIUM", "in a cluster: security",
     "Format of that trust store: JKS, PKCS12 or PEM. Unset: by the end of the file's name."),
)
