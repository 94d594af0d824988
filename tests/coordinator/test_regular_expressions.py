"""What the regular expressions of consumer groups match: its memory, while they are resolved and afterwards."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from kafka_cy.base import slices
from kafka_cy.coordinator.consumer import limits
from kafka_cy.coordinator.consumer.group import ConsumerGroup
from kafka_cy.coordinator.consumer.regexes import RegexResolution
from kafka_cy.coordinator.modern.limits import partition_bytes
from kafka_cy.protocol.errors import ErrorCode

from .consumer_fakes import ConsumerHarness
from .fakes import replicated


def with_matches(topics: int) -> ConsumerHarness:
    """So many topics with short names."""
    harness = ConsumerHarness()
    for number in range(topics):
        harness.topic(f"t{number:04}", uuid.uuid5(uuid.NAMESPACE_URL, str(number)), 1)
    return harness


def matched_bytes(group: ConsumerGroup) -> int:
    """What is counted besides the members and partitions."""
    members = list(group.members.values())
    partitions = partition_bytes(*group.target.values())
    partitions += sum(partition_bytes(each.assigned, each.pending_revocation) for each in members)
    own = sum(limits.member_bytes(group.group_id, each.member_id, each.details) for each in members)
    return group.held_bytes - partitions - own


@pytest.mark.parametrize("end", ["leave", "delete", "session", "unload"])
def test_what_regular_expressions_match_is_counted_once_for_each_of_a_group(end: str) -> None:
    topics, expected = 400, 400 * (limits.MATCH_BYTES + 5)
    harness = with_matches(topics)
    held = harness.coordinator.consumer.context.held
    for group, member in (("g", "a"), ("g", "b"), ("h", "a")):
        harness.join_consumer(group, member, (), topic_regex="t.*")
        harness.loop.advance(0.1)
        assert expected < matched_bytes(harness.consumer_group(group)) < 2 * expected, "once"
    groups = [harness.consumer_group(each) for each in "gh"]
    assert held.member_bytes == sum(each.held_bytes for each in groups) > 2 * expected
    assert replicated(harness.reload().coordinator.runtime.shards[harness.partition_index("g")].state) == replicated(
        harness.coordinator.runtime.shards[harness.partition_index("g")].state
    )
    if end == "unload":
        harness.coordinator.stop()
    elif end == "session":
        harness.loop.advance(60)
    else:
        for group, member in (("g", "a"), ("g", "b"), ("h", "a")):
            assert held.member_bytes > expected
            harness.beat(group, member, -1)
        harness.loop.advance(0.1)
    if end == "delete":
        assert [harness.delete_group(each) for each in "gh"] == [ErrorCode.NONE] * 2
    assert held.member_bytes == 0


def test_a_regular_expression_keeps_its_topics_when_there_is_no_room_for_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """Joins that come before the first resolution, too: each is small, and what it matches is not."""
    harness = with_matches(400)
    held = harness.coordinator.consumer.context.held
    harness.join_consumer("g", "a", (), topic_regex="t000.")
    harness.loop.advance(11)
    group = harness.consumer_group("g")
    assert len(group.subscriptions.resolved["t000."].topics) == 10
    monkeypatch.setattr(held, "bytes_max", held.member_bytes + 20_000)
    for number in range(5):
        assert not harness.join_consumer(f"other{number}", "a", (), topic_regex="t.*")["error_code"]
    harness.loop.advance(0.1)
    others = [harness.consumer_group(f"other{number}") for number in range(5)]
    assert [len(each.subscriptions.resolved["t.*"].topics) for each in others] == [0] * 5
    for number in range(400):
        harness.topic(f"t000{number:05}", uuid.uuid4(), 1)
    assert not harness.beat("g", "a", group.members["a"].member_epoch, topic_regex="t000.*")["error_code"]
    harness.loop.advance(0.1)
    assert held.member_bytes <= held.bytes_max
    monkeypatch.setattr(held, "bytes_max", limits.MEMBER_BYTES_MAX)
    harness.loop.advance(601)
    harness.join_consumer("other0", "a", (), topic_regex="t.*")
    harness.loop.advance(0.1)
    assert len(harness.consumer_group("other0").subscriptions.resolved["t.*"].topics) == 800


def next_turn(harness: ConsumerHarness) -> None:
    """One step of what is done in slices."""
    if harness.loop.threads:
        work, done = harness.loop.threads.pop(0)
        work()
        done()
    else:
        harness.loop.run_next()


def test_what_expressions_match_is_counted_while_they_are_resolved(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many expressions of several groups find all topics, and none of the lists is stored yet."""
    topics, each_bytes = 400, 400 * (limits.MATCH_BYTES + 5)
    harness = with_matches(topics)
    for group in ("g", "h", "i"):
        for number in range(10):
            harness.join_consumer(group, f"m{number}", (), topic_regex=f"x{number}|no")
    harness.loop.advance(11)
    held, context = harness.coordinator.consumer.context.held, harness.coordinator.consumer.context
    monkeypatch.setattr(held, "bytes_max", held.member_bytes + 7 * each_bytes)
    monkeypatch.setattr(slices, "SLICE_S", 0.0)
    stored = list[Any]()
    monkeypatch.setattr(harness.coordinator.runtime, "write_long", lambda group, operation: stored.append(operation))
    started = list[RegexResolution]()
    for group in map(harness.consumer_group, "ghi"):
        regexes = [f"t.*|{number}" for number in range(10)]
        started.append(RegexResolution(context, group, regexes))
        group.resolving = True
        harness.coordinator.runtime.slices.add(started[-1].steps(), lambda: None)
    harness.loop.threads = []
    before = held.member_bytes
    while not all(each.is_complete for each in started):
        next_turn(harness)
        assert held.member_bytes <= held.bytes_max
    kept = sum(len(found or ()) for each in started for found in each._found.values())
    assert 4 * topics <= kept <= 7 * topics and held.member_bytes - before >= kept * limits.MATCH_BYTES
    for group in map(harness.consumer_group, "ghi"):
        context.end_resolution(group)
    assert held.member_bytes == before


@pytest.mark.parametrize("end", ["unload", "restart"])
def test_a_resolution_of_a_group_that_ends_is_counted_no_more(monkeypatch: pytest.MonkeyPatch, end: str) -> None:
    harness = with_matches(50)
    held = harness.coordinator.consumer.context.held
    monkeypatch.setattr(slices, "SLICE_S", 0.0)
    for number in range(5):
        harness.join_consumer("g", f"m{number}", (), topic_regex=f"t.*|{number}")
    harness.loop.advance(11)
    group = harness.consumer_group("g")
    harness.topic("tnew", uuid.uuid4(), 1)
    harness.beat("g", "m0", group.members["m0"].member_epoch)
    harness.loop.threads = []
    while not group.resolving_bytes:
        next_turn(harness)
    assert held.member_bytes > group.held_bytes
    if end == "unload":
        harness.coordinator.runtime.unload_all()
    else:
        harness.coordinator.runtime.shards[harness.partition_index("g")].state.restart("g")
    while harness.loop.threads or harness.loop.timers[0][0] <= harness.loop.time_s:
        next_turn(harness)
    assert not group.resolving and held.member_bytes == (0 if end == "unload" else group.held_bytes)


def test_a_member_without_a_regular_expression_has_none_resolved_again() -> None:
    harness = ConsumerHarness()
    harness.join_consumer("g", "m1", None, topic_regex="c.")
    epoch = harness.join_consumer("g", "m2")["member_epoch"]
    group = harness.consumer_group("g")
    resolved = group.subscriptions.resolved["c."]
    harness.loop.advance(11)
    assert harness.beat("g", "m2", epoch, topic_names=("ct",))["error_code"] == 0
    assert group.subscriptions.resolved["c."] is resolved


@pytest.mark.parametrize(("repeated", "error"), [(10, 0), (20, ErrorCode.INVALID_REGULAR_EXPRESSION)])
def test_expressions_that_take_long_for_each_name_are_refused(repeated: int, error: int) -> None:
    response = ConsumerHarness().join_consumer("g", "m", None, topic_regex="((a{1,9}){1,9}){1,9}" * repeated)
    assert response["error_code"] == error
