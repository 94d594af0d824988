"""The checker finds each anomaly in a history that has it, and nothing in one that is right."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from .anomalies import anomalies_of
from .history import History, Outcome, Partition, Read, ReadRecord, Send, Transaction

IN, OUT = Partition("in", 0), Partition("out", 0)


def right() -> History:
    """Two transactions, one of them aborted; a transformation with its offset; reads while they were open."""
    first = Transaction("p", 1, [Send(IN, "a", Outcome.OK), Send(IN, "b", Outcome.OK)], 4, Outcome.OK)
    second = Transaction("p", 5, [Send(IN, "c", Outcome.OK)], None, Outcome.OK)
    third = Transaction("t", 6, [Send(OUT, "A", Outcome.OK, (IN, 0))], 8, Outcome.OK)
    log = [ReadRecord(0, "a"), ReadRecord(1, "b")]
    return History(
        [first, second, third],
        [Read(3, IN, False, log), Read(3, IN, True, []), Read(7, IN, True, log)],
        {IN: list(log), OUT: [ReadRecord(0, "A")]},
        {IN: [*log, ReadRecord(3, "c")], OUT: [ReadRecord(0, "A")]},
        {IN: 1},
    )


def test_nothing_is_found_where_all_is_right() -> None:
    assert anomalies_of(right()) == []


def test_what_nobody_knows_may_be_visible_or_not() -> None:
    for visible in (False, True):
        history = right()
        history.transactions.append(Transaction("q", 9, [Send(OUT, "B", Outcome.OK)], 10, Outcome.UNKNOWN))
        history.final_uncommitted[OUT].append(ReadRecord(3, "B"))
        if visible:
            history.final[OUT].append(ReadRecord(3, "B"))
        assert anomalies_of(history) == []


def _lose(history: History) -> None:
    for records in (history.final[IN], history.final_uncommitted[IN]):
        del records[1]


def _duplicate(history: History) -> None:
    history.final_uncommitted[IN].append(ReadRecord(5, "b"))


def _invent(history: History) -> None:
    history.final_uncommitted[OUT].append(ReadRecord(9, "x"))


def _reorder(history: History) -> None:
    swapped = [ReadRecord(0, "b"), ReadRecord(1, "a")]
    history.final[IN] = swapped
    history.final_uncommitted[IN] = [*swapped, ReadRecord(3, "c")]
    history.reads.clear()


def _show_aborted(history: History) -> None:
    history.final[IN].append(ReadRecord(3, "c"))


def _show_early(history: History) -> None:
    history.reads[1].records.append(ReadRecord(0, "a"))


def _change(history: History) -> None:
    history.reads[0].records = [ReadRecord(0, "b")]


def _read_backwards(history: History) -> None:
    history.reads[2].records = [ReadRecord(1, "b"), ReadRecord(0, "a")]


def _skip(history: History) -> None:
    first = Transaction("r", 1, [Send(IN, "d", Outcome.OK)], 2, Outcome.OK)
    history.transactions.append(first)
    for records in (history.final[IN], history.final_uncommitted[IN]):
        records.insert(2, ReadRecord(2, "d"))
    history.reads.append(Read(9, IN, False, [ReadRecord(1, "b"), ReadRecord(3, "c")]))


def _tear(history: History) -> None:
    history.transactions[0].ended = Outcome.UNKNOWN
    del history.final[IN][1]


def _forget_result(history: History) -> None:
    history.group_offsets[IN] = 2


def _forget_offset(history: History) -> None:
    history.group_offsets[IN] = 0


def _process_twice(history: History) -> None:
    history.transactions.append(Transaction("t", 9, [Send(OUT, "A2", Outcome.OK, (IN, 0))], 10, Outcome.OK))
    for records in (history.final[OUT], history.final_uncommitted[OUT]):
        records.append(ReadRecord(2, "A2"))


def _surprise(history: History) -> None:
    history.surprises.append("EndTxn: UNKNOWN_SERVER_ERROR")


@pytest.mark.parametrize(
    ("spoil", "kind"),
    [
        (_lose, "lost-write"),
        (_duplicate, "duplicate"),
        (_invent, "phantom"),
        (_reorder, "reordered"),
        (_show_aborted, "aborted-read"),
        (_show_early, "dirty-read"),
        (_change, "inconsistent-offsets"),
        (_read_backwards, "nonmonotonic-poll"),
        (_skip, "skipped"),
        (_tear, "torn-transaction"),
        (_forget_result, "dirty-offset"),
        (_forget_offset, "lost-offset"),
        (_process_twice, "processed-twice"),
        (_surprise, "unexpected-error"),
    ],
)
def test_each_anomaly_is_found(spoil: Callable[[History], None], kind: str) -> None:
    history = right()
    spoil(history)
    assert kind in {anomaly.kind for anomaly in anomalies_of(history)}
