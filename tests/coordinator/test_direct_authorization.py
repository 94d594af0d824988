"""Commits and heartbeats that reactors answer, of a broker with an authorizer: what is not allowed is forwarded."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kafka_cy.authorizer.acls import ResourceType
from kafka_cy.protocol.errors import ErrorCode
from tests.api_hot.acls import DESCRIBE, READ, TOPIC, Acls

from .direct_commits import Direct

GROUP = ResourceType.GROUP
HEARTBEAT = 12
ROWS = [("ct", 0, 5), ("cu", 0, 6)]


@pytest.fixture
def direct(tmp_path: Path) -> Iterator[Direct]:
    found = Direct(tmp_path, group_consumer_assignment_interval_ms=0)
    yield found
    found.stop()


def commits(direct: Direct) -> Callable[[], bool]:
    direct.open()
    return lambda: direct.directly(ROWS) is not None


def beats_of_a_classic_group(direct: Direct) -> Callable[[], bool]:
    (member,), generation = direct.harness.stable(1)
    values = {"group_id": "g", "generation_id": generation, "member_id": member, "group_instance_id": None}
    return lambda: direct.ask(HEARTBEAT, 4, values, b"c") is not None


def beats_of_a_consumer_group(direct: Direct) -> Callable[[], bool]:
    epoch = direct.beat("g", "m", 0, topic_names=["ct"], rebalance_timeout=5000, owned=[])[0]["member_epoch"]
    for _ in range(3):
        epoch = direct.beat("g", "m", epoch)[0]["member_epoch"]
    return lambda: direct.beat_directly("g", "m", epoch) is not None


@pytest.mark.parametrize("begin", [commits, beats_of_a_classic_group, beats_of_a_consumer_group])
def test_the_group(direct: Direct, begin: Callable[[Direct], Callable[[], bool]]) -> None:
    """A right that is revoked is gone from the next request on. A reactor tells nothing: who answers does."""
    is_answered = begin(direct)
    assert is_answered()
    acls = Acls(direct.server)
    acls.allow(READ, "*", TOPIC)
    assert not is_answered()
    for _ in range(2):
        acls.allow(READ, "g", GROUP)
        assert is_answered()
        acls.revoke("g", GROUP)
        assert not is_answered()
    acls.allow(DESCRIBE, "g", GROUP)
    acls.allow(READ, "other", GROUP)
    assert not is_answered()
    acls.allow(READ, "g", GROUP)
    acls.deny(READ, "g", GROUP)
    assert not is_answered()
    acls.authorizer.shut()
    assert not is_answered()
    assert direct.server.server.take_denials(10) == ([], 0)


@pytest.mark.parametrize("version", [2, 9, 10])
def test_the_topics_of_a_commit(direct: Direct, version: int) -> None:
    """One that is denied makes the whole commit the coordinator's, and nothing is stored before."""
    direct.open()
    acls = Acls(direct.server)
    acls.allow(READ, "g", GROUP)
    acls.allow(READ, "ct")
    batches = len(direct.batches())
    for _ in range(2):
        assert direct.directly(ROWS, version=version) is None and len(direct.batches()) == batches
        assert direct.directly(ROWS[:1], version=version) is not None
        batches += 1
    acls.allow(READ, "cu")
    response = direct.directly(ROWS, version=version)
    assert response is not None
    assert {row["error_code"] for topic in response["topics"] for row in topic["partitions"]} == {ErrorCode.NONE}
    acls.revoke("ct")
    assert direct.directly(ROWS, version=version) is None
    assert direct.server.server.take_denials(10) == ([], 0)
