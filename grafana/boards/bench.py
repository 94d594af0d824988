"""Runs of `kafka-cy bench`, once their results are in Prometheus."""

from __future__ import annotations

from grafana_foundation_sdk.builders.dashboard import Dashboard

from grafana.panels import board, lines, number, rows, variable

RUN = 'workload=~"$workload",target=~"$target"'
LEGEND = "{{target}}: {{label}} #{{round}}"
NO_RUN = "until a run's metrics are exported, pushed or imported (kafka-cy bench --help)"
BY = "workload, target, label, round"


def build() -> Dashboard:
    """The board."""
    workloads = variable("workload", "Workload", "label_values(kafkacy_bench_run_info, workload)")
    targets = variable("target", "Target", "label_values(kafkacy_bench_run_info, target)")
    return (
        board(
            "bench",
            "Kafka benchmark runs",
            "Throughput, latency and cost of benchmark runs.",
            workloads,
            targets,
            by_cluster=False,
        )
        .with_panel(number("Runs", f"count(kafkacy_bench_run_info{{{RUN}}})", span=8, empty_when=NO_RUN))
        .with_panel(
            number(
                "Most records a second", f"max(kafkacy_bench_records_per_second{{{RUN}}})", span=8, empty_when=NO_RUN
            )
        )
        .with_panel(
            number(
                "Most bytes a second",
                f"max(kafkacy_bench_bytes_per_second{{{RUN}}})",
                unit="Bps",
                span=8,
                empty_when=NO_RUN,
            )
        )
        .with_panel(
            lines("Records", (f"kafkacy_bench_records_per_second{{{RUN}}}", LEGEND), unit="mps", empty_when=NO_RUN)
        )
        .with_panel(lines("Bytes", (f"kafkacy_bench_bytes_per_second{{{RUN}}}", LEGEND), unit="Bps", empty_when=NO_RUN))
        .with_panel(
            lines(
                "Latency, median",
                (f'kafkacy_bench_latency_seconds{{{RUN},quantile="0.5"}}', LEGEND),
                unit="s",
                text="Since the intended time of sending.",
                empty_when=NO_RUN,
            )
        )
        .with_panel(
            lines(
                "Latency, 99 %",
                (f'kafkacy_bench_latency_seconds{{{RUN},quantile="0.99"}}', LEGEND),
                unit="s",
                empty_when=NO_RUN,
            )
        )
        .with_panel(
            lines(
                "CPU of the broker",
                (f"kafkacy_bench_broker_cpu_cores{{{RUN}}}", LEGEND),
                text="Cores.",
                empty_when=NO_RUN,
            )
        )
        .with_panel(
            lines(
                "Memory of the broker",
                (f"kafkacy_bench_broker_resident_memory_bytes{{{RUN}}}", LEGEND),
                unit="bytes",
                empty_when=NO_RUN,
            )
        )
        .with_panel(
            lines(
                "Records for a second of the broker's CPU",
                (
                    f"kafkacy_bench_records_per_second{{{RUN}}} / (kafkacy_bench_broker_cpu_cores{{{RUN}}} > 0)",
                    LEGEND,
                ),
                empty_when=NO_RUN,
            )
        )
        .with_panel(
            lines("Errors", (f"kafkacy_bench_errors_per_second{{{RUN}}}", LEGEND), unit="ops", empty_when=NO_RUN)
        )
        .with_panel(
            rows(
                "Runs",
                (
                    ("records/s", f"max by ({BY}) (kafkacy_bench_records_per_second{{{RUN}}})", "mps"),
                    ("bytes/s", f"max by ({BY}) (kafkacy_bench_bytes_per_second{{{RUN}}})", "Bps"),
                    ("median", f'max by ({BY}) (kafkacy_bench_latency_seconds{{{RUN},quantile="0.5"}})', "s"),
                    ("99 %", f'max by ({BY}) (kafkacy_bench_latency_seconds{{{RUN},quantile="0.99"}})', "s"),
                ),
                ("workload", "target", "label", "round"),
                empty_when=NO_RUN,
            )
        )
    )
