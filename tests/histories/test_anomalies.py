"""The checker finds each anomaly in a history that has it, and nothing in one that is right."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from .anomalies import anomalies_of
from .history import History, OffsetCommit, OffsetRead, Outcome, Partition, Read, ReadRecord, Send, Transaction

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


def compacted() -> History:
    """Three values of one key: compaction has removed the first; the second is the newest committed one, the third was aborted."""
    sends = [Send(IN, value, Outcome.OK, key="k", offset=place) for place, value in enumerate("xyz")]
    return History(
        [
            Transaction("p", 1, [sends[0]], 2, Outcome.OK),
            Transaction("q", 1, [sends[1]], 3, Outcome.OK),
            Transaction("q", 4, [sends[2]], None, Outcome.OK),
        ],
        [Read(5, IN, True, [ReadRecord(0, "x"), ReadRecord(1, "y")]), Read(6, IN, False, [ReadRecord(0, "x")])],
        {IN: [ReadRecord(1, "y")]},
        {IN: [ReadRecord(1, "y"), ReadRecord(2, "z")]},
    )


def test_compaction_may_remove_what_a_newer_value_of_the_key_supersedes() -> None:
    history = compacted()
    assert anomalies_of(history) == []
    assert history.removed() == {"x"}


def test_compaction_may_not_remove_the_newest_committed_value_of_a_key() -> None:
    """An older one that is left does not make up for it, nor does a newer one that was aborted."""
    for left in ([], [ReadRecord(0, "x")]):
        history = compacted()
        history.final[IN] = left
        assert "lost-write" in {anomaly.kind for anomaly in anomalies_of(history)}


def commits(*given: tuple[int, int, int | None, Outcome]) -> History:
    """Offset, begin, end and outcome of each; the group's offset is read from 10 to 12."""
    history = History(commits=[OffsetCommit(OUT, *each) for each in given])
    history.offset_reads.append(OffsetRead(OUT, 5, 10, 12))
    return history


@pytest.mark.parametrize(
    "others",
    [
        [(7, 1, 2, Outcome.OK)],  # before it
        [(7, 4, 6, Outcome.OK)],  # at the same time
        [(7, 11, 13, Outcome.OK)],  # while the offset is read
        [(7, 8, None, Outcome.UNKNOWN)],
        [(7, 8, 9, Outcome.FAILED)],
    ],
)
def test_an_offset_that_may_be_the_last_one_is_none_to_complain_about(
    others: list[tuple[int, int, int | None, Outcome]],
) -> None:
    assert anomalies_of(commits((5, 3, 5, Outcome.OK), *others)) == []
    assert anomalies_of(commits((5, 3, None, Outcome.UNKNOWN), *others)) == []


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        ([(5, 3, 5, Outcome.OK), (7, 6, 8, Outcome.OK)], "lost-offset"),
        ([(7, 6, 8, Outcome.OK), (5, 9, 9, Outcome.FAILED)], "lost-offset"),
        ([(5, 13, 14, Outcome.OK)], "dirty-offset"),
        ([(5, 1, 2, Outcome.FAILED)], "dirty-offset"),
    ],
)
def test_an_offset_that_cannot_be_the_last_one_is_found(
    given: list[tuple[int, int, int | None, Outcome]], kind: str
) -> None:
    assert kind in {anomaly.kind for anomaly in anomalies_of(commits(*given))}


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
