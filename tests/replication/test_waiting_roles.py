"""Replicas whose topics have settings that cannot be understood: they take their roles when they can, unless told otherwise."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kafka_cy.replication import waiting_roles
from kafka_cy.replication.waiting_roles import WaitingRoles
from tests.replication.replica_broker import Options
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
    assert lines.count("LeaderAndIsr is not followed: the settings of its topic are malformed, or may not be read") == 4
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


def test_not_all_may_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting_roles, "ROLES_MAX", 2)
    later: list[Callable[[], object]] = []
    ready: list[str] = []
    unknown = {"t", "u"}
    roles = WaitingRoles(unknown.__contains__, lambda delay_s, call: later.append(call), lambda: ready.append("now"))
    made: list[Any] = [SimpleNamespace(key=(topic, 0)) for topic in ("t", "u", "v")]
    assert [roles.put(each) for each in made] == [True, True, False]
    later.pop()()
    assert not ready and roles.begin() == []
    unknown.discard("u")
    later.pop()()
    assert ready == ["now"] and roles.begin() == [made[1]] and roles.put(made[1]) and not roles.put(made[2])
    roles.drop(made[1].key)
    assert roles.put(made[2])
    assert len(later) == 1, "one timer for all"
    for each in (made[0], made[2]):
        roles.drop(each.key)
    later.pop()()
    assert not later and ready == ["now"]


def test_a_role_that_could_not_be_taken_is_taken_again_later() -> None:
    """Its settings can be understood, but something else fails. Each attempt writes lines."""
    later: list[tuple[float, Callable[[], object]]] = []
    ready: list[str] = []
    unknown = {"t"}
    roles = WaitingRoles(unknown.__contains__, lambda *call: later.append(call), lambda: ready.append("now"))
    role: Any = SimpleNamespace(key=("t", 0))
    assert roles.put(role)
    unknown.clear()
    delays_s = []
    for _ in range(3):
        delay_s, look = later.pop()
        delays_s.append(delay_s)
        look()
        assert roles.begin() == [role] and not later[1:]
    assert delays_s == [waiting_roles.AGAIN_S, waiting_roles.AFTER_FAULT_S, waiting_roles.AFTER_FAULT_S] and len(ready) == 3
    roles.drop(role.key)
    later.pop()[1]()
    assert not later and len(ready) == 3
