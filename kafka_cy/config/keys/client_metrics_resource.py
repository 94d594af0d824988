"""Keys of a client metrics subscription (KIP-714)."""

from typing import Final

from kafka_cy.config.types import Entry

KEYS: Final[tuple[Entry, ...]] = (
    ("interval.ms", "INT", "300000", "client-metrics", ("between", 100, 3600000), "MEDIUM", "telemetry",
     "Interval at which clients send their metrics."),
    ("match", "LIST", "", "client-metrics", ("client_match",), "MEDIUM", "telemetry",
     "Selectors of the clients that this subscription applies to, as selector=pattern."),
    ("metrics", "LIST", "", "client-metrics", None, "MEDIUM", "telemetry",
     "Prefixes of the metrics that clients send. Empty: none. *: all."),
)
