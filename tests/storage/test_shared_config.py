"""The configuration that the logs of a topic share, and its changes."""

from __future__ import annotations

import ctypes
import threading
from pathlib import Path
from typing import Any

import pytest

from kafka_cy.storage import hosted_logs
from kafka_cy.storage.log_manager import LogManager
from kafka_cy.storage.log_settings import LogSettings
from kafka_cy.storage.shared_config_probe import mixed_copies
from kafka_cy.storage.throttled_replicas import LEADER
from tests.storage.batches import batch

TOPIC_ID = bytes(range(16))
NEVER: dict[str, Any] = {"retention.ms": -1}
PARTITIONS = 50


class MallocInfo(ctypes.Structure):
    """struct mallinfo2 of glibc."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in ("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost")
    ]


def allocated_bytes() -> int:
    """What the C library has given out and not got back."""
    mallinfo = ctypes.CDLL(None).mallinfo2
    mallinfo.restype = MallocInfo
    return int(mallinfo().uordblks)


@pytest.fixture
def logs(tmp_path: Path) -> LogManager:
    started = LogManager([str(tmp_path)], 1, "cluster", NEVER)
    started.start()
    for index in range(PARTITIONS):
        started.create("t", index, TOPIC_ID)
    return started


def test_changes_keep_no_memory(logs: LogManager) -> None:
    logs.set_config("t", {**NEVER, "segment.bytes": 999}, PARTITIONS)
    before = allocated_bytes()
    for change in range(200):
        logs.set_config("t", {**NEVER, "segment.bytes": 1000 + change}, PARTITIONS)
    assert allocated_bytes() - before < 100_000  # one struct for each change and partition were 2,000,000
    logs.shutdown()


def test_a_change_reaches_all_logs_of_the_topic_only(logs: LogManager) -> None:
    other = logs.create("u", 0, TOPIC_ID)
    logs.take_config("t", {**NEVER, "segment.bytes": 2 * len(batch())})
    for _ in range(3):
        logs.partitions["t", 0].append(batch())
        logs.partitions["t", 7].append(batch())
        other.append(batch())
    counts = {key: len(logs.partitions[key].log.segments()) for key in (("t", 0), ("t", 7), ("u", 0))}
    assert counts == {("t", 0): 2, ("t", 7): 2, ("u", 0): 1}
    logs.shutdown()


def test_a_topic_of_the_same_name_has_its_own(logs: LogManager) -> None:
    log = logs.partitions["t", 0].log
    for index in range(PARTITIONS):
        logs.delete("t", index)
    again = logs.create("t", 0, bytes(16), {**NEVER, "segment.bytes": 100}).log
    assert again.settings is not log.settings
    logs.shutdown()


def test_a_setting_that_cannot_be_used_changes_nothing(logs: LogManager) -> None:
    logs.set_config("t", {**NEVER, "segment.bytes": 5000})
    with pytest.raises(KeyError):
        logs.set_config("t", {"segment.bytes": 1, "compression.type": "none of these", LEADER: ["*"]})
    assert logs.config_of("t") == {**NEVER, "segment.bytes": 5000}
    assert not logs.take_config("t", {**NEVER, "segment.bytes": 5001}), "nobody is throttled"
    logs.shutdown()


def test_copies_are_of_one_configuration() -> None:
    """Readers go on while it is replaced, and are preempted in their copies."""
    settings = LogSettings(same_times(0))
    found: list[int] = []
    readers = [threading.Thread(target=lambda: found.append(mixed_copies(settings, 3_000_000))) for _ in range(3)]
    for reader in readers:
        reader.start()
    changes = 0
    while any(reader.is_alive() for reader in readers):
        changes += 1
        settings.replace(same_times(changes))
    assert found == [0, 0, 0] and changes > 0


def same_times(time_ms: int) -> dict[str, Any]:
    names = ("message.timestamp.before.max.ms", "retention.ms", "delete.retention.ms")
    return dict.fromkeys(names, time_ms)


def test_partitions_are_told_of_throttles_and_compaction_only(logs: LogManager, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each step tells some of them. Other settings cost the same however many partitions there are."""
    monkeypatch.setattr(hosted_logs, "STEP_PARTITIONS", 10)
    told: list[int] = []
    monkeypatch.setattr(logs._hosted, "apply_throttle", lambda partition: told.append(partition.index))

    def steps_of(config: dict[str, Any]) -> list[int]:
        sizes = []
        for _ in logs.set_config_in_steps("t", {**NEVER, **config}, PARTITIONS):
            sizes.append(len(told))
            told.clear()
        return sizes

    fives = [10] * 5
    assert steps_of({"segment.bytes": 1000}) == []
    assert steps_of({LEADER: ["0:1"]}) == fives
    assert steps_of({LEADER: ["0:1"], "retention.ms": 5}) == []
    assert steps_of({LEADER: ["1:1"]}) == fives
    assert steps_of({}) == fives
    assert steps_of({"cleanup.policy": ["compact"]}) == fives
    assert steps_of({"cleanup.policy": ["compact", "delete"]}) == []
    assert steps_of({"cleanup.policy": ["delete"]}) == []
    logs.shutdown()


def test_partitions_are_told_again_after_a_fault(logs: LogManager, monkeypatch: pytest.MonkeyPatch) -> None:
    throttled = {**NEVER, LEADER: ["0:1"]}
    with monkeypatch.context() as broken:
        broken.setattr(logs._hosted.compacted, "add", lambda partition, config: pytest.fail("no memory"))
        with pytest.raises(pytest.fail.Exception):
            logs.set_config("t", throttled, PARTITIONS)
    assert logs.take_config("t", throttled)
    logs.set_config("t", throttled, PARTITIONS)
    assert not logs.take_config("t", throttled)
    logs.shutdown()


def test_a_partition_that_is_created_takes_the_settings_of_its_topic(logs: LogManager) -> None:
    """A controller's request creates many, with settings that were read before: a change may have come meanwhile."""
    logs.take_config("t", {**NEVER, "segment.bytes": 2 * len(batch())})
    created = logs.create("t", PARTITIONS, TOPIC_ID, {**NEVER, "segment.bytes": 5000, LEADER: ["0:1"]})
    for partition in (created, logs.partitions["t", 0]):
        for _ in range(3):
            partition.append(batch())
        assert len(partition.log.segments()) == 2
    assert logs.take_config("t", {**NEVER, LEADER: ["0:1"]})
    logs.shutdown()
