"""Finds what must not happen in a history (the names are those of Jepsen's Kafka workload)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

from .history import History, Outcome, Partition, ReadRecord, Send, Transaction


class Anomaly(NamedTuple):
    kind: str
    what: str


def anomalies_of(history: History) -> list[Anomaly]:
    """Every anomaly; an empty list if the history is as Kafka promises."""
    checks = (
        surprises, lost, duplicated, reordered, aborted_reads, early_reads, inconsistent_offsets, unseen, torn,
        wrong_group_offsets, wrong_offset_reads,
    )  # fmt: skip
    return [anomaly for check in checks for anomaly in check(history)]


def _sent(history: History) -> dict[str, tuple[Transaction, Send]]:
    return {send.value: (transaction, send) for transaction in history.transactions for send in transaction.sends}


def _visible(history: History) -> set[str]:
    return {record.value for records in history.final.values() for record in records}


def surprises(history: History) -> Iterator[Anomaly]:
    """A client got an error that nothing in the history explains."""
    for what in history.surprises:
        yield Anomaly("unexpected-error", what)


def lost(history: History) -> Iterator[Anomaly]:
    """A record was acknowledged and its transaction committed, but it is not in the log, and nothing newer with its key is."""
    visible = _visible(history) | history.superseded()
    for transaction in history.transactions:
        if transaction.is_committed:
            for send in transaction.sends:
                if send.outcome is Outcome.OK and send.value not in visible:
                    yield Anomaly("lost-write", f"{send.value} of {transaction.producer} at {send.partition}")


def duplicated(history: History) -> Iterator[Anomaly]:
    """A record is in the log more than once, or one that nobody sent is there, or it lies in another partition."""
    sent = _sent(history)
    for records in (history.final, history.final_uncommitted):
        counts = Counter(record.value for each in records.values() for record in each)
        for value, count in counts.items():
            if count > 1:
                yield Anomaly("duplicate", f"{value} is in the log {count} times")
            if value not in sent:
                yield Anomaly("phantom", f"nobody has sent {value}")
    for partition, found in history.final_uncommitted.items():
        for record in found:
            if record.value in sent and sent[record.value][1].partition != partition:
                yield Anomaly("phantom", f"{record.value} lies in {partition}")


def reordered(history: History) -> Iterator[Anomaly]:
    """The records of a producer are not in the order in which it has sent them."""
    order: dict[str, dict[str, int]] = {}
    for transaction in history.transactions:
        places = order.setdefault(transaction.producer, {})
        for send in transaction.sends:
            places[send.value] = len(places)
    for partition, records in history.final_uncommitted.items():
        for producer, places in order.items():
            own = [record.value for record in records if record.value in places]
            for one, other in pairwise(own):
                if places[one] > places[other]:
                    yield Anomaly("reordered", f"{other} of {producer} was sent before {one}, but follows it in {partition}")


def _reads(history: History, *, committed: bool) -> Iterator[tuple[int | None, Partition, list[ReadRecord]]]:
    """Moment (None: at the end), partition and records of every read."""
    for read in history.reads:
        if read.committed == committed:
            yield read.end, read.partition, read.records
    for partition, records in (history.final if committed else history.final_uncommitted).items():
        yield None, partition, records


def aborted_reads(history: History) -> Iterator[Anomaly]:
    """A read_committed read has a record of an aborted transaction."""
    sent = _sent(history)
    for end, partition, records in _reads(history, committed=True):
        for record in records:
            if record.value in sent and sent[record.value][0].is_aborted:
                yield Anomaly("aborted-read", f"{record.value} at {record.offset} of {partition} by {end}")


def early_reads(history: History) -> Iterator[Anomaly]:
    """A read_committed read has a record of a transaction whose commit was not requested yet."""
    sent = _sent(history)
    for end, partition, records in _reads(history, committed=True):
        for record in records:
            begin = sent[record.value][0].commit_begin if record.value in sent else None
            if end is not None and begin is not None and end < begin:
                yield Anomaly("dirty-read", f"{record.value} of {partition} by {end}, committed from {begin} on")


def inconsistent_offsets(history: History) -> Iterator[Anomaly]:
    """Two reads found different records at one offset, or one read was not in offset order."""
    values: dict[tuple[Partition, int], str] = {}
    for committed in (False, True):
        for end, partition, records in _reads(history, committed=committed):
            for record in records:
                known = values.setdefault((partition, record.offset), record.value)
                if known != record.value:
                    yield Anomaly("inconsistent-offsets", f"{known} and {record.value} at {record.offset} of {partition}")
            for one, other in pairwise(records):
                if one.offset >= other.offset:
                    yield Anomaly("nonmonotonic-poll", f"{other.offset} after {one.offset} of {partition} by {end}")


def unseen(history: History) -> Iterator[Anomaly]:
    """A read has a record that the log does not have in the end, or skipped one that it has.

    Compaction removes the records of aborted transactions, which a read_uncommitted read may have got before, and records
    that newer ones with the same key have superseded.
    """
    sent, superseded = _sent(history), history.superseded()
    for committed, final in ((True, history.final), (False, history.final_uncommitted)):
        for end, partition, records in _reads(history, committed=committed):
            if end is None or not records:
                continue
            first, last = records[0].offset, records[-1].offset
            expected = {record for record in final[partition] if first <= record.offset <= last}
            missing = expected - set(records)
            gone = {record for record in set(records) - expected if record.value not in superseded}
            if not committed:
                gone = {record for record in gone if record.value not in sent or sent[record.value][0].is_committed}
            if missing:
                yield Anomaly("skipped", f"the read until {end} did not get {sorted(missing)} of {partition}")
            if gone:
                yield Anomaly("lost-write", f"the read until {end} got {sorted(gone)} of {partition}, which is gone")


def torn(history: History) -> Iterator[Anomaly]:
    """Some records of a transaction are visible, others, which were acknowledged, are neither that nor superseded."""
    visible, superseded = _visible(history), history.superseded()
    for transaction in history.transactions:
        acknowledged = [send.value for send in transaction.sends if send.outcome is Outcome.OK]
        seen = [value for value in acknowledged if value in visible]
        if seen and any(value not in visible and value not in superseded for value in acknowledged):
            yield Anomaly("torn-transaction", f"of {acknowledged} of {transaction.producer} only {seen} are visible")


def wrong_group_offsets(history: History) -> Iterator[Anomaly]:
    """Records were transformed not exactly once, as far as the group's committed offsets reach."""
    visible = _visible(history)
    made: Counter[tuple[Partition, int]] = Counter()
    for transaction in history.transactions:
        for send in transaction.sends:
            if send.source is not None and send.value in visible:
                made[send.source] += 1
    for partition, offset in history.group_offsets.items():
        for record in history.final[partition]:
            count = made[partition, record.offset]
            if record.offset < offset and count == 0:
                yield Anomaly("dirty-offset", f"{record} of {partition} has no result, but {offset} is committed")
            if record.offset >= offset and count:
                yield Anomaly("lost-offset", f"{record} of {partition} has a result, but only {offset} is committed")
            if count > 1:
                yield Anomaly("processed-twice", f"{record} of {partition} has {count} results")


def wrong_offset_reads(history: History) -> Iterator[Anomaly]:
    """A committed offset is none that could have been the last one: several commits may be under way at once.

    What nobody knows of (no response) may count at any time after it was requested.
    """
    for read in history.offset_reads:
        commits = [each for each in history.commits if each.partition == read.partition and each.begin < read.end]
        before = [each for each in commits if each.outcome is Outcome.OK and each.end is not None and each.end < read.begin]
        last_begin = max((each.begin for each in before), default=0)
        possible = {
            each.offset
            for each in commits
            if each.outcome is not Outcome.FAILED and (each.end is None or each.end > last_begin)
        } | (set() if before else {-1})
        if read.offset not in possible:
            kind = "lost-offset" if read.offset < max(possible) else "dirty-offset"
            yield Anomaly(kind, f"{read} is none of {sorted(possible)}")
