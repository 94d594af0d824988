"""Replicas whose topics have settings that cannot be used: they take their roles when they can, unless told otherwise."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kafka_cy.replication import waiting_roles
from kafka_cy.replication.waiting_roles import AFTER_FAULT_S, AGAIN_S, WaitingRoles
from tests.replication.replica_broker import UNREADABLE, Options
from tests.replication.replica_cluster import TOPIC, Cluster
from tests.storage.batches import batch
from tests.waiting import wait_until

LAST = "last"  # its role waits, too, and is taken together with the others


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    made = Cluster(tmp_path, 1, Options())
    made.brokers[1].call("brokers", {1: made.brokers[1].port, 2: 1})  # nobody listens on port 1
    made.brokers[1].call("unknown", {TOPIC, "u", LAST})
    yield made
    made.stop()


def understand(cluster: Cluster, *topics: str) -> None:
    """The settings of all topics but these can be read; wait until the role of LAST is taken."""
    cluster.brokers[1].call("unknown", set(topics))
    wait_until(lambda: cluster.brokers[1].call("describe", LAST) is not None, "the roles")


def test_roles_are_taken_when_the_settings_can_be_understood(cluster: Cluster) -> None:
    broker = cluster.brokers[1]
    for index in range(2):
        assert cluster.lead(1, [1], index=index, replicas=[1, 2]) == {1: -1}
    assert cluster.lead(2, [2], topic="u", replicas=[1, 2]) == {1: -1}
    assert cluster.lead(1, [1], topic=LAST) == {1: -1}
    assert [broker.call("describe", topic) for topic in (TOPIC, "u")] == [None, None]
    assert broker.call("numbers").waiting_roles == 4
    understand(cluster, "u")
    wait_until(lambda: broker.call("isr", TOPIC, 1) == (1,), "the role of a leader")
    assert cluster.produce(1, batch(), acks=1) == (0, 0)
    assert broker.call("describe", "u") is None
    broker.call("unknown", set())
    wait_until(lambda: broker.call("following") == {("u", 0): (2, 0)}, "the role of a follower")
    assert broker.call("numbers").waiting_roles == 0
    lines = "\n".join(broker.call("lines"))
    assert lines.count("LeaderAndIsr is not followed: the settings of its topic are malformed or not allowed") == 4
    assert "have waited for the settings of topics partitions=3 first=t-0" in lines and "FAULT" not in lines


@pytest.mark.parametrize("newer", ["LeaderAndIsr", "StopReplica", "registration", "older controller"])
def test_what_a_controller_tells_later_counts(cluster: Cluster, newer: str) -> None:
    broker = cluster.brokers[1]
    assert cluster.lead(1, [1], replicas=[1, 2]) == {1: -1}
    if newer == "LeaderAndIsr":
        cluster.states[TOPIC, 0] = cluster.states[TOPIC, 0]._replace(leader_epoch=7, leader=2, replicas=(2,))
        assert cluster.send(1, [(TOPIC, 0)]) == {(TOPIC, 0): 3}
    elif newer == "StopReplica":
        assert cluster.stop_replica(1, 0, delete=True) == (0, [0])
    elif newer == "registration":
        broker.call("registered", 77)
    else:
        request = cluster.request([(TOPIC, 0)], controller_epoch=0)
        assert cluster.send_request(1, request).error_code == 11
    assert cluster.lead(1, [1], topic=LAST) == {1: -1}
    understand(cluster)
    assert (broker.call("describe", TOPIC) is not None) == (newer == "older controller")


def test_a_newer_state_of_a_replica_that_waits(cluster: Cluster) -> None:
    for leader_epoch in range(2):
        assert cluster.lead(1, [1]) == {1: -1}, leader_epoch
    assert cluster.lead(1, [1], topic=LAST) == {1: -1}
    understand(cluster)
    wait_until(lambda: cluster.brokers[1].describe(TOPIC).leader_epoch == 1, "the role")


def test_a_role_that_cannot_be_taken_writes_few_lines(cluster: Cluster) -> None:
    """It is tried again and again, and its topic's settings are not known to be bad."""
    assert cluster.lead(1, [1], topic=UNREADABLE) == {1: -1}
    broker = cluster.brokers[1]
    wait_until(lambda: "repeated LeaderAndIsr is not followed" in "\n".join(broker.call("lines")), "another attempt")
    assert not any("have waited for the settings" in line for line in broker.call("lines"))


class Subject:
    """Roles that wait, and the time."""

    def __init__(self, *unknown: str) -> None:
        self.later: list[tuple[float, Callable[[], object]]] = []
        self.ready: list[float] = []  # when
        self.now_s = 0.0
        self.unknown = set(unknown)
        self.roles = WaitingRoles(
            self.unknown.__contains__, lambda *call: self.later.append(call), lambda: self.ready.append(self.now_s),
            lambda: self.now_s,
        )  # fmt: skip

    def look(self) -> None:
        """The timer's time has come."""
        delay_s, look = self.later.pop()
        assert not self.later, "one timer for all"
        self.now_s += delay_s
        look()


def role(topic: str) -> Any:
    return SimpleNamespace(key=(topic, 0))


def test_not_all_may_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting_roles, "ROLES_MAX", 2)
    subject = Subject("t", "u")
    roles = subject.roles
    made = [role(topic) for topic in ("t", "u", "v")]
    assert [roles.put(each) for each in made] == [True, True, False]
    subject.look()
    assert not subject.ready and roles.begin() == []
    subject.unknown.discard("u")
    subject.look()
    assert subject.ready == [2 * AGAIN_S] and roles.begin() == [made[1]] and roles.put(made[1]) and not roles.put(made[2])
    roles.drop(made[1].key)
    assert roles.put(made[2])
    for each in (made[0], made[2]):
        roles.drop(each.key)
    subject.look()
    assert not subject.later and len(subject.ready) == 1


@pytest.mark.parametrize("others", [(), ("u",)])
def test_a_role_that_could_not_be_taken_is_taken_again_later(others: tuple[str, ...]) -> None:
    """Its settings can be used, but something else fails. Each attempt costs a thread, also while others wait."""
    subject = Subject("t", *others)
    waits = role("t")
    for each in (waits, *map(role, others)):
        assert subject.roles.put(each)
    subject.unknown.discard("t")
    for _ in range(25):
        tried = len(subject.ready)
        subject.look()
        if len(subject.ready) > tried:
            assert subject.roles.begin() == [waits]
            assert subject.roles.put(waits), "it was not taken"
    assert subject.ready == [AGAIN_S, AGAIN_S + AFTER_FAULT_S, AGAIN_S + 2 * AFTER_FAULT_S]
    subject.roles.drop(waits.key)
    assert subject.roles.put(waits)
    subject.look()
    assert subject.ready[3:] == [26 * AGAIN_S], "a later state is another one"


def test_roles_that_are_ready_are_told_once() -> None:
    """What takes them waits behind other requests, perhaps for long: no second one joins it."""
    subject = Subject()
    made = role("t")
    assert subject.roles.put(made)
    subject.look()
    assert subject.roles.put(role("u"))
    subject.look()
    assert subject.ready == [AGAIN_S]
    assert len(subject.roles.begin()) == 2
    for _ in range(int(AFTER_FAULT_S / AGAIN_S) + 1):
        subject.look()
    assert len(subject.ready) == 2, "they were not taken, and are tried again"


def test_roles_are_told_again_when_none_is_left_at_their_turn() -> None:
    subject = Subject()
    for _ in range(2):
        assert subject.roles.put(role("t"))
        subject.look()
        subject.roles.drop(("t", 0))
        assert subject.roles.begin() == []
        subject.look()
    assert len(subject.ready) == 2


def test_a_role_is_taken_soon_when_its_settings_can_be_used_again() -> None:
    subject = Subject("t")
    waits = role("t")
    assert subject.roles.put(waits)
    for _ in range(3):
        subject.unknown.discard("t")
        subject.look()
        assert subject.roles.begin() == [waits]
        subject.unknown.add("t")
        subject.look()
    assert len(subject.ready) == 3
