"""Gates and doors when something goes wrong: a commit that takes long, a fault, a request that is huge, garbage."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from kafka_cy.coordinator import open_groups
from kafka_cy.coordinator.committed_offsets import CommittedOffsets
from kafka_cy.coordinator.doors import Doors
from kafka_cy.coordinator.records import partition_of
from kafka_cy.protocol.errors import ErrorCode

from .direct_commits import LATEST, OFFSET_COMMIT, Direct
from .fakes import OFFSETS_TOPIC, FakePartition

NONE = ErrorCode.NONE
TP_CLEAR = 24 * ctypes.sizeof(ctypes.c_void_p)  # where PyTypeObject has its slot for the garbage collector


@pytest.fixture
def direct(tmp_path: Path) -> Iterator[Direct]:
    found = Direct(tmp_path, group_consumer_assignment_interval_ms=0)
    yield found
    found.stop()


@contextlib.contextmanager
def long_append(group: str) -> Iterator[None]:
    """Hold the group's gate, as a commit does while its append waits for the disk."""
    held, end = os.pipe(), os.pipe()
    thread = threading.Thread(target=open_groups.hold_gate, args=(group.encode(), held[1], end[0]))
    thread.start()
    os.read(held[0], 1)
    try:
        yield
    finally:
        os.write(end[1], b"x")
        thread.join()
        for descriptor in (*held, *end):
            os.close(descriptor)


def test_reactors_do_not_wait_behind_an_append_that_takes_long(direct: Direct) -> None:
    epoch = direct.beat("c", "m", 0, topic_names=["ct"], rebalance_timeout=5000, owned=[])[0]["member_epoch"]
    while not direct.beat("c", "m", epoch)[1]:
        pass
    direct.open()
    end_offset = direct.log.log_end_offset
    with long_append("g"):
        assert direct.directly([("ct", 0, 1)]) is None and direct.directly([("ct", 0, 2)]) is None
    with long_append("c"):
        assert direct.beat_directly("c", "m", epoch) is None
    assert direct.log.log_end_offset == end_offset
    assert direct.commit(offset=8) == (NONE, True) and direct.beat("c", "m", epoch)[1]


def test_a_long_request_is_forwarded(direct: Direct) -> None:
    """A reactor neither walks megabytes nor keeps a copy of them until the offsets are stored."""
    direct.open()
    connection = direct.connect()
    body = direct.body([("ct", 0, 7)])
    assert body[-1] == 0, "no tagged fields"
    connection.send(OFFSET_COMMIT, LATEST, body[:-1] + b"\1\x64\x08" + bytes(8))
    assert connection.answer(OFFSET_COMMIT, LATEST)["topics"][0]["partitions"][0]["error_code"] == 0
    end_offset = direct.log.log_end_offset
    connection.send(OFFSET_COMMIT, LATEST, body[:-1] + b"\1\x64\x80\x80\x08" + bytes(131072))
    assert connection.receive() is None and direct.log.log_end_offset == end_offset
    connection.close()


def test_a_door_that_cannot_be_opened_costs_no_response(direct: Direct, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(Doors, "open", fail)
    assert direct.commit() == (NONE, False) and direct.commit() == (NONE, False)
    monkeypatch.undo()
    assert direct.commit() == (NONE, False) and direct.commit() == (NONE, True)
    assert direct.in_memory() == direct.replayed()


@pytest.mark.parametrize("kind", [open_groups.OpenGroup, open_groups.OpenLog])
def test_the_garbage_collector_does_not_take_from_a_door_what_it_needs(kind: type) -> None:
    """It would clear the references of the object, and reactors look behind the door until the object ends itself."""
    assert not ctypes.c_void_p.from_address(id(kind) + TP_CLEAR).value


def test_a_door_goes_with_its_group(direct: Direct) -> None:
    circle = SimpleNamespace(door=open_groups.OpenGroup(b"left alone", CommittedOffsets(), open_groups.OpenLog(direct.log)))
    circle.circle = circle
    assert open_groups.count() == 1
    del circle
    gc.collect()
    assert open_groups.count() == 0


def test_offsets_are_read_between_two_commits(direct: Direct) -> None:
    """A reader sees all offsets of a commit or none of them."""
    direct.open()
    meanwhile: list[object] = []
    coordinator = direct.harness.coordinator
    coordinator.fetch(["g"], lambda *_: meanwhile.append(direct.directly([("ct", 0, 7), ("ct", 1, 7)])), meanwhile.append)
    assert meanwhile[0] is None and len(meanwhile) == 2
    assert direct.commit(offset=8) == (NONE, True)


def test_a_larger_offsets_topic_takes_no_group_away(direct: Direct) -> None:
    """As Kafka, the coordinator knows the topic's size from the start: CreatePartitions moves no group before the next one."""
    group = next(name for name in map(str, range(100)) if partition_of(name, 2) == 1)
    direct.open(group=group)
    assert direct.commit(group=group, offset=6) == (NONE, True)
    topic = direct.cluster.topics[OFFSETS_TOPIC]
    direct.cluster.put_topic(OFFSETS_TOPIC, topic.id, 2)
    direct.cluster.hosted[1] = FakePartition()
    assert direct.commit(group=group, offset=7) == (NONE, True)
    assert direct.offsets(group)["ct"][0].offset == 7
    assert direct.harness.delete_group(group) is NONE and direct.in_memory() == {}
