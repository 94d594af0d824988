"""`kafka-cy bench compare`: kafka-cy, Apache Kafka and the machine's floor in one interleaved run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kafka_cy.tools.bench_export import export_options
from kafka_cy.tools.bench_options import OPTIONS
from kafka_cy.tools.bench_run import errors_as_sentences, finish, new_results
from kafka_cy.tools.client import key_values

if TYPE_CHECKING:
    from kafka_cy.bench.results import Results

QUICK = {"duration_s": 0.5, "rounds": 3, "touch_gib": 1.0}
FULL = {"duration_s": 2.5, "rounds": 5, "touch_gib": 6.0}
QUICK_JVM_WARM_UP_S = 8.0
QUICK_CLUSTER_WARM_UP_S = 60.0  # at most
#: Of --cluster.
QUICK_CLUSTER = {"created": 300, "failover": 500, "idle": 1000}


@click.command("compare")
@click.option(
    "--quick",
    is_flag=True,
    help="Short runs: 3 rounds of 0.5 s instead of 5 of 2.5 s, without the loads that take seconds. "
    "With --cluster: fewer partitions.",
)
@click.option(
    "--cluster",
    is_flag=True,
    help="Three kafka-cy brokers and three of Apache Kafka 3.9.2, replication factor 3, with one ZooKeeper. A --quick run takes "
    "some minutes.",
)
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
    help="GiB of memory to touch before measuring (default: 6; with --quick 1).",
)
@OPTIONS["broker_config"]
@OPTIONS["json_path"]
@export_options
def command(
    quick: bool,
    cluster: bool,
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
    """Measure kafka-cy, Apache Kafka and the machine's floor.

    Starts all of them, interleaves the runs, and shows medians with their spread. Ctrl-C keeps what there is.
    """
    from kafka_cy.bench.compare import GIB
    from kafka_cy.bench.report_text import markdown

    defaults = QUICK if quick else FULL
    file = new_results("compare")
    chosen: dict[str, Any] = {
        "duration_s": duration_s or defaults["duration_s"],
        "rounds": rounds or int(defaults["rounds"]),
        "rows": rows,
        "touch_bytes": int((defaults["touch_gib"] if touch_gib is None else touch_gib) * GIB),
        "broker_config": key_values(broker_config, "--broker-config"),
    }
    if quick:
        chosen["jvm_warm_up_s"] = QUICK_CLUSTER_WARM_UP_S if cluster else QUICK_JVM_WARM_UP_S
    with errors_as_sentences():
        make = _cluster if cluster else _single
        whole = make(file, chosen, quick, no_kafka, kafka_jars)
    finish(file, json_path, openmetrics_path, push_url, show=lambda: click.echo(markdown(file)), interrupted=not whole)


def _single(file: Results, chosen: dict[str, Any], quick: bool, no_kafka: bool, kafka_jars: str | None) -> bool:
    """Whether it ran to its end. Raises click.UsageError, BrokerError."""
    from kafka_cy.bench.brokers import kafka_jars as find_jars
    from kafka_cy.bench.compare import Compare, CompareOptions
    from kafka_cy.bench.progress import progress_for_terminal

    jars = None if no_kafka else find_jars(kafka_jars)
    options = CompareOptions(**chosen, long_rows=bool(chosen["rows"]) or not quick, jars=jars)
    if not options.chosen_rows():
        raise click.UsageError(f"no load has a name that contains {options.rows!r}")
    return Compare(file, options, progress_for_terminal(samples=False)).run()


def _cluster(file: Results, chosen: dict[str, Any], quick: bool, no_kafka: bool, kafka_jars: str | None) -> bool:
    """Whether it ran to its end. Raises click.UsageError, BrokerError."""
    from kafka_cy.bench.brokers import kafka_jars as find_jars
    from kafka_cy.bench.cluster.compare import ClusterCompare, ClusterOptions
    from kafka_cy.bench.cluster.servers import KAFKA_VERSION
    from kafka_cy.bench.progress import progress_for_terminal

    jars = None if no_kafka else find_jars(kafka_jars, KAFKA_VERSION)
    options = ClusterOptions(**{**chosen, **(QUICK_CLUSTER if quick else {})}, jars=jars)
    if not options.chosen_rows():
        raise click.UsageError(f"no load has a name that contains {options.rows!r}")
    return ClusterCompare(file, options, progress_for_terminal(samples=False)).run()
