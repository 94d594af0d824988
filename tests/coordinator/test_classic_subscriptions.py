"""What members of classic groups read: no rebalance looks at it, OffsetDelete and the expiry of offsets do, in short steps."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from kafka_cy.base import slices
from kafka_cy.base.slices import at_once
from kafka_cy.coordinator.classic import subscriptions
from kafka_cy.coordinator.classic.subscriptions import unread_topics
from kafka_cy.coordinator.offsets.pieces import PIECE_OFFSETS_MAX
from kafka_cy.protocol.errors import ErrorCode

from .fakes import SUBSCRIPTION, FakeCluster, Harness, subscription
from .lines import Lines

NAMES = 5000
LINES_MAX = 3000  # of a turn of the loop: less than one for each name
PIECE = 100  # names that one step reads here
Run = Callable[[Callable[[], object]], object]
RETENTION_S = 7200
LONG_MS = 1_800_000


MANY = subscription([f"topic{number}" for number in range(NAMES)])


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subscriptions, "PIECE_NAMES", PIECE)


def turns(harness: Harness, lines: Run) -> Iterator[None]:
    """What is due, one after the other, and counted."""
    loop = harness.loop
    while loop.timers and loop.timers[0][0] <= loop.time_s:
        lines(loop.run_next)
        yield


def uncounted(step: Callable[[], object]) -> object:
    return step()


def settle(harness: Harness, lines: Run) -> None:
    for _ in turns(harness, lines):
        pass


def readers(*members: bytes) -> tuple[Harness, list[str], int]:
    """A Stable group "g" with a member for each subscription, and its generation."""
    harness = Harness(
        FakeCluster(1), group_initial_rebalance_delay_ms=0, offsets_retention_minutes=RETENTION_S // 60
    )
    joins = [harness.join(protocols=[("range", each)], session_ms=LONG_MS) for each in members[:1]]
    harness.loop.advance(0)
    leader = joins[0][0]["member_id"]
    harness.sync(leader, 1, {})
    names = [leader]
    for each in members[1:]:
        joined = harness.join(protocols=[("range", each)], session_ms=LONG_MS)
        again = [
            harness.join(member=name, protocols=[("range", members[place])], session_ms=LONG_MS)
            for place, name in enumerate(names)
        ]
        assert all(again)
        names.append(joined[0]["member_id"])
        for name in reversed(names):
            harness.sync(name, joined[0]["generation_id"], {each: each.encode() for each in names})
    assert harness.group().state_name == "Stable"
    return harness, names, harness.group().generation


def deleted(harness: Harness, *topics: str) -> list[dict[str, int]]:
    found: list[dict[str, int]] = []

    def respond(error: ErrorCode, errors: dict[tuple[str, int], ErrorCode]) -> None:
        assert not error
        found.append({topic: int(code) for (topic, _), code in errors.items()})

    harness.coordinator.delete_offsets("g", [(topic, 0) for topic in topics], respond)
    return found


def test_a_rebalance_and_a_start_read_no_subscription() -> None:
    """Else each of them takes as long as it takes to read those of all members."""
    harness = Harness(FakeCluster(1), group_initial_rebalance_delay_ms=0)
    lines = Lines()
    joined: list[dict[str, Any]] = lines(lambda: harness.join(protocols=[("range", MANY)], session_ms=LONG_MS))
    settle(harness, lines)
    lines(lambda: harness.sync(joined[0]["member_id"], 1, {}))
    assert harness.group().state_name == "Stable"
    again = lines(lambda: harness.join(member=joined[0]["member_id"], protocols=[("range", MANY)], session_ms=LONG_MS))
    assert again[0]["generation_id"] == 2
    lines(lambda: harness.sync(joined[0]["member_id"], 2, {}))
    lines(harness.reload)
    assert lines.largest <= LINES_MAX


def test_offset_delete_reads_subscriptions_in_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    harness, _, _ = readers(MANY, MANY, SUBSCRIPTION)
    last = f"topic{NAMES - 1}"
    monkeypatch.setattr(slices, "SLICE_S", 0.0)  # one step in each turn
    lines = Lines()
    found = lines(lambda: deleted(harness, last, "ct", "other"))
    assert not found
    settle(harness, lines)
    read = int(ErrorCode.GROUP_SUBSCRIBED_TO_TOPIC)
    assert found == [{last: read, "ct": read, "other": 0}]
    assert lines.largest <= LINES_MAX and lines.calls >= NAMES // PIECE
    assert lines.calls < 2 * NAMES // PIECE, "members that read the same"


def test_offset_delete_from_a_small_group_is_done_at_once() -> None:
    harness, _, _ = readers(SUBSCRIPTION)
    assert deleted(harness, "ct", "other") == [{"ct": int(ErrorCode.GROUP_SUBSCRIBED_TO_TOPIC), "other": 0}]


def test_offset_delete_in_each_state() -> None:
    """What counts are the subscriptions of the last generation, as in Kafka."""
    read = int(ErrorCode.GROUP_SUBSCRIBED_TO_TOPIC)
    harness, (leader,), _ = readers(SUBSCRIPTION)
    other = harness.join(protocols=[("range", subscription(["new"]))], session_ms=LONG_MS)
    assert harness.group().state_name == "PreparingRebalance"
    assert deleted(harness, "ct", "new") == [{"ct": read, "new": 0}]
    harness.join(member=leader, session_ms=LONG_MS)
    assert harness.group().state_name == "CompletingRebalance"
    assert deleted(harness, "ct", "new", "other") == [{"ct": read, "new": read, "other": 0}]
    harness.leave([(leader, None), (other[0]["member_id"], None)])
    assert harness.group().state_name == "Empty"
    assert deleted(harness, "ct", "new") == [{"ct": 0, "new": 0}]
    harness.join(session_ms=LONG_MS)
    assert harness.group().state_name == "PreparingRebalance"
    assert deleted(harness, "ct") == [{"ct": 0}]


def test_offset_delete_while_the_first_members_join() -> None:
    harness = Harness(FakeCluster(1))
    harness.join()
    assert harness.group().state_name == "PreparingRebalance"
    assert deleted(harness, "ct") == [{"ct": int(ErrorCode.GROUP_SUBSCRIBED_TO_TOPIC)}]


def old_offsets(harness: Harness, names: list[str], generation: int, *topics: str) -> None:
    """Offsets whose time is over; the next look at all offsets is due."""
    for topic in topics:
        assert harness.commit(member=names[0], generation=generation, topic=topic) == 0
    for step_s in (*[1200] * (RETENTION_S // 1200 - 1), 600):
        harness.loop.advance(step_s)
        for name in names:
            assert harness.heartbeat(name, generation) == 0
    harness.loop.time_s += 1201


def test_expiry_reads_subscriptions_in_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    harness, names, generation = readers(MANY, SUBSCRIPTION)
    last = f"topic{NAMES - 1}"
    old_offsets(harness, names, generation, last, "ct", "other")
    assert "other" in harness.group().offsets
    monkeypatch.setattr(slices, "SLICE_S", 0.0)
    lines = Lines()
    settle(harness, lines)
    assert set(harness.group().offsets) == {last, "ct"}
    assert lines.largest <= LINES_MAX and lines.calls >= NAMES // PIECE
    assert not harness.group().unread, "nothing is kept"


@pytest.mark.parametrize("has_looked", [False, True])
def test_a_rebalance_while_offsets_expire(monkeypatch: pytest.MonkeyPatch, *, has_looked: bool) -> None:
    """A member reads a topic that nobody read when the expiry looked: its offset stays."""
    old = [f"old{number}" for number in range(2 * PIECE_OFFSETS_MAX)]
    harness, names, generation = readers(MANY)
    old_offsets(harness, names, generation, *old)
    monkeypatch.setattr(slices, "SLICE_S", 0.0)
    for turn, _ in enumerate(turns(harness, uncounted)):
        if harness.group().unread if has_looked else turn == NAMES // PIECE // 2:
            break
    group = harness.group()
    left = set(group.offsets)
    assert bool(group.unread) == has_looked and (left < set(old) if has_looked else left == set(old))
    joined = harness.join(member=names[0], protocols=[("range", subscription(sorted(left)))], session_ms=LONG_MS)
    harness.sync(names[0], joined[0]["generation_id"], {})
    assert group.state_name == "Stable"
    settle(harness, uncounted)
    assert left and set(group.offsets) == left


@pytest.mark.parametrize(
    ("read", "unread"),
    [
        ([subscription(["a", "b"]), subscription(["c"])], {"d"}),
        ([subscription([f"{number}" for number in range(2 * PIECE)]), subscription(["d"])], {"a", "b", "c"}),
        ([subscription([])], {"a", "b", "c", "d"}),
        ([], {"a", "b", "c", "d"}),
        ([subscription(["a"]), b""], set()),
        ([subscription(["a"])[:7]], set()),
        ([struct.pack(">hi", 0, 1 << 30) + b"\0\1a"], set()),
        ([struct.pack(">hi", 0, -1)], set()),
        ([struct.pack(">hi", -1, 0)], set()),
        ([struct.pack(">hih", 0, 1, -1)], set()),
        ([struct.pack(">hih", 0, 1, 1) + b"\xff"], set()),
    ],
)
def test_topics_that_nobody_reads(read: list[bytes], unread: set[str]) -> None:
    assert at_once(unread_topics(read, "abcd")) == unread
