"""`kafka-cy bench scaling`: what a request costs as partitions, connections, groups ... grow."""

from __future__ import annotations

from pathlib import Path

import click

from kafka_cy.tools.bench_export import export_options
from kafka_cy.tools.bench_options import OPTIONS
from kafka_cy.tools.bench_run import errors_as_sentences, finish, new_results

CURVES = ("partitions", "connections", "groups", "segments", "record size", "reactors")


@click.command("scaling")
@click.option("--quick", is_flag=True, help="Fewer points; 3 pairs of 0.3 s instead of 5 of 0.7 s.")
@click.option(
    "--duration",
    "duration_s",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    help="Duration of a run.",
)
@click.option("--pairs", type=click.IntRange(min=1), metavar="N", help="Pairs of base and variant runs at each point.")
@click.option(
    "--curve", "curves", type=click.Choice(CURVES), multiple=True, help="Measure only this curve; may be repeated."
)
@OPTIONS["json_path"]
@export_options
def command(
    quick: bool,
    duration_s: float | None,
    pairs: int | None,
    curves: tuple[str, ...],
    json_path: Path | None,
    openmetrics_path: Path | None,
    push_url: str | None,
) -> None:
    """Show what a request costs as something grows.

    Two brokers of its own run at once, one where nothing grows; short runs alternate between them. Ctrl-C keeps what
    there is.
    """
    from kafka_cy.bench.progress import progress_for_terminal
    from kafka_cy.bench.report_text import markdown
    from kafka_cy.bench.scaling import Scaling, ScalingOptions

    file = new_results("scaling")
    options = ScalingOptions(
        duration_s=duration_s or (0.3 if quick else ScalingOptions.duration_s),
        pairs=pairs or (3 if quick else ScalingOptions.pairs),
        curves=curves,
        quick=quick,
    )
    with errors_as_sentences():
        whole = Scaling(file, options, progress_for_terminal(samples=False)).run()
    finish(file, json_path, openmetrics_path, push_url, show=lambda: click.echo(markdown(file)), interrupted=not whole)
