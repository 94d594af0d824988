"""CreateAcls, DescribeAcls and DeleteAcls with an authorizer: Kafka's answers, errors of single ACLs, limits, the log."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

import pytest
from control_fakes import call, make_context, start
from differential_security import acl, acl_filter

from kafka_cy.api import create_acls, delete_acls
from kafka_cy.api.batch_limit import RECORDS_PER_REQUEST_MAX
from kafka_cy.authorizer import acl_image
from kafka_cy.authorizer.acls import Operation, PatternType, Resource, ResourceType
from kafka_cy.authorizer.authorizer import Authorizer
from kafka_cy.base.slices import at_once
from kafka_cy.cluster import acl_writes
from kafka_cy.cluster.acl_store import StoredAcls
from kafka_cy.cluster.embedded_store import EmbeddedStore
from kafka_cy.cluster.store import StoreBroken
from kafka_cy.config import definitions
from tests.cluster.store_owner import Log

DESCRIBE, CREATE, DELETE = 29, 30, 31
INVALID_REQUEST, POLICY_VIOLATION, SECURITY_DISABLED, DENIED, UNKNOWN_SERVER_ERROR = 42, 44, 54, 31, -1
T, G = 2, 3


class Slices:
    """Does a task at once, with its works."""

    def add(self, steps: Any, done: Callable[[], object]) -> None:
        def all_of() -> Generator[object, None, None]:
            yield from steps

        at_once(all_of())
        done()


class KeptLog(Log):
    def __init__(self) -> None:
        super().__init__()
        self.details: list[dict[str, Any]] = []

    def info(self, what: str, **details: Any) -> None:
        super().info(what, **details)
        self.details.append(details)


@pytest.fixture
def context() -> Any:
    """A broker whose anonymous clients are super users."""
    made: Any = make_context()
    store, made.log, made.slices = EmbeddedStore(None), KeptLog(), Slices()
    authorizer = Authorizer("User:ANONYMOUS")
    made.acls = StoredAcls(
        store, authorizer, is_alone=True, wall_clock_ms=lambda: 0, call_later=lambda *_: None, log=made.log
    )
    made.acls.load(store)
    made.acls.start()
    return made


def errors(answer: Any) -> list[int]:
    return [each["error_code"] for each in answer["results"]]


def create(context: Any, *acls: Any) -> list[int]:
    return errors(call(context, CREATE, 3, {"creations": list(acls)}))


def described(context: Any, **of: Any) -> set[tuple[Any, ...]]:
    answer = call(context, DESCRIBE, 3, acl_filter(**of))
    assert answer["error_code"] == 0
    return {
        (each["resource_type"], each["resource_name"], each["pattern_type"], *entry.values())
        for each in answer["resources"]
        for entry in each["acls"]
    }


def deleted(context: Any, *filters: Any) -> list[Any]:
    answer = call(context, DELETE, 3, {"filters": list(filters)})
    return [
        (each["error_code"], {(acl["resource_name"], acl["principal"], acl["error_code"]) for acl in each["matching_acls"]})
        for each in answer["filter_results"]
    ]


def test_created_described_deleted(context: Any) -> None:
    assert create(context, acl(), acl(), acl(kind=G, name="g", pattern=4, permission=2, host="1.2.3.4")) == [0, 0, 0]
    of_topic, of_group = (T, "topic", 3, "User:alice", "*", 3, 3), (G, "g", 4, "User:alice", "1.2.3.4", 3, 2)
    assert described(context) == {of_topic, of_group}
    assert described(context, kind=T) == described(context, kind=T, name="topic", pattern=3) == {of_topic}
    assert described(context, kind=G) == {of_group}
    assert described(context, kind=G, name="g", pattern=3) == described(context, principal="User:bob") == set()
    assert len(described(context, kind=G, name="gx", pattern=2)) == 1
    authorizer = context.acls.authorizer
    assert authorizer.allows("alice", "h", Operation.READ, ResourceType.TOPIC, "topic"), "before the response"
    assert deleted(context, acl_filter(kind=T), acl_filter(name="g"), acl_filter(kind=T, name="none", pattern=3)) == [
        (0, {("topic", "User:alice", 0)}),
        (0, {("g", "User:alice", 0)}),
        (0, set()),
    ]
    assert described(context) == set() and not authorizer.allows("alice", "h", Operation.READ, ResourceType.TOPIC, "topic")
    assert context.log.lines == ["ACL created"] * 2 + ["ACL removed"] * 2
    assert context.log.details[0] | {"client": "x"} == {
        "resource": "/kafka-acl/Topic/topic", "principal": "User:alice", "host": "*", "acl": "Allow Read",
        "client_id": "test", "client": "x",
    }  # fmt: skip


def test_an_acl_that_two_filters_match_is_named_twice(context: Any) -> None:
    create(context, acl(), acl(name="other"))
    assert deleted(context, acl_filter(kind=T, name="topic", pattern=3), acl_filter(kind=T)) == [
        (0, {("topic", "User:alice", 0)}),
        (0, {("topic", "User:alice", 0), ("other", "User:alice", 0)}),
    ]


def test_an_error_concerns_one_acl(context: Any) -> None:
    bad = [
        acl(principal="nobody"), acl(name=""), acl(name="", pattern=4), acl(kind=1), acl(kind=0), acl(kind=77), acl(pattern=2),
        acl(pattern=1), acl(pattern=0), acl(operation=0), acl(operation=1), acl(permission=0), acl(permission=1),
        acl(permission=9), acl(kind=4, name="other"), acl(name="a/b"),
    ]  # fmt: skip
    assert create(context, acl(name="first"), *bad, acl(name="last")) == [0, *[INVALID_REQUEST] * len(bad), 0]
    assert {each[1] for each in described(context)} == {"first", "last"}


@pytest.mark.parametrize("field", ["resource_type_filter", "pattern_type_filter", "operation", "permission_type"])
def test_filters_with_codes_that_do_not_exist(context: Any, field: str) -> None:
    create(context, acl())
    unknown, odd = acl_filter() | {field: 0}, acl_filter() | {field: 99}
    assert call(context, DESCRIBE, 3, unknown, may_close=True) is None
    assert call(context, DELETE, 3, {"filters": [acl_filter(), unknown]}, may_close=True) is None
    assert call(context, DESCRIBE, 3, odd)["resources"] == []
    assert deleted(context, odd) == [(INVALID_REQUEST, set())] and len(described(context)) == 1


def test_who_may(context: Any) -> None:
    """DESCRIBE and ALTER on the cluster."""
    requests = [(DESCRIBE, acl_filter()), (CREATE, {"creations": [acl()] * 2}), (DELETE, {"filters": [acl_filter()] * 2})]
    context.acls.authorizer.update({})
    handlers = {key: __import__(f"kafka_cy.api.{name}", fromlist=["handle"]).handle
                for key, name in ((DESCRIBE, "describe_acls"), (CREATE, "create_acls"), (DELETE, "delete_acls"))}  # fmt: skip

    def ask(key: int, body: Any, user: str) -> Any:
        def handle(request: Any, its_context: Any) -> Any:
            request.user = user
            return handlers[key](request, its_context)

        return start(context, key, 3, body, handle).responses[0]

    def codes(answer: Any) -> set[int]:
        return {each["error_code"] for each in answer.get("results", answer.get("filter_results", [answer]))}

    for key, body in requests:
        assert codes(ask(key, body, "alice")) == {DENIED}
    assert described(context) == set()
    cluster = {"kind": 4, "name": "kafka-cluster"}
    assert create(context, acl(**cluster, operation=8, principal="User:reader"), acl(**cluster, operation=7)) == [0, 0]
    assert [codes(ask(key, body, "reader")) for key, body in requests] == [{0}, {DENIED}, {DENIED}]
    assert [codes(ask(key, body, "alice")) for key, body in requests] == [{0}, {0}, {0}], "ALTER implies DESCRIBE"


def test_many_at_once(context: Any) -> None:
    acls = [acl(name=f"t{i % 400}", principal=f"User:u{i // 400}") for i in range(2000)]
    acls[77] = acl(principal="nobody")
    expected = [0] * 2000
    expected[77] = INVALID_REQUEST
    assert create(context, *acls) == expected
    assert len(described(context)) == 1999
    assert len(deleted(context, acl_filter())[0][1]) == 1999 and described(context) == set()
    assert set(create(context, *[acl()] * 10_001)) == {POLICY_VIOLATION} and described(context) == set()


def test_limits(context: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each concerns the resource that would go beyond it."""
    monkeypatch.setattr(create_acls, "ACLS_MAX", 3)
    assert create(context, acl(name="a"), acl(name="b"), acl(name="c"), acl(name="d")) == [0, 0, 0, POLICY_VIOLATION]
    assert create(context, acl(name="a")) == [0] and create(context, acl(name="e")) == [POLICY_VIOLATION]
    monkeypatch.setattr(create_acls, "ACLS_MAX", 1000)
    monkeypatch.setattr(create_acls, "PREFIX_SIZES_MAX", 2)
    prefixes = [acl(name=name, pattern=4) for name in ("p", "pp", "ppp", "qq")]
    assert create(context, *prefixes) == [0, 0, POLICY_VIOLATION, 0]
    assert create(context, acl(name="qqq", pattern=4), acl(name="q", pattern=4)) == [POLICY_VIOLATION, 0]
    monkeypatch.setattr(acl_writes, "NODE_BYTES_MAX", 500)
    large = [acl(name="l", principal=f"User:u{i}") for i in range(10)]
    assert create(context, *large, acl(name="m")) == [*[POLICY_VIOLATION] * 10, 0]
    text_bytes = context.acls.authorizer.image.text_bytes
    monkeypatch.setattr(create_acls, "TEXT_BYTES_MAX", text_bytes + 110)
    long = [acl(name=name * 40, principal=f"User:{name}") for name in "xyz"]
    assert create(context, *long, acl(name="n")) == [0, 0, POLICY_VIOLATION, 0]
    assert create(context, acl(name="m")) == [0] and create(context, acl(name="o" * 40)) == [POLICY_VIOLATION]
    assert context.acls.authorizer.image.text_bytes <= text_bytes + 110
    monkeypatch.setattr(delete_acls, "RECORDS_PER_REQUEST_MAX", 3)
    assert deleted(context, acl_filter(name="a"), acl_filter()) == [(INVALID_REQUEST, set())] * 2
    assert any(each[1] == "a" for each in described(context)), "nothing was removed"
    monkeypatch.setattr(delete_acls, "FILTERS_MAX", 1)
    assert deleted(context, *[acl_filter(name="a")] * 2) == [(POLICY_VIOLATION, set())] * 2


def test_what_requests_create_can_be_loaded() -> None:
    """Also if two brokers are asked at once, each of which does not see the ACLs of the other."""
    assert create_acls.ACLS_MAX + RECORDS_PER_REQUEST_MAX <= acl_image.ACLS_MAX
    request_bytes_max = int(definitions.broker_key("kafkacy.control.request.max.bytes").default)
    assert create_acls.TEXT_BYTES_MAX + request_bytes_max <= acl_image.TEXT_BYTES_MAX


def test_a_malformed_node_is_not_overwritten(context: Any) -> None:
    create(context, acl(), acl(name="other"))
    store = context.acls._store
    store.set("/kafka-acl/Topic/topic", b"{")
    context.acls.load(store)
    assert create(context, acl(), acl(name="new")) == [UNKNOWN_SERVER_ERROR, 0]
    assert deleted(context, acl_filter(kind=T)) == [
        (UNKNOWN_SERVER_ERROR, {("other", "User:alice", 0), ("new", "User:alice", 0)})
    ]
    assert store.get("/kafka-acl/Topic/topic").data == b"{"


def test_a_store_that_fails_costs_the_connection(context: Any) -> None:
    """The client has to look what became of it."""
    context.acls._store.submit = lambda operations, done: done(None, StoreBroken("disk"))
    request: Any = start(context, CREATE, 3, {"creations": [acl()]})
    assert request.responses == [] and "disk" in request.control.reason
    assert context.acls.authorizer.entries(Resource(T, PatternType.LITERAL, "topic")) == ()


def test_without_an_authorizer(context: Any) -> None:
    context.acls = None
    assert create(context, acl(), acl(principal="nobody")) == [SECURITY_DISABLED] * 2
    assert call(context, CREATE, 3, {"creations": [acl(kind=0)]}, may_close=True) is None
    assert deleted(context, acl_filter()) == [(SECURITY_DISABLED, set())]
    assert call(context, DESCRIBE, 3, acl_filter())["error_code"] == SECURITY_DISABLED
