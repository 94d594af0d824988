"""Our own broker keys; all begin with `kafkacy.` and none is known to Kafka."""

from typing import Final

from kafka_cy.config.types import Row

KAFKACY_KEYS: Final[tuple[Row, ...]] = (
    ("kafkacy.lag.listen", "STRING", "127.0.0.1:9308", "read-only", None),
    (
        "kafkacy.lag.names",
        "LIST",
        "kafka_exporter,grafana,kafka-lag-exporter,kminion",
        "read-only",
        ("list_in", "kafka_exporter", "grafana", "kafka-lag-exporter", "kminion"),
    ),
    ("kafkacy.metrics.listen", "STRING", "127.0.0.1:9404", "read-only", None),
    ("kafkacy.metrics.persec.enable", "BOOLEAN", "false", "read-only", None),
    ("kafkacy.otel.endpoint", "STRING", "", "read-only", None),
    ("kafkacy.otel.metrics.interval.ms", "INT", None, "read-only", ("at_least", 1000)),
    ("kafkacy.otel.protocol", "STRING", "", "read-only", ("in", "", "http/protobuf", "grpc")),
    (
        "kafkacy.otel.signals",
        "LIST",
        "traces,metrics,logs",
        "read-only",
        ("list_in", "traces", "metrics", "logs"),
    ),
    ("kafkacy.otel.traces.per.second.max", "INT", "50", "read-only", ("between", 1, 10000)),
    ("kafkacy.otel.traces.sampling.ratio", "DOUBLE", None, "read-only", ("between", 0, 1)),
    ("kafkacy.queued.max.response.bytes", "LONG", "268435456", "read-only", ("at_least", 1048576)),
    ("kafkacy.connection.max.in.flight.requests", "INT", "64", "read-only", ("between", 1, 1024)),
    ("kafkacy.shutdown.drain.timeout.ms", "INT", "2000", "read-only", ("at_least", 0)),
    ("kafkacy.slow.request.log.threshold.ms", "INT", "-1", "cluster-wide", ("at_least", -1)),
)

#: Throttle rates that Kafka takes as dynamic broker settings only: they have no default and stand in no file.
DYNAMIC_ONLY_KEYS: Final[tuple[Row, ...]] = (
    ("leader.replication.throttled.rate", "LONG", None, "cluster-wide", ("at_least", 0)),
    ("follower.replication.throttled.rate", "LONG", None, "cluster-wide", ("at_least", 0)),
    ("replica.alter.log.dirs.io.max.bytes.per.second", "LONG", None, "cluster-wide", ("at_least", 0)),
)
