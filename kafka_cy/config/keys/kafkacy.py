"""kafka-cy's own broker keys; all begin with `kafkacy.` and none is known to Apache Kafka."""

from typing import Final

from kafka_cy.config.types import Entry

KEYS: Final[tuple[Entry, ...]] = (
    ("kafkacy.audit.log", "STRING", "", "read-only", None, "MEDIUM", "server",
     "File in which the broker writes what its authorizer decides: a line of JSON with time, principal, host, client id, API, "
     "operation and resource. Only its owner may read it. Empty: no file."),
    ("kafkacy.audit.log.allowed", "BOOLEAN", "true", "read-only", None, "LOW", "server",
     "Whether kafkacy.audit.log has also what was allowed. False: denials only."),
    ("kafkacy.audit.log.files", "INT", "10", "read-only", ("between", 1, 1000), "LOW", "server",
     "How many full files of kafkacy.audit.log are kept, with .1 (the newest), .2 and so on behind the name."),
    ("kafkacy.audit.log.max.bytes", "LONG", "104857600", "read-only", ("at_least", 4096), "LOW", "server",
     "Size at which kafkacy.audit.log is renamed and a new file begins."),
    ("kafkacy.authentication.timeout.ms", "INT", "30000", "read-only", ("at_least", 100), "MEDIUM", "server",
     "Time in which a client must authenticate on a listener with SASL, from the connection on, without the time in which it waits "
     "for the broker. Then it is disconnected. In Apache Kafka, connections.max.idle.ms is the only limit."),
    ("kafkacy.client.telemetry.offer", "STRING", "subscribed", "read-only", ("in", "subscribed", "always"), "LOW", "server",
     "When clients learn that they can push their metrics (KIP-714). subscribed: from the first subscription on (a client that "
     "was connected before learns it with its next connection). always: also before, so that clients ask every five "
     "minutes whether there is a subscription."),
    ("kafkacy.committed.offsets.max.bytes", "LONG", "1073741824", "read-only", ("at_least", 1048576), "MEDIUM", "coordinator",
     "Memory limit for the committed offsets of all groups that this broker coordinates. An offset takes 100 to 500 bytes, and its "
     "metadata. Beyond it, the partitions of a commit that need more memory get POLICY_VIOLATION; those that the group has "
     "committed before go on. Apache Kafka has no such limit."),
    ("kafkacy.connection.max.control.requests", "INT", "1", "read-only", ("between", 1, 1024), "MEDIUM", "server",
     "Maximum number of requests of one connection that a control thread holds at once (requests for topics, "
     "configurations and groups). With 1, as in Kafka, the next request is read after the previous one was answered. With more, "
     "requests of one connection may be executed in another order: a topic that it creates may be unknown to its next request."),
    ("kafkacy.connection.max.in.flight.requests", "INT", "64", "read-only", ("between", 1, 1024), "MEDIUM", "server",
     "Maximum number of requests of one connection that are processed at once. Parts of responses that the client has not read "
     "count, too. Further requests wait in the socket."),
    ("kafkacy.control.request.max.bytes", "INT", "16777216", "read-only", ("at_least", 65536), "MEDIUM", "server",
     "Maximum size of a request that a control thread answers (for topics, configurations or groups). A larger request "
     "closes its connection. Apache Kafka allows socket.request.max.bytes for these as well."),
    ("kafkacy.control.request.max.elements", "INT", "250000", "read-only", ("at_least", 1000), "MEDIUM", "server",
     "Maximum number of array elements in such a request, all arrays together (topics, partitions, group ids). A longer "
     "request closes its connection. Apache Kafka has no such limit. An element of one byte needs some hundred bytes of "
     "memory."),
    ("kafkacy.delegation.tokens.max", "INT", "10000", "read-only", ("between", 1, 1000000), "MEDIUM", "server",
     "Maximum number of delegation tokens in the cluster; no more are created on this broker. A token needs about 1 KiB of memory "
     "on each broker, and as much again when clients log in with it. One requester has at most a tenth of them. Apache Kafka "
     "has no such limit."),
    ("kafkacy.fetch.session.cache.max.bytes", "LONG", "268435456", "read-only", ("at_least", 1048576), "MEDIUM", "server",
     "Memory limit for all fetch sessions together. One session may use a quarter of it. A partition takes some 100 bytes, "
     "a topic some 100 bytes and its name. Up to half of the memory is used to keep what belongs to a session with 32 partitions "
     "or more ready between its requests, some 400 bytes for each partition; without it, each of its requests looks at all of "
     "its partitions. A session that does not fit is not created, or ends when it grows: its client "
     "goes on with full fetch requests, as when max.incremental.fetch.session.cache.slots is used up. Apache Kafka has no "
     "such limit."),
    ("kafkacy.fetch.session.max.partitions", "INT", "100000", "read-only", ("at_least", 1), "MEDIUM", "server",
     "Maximum number of partitions in one fetch session. A larger session is not created, or ends when it grows: its client "
     "goes on with full fetch requests. Apache Kafka has no such limit."),
    ("kafkacy.groups.max.bytes", "LONG", "1073741824", "read-only", ("at_least", 1048576), "MEDIUM", "coordinator",
     "Memory limit for the groups that this broker coordinates, without their members and offsets. A group takes 1000 bytes, and "
     "three times the length of its id. Beyond it, requests for new groups get POLICY_VIOLATION. Apache Kafka has no such limit."),
    ("kafkacy.initial.features", "STRING", "", "read-only", None, "LOW", "server",
     "Feature levels of a new cluster, for example metadata.version=3.8-IV0,transaction.version=0; an existing one keeps its "
     "levels. Features that are not named get the level that goes with the metadata.version, by default the newest one. "
     "Apache Kafka has options of kafka-storage for this (--release-version and --feature)."),
    ("kafkacy.lag.listen", "STRING", "127.0.0.1:9308", "read-only", None, "HIGH", "server",
     "Address of the consumer lag page, as host:port. Empty: no page. Port 0: any free port. If the key is not set and the "
     "port is taken, the broker takes another one and logs a warning."),
    ("kafkacy.lag.names", "LIST", "kafka_exporter,grafana,kafka-lag-exporter,kminion", "read-only",
     ("list_in", "kafka_exporter", "grafana", "kafka-lag-exporter", "kminion"), "MEDIUM", "server",
     "Exporters whose metric names the consumer lag page uses."),
    ("kafkacy.log.format", "STRING", "text", "read-only", ("in", "text", "logfmt", "json"), "MEDIUM", "server",
     "Format of the broker's log on stderr. text: TIME LEVEL what key=value. logfmt: every field has a name. json: one object "
     "per line. Lines before the configuration is read are text."),
    ("kafkacy.metrics.basic.auth.users.file", "STRING", "", "read-only", None, "MEDIUM", "server",
     "File with the users of the metrics and lag pages (HTTP basic authentication), whose lines kafka-cy hash-password writes. "
     "/health and /ready need no password. Empty: no page needs one. The file is read again when it was replaced."),
    ("kafkacy.metrics.listen", "STRING", "127.0.0.1:9404", "read-only", None, "HIGH", "server",
     "Address of the /metrics page, as host:port. Empty: no page. Port 0: any free port. If the key is not set and the port "
     "is taken, the broker takes another one and logs a warning."),
    ("kafkacy.metrics.persec.enable", "BOOLEAN", "true", "read-only", None, "MEDIUM", "server",
     "Whether /metrics also shows counters under names that end in persec (the names of Confluent's and Grafana's "
     "rules for Kafka)."),
    ("kafkacy.metrics.persec.total.enable", "BOOLEAN", "false", "read-only", None, "LOW", "server",
     "Whether /metrics also shows the counters of topics under names that end in persec_total (the names of Strimzi's "
     "Metrics Reporter)."),
    ("kafkacy.metrics.tls.certificate", "STRING", "", "read-only", None, "MEDIUM", "server",
     "PEM file with the certificate chain of the metrics and lag pages, which are then https. Empty: they are http. The file is "
     "read again when it was replaced."),
    ("kafkacy.metrics.tls.key", "STRING", "", "read-only", None, "MEDIUM", "server",
     "PEM file with the key of kafkacy.metrics.tls.certificate, without a password. Empty: that file has the key, too."),
    ("kafkacy.otel.endpoint", "STRING", "", "read-only", None, "MEDIUM", "telemetry",
     "OTLP endpoint of an OpenTelemetry collector, such as http://localhost:4318. Empty: the environment variable "
     "OTEL_EXPORTER_OTLP_ENDPOINT; if that is unset too, nothing is exported."),
    ("kafkacy.otel.metrics.interval.ms", "INT", None, "read-only", ("at_least", 1000), "MEDIUM", "telemetry",
     "Interval at which metrics are exported. Unset: OTEL_METRIC_EXPORT_INTERVAL, or 60000."),
    ("kafkacy.otel.protocol", "STRING", "", "read-only", ("in", "", "http/protobuf", "grpc"), "MEDIUM", "telemetry",
     "OTLP protocol. Empty: OTEL_EXPORTER_OTLP_PROTOCOL, or http/protobuf."),
    ("kafkacy.otel.signals", "LIST", "traces,metrics,logs", "read-only",
     ("list_in", "traces", "metrics", "logs"), "MEDIUM", "telemetry",
     "Signals that are exported."),
    ("kafkacy.otel.traces.per.second.max", "INT", "50", "read-only", ("between", 1, 10000), "MEDIUM", "telemetry",
     "Maximum number of traced requests per second."),
    ("kafkacy.otel.traces.sampling.ratio", "DOUBLE", None, "read-only", ("between", 0, 1), "MEDIUM", "telemetry",
     "Ratio of requests that are traced. Unset: OTEL_TRACES_SAMPLER_ARG, or 0.01. Batches whose first record has a "
     "sampled traceparent are traced as well."),
    ("kafkacy.queued.max.request.bytes", "LONG", "268435456", "read-only", ("at_least", 1048576), "MEDIUM", "config",
     "Memory limit for requests that are being received or wait, if queued.max.request.bytes is -1. A request is read "
     "while any of it is left. Requests above 1 MiB may use three quarters of it; one alone may be larger. Requests up to "
     "4096 bytes do not need it. While one waits for it, a client that sends nothing for 5 seconds or takes 30 seconds for "
     "a request is disconnected."),
    ("kafkacy.queued.max.response.bytes", "LONG", "268435456", "read-only", ("at_least", 1048576), "MEDIUM", "server",
     "Memory limit for responses that clients have not read yet. From half of it on, the broker stops reading requests of "
     "clients with unread responses, and disconnects those that read nothing for 5 seconds. Above it, clients whose next "
     "response is not read at once are disconnected."),
    ("kafkacy.shutdown.drain.timeout.ms", "INT", "2000", "read-only", ("at_least", 0), "MEDIUM", "server",
     "Maximum time that a stopping broker waits for requests in progress."),
    ("kafkacy.slow.request.log.threshold.ms", "INT", "-1", "cluster-wide", ("at_least", -1), "MEDIUM", "server",
     "Requests that take at least this long are logged with where their time went, at most five per second and "
     "network thread. -1: none."),
    ("kafkacy.unauthenticated.connections.max", "INT", "1000", "read-only", ("at_least", 1), "MEDIUM", "server",
     "Maximum number of connections that have not authenticated yet, on all listeners with SASL together. For each further one, "
     "the one that has let the broker wait longest is closed; while all wait for the broker, further ones are not accepted. Of "
     "more than 1000, the broker looks at those that it has known longest. Apache Kafka has no such limit."),
)
