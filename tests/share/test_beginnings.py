"""How share partitions begin: at which offset, and that those that cannot begin tell everyone who waits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kafka_cy.protocol.errors import ErrorCode
from kafka_cy.records import build_batch
from kafka_cy.share import share_partition
from kafka_cy.share.settings import ShareSettings
from kafka_cy.storage.log import StorageFailure
from tests.coordinator.fakes import CONFIG

from .harness import KEY, Bench
from .test_share_fetch import MEMBER, OTHER, PLACE, Service

WAIT_MS = 1000


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    yield Bench(tmp_path / "st-0")


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    yield Service(tmp_path / "st-0")


def failing(error: Exception) -> Callable[[Any], int]:
    def first_offset(hosted: Any) -> int:
        raise error

    return first_offset


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (OverflowError("too old"), ErrorCode.UNKNOWN_SERVER_ERROR),
        (MemoryError(), ErrorCode.UNKNOWN_SERVER_ERROR),
        (StorageFailure("a corrupt batch", 1), ErrorCode.KAFKA_STORAGE_ERROR),
    ],
)
@pytest.mark.parametrize("in_thread", [False, True])
def test_a_partition_that_cannot_begin_tells_it_and_begins_anew(
    service: Service, fault: Exception, error: ErrorCode, in_thread: bool
) -> None:
    lines: list[dict[str, Any]] = []
    service.partitions._beginnings._failed_line._log = lambda what, **details: lines.append(details)
    service.bench.append(3)
    settings, look = service.bench.settings, failing(fault)
    first: Any = (lambda hosted: lambda: look(hosted)) if in_thread else look
    service.bench.settings = settings._replace(first_offset=first)
    for key in (MEMBER, OTHER):
        ((top, results),) = service.fetch(0, key=key, wait_ms=WAIT_MS)
        assert not top and results[PLACE].error == error
    assert [each["error"] for each in lines] == [repr(fault)], "one line, however often clients try"
    assert (lines[0]["group"], lines[0]["partition"]) == ("g", 0)
    service.bench.settings = settings
    assert service.acquired(service.fetch(1)) == [(0, 2)]


def test_what_cannot_be_made_of_the_stored_state_is_an_error(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_memory(*arguments: Any) -> None:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(share_partition, "InFlight", no_memory)
        assert service.fetch(0)[0][1][PLACE].error == ErrorCode.UNKNOWN_SERVER_ERROR
    assert service.partitions.series.shown() == {}, "the group has no share partition"
    service.bench.append(1)
    assert service.acquired(service.fetch(1)) == [(0, 0)]
    assert list(service.partitions.series.shown()) == ["g"]


def test_a_state_that_cannot_be_asked_for_is_an_error(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_memory(*arguments: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(bench.states.coordinator, "read", no_memory)
    assert bench.ready() == bench.ready() == ErrorCode.UNKNOWN_SERVER_ERROR
    assert bench.lines == ["MemoryError()"]


def test_a_fault_of_one_who_waits_costs_the_others_nothing(bench: Bench) -> None:
    log = bench.states.log_of(KEY)
    bench.partition.leader_epoch = 5  # which is stored
    log.held = True
    found: list[ErrorCode] = []

    def fault(error: ErrorCode) -> None:
        raise RuntimeError

    bench.partition.when_ready(fault)
    bench.partition.when_ready(found.append)
    log.high_watermark = log.log_end_offset
    bench.states.coordinator.look()
    assert found == [ErrorCode.NONE]


def test_look_ups_in_logs_run_on_one_other_thread(bench: Bench) -> None:
    loop, found = bench.states.loop, []
    bench.settings = bench.settings._replace(first_offset=lambda hosted: lambda: 2)
    bench.append(3)
    loop.threads = []
    other = bench.new()
    other._beginnings = bench.partition._beginnings
    for each in (bench.partition, other):
        each.when_ready(found.append)
    assert len(loop.threads) == 1 and not found and bench.fetch() == []
    for _ in range(2):
        ((work, done),) = loop.threads
        loop.threads.clear()
        work()
        done()
    assert found == [ErrorCode.NONE] * 2
    assert [each[:2] for each in bench.fetch()] == [(2, 2)]


def test_a_partition_that_is_closed_during_its_look_up_stays_closed(bench: Bench) -> None:
    loop, found = bench.states.loop, []
    bench.settings = bench.settings._replace(first_offset=lambda hosted: lambda: 2)
    loop.threads = []
    bench.partition.when_ready(found.append)
    ((work, done),) = loop.threads
    bench.partition.close(ErrorCode.NOT_LEADER_OR_FOLLOWER)
    work()
    done()
    assert found == [ErrorCode.NOT_LEADER_OR_FOLLOWER] and bench.partition.in_flight is None


def test_without_a_thread_the_look_up_fails(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_thread(work: Any, done: Any) -> None:
        raise RuntimeError("can't start new thread")

    bench.settings = bench.settings._replace(first_offset=lambda hosted: lambda: 2)
    monkeypatch.setattr(bench.states.loop, "run_in_thread", no_thread)
    found: list[ErrorCode] = []
    bench.partition.when_ready(found.append)
    bench.states.loop.advance(0)
    assert found == [ErrorCode.UNKNOWN_SERVER_ERROR] and len(bench.lines) == 1


@pytest.mark.parametrize(
    ("reset", "offset"),
    [
        ("earliest", 0),
        ("latest", 4),
        ("by_duration:PT2M", 1),
        ("BY_DURATION:pt0.5s", 4),
        ("by_duration:P1D", 0),
        ("by_duration:P106751991167300DT15H30M7S", 0),  # the longest that Java takes
    ],
)
def test_where_a_group_begins(bench: Bench, reset: str, offset: int) -> None:
    loop = bench.states.loop
    loop.advance(10_000)
    for minutes in (3, 2, 1):
        timestamp = loop.wall_clock_ms() - minutes * 60_000
        bench.hosted.append(build_batch([(None, b"v", timestamp, (), -1)]))
    bench.hosted.append(build_batch([(None, b"v", loop.wall_clock_ms() - 1000, (), -1)]))
    cluster = SimpleNamespace(find_config=lambda kind, name: {"share.auto.offset.reset": reset})
    config = CONFIG | {"group.share.delivery.count.limit": 5, "group.share.partition.max.record.locks": 2000}
    settings = ShareSettings(config | {"group.share.record.lock.duration.ms": 30_000}, cluster, loop)
    bench.settings = settings.of_group("g")
    assert bench.ready() == ErrorCode.NONE
    assert bench.partition.in_flight is not None and bench.partition.in_flight.start_offset == offset
