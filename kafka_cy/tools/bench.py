"""`kafka-cy bench`: what a broker, any broker, does and what its settings cost."""

from __future__ import annotations

import click

from kafka_cy.tools import bench_report


@click.group("bench")
def commands() -> None:
    """Measure a broker, and show what was measured."""


commands.add_command(bench_report.command)
