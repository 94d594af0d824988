"""`kafka-cy bench report FILE [B]`: a results file, or two side by side, as text and as a page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from kafka_cy.tools.bench_export import OutputFile, export_options, export_results
from kafka_cy.tools.client import ToolError
from kafka_cy.tools.output import note

if TYPE_CHECKING:
    from kafka_cy.bench.results import Results

FILE = click.Path(path_type=Path)


@click.command("report")
@click.argument("file", type=FILE)
@click.argument("other", metavar="[B]", type=FILE, required=False)
@click.option(
    "--html", "html_path", type=OutputFile(), metavar="OUT", help="Also write a self-contained page with plots."
)
@export_options
def command(
    file: Path, other: Path | None, html_path: Path | None, openmetrics_path: Path | None, push_url: str | None
) -> None:
    """Show a results FILE of any bench command; with B, how B stands to it.

    Metrics (--openmetrics, --push) are of FILE alone.
    """
    first = loaded(file)
    second = None if other is None else loaded(other)
    from kafka_cy.tools.bench_report_text import print_report

    print_report(first, second)
    if html_path is not None:
        write_page(html_path, first, second)
    export_results(first, openmetrics_path, push_url)


def loaded(path: Path) -> Results:
    """A results file; raises ToolError."""
    from kafka_cy.bench.results import ResultsError, load

    try:
        return load(path)
    except OSError as error:
        raise ToolError(f"{path} cannot be read: {error.strerror}.") from error
    except ResultsError as error:
        raise ToolError(f"Not a results file: {error}.") from error


def write_page(path: Path, first: Results, second: Results | None = None) -> None:
    """Write the page; raises ToolError."""
    from kafka_cy.bench.report_html import html_page

    page = html_page(first, second).encode(errors="replace")  # texts from a file may contain lone surrogates
    try:
        path.write_bytes(page)
    except OSError as error:
        raise ToolError(f"{path} cannot be written: {error.strerror}.") from error
    note(f"Page written to {path}.")
