"""Tables: drawn with rich on a terminal, tab-separated lines with a header on a pipe."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence

Cell = str | int | None


def print_table(columns: Sequence[str], rows: Iterable[Sequence[Cell]], *, title: str | None = None) -> None:
    """Print rows; None is shown as `-`. Numbers are right-aligned on a terminal."""
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
