"""`kafka-cy top`: a live view of brokers, topics, groups and lag of a running cluster."""

from __future__ import annotations

import contextlib
import select
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator

import click

from kafka_cy.tools.client import ToolError, bootstrap_option, connect_admin
from kafka_cy.tools.top_screen import TABLE_KEYS, drawn
from kafka_cy.tools.top_snapshot import COMMITTED_OVER_S, Look, View, look
from kafka_cy.tools.top_tables import SORTS, print_view

FIRST_SECONDS = 1.0


@click.command("top")
@bootstrap_option
@click.option(
    "--metrics",
    "urls",
    multiple=True,
    default=("http://127.0.0.1:9404/metrics",),
    show_default=True,
    envvar="KAFKA_CY_METRICS",
    metavar="URL",
    help="URL of a broker's metrics; once for each broker.",
)
@click.option(
    "--lag",
    "lag_url",
    default="http://127.0.0.1:9308/metrics",
    show_default=True,
    envvar="KAFKA_CY_LAG",
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
    """Watch a cluster: brokers, topics, consumer groups and their lag. Press ? for the keys."""
    admin = connect_admin(bootstrap_servers)

    def take() -> Look:
        return look(admin, bootstrap_servers, urls, lag_url)

    looks = deque([take()])
    if once or batch or not sys.stdout.isatty():
        wanted = 1 if once or not batch else iterations
        shown = 0
        while wanted is None or shown < wanted:
            time.sleep(FIRST_SECONDS if shown == 0 else delay)
            if shown > 0:
                print()
            print_view(next_view(looks, take(), internal=internal), sort)
            shown += 1
        return
    watch(looks, take, delay, sort, internal=internal)


def next_view(looks: deque[Look], now: Look, *, internal: bool) -> View:
    """The view of a new snapshot, which is added to the earlier ones. Those older than COMMITTED_OVER_S are removed."""
    before = looks[-1]
    while len(looks) > 1 and now.taken - looks[0].taken > COMMITTED_OVER_S:
        looks.popleft()
    view = View(before, now, looks[0], internal=internal)
    looks.append(now)
    return view


# -- the screen --


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


def watch(looks: deque[Look], take: Callable[[], Look], delay: float, sort: str, *, internal: bool) -> None:
    """Draw until q or Ctrl-C. If the cluster becomes unreachable, the screen says so and it is tried again."""
    from rich.live import Live
    from rich.text import Text

    with single_keys(), Live(Text("..."), screen=True, auto_refresh=False) as live:
        view: View | None = None
        only, help_shown = "", False
        due = time.monotonic() + FIRST_SECONDS
        while True:
            key = key_within(due - time.monotonic())
            if key == "q":
                return
            if key == "s":
                order = list(SORTS)
                sort = order[(order.index(sort) + 1) % len(order)]
            if key is not None:
                only = TABLE_KEYS.get(key, only)
                help_shown = key == "?" and not help_shown
            if time.monotonic() >= due:
                try:
                    view = next_view(looks, take(), internal=internal)
                except ToolError as error:
                    view = None
                    live.update(Text(f"{error}\nTrying again; q quits.", style="red"), refresh=True)
                due = time.monotonic() + delay
            if view is not None:
                size = live.console.size
                live.update(drawn(view, sort, only, size.height, size.width, help_shown=help_shown), refresh=True)
