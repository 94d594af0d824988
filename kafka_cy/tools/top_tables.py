"""The tables of `kafka-cy top`, sorted, and their form on a pipe."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from kafka_cy.tools.output import note, print_table
from kafka_cy.tools.top_snapshot import (
    BROKER_COLUMNS,
    GROUP_COLUMNS,
    LOAD_COLUMNS,
    TOPIC_COLUMNS,
    Column,
    Row,
    View,
)

#: The sort keys of topics and groups; other tables are sorted by name.
SORTS = {"load": ("MESSAGES", "LAG"), "size": ("SIZE", "BEHIND"), "name": ("TOPIC", "GROUP")}

#: (title, columns, rows)
Listed = tuple[str, Sequence[Column], list[Row]]


def sorted_rows(columns: Sequence[Column], rows: Sequence[Row], sort: str) -> list[Row]:
    """Rows sorted by the column of `sort`, largest first; by name if the table does not have that column."""
    names = [column.name for column in columns]
    index = next((names.index(name) for name in SORTS[sort] if name in names), 0)
    by_name = sorted(rows, key=lambda row: str(row[0]))
    if index == 0:
        return by_name

    def size(row: Row) -> float:
        value = row[index]
        return value if isinstance(value, (int, float)) else -1.0

    return sorted(by_name, key=size, reverse=True)


def tables(view: View, sort: str) -> list[Listed]:
    """The four tables."""
    return [
        ("Brokers", BROKER_COLUMNS, view.brokers()),
        ("Load", LOAD_COLUMNS, view.load()),
        ("Topics", TOPIC_COLUMNS, sorted_rows(TOPIC_COLUMNS, view.topic_rows(), sort)),
        ("Groups", GROUP_COLUMNS, sorted_rows(GROUP_COLUMNS, view.groups(), sort)),
    ]


def print_view(view: View, sort: str) -> None:
    """Print the tables in turn, with an empty line between them: on a terminal as on the screen, but with all rows; on a pipe
    as a header and tab-separated lines."""
    for problem in view.now.problems:
        note(problem)
    print(view.summary())
    if sys.stdout.isatty():
        from rich.console import Console

        from kafka_cy.tools.top_screen import table_lines

        console = Console(highlight=False)
        for _, columns, rows in tables(view, sort):
            console.print("", *table_lines(columns, rows, console.width), sep="\n")
        return
    for _, columns, rows in tables(view, sort):
        print()
        cells = [[column.text(value) for column, value in zip(columns, row, strict=True)] for row in rows]
        print_table([column.name for column in columns], cells)
    sys.stdout.flush()
