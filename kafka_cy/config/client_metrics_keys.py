"""Keys of a client metrics subscription (KIP-714)."""

from typing import Final

from kafka_cy.config.types import Row

CLIENT_METRICS_KEYS: Final[tuple[Row, ...]] = (
    ("interval.ms", "INT", "300000", "client-metrics", ("between", 100, 3600000)),
    ("match", "LIST", "", "client-metrics", ("client_match",)),
    ("metrics", "LIST", "", "client-metrics", None),
)
