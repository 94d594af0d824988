"""Tables: drawn with rich on a terminal, tab-separated lines with a header on a pipe, or JSON with `-o json`."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import click

Cell = str | int | None
Command = TypeVar("Command", bound=Callable[..., Any])
OUTPUT = "kafka_cy.output"  # of the running command, in click's context


def output_option(function: Command) -> Command:
    """Add `--output table|json` to a command that prints one table."""
    return click.option(
        "-o",
        "--output",
        type=click.Choice(["table", "json"]),
        default="table",
        show_default=True,
        callback=lambda context, _, value: context.meta.__setitem__(OUTPUT, value),
        expose_value=False,
        help="json: one array of objects.",
    )(function)


def json_wanted() -> bool:
    """Whether the running command has `-o json`."""
    context = click.get_current_context(silent=True)
    return context is not None and context.meta.get(OUTPUT) == "json"


def print_json(value: object) -> None:
    """Print a value as JSON, indented."""
    print(json.dumps(value, indent=2, ensure_ascii=False))


def json_key(column: str) -> str:
    """`current_offset` for the column CURRENT-OFFSET."""
    return column.strip("#").replace(" (ID)", "").replace("-", "_").replace(" ", "_").lower()


def print_table(columns: Sequence[str], rows: Iterable[Sequence[Cell]], *, title: str | None = None) -> None:
    """Print rows; None is shown as `-`. Numbers are right-aligned on a terminal. With `-o json` each row is an object."""
    if json_wanted():
        print_json([dict(zip(map(json_key, columns), row, strict=True)) for row in rows])
        return
    listed = [["-" if cell is None else cell for cell in row] for row in rows]
    if not sys.stdout.isatty():
        print("\t".join(columns))
        for row in listed:
            print("\t".join(str(cell) for cell in row))
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(title) if title else None, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for index, column in enumerate(columns):
        numeric = bool(listed) and all(isinstance(row[index], int) or row[index] == "-" for row in listed)
        table.add_column(Text(column), justify="right" if numeric else "left", overflow="fold")
    for row in listed:
        table.add_row(*(Text(str(cell)) for cell in row))  # as Text, so that square brackets are not markup
    Console(highlight=False).print(table)


def note(text: str) -> None:
    """Print a remark for the user to stderr, so that a pipe carries only data."""
    print(text, file=sys.stderr)
