"""Sizing inputs from a cluster's Prometheus, by kafka-cy's metric names (those of Apache Kafka with jmx_exporter)."""

from __future__ import annotations

from kafka_cy.sizing.units import SECONDS_PER_DAY
from kafka_cy.tools.client import ToolError
from kafka_cy.tools.http_text import without_user
from kafka_cy.tools.measured import Measured, disk_bytes
from kafka_cy.tools.prometheus import Prometheus

# The series without a topic label is each broker's sum over all topics.
MESSAGES_IN = 'kafka_server_brokertopicmetrics_messagesin_total{topic=""}'
BYTES_IN = 'kafka_server_brokertopicmetrics_bytesin_total{topic=""}'
BYTES_OUT = 'kafka_server_brokertopicmetrics_bytesout_total{topic=""}'
PEAK_STEP = "5m"


def measure_prometheus(url: str, window: str) -> Measured:
    """Inputs from the metrics of the last `window` (Prometheus' notation, such as `7d`). Raises ToolError.

    Message sizes are as stored: brokers do not see uncompressed sizes. If Java producers push their metrics (KIP-714),
    their reported compression is used.
    """
    prometheus = Prometheus(url)
    measured = Measured()
    messages = prometheus.value(f"sum(rate({MESSAGES_IN}[{window}]))")
    if messages is None:
        raise ToolError(f"Prometheus at {without_user(url)} has no {MESSAGES_IN} in the last {window}.")
    stored = prometheus.value(f"sum(rate({BYTES_IN}[{window}])) / sum(rate({MESSAGES_IN}[{window}]))")
    rate = prometheus.value("avg(org_apache_kafka_producer_compression_rate_avg)")
    compression = 1 / rate if rate else None
    measured.add("messages_per_day", messages * SECONDS_PER_DAY, f"mean rate of the last {window}")
    measured.add("compression_ratio", compression, "what producers report")
    if stored is not None:
        sizes = "as stored, times what producers report" if compression else "as stored, after compression"
        measured.add(
            "message_bytes", stored * (compression or 1.0), f"bytes in / messages in of the last {window}, {sizes}"
        )
    peak = f"max_over_time(sum(rate({BYTES_IN}[{PEAK_STEP}]))[{window}:{PEAK_STEP}])"
    ratio = prometheus.value(f"{peak} / sum(rate({BYTES_IN}[{window}]))")
    measured.add("peak_to_mean", ratio and max(ratio, 1.0), f"busiest {PEAK_STEP} of the last {window}")
    fan_out = prometheus.value(f"sum(rate({BYTES_OUT}[{window}])) / sum(rate({BYTES_IN}[{window}]))")
    measured.add("consumer_fan_out", fan_out, f"bytes out / bytes in of the last {window}")
    for name, query in (
        ("replication_factor", "avg(kafka_cluster_partition_replicascount > 0)"),
        ("partitions", "count(count by (topic, partition) (kafka_log_log_size))"),
        ("topics", "count(count by (topic) (kafka_log_log_size))"),
        ("brokers", "count(kafka_server_kafkaserver_brokerstate)"),
        ("client_connections", "sum(kafka_server_socketservermetrics_connection_count)"),
        ("file_descriptors", "min(process_max_fds and on (instance) kafka_server_kafkaserver_brokerstate)"),
    ):
        measured.add_whole(name, prometheus.value(query), f"{query}")
    total, usable = (
        [
            (each.labels | {"__name__": ""}, each.points[-1][1])
            for each in prometheus.instant(f"kafkacy_log_dir_{name}_bytes")
        ]
        for name in ("total", "usable")
    )
    brokers = len({labels.get("instance") for labels, _ in total})
    measured.add("disk_bytes", disk_bytes(total, usable, brokers), "file systems of the log directories")
    measured.add("used_bytes", prometheus.value("sum(kafka_log_log_size)"), "log sizes of all brokers")
    growth = prometheus.value(f"sum(deriv(kafka_log_log_size[{window}])) * 86400")
    if "used_bytes" in measured.values:
        measured.add("growth_bytes_per_day", growth, f"slope of the log sizes over {window}")
    return measured
