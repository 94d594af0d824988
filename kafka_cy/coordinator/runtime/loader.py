"""Replays a partition of a coordinator's topic into a state machine, in small steps, so that other work goes on."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from kafka_cy.base.slices import Work
from kafka_cy.coordinator.runtime.result import StateMachine
from kafka_cy.records import iterate_batches

READ_BYTES = 1 << 18  # that are read at once, on another thread
STEP_RECORDS = 500  # that are replayed in one step, which takes about a millisecond
COMMIT_MARKER = b"\x00\x01"  # the type in a control record's key (int16 version, int16 type); abort is 0


class PartitionLoader:
    """Reads a HostedPartition up to the log's end.

    Records above the high watermark are replayed too: they are stored later, and no one would replay them then.
    """

    def __init__(self, hosted: Any, state: StateMachine) -> None:
        self.hosted = hosted
        self.state = state
        self.offset: int = hosted.log_start_offset  # behind the last record that was replayed
        self.cancelled = False

    def steps(self) -> Iterator[object]:
        """Replay everything up to the log's end, at most STEP_RECORDS in each step. Raises what the log or the replay raises.

        The log is read on another thread (Work), because its bytes may have to come from the disk.
        """
        before = -1
        while before < self.offset < (end_offset := self.hosted.log_end_offset):
            before = self.offset
            reading = Work(partial(self.hosted.read, before, READ_BYTES, end_offset))
            yield reading
            for batch in iterate_batches(reading.result()):
                if batch.last_offset >= self.offset:
                    yield from replay_batch(self.state, batch)
                    self.offset = batch.last_offset + 1
                    yield None


def replay_batch(state: StateMachine, batch: Any) -> Iterator[None]:
    """Replay the records of one batch, or the transaction marker that it holds. Yields after every STEP_RECORDS."""
    if batch.is_control:
        keys = [record.key for record in batch.records()]
        committed = bool(keys) and keys[0] is not None and keys[0][2:4] == COMMIT_MARKER
        for _ in state.end_transaction(batch.producer_id, committed):
            yield
        return
    producer_id = batch.producer_id if batch.is_transactional else -1
    for place, each in enumerate(batch.records()):
        if place and place % STEP_RECORDS == 0:
            yield
        record = state.decode(each.key, each.value) if each.key is not None else None
        if record is not None:
            state.replay(record, each.offset, producer_id)
