"""Bad input gets Kafka's response and one log line, closes at most its connection, and changes no stored data.

The error codes are those of Apache Kafka 4.3.1 for the same bytes, unless a comment says otherwise.
"""

from __future__ import annotations

import random
import resource
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from kafka_cy.api.registry import advertised
from kafka_cy.records.api import crc32c
from kafka_cy.testing import Broker
from tests.waiting import wait_until

from . import wire
from .examples import TOPIC as TARGET
from .examples import example_request
from .wire import (
    API_VERSIONS,
    FETCH,
    METADATA,
    PRODUCE,
    Connection,
    batch,
    fetch_body,
    list_offset,
    produce,
    produce_body,
    ready_topic,
    string,
)

TOPIC = "kept"
RESPONSES_BYTES_MAX = 8 << 20
NONE, CORRUPT_MESSAGE, INVALID_RECORD, UNKNOWN_SERVER_ERROR, MESSAGE_TOO_LARGE = 0, 2, 87, -1, 10
VERSIONS = [
    (row.api_key, version, version >= row.flexible_from)
    for row in advertised()
    for version in range(3 if row.api_key == PRODUCE else row.version_min, row.version_max + 1)
]


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """One broker for the whole file: it must survive every test, because the next tests need it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    config = {
        "kafkacy.queued.max.response.bytes": RESPONSES_BYTES_MAX,
        "auto.create.topics.enable": False,
        "num.network.threads": 3,
    }
    # At debug, every line that repeats is written.
    with Broker(config, folder=tmp_path_factory.mktemp("bad-input"), log_level="debug") as started:
        for topic in (TOPIC, TARGET):
            ready_topic(started.port, topic, 2, {"retention.ms": -1})
        assert produce(Connection(started.port), TOPIC, 0, batch([b"a", b"b", b"c"])).error == 0
        yield started
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture(autouse=True)
def unharmed(broker: Broker) -> Iterator[None]:
    """Check that an existing connection still works afterwards, and that the end offsets of the logs are unchanged."""
    connection = Connection(broker.port)
    process, before = broker.pid, ends(connection)
    yield
    assert broker.process is not None and broker.process.poll() is None and broker.pid == process
    assert ends(connection) == before
    assert len(wire.fetch(connection, TOPIC, 0, 0)[2]) > 0
    connection.close()


def ends(connection: Connection) -> list[tuple[int, int]]:
    return [list_offset(connection, TOPIC, index) for index in range(2)]


def await_log_line(broker: Broker, connection: Connection, message: str) -> None:
    """Check that one log line, apart from those at debug level, has the client and the problem."""

    def about_client() -> list[str]:
        lines = broker.log_text().splitlines()
        return [line for line in lines if f"client={connection.name}" in line and " DEBUG " not in line]

    wait_until(lambda: bool(about_client()), f"a log line about {connection.name}")
    lines = about_client()
    assert len(lines) == 1 and message in lines[0] and " WARNING " in lines[0], lines


def rss_bytes(broker: Broker, what: str = "VmRSS") -> int:
    status = Path(f"/proc/{broker.pid}/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith(what + ":"))


HEADER = struct.pack(">hhih", METADATA, 1, 1, -1)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (struct.pack(">i", -1), "negative request size"),
        (struct.pack(">i", 2**31 - 1) + HEADER, "larger than socket.request.max.bytes"),
        (struct.pack(">i", 104857601) + HEADER, "larger than socket.request.max.bytes"),
        (struct.pack(">i", 0), "shorter than its header"),
        (b"\xde\xad\xbe\xef\xde\xad\xbe\xef", "negative request size"),
        (b"GET / HTTP/1.1\r\nHost: kafka\r\n\r\n", "HTTP"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100), "TLS"),
        (struct.pack(">ihhih", 10, 1000, 0, 1, -1), "unknown API key"),
        (struct.pack(">ihhih", 10, -1, 0, 1, -1), "unknown API key"),
        (struct.pack(">ihhih", 10, 4, 0, 1, -1), "unknown API key"),  # LeaderAndIsr is only for brokers
        (struct.pack(">ihhih", 10, METADATA, 99, 1, -1), "unsupported API version"),
        (struct.pack(">ihhih", 10, METADATA, -1, 1, -1), "unsupported API version"),
        (struct.pack(">ihhih", 10, PRODUCE, 2, 1, -1), ""),
        (struct.pack(">ihhih", 10, METADATA, 1, 1, 500), "malformed request header"),
        (struct.pack(">ihhihi", 14, METADATA, 1, 1, -1, 2**31 - 1), "does not parse"),
        (struct.pack(">ihhihib", 15, METADATA, 9, 1, -1, 0x7FFFFFFF, 0), "malformed request"),
    ],
)
def test_closed_with_one_log_line(broker: Broker, data: bytes, message: str) -> None:
    connection = Connection(broker.port)
    connection.send_bytes(data)
    assert connection.receive() is None
    await_log_line(broker, connection, message)
    connection.close()


def test_unknown_version_of_api_versions(broker: Broker) -> None:
    connection = Connection(broker.port)
    answer = connection.ask(API_VERSIONS, 99, b"\0", flexible=True)
    assert struct.unpack_from(">hihhh", answer) == (35, 1, API_VERSIONS, 0, 4)
    connection.close()


@pytest.mark.parametrize("api_key", sorted({key for key, _, _ in VERSIONS}))
def test_truncated_and_trailing(broker: Broker, api_key: int) -> None:
    """A truncated body closes the connection; bytes after a complete body are ignored, as in Kafka."""
    chance = random.Random(api_key)
    probe = Connection(broker.port)
    before = list_offset(probe, TARGET, 0)
    for version, flexible in [(version, flexible) for key, version, flexible in VERSIONS if key == api_key]:
        body = example_request(api_key, version)
        cuts = {0, 1, len(body) - 1, *(chance.randrange(len(body)) for _ in range(9))} if body else set()
        for cut in sorted(cut for cut in cuts if 0 <= cut < len(body)):
            connection = Connection(broker.port)
            connection.send(api_key, version, body[:cut], flexible=flexible)
            assert connection.receive() is None, f"version {version}: {cut} of {len(body)} bytes were answered"
            connection.close()
    assert list_offset(probe, TARGET, 0) == before
    for version, flexible in [(version, flexible) for key, version, flexible in VERSIONS if key == api_key]:
        if api_key == PRODUCE:
            break  # it would be appended; test_trailing_bytes_of_produce covers its trailing bytes
        connection = Connection(broker.port)
        connection.send(api_key, version, example_request(api_key, version) + b"\0trailing\xff", flexible=flexible)
        assert connection.receive() is not None, f"version {version}"
        connection.close()
    probe.close()


def test_trailing_bytes_of_produce(broker: Broker) -> None:
    connection = Connection(broker.port)
    refused = produce_body(TOPIC, {0: b""})
    assert wire.produced(connection.ask(PRODUCE, 7, refused + b"trailing"))[0].error == INVALID_RECORD
    connection.close()


def test_lying_array_lengths(broker: Broker) -> None:
    """Every 4-byte (or varint) position of a request claims millions of elements; nothing is allocated for them."""
    before = rss_bytes(broker)
    for api_key, version, flexible in VERSIONS:
        if api_key == PRODUCE or version not in (max(v for k, v, _ in VERSIONS if k == api_key), 2, 4):
            continue
        body = example_request(api_key, version)
        lie = b"\xfe\xff\xff\xff\x07" if flexible else b"\x7f\xff\xff\xf0"
        for at in range(0, len(body), 3):
            connection = Connection(broker.port, 0.5)
            connection.send(api_key, version, body[:at] + lie + body[at + len(lie) :], flexible=flexible)
            try:
                connection.receive()
            except TimeoutError:
                assert api_key in (FETCH, 11, 14), f"{api_key} v{version} at {at}: neither answered nor closed"
            connection.close()
    assert rss_bytes(broker) - before < 64 << 20


def changed(at: int, format_: str, value: int, *, seal: bool = True) -> bytes:
    """A batch of two records with one field overwritten; `seal` corrects the checksum."""
    data = bytearray(batch([b"a", b"b"]))
    struct.pack_into(format_, data, at, value)
    if seal:
        struct.pack_into(">I", data, wire.CRC_AT, crc32c(bytes(data[wire.ATTRIBUTES_AT :])))
    return bytes(data)


@pytest.mark.parametrize(
    ("records", "error"),
    [
        (b"", INVALID_RECORD),
        (None, INVALID_RECORD),  # Kafka fails on it and sends no response
        (batch() + batch(), INVALID_RECORD),
        (batch()[:-1], INVALID_RECORD),
        (batch()[:60], INVALID_RECORD),
        (batch()[:5], INVALID_RECORD),
        (changed(16, ">b", 0), INVALID_RECORD),
        (changed(16, ">b", 1), INVALID_RECORD),
        (changed(16, ">b", 3), CORRUPT_MESSAGE),
        (changed(16, ">b", -1), CORRUPT_MESSAGE),
        (changed(17, ">I", 7, seal=False), CORRUPT_MESSAGE),
        (changed(8, ">i", -1), CORRUPT_MESSAGE),
        (changed(8, ">i", 10), CORRUPT_MESSAGE),
        (changed(8, ">i", 1 << 20), INVALID_RECORD),
        (changed(21, ">h", 0x20), INVALID_RECORD),  # a control batch
        (changed(21, ">h", 5), UNKNOWN_SERVER_ERROR),  # an unknown codec
        (changed(21, ">h", 7), UNKNOWN_SERVER_ERROR),
        (changed(21, ">h", 1), UNKNOWN_SERVER_ERROR),  # not gzip
        (changed(21, ">h", 2), UNKNOWN_SERVER_ERROR),  # not snappy
        (changed(21, ">h", 3), UNKNOWN_SERVER_ERROR),  # not lz4
        (changed(21, ">h", 4), UNKNOWN_SERVER_ERROR),  # not zstd
        (changed(23, ">i", -1), INVALID_RECORD),  # last offset delta
        (changed(23, ">i", 7), INVALID_RECORD),
        (changed(23, ">i", 2**31 - 1), INVALID_RECORD),
        (changed(57, ">i", -1), INVALID_RECORD),  # records count
        (changed(57, ">i", 0), INVALID_RECORD),
        (changed(57, ">i", 1), INVALID_RECORD),
        (changed(57, ">i", 2**31 - 1), INVALID_RECORD),
        (changed(0, ">q", 99), INVALID_RECORD),  # base offset
        (changed(0, ">q", -5), INVALID_RECORD),
        (changed(43, ">q", 5), INVALID_RECORD),  # a producer id without a sequence
        (changed(61, ">b", 0), INVALID_RECORD),  # the first record's length
        (changed(61, ">b", 0x7F), INVALID_RECORD),
    ],
)
def test_bad_batches(broker: Broker, records: bytes | None, error: int) -> None:
    connection = Connection(broker.port)
    for acks in (1, -1):
        assert produce(connection, TOPIC, 0, records, acks) == (error, -1)
    connection.close()
    silent = Connection(broker.port)
    silent.send(PRODUCE, 7, produce_body(TOPIC, {0: records}, acks=0))
    assert silent.receive() is None, "acks=0 tells of an error by closing"
    silent.close()


def test_random_damage_to_batches(broker: Broker) -> None:
    """One flipped byte anywhere is detected, except in the field that the broker overwrites (leader epoch)."""
    chance = random.Random(5)
    connection = Connection(broker.port)
    for codec in ("none", "gzip", "snappy", "lz4", "zstd"):
        whole = batch([b"some value"] * 20, compression=codec)
        for _ in range(60):
            data = bytearray(whole)
            at = chance.choice([at for at in range(len(data)) if not 12 <= at < 16])
            data[at] ^= 1 << chance.randrange(8)
            assert produce(connection, TOPIC, 1, bytes(data)).error in (CORRUPT_MESSAGE, INVALID_RECORD), at
            if at > wire.ATTRIBUTES_AT:  # the same with a correct checksum must not crash the broker
                struct.pack_into(">I", data, wire.CRC_AT, crc32c(bytes(data[wire.ATTRIBUTES_AT :])))
                produce(connection, TARGET, 1, bytes(data) + b"\0")
    connection.close()


def test_invalid_utf8(broker: Broker) -> None:
    connection = Connection(broker.port)
    answer = connection.ask(METADATA, 1, struct.pack(">i", 1) + string(b"\xff\xfe"))
    replaced = "\N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}"
    assert struct.pack(">h", 17) + string(replaced) in answer, "INVALID_TOPIC_EXCEPTION"
    connection.send(METADATA, 1, struct.pack(">i", 0), client_id=b"\xff\n\x1b[31m\0")
    assert connection.receive() is not None
    assert wire.create_topic(connection, TOPIC.encode() + b"\xff") == 17
    assert wire.find_coordinator(connection, b"\xc3\x28") in (0, 15)
    body = produce_body(TOPIC, {0: batch()}).replace(TOPIC.encode(), b"k\xffpt")
    assert connection.ask(PRODUCE, 7, body)
    connection.close()
    assert "\x1b" not in broker.log_text()


def test_a_client_that_stops_reading(broker: Broker) -> None:
    """A client requests gigabytes and reads nothing: the process stays within its limit for responses."""
    maker = Connection(broker.port)
    assert wire.create_topic(maker, "wide", 1000) == 0
    wait_until(lambda: list_offset(maker, "wide", 999)[0] == 0, "partitions")
    before = rss_bytes(broker)
    deaf = [Connection(broker.port, 0.3, receive_buffer=4096) for _ in range(20)]
    metadata = struct.pack(">i", -1)
    for connection in deaf:
        try:
            for _ in range(300):
                connection.send(METADATA, 1, metadata)
                connection.send(FETCH, 4, fetch_body(TOPIC, {0: 0}))
        except TimeoutError:
            pass  # as intended, the broker stops reading from a client that does not read
    grown = rss_bytes(broker) - before
    assert grown < 4 * RESPONSES_BYTES_MAX, f"{grown >> 20} MiB"
    assert list_offset(maker, TOPIC, 0) == (0, 3)
    for connection in deaf:
        connection.close()
    maker.close()


def test_thousands_of_half_open_connections(broker: Broker) -> None:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    count = min(4000, soft - 500)
    assert count > 500, "RLIMIT_NOFILE is too low for this test"
    before = rss_bytes(broker)
    parts = [b"", b"\0", b"\0\0\0", struct.pack(">i", 90_000_000) + HEADER, struct.pack(">i", 500) + HEADER[:5]]
    held = []
    for i in range(count):
        held.append(Connection(broker.port))
        held[-1].send_bytes(parts[i % len(parts)])
    connection = Connection(broker.port)
    for _ in range(100):
        assert list_offset(connection, TOPIC, 0) == (0, 3)
    assert rss_bytes(broker) - before < 200 << 20
    for each in held:
        each.close()
    connection.close()


def test_log_lines_are_limited(broker: Broker) -> None:
    before = broker.log_text().count("\n")
    begun = time.monotonic()
    for _ in range(10):
        # All at once: on a busy machine, one after the other might be slower than the limit.
        opened = [Connection(broker.port) for _ in range(200)]
        for connection in opened:
            connection.send_bytes(b"\xff\xff\xff\xff")
        for connection in opened:
            assert connection.receive() is None
            connection.close()
    wait_until(lambda: "suppressed" in broker.log_text(), "a line that counts the suppressed ones")
    seconds = time.monotonic() - begun
    assert broker.log_text().count("\n") - before < 60 * (seconds + 2)
