"""InitProducerId without a transactional id: WRITE on any topic may take long to look for."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from kafka_cy.api.init_producer_id import handle
from kafka_cy.authorizer.acls import AclEntry, Operation, PatternType, Permission, Resource, ResourceType
from kafka_cy.authorizer.authorizer import Authorizer
from kafka_cy.protocol.errors import ErrorCode

T, WRITE = ResourceType.TOPIC, Operation.WRITE


@pytest.mark.parametrize("name", ["d99", "a"])
def test_other_requests_run_meanwhile(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr("kafka_cy.authorizer.authorizer.LOOKS_AT_ONCE", 10)
    authorizer = Authorizer()
    entry = AclEntry("User:alice", "*", WRITE, Permission.ALLOW)
    acls = {Resource(T, PatternType.LITERAL, f"d{number}"): [entry] for number in range(100)}
    acls[Resource(T, PatternType.LITERAL, name)] = [entry]
    acls[Resource(T, PatternType.PREFIXED, "d")] = [entry._replace(permission=Permission.DENY)]
    authorizer.update(acls)
    authorizer.open()
    tasks: list[Any] = []
    answers: list[dict[str, Any]] = []
    body = SimpleNamespace(transactional_id=None, producer_id=-1, producer_epoch=-1)
    request: Any = SimpleNamespace(
        body=body, api_version=5, api_key=22, authorizer=authorizer, user="alice", client_host="127.0.0.1", client_id="c",
        respond=answers.append, responded=False, guarded=lambda function: function, fail=None,
    )  # fmt: skip
    context: Any = SimpleNamespace(
        slices=SimpleNamespace(add=lambda steps, done: tasks.append(steps)),
        producer_ids=SimpleNamespace(take=lambda taken: taken(7, None)),
    )
    handle(request, context)
    assert not answers
    assert sum(1 for _ in tasks.pop()) >= 10
    wanted = ErrorCode.CLUSTER_AUTHORIZATION_FAILED if name == "d99" else ErrorCode.NONE
    assert [answer["error_code"] for answer in answers] == [wanted]
    handle(request, context)
    assert sum(1 for _ in tasks.pop()) == 0 and len(answers) == 2, "the verdict is kept"
