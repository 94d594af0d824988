"""`kafka-cy top`: a live view of brokers, topics, groups and lag of a running cluster."""

from __future__ import annotations

import contextlib
import select
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import click

from kafka_cy.tools.client import ToolError, bootstrap_option, connect_admin
from kafka_cy.tools.output import note, print_table
from kafka_cy.tools.top_snapshot import (
    BROKER_COLUMNS,
    GROUP_COLUMNS,
    LOAD_COLUMNS,
    TOPIC_COLUMNS,
    Column,
    Look,
    Row,
    View,
    look,
)

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

# The sort keys of topics and groups; other tables are sorted by name.
SORTS = {"load": ("MESSAGES", "LAG"), "size": ("SIZE", "BEHIND"), "name": ("TOPIC", "GROUP")}
FIRST_SECONDS = 1.0
ROWS_LEAST = 4
LINES_AROUND_TABLES = 14


@click.command("top")
@bootstrap_option
@click.option(
    "--metrics",
    "urls",
    multiple=True,
    default=("http://127.0.0.1:9404/metrics",),
    show_default=True,
    metavar="URL",
    help="URL of a broker's metrics; once for each broker.",
)
@click.option(
    "--lag",
    "lag_url",
    default="http://127.0.0.1:9308/metrics",
    show_default=True,
    metavar="URL",
    help="URL of the consumer lag page of any broker.",
)
@click.option("-d", "--delay", type=click.FloatRange(0.2, 3600), default=2.0, show_default=True, metavar="SECONDS")
@click.option("-s", "--sort", type=click.Choice(list(SORTS)), default="load", show_default=True)
@click.option("--internal", is_flag=True, help="Include Kafka's internal topics.")
@click.option("--once", is_flag=True, help="Print one snapshot and exit.")
@click.option("--batch", is_flag=True, help="Print a snapshot every SECONDS, without a screen (as on a pipe).")
@click.option(
    "-n", "--iterations", type=click.IntRange(min=1), help="With --batch: exit after this number of snapshots."
)
def command(
    bootstrap_servers: str,
    urls: tuple[str, ...],
    lag_url: str,
    delay: float,
    sort: str,
    internal: bool,
    once: bool,
    batch: bool,
    iterations: int | None,
) -> None:
    """Watch a cluster: brokers, topics, consumer groups and their lag. Keys: q quits, s sorts."""
    admin = connect_admin(bootstrap_servers)

    def take() -> Look:
        return look(admin, bootstrap_servers, urls, lag_url)

    before = take()
    if once or batch or not sys.stdout.isatty():
        wanted = 1 if once or not batch else iterations
        shown = 0
        while wanted is None or shown < wanted:
            time.sleep(FIRST_SECONDS if shown == 0 else delay)
            if shown > 0:
                print()
            now = take()
            print_view(View(before, now, internal=internal), sort)
            before = now
            shown += 1
        return
    watch(before, take, delay, sort, internal=internal)


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


def tables(view: View, sort: str) -> list[tuple[str, Sequence[Column], list[Row]]]:
    """(title, columns, rows) of the four tables."""
    return [
        ("Brokers", BROKER_COLUMNS, view.brokers()),
        ("Load", LOAD_COLUMNS, view.load()),
        ("Topics", TOPIC_COLUMNS, sorted_rows(TOPIC_COLUMNS, view.topic_rows(), sort)),
        ("Groups", GROUP_COLUMNS, sorted_rows(GROUP_COLUMNS, view.groups(), sort)),
    ]


def print_view(view: View, sort: str) -> None:
    """Print the tables in turn. On a pipe each is its header and tab-separated lines, with an empty line
    between tables."""
    for problem in view.now.problems:
        note(problem)
    print(view.summary())
    for _, columns, rows in tables(view, sort):
        print()
        cells = [[column.text(value) for column, value in zip(columns, row, strict=True)] for row in rows]
        print_table([column.name for column in columns], cells)
    sys.stdout.flush()


# -- the screen --


def drawn(view: View, sort: str, lines: int) -> RenderableType:
    """The tables for a screen of `lines` lines: brokers are shown completely, topics and groups share the rest."""
    from rich.console import Group
    from rich.text import Text

    listed = tables(view, sort)
    fixed = sum(len(rows) for _, _, rows in listed[:2]) + LINES_AROUND_TABLES + len(view.now.problems)
    room = max((lines - fixed) // 2, ROWS_LEAST)
    parts: list[RenderableType] = [Text(view.summary(), style="bold")]
    parts += [Text(problem, style="red") for problem in view.now.problems]
    for title, columns, rows in listed:
        most = room if title in ("Topics", "Groups") else len(rows)
        parts.append(table(title, columns, rows[:most], len(rows) - most))
    parts.append(Text(f"q quit   s sort ({sort})", style="dim"))
    return Group(*parts)


def table(title: str, columns: Sequence[Column], rows: Sequence[Row], left_out: int) -> Table:
    """One table with right-aligned numbers."""
    from rich import box
    from rich.table import Table

    made = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, title_style="bold cyan")
    if left_out > 0:
        made.caption, made.caption_justify = f"and {left_out} more", "left"
    for column in columns:
        made.add_column(column.name, justify="right" if column.kind else "left", overflow="ellipsis", no_wrap=True)
    for row in rows:
        made.add_row(*(column.text(value) for column, value in zip(columns, row, strict=True)))
    return made


@contextlib.contextmanager
def single_keys() -> Iterator[None]:
    """Read keys one by one and without echo, if standard input is a terminal."""
    if not sys.stdin.isatty():
        yield
        return
    import termios
    import tty

    saved = termios.tcgetattr(sys.stdin)
    tty.setcbreak(sys.stdin)
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, saved)


def key_within(seconds: float) -> str | None:
    """A key pressed within `seconds`, or None."""
    if not sys.stdin.isatty():
        time.sleep(seconds)
        return None
    ready, _, _ = select.select([sys.stdin], [], [], max(seconds, 0.0))
    return sys.stdin.read(1) if ready else None


def watch(before: Look, take: Callable[[], Look], delay: float, sort: str, *, internal: bool) -> None:
    """Draw until q or Ctrl-C. If the cluster becomes unreachable, the screen says so and it is tried again."""
    from rich.live import Live
    from rich.text import Text

    with single_keys(), Live(Text("..."), screen=True, auto_refresh=False) as live:
        view: View | None = None
        due = time.monotonic() + FIRST_SECONDS
        while True:
            key = key_within(due - time.monotonic())
            if key == "q":
                return
            if key == "s":
                order = list(SORTS)
                sort = order[(order.index(sort) + 1) % len(order)]
            if time.monotonic() >= due:
                try:
                    now = take()
                    view, before = View(before, now, internal=internal), now
                except ToolError as error:
                    view = None
                    live.update(Text(f"{error}\nTrying again; q quits.", style="red"), refresh=True)
                due = time.monotonic() + delay
            if view is not None:
                live.update(drawn(view, sort, live.console.height), refresh=True)
