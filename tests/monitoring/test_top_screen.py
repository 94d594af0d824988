"""The screen of `kafka-cy top` on small terminals, and the rates that it shows."""

from __future__ import annotations

import io
from collections import deque
from types import SimpleNamespace

import pytest
from rich.console import Console

from kafka_cy.tools.exposition import Samples
from kafka_cy.tools.top import next_view
from kafka_cy.tools.top_screen import drawn, fitted, shortened
from kafka_cy.tools.top_snapshot import (
    BROKER_COLUMNS,
    GROUP_COLUMNS,
    LOAD_COLUMNS,
    TOPIC_COLUMNS,
    Look,
    Row,
    View,
)

LONG = "region-eu-central-1.payments.card-authorisations.enriched.v12"
TOPICS: list[Row] = [
    (f"{LONG}-{number}", 1200, 3, 12, 148_585.0, 1.21e9, 3.99e9, 7.77e12, 123_456_789_012.0) for number in range(40)
]
GROUPS: list[Row] = [(f"group-of-{LONG}-{number}", 120, 12, 1_234_567.0, 4000.0, 14_585.0) for number in range(30)]
LOAD: list[Row] = [("kafka-0.example:9404", 148_585.0, 1.21e9, 3.99e9, 45_123.0, 0.0123, 1.99, 4.12e9, 12_345.0, 1_234_567.0)]
BROKERS: list[Row] = [("1 (controller)", "kafka-0.kafka-headless.production.svc.cluster.local:9092", 1200, 3600, 12)]


class FixedView:
    """Stands for a View; its tables do not change."""

    now = SimpleNamespace(problems=[])

    def summary(self) -> str:
        return "1 broker, 40 topics, 48,000 partitions, 30 groups, 148,585/s messages, 1.21 GB/s in, 3.99 GB/s out, lag 1"

    def brokers(self) -> list[Row]:
        return BROKERS

    def load(self) -> list[Row]:
        return LOAD

    def topic_rows(self) -> list[Row]:
        return TOPICS

    def groups(self) -> list[Row]:
        return GROUPS


def screen(width: int, height: int, only: str = "", *, help_shown: bool = False) -> list[str]:
    console = Console(file=io.StringIO(), width=width, height=height)
    view: View = FixedView()  # type: ignore[assignment]
    console.print(drawn(view, "load", only, height, width, help_shown=help_shown))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


@pytest.mark.parametrize(("width", "height"), [(80, 24), (100, 30), (120, 40), (200, 60)])
def test_figures_are_whole_and_every_table_is_shown(width: int, height: int) -> None:
    lines = screen(width, height)
    assert len(lines) <= height
    assert all(len(line) <= width for line in lines)
    assert [line.split()[0] for line in lines if line.startswith(("BROKER", "METRICS", "TOPIC", "GROUP"))] == [
        "BROKER",
        "METRICS",
        "TOPIC",
        "GROUP",
    ]
    text = "\n".join(lines)
    for figure in ("148,585/s", "1.21 GB/s", "3.99 GB/s", "7.77 TB", "45,123/s", "12.3 ms", "1,234,567", "14,585/s"):
        assert figure in text, figure
    header, first = next(
        (lines[index], lines[index + 1]) for index, line in enumerate(lines) if line.startswith("TOPIC")
    )
    assert "…" not in header and first.count("…") == (1 if width < 160 else 0)
    assert first.split()[0].startswith("regi") and first.split()[0].endswith(".v12-0" if width > 80 else "12-0")


def test_one_table_alone_and_the_help() -> None:
    lines = screen(80, 24, "Groups")
    assert sum(line.startswith("group") for line in lines) >= 17
    assert not any(line.startswith("TOPIC") for line in lines)
    assert any("under-replicated partitions" in line for line in screen(80, 24, help_shown=True))


def test_names_are_shortened_in_the_middle() -> None:
    assert shortened("orders", 6) == "orders"
    assert shortened("orders-of-today", 9) == "orde…oday"
    assert len(shortened("x" * 50 + "y" * 50, 20)) == 20


@pytest.mark.parametrize("columns", [BROKER_COLUMNS, LOAD_COLUMNS, TOPIC_COLUMNS, GROUP_COLUMNS])
def test_empty_tables_fit(columns: tuple[object, ...]) -> None:
    kept, headings, widths = fitted(columns, [], 80)  # type: ignore[arg-type]
    assert len(kept) == len(headings) == len(widths)
    assert sum(widths) + 2 * (len(widths) - 1) <= 80


def look_at(seconds: float, offset: float) -> Look:
    lag = Samples()
    lag.add_text(
        f'kafka_consumergroup_current_offset{{consumergroup="shop",topic="orders",partition="0"}} {offset}\n'
        f'kafka_consumergroup_members{{consumergroup="shop"}} 1\n'
    )
    metadata = SimpleNamespace(topics={}, brokers={}, controller_id=1)
    return Look(seconds, metadata, {}, lag)


def test_commits_are_a_rate_over_half_a_minute() -> None:
    """The group commits 500 records every 5 s, the screen is drawn every 2 s."""
    looks = deque([look_at(0.0, 0.0)])
    shown = []
    for step in range(1, 31):
        seconds = 2.0 * step
        view = next_view(looks, look_at(seconds, 500.0 * (seconds // 5)), internal=False)
        shown.append(view.groups()[0][-1])
    assert shown[:7] == [None] * 7  # too early
    rates = [rate for rate in shown[7:] if isinstance(rate, float)]
    assert len(rates) == 23
    assert all(75.0 <= rate <= 120.0 for rate in rates), rates
    assert len(looks) <= 17


def test_what_is_not_known_is_a_dash() -> None:
    empty = Look(1.0, SimpleNamespace(topics={}, brokers={}, controller_id=1), {}, Samples())
    view = next_view(deque([empty]), Look(2.0, empty.metadata, {}, Samples()), internal=False)
    assert view.summary() == "0 brokers, 0 topics, 0 partitions, - groups, - messages, - in, - out, lag -"
