"""The start of a member whose server of ZooKeeper is behind: what is read must not be what was stored before."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest

from kafka_cy.cluster.embedded_store import EmbeddedStore
from kafka_cy.cluster.store import Create, Get, NoAuthError, NoNodeError, OutcomeUnknown, StoreError
from kafka_cy.cluster.store_calls import StoreCalls, run
from kafka_cy.cluster.znode_formats import TopicAssignment, cluster_id_data
from kafka_cy.server import cluster_member
from kafka_cy.server.cluster_member import ClusterMember

EARLIER, NOW = UUID(int=7), UUID(int=8)
CLUSTER = "c" * 22


class LaggingServer:
    """Reads see an earlier tree until a change was answered."""

    session_id = 1

    def __init__(self) -> None:
        self.leader, self.behind = EmbeddedStore(None), EmbeddedStore(None)
        for store, topic_id in ((self.behind, EARLIER), (self.leader, NOW)):
            store.multi([Create("/brokers"), Create("/brokers/topics"), Create("/cluster")])
            store.create("/brokers/topics/t", TopicAssignment(topic_id, {0: (1,)}).encode())
        self.leader.create("/cluster/id", cluster_id_data(CLUSTER))
        self.lost_replies = 0
        self.refusal: StoreError | None = None  # of a change of the root
        self.changes: list[Any] = []
        self._is_behind = True

    def read(self, requests: Any, done: Any) -> None:
        (self.behind if self._is_behind else self.leader).read(requests, done)

    def submit(self, operations: Any, done: Any) -> None:
        if self.lost_replies:
            self.lost_replies -= 1
            done(None, OutcomeUnknown("lost"))
            return
        self._is_behind = False
        self.changes += operations
        if self.refusal is None:
            self.leader.submit(operations, done)
        else:
            done(None, self.refusal)


def result_of(server: LaggingServer, steps: Any) -> Any:
    ended: list[Any] = []
    run(steps(StoreCalls(server, lambda *_: None)), lambda value, fault: ended.append((value, fault)))  # type: ignore[arg-type]
    ((value, fault),) = ended
    if fault is not None:
        raise fault
    return value


def member(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(cluster_member, "cluster_id_of", lambda log_dirs: CLUSTER)
    made: Any = ClusterMember.__new__(ClusterMember)
    made._config = SimpleNamespace(broker_id=1, log_dirs=[])
    return made


@pytest.mark.parametrize("lost", [0, 2])
def test_a_topic_of_now_is_not_taken_for_an_earlier_one(monkeypatch: pytest.MonkeyPatch, lost: int) -> None:
    server = LaggingServer()
    server.lost_replies = lost
    assert result_of(server, partial(member(monkeypatch)._topic_ids, names=["t"])) == {"t": NOW.bytes}


def test_a_cluster_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    server = LaggingServer()
    monkeypatch.setattr(cluster_member, "create_common_nodes", _nothing)
    assert result_of(server, member(monkeypatch)._identify) == CLUSTER
    assert [each.path for each in server.changes] == ["/"]


async def _nothing(calls: StoreCalls) -> None:
    pass


@pytest.mark.parametrize("refusal", [NoNodeError("/"), NoAuthError("/")])
def test_a_chroot_that_is_not_there_yet_or_may_not_be_read(refusal: StoreError) -> None:
    server = LaggingServer()
    server.refusal = refusal

    async def steps(calls: StoreCalls) -> Any:
        await calls.catch_up()
        return (await calls.read(Get("/cluster/id")))[0]

    assert result_of(server, steps).data == cluster_id_data(CLUSTER)
