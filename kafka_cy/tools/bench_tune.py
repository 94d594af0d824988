"""`kafka-cy bench tune`: which settings suit throughput, latency and durability on a broker."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kafka_cy.tools.bench_export import OutputFile, export_options, export_results
from kafka_cy.tools.bench_options import OPTIONS
from kafka_cy.tools.bench_report import write_page
from kafka_cy.tools.bench_run import (
    EXIT_INTERRUPTED,
    broker_starter,
    errors_as_sentences,
    new_results,
    open_target,
    write_json,
)
from kafka_cy.tools.bench_settings import properties_of
from kafka_cy.tools.client import ToolError
from kafka_cy.tools.output import note

if TYPE_CHECKING:
    from collections.abc import Callable

GOALS = ("throughput", "latency", "durability")
SHARED = (
    "bootstrap_servers",
    "broker",
    "kafka_jars",
    "broker_config",
    "command_properties",
    "command_config",
    "replication_factor",
    "json_path",
)


def shared_options(function: Callable[..., None]) -> Callable[..., None]:
    """Add the options that the workloads have as well."""
    for name in reversed(SHARED):
        function = OPTIONS[name](function)
    return function


@click.command("tune")
@click.option(
    "--goal",
    "goals",
    type=click.Choice([*GOALS, "all"]),
    multiple=True,
    default=("all",),
    show_default=True,
    help="Goal to tune for; may be repeated.",
)
@click.option(
    "--budget",
    "budget_s",
    type=click.FloatRange(min=0),
    default=420,
    show_default=True,
    metavar="SECONDS",
    help="Time after which no further trial starts. The baseline is always measured.",
)
@click.option(
    "--duration",
    "duration_s",
    type=click.FloatRange(min=0.5),
    default=3,
    show_default=True,
    metavar="SECONDS",
    help="Duration of one run, after a warm-up of a third of it (at least a second); a trial has two runs.",
)
@click.option("--record-size", type=click.IntRange(min=8), default=1000, show_default=True, metavar="BYTES")
@click.option(
    "--random-bytes-ratio",
    type=click.FloatRange(0, 1),
    default=0.5,
    show_default=True,
    help="Share of each value that is incompressible.",
)
@click.option("--payload-file", metavar="FILE", help="File whose lines are sent as records.")
@shared_options
@click.option("--html", "html_path", type=OutputFile(), metavar="OUT", help="Write a self-contained page with plots.")
@export_options
def command(
    goals: tuple[str, ...],
    budget_s: float,
    duration_s: float,
    record_size: int,
    random_bytes_ratio: float,
    payload_file: str | None,
    replication_factor: int,
    json_path: Path | None,
    html_path: Path | None,
    openmetrics_path: Path | None,
    push_url: str | None,
    **where: Any,
) -> None:
    """Search for settings that suit a goal, within a budget of time.

    Measures Kafka's defaults, then every value of every setting alone, then combinations of what helped, and confirms
    the best. Ctrl-C ends it early and keeps what was measured. docs/benchmarks.md says what each goal means.
    """
    from kafka_cy.bench.load_options import LoadOptions
    from kafka_cy.bench.payloads import Payloads
    from kafka_cy.bench.tune import INTERRUPTED
    from kafka_cy.bench.tune_trial import tune_broker
    from kafka_cy.tools.bench_report_text import print_report, print_trial

    payloads = Payloads(record_size=record_size, random_bytes_ratio=random_bytes_ratio, payload_file=payload_file)
    results = new_results("tune")
    with errors_as_sentences():
        start = broker_starter(where, results)
        target = open_target(where["bootstrap_servers"], start, where["broker"], properties_of(where), LoadOptions())
        try:
            tune = tune_broker(
                results,
                target,
                list(GOALS) if "all" in goals else list(dict.fromkeys(goals)),
                payloads,
                duration_s=duration_s,
                budget_s=budget_s,
                replication_factor=replication_factor,
                on_trial=print_trial,
            )
        finally:
            target.stop()
    write_json(results, json_path)
    if not tune.recommendations and tune.trials and tune.trials[0].error and INTERRUPTED not in tune.notes:
        raise ToolError(f"Kafka's defaults could not be measured: {tune.trials[0].error}")
    print_report(results)
    if json_path is not None:
        note(f"Results written to {json_path}.")
    if html_path is not None:
        write_page(html_path, results)
    export_results(results, openmetrics_path, push_url)
    if INTERRUPTED in tune.notes:
        raise click.exceptions.Exit(EXIT_INTERRUPTED)
