"""Heartbeats of consumer groups (KIP-848) that reactors respond to."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kafka_cy.coordinator import heartbeat_table, open_groups
from kafka_cy.coordinator.modern.context import STEADY_FOR_S
from kafka_cy.protocol.errors import ErrorCode

from .direct_commits import Direct

SETTLED_BEATS = 3


@pytest.fixture
def direct(tmp_path: Path) -> Iterator[Direct]:
    found = Direct(tmp_path, group_consumer_assignment_interval_ms=0)
    yield found
    found.stop()


def joined(direct: Direct, member: str = "m1", group: str = "g", topic_names: Sequence[str] | None = ("ct",), **said: Any) -> int:
    """The member's epoch, with all that it was assigned."""
    fields = {"topic_names": topic_names, "rebalance_timeout": 5000, "owned": [], **said}
    epoch: int = direct.beat(group, member, 0, **fields)[0]["member_epoch"]
    for _ in range(SETTLED_BEATS):
        epoch = direct.beat(group, member, epoch)[0]["member_epoch"]
    return epoch


def test_a_reactor_responds_to_a_settled_member(direct: Direct) -> None:
    epoch = joined(direct)
    by_reactor, is_direct = direct.beat("g", "m1", epoch)
    assert is_direct
    expected = direct.harness.beat("g", "m1", epoch)
    assert expected["error_code"] == 0 and {key: by_reactor[key] for key in expected} == expected
    for version in (0, 1):
        assert direct.beat("g", "m1", epoch, version=version)[1]


def test_what_says_something_is_forwarded(direct: Direct) -> None:
    epoch = joined(direct)
    said: list[dict[str, Any]] = [
        {"topic_names": ["ct"]}, {"instance_id": "i"}, {"rack_id": "r"}, {"rebalance_timeout": 7000}, {"topic_regex": "c.*"},
        {"assignor": "range"}, {"owned": []}, {"client_id": b"other"},
    ]  # fmt: skip
    for fields in said:
        assert direct.beat_directly("g", "m1", epoch, **fields) is None, fields
    for group, member, number in [("g", "m1", epoch - 1), ("g", "m1", 0), ("g", "m1", -1), ("g", "m2", epoch), ("h", "m1", epoch)]:
        assert direct.beat_directly(group, member, number) is None
    assert direct.beat_directly("g", "m1", epoch) is not None


def test_a_static_member_repeats_its_instance_id(direct: Direct) -> None:
    epoch = joined(direct, instance_id="i1")
    for instance_id in ("i1", None):
        by_reactor = direct.beat_directly("g", "m1", epoch, instance_id=instance_id)
        assert by_reactor is not None and (by_reactor["error_code"], by_reactor["member_epoch"]) == (0, epoch)
    for other in ("i2", "i", "i11", ""):
        assert direct.beat_directly("g", "m1", epoch, instance_id=other) is None
    assert direct.harness.beat("g", "m1", epoch, instance_id="i2")["error_code"] == ErrorCode.UNKNOWN_MEMBER_ID
    assert direct.harness.beat("g", "m1", -2, instance_id="i1")["error_code"] == 0
    assert direct.beat_directly("g", "m1", epoch, instance_id="i1") is None

    back = joined(direct, "m2", instance_id="i1")
    assert direct.beat_directly("g", "m2", back, instance_id="i1") is not None
    assert direct.beat_directly("g", "m1", back, instance_id="i1") is None
    assert direct.harness.beat("g", "m1", back, instance_id="i1")["error_code"] == ErrorCode.FENCED_INSTANCE_ID


def test_a_member_repeats_its_regular_expression(direct: Direct) -> None:
    epoch = joined(direct, topic_names=None, topic_regex="c.")
    assert direct.harness.consumer_group("g").subscriptions.resolved["c."].topics == ("ct", "cu")
    for regex in ("c.", None):
        by_reactor = direct.beat_directly("g", "m1", epoch, topic_regex=regex)
        assert by_reactor is not None and (by_reactor["error_code"], by_reactor["member_epoch"]) == (0, epoch)
        assert direct.beat_directly("g", "m1", epoch, version=0) is not None
    for other in ("c", "c.+", ""):
        assert direct.beat_directly("g", "m1", epoch, topic_regex=other) is None

    new = direct.cluster.put_topic("cx", uuid.uuid4(), 1)
    direct.harness.coordinator.on_change(SimpleNamespace(changed=[new], removed=[]))
    direct.harness.loop.advance(11)  # not resolved again before
    assert not direct.beat("g", "m1", epoch)[1]
    assert direct.harness.consumer_group("g").subscriptions.resolved["c."].topics == ("ct", "cu", "cx")


def test_regular_expressions_are_resolved_again_in_time(direct: Direct) -> None:
    """A member that only reactors hear of: one heartbeat comes to the coordinator when it is time."""
    epoch = joined(direct, topic_names=None, topic_regex="c.")
    group, loop = direct.harness.consumer_group("g"), direct.harness.loop
    settings = direct.harness.coordinator.consumer.settings
    resolved = group.subscriptions.resolved["c."]
    assert group.steady is not None and round(group.steady.until_s - loop.now()) == STEADY_FOR_S
    settings.regex_refresh_interval_ms = 30_000
    loop.advance(20)
    assert direct.harness.beat("g", "m1", epoch)["member_epoch"] == epoch
    left_s = (resolved.timestamp_ms + 30_000 - loop.wall_clock_ms()) / 1000
    assert group.steady.until_s - loop.now() == pytest.approx(left_s, abs=0.1) and left_s < 11
    loop.advance(11)
    assert direct.harness.beat("g", "m1", epoch)["member_epoch"] == epoch
    direct.settle()
    assert group.subscriptions.resolved["c."].timestamp_ms > resolved.timestamp_ms
    assert group.steady is None, "the coordinator hears of the next one"


def test_a_change_is_looked_at_by_the_coordinator(direct: Direct) -> None:
    epoch = joined(direct)
    assert direct.beat("g", "m1", epoch)[1]
    other = joined(direct, "m2")
    response, is_direct = direct.beat("g", "m1", epoch)
    assert not is_direct and response["error_code"] == 0 and response["assignment"] is not None
    epoch = response["member_epoch"]
    for _ in range(SETTLED_BEATS):
        epoch = direct.beat("g", "m1", epoch, owned=[], full=True)[0]["member_epoch"]
        other = direct.beat("g", "m2", other)[0]["member_epoch"]
    for _ in range(2):
        found = [direct.beat("g", name, number)[1] for name, number in (("m1", epoch), ("m2", other))]
    assert found == [True, True]

    direct.harness.coordinator.on_change(SimpleNamespace())  # a configuration
    assert not direct.beat("g", "m1", epoch)[1] and direct.beat("g", "m1", epoch)[1] and direct.beat("g", "m2", other)[1]
    direct.harness.loop.advance(0)
    topic = direct.cluster.put_topic("ct", direct.server.topic_ids["ct"], 4)
    direct.harness.coordinator.on_change(SimpleNamespace(changed=[topic], removed=[]))
    assert not direct.beat("g", "m1", epoch)[1]
    assert direct.harness.consumer_group("g").epoch > epoch


def test_offsets_of_a_transaction_hold_up_commits_only(direct: Direct) -> None:
    from .test_direct_commits import request_of

    epoch = joined(direct)
    fields: dict[str, Any] = {"member": "m1", "generation": epoch}
    assert direct.commit(**fields)[0] is ErrorCode.NONE and direct.commit(**fields) == (ErrorCode.NONE, True)
    asked = request_of(direct)._replace(is_transactional=True, member_id="m1", generation=epoch)
    direct.harness.coordinator.commit_in_transaction(asked, (5, 0), lambda: ErrorCode.NONE, lambda error, errors: None)
    assert direct.beat("g", "m1", epoch)[1] and direct.commit(**fields) == (ErrorCode.NONE, False)
    direct.end_transaction(5, True)
    assert direct.commit(**fields) == (ErrorCode.NONE, False) and direct.commit(**fields) == (ErrorCode.NONE, True)
    assert direct.commit(**fields, version=8) == (ErrorCode.UNSUPPORTED_VERSION, False)


def test_sessions_go_on(direct: Direct) -> None:
    """A member that only reactors have heard of stays, one that is silent goes, and so does the first one afterwards."""
    loop = direct.harness.loop
    loop.time_s -= 10  # the coordinator's clock is behind: what reactors hear is ten seconds younger
    first, silent = joined(direct, "m1"), joined(direct, "m2")
    for _ in range(SETTLED_BEATS):
        first = direct.beat("g", "m1", first, owned=[], full=True)[0]["member_epoch"]
        silent = direct.beat("g", "m2", silent)[0]["member_epoch"]
    direct.harness.beat("g", "m1", first)
    direct.harness.beat("g", "m2", silent)
    assert direct.beat("g", "m1", first)[1]
    loop.advance(46)
    assert set(direct.harness.consumer_group("g").members) == {"m1"}
    assert heartbeat_table.count() == 1, "m2 is forgotten"
    loop.advance(20)
    assert not direct.harness.consumer_group("g").members
    assert heartbeat_table.count() == 0


def test_the_table_ends_with_the_group(direct: Direct) -> None:
    joined(direct)
    direct.harness.coordinator.runtime.unload(0)
    assert direct.beat_directly("g", "m1", 1) is None
    direct.settle()
    assert heartbeat_table.count() == 0 and open_groups.count() == 0
