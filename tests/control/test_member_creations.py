"""Topics of a cluster: what the controller is asked for is bounded, and each topic has its own answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from control_fakes import KeptRequest, call, start
from test_change_pieces import CREATE, DELETE, EXTEND, creation, deletion_of, extension
from test_change_pieces import context as context
from test_creation_limits import MANY, Planned, manual_extension, refusal

from kafka_cy.api import member_topics
from kafka_cy.api.batch_limit import TOO_MANY_RECORDS
from kafka_cy.api.change_pieces import ENTRIES_AT_ONCE
from kafka_cy.api.topic_creation import PARTITIONS_PER_REQUEST_MAX, TOO_MANY_PARTITIONS
from kafka_cy.controller.operator_events import Outcome
from kafka_cy.controller.partition_state import ReplicaAssignment
from kafka_cy.protocol.errors import ErrorCode
from kafka_cy.server.client_requests import ClientRequests

HANDLERS: Mapping[int, Any] = {CREATE: member_topics.create, DELETE: member_topics.delete, EXTEND: member_topics.extend}


class Cluster:
    """A controller that answers at once and a cache that shows what was changed, but for the topics that the test names."""

    is_active = gives_topic_ids = True

    def __init__(self, context: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[tuple[str, int]] = []
        self.failing: set[str] = set()
        self.late: set[str] = set()
        self.deleting: set[str] = set()
        self.ids_to_delete: list[UUID | None] = []
        self.assigned: dict[str, list[ReplicaAssignment]] = {}
        self.lines: list[str] = []
        self.context = context
        self.timers: list[tuple[float, Callable[[], object]]] = []
        self.now_s = 0.0
        clock: Any = SimpleNamespace(now=lambda: self.now_s, call_later=self._call_later)
        self.requests = ClientRequests(clock, 30_000)
        context.member = SimpleNamespace(controller=self, waits=self, requests=self.requests)
        self.warnings: list[str] = []
        context.log = SimpleNamespace(
            info=lambda what, **details: self.lines.append(details.get("topic", what)),
            repeated=lambda level, what, details: self.warnings.append(what),
        )
        self.planned = Planned(context, monkeypatch)

    def _call_later(self, delay_s: float, function: Callable[[], object]) -> Any:
        timer = (delay_s, function)
        self.timers.append(timer)
        return SimpleNamespace(cancel=lambda: self.timers.remove(timer) if timer in self.timers else None)

    def create_topic(self, name: str, assignment: Sequence[Any], configs: Any, done: Any, topic_id: Any) -> None:
        self._answer(name, len(assignment), done)

    def create_partitions(self, name: str, count: int, added: Sequence[Any], done: Any, *, is_manual: bool) -> None:
        self._answer(name, len(added), done)

    def assignments(self, name: str) -> Mapping[int, ReplicaAssignment] | None:
        """More than the metadata show, of the topics that the test names."""
        topic = self.context.cluster.topics.get(name)
        known = [] if topic is None else [ReplicaAssignment(tuple(each.replicas)) for each in topic.partitions]
        return dict(enumerate(self.assigned.get(name, known))) or None

    def is_deleting(self, name: str) -> bool:
        return name in self.deleting

    def delete_topic(self, name: str, done: Any, topic_id: UUID | None = None) -> None:
        self.ids_to_delete.append(topic_id)
        self._answer(name, 0, done)

    def _answer(self, name: str, count: int, done: Callable[[Outcome], object]) -> None:
        self.asked.append((name, count))
        done(Outcome(ErrorCode.UNKNOWN_SERVER_ERROR, "no") if name in self.failing else Outcome(ErrorCode.NONE))

    def wait(self, waits: Mapping[str, Any], timeout_ms: float, done: Callable[[Sequence[str]], object]) -> None:
        """See TopicWaits."""
        done([name for name in waits if name in self.late])

    def send(self, api_key: int, version: int, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """Returns how many partitions were planned in the turn with most of them, and the response."""
        before, most = self.planned.count, 0
        request: KeptRequest = start(self.context, api_key, version, body, HANDLERS[api_key])
        while True:
            most, before = max(most, self.planned.count - before), self.planned.count
            if not self.context.loop.waiting:
                (response,) = request.responses
                return most, response
            self.context.loop.run_one()


@pytest.fixture
def cluster(context: Any, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    return Cluster(context, monkeypatch)


def test_too_many_partitions_are_refused_before_they_are_planned(cluster: Cluster) -> None:
    _, response = cluster.send(CREATE, 7, creation(["a", "b", "c"], PARTITIONS_PER_REQUEST_MAX))
    assert refusal(response) == (3, {(ErrorCode.POLICY_VIOLATION, TOO_MANY_PARTITIONS)})
    assert (cluster.planned.count, cluster.asked, cluster.lines) == (0, [], [])
    call(cluster.context, CREATE, 7, creation(["t"]))
    before = cluster.planned.count
    _, response = cluster.send(EXTEND, 3, manual_extension("t", PARTITIONS_PER_REQUEST_MAX + 1))
    assert refusal(response) == (1, {(ErrorCode.POLICY_VIOLATION, TOO_MANY_RECORDS)})
    assert (cluster.planned.count, cluster.asked) == (before, [])


def test_the_replicas_of_one_topic_are_planned_a_few_at_a_time(cluster: Cluster) -> None:
    most, response = cluster.send(CREATE, 7, creation(["t"], MANY))
    assert (refusal(response), most, cluster.asked, cluster.lines) == ((1, {(0, None)}), ENTRIES_AT_ONCE, [("t", MANY)], ["t"])
    call(cluster.context, CREATE, 7, creation(["t"]))
    for body in (extension(["t"], 1 + MANY), manual_extension("t", MANY)):
        most, response = cluster.send(EXTEND, 3, body)
        assert (refusal(response), most, cluster.asked[-1]) == ((1, {(0, None)}), ENTRIES_AT_ONCE, ("t", MANY))


@pytest.mark.parametrize("api_key", [CREATE, EXTEND, DELETE])
def test_each_topic_has_its_own_answer(cluster: Cluster, api_key: int) -> None:
    """What is late will be there nevertheless, and is in the log."""
    names = ["done", "failing", "late"]
    if api_key != CREATE:
        call(cluster.context, CREATE, 7, creation(names))
        cluster.lines.clear()
    cluster.failing, cluster.late = {"failing"}, {"late"}
    version, body, rows = {
        CREATE: (7, creation(names), "topics"), EXTEND: (3, extension(names), "results"),
        DELETE: (6, deletion_of(names), "responses"),
    }[api_key]  # fmt: skip
    _, response = cluster.send(api_key, version, body)
    assert [(row["name"], int(row["error_code"]), row["error_message"]) for row in response[rows]] == [
        ("done", 0, None), ("failing", ErrorCode.UNKNOWN_SERVER_ERROR, "no"), ("late", ErrorCode.REQUEST_TIMED_OUT, None)
    ]  # fmt: skip
    assert cluster.lines == ["done", "late"]


def test_the_partitions_that_the_controller_knows_are_extended(cluster: Cluster) -> None:
    """The metadata do not show those that have had no leader yet: those in between have no replicas there, the last are missing."""
    call(cluster.context, CREATE, 7, creation(["t"]))
    cluster.context.cluster.topics["t"].partitions[0].replicas.clear()
    cluster.assigned["t"] = [ReplicaAssignment((1,))] * 3

    def answer(body: dict[str, Any]) -> tuple[int, str | None]:
        (result,) = cluster.send(EXTEND, 3, body)[1]["results"]
        return int(result["error_code"]), result["error_message"]

    assert answer(extension(["t"], 3)) == (ErrorCode.INVALID_PARTITIONS, "Topic already has 3 partition(s).")
    assert answer(extension(["t"], 5)) == (0, None) and cluster.asked == [("t", 2)]
    manual = {"topics": [{"name": "t", "count": 4, "assignments": [{"broker_ids": [1]}]}], "timeout": 1000, "validate_only": False}
    assert answer(manual) == (0, None) and cluster.asked[1:] == [("t", 1)]
    cluster.assigned["t"][1] = ReplicaAssignment((1, 2), adding=(2,))
    assert answer(manual)[0] == ErrorCode.REASSIGNMENT_IN_PROGRESS
    cluster.assigned["t"] = []
    cluster.context.cluster.topics.pop("t")
    assert answer(extension(["t"], 5))[0] == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION


@pytest.mark.parametrize("validate_only", [False, True])
def test_a_topic_that_is_being_deleted_gets_no_partitions(cluster: Cluster, validate_only: bool) -> None:
    for name in ("gone", "kept"):
        call(cluster.context, CREATE, 7, creation([name]))
    cluster.deleting = {"gone"}
    _, response = cluster.send(EXTEND, 3, {**extension(["gone", "kept"]), "validate_only": validate_only})
    found = [(each["name"], int(each["error_code"]), each["error_message"]) for each in response["results"]]
    why = "The topic is queued for deletion."
    assert found == [("gone", ErrorCode.INVALID_TOPIC_EXCEPTION, why), ("kept", 0, None)]
    assert [name for name, _ in cluster.asked] == ([] if validate_only else ["kept"])


def test_what_is_deleted_by_its_id_is_not_deleted_by_its_name_only(cluster: Cluster) -> None:
    for name in ("a", "b"):
        call(cluster.context, CREATE, 7, creation([name]))
    topic_id = cluster.context.cluster.topics["b"].id
    topics = [{"name": "a", "topic_id": None}, {"name": None, "topic_id": topic_id}]
    cluster.send(DELETE, 6, {"topics": topics, "timeout": 1000})
    assert [name for name, _ in cluster.asked] == ["a", "b"] and cluster.ids_to_delete == [None, topic_id]
