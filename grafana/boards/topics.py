"""Topics: who writes how much, and what is stored."""

from __future__ import annotations

from grafana_foundation_sdk.builders.dashboard import Dashboard

from grafana.panels import CLUSTER, RATE, board, lines, number, quiet, rows, topic_variable

METRICS = "kafka_server_brokertopicmetrics"
TOPIC = f'{CLUSTER},topic!="",topic=~"$topic"'


def rate(name: str) -> str:
    """A counter's rate by topic."""
    return f"sum by (topic) (rate({METRICS}_{name}_total{{{TOPIC}}}[{RATE}]))"


def build() -> Dashboard:
    """The board."""
    return (
        board("topics", "Kafka topics", "Load and contents of topics.", topic_variable())
        .with_panel(
            number("Topics", f"count(count by (topic) (kafka_log_log_size{{{TOPIC}}}))", text="Of the chosen ones.")
        )
        .with_panel(
            number(
                "Partitions",
                f"count(count by (topic, partition) (kafka_log_log_size{{{TOPIC}}}))",
                text="Each once, however many replicas it has.",
            )
        )
        .with_panel(
            number(
                "Records kept",
                f"""sum(max by (topic, partition) (kafka_log_log_logendoffset{{{TOPIC}}})
                    - max by (topic, partition) (kafka_log_log_logstartoffset{{{TOPIC}}}))""",
                text="End minus start of the logs; compaction leaves fewer.",
            )
        )
        .with_panel(number("Stored", f"sum(kafka_log_log_size{{{TOPIC}}})", unit="bytes", text="All replicas."))
        .with_panel(
            number(
                "Mean record",
                f"sum(rate({METRICS}_bytesin_total{{{TOPIC}}}[5m])) / sum(rate({METRICS}_messagesin_total{{{TOPIC}}}[5m]))",
                unit="bytes",
                text="As received, compressed.",
            )
        )
        .with_panel(
            number(
                "Read / written",
                f"sum(rate({METRICS}_bytesout_total{{{TOPIC}}}[5m])) / sum(rate({METRICS}_bytesin_total{{{TOPIC}}}[5m]))",
                text="How many times each byte is read.",
            )
        )
        .with_panel(
            lines("Messages in", (rate("messagesin"), "{{topic}}"), unit="mps", stacked=True, text="Records produced.")
        )
        .with_panel(
            lines(
                "Bytes in",
                (rate("bytesin"), "{{topic}}"),
                unit="Bps",
                stacked=True,
                text="From producers, compressed as stored.",
            )
        )
        .with_panel(
            lines(
                "Bytes out",
                (rate("bytesout"), "{{topic}}"),
                unit="Bps",
                stacked=True,
                text="To consumers, compressed as stored.",
            )
        )
        .with_panel(
            lines(
                "Size",
                (f"sum by (topic) (kafka_log_log_size{{{TOPIC}}})", "{{topic}}"),
                unit="bytes",
                stacked=True,
                text="Segments of all replicas.",
            )
        )
        .with_panel(
            lines(
                "Requests",
                (f"sum(rate({METRICS}_totalproducerequests_total{{{TOPIC}}}[{RATE}]))", "produce"),
                (f"sum(rate({METRICS}_totalfetchrequests_total{{{TOPIC}}}[{RATE}]))", "fetch"),
                unit="reqps",
                text="Counted once for each partition of a request, as Kafka does: a Fetch of 12 partitions counts 12 times.",
            )
        )
        .with_panel(
            lines(
                "Failed requests",
                (quiet(rate("failedproducerequests") + " > 0", "topic"), "produce {{topic}}"),
                (quiet(rate("failedfetchrequests") + " > 0", "topic"), "fetch {{topic}}"),
                unit="reqps",
                text="Answered with an error that the broker counts as its failure.",
            )
        )
        .with_panel(
            rows(
                "Topics",
                (
                    ("messages/s", rate("messagesin"), "mps"),
                    ("bytes/s", rate("bytesin"), "Bps"),
                    ("size", f"sum by (topic) (kafka_log_log_size{{{TOPIC}}})", "bytes"),
                    (
                        "partitions",
                        f"count by (topic) (count by (topic, partition) (kafka_log_log_size{{{TOPIC}}}))",
                        "short",
                    ),
                    ("segments", f"sum by (topic) (kafka_log_log_numlogsegments{{{TOPIC}}})", "short"),
                    (
                        "replication factor",
                        f"max by (topic) (kafka_cluster_partition_replicascount{{{TOPIC}}})",
                        "short",
                    ),
                    (
                        "in-sync replicas, fewest",
                        f"min by (topic) (kafka_cluster_partition_insyncreplicascount{{{TOPIC}}} > 0)",
                        "short",
                    ),
                ),
                ("topic",),
                text="Load now and what is stored, by topic.",
            )
        )
        .with_panel(
            lines(
                "Partitions by messages a second",
                (
                    f"""topk(10, sum by (topic, partition) (
                        rate(kafka_log_log_logendoffset{{{TOPIC}}}[{RATE}])))""",
                    "{{topic}}-{{partition}}",
                ),
                unit="mps",
                text="A partition far above the others has a hot key.",
                span=24,
            )
        )
    )
