"""`kafka-cy bench`: measures any Kafka broker and the cost of its settings."""

from __future__ import annotations

import signal
from typing import IO, Any

import click

from kafka_cy.tools import bench_compare, bench_report, bench_run, bench_scaling, bench_tune


class WrongOption(click.UsageError):
    """A usage error that is shown as one sentence."""

    def show(self, file: IO[Any] | None = None) -> None:
        text = self.format_message().rstrip(".")
        click.echo(f"kafka-cy bench: {text}{'' if text.endswith('?') else '.'}", err=True)


class BenchGroup(click.Group):
    """Shows option errors as one sentence, and ends a run on SIGTERM as on Ctrl-C."""

    def invoke(self, context: click.Context) -> Any:
        # Otherwise brokers that the run started would outlive it.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            return super().invoke(context)
        except click.UsageError as error:
            raise WrongOption(error.format_message(), error.ctx) from error


@click.group("bench", cls=BenchGroup)
def commands() -> None:
    """Measure a broker, and show what was measured."""


for workload in bench_run.commands():
    commands.add_command(workload)
commands.add_command(bench_compare.command)
commands.add_command(bench_scaling.command)
commands.add_command(bench_report.command)
commands.add_command(bench_tune.command)
