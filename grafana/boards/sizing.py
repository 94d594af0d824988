"""Sizing: what the cluster's load needs, compared with what exists. `kafka-cy sizing --prometheus` says more."""

from __future__ import annotations

from grafana_foundation_sdk.builders.dashboard import Dashboard

from grafana.panels import CLUSTER, board, lines, number, text_variable

METRICS = "kafka_server_brokertopicmetrics"
ALL = f'{CLUSTER},topic=""'
DAY = 86400


def rate(name: str, window: str = "$window") -> str:
    """A counter's rate, all brokers together."""
    return f"sum(rate({METRICS}_{name}_total{{{ALL}}}[{window}]))"


def build() -> Dashboard:
    """The board."""
    stored = f"sum(kafka_log_log_size{{{CLUSTER}}})"
    growth = f"sum(deriv(kafka_log_log_size{{{CLUSTER}}}[$window])) * {DAY}"
    brokers = f"count(kafka_server_kafkaserver_brokerstate{{{CLUSTER}}})"
    full = f"({brokers} * $disk_gb * 1e9 * 0.7)"
    copies = f"avg(kafka_cluster_partition_replicascount{{{CLUSTER}}} > 0)"
    return (
        board(
            "sizing",
            "Kafka sizing",
            "Whether the cluster is large enough, and until when.",
            text_variable("disk_gb", "Disk of a broker, GB", "1000"),
            text_variable("days", "Days kept", "7"),
            text_variable("window", "Measured over", "30m"),
        )
        .with_panel(number("Messages a day", f"{rate('messagesin')} * {DAY}", text="At the rate of the window."))
        .with_panel(
            number("Mean message", f"{rate('bytesin')} / {rate('messagesin')}", unit="bytes", text="As stored.")
        )
        .with_panel(
            number(
                "Peak to mean",
                f"max_over_time({rate('bytesin', '5m')}[$window:1m]) / {rate('bytesin')}",
                text="Busiest five minutes of the window.",
                empty_when="in the first minute",
                decimals=2,
            )
        )
        .with_panel(
            number(
                "Read / written",
                f"{rate('bytesout')} / {rate('bytesin')}",
                text="How many times each byte is read.",
                decimals=2,
            )
        )
        .with_panel(number("Replication factor", copies, text="Mean over the partitions.", decimals=1))
        .with_panel(number("Growth a day", growth, unit="bytes", text="Produced minus deleted."))
        .with_panel(
            number(
                "Brokers needed for storage",
                f"ceil({rate('bytesin')} * {DAY} * $days * on () group_left () ({copies}) / ($disk_gb * 1e9 * 0.7))",
                text="Messages a day x size x days kept x replication factor / disk of a broker, full at 70 %.",
                span=6,
            )
        )
        .with_panel(number("Brokers", brokers, text="That Prometheus scrapes now.", span=6))
        .with_panel(
            number(
                "Disks full",
                f"{stored} / {full}",
                unit="percentunit",
                text="Of the 70 % that count as full.",
                colours=((None, "green"), (0.8, "orange"), (1, "red")),
                span=6,
            )
        )
        .with_panel(
            number(
                "Days until full",
                f"({full} - {stored}) / ({growth} > 0)",
                unit="d",
                text="At the growth of the window, until 70 %.",
                empty_when="while the logs do not grow",
                colours=((None, "red"), (7, "orange"), (30, "green")),
                span=6,
            )
        )
        .with_panel(
            lines(
                "Disks",
                (stored, "stored"),
                (full, "full at 70 %"),
                (f"{stored} + {growth} * 30", "in 30 days"),
                unit="bytes",
                text="All brokers together, at the growth of the window.",
            )
        )
        .with_panel(
            lines(
                "Network",
                (f"{rate('bytesin', '$__rate_interval')}", "from producers"),
                (f"{rate('bytesout', '$__rate_interval')}", "to consumers"),
                unit="Bps",
                text="All brokers together, without replication.",
            )
        )
        .with_panel(
            lines(
                "Page cache that serves the slowest group",
                (f"{rate('bytesin')} * on () max(kafka_consumergroup_lag_seconds{{{CLUSTER}}})", "needed"),
                unit="bytes",
                text="Bytes written in the time that the group furthest behind lags.",
            )
        )
        .with_panel(
            lines(
                "Partition replicas a broker",
                (f"max(kafka_server_replicamanager_partitioncount{{{CLUSTER}}})", "most"),
                ("4000", "recommended limit"),
                text="Of the broker with the most.",
            )
        )
    )
