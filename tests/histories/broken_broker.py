"""Runs a broker that breaks one rule of transactions on purpose: python -m tests.histories.broken_broker RULE server ...

The checker has to find it: a checker that finds nothing in such a broker proves nothing about a right one.
"""

from __future__ import annotations

import sys
from typing import Any

from kafka_cy.coordinator.runtime.shard import Marker
from kafka_cy.coordinator.state_machine import GroupStateMachine
from kafka_cy.coordinator.transactions.markers import MarkerWriter
from kafka_cy.protocol.errors import ErrorCode
from kafka_cy.storage import transaction_table


def commit_what_was_aborted() -> None:
    """Every marker says commit."""
    write = MarkerWriter.write

    def always_commit(self: MarkerWriter, marker: Marker, *rest: Any) -> None:
        write(self, marker._replace(committed=True), *rest)

    MarkerWriter.write = always_commit  # type: ignore[method-assign]


def abort_what_was_committed() -> None:
    """Every marker says abort."""
    write = MarkerWriter.write

    def always_abort(self: MarkerWriter, marker: Marker, *rest: Any) -> None:
        write(self, marker._replace(committed=False), *rest)

    MarkerWriter.write = always_abort  # type: ignore[method-assign]


def forget_markers() -> None:
    """Partitions with an odd number get no marker."""
    write_one = MarkerWriter._write_one

    def write_even(self: MarkerWriter, marker: Marker, partition: Any, results: Any) -> None:
        if partition[0].startswith("__") or partition[1] % 2 == 0:
            write_one(self, marker, partition, results)
        else:
            results.add(partition, ErrorCode.NONE)

    MarkerWriter._write_one = write_even  # type: ignore[method-assign]


def commit_offsets_at_once() -> None:
    """The offsets of a transaction count before it ends."""
    replay = GroupStateMachine.replay

    def replay_at_once(self: GroupStateMachine, record: Any, offset: int, producer_id: int = -1) -> None:
        replay(self, record, offset)

    GroupStateMachine.replay = replay_at_once  # type: ignore[method-assign]


def write_behind_markers() -> None:
    """A producer may write until its next transaction, also behind the markers: only requests at the same time show it."""
    remove, set_partitions = transaction_table.remove, transaction_table.set_partitions
    ended: set[int] = set()

    def set_late(producer_id: int, *rest: Any) -> Any:
        if producer_id in ended:
            ended.remove(producer_id)
            remove(producer_id)
        return set_partitions(producer_id, *rest)

    transaction_table.remove, transaction_table.set_partitions = ended.add, set_late


RULES = {
    "commit-what-was-aborted": commit_what_was_aborted,
    "abort-what-was-committed": abort_what_was_committed,
    "forget-markers": forget_markers,
    "commit-offsets-at-once": commit_offsets_at_once,
    "write-behind-markers": write_behind_markers,
}

if __name__ == "__main__":
    RULES[sys.argv.pop(1)]()
    from kafka_cy.__main__ import main

    sys.exit(main())
