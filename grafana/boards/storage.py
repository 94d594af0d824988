"""Log and storage: how much is kept, how it grows, and how the disks take it."""

from __future__ import annotations

from grafana_foundation_sdk.builders.dashboard import Dashboard

from grafana.panels import BAD_ABOVE_ZERO, BROKER, CLUSTER, RATE, bars, board, instance_variable, lines, number, quiet

FLUSH = "kafka_log_logflushstats_logflushrateandtimems"


def build() -> Dashboard:
    """The board."""
    return (
        board("storage", "Kafka log and storage", "Sizes, growth, flushes, disks.", instance_variable())
        .with_panel(number("Stored", f"sum(kafka_log_log_size{{{BROKER}}})", unit="bytes", text="All replicas."))
        .with_panel(
            number(
                "Growth a day",
                f"sum(deriv(kafka_log_log_size{{{BROKER}}}[30m])) * 86400",
                unit="bytes",
                text="At the rate of the last half hour; what retention deletes is taken off.",
            )
        )
        .with_panel(
            number(
                "Segments",
                f"sum(kafka_log_log_numlogsegments{{{BROKER}}})",
                text="Files of records; each has three indexes.",
            )
        )
        .with_panel(
            number(
                "Offline log directories",
                f"sum(kafka_log_logmanager_offlinelogdirectorycount{{{BROKER}}})",
                text="Log directories that failed.",
                colours=BAD_ABOVE_ZERO,
            )
        )
        .with_panel(
            number(
                "Flush p99",
                f'max({FLUSH}{{{BROKER},quantile="0.99"}})',
                unit="ms",
                text="Time that the disk takes to store a log safely (fsync), of the slowest broker.",
            )
        )
        .with_panel(
            number("Flushes", f"sum(rate({FLUSH}_count{{{BROKER}}}[5m]))", unit="ops", text="Log flushes a second.")
        )
        .with_panel(
            lines(
                "Size by broker",
                (f"sum by (instance) (kafka_log_log_size{{{BROKER}}})", "{{instance}}"),
                unit="bytes",
                stacked=True,
                text="Segments of all replicas of a broker.",
            )
        )
        .with_panel(
            lines(
                "Size by topic",
                (f"topk(10, sum by (topic) (kafka_log_log_size{{{BROKER}}}))", "{{topic}}"),
                unit="bytes",
                stacked=True,
                text="The ten largest topics, all replicas.",
            )
        )
        .with_panel(
            bars(
                "Largest partitions",
                f"topk(10, max by (topic, partition) (kafka_log_log_size{{{BROKER}}}))",
                "{{topic}}-{{partition}}",
                unit="bytes",
                text="The ten largest; one far above the others has a hot key.",
            )
        )
        .with_panel(
            bars(
                "Topics that grow fastest",
                f"topk(10, sum by (topic) (deriv(kafka_log_log_size{{{BROKER}}}[30m])) * 86400 > 0)",
                "{{topic}}",
                unit="bytes",
                text="Bytes a day, at the rate of the last half hour.",
            )
        )
        .with_panel(
            lines(
                "Records deleted",
                (
                    quiet(
                        f"topk(10, sum by (topic) (rate(kafka_log_log_logstartoffset{{{BROKER}}}[{RATE}])) > 0)",
                        "topic",
                    ),
                    "{{topic}}",
                ),
                unit="mps",
                text="By retention or DeleteRecords.",
            )
        )
        .with_panel(
            lines(
                "Flush time",
                (f'max by (instance) ({FLUSH}{{{BROKER},quantile="0.50"}})', "{{instance}} p50"),
                (f'max by (instance) ({FLUSH}{{{BROKER},quantile="0.99"}})', "{{instance}} p99"),
                unit="ms",
                text="Time of a log flush (fsync).",
            )
        )
        .with_panel(
            lines(
                "Disk of the process",
                (f"sum(rate(kafka_server_kafkaserver_linux_disk_write_bytes{{{BROKER}}}[{RATE}]))", "written"),
                (f"sum(rate(kafka_server_kafkaserver_linux_disk_read_bytes{{{BROKER}}}[{RATE}]))", "read"),
                unit="Bps",
                text="Reads are consumers that the page cache does not serve any more.",
            )
        )
        .with_panel(
            lines(
                "Compaction: dirtiest log",
                (f"max by (instance) (kafka_log_logcleanermanager_max_dirty_percent{{{BROKER}}})", "{{instance}}"),
                unit="percent",
                empty_when="where no log cleaner runs",
            )
        )
        .with_panel(
            lines(
                "Disk used",
                (
                    f"1 - kafkacy_log_dir_usable_bytes{{{BROKER}}} / kafkacy_log_dir_total_bytes",
                    "{{instance}} {{log_directory}}",
                ),
                unit="percentunit",
                most=1,
                text="The file system of each log directory. 70 % counts as full.",
            )
        )
        .with_panel(
            lines(
                "Replicas by broker",
                (f"sum by (instance) (kafka_server_replicamanager_partitioncount{{{CLUSTER}}})", "{{instance}}"),
                text="Led and followed.",
            )
        )
    )
