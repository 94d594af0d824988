"""Keys of the broker itself: its id, listeners and plugins."""

from typing import Final

from kafka_cy.config.types import Entry

_POLICY: Final = (
    "refused: kafka-cy cannot load Java classes, and starting without what this class decides would be unsafe"
)

KEYS: Final[tuple[Entry, ...]] = (
    ("advertised.listeners", "LIST", None, "read-only", None, "HIGH", "config",
     "Addresses that clients are told to connect to. Unset: the same as listeners."),
    ("authorizer.class.name", "STRING", "", "read-only", None, "LOW", "server",
     "Authorizer of requests: org.apache.kafka.metadata.authorizer.StandardAuthorizer or "
     "kafka.security.authorizer.AclAuthorizer, which decide alike. Empty: every request is allowed."),
    ("broker.id", "INT", "-1", "read-only", None, "HIGH", "config",
     "Older name of node.id."),
    ("broker.rack", "STRING", None, "read-only", None, "MEDIUM", "config",
     "Rack or zone of this broker. Replicas are spread over racks, and consumers can read from their own rack."),
    ("config.providers", "LIST", "", "cluster-wide", None, "LOW", "config",
     "Names of config providers, which replace ${env:NAME}, ${file:PATH:KEY} and ${dir:PATH:FILE} in values. "
     "config.providers.<name>.class is one of Kafka's classes EnvVarConfigProvider, FileConfigProvider and "
     "DirectoryConfigProvider, config.providers.<name>.param.<parameter> limits what it reads."),
    ("early.start.listeners", "LIST", None, "read-only",
     ("list_not_empty",), "HIGH", "ignored: all listeners open at the same time",
     "Listeners that open before a KRaft broker is ready."),
    ("inter.broker.listener.name", "STRING", None, "read-only", None, "MEDIUM", "config",
     "Listener for connections between brokers."),
    (
     "listener.security.protocol.map",
     "STRING", "SASL_SSL:SASL_SSL,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT", "per-broker",
     None, "LOW", "config",
     "Security protocol of each listener name."),
    ("listeners", "LIST", "PLAINTEXT://:9092", "per-broker", ("list_not_empty",), "HIGH", "config",
     "Addresses that the broker listens on, as NAME://host:port. An empty host means all addresses; port 0 means "
     "any free port."),
    ("metadata.log.dir", "STRING", None, "read-only", None, "HIGH", "server",
     "Directory of the broker's metadata store (in Apache Kafka: of the KRaft metadata log). Unset: the first of log.dirs."),
    ("node.id", "INT", None, "read-only", ("at_least", 0), "HIGH", "config",
     "Id of this broker, unique in its cluster."),
    (
     "principal.builder.class",
     "CLASS", "org.apache.kafka.common.security.authenticator.DefaultKafkaPrincipalBuilder", "per-broker",
     None, "MEDIUM", _POLICY,
     "Java class that derives the user name of a connection."),
    ("security.inter.broker.protocol", "STRING", "PLAINTEXT", "read-only",
     ("in", "PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"), "MEDIUM", "config",
     "Security protocol between brokers. It names the listener when inter.broker.listener.name is unset."),
)

#: Keys that Kafka neither documents nor describes to clients; among them are those of its authorizer.
INTERNAL_KEYS: Final[tuple[Entry, ...]] = (
    ("allow.everyone.if.no.acl.found", "BOOLEAN", "false", "read-only", None, "LOW", "server",
     "Whether everybody may use a resource about which there is no ACL of anybody."),
    ("server.max.startup.time.ms", "LONG", "9223372036854775807", "read-only",
     ("at_least", 0), "MEDIUM", "ignored: a start has no time limit",
     "Maximum time that a start may take."),
    ("super.users", "STRING", "", "read-only", None, "LOW", "server",
     "Principals that may do everything, as Type:name;Type:name (distinguished names contain commas)."),
    ("unstable.api.versions.enable", "BOOLEAN", "false", "read-only",
     None, "HIGH", "server",
     "Whether unstable API versions are offered."),
    ("unstable.feature.versions.enable", "BOOLEAN", "false", "read-only",
     None, "HIGH", "ignored: kafka-cy has no feature levels",
     "Whether unstable feature levels are offered."),
)
