"""Handlers ask for the rights of the sender before they do anything: without a broker, and with the parts of one that are real."""

from __future__ import annotations

import io
from typing import Any

import pytest
from control_fakes import KeptRequest, make_context, start
from kio.index import load_request_schema
from kio.serial import entity_writer
from raw_client import build

from kafka_cy.api.member_registry import MEMBER_APIS
from kafka_cy.api.registry import APIS, COORDINATOR, cold_handler
from kafka_cy.authorizer.acls import AclEntry, Operation, PatternType, Permission, Resource
from kafka_cy.authorizer.authorizer import Authorizer
from kafka_cy.protocol.bridge import encode_response, unknown_fields
from kafka_cy.protocol.controller_messages import (
    allocate_producer_ids,
    alter_partition,
    controlled_shutdown,
    leader_and_isr,
    stop_replica,
    update_metadata,
)
from tests.security.authorization_cases import ALL_ERRORS, CAF, CASES, TOPIC, Case, Right, T, errors_in

NEED_MORE = {29, 30, 31, 34, 35, 55, 61, 69, 71}  # parts that this broker lacks; tests/security/test_authorization.py has them
HERE = [
    case for case in CASES
    if APIS[case.api_key].module and APIS[case.api_key].loop != COORDINATOR and case.api_key not in NEED_MORE and case.rights
]  # fmt: skip
BETWEEN_BROKERS = {
    4: leader_and_isr.LeaderAndIsrResponse, 5: stop_replica.StopReplicaResponse, 6: update_metadata.UpdateMetadataResponse,
    7: controlled_shutdown.ControlledShutdownResponse, 56: alter_partition.AlterPartitionResponse,
    67: allocate_producer_ids.AllocateProducerIdsResponse,
}  # fmt: skip


def authorizer(*rights: Right) -> Authorizer:
    made = Authorizer()
    for right in rights:
        resource = Resource(right.kind, PatternType.LITERAL, right.resource)
        entry = AclEntry("User:ANONYMOUS", "*", right.operation, Permission.ALLOW)
        made.update({resource: {*made.entries(resource), entry}})
    made.open()
    return made


def ask(case: Case, asked: Authorizer) -> dict[str, Any]:
    context: Any = make_context()
    start(context, 19, 7, {"topics": [new_topic()], "timeout": 10000})
    request = start(context, case.api_key, case.version, encoded(case), authorizer=asked)
    answer = request.responses[0]
    assert unknown_fields(case.api_key, answer) == []
    encode_response(case.api_key, case.version, answer)
    return {"answer": plain(answer)}


def new_topic() -> dict[str, Any]:
    return {"name": TOPIC, "num_partitions": 1, "replication_factor": 1, "assignments": [], "configs": []}


def encoded(case: Case) -> bytes:
    """The body with all fields."""
    schema = load_request_schema(case.api_key, case.version)
    body = io.BytesIO()
    entity_writer(schema)(body, build(schema, case.body))
    return body.getvalue()


def plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items()}
    return [plain(each) for each in value] if isinstance(value, list | tuple) else value


@pytest.mark.parametrize("case", HERE, ids=[case.name for case in HERE])
def test_rights(case: Case) -> None:
    first = {each.code for each in case.rights[:1]} - {None}
    assert first <= errors_in(ask(case, authorizer())), "without any right"
    for without in case.rights:
        answer = ask(case, authorizer(*[each for each in case.rights if each != without]))
        if without.code is None:
            assert not case.shows(answer["answer"]), f"without {without}"
        else:
            assert without.code in errors_in(answer), f"without {without}"
    for rights in (case.rights, *case.instead):
        answer = ask(case, authorizer(*rights))
        assert not errors_in(answer) & ALL_ERRORS, f"denied with {rights}"
        assert case.shows(answer["answer"]), f"hidden with {rights}"
    answer = ask(case, None)  # type: ignore[arg-type]
    assert not errors_in(answer) & ALL_ERRORS, "without an authorizer"


@pytest.mark.parametrize("api_key", BETWEEN_BROKERS)
def test_requests_between_brokers(api_key: int) -> None:
    """They are not even decoded."""
    answers: list[bytes] = []

    class Sent(KeptRequest):
        __slots__ = ()

        def send_encoded(self, payload: bytes, errors: Any) -> None:
            assert errors == {CAF: 1}
            answers.append(payload)

    version = MEMBER_APIS[api_key].version_max
    nothing: Any = None
    request = Sent(
        api_key=api_key, api_version=version, correlation_id=1, client_id="c", client_host="127.0.0.1", listener_index=0,
        connection_id=1, body=b"garbage", control=nothing, authorizer=authorizer(),
    )  # fmt: skip
    handle = cold_handler(api_key, MEMBER_APIS)
    assert handle is not None and handle(request, make_context()) is None
    assert answers == [BETWEEN_BROKERS[api_key](CAF).encode(version)]


def test_names_and_ids_of_topics_that_are_denied() -> None:
    """Who may not describe a topic gets the same answer whether it exists or not, but for an id, which is no secret."""
    context: Any = make_context()
    topics = [new_topic(), new_topic() | {"name": "seen"}]
    (first, _) = start(context, 19, 7, {"topics": topics, "timeout": 10000}).responses[0]["topics"]
    sees = authorizer(Right(T, Operation.DESCRIBE, "seen"))

    def deleted(**topic: Any) -> tuple[Any, ...]:
        body = {"topics": [{"name": None, "topic_id": None, **topic}], "timeout": 10000}
        (answer,) = start(context, 20, 6, body, authorizer=sees).responses[0]["responses"]
        return answer["name"], answer["error_code"]

    assert deleted(name=TOPIC) == (TOPIC, 29) and deleted(name="none") == ("none", 29)
    assert deleted(topic_id=first["topic_id"]) == (None, 29), "the name is a secret"
    assert deleted(name="seen") == ("seen", 29) and deleted(name="seen2") == ("seen2", 29)
    seen_id = context.cluster.topics["seen"].id
    assert deleted(topic_id=seen_id) == ("seen", 29)
    both = {"topics": [{"name": TOPIC, "topic_id": None}, {"name": None, "topic_id": first["topic_id"]}], "timeout": 10000}
    answers = start(context, 20, 6, both, authorizer=sees).responses[0]["responses"]
    assert [(each["name"], each["error_code"]) for each in answers] == [(TOPIC, 29), (None, 29)]
    assert set(context.cluster.topics) == {TOPIC, "seen"}

    def shown(**topic: Any) -> tuple[Any, ...]:
        body = {"topics": [{"name": None, "topic_id": None, **topic}], "allow_auto_topic_creation": True,
                "include_topic_authorized_operations": True}  # fmt: skip
        (answer,) = start(context, 3, 12, body, authorizer=sees).responses[0]["topics"]
        return answer["name"], answer["topic_id"], answer["error_code"], answer["partitions"] != []

    assert shown(name=TOPIC) == (TOPIC, None, 29, False) and shown(name="none") == ("none", None, 29, False)
    assert shown(topic_id=first["topic_id"]) == (None, first["topic_id"], 29, False)
    assert shown(name="seen") == ("seen", seen_id, 0, True)


@pytest.mark.parametrize(("creates", "code"), [(False, 3), (True, 29)])
def test_a_metadata_response_has_the_order_of_kafka(creates: bool, code: int) -> None:
    """What exists, what does not or may not be created, what may not be described."""
    context: Any = make_context()
    start(context, 19, 7, {"topics": [new_topic()], "timeout": 10000})
    sees = authorizer(Right(T, Operation.DESCRIBE, TOPIC), Right(T, Operation.DESCRIBE, "none"))
    body = {"topics": [{"name": name, "topic_id": None} for name in ("denied", "none", TOPIC)],
            "allow_auto_topic_creation": creates, "include_topic_authorized_operations": False}  # fmt: skip
    answers = start(context, 3, 12, body, authorizer=sees).responses[0]["topics"]
    assert [(each["name"], each["error_code"]) for each in answers] == [(TOPIC, 0), ("none", code), ("denied", 29)]


def test_a_version_without_share_coordinators_is_told_of_before_rights() -> None:
    body = {"key_type": 2, "coordinator_keys": ["g:AAAAAAAAAAAAAAAAAAAAAA:0"]}
    for version, code in ((5, 42), (6, CAF)):
        request = start(make_context(), 10, version, body, authorizer=authorizer())
        assert [each["error_code"] for each in request.responses[0]["coordinators"]] == [code]
