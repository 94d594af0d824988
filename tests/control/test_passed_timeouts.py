"""CreateTopics, CreatePartitions and DeleteTopics whose time-out has passed when they come."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from control_fakes import KeptRequest, call, make_context, start
from test_change_pieces import CREATE, DELETE, EXTEND, creation, deletion_of, extension
from test_change_pieces import context as context
from test_member_creations import HANDLERS, Cluster
from test_member_creations import cluster as cluster

from kafka_cy.api.change_pieces import PIECE_ENTITIES
from kafka_cy.protocol.errors import ErrorCode

FEW = ["a", "b"]
MANY = [f"t{number}" for number in range(PIECE_ENTITIES + 1)]
ROWS = {CREATE: (7, "topics"), EXTEND: (3, "results"), DELETE: (6, "responses")}
BODIES: dict[int, Callable[[list[str]], dict[str, Any]]] = {CREATE: creation, EXTEND: extension, DELETE: deletion_of}
TIMED_OUT, NOT_CONTROLLER = ErrorCode.REQUEST_TIMED_OUT, ErrorCode.NOT_CONTROLLER


def codes(api_key: int, response: Any) -> dict[str, int]:
    return {row["name"]: int(row["error_code"]) for row in response[ROWS[api_key][1]]}


@pytest.fixture
def made_later(monkeypatch: pytest.MonkeyPatch) -> list[Callable[[], Any]]:
    """Responses that another thread would make."""
    found: list[Callable[[], Any]] = []
    monkeypatch.setattr(KeptRequest, "respond_long", lambda self, prepare: prepare(found.append))
    return found


@pytest.mark.parametrize("timeout", [-1, 0])
@pytest.mark.parametrize("api_key", [CREATE, EXTEND, DELETE])
def test_nothing_is_changed(context: Any, api_key: int, timeout: int) -> None:
    if api_key != CREATE:
        call(context, CREATE, 7, creation(FEW))
    before = {name: len(topic.partitions) for name, topic in context.cluster.topics.items()}
    response = call(context, api_key, ROWS[api_key][0], {**BODIES[api_key](FEW), "timeout": timeout})
    assert codes(api_key, response) == dict.fromkeys(FEW, TIMED_OUT)
    assert {name: len(topic.partitions) for name, topic in context.cluster.topics.items()} == before


@pytest.mark.parametrize("api_key", [CREATE, EXTEND, DELETE])
def test_a_response_with_many_topics_is_made_on_another_thread(
    context: Any, made_later: list[Callable[[], Any]], api_key: int
) -> None:
    for names, is_made_later in ((MANY[1:], False), (MANY, True)):
        request = start(context, api_key, ROWS[api_key][0], {**BODIES[api_key](names), "timeout": 0})
        assert (len(made_later), len(request.responses)) == (is_made_later, not is_made_later)
    assert codes(api_key, made_later[0]()) == dict.fromkeys(MANY, TIMED_OUT)
    assert not context.loop.waiting


def test_many_topics_that_cannot_be_deleted(context: Any, made_later: list[Callable[[], Any]]) -> None:
    """That topics are not deleted at all comes first, as in Kafka."""
    context.config = make_context({"delete.topic.enable": "false"}).config
    for version, code in ((6, ErrorCode.TOPIC_DELETION_DISABLED), (2, ErrorCode.INVALID_REQUEST)):
        body = deletion_of(MANY) if version == 6 else {"topic_names": MANY}
        assert start(context, DELETE, version, {**body, "timeout": -1}).responses == []
        assert codes(DELETE, made_later.pop()()) == dict.fromkeys(MANY, code)


@pytest.mark.parametrize("timeout", [-1, 0])
@pytest.mark.parametrize("api_key", [CREATE, EXTEND, DELETE])
def test_in_a_cluster_with_zookeeper_the_work_goes_on(cluster: Cluster, api_key: int, timeout: int) -> None:
    """Also what the metadata show already, and what the controller refuses keeps its answer (Kafka 3.9: ZkAdminManager)."""
    names = [*MANY, "failing"]
    if api_key != CREATE:
        for name in names:
            call(cluster.context, CREATE, 7, creation([name]))
        cluster.lines.clear()
    cluster.failing = {"failing"}
    _, response = cluster.send(api_key, ROWS[api_key][0], {**BODIES[api_key](names), "timeout": timeout})
    assert codes(api_key, response) == dict.fromkeys(MANY, TIMED_OUT) | {"failing": ErrorCode.UNKNOWN_SERVER_ERROR}
    assert [name for name, _ in cluster.asked] == names
    assert cluster.lines == MANY


@pytest.mark.parametrize("api_key", [CREATE, EXTEND, DELETE])
def test_who_is_not_the_controller_answers_many_on_another_thread(
    cluster: Cluster, made_later: list[Callable[[], Any]], api_key: int
) -> None:
    cluster.is_active = False
    request = start(cluster.context, api_key, ROWS[api_key][0], BODIES[api_key](MANY), HANDLERS[api_key])
    assert request.responses == []
    assert codes(api_key, made_later[0]()) == dict.fromkeys(MANY, NOT_CONTROLLER)
