"""`kafka-cy bench compare`: kafka-cy, Apache Kafka and the machine's floor in one interleaved run."""

from __future__ import annotations

from pathlib import Path

import click

from kafka_cy.tools.bench_export import export_options
from kafka_cy.tools.bench_run import OPTIONS, errors_as_sentences, finish, new_results
from kafka_cy.tools.client import key_values

QUICK = {"duration_s": 0.5, "rounds": 3, "touch_gib": 1.0}
FULL = {"duration_s": 2.5, "rounds": 5, "touch_gib": 6.0}
QUICK_JVM_WARM_UP_S = 8.0


@click.command("compare")
@click.option("--quick", is_flag=True, help="Short runs: 3 rounds of 0.5 s instead of 5 of 2.5 s.")
@click.option(
    "--duration",
    "duration_s",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    help="Duration of a run.",
)
@click.option("--rounds", type=click.IntRange(min=1), metavar="N")
@click.option("--rows", default="", metavar="TEXT", help="Only loads whose name contains this.")
@click.option("--no-kafka", is_flag=True, help="Do not measure Apache Kafka.")
@OPTIONS["kafka_jars"]
@click.option(
    "--touch-gib",
    type=click.FloatRange(min=0),
    metavar="N",
    help="GiB of memory to touch first (default: 6; with --quick 1).",
)
@OPTIONS["broker_config"]
@OPTIONS["json_path"]
@export_options
def command(
    quick: bool,
    duration_s: float | None,
    rounds: int | None,
    rows: str,
    no_kafka: bool,
    kafka_jars: str | None,
    touch_gib: float | None,
    broker_config: tuple[str, ...],
    json_path: Path | None,
    openmetrics_path: Path | None,
    push_url: str | None,
) -> None:
    """Measure kafka-cy beside Apache Kafka and the machine's floor.

    Starts all of them, interleaves the runs, and shows medians with their spread. Ctrl-C keeps what there is.
    """
    from kafka_cy.bench.brokers import kafka_jars as find_jars
    from kafka_cy.bench.compare import GIB, Compare, CompareOptions
    from kafka_cy.bench.progress import progress_for_terminal
    from kafka_cy.bench.report_text import markdown

    defaults = QUICK if quick else FULL
    file = new_results("compare")
    with errors_as_sentences():
        options = CompareOptions(
            duration_s=duration_s or defaults["duration_s"],
            rounds=rounds or int(defaults["rounds"]),
            rows=rows,
            touch_bytes=int((defaults["touch_gib"] if touch_gib is None else touch_gib) * GIB),
            jvm_warm_up_s=QUICK_JVM_WARM_UP_S if quick else CompareOptions.jvm_warm_up_s,
            jars=None if no_kafka else find_jars(kafka_jars),
            broker_config=key_values(broker_config, "--broker-config"),
        )
        if not options.chosen_rows():
            raise click.UsageError(f"no load has a name that contains {rows!r}")
        whole = Compare(file, options, progress_for_terminal(samples=False)).run()
    finish(file, json_path, openmetrics_path, push_url, show=lambda: click.echo(markdown(file)), interrupted=not whole)
