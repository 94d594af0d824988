"""The share coordinator: what it stores, compared with Apache Kafka 4.3.1, and what it refuses."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kafka_cy.coordinator.share import state_coordinator
from kafka_cy.coordinator.share.records import STATE_RECORDS, Snapshot
from kafka_cy.coordinator.share.state_coordinator import BATCHES_MAX
from kafka_cy.coordinator.share.state_machine import SharePartition
from kafka_cy.protocol.errors import ErrorCode

from .golden import golden
from .share_state import TOPIC_ID, ShareHarness
from .test_state_batches import BATCH

WST = SharePartition("wst", TOPIC_ID, 0)
NONE = ErrorCode.NONE


def normal(key: bytes, value: bytes | None) -> Any:
    """The record with zeroed timestamps."""
    record = STATE_RECORDS.decode(key, value)
    assert record is not None
    if isinstance(record[1], Snapshot):
        return record[0], record[1]._replace(create_timestamp_ms=0, write_timestamp_ms=0)
    return record


def test_wst_initialize_write_read_and_delete_store_the_records_of_kafka() -> None:
    (expected,) = [each for each in golden("record-sequences.json")["sequences"] if each["id"] == "wst"]
    harness = ShareHarness()
    assert harness.initialize(WST, 3) == NONE
    assert harness.initialize(WST, 3, 7) == NONE
    assert harness.write(WST, (7, 9, 0, 1), (10, 12, 2, 1), complete=3) == NONE
    assert harness.write(WST) == NONE
    assert harness.write(WST, (13, 20, 4, 5), start_offset=8, complete=-1) == NONE
    assert harness.read(WST, 6)[0] == NONE
    assert harness.write(WST, (21, 21, 2, 1), leader_epoch=6, start_offset=8) == NONE
    assert harness.write(WST, (22, 22, 2, 1), leader_epoch=6, start_offset=9, complete=1) == NONE
    for step in range(4):
        batch = (23 + step, 23 + step, 2, 1)
        assert harness.write(WST, batch, leader_epoch=7, start_offset=10 + step, complete=2 + step) == NONE
    assert harness.delete(WST) == NONE
    log = harness.log_of(WST)
    assert [normal(key, value) for key, value in log.records()] == [
        normal(bytes.fromhex(key), value and bytes.fromhex(value))
        for topic, *_, key, value in expected["records"]
        if topic == "s"
    ]


def test_partitions_of_the_state_topic_are_those_of_kafka() -> None:
    harness = ShareHarness()
    for sequence in golden("record-sequences.json")["sequences"]:
        for topic, partition, *_, key, _ in sequence["records"]:
            if topic == "s":
                record = STATE_RECORDS.decode(bytes.fromhex(key), None)
                assert record is not None
                assert harness.coordinator.runtime.partition_index(SharePartition(*record[0]).key) == partition


def test_what_is_not_initialized_is_refused() -> None:
    harness = ShareHarness()
    assert harness.read(WST) == (ErrorCode.INVALID_REQUEST, None)
    assert harness.write(WST, (0, 1, 0, 1)) == ErrorCode.INVALID_REQUEST
    assert harness.summary(WST) == (NONE, None)
    assert harness.delete(WST) == NONE
    assert harness.log_of(WST).records() == []


def test_older_epochs_are_fenced_and_change_nothing() -> None:
    harness = ShareHarness()
    harness.initialize(WST, 3)
    harness.read(WST, 5)
    stored = harness.log_of(WST).records()
    assert harness.initialize(WST, 2) == ErrorCode.FENCED_STATE_EPOCH
    assert harness.write(WST, (0, 1, 0, 1), state_epoch=2, leader_epoch=5) == ErrorCode.FENCED_STATE_EPOCH
    assert harness.write(WST, (0, 1, 0, 1), leader_epoch=4) == ErrorCode.FENCED_LEADER_EPOCH
    assert harness.read(WST, 4) == (ErrorCode.FENCED_LEADER_EPOCH, None)
    assert harness.log_of(WST).records() == stored


@pytest.mark.parametrize(
    ("partition", "error"),
    [
        (WST._replace(partition=-1), ErrorCode.INVALID_REQUEST),
        (WST._replace(partition=2), ErrorCode.UNKNOWN_TOPIC_OR_PARTITION),
        (WST._replace(topic_id=uuid.uuid4()), ErrorCode.UNKNOWN_TOPIC_OR_PARTITION),
    ],
)
def test_partitions_that_do_not_exist_are_refused(partition: SharePartition, error: ErrorCode) -> None:
    assert ShareHarness().initialize(partition, 1) == error


def test_too_many_batches_are_refused() -> None:
    harness = ShareHarness()
    harness.initialize(WST, 3)
    assert harness.write(WST, *[(2 * each, 2 * each, 0, 1) for each in range(BATCHES_MAX)]) == NONE
    assert harness.write(WST, (BATCHES_MAX * 2, BATCHES_MAX * 2, 0, 1)) == ErrorCode.POLICY_VIOLATION
    assert harness.write(WST, (2 * BATCHES_MAX, 2 * BATCHES_MAX, 0, 1), start_offset=1) == NONE  # no more than before
    assert harness.write(WST, *[(each, each, 2, 1) for each in range(BATCHES_MAX + 1)]) == ErrorCode.POLICY_VIOLATION


def test_all_states_together_have_so_many_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """A share group that takes all the room does not keep others from finishing records in order."""
    monkeypatch.setattr(state_coordinator, "ALL_BATCHES_MAX", 10)
    lines: list[dict[str, Any]] = []
    harness = ShareHarness()
    harness.coordinator._full_line._log = lambda what, **details: lines.append(details)
    other = WST._replace(group_id="other")
    for partition in (WST, other):
        harness.initialize(partition, 3)
    assert harness.write(WST, *[(2 * each, 2 * each, 2, 1) for each in range(10)]) == NONE
    assert harness.write(WST, (30, 30, 0, 1)) == harness.write(other, (0, 0, 2, 1), (2, 2, 0, 1), (4, 4, 2, 1))
    assert harness.write(WST, (30, 30, 0, 1)) == ErrorCode.POLICY_VIOLATION
    assert lines == [{"group": WST.group_id, "share_partitions": 2, "batches": 10}]  # once a minute
    assert harness.write(other, (0, 0, 2, 1), (2, 2, 0, 1)) == NONE == harness.write(other, (1, 3, 2, 1))
    assert harness.write(WST, (1, 7, 2, 1)) == NONE  # it shrinks
    harness.coordinator.loop.advance(61)
    assert harness.write(WST, *[(100 + 2 * each, 100 + 2 * each, 2, 1) for each in range(9)]) == ErrorCode.POLICY_VIOLATION
    assert len(lines) == 2


def test_idle_states_are_written_anew_and_what_lies_before_them_is_deleted() -> None:
    harness = ShareHarness()
    harness.initialize(WST, 3)
    harness.write(WST, (0, 4, 2, 1), start_offset=0, complete=5)
    log = harness.log_of(WST)
    created_ms = harness.states()[WST].create_timestamp_ms
    harness.loop.advance(601)
    state = harness.states()[WST]
    assert (state.snapshot_epoch, state.create_timestamp_ms, state.updates) == (2, created_ms, 0)
    assert state.write_timestamp_ms >= created_ms + 600_000
    assert log.log_start_offset == log.log_end_offset - 1
    assert harness.restart().states()[WST] == state


PARTITION = st.builds(SharePartition, st.sampled_from(["a", "b"]), st.just(TOPIC_ID), st.integers(0, 1))
STEP = st.one_of(
    st.tuples(st.just("initialize"), PARTITION, st.integers(0, 3), st.integers(-1, 20)),
    st.tuples(st.just("write"), PARTITION, st.lists(BATCH, max_size=3), st.integers(-1, 30), st.integers(0, 4)),
    st.tuples(st.just("read"), PARTITION, st.integers(-1, 4)),
    st.tuples(st.just("delete"), PARTITION),
    st.tuples(st.just("wait"), st.integers(1, 400)),
)


@given(st.lists(STEP, max_size=25))
def test_a_state_that_is_loaded_equals_the_one_that_lived(steps: list[Any]) -> None:
    """A coordinator that is killed after any record, also after logs were trimmed, comes back with the same state."""
    harness = ShareHarness()
    for what, *arguments in steps:
        match what:
            case "initialize":
                harness.initialize(*arguments)
            case "write":
                partition, batches, start_offset, epoch = arguments
                harness.write(partition, *batches, start_offset=start_offset, leader_epoch=epoch)
            case "read":
                harness.read(*arguments)
            case "delete":
                harness.delete(*arguments)
            case "wait":
                harness.loop.advance(arguments[0])
        assert ShareHarness(harness).states() == harness.states()
        for machine in (each.state for each in harness.coordinator.runtime.loaded_shards()):
            assert machine.batch_count == sum(len(state.batches) for state in machine.states.values())
