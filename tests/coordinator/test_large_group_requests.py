"""Requests with as many elements as one may have: what the coordinator's thread looks at, and in how large pieces."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from kafka_cy.api import add_partitions_to_txn, consumer_group_heartbeat_cold, join_group, leave_group, sync_group
from kafka_cy.api.group_bodies import BODY_BYTES_FEW
from kafka_cy.base.slices import Work
from kafka_cy.coordinator.classic.group import ClassicGroup
from kafka_cy.coordinator.classic.limits import PROTOCOLS_MAX
from kafka_cy.coordinator.classic.member import Member
from kafka_cy.coordinator.consumer.requests import OWNED_AT_ONCE, HeartbeatRequest
from kafka_cy.coordinator.transactions.limits import PARTITIONS_MAX
from kafka_cy.protocol.errors import ErrorCode

from .consumer_fakes import ConsumerHarness, assigned


class Counted(tuple[Any, ...]):
    """An array of a request; `looks` counts its elements that were read."""

    looks = 0

    def __iter__(self) -> Iterator[Any]:
        for each in super().__iter__():
            self.looks += 1
            yield each


class Asked:
    """A request whose sender has all rights or none."""

    def __init__(self, version: int, allowed: bool = True, **body: Any) -> None:
        self.body, self.api_version, self.allowed = SimpleNamespace(**body), version, allowed
        self.client_id, self.client_host = "me", "127.0.0.1"
        self.body_size = BODY_BYTES_FEW + 1
        self.fail = None
        self.authorizer: Any = object()
        self.responses: list[Any] = []
        self.respond = self.responses.append

    def end_turn(self) -> None:
        """Its turn among the long requests ends."""


@pytest.fixture(autouse=True)
def rights(monkeypatch: pytest.MonkeyPatch) -> None:
    def may_group(request: Asked, operation: object, group_id: str) -> bool:
        return request.allowed

    for module in (consumer_group_heartbeat_cold, join_group, leave_group, sync_group):
        monkeypatch.setattr(module, "may_group", may_group)


# -- JoinGroup --


def join(count: int, allowed: bool = True) -> tuple[Asked, list[Any]]:
    second = timedelta(seconds=10)
    protocols = Counted(SimpleNamespace(name=f"p{number}", metadata=b"") for number in range(count))
    request: Any = Asked(
        9, allowed, group_id="g", member_id="m", group_instance_id=None, session_timeout=second, rebalance_timeout=second,
        protocol_type="consumer", protocols=protocols, reason=None,
    )  # fmt: skip
    joined: list[Any] = []
    context: Any = SimpleNamespace(groups=SimpleNamespace(classic=SimpleNamespace(join=lambda join, respond: joined.append(join))))
    join_group.handle(request, context)
    return request, joined


def test_a_join_with_too_many_protocols_is_refused_before_they_are_copied() -> None:
    request, joined = join(PROTOCOLS_MAX + 1)
    assert request.body.protocols.looks == 0 and not joined
    assert [each["error_code"] for each in request.responses] == [ErrorCode.INCONSISTENT_GROUP_PROTOCOL]
    assert request.responses[0]["member_id"] == "m"
    _, joined = join(PROTOCOLS_MAX)
    assert len(joined[0].protocols) == PROTOCOLS_MAX


def test_the_protocols_of_a_join_without_the_right_are_not_copied() -> None:
    request, joined = join(PROTOCOLS_MAX, allowed=False)
    assert request.body.protocols.looks == 0 and not joined
    assert [each["error_code"] for each in request.responses] == [ErrorCode.GROUP_AUTHORIZATION_FAILED]


def test_the_end_of_a_join_phase_looks_at_the_first_common_protocol_of_each_member() -> None:
    group = ClassicGroup("g")
    names = [f"p{number}" for number in range(PROTOCOLS_MAX)]
    for own in ("a", "b", "c"):
        protocols: Any = [(own, b""), *[(name, b"") for name in names]]
        group.add(Member("g", own, None, "c", "/h", 1, 1, protocols, 0.0), "consumer")
    counted = {member: Counted(member.protocols) for member in group.members.values()}
    for member, each in counted.items():
        member.protocols = each  # type: ignore[assignment]
    group.begin_generation(0)
    assert group.protocol == "p0"
    assert [each.looks for each in counted.values()] == [1 + PROTOCOLS_MAX + 2, 2, 2]


# -- bodies that are read on another thread --


class Groups:
    """The coordinator: it keeps what handlers hand over."""

    def __init__(self) -> None:
        self.tasks: list[Any] = []
        self.taken: list[Any] = []
        self.classic = self.consumer = self

    def in_slices(self, steps: Any, done: object) -> None:
        self.tasks.append(steps)

    def sync(self, request: Any, respond: object) -> None:
        self.taken.append(request)

    def leave(self, group_id: str, members: Any, respond: object) -> None:
        self.taken.append(members)

    def is_offered(self) -> bool:
        return True

    def heartbeat(self, request: Any, respond: object) -> None:
        self.taken.append(request)


def sync() -> tuple[Any, Counted]:
    assignments = Counted(SimpleNamespace(member_id=f"m{number}", assignment=b"a") for number in range(1000))
    request: Any = Asked(
        5, group_id="g", generation_id=1, member_id="m", group_instance_id=None, protocol_type="consumer", protocol_name="range",
        assignments=assignments,
    )  # fmt: skip
    return request, assignments


def leave() -> tuple[Any, Counted]:
    members = Counted(SimpleNamespace(member_id=f"m{number}", group_instance_id=None) for number in range(1000))
    return Asked(5, group_id="g", members=members), members


def beat() -> tuple[Any, Counted]:
    rows = Counted(SimpleNamespace(topic_id=uuid.UUID(int=number), partitions=(0,)) for number in range(1000))
    request: Any = Asked(
        1, group_id="g", member_id="m", member_epoch=1, instance_id=None, rack_id=None, rebalance_timeout=timedelta(seconds=1),
        subscribed_topic_names=None, subscribed_topic_regex=None, server_assignor=None, topic_partitions=rows,
    )  # fmt: skip
    request.authorizer = None
    return request, rows


LARGE = [(sync_group, sync, "assignments"), (leave_group, leave, None), (consumer_group_heartbeat_cold, beat, "owned")]


@pytest.mark.parametrize(("module", "make", "field"), LARGE)
def test_a_large_body_is_read_on_another_thread(module: Any, make: Any, field: str | None) -> None:
    request, elements = make()
    groups = Groups()
    context = SimpleNamespace(groups=groups)
    assert module.handle(request, context) is None
    assert elements.looks == 0 and not groups.taken
    (steps,) = groups.tasks
    work = next(steps)
    assert isinstance(work, Work) and elements.looks == 0
    work.run()
    assert elements.looks == 1000
    assert next(steps, None) is None
    (taken,) = groups.taken
    assert len(getattr(taken, field) if field else taken) == 1000


def beat() -> tuple[Any, Counted]:
    rows = Counted(SimpleNamespace(topic_id=uuid.UUID(int=number), partitions=(0,)) for number in range(1000))
    request: Any = Asked(
        1, group_id="g", member_id="m", member_epoch=1, instance_id=None, rack_id=None, rebalance_timeout=timedelta(seconds=1),
        subscribed_topic_names=None, subscribed_topic_regex=None, server_assignor=None, topic_partitions=rows,
    )  # fmt: skip
    request.authorizer = None
    return request, rows


LARGE = [(sync_group, sync, "assignments"), (leave_group, leave, None), (consumer_group_heartbeat_cold, beat, "owned")]


@pytest.mark.parametrize(("module", "make", "field"), LARGE)
def test_a_small_body_is_read_at_once(module: Any, make: Any, field: str | None) -> None:
    request, _ = make()
    request.body_size = BODY_BYTES_FEW
    groups = Groups()
    module.handle(request, SimpleNamespace(groups=groups))
    assert len(groups.taken) == 1 and not groups.tasks


def test_the_members_of_a_leave_without_the_right_are_not_copied() -> None:
    request, members = leave()
    request.allowed = False
    request.body_size = BODY_BYTES_FEW
    groups: Any = Groups()
    leave_group.handle(request, SimpleNamespace(groups=groups))  # type: ignore[arg-type]
    assert members.looks == 0 and not groups.taken
    assert [each["error_code"] for each in request.responses] == [ErrorCode.GROUP_AUTHORIZATION_FAILED]


# -- what a member of a consumer group says that it has --


@pytest.mark.parametrize("instance_id", [None, "i"])
def test_many_partitions_with_the_previous_epoch_are_compared_on_another_thread(instance_id: str | None) -> None:
    """The last response was lost; the partitions are those of one topic."""
    harness = ConsumerHarness(group_consumer_assignment_interval_ms=0)
    first = harness.join_consumer("g", "a", instance_id=instance_id)
    harness.join_consumer("g", "b")
    member = harness.consumer_group("g").members["a"]
    kept = assigned(harness.beat("g", "a", member.member_epoch, instance_id=instance_id, owned=assigned(first)))
    assert kept
    harness.beat("g", "a", member.member_epoch, instance_id=instance_id, owned=kept)
    member = harness.consumer_group("g").members["a"]
    assert member.previous_member_epoch == first["member_epoch"] < member.member_epoch
    ((topic_id, partitions),) = kept.items()
    owned = {topic_id: Counted([partitions[0]] * (OWNED_AT_ONCE + 1))}
    harness.loop.threads = []
    responses: list[dict[str, Any]] = []
    harness.coordinator.consumer.heartbeat(
        HeartbeatRequest("g", "a", first["member_epoch"], instance_id, owned=owned, client_id="k848", client_host="/127.0.0.1"),
        responses.append,
    )
    looks = 0
    while harness.loop.threads:
        assert owned[topic_id].looks == looks, "the loop looked"
        work, done = harness.loop.threads.pop(0)
        work()
        looks = owned[topic_id].looks
        done()
    assert looks > OWNED_AT_ONCE
    assert [each["error_code"] for each in responses] == [ErrorCode.NONE]


# -- AddPartitionsToTxn --


@pytest.mark.parametrize(
    ("count", "allowed", "error"),
    [
        (PARTITIONS_MAX + 1, True, ErrorCode.POLICY_VIOLATION),
        (PARTITIONS_MAX + 1, False, ErrorCode.TRANSACTIONAL_ID_AUTHORIZATION_FAILED),
        (PARTITIONS_MAX, False, ErrorCode.TRANSACTIONAL_ID_AUTHORIZATION_FAILED),
    ],
)
def test_the_loop_does_not_look_at_what_is_not_added_to_a_transaction(
    monkeypatch: pytest.MonkeyPatch, count: int, allowed: bool, error: ErrorCode
) -> None:
    monkeypatch.setattr(add_partitions_to_txn, "may_transactional_id", lambda request, operation, name: request.allowed)
    topics = Counted(SimpleNamespace(name=f"t{number}", partitions=(0,)) for number in range(count))
    request: Any = Asked(
        3, allowed, v3_and_below_transactional_id="t", v3_and_below_producer_id=1, v3_and_below_producer_epoch=0,
        v3_and_below_topics=topics,
    )  # fmt: skip
    waiting: list[Any] = []
    request.respond_long = waiting.append
    context: Any = SimpleNamespace()
    add_partitions_to_txn.handle(request, context)
    assert topics.looks == 0 and not request.responses
    (prepare,) = waiting
    prepare(lambda make: request.respond(make()))
    (response,) = request.responses
    rows = response["results_by_topic_v3_and_below"]
    assert [each["partition_error_code"] for row in rows for each in row["results_by_partition"]] == [error] * count
