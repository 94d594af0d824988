"""Requests with many names: the ACLs are asked about a few in each turn of the loop, and others are served in between."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from control_fakes import KeptRequest, make_context, start
from test_change_pieces import Turns

from kafka_cy.authorizer.acls import ResourceType
from kafka_cy.base import slices
from kafka_cy.base.slices import Slices
from kafka_cy.cluster.features import FinalizedFeatures
from kafka_cy.coordinator.transactions.limits import PARTITIONS_MAX
from kafka_cy.protocol.errors import ErrorCode

COUNT = 300
ASKED_AT_ONCE_MAX = 3  # what the request is about, and one step of the slices
NAMES = [f"t{i}" for i in range(COUNT)]
TAF, POLICY_VIOLATION = 29, 44
BODIES: dict[str, tuple[int, int, dict[str, Any]]] = {
    "DeleteRecords": (21, 2, {
        "topics": [{"name": name, "partitions": [{"partition_index": 0, "offset": 0}]} for name in NAMES], "timeout": 1000,
    }),
    "DescribeProducers": (61, 0, {"topics": [{"name": name, "partition_indexes": [0]} for name in NAMES]}),
    "AddPartitionsToTxn": (24, 3, {
        "v3_and_below_transactional_id": "i", "v3_and_below_producer_id": 1, "v3_and_below_producer_epoch": 0,
        "v3_and_below_topics": [{"name": name, "partitions": [0]} for name in NAMES],
    }),
    "OffsetDelete": (47, 0, {
        "group_id": "g", "topics": [{"name": name, "partitions": [{"partition_index": 0}]} for name in NAMES],
    }),
    "AlterShareGroupOffsets": (91, 0, {
        "group_id": "g",
        "topics": [{"topic_name": name, "partitions": [{"partition_index": 0, "start_offset": 0}]} for name in NAMES],
    }),
    "DeleteShareGroupOffsets": (92, 0, {"group_id": "g", "topics": [{"topic_name": name} for name in NAMES]}),
    "DeleteGroups": (42, 2, {"groups_names": NAMES}),
}  # fmt: skip


class CountingAuthorizer:
    """Allows what is about the group `g` and the transactional id, and every other of the names."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.fails_at = -1

    def allows(self, user: object, host: str, operation: int, kind: int, name: str, **more: object) -> bool:
        self.asked.append(name)
        if len(self.asked) == self.fails_at:
            raise MemoryError
        return (kind != ResourceType.TOPIC and name not in NAMES) or name in NAMES[::2]


class Coordinator:
    """Both coordinators: what handlers have it do."""

    def __init__(self) -> None:
        self.given: list[list[Any]] = []
        self.offered = True  # the groups of KIP-848
        self.share_offsets = SimpleNamespace(alter=self._share, delete=self._share)
        self.runtime = SimpleNamespace(for_each=lambda items, work, failed: [work(each) for each in items])

    def _share(self, group: str, topics: Any, respond: Callable[[Any], object]) -> None:
        self.given.append(list(topics))
        respond({})

    def delete_offsets(self, group: str, pairs: list[Any], done: Callable[..., object], look: Iterable[Any] | None) -> None:
        for _ in look or ():
            pass
        self.given.append([name for name, _ in pairs])
        done(ErrorCode.NONE, dict.fromkeys(pairs, ErrorCode.NONE))

    @property
    def deletion(self) -> Any:
        return self

    def delete_groups(self, names: Sequence[str], done: Callable[..., object]) -> None:
        self.given.append(list(names))
        done([ErrorCode.NONE] * len(names))

    def is_busy(self, names: Sequence[str]) -> bool:
        return False

    def members_count(self, names: Sequence[str]) -> int:
        self.given.append(list(names))
        return 0

    def offsets_count(self, name: str) -> int:
        return 0

    def describe_group(self, name: str) -> tuple[ErrorCode, None]:
        self.given.append([name])
        return ErrorCode.NONE, None

    def describe_groups(self, names: Sequence[str], done: Callable[..., object]) -> None:
        self.given.append(list(names))
        done([(ErrorCode.NONE, None)] * len(names))

    describe = describe_groups

    def fetch(self, names: Sequence[str], look: Callable[..., object], done: Callable[..., object]) -> None:
        self.given.append(list(names))
        done([(ErrorCode.NONE, look(place, None)) for place in range(len(names))])

    @property
    def consumer(self) -> Any:
        return self

    def is_offered(self) -> bool:
        return self.offered

    def descriptions(self, names: Sequence[str], found: list[Any]) -> list[None]:
        self.given.append(list(names))
        found += [{"error_code": 0, "error_message": None, **self.unknown(name)} for name in names]
        return [None]

    def unknown(self, name: str) -> dict[str, Any]:
        return {"group_id": name, "group_state": "", "group_epoch": 0, "assignment_epoch": 0, "assignor_name": "", "members": []}

    def in_slices(self, steps: Any, done: Callable[[], object]) -> None:
        for _ in steps:
            pass
        done()


@pytest.fixture
def context(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(slices, "SLICE_S", 0.0)
    made: Any = make_context()
    made.cluster.features = FinalizedFeatures({"metadata.version": 30, "group.version": 1, "share.version": 1}, 1)
    start(made, 19, 7, {
        "topics": [{"name": name, "num_partitions": 1, "replication_factor": 1} for name in NAMES], "timeout": 10000,
    })  # fmt: skip
    for partition in made.logs.partitions.values():
        partition.log = SimpleNamespace(producers=list)
    made.loop = Turns()
    made.slices = Slices(made.loop, pytest.fail)
    made.groups = made.transactions = Coordinator()
    made.create_topics = lambda names, request, done: done()
    return made


def run(context: Any, authorizer: CountingAuthorizer, name: str) -> KeptRequest:
    """Begin the request, then run the loop. No turn may ask much."""
    key, version, body = BODIES[name]
    request = start(context, key, version, body, authorizer=authorizer)
    before = 0
    while True:
        assert len(authorizer.asked) - before <= ASKED_AT_ONCE_MAX
        if not context.loop.waiting:
            return request
        assert request.responses == []
        before = len(authorizer.asked)
        context.loop.run_one()


def codes(value: Any) -> list[int]:
    """All errors of a response but those at its top."""
    if isinstance(value, dict):
        return [int(each) for key, each in value.items() if key.endswith("error_code")] + [
            code for each in value.values() for code in codes(each)
        ]
    return [code for each in value for code in codes(each)] if isinstance(value, list) else []


@pytest.mark.parametrize("name", BODIES)
def test_few_in_each_turn(context: Any, name: str) -> None:
    authorizer = CountingAuthorizer()
    request = run(context, authorizer, name)
    assert sorted(each for each in authorizer.asked if each in NAMES) == sorted(NAMES), "each once"
    (answer,) = request.responses
    denied = [code for code in codes(answer) if code == (30 if name == "DeleteGroups" else TAF)]
    assert len(denied) == COUNT // 2
    for given in context.groups.given:
        assert given == NAMES[::2]


@pytest.mark.parametrize("name", ["AlterShareGroupOffsets", "DeleteShareGroupOffsets", "OffsetDelete"])
def test_the_group_is_asked_before_its_topics(context: Any, name: str) -> None:
    authorizer = CountingAuthorizer()
    authorizer.allows = lambda *arguments, **more: bool(authorizer.asked.append(arguments[4]))  # type: ignore[method-assign]
    (answer,) = run(context, authorizer, name).responses
    assert authorizer.asked == ["g"] and answer["error_code"] == 30


@pytest.mark.parametrize("name", ["DeleteGroups", "OffsetDelete", "AddPartitionsToTxn"])
def test_nothing_is_done_after_a_fault(context: Any, name: str) -> None:
    authorizer = CountingAuthorizer()
    authorizer.fails_at = COUNT // 2
    key, version, body = BODIES[name]
    request = start(context, key, version, body, authorizer=authorizer)
    faults: list[Exception] = []

    def fail(failed: Any, error: Exception) -> None:
        failed.responded = True
        faults.append(error)

    request.fail = fail
    context.loop.run_all()
    assert [type(each) for each in faults] == [MemoryError]
    assert request.responses == [] and context.groups.given == []


@pytest.mark.parametrize("count", [4, COUNT])
@pytest.mark.parametrize("name", ["DescribeGroups", "ConsumerGroupDescribe", "DescribeTransactions", "OffsetFetch"])
def test_nothing_is_looked_up_for_what_is_denied(context: Any, name: str, count: int) -> None:
    names = NAMES[:count]
    key, version, body = {
        "DescribeGroups": (15, 5, {"groups": names, "include_authorized_operations": False}),
        "ConsumerGroupDescribe": (69, 1, {"group_ids": names, "include_authorized_operations": False}),
        "DescribeTransactions": (65, 0, {"transactional_ids": names}),
        "OffsetFetch": (9, 9, {
            "groups": [{"group_id": each, "member_id": None, "member_epoch": -1, "topics": None} for each in names],
            "require_stable": False,
        }),
    }[name]  # fmt: skip
    authorizer = CountingAuthorizer()
    request = start(context, key, version, body, authorizer=authorizer)
    context.loop.run_all()
    (answer,) = request.responses
    denied = 53 if name == "DescribeTransactions" else 30
    assert sorted(code for code in codes(answer) if code == denied) == [denied] * (count // 2)
    assert sorted(authorizer.asked) == sorted(names), "each once"
    looked_up = {each for given in context.groups.given for each in given}
    assert looked_up == set(names[::2])


def test_a_group_that_is_denied_has_no_message(context: Any) -> None:
    body = {"group_ids": NAMES[:2], "include_authorized_operations": False}
    (answer,) = start(context, 69, 1, body, authorizer=CountingAuthorizer()).responses
    assert [(each["group_id"], int(each["error_code"]), each["error_message"]) for each in answer["groups"]] == [
        (NAMES[1], 30, None), (NAMES[0], 0, None),
    ]  # fmt: skip


def test_without_consumer_groups_no_right_is_asked_for(context: Any) -> None:
    context.groups.offered = False
    authorizer = CountingAuthorizer()
    body = {"group_ids": NAMES[:2], "include_authorized_operations": False}
    (answer,) = start(context, 69, 1, body, authorizer=authorizer).responses
    assert authorizer.asked == [] and context.groups.given[-1] == NAMES[:2]
    assert [int(each["error_code"]) for each in answer["groups"]] == [0, 0], "what the coordinator says"


@pytest.mark.parametrize(
    ("key", "version", "body"),
    [
        (78, 1, {
            "group_id": "g", "member_id": "m", "share_session_epoch": 0, "max_wait": 0, "min_bytes": 0, "max_bytes": 1,
            "max_records": 1, "batch_size": 1, "topics": [], "forgotten_topics_data": [],
        }),
        (91, 0, {"group_id": "g", "topics": []}),
    ],
)  # fmt: skip
def test_a_cluster_without_share_groups_says_so_before_rights(
    context: Any, key: int, version: int, body: dict[str, Any]
) -> None:
    context.cluster.features = FinalizedFeatures({"metadata.version": 30, "group.version": 1}, 1)
    context.share = None
    authorizer = CountingAuthorizer()
    (answer,) = start(context, key, version, body, authorizer=authorizer).responses
    assert answer["error_code"] == ErrorCode.UNSUPPORTED_VERSION and authorizer.asked == []


def test_what_no_group_is_asked_about_comes_first(context: Any) -> None:
    """OffsetDelete, as Kafka puts its response together."""
    denied, allowed = NAMES[1], NAMES[0]
    body = {"group_id": "g", "topics": [
        {"name": allowed, "partitions": [{"partition_index": 0}]}, {"name": denied, "partitions": []},
        {"name": "none", "partitions": [{"partition_index": 0}]},
        {"name": NAMES[2], "partitions": [{"partition_index": 0}, {"partition_index": 7}]},
    ]}  # fmt: skip
    (answer,) = start(context, 47, 0, body, authorizer=CountingAuthorizer()).responses
    assert [
        (topic["name"], [(each["partition_index"], each["error_code"]) for each in topic["partitions"]])
        for topic in answer["topics"]
    ] == [(denied, []), ("none", [(0, TAF)]), (NAMES[2], [(7, 3), (0, 0)]), (allowed, [(0, 0)])]


def test_topics_without_partitions_count(context: Any) -> None:
    authorizer = CountingAuthorizer()
    topics = [{"name": f"n{i}", "partitions": []} for i in range(PARTITIONS_MAX + 1)]
    body = BODIES["AddPartitionsToTxn"][2] | {"v3_and_below_topics": [*topics, {"name": "t0", "partitions": [0]}]}
    (answer,) = start(context, 24, 3, body, authorizer=authorizer).responses
    assert authorizer.asked == ["i"], "only the right on the transactional id"
    assert set(codes(answer)) == {POLICY_VIOLATION}
