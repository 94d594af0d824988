"""Runs of `kafka-cy bench`, once their results are in Prometheus."""

from __future__ import annotations

from grafana_foundation_sdk.builders.dashboard import Dashboard

from grafana.panels import CORES, Panel, bars, board, number, rows, variable

RUN = 'workload=~"$workload",target=~"$target"'
LEGEND = "{{label}}: {{target}}"
LATENCY = "Since the intended time of sending. Median of the rounds."
NO_RUN = "until a run's metrics are exported, pushed or imported (kafka-cy bench --help)"
BY = "workload, target, label, round"


def runs(title: str, expression: str, *, text: str, unit: str = "short") -> Panel:
    """Bars, one for each workload, label and target: the median of the rounds, the largest first."""
    median = f"sort_desc(quantile by (workload, label, target) (0.5, {expression}))"
    return bars(title, median, LEGEND, unit=unit, text=text, empty_when=NO_RUN, height=10)


def latency(quantile: str) -> str:
    """A quantile of the latency of each run."""
    return f'kafkacy_bench_latency_seconds{{{RUN},quantile="{quantile}"}}'


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
        .with_panel(runs("Records", f"kafkacy_bench_records_per_second{{{RUN}}}", unit="mps", text="Throughput."))
        .with_panel(runs("Bytes", f"kafkacy_bench_bytes_per_second{{{RUN}}}", unit="Bps", text="Throughput."))
        .with_panel(runs("Latency p50", latency("0.5"), unit="s", text=LATENCY))
        .with_panel(runs("Latency p99", latency("0.99"), unit="s", text=LATENCY))
        .with_panel(
            runs("CPU of the broker", f"kafkacy_bench_broker_cpu_cores{{{RUN}}}", unit=CORES, text="Mean of the run.")
        )
        .with_panel(
            runs(
                "Memory of the broker",
                f"kafkacy_bench_broker_resident_memory_bytes{{{RUN}}}",
                unit="bytes",
                text="Resident, without the page cache.",
            )
        )
        .with_panel(
            runs(
                "Records for a second of the broker's CPU",
                f"kafkacy_bench_records_per_second{{{RUN}}} / (kafkacy_bench_broker_cpu_cores{{{RUN}}} > 0)",
                text="Records a second, divided by the cores that the broker used.",
            )
        )
        .with_panel(runs("Errors", f"kafkacy_bench_errors_per_second{{{RUN}}}", unit="ops", text="Failed requests."))
        .with_panel(
            rows(
                "Runs",
                (
                    ("records/s", f"max by ({BY}) (kafkacy_bench_records_per_second{{{RUN}}})", "mps"),
                    ("bytes/s", f"max by ({BY}) (kafkacy_bench_bytes_per_second{{{RUN}}})", "Bps"),
                    ("p50", f'max by ({BY}) (kafkacy_bench_latency_seconds{{{RUN},quantile="0.5"}})', "s"),
                    ("p99", f'max by ({BY}) (kafkacy_bench_latency_seconds{{{RUN},quantile="0.99"}})', "s"),
                ),
                ("workload", "target", "label", "round"),
                empty_when=NO_RUN,
            )
        )
    )
