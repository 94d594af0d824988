"""Topics with many partitions: their nodes and folders come and go a few at a time, and others are served in between."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from control_fakes import FakePartition, KeptRequest, call, start
from test_change_pieces import CREATE, DELETE, EXTEND, TOPIC_EXISTS, creation, deletion_of, extension
from test_change_pieces import context as context

from kafka_cy.api.change_pieces import FOLDERS_AT_ONCE_MAX, TOPIC_AT_ONCE_MAX
from kafka_cy.api.topic_creation import create_all_on_demand, create_with_settings
from kafka_cy.cluster.store import StoreBroken
from kafka_cy.cluster.topic_changes import PIECE_PARTITIONS
from kafka_cy.cluster.topics import Topic
from kafka_cy.config import BrokerConfig
from kafka_cy.coordinator.streams.configured import InternalTopic

INVALID_TOPIC, INVALID_PARTITIONS = 17, 37
MANY = 4 * PIECE_PARTITIONS + 1


class Folders:
    """One log comes or goes in each step."""

    def __init__(self, context: Any) -> None:
        self.partitions = context.logs.partitions

    def host(self, topics: Sequence[Topic]) -> Iterator[None]:
        for topic in topics:
            for partition in topic.partitions:
                self.partitions.setdefault((topic.name, partition.index), FakePartition())
                yield

    def drop(self, topics: Sequence[Topic]) -> Iterator[None]:
        for topic in topics:
            for partition in topic.partitions:
                del self.partitions[topic.name, partition.index]
                yield


@pytest.fixture
def broker(context: Any) -> Any:
    context.topic_changes.folders = Folders(context)
    real = context.logs.on_change
    listeners = context.cluster._listeners
    listeners[listeners.index(real)] = lambda change: None if getattr(change, "keeps_folders", False) else real(change)
    return context


def store_of(broker: Any) -> Any:
    return broker.topic_changes._store


def nodes(broker: Any) -> int:
    return len(store_of(broker)._nodes)


def most_at_once(broker: Any, measure: Callable[[], int], request: KeptRequest) -> int:
    """How much the largest turn changes."""
    known = [measure()]
    while broker.loop.waiting:
        assert request.responses == []
        broker.loop.run_one()
        known.append(measure())
    assert len(request.responses) == 1
    return max(abs(after - before) for before, after in itertools.pairwise(known))


@pytest.mark.parametrize("measured", ["logs", "nodes"])
def test_one_topic_changes_a_few_partitions_at_a_time(broker: Any, measured: str) -> None:
    def measure() -> int:
        return len(broker.logs.partitions) if measured == "logs" else nodes(broker)

    limit = 1 if measured == "logs" else 2 * PIECE_PARTITIONS + 4
    request = start(broker, CREATE, 7, creation(["t"], MANY))
    assert most_at_once(broker, measure, request) <= limit
    assert request.responses[0]["topics"][0]["error_code"] == 0 and len(broker.logs.partitions) == MANY
    request = start(broker, EXTEND, 3, extension(["t"], 2 * MANY))
    assert most_at_once(broker, measure, request) <= limit
    assert request.responses[0]["results"][0]["error_code"] == 0 and len(broker.logs.partitions) == 2 * MANY
    request = start(broker, DELETE, 6, deletion_of(["t"]))
    assert most_at_once(broker, measure, request) <= limit
    assert request.responses[0]["responses"][0]["error_code"] == 0 and broker.logs.partitions == {}
    assert broker.topic_changes.deleting == [] and broker.cluster.topics == {}


def test_few_partitions_are_changed_at_once(broker: Any) -> None:
    for more, is_quick in ((0, True), (1, False)):
        for api_key, version, body in (
            (CREATE, 7, creation(["t"], FOLDERS_AT_ONCE_MAX + more)),
            (DELETE, 6, deletion_of(["t"])),
            (CREATE, 7, creation(["t", "u"], FOLDERS_AT_ONCE_MAX // 2 + more)),
            (DELETE, 6, deletion_of(["t", "u"])),
        ):
            request = start(broker, api_key, version, body)
            assert bool(request.responses) == is_quick, (api_key, more)
            broker.loop.run_all()
            assert len(request.responses) == 1
        call(broker, CREATE, 7, creation(["t"]))
        request = start(broker, EXTEND, 3, extension(["t"], 1 + FOLDERS_AT_ONCE_MAX + more))
        assert bool(request.responses) == is_quick
        start(broker, DELETE, 6, deletion_of(["t"]))
        broker.loop.run_all()


def test_a_partition_of_a_large_topic_is_added_in_steps(broker: Any) -> None:
    """Its node and its image are written as a whole."""
    for count, is_quick in ((TOPIC_AT_ONCE_MAX, True), (TOPIC_AT_ONCE_MAX + 1, False)):
        name = f"t{count}"
        start(broker, CREATE, 7, creation([name], count))
        broker.loop.run_all()
        assert start(broker, EXTEND, 3, {**extension([name], count + 1), "validate_only": True}).responses
        request = start(broker, EXTEND, 3, extension([name], count + 1))
        assert bool(request.responses) == is_quick
        broker.loop.run_all()
        assert len(broker.cluster.topics[name].partitions) == count + 1


def test_the_broker_has_partitions_for_topics_without_a_number(broker: Any) -> None:
    broker.config = BrokerConfig.load(None, {"num.partitions": str(MANY)})
    request = start(broker, CREATE, 7, creation(["t"], -1))
    assert request.responses == []
    broker.loop.run_all()
    assert request.responses[0]["topics"][0]["num_partitions"] == MANY


def test_readers_see_topics_with_logs_only(broker: Any) -> None:
    start(broker, CREATE, 7, creation(["t"], MANY))
    while len(broker.logs.partitions) < MANY:
        assert "t" not in broker.cluster.topics
        broker.loop.run_one()
    broker.loop.run_all()
    assert len(broker.cluster.topics["t"].partitions) == MANY
    start(broker, EXTEND, 3, extension(["t"], 2 * MANY))
    while len(broker.logs.partitions) < 2 * MANY:
        assert len(broker.cluster.topics["t"].partitions) == MANY
        broker.loop.run_one()
    broker.loop.run_all()
    assert len(broker.cluster.topics["t"].partitions) == 2 * MANY
    start(broker, DELETE, 6, deletion_of(["t"]))
    while "t" in broker.cluster.topics:
        assert len(broker.logs.partitions) == 2 * MANY
        broker.loop.run_one()
    assert broker.loop.waiting


def begun(broker: Any, api_key: int, version: int, body: dict[str, Any]) -> KeptRequest:
    """A change that has stored something."""
    before = nodes(broker)
    request = start(broker, api_key, version, body)
    while nodes(broker) == before:
        broker.loop.run_one()
    return request


def test_others_are_served_meanwhile(broker: Any) -> None:
    request = begun(broker, CREATE, 7, creation(["t"], MANY))
    assert call(broker, CREATE, 7, creation(["u"]))["topics"][0]["error_code"] == 0
    assert call(broker, EXTEND, 3, extension(["u"]))["results"][0]["error_code"] == 0
    assert call(broker, DELETE, 6, deletion_of(["u"]))["responses"][0]["error_code"] == 0
    assert request.responses == []


def test_changes_of_the_same_topic_wait(broker: Any) -> None:
    created = begun(broker, CREATE, 7, creation(["t.t"], MANY))
    again = start(broker, CREATE, 7, creation(["t.t"]))
    like = start(broker, CREATE, 7, creation(["t_t"]))
    extended = start(broker, EXTEND, 3, extension(["t.t"], MANY + 1))
    deleted = start(broker, DELETE, 6, deletion_of(["t.t"]))
    anew = start(broker, CREATE, 7, creation(["t.t"], 2))
    for request in (created, again, like, extended, deleted, anew):
        assert request.responses == []
    broker.loop.run_all()
    assert created.responses[0]["topics"][0]["error_code"] == 0
    assert again.responses[0]["topics"][0]["error_code"] == TOPIC_EXISTS
    assert like.responses[0]["topics"][0]["error_code"] == INVALID_TOPIC
    assert extended.responses[0]["results"][0]["error_code"] == 0
    assert deleted.responses[0]["responses"][0]["error_code"] == 0
    assert anew.responses[0]["topics"][0]["error_code"] == 0
    assert len(broker.cluster.topics["t.t"].partitions) == 2 == len(broker.logs.partitions)


def test_extensions_of_the_same_topic_wait(broker: Any) -> None:
    call(broker, CREATE, 7, creation(["t"]))
    first = begun(broker, EXTEND, 3, extension(["t"], MANY))
    second, third = (start(broker, EXTEND, 3, extension(["t"], count)) for count in (2, MANY + 1))
    assert not first.responses and not second.responses and not third.responses
    broker.loop.run_all()
    assert [each.responses[0]["results"][0]["error_code"] for each in (first, second, third)] == [0, INVALID_PARTITIONS, 0]
    assert len(broker.cluster.topics["t"].partitions) == MANY + 1 == len(broker.logs.partitions)


def test_settings_that_change_while_partitions_are_added_stay(broker: Any) -> None:
    call(broker, CREATE, 7, creation(["t"]))
    begun(broker, EXTEND, 3, extension(["t"], MANY))
    broker.config_changes.set_config("topics", "t", {"retention.ms": "7"})
    broker.loop.run_all()
    topic = broker.cluster.topics["t"]
    assert len(topic.partitions) == MANY and topic.config == {"retention.ms": "7"} == broker.cluster.topic_config("t")


def test_a_topic_whose_nodes_are_not_all_stored_is_complete(broker: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The store breaks after its transaction: the request fails, and readers see what the next start will see."""
    request = begun(broker, CREATE, 7, creation(["t"], MANY))
    request.fail = lambda failed, error: failed.close(repr(error))
    monkeypatch.setattr(store_of(broker), "_persist", lambda changes: (_ for _ in ()).throw(StoreBroken("full")))
    while broker.loop.waiting:
        before = len(broker.logs.partitions)
        broker.loop.run_one()
        assert len(broker.logs.partitions) <= before + 1
    assert request.responses == [] and request.control.reason == "StoreBroken('full')"  # type: ignore[attr-defined]
    assert len(broker.cluster.topics["t"].partitions) == MANY == len(broker.logs.partitions)
    monkeypatch.undo()
    deleted = start(broker, DELETE, 6, deletion_of(["t"]))
    broker.loop.run_all()
    assert deleted.responses[0]["responses"][0]["error_code"] == 0 and broker.topic_changes.deleting == []


def test_a_deletion_that_is_not_finished_is_finished_later(broker: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    call(broker, CREATE, 7, creation(["u"]))
    start(broker, CREATE, 7, creation(["t"], MANY))
    broker.loop.run_all()
    before = nodes(broker)
    request = begun(broker, DELETE, 6, deletion_of(["t"]))
    call(broker, DELETE, 6, deletion_of(["u"]))
    assert [topic.name for topic in broker.topic_changes.deleting] == ["t"] and nodes(broker) > before - 10, "it has folders"
    request.fail = lambda failed, error: failed.close(repr(error))
    monkeypatch.setattr(store_of(broker), "_persist", lambda changes: (_ for _ in ()).throw(StoreBroken("full")))
    broker.loop.run_all()
    assert request.control.reason == "StoreBroken('full')" and broker.logs.partitions == {}  # type: ignore[attr-defined]
    monkeypatch.undo()
    assert call(broker, CREATE, 7, creation(["t"]))["topics"][0]["error_code"] == 0
    assert broker.topic_changes.deleting == [] and len(broker.logs.partitions) == 1


@pytest.mark.parametrize("measured", ["logs", "nodes"])
def test_topics_that_nobody_asked_for_are_created_a_few_at_a_time(broker: Any, measured: str) -> None:
    """By Metadata, and for streams groups. A topic that a request is creating meanwhile is not created twice."""
    created: list[Topic] = []
    errors = {"s": "unknown", "t0": "unknown"}
    args = broker.cluster, broker.topic_changes, broker.config
    begun(broker, CREATE, 7, creation(["t0"], MANY))
    names = [f"t{number}" for number in range(MANY)]
    broker.slices.add(create_all_on_demand(*args, names, created))
    streams_topics = [InternalTopic("t0", 1, 1, ()), InternalTopic("s", MANY, 1, ())]
    broker.slices.add(create_with_settings(*args, streams_topics, created, errors))
    limit = 1 if measured == "logs" else 2 * PIECE_PARTITIONS + 4
    known = [len(broker.logs.partitions) if measured == "logs" else nodes(broker)]
    while broker.loop.waiting:
        broker.loop.run_one()
        known.append(len(broker.logs.partitions) if measured == "logs" else nodes(broker))
    assert max(after - before for before, after in itertools.pairwise(known)) <= limit
    assert len(broker.logs.partitions) == 3 * MANY - 1
    assert sorted(topic.name for topic in created) == sorted([*names[1:], "s"])
    assert errors == {"t0": "Topic 't0' already exists."}
