"""What waiting Produce requests hold is counted in the memory for requests. Their batches are appended, so they wait in any
case; while much memory is used, the connection handles nothing further."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.storage.failing_disk import SOURCE, preloaded
from tests.waiting import wait_until

from .harness import Connection, HotServer
from .kio_wire import encode_request
from .test_parked_memory import FREE, LIMIT, LONG_WAIT_MS, PARTITIONS, clients, counter, counts, handled, parked
from .test_produce import batch, request

ONE_BYTES_MAX = PARTITIONS * 250 + 1000  # of a produce to all partitions while it waits
REQUEST_TIMED_OUT, UNKNOWN_TOPIC_OR_PARTITION = 7, 3


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HotServer]:
    started = HotServer(tmp_path_factory.mktemp("parked"), reactors=1, queued_request_bytes_max=LIMIT)
    started.create_topic("t", PARTITIONS, sole_replica=False)
    yield started
    started.stop()


def send(
    server: HotServer, client: Connection, partitions: int = PARTITIONS, timeout_ms: int = LONG_WAIT_MS, topic: str = "t"
) -> None:
    """A produce with acks=all, which waits until `replicate`."""
    records = batch(1)
    asked = request(9, server, {(topic, index): records for index in range(partitions)}, -1, timeout_ms)
    client.send(0, 9, encode_request(0, 9, asked))


def errors(client: Connection) -> list[int]:
    answer = client.answer(0, 9)
    return [row["error_code"] for topic in answer["responses"] for row in topic["partition_responses"]]


def replicate(server: HotServer) -> None:
    """The follower has all that was appended."""
    for partition in server.partitions.values():
        partition.follower_fetched(9, partition.log_end_offset)


def test_stopped(tmp_path: Path) -> None:
    """The first test: there is no other server yet. The hooks of a process belong to one server."""
    server = HotServer(tmp_path, reactors=2, queued_request_bytes_max=LIMIT)
    server.create_topic("t", PARTITIONS, sole_replica=False)
    client = server.connect()
    fill_memory(server, client)
    server.stop()
    assert counts(server) == (0, 0, 0)
    client.close()


def test_replicated(server: HotServer) -> None:
    with clients(server, 1) as (client,):
        for number in (1, 2):
            send(server, client)
            parked(server, number)
            assert number * PARTITIONS * 100 - FREE < counter(server, "parked_bytes") < number * ONE_BYTES_MAX
            assert counter(server, "parked_bytes") == counter(server, "queued_request_bytes")
        replicate(server)
        for _ in range(2):
            assert errors(client) == [0] * PARTITIONS
        assert counts(server) == (0, 0, 0)


def test_expired(server: HotServer) -> None:
    with clients(server, 1) as (client,):
        send(server, client, timeout_ms=200)
        parked(server, 1)
        assert counter(server, "parked_bytes") > 0
        assert errors(client) == [REQUEST_TIMED_OUT] * PARTITIONS
        send(server, client, timeout_ms=0)
        assert errors(client) == [REQUEST_TIMED_OUT] * PARTITIONS
        assert counts(server) == (0, 0, 0)


def test_closed(server: HotServer) -> None:
    with clients(server, 3) as opened:
        for each in opened:
            for _ in range(2):
                send(server, each)
        parked(server, 6)
        opened[0].close()
        parked(server, 4)


def test_a_deleted_topic(server: HotServer) -> None:
    server.create_topic("u", PARTITIONS, sole_replica=False)
    with clients(server, 1) as (client,):
        send(server, client, topic="u")
        parked(server, 1)
        assert counter(server, "parked_bytes") > 0
        server.delete_topic("u")
        assert errors(client) == [UNKNOWN_TOPIC_OR_PARTITION] * PARTITIONS


def test_a_modest_client_needs_no_budget(server: HotServer) -> None:
    with clients(server, 5) as opened:
        for each in opened:
            send(server, each, 3)
        parked(server, 5)
        assert counts(server) == (5, 0, 0)


def test_many_of_one_client(server: HotServer) -> None:
    """It is not read while its requests hold much. All are answered when the follower has them, without an error."""
    count = 60

    def appended() -> int:
        return sum(partition.log_end_offset for partition in server.partitions.values())

    end = appended()
    with clients(server, 2) as (client, quiet):
        for _ in range(count):
            send(server, client)
        wait_until(lambda: counter(server, "parked_bytes") > LIMIT // 4, "much memory is used")
        handled(server)
        held = counts(server)
        assert held[0] < count and LIMIT // 4 < held[1] <= LIMIT // 4 + ONE_BYTES_MAX
        assert held[1] <= held[2] <= held[1] + LIMIT // 4, "beside them: what was read of the next ones"
        send(server, quiet, 3)
        send(server, quiet, 3)
        parked(server, held[0] + 2)

        def all_handled() -> bool:
            replicate(server)
            return appended() == end + count * PARTITIONS + 2 * 3

        wait_until(all_handled, "the rest is handled")
        replicate(server)
        for _ in range(count):
            assert errors(client) == [0] * PARTITIONS
        for _ in range(2):
            assert errors(quiet) == [0] * 3


def fill_memory(server: HotServer, client: Connection) -> None:
    """Send requests until the client is not read any more, and two that are not handled."""
    while counter(server, "parked_bytes") <= LIMIT // 4:
        before = counter(server, "parked_bytes")
        send(server, client)
        wait_until(lambda before=before: counter(server, "parked_bytes") > before, "it waits")  # type: ignore[misc]
    send(server, client)
    send(server, client)


def test_room_that_another_client_gives_back(server: HotServer) -> None:
    with clients(server, 2) as (first, other):
        fill_memory(server, first)
        held = counter(server, "parked")
        for _ in range(3):
            send(server, other)
        parked(server, held + 1)
        handled(server)
        assert counter(server, "parked") == held + 1, "its first request waits in any case, the others are not handled yet"
        first.close()
        parked(server, 3)
        replicate(server)
        for _ in range(3):
            assert errors(other) == [0] * PARTITIONS


def test_a_client_that_is_not_read_closes(server: HotServer) -> None:
    with clients(server, 1) as (client,):
        fill_memory(server, client)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("send"), st.integers(0, 4), st.integers(1, PARTITIONS), st.sampled_from([1, 20, LONG_WAIT_MS])),
            st.tuples(st.just("replicate")),
            st.tuples(st.just("close"), st.integers(0, 4)),
        ),
        max_size=40,
    )
)
def test_nothing_is_left(server: HotServer, steps: list[tuple[str, int, int, int]]) -> None:
    with clients(server, 5) as opened:
        for step in steps:
            if step[0] == "replicate":
                replicate(server)
            elif step[0] == "close":
                opened[step[1]].close()
                opened[step[1]] = server.connect()
            else:
                send(server, opened[step[1]], *step[2:])
            _, waiting_bytes, all_bytes = counts(server)
            assert 0 <= waiting_bytes <= LIMIT // 4 + 5 * ONE_BYTES_MAX and 0 <= all_bytes <= LIMIT


HANGING = """
import ctypes, sys
from pathlib import Path
from tests.api_hot.harness import HotServer
from tests.api_hot.kio_wire import encode_request
from tests.api_hot.test_parked_memory import counter, counts, parked
from tests.api_hot.test_produce import batch, request

FDATASYNC = 2
disk = ctypes.CDLL(None)
server = HotServer(Path(sys.argv[1]), reactors=1)
server.create_topic("t", 20, {"flush.messages": 1})  # each is synced three times, which takes long on a busy disk
disk.disk_hang(FDATASYNC, 1)
client = server.connect()
asked = request(9, server, {("t", index): batch(1) for index in range(20)}, 1, 120_000)
for _ in range(3):
    client.send(0, 9, encode_request(0, 9, asked))
parked(server, 3)
assert 0 < counter(server, "parked_bytes") == counter(server, "queued_request_bytes")
disk.disk_hang(FDATASYNC, 0)
for _ in range(3):
    (topic,) = client.answer(0, 9)["responses"]
    assert [row["error_code"] for row in topic["partition_responses"]] == [0] * 20
assert counts(server) == (0, 0, 0)
server.stop()
"""


def test_waiting_for_an_fsync(tmp_path: Path) -> None:
    source, library = tmp_path / "disk.c", tmp_path / "disk.so"
    source.write_text(SOURCE)
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", str(library), str(source)], check=True)
    (tmp_path / "logs").mkdir()
    ran = subprocess.run([sys.executable, "-c", HANGING, str(tmp_path / "logs")],
                         env=preloaded(library), capture_output=True, text=True, timeout=120, check=False)
    assert ran.returncode == 0, ran.stderr
