"""Counts the processor instructions that a broker's reactor takes for a request, with valgrind's callgrind. Prints a table.

    .venv/bin/python bench/instructions.py [--authorizer] [NAME of a row]...

Unlike times, the counts hardly depend on what else the machine does. They include what happens in the process from epoll's
return to the sent response, and nothing of the kernel. Each row is measured in two ways: one request at a time (`alone`), and
32 requests that arrive together, so that they share the turn of the reactor. callgrind_control must be in the PATH.

The rows of quotas compare a client that has a quota (a generous one) with a client of a broker that has no quotas at all; the
rows of Produce compare batches of a producer that is idempotent with the same batches of one that is not. With --authorizer the
broker has one, and the client needs its ACLs. Of a request that goes to the control plane, as those of transactions, its thread
counts.
"""

from __future__ import annotations

import itertools
import math
import re
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from kafka_cy.records import Record, build_batch
from kafka_cy.records.api import crc32c
from kafka_cy.testing import Broker

TOGETHER = 32
ROUNDS = 60  # of TOGETHER requests
REPEATS = 3  # the smallest count is that of the usual path: under valgrind, an append may look slow (storage/slow_disk)
WARM_UP_ROUNDS = 4
CLIENT_ID = "kafka-cy-bench"
PRODUCE, FETCH, METADATA, OFFSET_COMMIT, FIND_COORDINATOR, HEARTBEAT, API_VERSIONS = 0, 1, 3, 8, 10, 12, 18
JOIN_GROUP, SYNC_GROUP, CREATE_TOPICS, INIT_PRODUCER_ID, CREATE_ACLS, ALTER_CLIENT_QUOTAS = 11, 14, 19, 22, 30, 49
ADD_PARTITIONS_TO_TXN, END_TXN = 24, 26
TRANSACTIONAL_ID, TRANSACTION_PARTITIONS = "transaction", 4
AUTHORIZER = {
    "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    "allow.everyone.if.no.acl.found": True,  # so that the client may create ACLs
}

Requests = Iterator[bytes]


class CountedBroker(Broker):
    """A broker under callgrind, which counts only between `begin` and `end`."""

    def __init__(self, folder: Path, more: dict[str, object]) -> None:
        settings = {"num.network.threads": 1, "offsets.topic.num.partitions": 1, "transaction.state.log.num.partitions": 1, **more}
        super().__init__(settings, folder=folder, start_timeout_s=300)

    def command(self) -> list[str]:
        out = self.folder / "callgrind.out"
        options = ["--tool=callgrind", "--instr-atstart=no", "--separate-threads=yes", f"--callgrind-out-file={out}"]
        return ["valgrind", "-q", *options, *super().command()]

    def control(self, *arguments: str) -> None:
        command = ["callgrind_control", *arguments, str(self.pid)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def begin(self) -> None:
        self.control("-z")
        self.control("-i", "on")

    def end(self) -> int:
        """Instructions of the busiest thread, which is the reactor if it answers."""
        self.control("-d")
        self.control("-i", "off")
        return max(self._dumped())

    def _dumped(self) -> Iterator[int]:
        for path in self.folder.glob("callgrind.out.*"):
            found = re.search(r"^(?:totals|summary): (\d+)", path.read_text(errors="replace"), re.MULTILINE)
            yield int(found[1]) if found else 0
            path.unlink()


def string(text: str) -> bytes:
    return struct.pack(">h", len(text)) + text.encode()


def frame(api_key: int, version: int, body: bytes, *, flexible: bool = False) -> bytes:
    header = struct.pack(">hhi", api_key, version, 1) + string(CLIENT_ID) + (b"\0" if flexible else b"")
    return struct.pack(">i", len(header) + len(body)) + header + body


class Client:
    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=120)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.input = self.socket.makefile("rb")

    def receive(self) -> bytes:
        (size,) = struct.unpack(">i", self.input.read(4))
        return self.input.read(size)

    def ask(self, request: bytes) -> bytes:
        self.socket.sendall(request)
        return self.receive()

    def ask_together(self, requests: list[bytes]) -> None:
        self.socket.sendall(b"".join(requests))
        for _ in requests:
            self.receive()


# -- requests --


def same(request: bytes) -> Requests:
    return itertools.repeat(request)


def with_producer(batch: bytes, producer_id: int, sequence: int) -> bytes:
    (last_delta,) = struct.unpack_from(">i", batch, 23)
    data = bytearray(batch)
    struct.pack_into(">qhi", data, 43, producer_id, 0, sequence * (last_delta + 1))
    struct.pack_into(">I", data, 17, crc32c(bytes(data[21:])))
    return bytes(data)


def produced(topic: str, batch: bytes, acks: int, producer_id: int = -1) -> Requests:
    for number in itertools.count():
        records = with_producer(batch, producer_id, number) if producer_id >= 0 else batch
        body = struct.pack(">hhii", -1, acks, 30000, 1) + string(topic) + struct.pack(">iii", 1, 0, len(records)) + records
        yield frame(PRODUCE, 7, body)


def fetched(topic: str, offset: int) -> Requests:
    body = struct.pack(">iiiibi", -1, 0, 0, 200, 0, 1) + string(topic) + struct.pack(">iiqi", 1, 0, offset, 200)
    return same(frame(FETCH, 4, body))


def committed(group: str, topic: str) -> Requests:
    body = string(group) + struct.pack(">i", -1) + string("") + struct.pack(">qi", -1, 1) + string(topic)
    return same(frame(OFFSET_COMMIT, 2, body + struct.pack(">iiqh", 1, 0, 1, -1)))


def transacted(topic: str, producer_id: int) -> Requests:
    """A transaction is two requests here: nothing is produced in it, but its partitions get their markers."""
    producer = string(TRANSACTIONAL_ID) + struct.pack(">qh", producer_id, 0)
    indexes = range(TRANSACTION_PARTITIONS)
    partitions = struct.pack(">i", 1) + string(topic) + struct.pack(f">i{len(indexes)}i", len(indexes), *indexes)
    add, end = frame(ADD_PARTITIONS_TO_TXN, 0, producer + partitions), frame(END_TXN, 1, producer + b"\1")
    return itertools.cycle((add, end))


def batch_of(records: int, size: int) -> bytes:
    return build_batch([Record(key=None, value=b"v" * size, timestamp_ms=int(time.time() * 1000)) for _ in range(records)])


# -- set-up --


def create_topic(client: Client, name: str, partitions: int = 1) -> None:
    body = struct.pack(">i", 1) + string(name) + struct.pack(">ihiiib", partitions, 1, 0, 0, 30000, 0)
    client.ask(frame(CREATE_TOPICS, 2, body))


def producer_id(client: Client, transactional_id: str | None = None) -> int:
    name = struct.pack(">h", -1) if transactional_id is None else string(transactional_id)
    if transactional_id is not None:
        while struct.unpack_from(">h", client.ask(frame(FIND_COORDINATOR, 1, name + b"\1")), 8)[0]:  # which creates the topic
            time.sleep(0.1)
    while True:
        answer = client.ask(frame(INIT_PRODUCER_ID, 0, name + struct.pack(">i", 600_000)))
        _, error, found = struct.unpack_from(">ihq", answer, 4)
        if not error:
            return int(found)
        time.sleep(0.1)


def member(client: Client) -> Requests:
    """Heartbeats of the only member of a classic group."""
    group = "beats"
    while struct.unpack_from(">h", client.ask(frame(FIND_COORDINATOR, 0, string(group))), 4)[0]:
        time.sleep(0.1)
    body = string(group) + struct.pack(">i", 1_000_000) + string("") + string("consumer") + struct.pack(">i", 1)
    while True:
        answer = client.ask(frame(JOIN_GROUP, 0, body + string("range") + struct.pack(">i", 0)))
        error, generation = struct.unpack_from(">hi", answer, 4)
        if not error:
            break
        time.sleep(0.1)
    at = 10
    for _ in range(3):
        (size,) = struct.unpack_from(">h", answer, at)
        name = answer[at + 2 : at + 2 + size].decode()
        at += 2 + size
    body = string(group) + struct.pack(">i", generation) + string(name) + struct.pack(">i", 1) + string(name)
    client.ask(frame(SYNC_GROUP, 0, body + struct.pack(">i", 0)))
    return same(frame(HEARTBEAT, 1, string(group) + struct.pack(">i", generation) + string(name)))


def allow_all(client: Client) -> None:
    """ACLs on all topics and groups, of which no other principal has one."""
    topic, group, literal, everything, allow = 2, 3, 3, 2, 3
    creations = b"".join(
        struct.pack(">b", kind) + string("*") + struct.pack(">b", literal) + string("User:ANONYMOUS") + string("*")
        + struct.pack(">bb", everything, allow)
        for kind in (topic, group)
    )  # fmt: skip
    answer = client.ask(frame(CREATE_ACLS, 1, struct.pack(">i", 2) + creations))
    assert struct.unpack_from(">h", answer, 12)[0] == 0, answer


QUOTAS = {"none": {}, "bytes": {"producer_byte_rate": 1e15, "consumer_byte_rate": 1e15}, "time": {"request_percentage": 1e9}}
ALL_KEYS = ("producer_byte_rate", "consumer_byte_rate", "request_percentage")


def set_quotas(client: Client, limits: dict[str, float]) -> None:
    entity = struct.pack(">i", 1) + string("client-id") + string(CLIENT_ID)
    ops = b"".join(string(key) + struct.pack(">db", limits.get(key, 0.0), key not in limits) for key in ALL_KEYS)
    body = struct.pack(">i", 1) + entity + struct.pack(">i", len(ALL_KEYS)) + ops + b"\0"
    answer = client.ask(frame(ALTER_CLIENT_QUOTAS, 0, body))
    assert struct.unpack_from(">h", answer, 12)[0] == 0, answer


# -- measuring --


def count(broker: CountedBroker, client: Client, requests: Requests, together: int) -> float:
    """Instructions of one request."""
    for _ in range(WARM_UP_ROUNDS):
        client.ask_together([next(requests) for _ in range(together)])
    rounds = ROUNDS * (1 if together > 1 else 4)
    prepared = [[next(requests) for _ in range(together)] for _ in range(rounds)]
    broker.begin()
    for each in prepared:
        client.ask_together(each)
    return broker.end() / (rounds * together)


def rows(client: Client) -> dict[str, Requests]:
    for topic in ("plain", "idempotent", "small", "small-idempotent", "fetched"):
        create_topic(client, topic)
    create_topic(client, "transactions", TRANSACTION_PARTITIONS)
    one, many = batch_of(1, 100), batch_of(150, 100)
    for _ in range(8):
        client.ask(next(produced("fetched", one, 1)))
    return {
        "ApiVersions": same(frame(API_VERSIONS, 0, b"")),
        "Heartbeat": member(client),
        "Metadata of no topic": same(frame(METADATA, 4, struct.pack(">ib", 0, 0))),
        "OffsetCommit": committed("commits", "plain"),
        "Fetch of one record": fetched("fetched", 3),
        "Produce of one record": produced("small", one, 1),
        "Produce of one record, idempotent": produced("small-idempotent", one, 1, producer_id(client)),
        "Produce of 16 KiB, acks=all": produced("plain", many, -1),
        "Produce of 16 KiB, acks=all, idempotent": produced("idempotent", many, -1, producer_id(client)),
        "AddPartitionsToTxn of 4, EndTxn": transacted("transactions", producer_id(client, TRANSACTIONAL_ID)),
    }


def main(names: list[str]) -> None:
    has_authorizer = "--authorizer" in names
    names = [name for name in names if name != "--authorizer"]
    more: dict[str, object] = AUTHORIZER if has_authorizer else {}
    with tempfile.TemporaryDirectory(prefix="kafka-cy-instructions-") as folder, CountedBroker(Path(folder), more) as broker:
        if has_authorizer:
            allow_all(Client(broker.port))
        measure(broker, names)


def measure(broker: CountedBroker, names: list[str]) -> None:
    client = Client(broker.port)
    chosen = {label: each for label, each in rows(client).items() if not names or any(name in label for name in names)}
    for _ in range(30):
        for requests in chosen.values():
            client.ask(next(requests))
    print(f"{'instructions of a request':52} {'no quota':>9} {'bytes':>8} {'time':>8}")
    for label, requests in chosen.items():
        for together in (1, TOGETHER):
            figures = dict.fromkeys(QUOTAS, math.inf)
            for quota, limits in [*QUOTAS.items()] * REPEATS:
                set_quotas(client, limits)
                figures[quota] = min(figures[quota], count(broker, client, requests, together))
            set_quotas(client, {})
            base = figures["none"]
            shares = [f"{figures[quota] / base - 1:+8.2%}" for quota in ("bytes", "time")]
            way = "alone" if together == 1 else "together"
            print(f"{label:42} {way:9} {base:9.0f} {' '.join(shares)}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
