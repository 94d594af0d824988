"""Measures the latency of quiet clients next to clients that load the broker heavily. Prints a table; see docs/benchmarks.md.

    .venv/bin/python bench/beside.py [SECONDS for each row] [NAME of a neighbour]...

The quiet client produces 100 bytes with acks=1 and fetches them, 100 times per second, in a separate process; next to work of
the control plane (bench/beside_groups.py), it sends the heartbeats of a member of a group and commits offsets. Each row has
one kind of neighbour, which works in three processes. Each row also has a baseline without a neighbour, measured immediately
before it with the same broker: on a loaded machine, only the difference is meaningful.
"""

from __future__ import annotations

import multiprocessing
import os
import socket
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import zstandard

from kafka_cy.records import Record, build_batch
from kafka_cy.records.api import crc32c
from kafka_cy.testing import Broker

NEIGHBOURS = 3
RATE_PER_S = 100
PRODUCE, FETCH = 0, 1


def frame(api_key: int, version: int, body: bytes, *, flexible: bool = False) -> bytes:
    header = struct.pack(">hhih", api_key, version, 1, -1) + (b"\0" if flexible else b"")
    return struct.pack(">i", len(header) + len(body)) + header + body


def string(text: str) -> bytes:
    return struct.pack(">h", len(text)) + text.encode()


def produce_request(topic: str, records: bytes) -> bytes:
    body = struct.pack(">hhii", -1, 1, 30000, 1) + string(topic) + struct.pack(">iii", 1, 0, len(records)) + records
    return frame(PRODUCE, 8, body)


def fetch_request(topic: str, offset: int, size: int = 1 << 20) -> bytes:
    body = struct.pack(">iiiibi", -1, 500, 1, size, 0, 1) + string(topic) + struct.pack(">iiqi", 1, 0, offset, size)
    return frame(FETCH, 4, body)


def exactly(client: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        part = client.recv(min(size - len(data), 1 << 20))
        if not part:
            raise ConnectionError
        data += part
    return bytes(data)


def call(client: socket.socket, request: bytes) -> bytes:
    client.sendall(request)
    return exactly(client, struct.unpack(">i", exactly(client, 4))[0])


def connect(port: int) -> socket.socket:
    client = socket.create_connection(("127.0.0.1", port))
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return client


def quiet(port: int, seconds: float, results: multiprocessing.Queue[list[float]]) -> None:
    """Put the seconds of each produce and of each fetch into `results`."""
    quiet_through(connect(port), seconds, results)


def quiet_through(client: socket.socket, seconds: float, results: multiprocessing.Queue[list[float]]) -> None:
    request = produce_request("quiet", build_batch([Record(value=b"v" * 100)]))
    taken = []
    begun = time.perf_counter()
    for number in range(int(seconds * RATE_PER_S)):
        time.sleep(max(0.0, begun + number / RATE_PER_S - time.perf_counter()))
        before = time.perf_counter()
        answer = call(client, request)
        taken.append(time.perf_counter() - before)
        error, offset = struct.unpack_from(">hq", answer, 4 + 4 + 2 + len("quiet") + 4 + 4)
        assert error == 0, error
        before = time.perf_counter()
        call(client, fetch_request("quiet", offset))
        taken.append(time.perf_counter() - before)
    results.put(taken)


def packed(codec: int, compressor: object, size: int) -> bytes:
    """A batch of one record of `size` zeros."""
    plain = build_batch([Record(value=b"x")])
    chunk = bytes(1 << 20)
    parts = [compressor.compress(b"\x80\x80\x80\x80\x08" + b"\0" * 5)]  # type: ignore[attr-defined]
    parts += [compressor.compress(chunk) for _ in range(size >> 20)]  # type: ignore[attr-defined]
    data = bytearray(plain[:61] + b"".join(parts) + compressor.flush())  # type: ignore[attr-defined]
    struct.pack_into(">i", data, 8, len(data) - 12)
    data[22] = codec
    struct.pack_into(">I", data, 17, crc32c(bytes(data[21:])))
    return bytes(data)


def zstd_bombs(port: int, folder: Path) -> None:
    client = connect(port)
    request = produce_request("bombs", packed(4, zstandard.ZstdCompressor().compressobj(), 1 << 30))
    while True:
        call(client, request)


def gzip_bombs(port: int, folder: Path) -> None:
    client = connect(port)
    request = produce_request("bombs", packed(1, zlib.compressobj(6, zlib.DEFLATED, 31), 300 << 20))
    while True:
        call(client, request)


def recompression(port: int, folder: Path) -> None:
    client = connect(port)
    request = produce_request("recompressed", build_batch([Record(value=os.urandom(900_000))]))
    while True:
        call(client, request)


def cold_readers(port: int, folder: Path) -> None:
    client = connect(port)
    logs = list(folder.rglob("old-0/*.log"))
    while True:
        for path in logs:
            fd = os.open(path, os.O_RDONLY)
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(fd)
        for offset in range(0, 60, 3):
            call(client, fetch_request("old", offset, 4 << 20))


def lying_requests(port: int, folder: Path) -> None:
    lies = [
        struct.pack(">i", 0x7FFFFFFF), b"\xff" * 64, frame(PRODUCE, 8, b"\x7f" * 200), frame(FETCH, 4, struct.pack(">i", -1) * 9),
        frame(PRODUCE, 8, struct.pack(">hhii", -1, 1, 30000, 0x7FFFFFFF)), struct.pack(">i", 90 << 20) + bytes(1 << 20),
    ]
    while True:
        for lie in lies:
            client = connect(port)
            try:
                client.sendall(lie)
                client.settimeout(0.01)
                client.recv(100)
            except OSError:
                pass
            client.close()


def slow_disk(port: int, folder: Path) -> None:
    """Every write to this topic takes 20 ms (slow_disk.c), and so does reading what it drops from the page cache."""
    client = connect(port)
    request = produce_request("slow", build_batch([Record(value=os.urandom(16_000))]))
    logs = list(folder.rglob("slow-0/*.log"))
    while True:
        answer = call(client, request)
        offset = struct.unpack_from(">q", answer, 4 + 4 + 2 + len("slow") + 4 + 4 + 2)[0]
        for path in logs:
            fd = os.open(path, os.O_RDONLY)
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(fd)
        call(client, fetch_request("slow", max(offset - 50, 0)))


Neighbour = Callable[[int, Path], None]
Quiet = Callable[[int, float, "multiprocessing.Queue[list[float]]"], None]


def all_rows() -> list[tuple[Quiet, Neighbour]]:
    from beside_groups import GROUP_NEIGHBOURS, QUIET_MEMBERS

    found: list[tuple[Quiet, Neighbour]] = [
        (quiet, each) for each in (zstd_bombs, gzip_bombs, recompression, cold_readers, lying_requests, slow_disk)
    ]
    return [*found, *((member, each) for member in QUIET_MEMBERS for each in GROUP_NEIGHBOURS)]


@contextmanager
def delayed_disk() -> Iterator[None]:
    """What starts in here has the shim of slow_disk.c."""
    with tempfile.TemporaryDirectory() as folder:
        library = f"{folder}/slow_disk.so"
        source = Path(__file__).with_name("slow_disk.c")
        subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", library, str(source), "-ldl"], check=True)
        os.environ["LD_PRELOAD"] = library
        try:
            yield
        finally:
            os.environ.pop("LD_PRELOAD", None)


def fill(port: int) -> None:
    client = connect(port)
    for _ in range(64):
        call(client, produce_request("old", build_batch([Record(value=os.urandom(1_000_000))])))
    client.close()


def measure(port: int, folder: Path, seconds: float, quiet_client: Quiet, neighbour: Neighbour | None) -> list[float]:
    others = [multiprocessing.Process(target=neighbour, args=(port, folder), daemon=True)
              for _ in range(NEIGHBOURS if neighbour else 0)]
    for each in others:
        each.start()
    time.sleep(1.5 if others else 0.1)
    results: multiprocessing.Queue[list[float]] = multiprocessing.Queue()
    client = multiprocessing.Process(target=quiet_client, args=(port, seconds, results), daemon=True)
    client.start()
    taken = sorted(results.get(timeout=seconds + 120))  # not for ever: the client may have failed
    client.join()
    for each in others:
        each.kill()
        each.join()
    return taken


def milliseconds(taken: list[float]) -> str:
    return "  ".join(f"{1000 * taken[min(int(len(taken) * q), len(taken) - 1)]:8.2f}" for q in (0.5, 0.99, 1.0))


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 8
    with tempfile.TemporaryDirectory() as name, delayed_disk(), Broker(folder=Path(name)) as broker:
        del os.environ["LD_PRELOAD"]       # the clients do without
        client = connect(broker.port)
        for topic, config in (("quiet", {}), ("bombs", {}), ("slow", {}), ("old", {"segment.bytes": "16777216"}),
                              ("recompressed", {"compression.type": "gzip", "compression.gzip.level": "9"})):
            rows = b"".join(string(key) + string(value) for key, value in config.items())
            body = struct.pack(">i", 1) + string(topic) + struct.pack(">ihi", 1, 1, 0)
            body += struct.pack(">i", len(config)) + rows + struct.pack(">ib", 30000, 0)
            call(client, frame(19, 2, body))
        fill(broker.port)
        print(f"{'milliseconds':40s} {'alone: p50':>10s} {'p99':>9s} {'max':>9s}   {'beside: p50':>9s} {'p99':>9s} {'max':>9s}")
        wanted = sys.argv[2:]
        for quiet_client, neighbour in all_rows():
            if wanted and neighbour.__name__ not in wanted:
                continue
            alone = measure(broker.port, Path(name), seconds, quiet_client, None)
            beside = measure(broker.port, Path(name), seconds, quiet_client, neighbour)
            name_of_row = f"{quiet_client.__name__}, {neighbour.__name__}"
            print(f"{name_of_row:40s} {milliseconds(alone)}   {milliseconds(beside)}", flush=True)


if __name__ == "__main__":
    main()
