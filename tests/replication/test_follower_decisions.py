"""What a follower decides: cuts, questions to the leader, waiting."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from kafka_cy.replication.fetcher_events import FetcherEvent
from kafka_cy.replication.fetcher_of import fetcher_of, java_hash
from kafka_cy.replication.follower_decisions import Answer, Cut, FollowerDecisions, Following, Question
from kafka_cy.replication.truncation import Truncation, truncation

KEY = ("t", 0)


class Replica:
    """Epochs as [(epoch, start offset)], an end, a high watermark; its own log."""

    def __init__(self, epochs: list[tuple[int, int]], end: int, high_watermark: int = 0) -> None:
        self.epochs, self.log_end_offset, self.high_watermark = epochs, end, high_watermark

    @property
    def log(self) -> Replica:
        return self

    @property
    def latest_epoch(self) -> int:
        return self.epochs[-1][0] if self.epochs else -1

    def end_offset_for_epoch(self, asked: int) -> tuple[int, int]:
        if not self.epochs or asked < 0 or asked > self.latest_epoch:
            return -1, -1
        if asked == self.latest_epoch:
            return asked, self.log_end_offset
        above = next(start for epoch, start in self.epochs if epoch > asked)
        below = [epoch for epoch, _ in self.epochs if epoch <= asked]
        return (below[-1] if below else asked), above

    def cut(self, offset: int) -> None:
        self.log_end_offset = min(offset, self.log_end_offset)
        self.epochs = [each for each in self.epochs if each[1] < offset]


class Broker:
    def __init__(self, replica: Replica) -> None:
        self.replicas = {KEY: replica}
        self.following = {KEY: Following(2, 5)}
        self.asked: list[tuple[int, list[Question], Callable[[list[Answer] | None], None]]] = []
        self.cuts: list[Cut] = []
        self.followed: list[Any] = []
        self.delayed: list[Callable[[], None]] = []
        self.lines: list[str] = []
        self.failing: set[Any] = set()
        self.decisions = FollowerDecisions(
            self.replicas, self.following, lambda leader, its, done: self.asked.append((leader, its, done)), self.cut,
            self.followed.append, self.delayed.append, lambda text, **_: self.lines.append(text),
            lambda text, **_: self.lines.append(text),
        )  # fmt: skip

    def cut(self, cuts: list[Cut]) -> set[Any]:
        self.cuts += cuts
        for cut in cuts:
            if cut.key not in self.failing:
                self.replicas[cut.key].cut(cut.offset)
        return self.failing

    def event(self, kind: str, **fields: int) -> None:
        values = {"leader_epoch": 5, "code": 0, "epoch": -1, "offset": -1, **fields}
        self.decisions.handle([FetcherEvent(kind, 0, "t", 0, **values)])

    def answer(self, *answers: Answer) -> Question:
        leader, [question], done = self.asked.pop(0)
        assert leader == 2
        done(list(answers))
        return question


@pytest.mark.parametrize(
    ("epochs", "end", "answer", "expected"),
    [
        ([(0, 0), (1, 10)], 20, (0, 10), Truncation(10, True)),  # as captured from Kafka: (0:0,1:10) against (0:0,3:10)
        ([(0, 0), (2, 10)], 20, (2, 15), Truncation(15, True)),
        ([(0, 0), (2, 10)], 20, (2, 25), Truncation(20, True)),
        ([(0, 0), (2, 10)], 20, (1, 12), Truncation(10, False)),  # epoch 1 is unknown here: the end of epoch 0, and again
        ([(5, 10)], 20, (3, 8), Truncation(8, True)),
        ([(5, 10)], 20, (3, 14), Truncation(10, True)),  # nothing here is of epoch 3
        ([(0, 0)], 20, (-1, -1), Truncation(7, True)),  # undefined: the high watermark
        ([(0, 0)], 20, (-1, 12), Truncation(12, True)),
        ([], 20, (3, 12), Truncation(12, True)),
    ],
)
def test_where_a_log_is_cut(
    epochs: list[tuple[int, int]], end: int, answer: tuple[int, int], expected: Truncation
) -> None:
    replica = Replica(epochs, end)
    assert truncation(*answer, replica.end_offset_for_epoch, end, 7) == expected


def test_a_diverging_log_is_cut_and_fetched_again() -> None:
    broker = Broker(Replica([(0, 0), (1, 10)], 20, 10))
    broker.event("diverged", epoch=0, offset=10)
    assert (broker.cuts, broker.followed) == ([Cut(KEY, 10)], [KEY])


def test_a_cut_below_the_high_watermark_is_told() -> None:
    broker = Broker(Replica([(0, 0), (1, 10)], 20, 15))
    broker.event("diverged", epoch=0, offset=10)
    assert broker.lines == ["a log is cut below its high watermark"]


def test_an_event_of_an_earlier_role_is_ignored() -> None:
    broker = Broker(Replica([(0, 0)], 20))
    for epoch in (4, 6):
        broker.event("diverged", epoch=0, offset=10, leader_epoch=epoch)
    del broker.following[KEY]
    broker.event("out of range", offset=10)
    assert (broker.cuts, broker.asked, broker.followed) == ([], [], [])


def test_a_log_that_cannot_be_cut_is_not_fetched() -> None:
    broker = Broker(Replica([(0, 0), (1, 10)], 20))
    broker.failing = {KEY}
    broker.event("diverged", epoch=0, offset=10)
    assert (broker.followed, broker.lines) == ([], ["a log cannot be cut"])


def test_behind_the_end_of_the_leader() -> None:
    broker = Broker(Replica([(0, 0)], 20))
    broker.event("out of range", offset=20)
    assert broker.answer(Answer(0, 15)) == Question("end", KEY, 5)
    assert (broker.cuts, broker.followed) == ([Cut(KEY, 15)], [KEY])


def test_before_the_start_of_the_leader() -> None:
    broker = Broker(Replica([(0, 0)], 20))
    broker.event("out of range", offset=20)
    broker.answer(Answer(0, 90))
    assert broker.answer(Answer(0, 50)) == Question("start", KEY, 5)
    assert (broker.cuts, broker.followed) == ([Cut(KEY, 50, True)], [KEY])


def test_in_the_range_of_the_leader_after_all() -> None:
    broker = Broker(Replica([(0, 0)], 20))
    broker.event("out of range", offset=20)
    broker.answer(Answer(0, 30))
    broker.answer(Answer(0, 10))
    assert (broker.cuts, broker.followed) == ([], [KEY])


def test_a_leader_that_does_not_answer_is_asked_again_later() -> None:
    broker = Broker(Replica([(0, 0)], 20))
    broker.event("out of range", offset=20)
    broker.asked.pop(0)[2](None)
    [again] = broker.delayed
    again()
    broker.answer(Answer(75))
    assert (len(broker.delayed), broker.asked, broker.followed) == (2, [], [])
    broker.following[KEY] = Following(3, 6)
    broker.delayed[1]()
    assert broker.asked == []  # another leader by now


def test_a_role_that_changes_before_the_answer() -> None:
    broker = Broker(Replica([(0, 0)], 20))
    broker.event("out of range", offset=20)
    broker.following[KEY] = Following(3, 6)
    broker.answer(Answer(0, 15))
    assert (broker.cuts, broker.followed) == ([], [])


def test_before_ibp_2_7_epochs_are_asked_until_they_agree() -> None:
    """KIP-279: the log's epochs (0:0, 1:10, 4:20) against a leader's (0:0, 3:15)."""
    leader = Replica([(0, 0), (3, 15)], 40)
    broker = Broker(Replica([(0, 0), (1, 10), (4, 20)], 30, 5))
    broker.event("begin", epoch=4)
    asked = []
    while broker.asked:
        question = broker.asked[0][1][0]
        asked.append(question.epoch)
        epoch, end = leader.end_offset_for_epoch(question.epoch)
        broker.answer(Answer(0, end, epoch))
    assert asked == [4]  # a leader without that epoch does not know it
    assert broker.cuts[-1] == Cut(KEY, 5)
    broker = Broker(Replica([(0, 0), (1, 10), (2, 20)], 30, 5))
    broker.event("begin", epoch=2)
    while broker.asked:
        epoch, end = leader.end_offset_for_epoch(broker.asked[0][1][0].epoch)
        broker.answer(Answer(0, end, epoch))
    assert broker.cuts == [Cut(KEY, 10)]
    assert broker.followed == [KEY]


def test_before_ibp_2_7_a_log_without_epochs_is_cut_at_its_high_watermark() -> None:
    broker = Broker(Replica([], 30, 12))
    broker.event("begin")
    assert (broker.cuts, broker.followed, broker.asked) == ([Cut(KEY, 12)], [KEY], [])


def test_lines() -> None:
    broker = Broker(Replica([], 0))
    for kind in ("delayed", "corrupt", "below start", "fenced", "failed"):
        broker.event(kind, code=3, offset=7)
    assert len(broker.lines) == 5
    assert (broker.cuts, broker.asked, broker.followed) == ([], [], [])


def test_the_fetcher_of_a_partition_is_kafkas() -> None:
    assert [java_hash(text) for text in ("", "a", "topic", "äöü", "\U0001f600")] == [0, 97, 110546223, 226986, 1772899]
    assert fetcher_of("topic", 3, 1) == 0
    assert {fetcher_of("topic", index, 4) for index in range(8)} == {0, 1, 2, 3}


def test_a_fault_in_an_answer_asks_again() -> None:
    """The fetcher holds the partition until it is told to go on."""
    broker = Broker(Replica([(1, 0)], 10))
    broker.event("out of range")
    cut, broker.decisions._cut = broker.decisions._cut, lambda cuts: 1 / 0  # type: ignore[assignment,return-value]
    with pytest.raises(ZeroDivisionError):
        broker.answer(Answer(0, 5))
    broker.decisions._cut = cut
    broker.delayed.pop()()
    broker.answer(Answer(0, 5))
    assert broker.followed == [KEY] and broker.cuts[-1].offset == 5


@pytest.mark.parametrize(
    ("epochs", "kind", "answer", "asked", "followed_from"),
    [
        ([(1, 0)], "out of range", Answer(0, 5), "end", 5),  # cut
        ([(1, 0)], "out of range", Answer(0, 0), "start", 10),  # goes on from its end
        ([(3, 6)], "begin", Answer(0, 8, 2), "epoch", 6),  # cut, before IBP 2.7
    ],
)
def test_after_a_fault_only_what_is_held_is_asked_about_again(
    epochs: list[tuple[int, int]], kind: str, answer: Answer, asked: str, followed_from: int
) -> None:
    """The first partition was told to go on, and has fetched since. The fault comes when the second one is told."""
    broker = Broker(Replica(epochs, 10))
    other = ("t", 1)
    broker.replicas[other], broker.following[other] = Replica(epochs, 10), broker.following[KEY]
    faults = [MemoryError()]

    def follow(key: Any) -> None:
        if key == other and faults:
            raise faults.pop()
        broker.followed.append((key, broker.replicas[key].log_end_offset))

    broker.decisions._follow = follow
    broker.decisions.handle([FetcherEvent(kind, 0, "t", index, 5, 0, -1, -1) for index in (0, 1)])
    if asked == "start":
        _, _, done = broker.asked.pop()
        done([Answer(0, 12)] * 2)
    _, _, done = broker.asked.pop()
    with pytest.raises(MemoryError):
        done([answer] * 2)
    assert broker.followed == [(KEY, followed_from)]
    broker.delayed.pop()()
    _, questions, done = broker.asked.pop()
    assert [(each.kind, each.key) for each in questions] == [(asked, other)]
    done([answer])
    while broker.asked:  # it was cut before the fault: the leader's log does not end below it any more
        broker.answer(Answer(0, 0))
    assert broker.followed == [(KEY, followed_from), (other, followed_from)] and not broker.delayed
