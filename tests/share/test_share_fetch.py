"""ShareFetch and ShareAcknowledge over real logs: sessions, acknowledgements, fetches that wait."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kafka_cy.protocol.errors import ErrorCode
from kafka_cy.share import share_fetch, share_partitions
from kafka_cy.share.acknowledgements import Acknowledgements
from kafka_cy.share.fetch_requests import AcknowledgeRequest, FetchRequest, Results
from kafka_cy.share.in_flight_values import ACCEPT, GAP, REJECT, RELEASE, RENEW, Acknowledgement
from kafka_cy.share.sessions import FINAL_EPOCH, SessionKey, ShareSessions
from kafka_cy.share.share_fetch import ShareFetches
from kafka_cy.share.share_partition import SharePartition
from kafka_cy.share.share_partitions import SharePartitions
from kafka_cy.storage.log import StorageFailure
from tests.coordinator.share_state import TOPIC_ID

from .harness import KEY, Bench

PLACE = (TOPIC_ID, 0)
MEMBER, OTHER = SessionKey("g", "m"), SessionKey("g", "other")
NONE = ErrorCode.NONE
Answer = tuple[ErrorCode, Results]


class Service:
    """The fetches of one broker."""

    def __init__(self, folder: Path, sessions_max: int = 10) -> None:
        self.bench = Bench(folder)
        self.loop = self.bench.states.loop
        topic = SimpleNamespace(name="st", id=TOPIC_ID, partitions=[0, 1])
        self.cluster = SimpleNamespace(
            topic_by_id={TOPIC_ID: topic}, partition=lambda name, index: None if index else self.bench.hosted
        )
        self.partitions = SharePartitions(
            self.cluster, self.bench.states.coordinator, self.loop, lambda group: self.bench.settings
        )
        self.sessions = ShareSessions(sessions_max, 100)
        self.fetches = ShareFetches(self.sessions, self.partitions, self.loop)

    def fetch(
        self, epoch: int, *acknowledged: tuple[int, int, int], key: SessionKey = MEMBER, wait_ms: int = 0, **changes: Any
    ) -> list[Answer]:
        answers: list[Answer] = []
        batches = Acknowledgements([Acknowledgement(first, last, [kind]) for first, last, kind in acknowledged])
        request = FetchRequest(
            key, 1, False, epoch, wait_ms, 1, 1 << 20, 500, 500, False, False, [PLACE], {PLACE: batches} if batches else {}, []
        )
        self.fetches.fetch(request._replace(**changes), lambda error, results: answers.append((error, results)))
        return answers

    def acknowledge(
        self, epoch: int, *acknowledged: tuple[int, int, int], key: SessionKey = MEMBER, renews: bool = False
    ) -> Answer:
        answers: list[Answer] = []
        batches = Acknowledgements([Acknowledgement(first, last, [kind]) for first, last, kind in acknowledged])
        request = AcknowledgeRequest(key, epoch, renews, {PLACE: batches} if batches else {})
        self.fetches.acknowledge(request, lambda error, results: answers.append((error, results)))
        return answers[0]

    def acquired(self, answers: list[Answer]) -> list[tuple[int, int]]:
        error, results = answers[0]
        assert error == NONE
        assert not any(each.error for each in results.values())
        return [got[:2] for each in results.values() for got in each.acquired]


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    yield Service(tmp_path / "st-0")


def test_a_session_fetches_acknowledges_and_ends(service: Service) -> None:
    service.bench.append(3)
    service.bench.append(2)
    assert service.acquired(service.fetch(0, max_records=1)) == [(0, 2)]
    answers = service.fetch(1, (0, 2, ACCEPT))
    assert service.acquired(answers) == [(3, 4)]
    assert answers[0][1][PLACE].acknowledge_error == NONE
    assert service.fetch(FINAL_EPOCH, (3, 3, ACCEPT))[0][0] == NONE
    assert len(service.sessions) == 0
    assert service.acquired(service.fetch(0, key=OTHER)) == [(4, 4)]


def test_epochs_are_checked_and_a_refused_request_uses_none_up(service: Service) -> None:
    assert service.fetch(1)[0] == (ErrorCode.SHARE_SESSION_NOT_FOUND, {})
    assert service.fetch(0)[0][0] == NONE
    assert service.fetch(2)[0] == (ErrorCode.INVALID_SHARE_SESSION_EPOCH, {})
    assert service.acknowledge(0) == (ErrorCode.INVALID_SHARE_SESSION_EPOCH, {})
    assert service.acknowledge(1)[0] == NONE
    assert service.fetch(2)[0][0] == NONE


@pytest.mark.parametrize(
    "changes",
    [
        {"key": SessionKey("g", "")},
        {"epoch": 0, "acknowledgements": {PLACE: [Acknowledgement(0, 0, [ACCEPT])]}},
        {"is_renewal": True},  # and wants records
    ],
)
def test_requests_that_contradict_themselves_are_refused(service: Service, changes: dict[str, Any]) -> None:
    service.fetch(0)
    epoch = changes.pop("epoch", 1)
    assert service.fetch(epoch, **changes)[0][0] == ErrorCode.INVALID_REQUEST


@pytest.mark.parametrize(
    "batch", [Acknowledgement(1, 0, [1]), Acknowledgement(0, 1, []), Acknowledgement(0, 2, [1, 1]), Acknowledgement(0, 0, [5]),
              Acknowledgement(0, 0, [-1]), Acknowledgement(0, 0, [RENEW])],
)  # fmt: skip
def test_malformed_acknowledgements_are_refused(service: Service, batch: Acknowledgement) -> None:
    service.bench.append(3)
    service.fetch(0)
    error, results = service.fetch(1, acknowledgements={PLACE: Acknowledgements([batch])})[0]
    assert (error, results[PLACE].acknowledge_error, results[PLACE].error) == (NONE, ErrorCode.INVALID_REQUEST, NONE)


def test_acknowledgements_must_be_in_order(service: Service) -> None:
    service.bench.append(3)
    service.fetch(0)
    batches = Acknowledgements([Acknowledgement(1, 2, [1]), Acknowledgement(0, 0, [1])])
    assert service.fetch(1, acknowledgements={PLACE: batches})[0][1][PLACE].acknowledge_error == ErrorCode.INVALID_REQUEST


def test_a_fetch_waits_for_records_and_gets_them_when_they_come(service: Service) -> None:
    answers = service.fetch(0, wait_ms=500)
    assert answers == []
    service.bench.append(2)
    service.partitions.look()
    assert service.acquired(answers) == [(0, 1)]
    assert service.loop.pending == 3  # the lock, and the two of the share coordinator


def test_a_fetch_waits_no_longer_than_it_may(service: Service) -> None:
    answers = service.fetch(0, wait_ms=500)
    service.loop.advance(0.4)
    assert answers == []
    service.loop.advance(0.2)
    ((error, results),) = answers
    assert (error, results[PLACE].error, results[PLACE].acquired) == (NONE, NONE, [])  # all partitions of a new session
    assert service.fetches.waiting == {}
    answers = service.fetch(1, wait_ms=500)
    service.loop.advance(0.6)
    assert answers == [(NONE, {})]


@pytest.mark.parametrize("how", ["released", "rejected elsewhere", "expired", "session ended", "connection closed"])
def test_a_fetch_that_waits_gets_records_that_become_available(service: Service, how: str) -> None:
    service.bench.append(2)
    assert service.acquired(service.fetch(0, key=OTHER)) == [(0, 1)]
    answers = service.fetch(0, wait_ms=60_000, connection_id=2)
    if how == "released":
        service.acknowledge(1, (0, 1, RELEASE), key=OTHER)
    elif how == "rejected elsewhere":
        service.acknowledge(1, (0, 0, REJECT), (1, 1, RELEASE), key=OTHER)
    elif how == "expired":
        service.loop.advance(31)
    elif how == "session ended":
        service.acknowledge(FINAL_EPOCH, key=OTHER)
    else:
        service.fetches.connection_closed(1)
    assert service.acquired(answers) == ([(1, 1)] if how == "rejected elsewhere" else [(0, 1)])


def test_a_new_session_answers_the_fetch_of_the_old_one(service: Service) -> None:
    answers = service.fetch(0, wait_ms=60_000)
    service.fetch(0)
    ((error, results),) = answers
    assert (error, list(results)) == (NONE, [PLACE])


def test_renewed_locks_last_longer(service: Service) -> None:
    service.bench.append(2)
    service.fetch(0)
    service.loop.advance(20)
    renewal = {"is_renewal": True, "max_bytes": 0, "max_records": 0, "min_bytes": 0}
    answers = service.fetch(1, (0, 1, RENEW), **renewal)
    assert answers[0][1][PLACE].acknowledge_error == NONE
    service.loop.advance(20)
    assert service.acknowledge(2, (0, 1, ACCEPT))[1][PLACE].error == NONE


def test_too_many_sessions_are_refused_after_the_wait(tmp_path: Path) -> None:
    service = Service(tmp_path / "st-0", sessions_max=1)
    service.fetch(0)
    answers = service.fetch(0, key=OTHER, wait_ms=300)
    assert answers == []
    service.loop.advance(0.4)
    assert answers == [(ErrorCode.SHARE_SESSION_LIMIT_REACHED, {})]


@pytest.mark.parametrize("closed", [False, True])
def test_a_session_that_ends_makes_room_for_one_that_waits(tmp_path: Path, closed: bool) -> None:
    service = Service(tmp_path / "st-0", sessions_max=1)
    service.fetch(0)
    answers = service.fetch(0, key=OTHER, wait_ms=300, connection_id=2)
    service.fetches.connection_closed(1)
    if closed:
        service.fetches.connection_closed(2)
    service.loop.advance(0.4)
    assert [error for error, _ in answers] == ([] if closed else [NONE])  # nobody is there to get a response
    assert len(service.sessions) == (0 if closed else 1)
    assert not service.fetches.opening_partitions and not service.fetches.by_connection


def test_what_fetches_name_that_wait_for_a_session_is_bounded(tmp_path: Path) -> None:
    service = Service(tmp_path / "st-0", sessions_max=1)
    service.fetch(0)
    named = [(TOPIC_ID, index) for index in range(40)]
    answers = [
        service.fetch(0, key=SessionKey("g", str(number)), wait_ms=300, connection_id=number, named=named)
        for number in range(2, 6)
    ]
    assert answers == [[], [], [(ErrorCode.SHARE_SESSION_LIMIT_REACHED, {})], [(ErrorCode.SHARE_SESSION_LIMIT_REACHED, {})]]
    service.fetches.connection_closed(2)
    assert service.fetches.opening_partitions == 40
    service.loop.advance(0.4)
    assert service.fetches.opening_partitions == 0 and not service.fetches.by_connection


def test_a_fetch_that_waits_for_a_session_keeps_nothing_to_forget(tmp_path: Path) -> None:
    service = Service(tmp_path / "st-0", sessions_max=1)
    service.fetch(0)
    assert service.fetch(0, key=OTHER, wait_ms=300, connection_id=2, forgotten=[PLACE] * 1000) == []
    (waits,) = service.fetches.by_connection[2]
    assert waits.request.size == 1


def test_the_number_of_fetches_that_wait_for_a_session_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(share_fetch, "OPENING_MAX", 2)
    service = Service(tmp_path / "st-0", sessions_max=1)
    service.fetch(0)
    keys = [SessionKey("g", str(number)) for number in range(4)]
    refused = [(ErrorCode.SHARE_SESSION_LIMIT_REACHED, {})]
    answers = [service.fetch(0, key=key, wait_ms=300, connection_id=number, named=[]) for number, key in enumerate(keys[:3], 2)]
    assert answers == [[], [], refused]
    service.fetches.connection_closed(2)
    assert service.fetch(0, key=keys[3], wait_ms=300, connection_id=5, named=[]) == []
    service.loop.advance(0.4)
    assert answers[1] == refused and service.fetches.opening == 0


def test_a_request_of_a_closed_connection_opens_no_session(service: Service) -> None:
    """Its connection was told to be closed before: nothing would end the session."""
    assert service.fetch(0, is_gone=True) == [(ErrorCode.SHARE_SESSION_NOT_FOUND, {})]
    assert len(service.sessions) == 0


def test_a_fetch_ends_with_its_connection_even_if_the_session_is_of_another(service: Service) -> None:
    service.fetch(0)
    closed_later = service.fetch(1, wait_ms=10_000, connection_id=2)
    assert closed_later == []
    service.fetches.connection_closed(2)
    service.fetch(2, wait_ms=10_000, connection_id=3, is_gone=True)
    assert len(service.sessions) == 1 and not service.fetches.waiting and not service.fetches.by_connection
    service.bench.append(3)
    service.partitions.look()
    assert service.acquired(service.fetch(3)) == [(0, 2)]  # no dead fetch has taken them


@pytest.mark.parametrize("ends", ["connection", "session"])
def test_a_fetch_that_ends_while_its_acknowledgements_are_stored_takes_no_records(service: Service, ends: str) -> None:
    service.bench.append(2)
    service.fetch(0)
    log = service.bench.states.log_of(KEY)
    log.held = True
    answers = service.fetch(1, (0, 1, ACCEPT), wait_ms=10_000)
    service.bench.append(3)
    if ends == "connection":
        service.fetches.connection_closed(1)
    else:
        service.fetch(0, connection_id=2)  # the member begins anew
    assert answers == []
    log.high_watermark = log.log_end_offset
    service.bench.states.coordinator.look()
    ((error, results),) = answers
    assert (error, results[PLACE].acknowledge_error, results[PLACE].acquired) == (NONE, NONE, [])
    assert not [each for each in service.fetches.waiting.get(MEMBER, ()) if each.request.connection_id == 1]


def test_records_that_are_appended_while_a_fetch_begins_to_wait_wake_it(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reactors append at any moment: also between the look at the log and the wait."""
    service.fetch(0)
    wait = SharePartitions.wait

    def append_before(*arguments: Any) -> None:
        service.bench.append(3)
        wait(*arguments)

    monkeypatch.setattr(SharePartitions, "wait", append_before)
    assert service.acquired(service.fetch(1, wait_ms=10_000)) == [(0, 2)]


@pytest.mark.parametrize("when", ["behind the look", "while it begins to wait"])
def test_what_is_appended_while_partitions_are_looked_at_in_pieces_wakes_all(
    service: Service, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """The partition wakes the loop once, and the round of the loop finds that it looks already."""
    wakes = [0]
    monkeypatch.setattr(share_partitions, "LOOKS_AT_ONCE", 1)
    monkeypatch.setattr(share_partitions, "control_wakes", lambda: wakes[0], raising=False)
    service.bench.states.initialize(KEY._replace(group_id="a"), 2)
    first, second = SessionKey("a", "m"), MEMBER
    service.fetch(0, key=second)
    answers = [service.fetch(0, key=first, wait_ms=10_000)]
    if when == "behind the look":
        answers.append(service.fetch(1, key=second, wait_ms=10_000))
    service.loop.advance(0)
    service.partitions.look()
    if when == "behind the look":
        service.bench.append(2)
        wakes[0] += 1
    else:
        wait = SharePartitions.wait
        monkeypatch.setattr(SharePartitions, "wait", lambda *arguments: (service.bench.append(2), wait(*arguments)))
        answers.append(service.fetch(1, key=second, wait_ms=10_000))
    service.partitions.look()
    service.loop.advance(0)
    assert [service.acquired(each) for each in answers] == [[(0, 1)], [(0, 1)]]


def test_a_fault_while_a_fetch_is_woken_ends_no_look(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """The fetches of other partitions, and those that come later, are woken all the same."""
    service.bench.states.initialize(KEY._replace(group_id="a"), 2)
    waiting = [service.fetch(0, key=key, wait_ms=10_000) for key in (SessionKey("a", "m"), MEMBER)]
    wake = SharePartitions._wake
    faults: list[Exception] = []

    def failing(partitions: SharePartitions, partition: Any) -> None:
        if partition.key.group_id == "a":
            raise RuntimeError("a fault")
        wake(partitions, partition)

    with monkeypatch.context() as patch:
        patch.setattr(SharePartitions, "_wake", failing)
        patch.setattr(SharePartitions, "on_fault", lambda partitions, fault: faults.append(fault))
        service.bench.append(2)
        service.partitions.look()
        service.loop.advance(0)
    assert service.acquired(waiting[1]) == [(0, 1)] and len(faults) == 1
    service.bench.append(1)
    service.partitions.look()
    service.loop.advance(0)
    assert service.acquired(waiting[0]) == [(0, 2)]


def test_share_partitions_that_nobody_uses_make_room(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is stored of them comes back when they are used again; what is locked or waited for stays."""
    monkeypatch.setattr(share_partitions, "PARTITIONS_MAX", 2)
    lines: list[str] = []
    service.partitions._full_line._log = lambda what, **details: lines.append(what)
    for group in "abc":
        service.bench.states.initialize(KEY._replace(group_id=group), 2)
    service.bench.append(2)
    a, b, c = (SessionKey(group, "m") for group in "abc")
    assert service.acquired(service.fetch(0, key=a, max_records=1, strict=True)) == [(0, 0)]
    assert service.acquired(service.fetch(0, key=b, max_records=1, strict=True)) == [(0, 0)]
    (refused,) = service.fetch(0, key=c)[0][1].values()
    assert refused.error == ErrorCode.POLICY_VIOLATION and len(lines) == 1
    assert service.acknowledge(1, (0, 0, ACCEPT), key=a)[0] == NONE
    service.loop.advance(31)  # the locks expire
    assert service.acquired(service.fetch(1, key=c)) == [(0, 1)]
    assert service.acquired(service.fetch(2, key=a)) == [(1, 1)]
    assert len(lines) == 1


def test_one_record_wakes_one_of_many_fetches(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    fetches = [service.fetch(0, key=SessionKey("g", str(number)), wait_ms=10_000) for number in range(8)]
    tried = []
    fetch = SharePartition.fetch
    monkeypatch.setattr(SharePartition, "fetch", lambda *arguments: tried.append(1) or fetch(*arguments))
    service.bench.append(1)
    service.partitions.look()
    assert [len(each) for each in fetches] == [1, 0, 0, 0, 0, 0, 0, 0]
    assert len(tried) == 2  # the second one found nothing: nor would the others


def test_a_fetch_that_wants_nothing_holds_up_no_other(service: Service) -> None:
    nothing = service.fetch(0, wait_ms=10_000, max_records=0)
    waits = service.fetch(0, key=OTHER, wait_ms=10_000)
    service.bench.append(1)
    service.partitions.look()
    assert nothing == [] and service.acquired(waits) == [(0, 0)]
    service.loop.advance(11)
    assert service.acquired(nothing) == []


def test_partitions_that_cannot_be_read_say_why(service: Service) -> None:
    other = (TOPIC_ID, 1), (TOPIC_ID, 7)
    _, results = service.fetch(0, named=[PLACE, *other])[0]
    assert {place[1]: each.error for place, each in results.items()} == {
        PLACE[1]: NONE,
        1: ErrorCode.NOT_LEADER_OR_FOLLOWER,
        7: ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
    }
    service.bench.states.delete(KEY)
    service.partitions.forget(KEY, ErrorCode.UNKNOWN_SERVER_ERROR)
    _, results = service.fetch(0)[0]
    assert results[PLACE].error == ErrorCode.UNKNOWN_SERVER_ERROR


def test_groups_that_do_not_exist_take_no_place(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kafka_cy.share.share_partitions.PARTITIONS_MAX", 1)
    for number in range(3):
        _, results = service.fetch(0, key=SessionKey(f"none-{number}", "m"))[0]
        assert results[PLACE].error == ErrorCode.UNKNOWN_SERVER_ERROR
    service.bench.append(1)
    assert service.acquired(service.fetch(0)) == [(0, 0)]


def test_a_topic_that_is_deleted_ends_the_wait(service: Service) -> None:
    answers = service.fetch(0, wait_ms=60_000)
    service.partitions.topics_deleted({TOPIC_ID})
    assert answers[0][1][PLACE].error == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
    assert service.partitions.counts.ranges == 0


def test_ranges_are_counted(service: Service) -> None:
    service.bench.append(10)
    service.fetch(0)
    assert service.partitions.counts.ranges == 1
    service.acknowledge(1, (0, 0, ACCEPT), (4, 5, ACCEPT))
    assert service.partitions.counts.ranges == 3
    service.acknowledge(2, (1, 3, ACCEPT), (6, 9, ACCEPT))
    assert service.partitions.counts.ranges == 0


def test_no_records_are_locked_while_too_many_ranges_are_in_flight(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """RANGES_MAX bounds the memory of all share partitions: a fetch gets nothing, an acknowledgement makes room."""
    monkeypatch.setattr("kafka_cy.share.share_partitions.RANGES_MAX", 1)
    service.bench.append(1)
    service.bench.append(1)
    assert service.acquired(service.fetch(0, max_records=1)) == [(0, 0)]
    assert service.acquired(service.fetch(0, key=OTHER)) == []
    assert service.partitions.counts.refused == 1
    waiting = service.fetch(1, key=OTHER, wait_ms=60_000)
    assert waiting == []
    service.acknowledge(1, (0, 0, ACCEPT))
    assert service.acquired(waiting) == [(1, 1)], "it is woken when there is room"


def test_what_happens_to_records_is_counted(service: Service) -> None:
    counts = service.partitions.counts
    service.bench.append(8)
    service.fetch(0)
    service.acknowledge(1, (0, 2, ACCEPT), (3, 3, REJECT), (4, 5, RELEASE), (6, 6, GAP))
    assert counts.acknowledged == {"Accept": 3, "Release": 2, "Reject": 1, "Renew": 0}
    assert counts.lock_timeouts == 0
    service.loop.advance(31)
    assert counts.lock_timeouts == 1 and counts.failed_writes == 0
    assert service.bench.states.coordinator.write_count == 2, "the acknowledgement, and the release of what expired"


def test_states_that_cannot_be_stored_are_counted(service: Service) -> None:
    service.bench.append(2)
    service.fetch(0)
    service.bench.states.log_of(KEY).failing = StorageFailure("no space", 1)
    _, results = service.acknowledge(1, (0, 1, ACCEPT))
    assert results[PLACE].acknowledge_error != NONE
    assert service.partitions.counts.failed_writes == 1
    assert service.partitions.counts.acknowledged["Accept"] == 0
