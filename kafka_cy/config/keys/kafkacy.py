"""kafka-cy's own broker keys; all begin with `kafkacy.` and none is known to Apache Kafka."""

from typing import Final

from kafka_cy.config.types import Entry

KEYS: Final[tuple[Entry, ...]] = (
    ("kafkacy.connection.max.control.requests", "INT", "1", "read-only", ("between", 1, 1024), "MEDIUM", "server",
     "Maximum number of requests of one connection that a control thread holds at once (requests for topics, "
     "configurations and groups). With 1, as in Kafka, the next request is read after the previous one was answered. With more, "
     "requests of one connection may be executed in another order: a topic that it creates may be unknown to its next request."),
    ("kafkacy.connection.max.in.flight.requests", "INT", "64", "read-only", ("between", 1, 1024), "MEDIUM", "server",
     "Maximum number of requests of one connection that are processed at once. Further requests wait in the socket."),
    ("kafkacy.control.request.max.bytes", "INT", "16777216", "read-only", ("at_least", 65536), "MEDIUM", "server",
     "Maximum size of a request that a control thread answers (for topics, configurations or groups). A larger request "
     "closes its connection. Apache Kafka allows socket.request.max.bytes for these as well."),
    ("kafkacy.control.request.max.elements", "INT", "250000", "read-only", ("at_least", 1000), "MEDIUM", "server",
     "Maximum number of array elements in such a request, all arrays together (topics, partitions, group ids). A longer "
     "request closes its connection. Apache Kafka has no such limit. An element of one byte needs some hundred bytes of "
     "memory."),
    ("kafkacy.fetch.session.cache.max.bytes", "LONG", "268435456", "read-only", ("at_least", 1048576), "MEDIUM", "server",
     "Memory limit for all fetch sessions together. One session may use a quarter of it. A partition takes some 100 bytes, "
     "a topic some 100 bytes and its name. A session that does not fit is not created, or ends when it grows: its client "
     "goes on with full fetch requests, as when max.incremental.fetch.session.cache.slots is used up. Apache Kafka has no "
     "such limit."),
    ("kafkacy.fetch.session.max.partitions", "INT", "100000", "read-only", ("at_least", 1), "MEDIUM", "server",
     "Maximum number of partitions in one fetch session. A larger session is not created, or ends when it grows: its client "
     "goes on with full fetch requests. Apache Kafka has no such limit."),
    ("kafkacy.lag.listen", "STRING", "127.0.0.1:9308", "read-only", None, "HIGH", "server",
     "Address of the consumer lag page, as host:port. Empty: no page. Port 0: any free port."),
    ("kafkacy.lag.names", "LIST", "kafka_exporter,grafana,kafka-lag-exporter,kminion", "read-only",
     ("list_in", "kafka_exporter", "grafana", "kafka-lag-exporter", "kminion"), "MEDIUM", "server",
     "Exporters whose metric names the consumer lag page uses."),
    ("kafkacy.log.format", "STRING", "text", "read-only", ("in", "text", "logfmt", "json"), "MEDIUM", "server",
     "Format of the broker's log on stderr. text: TIME LEVEL what key=value. logfmt: every field has a name. json: one object "
     "per line. Lines before the configuration is read are text."),
    ("kafkacy.metrics.listen", "STRING", "127.0.0.1:9404", "read-only", None, "HIGH", "server",
     "Address of the /metrics page, as host:port. Empty: no page. Port 0: any free port."),
    ("kafkacy.metrics.persec.enable", "BOOLEAN", "true", "read-only", None, "MEDIUM", "server",
     "Whether /metrics also shows counters under names that end in persec (the names of Confluent's and Grafana's "
     "rules for Kafka)."),
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
     "while any of it is left, a request above 1 MiB while a quarter is left. Requests up to 4096 bytes do not need it. "
     "While it is used up, a client that sends nothing for 5 seconds or takes 30 seconds for a request is disconnected."),
    ("kafkacy.queued.max.response.bytes", "LONG", "268435456", "read-only", ("at_least", 1048576), "MEDIUM", "server",
     "Memory limit for responses that clients have not read yet. From half of it on, the broker stops reading requests of "
     "clients with unread responses, and disconnects those that read nothing for 5 seconds. Above it, clients whose next "
     "response is not read at once are disconnected."),
    ("kafkacy.shutdown.drain.timeout.ms", "INT", "2000", "read-only", ("at_least", 0), "MEDIUM", "server",
     "Maximum time that a stopping broker waits for requests in progress."),
    ("kafkacy.slow.request.log.threshold.ms", "INT", "-1", "cluster-wide", ("at_least", -1), "MEDIUM", "server",
     "Requests that take at least this long are logged with where their time went, at most five per second and "
     "network thread. -1: none."),
)
