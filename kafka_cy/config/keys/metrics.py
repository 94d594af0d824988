"""Keys of Kafka's metrics reporters."""

from typing import Final

from kafka_cy.config.types import Entry

_METRICS: Final = "ignored: kafka-cy serves its metrics in Prometheus format; see kafkacy.metrics.listen"

KEYS: Final[tuple[Entry, ...]] = (
    ("kafka.metrics.polling.interval.secs", "INT", "10", "read-only", ("at_least", 1), "LOW", _METRICS,
     "Interval of Kafka's Java metrics reporters."),
    ("kafka.metrics.reporters", "LIST", "", "read-only", None, "LOW", _METRICS,
     "Java metrics reporters of Kafka's older metrics library."),
    ("metric.reporters", "LIST", "org.apache.kafka.common.metrics.JmxReporter", "cluster-wide", None, "LOW", _METRICS,
     "Java metrics reporters."),
    ("metrics.num.samples", "INT", "2", "read-only", ("at_least", 1), "LOW", _METRICS,
     "Number of samples of each of Kafka's metrics."),
    ("metrics.recording.level", "STRING", "INFO", "read-only", ("in", "INFO", "DEBUG", "TRACE"), "LOW", _METRICS,
     "Level of Kafka's metrics that are recorded."),
    ("metrics.sample.window.ms", "LONG", "30000", "read-only", ("at_least", 1), "LOW", _METRICS,
     "Length of a sample of Kafka's metrics."),
)
