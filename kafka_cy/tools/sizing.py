"""`kafka-cy sizing`: how many brokers, disks, partitions and how much memory a load needs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kafka_cy.sizing.inputs import INPUT_FIELDS, SizingInputs, parse_inputs, read_yaml
from kafka_cy.sizing.units import SizingError, format_amount
from kafka_cy.tools.client import ToolError
from kafka_cy.tools.output import note, print_table

if TYPE_CHECKING:
    from collections.abc import Callable

    from kafka_cy.sizing.plan import Plan
    from kafka_cy.tools.measured import Measured

WATCH_SECONDS_MAX = 3600
SHORTER = {"plan_for_days": ("--plan-for",)}  # further names of the option of an input


def input_options(function: Callable[..., None]) -> Callable[..., None]:
    """Add an option for each field of `SizingInputs`."""
    for name, each in reversed(INPUT_FIELDS.items()):
        described = each.metadata
        usual: float | None = each.default if isinstance(each.default, (int, float)) else None
        default = "" if usual is None else f" [default: {format_amount(described['kind'], usual)}]"
        names = [f"--{name.replace('_', '-')}", *SHORTER.get(name, ())]
        function = click.option(
            *names,
            name,
            metavar=described["kind"].upper(),
            help=f"{described['text']}.{default}",
        )(function)
    return function


@click.command("sizing")
@click.option("--from", "path", type=click.Path(path_type=Path), help="YAML file of inputs (`name: amount` lines).")
@click.option("--prometheus", metavar="URL", help="Measure the load of a cluster from its Prometheus.")
@click.option("--window", default="7d", show_default=True, help="Time range of the Prometheus queries.")
@click.option(
    "--metrics",
    "urls",
    multiple=True,
    metavar="URL",
    help="Measure from a broker's /metrics; once for each broker of the cluster.",
)
@click.option(
    "-b",
    "--bootstrap-server",
    "bootstrap",
    default="127.0.0.1:9092",
    show_default=True,
    envvar="KAFKA_BOOTSTRAP",
    metavar="HOST:PORT",
    help="With --metrics: broker of the cluster, for its topics, a sample of records, and what pages do not tell.",
)
@click.option(
    "--watch",
    type=click.FloatRange(1, WATCH_SECONDS_MAX),
    default=10.0,
    show_default=True,
    metavar="SECONDS",
    help="With --metrics: duration of the measurement.",
)
@click.option("--output", type=click.Choice(["table", "json", "html"]), default="table", show_default=True)
@click.option("--out", type=click.Path(path_type=Path), help="Write to this file instead of standard output.")
@input_options
def command(
    path: Path | None,
    prometheus: str | None,
    window: str,
    urls: tuple[str, ...],
    bootstrap: str,
    watch: float,
    output: str,
    out: Path | None,
    **options: str | None,
) -> None:
    """Work out the size of a cluster: storage, brokers, network, partitions, memory, recovery, cost.

    Inputs are options, lines of a YAML file, or measured of a running cluster; options come before the file, the file
    before what is measured. Amounts take units: 500GB, 12h, 10Gbit/s, 70%. The brokers suffice for --plan-for (a year) at
    --growth-per-year. The formulas: docs/sizing.md.
    """
    from kafka_cy.sizing.plan import make_plan

    if prometheus is not None and urls:
        raise click.UsageError("Give --prometheus or --metrics, not both.")
    measured = _measure(prometheus, window, urls, bootstrap, watch)
    try:
        values: dict[str, Any] = dict(measured.values) if measured else {}
        values.update(read_yaml(path) if path else {})
        values.update(parse_inputs({name: value for name, value in options.items() if value is not None}))
        plan = make_plan(SizingInputs(**values))
    except SizingError as error:
        raise ToolError(str(error)) from error
    notes = measured.notes if measured else []
    plan.warnings[:0] = measured.warnings if measured else []
    if output == "table" and out is None:
        print_plan(plan, notes)
        return
    text = render(plan, output, notes)
    if out is None:
        click.echo(text, nl=False)
        return
    try:
        out.write_text(text)
    except OSError as error:
        raise ToolError(f"{out} cannot be written: {error.strerror}.") from error


def _measure(
    prometheus: str | None, window: str, urls: tuple[str, ...], bootstrap: str, watch: float
) -> Measured | None:
    if prometheus is not None:
        from kafka_cy.tools.measure_prometheus import measure_prometheus

        return measure_prometheus(prometheus, window)
    if urls:
        from kafka_cy.tools.measure_broker import measure_broker

        return measure_broker(bootstrap, urls, watch)
    return None


def rows(plan: Plan) -> list[tuple[str, str, str, str]]:
    """(section, figure, value, why) of every figure."""
    return [
        (section, figure.name, figure.text, figure.why)
        for section, figures in plan.sections.items()
        for figure in figures
    ]


def print_plan(plan: Plan, notes: list[str]) -> None:
    """Print the table to standard output, notes on measurements and warnings to standard error."""
    for line in notes:
        note(f"measured {line}")
    print_table(("SECTION", "FIGURE", "VALUE", "WHY"), rows(plan))
    for warning in plan.warnings:
        note(f"Warning: {warning}")


def render(plan: Plan, output: str, notes: list[str]) -> str:
    """The plan as text in the format `output`."""
    from kafka_cy.sizing.report import plan_html, plan_json

    if output == "json":
        return plan_json(plan) + "\n"
    if output == "html":
        return plan_html(plan, [f"Measured {line}." for line in notes])
    return "".join("\t".join(row) + "\n" for row in rows(plan))
