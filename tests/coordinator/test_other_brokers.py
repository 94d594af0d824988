"""Markers for partitions that other brokers lead, and transactions that other brokers coordinate."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from kafka_cy.base import slices
from kafka_cy.base.slices import Slices
from kafka_cy.coordinator.runtime.shard import Marker
from kafka_cy.coordinator.transactions import marker_channels, remote_verification
from kafka_cy.coordinator.transactions.broker_calls import UNSUPPORTED
from kafka_cy.coordinator.transactions.init_producer_id import Producer
from kafka_cy.coordinator.transactions.marker_channels import MarkerChannels, MarkerRouter
from kafka_cy.coordinator.transactions.remote_verification import RemoteVerification
from kafka_cy.protocol.broker_messages.add_partitions_to_txn import AddPartitionsToTxnResponse
from kafka_cy.protocol.broker_messages.write_txn_markers import WriteTxnMarkersResponse
from kafka_cy.protocol.errors import ErrorCode

from .fakes import FakeLoop
from .transaction_fakes import FakeTable, TransactionCluster, TransactionHarness

NONE, NETWORK_EXCEPTION, NO_LEADER = ErrorCode.NONE, ErrorCode.NETWORK_EXCEPTION, ErrorCode.LEADER_NOT_AVAILABLE
HERE, THERE, FAR = 0, 2, 3


class Calls:
    """Requests that the test answers."""

    def __init__(self) -> None:
        self.sent: list[tuple[int, Any, Any]] = []
        self.versions: list[int | None] = []  # of all that were sent

    def send(self, broker_id: int, api: Any, version: int | None, request: Any, response: Any, done: Any) -> None:
        self.versions.append(version)
        self.sent.append((broker_id, request, done))

    def take(self) -> tuple[int, Any, Any]:
        return self.sent.pop(0)


class Cluster(TransactionCluster):
    """Leads some partitions; `leaders` has those of the others."""

    def __init__(self, leaders: dict[tuple[str, int], int]) -> None:
        super().__init__(1)
        self.broker_id = HERE
        self.leaders = leaders
        for (name, index), leader in leaders.items():
            topic = self.topics[name]
            topic.partitions = [SimpleNamespace(leader=HERE) if isinstance(each, int) else each for each in topic.partitions]
            topic.partitions[index] = SimpleNamespace(leader=leader)
            del self.hosted[name, index]


def marker(producer_id: int) -> Marker:
    return Marker(producer_id, 1, 5, True, 0)


def written(request: Any, error: ErrorCode = NONE) -> WriteTxnMarkersResponse:
    return WriteTxnMarkersResponse(
        {each.producer_id: {partition: int(error) for partition in each.partitions} for each in request.markers}
    )


def channels(calls: Calls, faults: list[Exception] | None = None) -> MarkerChannels:
    on_fault = (lambda fault: None) if faults is None else faults.append
    return MarkerChannels(calls, Slices(FakeLoop(), on_fault), on_fault)


@pytest.mark.parametrize("version", [0, 1])
def test_markers_have_the_version_that_the_cluster_has(version: int) -> None:
    """inter.broker.protocol.version; it is not negotiated."""
    calls = Calls()
    sender = MarkerChannels(calls, Slices(FakeLoop(), lambda fault: None), lambda fault: None, version)
    sender.write(THERE, marker(1), [("tt", 0)], lambda errors: None)
    assert calls.versions == [version]


def test_one_request_at_a_time_for_each_broker() -> None:
    calls, found = Calls(), []
    sender = channels(calls)
    for producer_id in (1, 2, 3):
        sender.write(THERE, marker(producer_id), [("tt", producer_id - 1)], found.append)
    sender.write(FAR, marker(4), [("tt", 0)], found.append)
    (broker, first, done), (other, *_) = calls.sent
    assert (broker, other, [each.producer_id for each in first.markers]) == (THERE, FAR, [1])
    assert first.markers[0]._replace(partitions=[]) == (1, 1, True, 5, [])
    calls.sent.clear()
    done(written(first))
    assert found == [{("tt", 0): NONE}]
    _, second, done = calls.take()
    assert [each.producer_id for each in second.markers] == [2, 3], "what waited meanwhile"
    done(written(second, ErrorCode.NOT_LEADER_OR_FOLLOWER))
    assert found[1:] == [{("tt", index): ErrorCode.NOT_LEADER_OR_FOLLOWER} for index in (1, 2)] and not calls.sent


def test_a_request_has_its_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """More partitions than PARTITIONS_MAX would be refused."""
    monkeypatch.setattr(marker_channels, "PARTITIONS_MAX", 3)
    monkeypatch.setattr(marker_channels, "MARKERS_MAX", 2)
    calls = Calls()
    sender = channels(calls)
    sender.write(THERE, marker(1), [("tt", 0)], lambda errors: None)
    sizes = []
    for producer_id, count in ((2, 1), (3, 2), (4, 2), (5, 9), (6, 1), (7, 1), (8, 1)):
        sender.write(THERE, marker(producer_id), [("tt", index) for index in range(count)], lambda errors: None)
    while calls.sent:
        _, request, done = calls.take()
        sizes.append([len(each.partitions) for each in request.markers])
        done(written(request))
    assert sizes == [[1], [1, 2], [2], [9], [1, 1], [1]]


def test_a_transaction_that_was_loaded_anew_waits_once() -> None:
    """However often its partition is lost and led again, while a broker does not answer."""
    calls, found = Calls(), []
    sender = channels(calls)
    sender.write(THERE, marker(1), [("tt", 0)], found.append)
    for epoch in range(100):
        sender.write(THERE, marker(2)._replace(coordinator_epoch=epoch), [("tt", 0)], found.append)
    calls.take()[2](None)
    _, request, _ = calls.take()
    assert [(each.producer_id, each.coordinator_epoch) for each in request.markers] == [(2, 99)] and not calls.sent


@pytest.mark.parametrize("answer", [None, WriteTxnMarkersResponse({}), WriteTxnMarkersResponse({1: {("tt", 9): 0}})])
def test_what_was_not_answered_is_tried_again(answer: Any) -> None:
    calls, found = Calls(), []
    channels(calls).write(THERE, marker(1), [("tt", 0)], found.append)
    calls.take()[2](answer)
    assert found == [{("tt", 0): NETWORK_EXCEPTION}]


def test_errors_that_no_kafka_has() -> None:
    calls, found, faults = Calls(), [], []
    sender = channels(calls, faults)
    sender.write(THERE, marker(1), [("tt", 0)], lambda errors: 1 // 0)
    sender.write(THERE, marker(2), [("tt", 0)], found.append)
    calls.take()[2](None)
    calls.take()[2](WriteTxnMarkersResponse({2: {("tt", 0): 31_000}}))
    assert found == [{("tt", 0): ErrorCode.UNKNOWN_SERVER_ERROR}] and len(faults) == 1


def test_markers_go_to_where_the_partitions_are_led() -> None:
    calls, found, here = Calls(), [], []
    cluster = Cluster({("tt", 1): THERE, ("tt", 2): -1, ("tu", 0): FAR})
    writer: Any = SimpleNamespace(write=lambda marker, some, done: (here.append(some), done(dict.fromkeys(some, NONE))))
    router = MarkerRouter(cluster, Slices(FakeLoop(), print), writer, channels(calls))
    partitions = [("tt", 0), ("tt", 1), ("tt", 2), ("tu", 0), ("gone", 0)]
    router.write(marker(1), partitions, found.append)
    assert here == [[("tt", 0)]] and [broker for broker, *_ in calls.sent] == [THERE, FAR] and not found
    for _, request, done in calls.sent:
        done(written(request))
    expected = dict.fromkeys(partitions, NONE) | {("tt", 2): NO_LEADER, ("gone", 0): NO_LEADER}
    assert found == [expected]


def test_a_transaction_ends_when_all_brokers_have_its_marker() -> None:
    calls, cluster = Calls(), Cluster({("tt", 1): THERE})
    harness = TransactionHarness(cluster, calls=calls)
    producer = harness.started()
    assert not harness.add(producer, ("tt", 0), ("tt", 1), version=0)
    assert not harness.end(producer, version=0)[0]
    assert len(harness.markers("tt", 0)) == 1 and harness.stored().state == 2
    calls.take()[2](None)
    harness.loop.advance(1)
    _, request, done = calls.take()
    assert [each.partitions for each in request.markers] == [[("tt", 1)]] and len(harness.markers("tt", 0)) == 1
    harness.log().state = 1
    done(written(request))
    harness.loop.advance(10)
    harness.log().state, harness.log().leader_since_epoch = 0, 4
    assert harness.coordinator.runtime.shard(0) is not None
    harness.loop.advance(0.1)
    assert harness.stored().state == 2, "the lost coordinator does not complete it"
    while calls.sent:
        _, request, done = calls.take()
        assert request.markers[0].coordinator_epoch == 4
        done(written(request))
    harness.loop.advance(1)
    assert harness.stored().state == 4


class Verifying:
    """Questions about producer 7 with epoch 1."""

    def __init__(self) -> None:
        self.calls, self.table, self.found = Calls(), FakeTable(), []
        self.cluster = TransactionCluster(1)
        self.faults: list[Exception] = []
        self.remote = RemoteVerification(self.cluster, self.table, self.calls, self.faults.append)

    def ask(self, *partitions: tuple[str, int], name: str = "t", producer: Producer = Producer(7, 1)) -> None:  # noqa: B008
        self.remote.verify(THERE, name, producer, list(partitions), self.found.append)

    def answer(self, error: ErrorCode = NONE, top: ErrorCode = NONE) -> list[str]:
        """Answer the oldest request; the transactional ids in it."""
        _, request, done = self.calls.take()
        names = {each.transactional_id: {part: int(error) for part in each.partitions} for each in request.transactions}
        done(AddPartitionsToTxnResponse(int(top), names))
        return list(names)

    def shown(self) -> set[tuple[bytes, int]]:
        return self.table.producers.get(7, (1, set()))[1]


def test_what_the_coordinator_confirms_is_shown_until_the_marker() -> None:
    verifying = Verifying()
    verifying.ask(("tt", 0))
    verifying.answer()
    assert verifying.found == [{("tt", 0): NONE}] and len(verifying.shown()) == 1
    verifying.ask(("tt", 0))
    assert len(verifying.found) == 2 and not verifying.calls.sent, "it is known"
    verifying.remote.marker_comes(7)
    assert not verifying.shown() and not verifying.remote.holds(Producer(7, 1), ("tt", 0))
    verifying.ask(("tt", 0))
    assert len(verifying.calls.sent) == 1


@pytest.mark.parametrize("error", [ErrorCode.INVALID_TXN_STATE, ErrorCode.NOT_LEADER_OR_FOLLOWER, NONE])
def test_an_answer_that_comes_after_the_marker_is_void(error: ErrorCode) -> None:
    """The batch would follow its marker: a transaction that nothing ends. The leadership of other partitions is no matter."""
    verifying = Verifying()
    verifying.ask(("tt", 0))
    if error is ErrorCode.INVALID_TXN_STATE:
        verifying.remote.marker_comes(7)
    verifying.remote.leadership_lost(("tt", 0) if error else ("tt", 1))
    verifying.answer()
    assert verifying.found == [{("tt", 0): error}] and bool(verifying.shown()) == (not error)


def test_no_batch_follows_the_marker_of_a_coordinator_that_takes_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before this broker has unloaded the transactions that it coordinated, the new coordinator may have ended them."""
    monkeypatch.setattr(slices, "SLICE_S", 0.0)
    harness = TransactionHarness(Cluster({("tt", 1): THERE}), calls=Calls())
    names = ["t1", "t2", "t3"]
    producers = {name: harness.started(name) for name in names}
    assert [harness.add(producers[name], ("tt", 0), transactional_id=name) for name in names] == [NONE] * 3
    harness.coordinator.runtime.unload(0)
    producer = next(each for each in producers.values() if each.producer_id in harness.table.producers)
    ended = Marker(producer.producer_id, producer.epoch, 9, True, 0)
    harness.coordinator.markers.write(ended, [("tt", 0)], lambda errors: None)
    assert producer.producer_id not in harness.table.producers
    assert harness.table.producers, "the unloading is not over"
    harness.loop.advance(1)
    assert not harness.table.producers


@pytest.mark.parametrize("epochs_ago", [0, 1])
def test_an_open_transaction_goes_on_after_a_marker_that_is_not_its_own(epochs_ago: int) -> None:
    """Of an operator who aborts a hanging transaction (KIP-664), or late, of a former coordinator."""
    cluster, found = Cluster({("tt", 1): THERE}), []
    cluster.topics["__transaction_state"].partitions = [SimpleNamespace(leader=HERE)]
    harness = TransactionHarness(cluster, calls=Calls())
    producer = harness.started()
    assert not harness.add(producer, ("tt", 0), ("tt", 2))
    shown = harness.table.producers[producer.producer_id]
    other = Marker(producer.producer_id, producer.epoch - epochs_ago, -1, False, 0)
    harness.coordinator.markers.write(other, [("tt", 0)], lambda errors: None)
    assert not harness.table.producers
    harness.coordinator.add_for_produce("t", *producer, [("tt", 0), ("tt", 2), ("tu", 0)], False, found.append)
    assert found == [{("tt", 0): NONE, ("tt", 2): NONE, ("tu", 0): ErrorCode.TRANSACTION_ABORTABLE}]
    assert harness.table.producers == {producer.producer_id: shown}
    harness.coordinator.add_for_produce("t", producer[0], producer[1] + 1, [("tt", 0)], False, found.append)
    assert found[1:] == [{("tt", 0): ErrorCode.INVALID_PRODUCER_EPOCH}]
    assert not harness.end(producer, version=0)[0]
    harness.coordinator.add_for_produce("t", *producer, [("tt", 0)], False, found.append)
    assert found[2:] == [{("tt", 0): ErrorCode.TRANSACTION_ABORTABLE}] and not harness.table.producers


def test_what_is_confirmed_is_shown_again_if_it_was_removed() -> None:
    """The unloading of a coordinator's partition may remove what the new coordinator has confirmed meanwhile."""
    verifying = Verifying()
    verifying.ask(("tt", 0))
    verifying.answer()
    verifying.table.remove(7)
    verifying.ask(("tt", 0))
    assert verifying.found[1:] == [{("tt", 0): NONE}] and len(verifying.shown()) == 1 and not verifying.calls.sent


def test_what_is_forgotten_of_a_partition() -> None:
    verifying = Verifying()
    verifying.ask(("tt", 0), ("tt", 1))
    verifying.answer()
    verifying.ask(("tt", 2))
    verifying.remote.leadership_lost(("tt", 1))
    assert not verifying.shown() and not verifying.remote.holds(Producer(7, 1), ("tt", 0))
    verifying.answer()
    assert verifying.found[-1] == {("tt", 2): ErrorCode.NOT_LEADER_OR_FOLLOWER}
    verifying.ask(("tt", 0))
    verifying.answer()
    verifying.ask(("tt", 1), producer=Producer(7, 2))
    verifying.answer()
    assert not verifying.remote.holds(Producer(7, 1), ("tt", 0)) and set(verifying.remote._concerned) == {("tt", 1)}
    verifying.remote.marker_comes(7)
    assert not verifying.remote._concerned and not verifying.faults


def test_questions_of_one_request() -> None:
    """One in flight; no transactional id twice, or the answers could not be told apart."""
    verifying = Verifying()
    verifying.ask(("tt", 0), name="a")
    for name in ("b", "c", "b"):
        verifying.ask(("tt", 0), name=name, producer=Producer(ord(name), 1))
    assert [verifying.answer(), verifying.answer()] == [["a"], ["b", "c"]]
    assert verifying.answer() == ["b"] and len(verifying.found) == 4 and not verifying.calls.sent


def test_refusals_and_failures() -> None:
    verifying = Verifying()
    verifying.ask(("tt", 0), ("tt", 1))
    verifying.answer(ErrorCode.TRANSACTION_ABORTABLE)
    verifying.ask(("tt", 0))
    verifying.answer(top=ErrorCode.CLUSTER_AUTHORIZATION_FAILED)
    verifying.ask(("tt", 0))
    verifying.calls.take()[2](None)
    verifying.ask(("tt", 0))
    verifying.calls.take()[2](AddPartitionsToTxnResponse(0, {"other": {("tt", 0): 0}}))
    errors = [set(each.values()) for each in verifying.found]
    aborted, unauthorized = {ErrorCode.TRANSACTION_ABORTABLE}, {ErrorCode.CLUSTER_AUTHORIZATION_FAILED}
    assert errors == [aborted, unauthorized, {NETWORK_EXCEPTION}, {NETWORK_EXCEPTION}] and not verifying.shown()
    verifying.ask(("tt", 0))
    verifying.calls.take()[2](UNSUPPORTED)
    assert set(verifying.found[-1].values()) == {NONE} and verifying.shown(), "a broker before 3.5 is not asked, as in Kafka"


def test_few_producers_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_verification, "PRODUCERS_MAX", 2)
    verifying = Verifying()
    for producer_id in (7, 8, 9):
        verifying.ask(("tt", 0), producer=Producer(producer_id, 1))
        verifying.answer()
    assert set(verifying.table.producers) == {8, 9}
    verifying.remote.leadership_lost(("tt", 0))
    assert not verifying.table.producers and not verifying.faults


def test_a_verification_that_asks_nobody_does_not_count() -> None:
    """As in Kafka, while the partition of the transactional id has no leader."""
    cluster, found = Cluster({("__transaction_state", 0): -1}), []
    coordinator = TransactionHarness(cluster, calls=Calls()).coordinator
    coordinator.add_for_produce("t", 7, 1, [("tt", 0)], False, found.append)
    assert found == [{("tt", 0): ErrorCode.COORDINATOR_NOT_AVAILABLE}]
    assert (sum(coordinator.verification.times.counts()), coordinator.verification.failures) == (0, 0)
