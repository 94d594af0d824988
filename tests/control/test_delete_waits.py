"""DeleteRecords waits until the followers have deleted, and not longer or in larger numbers than the limits say."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest

from kafka_cy.api import delete_waits
from kafka_cy.api.delete_waits import LOOK_INTERVAL_S, DeleteWaits
from kafka_cy.base.slices import AT_ONCE_MAX
from kafka_cy.protocol.errors import ErrorCode
from kafka_cy.server.long_requests import DECODED_BYTES_MAX, WAITING_CLIENT_BYTES_MAX, LongRequests
from kafka_cy.storage.log import StorageFailure
from tests.control.control_fakes import FakePartition, KeptRequest, call, make_context, start
from tests.waiting import wait_until

CREATE, DELETE_RECORDS = 19, 21
TIMED_OUT = ErrorCode.REQUEST_TIMED_OUT
STORAGE_NOT_LEADER, STORAGE_DELETED, STORAGE_OFFLINE = 11, 12, 15


class Timer:
    def __init__(self, due: float, call: Callable[[], object]) -> None:
        self.due, self.call, self.cancelled = due, call, False

    def cancel(self) -> None:
        self.cancelled = True


class Loop:
    """Its clock stands still, except in `pass_time`."""

    def __init__(self) -> None:
        self.now = 0.0
        self._timers: list[Timer] = []

    def call_later(self, delay_s: float, function: Callable[..., object], *arguments: Any) -> Timer:
        timer = Timer(self.now + delay_s, lambda: function(*arguments))
        self._timers.append(timer)
        return timer

    @property
    def timers(self) -> list[float]:
        """When they are due."""
        return [each.due for each in self._timers if not each.cancelled]

    def pass_time(self, seconds: float) -> None:
        end = self.now + seconds
        while any(due <= end for due in self.timers):
            first = min((each for each in self._timers if not each.cancelled), key=lambda each: each.due)
            self._timers.remove(first)
            self.now = first.due
            first.call()
        self.now = end


class StepByStep:
    """Long tasks that stop after each step."""

    def __init__(self) -> None:
        self.tasks: list[tuple[Any, Callable[[], object]]] = []

    def add(self, steps: Iterable[object], done: Callable[[], object]) -> None:
        self.tasks.append((iter(steps), done))

    def step(self) -> None:
        steps, done = self.tasks[0]
        try:
            next(steps)
        except StopIteration:
            del self.tasks[0]
            done()


class Replicated(FakePartition):
    """A partition with followers, of which the least start offset is `followers`."""

    def __init__(self) -> None:
        super().__init__()
        self.followers: int | None = 0
        self.failure = 0
        self.looks = 0

    def low_watermark(self) -> int | None:
        self.looks += 1
        if self.failure:
            raise StorageFailure("t-0", self.failure)
        return None if self.followers is None else min(self.followers, self.log_start_offset)


class Bench:
    """A broker that leads the partitions of topic "t"."""

    def __init__(self, partitions: int = 1, slices: Any = None) -> None:
        self.context = make_context()
        self.loop = Loop()
        self.lines: list[tuple[str, str, dict[str, Any]]] = []
        log: Any = SimpleNamespace(repeated=lambda *line: self.lines.append(line))
        self.waits = DeleteWaits(self.loop, slices or self.context.slices, log)  # type: ignore[arg-type]
        self.context.delete_waits = self.waits
        topic = {"name": "t", "num_partitions": partitions, "replication_factor": 1, "assignments": [], "configs": []}
        call(self.context, CREATE, 7, {"topics": [topic], "timeout": 1000})
        logs: Any = self.context.logs
        self.partitions = [Replicated() for _ in range(partitions)]
        for index, partition in enumerate(self.partitions):
            logs.partitions["t", index] = partition

    def delete(self, *offsets: int, timeout_ms: int = 1000, **more: Any) -> KeptRequest:
        """From the first partitions, below these offsets. `more`: see Request."""
        partitions = [{"partition_index": index, "offset": offset} for index, offset in enumerate(offsets)]
        body = {"topics": [{"name": "t", "partitions": partitions}], "timeout": timeout_ms}
        return start(self.context, DELETE_RECORDS, 2, body, **more)

    def look(self) -> None:
        self.loop.pass_time(LOOK_INTERVAL_S)


def answered(request: KeptRequest) -> list[tuple[int, int]]:
    """(low watermark, error) of each partition; []: it is not answered yet."""
    assert len(request.responses) <= 1
    return [
        (row["low_watermark"], row["error_code"])
        for response in request.responses
        for row in response["topics"][0]["partitions"]
    ]


def test_the_answer_waits_for_the_followers() -> None:
    bench = Bench()
    [partition] = bench.partitions
    request = bench.delete(4)
    assert (partition.log_start_offset, bench.waits.count) == (4, 1)
    bench.look()
    assert answered(request) == []
    partition.followers = 3
    bench.look()
    assert answered(request) == []
    partition.followers = 5
    bench.look()
    assert answered(request) == [(4, 0)]
    assert (bench.loop.timers, bench.waits.count) == ([], 0), "nothing waits, and nothing looks"


def test_what_the_followers_have_deleted_already_is_answered_at_once() -> None:
    bench = Bench()
    bench.partitions[0].followers = 10
    assert answered(bench.delete(-1)) == [(10, 0)]
    assert bench.loop.timers == []


def test_the_time_out_ends_it_for_those_that_wait() -> None:
    """As Kafka answers: with the low watermark of the beginning."""
    bench = Bench(3)
    bench.partitions[0].followers = 1
    bench.partitions[2].followers = None  # another thread has the log
    request = bench.delete(4, 4, 4)
    bench.partitions[0].followers, bench.partitions[1].followers = 3, 4
    bench.loop.pass_time(0.999)
    assert answered(request) == []
    bench.loop.pass_time(0.001)
    assert answered(request) == [(1, TIMED_OUT), (4, 0), (-1, TIMED_OUT)]
    bench.look()
    assert bench.loop.timers == []


@pytest.mark.parametrize("timeout_ms", [0, -1])
def test_without_time_it_is_over_at_once(timeout_ms: int) -> None:
    bench = Bench()
    assert answered(bench.delete(4, timeout_ms=timeout_ms)) == [(0, TIMED_OUT)]
    assert (bench.partitions[0].log_start_offset, bench.lines) == (4, [])


@pytest.mark.parametrize(
    ("failure", "code"),
    [
        (STORAGE_NOT_LEADER, ErrorCode.NOT_LEADER_OR_FOLLOWER),
        (STORAGE_DELETED, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION),
        (STORAGE_OFFLINE, ErrorCode.KAFKA_STORAGE_ERROR),
    ],
)
def test_a_partition_that_this_broker_leads_no_more(failure: int, code: ErrorCode) -> None:
    bench = Bench(2)
    request = bench.delete(4, 4)
    bench.partitions[0].failure = failure
    bench.look()
    assert answered(request) == []
    bench.partitions[1].followers = 4
    bench.look()
    assert answered(request) == [(-1, code), (4, 0)]


def test_only_partitions_that_wait_are_looked_at() -> None:
    bench = Bench(2)
    bench.partitions[0].followers = 4
    bench.delete(4, 4)
    bench.look()
    bench.look()
    assert [each.looks for each in bench.partitions] == [1, 3]


def test_what_is_beyond_the_limits_does_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delete_waits, "REQUESTS_MAX", 2)
    monkeypatch.setattr(delete_waits, "ROWS_MAX", 5)
    bench = Bench(3)
    requests = [bench.delete(4, 4)]
    assert answered(bench.delete(4, 4)) == [(0, TIMED_OUT)] * 2, "too many rows"
    requests.append(bench.delete(4))
    assert answered(bench.delete(4)) == [(0, TIMED_OUT)], "too many requests"
    sender = {"client_id": "test", "client": "127.0.0.1"}
    assert bench.lines == [
        ("warning", "too many DeleteRecords wait for followers: others are answered at once", {**waiting, **sender})
        for waiting in ({"requests": 1, "rows": 3}, {"requests": 2, "rows": 5})
    ]
    for partition in bench.partitions:
        partition.followers = 4
    bench.look()
    assert [answered(each) for each in requests] == [[(4, 0)] * 2, [(4, 0)]]
    for partition in bench.partitions:
        partition.followers = 0
    bench.delete(5, 5, 5)
    assert bench.waits.count == 1, "there is room again"


def test_a_wait_ends_with_its_connection() -> None:
    bench = Bench()
    request = bench.delete(4, timeout_ms=2**31 - 1)
    request.control.connection_closed = True  # type: ignore[attr-defined]
    bench.look()
    assert (bench.waits.count, bench.loop.timers) == (0, [])


def test_many_partitions() -> None:
    bench = Bench(AT_ONCE_MAX + 1)
    request = bench.delete(*[4] * (AT_ONCE_MAX + 1))
    bench.look()
    assert answered(request) == []
    for partition in bench.partitions:
        partition.followers = 4
    bench.look()
    assert answered(request) == [(4, 0)] * (AT_ONCE_MAX + 1)


def test_the_answer_to_a_large_one_takes_no_second_turn() -> None:
    """It would wait behind other requests of its client, or find no place: the records are deleted, so it is answered."""
    bench = Bench(AT_ONCE_MAX + 1)
    soon: deque[Callable[[], object]] = deque()
    loop: Any = SimpleNamespace(call_soon_threadsafe=lambda f, *arguments: soon.append(partial(f, *arguments)))
    long = LongRequests(loop, lambda control: None, lambda request: None, lambda request, error: None)
    try:
        size = WAITING_CLIENT_BYTES_MAX // DECODED_BYTES_MAX
        request = bench.delete(*[4] * (AT_ONCE_MAX + 1), body_size=size, long_requests=long.add)
        control: Any = request.control
        assert bench.waits.count == 1
        while soon:
            soon.popleft()()
        others: list[Any] = []
        for _ in range(2):
            bench.delete(long_requests=long.add).respond_long(others.append)
        assert len(others) == 1, "one is in work, and the other one waits"
        for partition in bench.partitions:
            partition.followers = 4
        bench.look()
        wait_until(lambda: control.payload or control.reason, "an answer")
        assert control.reason is None
    finally:
        long.stop()


def test_an_answer_does_not_change_when_its_time_ends_between_two_slices() -> None:
    slices = StepByStep()
    bench = Bench(3, slices)
    request = bench.delete(4, 4, 4, timeout_ms=60)
    bench.look()
    for partition in bench.partitions:
        partition.followers = 4
    slices.step()  # the first partition
    bench.loop.pass_time(0.01)
    expected = [(4, 0), (0, TIMED_OUT), (0, TIMED_OUT)]
    assert answered(request) == expected
    while slices.tasks:
        slices.step()
    assert answered(request) == expected
    assert (bench.waits.count, bench.loop.timers) == (0, [])
