"""One client makes the broker keep as many groups and transactional ids as it can: the memory is what the limits count."""

from __future__ import annotations

import contextlib
import os
import struct
import urllib.request
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from kafka_cy.coordinator.group_limits import group_bytes
from kafka_cy.coordinator.transactions.limits import TRANSACTION_BYTES_MAX, id_bytes
from kafka_cy.testing import Broker
from tests.waiting import wait_until

from .test_memory_limits import quiet_client_is_answered, rss_bytes
from .wire import INIT_PRODUCER_ID, OFFSET_COMMIT, Connection, await_coordinator, commit_offset, ready_topic, string

IDS = int(os.environ.get("MANY_IDS", "20000"))  # MANY_IDS=100000 takes a minute or two
TOGETHER = 1000  # requests that are sent before the first response is read
MIB = 1 << 20
TOPIC = "quiet"
POLICY_VIOLATION = 44
FIND_COORDINATOR = 10
WIDE = "\U0001f600" * 8000  # four bytes for each character, 32,000 in all


@contextlib.contextmanager
def started(folder: Path, **settings: object) -> Iterator[Broker]:
    """A broker whose coordinators respond."""
    with Broker({key.replace("_", "."): value for key, value in settings.items()}, folder=folder) as broker:
        ready_topic(broker.port, TOPIC)
        client = Connection(broker.port)
        await_coordinator(client, "quiet-group", TOPIC)
        assert commit_offset(client, "quiet-group", TOPIC, 0, 0) == 0
        find = string("first") + b"\1"  # it creates the topic of transactions
        wait_until(lambda: struct.unpack_from(">h", client.ask(FIND_COORDINATOR, 1, find), 4) == (0,), "the coordinator")
        wait_until(lambda: init(client, ["first"]) == [0], "the coordinator responds")
        yield broker


def metric(broker: Broker, name: str) -> float:
    with urllib.request.urlopen(broker.metrics_url, timeout=60) as page:
        lines = page.read().decode().splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith((name + " ", name + "{")))


def ask_all(client: Connection, api_key: int, version: int, bodies: Iterable[bytes]) -> Iterator[bytes]:
    """Many requests on one connection."""
    sent = 0
    for body in bodies:
        client.send(api_key, version, body)
        sent += 1
        if sent == TOGETHER:
            yield from answers(client, sent)
            sent = 0
    yield from answers(client, sent)


def answers(client: Connection, count: int) -> Iterator[bytes]:
    for _ in range(count):
        answer = client.receive()
        assert answer is not None
        yield answer


def commit(client: Connection, groups: Iterable[str], metadata: str = "") -> list[int]:
    """Commit one offset of each group; return the errors."""
    rest = struct.pack(">i", -1) + string("") + struct.pack(">qi", -1, 1) + string(TOPIC)
    rest += struct.pack(">iiq", 1, 0, 1) + string(metadata)
    at = 4 + 2 + len(TOPIC) + 4
    found = ask_all(client, OFFSET_COMMIT, 2, (string(group) + rest for group in groups))
    return [struct.unpack_from(">ih", answer, at)[1] for answer in found]


def init(client: Connection, ids: Iterable[str]) -> list[int]:
    """InitProducerId for each transactional id; return the errors."""
    found = ask_all(client, INIT_PRODUCER_ID, 1, (string(each) + struct.pack(">i", 60_000) for each in ids))
    return [struct.unpack_from(">ih", answer)[1] for answer in found]


def test_many_groups_that_commit(tmp_path: Path) -> None:
    with started(tmp_path) as broker:
        client = Connection(broker.port)
        assert set(commit(client, (f"before-{number}" for number in range(1000)))) == {0}
        before = rss_bytes(broker)
        names = ("kafkacy_group_bytes", "kafkacy_committed_offset_bytes")
        counted = [metric(broker, name) for name in names]
        groups = [f"group-{number}" for number in range(IDS)]
        assert set(commit(client, groups, "m" * 100)) == {0}
        grown = rss_bytes(broker) - before
        of_groups, of_offsets = (metric(broker, name) - then for name, then in zip(names, counted, strict=True))
        assert of_groups == sum(map(group_bytes, groups)) and 100 * IDS < of_offsets < 1000 * IDS
        assert grown <= 1.1 * (of_groups + of_offsets) + 16 * MIB, (grown, of_groups, of_offsets)
        assert set(commit(client, groups, "m" * 100)) == {0}, "reactors store these"
        assert rss_bytes(broker) - before <= grown + 16 * MIB
        quiet_client_is_answered(broker)


def test_many_transactional_ids(tmp_path: Path) -> None:
    with started(tmp_path) as broker:
        client = Connection(broker.port)
        assert set(init(client, (f"before-{number}" for number in range(1000)))) == {0}
        before = rss_bytes(broker)
        ids = [f"transactional-{number}" for number in range(IDS)]
        assert set(init(client, ids)) == {0}
        grown = rss_bytes(broker) - before
        assert grown <= 1.1 * sum(map(id_bytes, ids)) + 16 * MIB, (grown, sum(map(id_bytes, ids)))
        assert metric(broker, "kafkacy_transactional_ids") == IDS + 1001
        quiet_client_is_answered(broker)


@pytest.mark.parametrize("pad", ["g" * 32_000, WIDE], ids=["narrow", "wide"])
def test_long_group_ids_fill_the_limit(tmp_path: Path, pad: str) -> None:
    limit = 64 * MIB
    with started(tmp_path, kafkacy_groups_max_bytes=limit) as broker:
        client = Connection(broker.port)
        before, count = rss_bytes(broker), limit // group_bytes(f"1000{pad}") + 100
        errors = commit(client, (f"{number:04}{pad}" for number in range(count)))
        accepted = errors.index(POLICY_VIOLATION)
        assert set(errors[:accepted]) == {0} and set(errors[accepted:]) == {POLICY_VIOLATION}
        assert limit - group_bytes(f"1000{pad}") < metric(broker, "kafkacy_group_bytes") <= limit
        assert rss_bytes(broker) - before <= limit + 32 * MIB
        assert metric(broker, "kafkacy_group_requests_refused_total") == count - accepted
        assert commit_offset(client, f"0000{pad}", TOPIC, 0, 2) == 0, "a group that exists goes on"
        quiet_client_is_answered(broker)
        assert broker.log_text().count("there are too many groups") == 1
        broker.kill()
        broker.start()
        client = Connection(broker.port)
        await_coordinator(client, f"0000{pad}", TOPIC)
        assert commit_offset(client, f"0000{pad}", TOPIC, 0, 3) == 0


def test_offsets_fill_the_limit(tmp_path: Path) -> None:
    limit = 16 * MIB
    with started(tmp_path, kafkacy_committed_offsets_max_bytes=limit) as broker:
        client = Connection(broker.port)
        before = rss_bytes(broker)
        errors = commit(client, (f"group-{number}" for number in range(6000)), "m" * 4000)
        accepted = errors.index(POLICY_VIOLATION)
        assert 3000 < accepted < 4200 and set(errors[:accepted]) == {0} and set(errors[accepted:]) == {POLICY_VIOLATION}
        assert limit <= metric(broker, "kafkacy_committed_offset_bytes") <= limit + 10_000
        assert rss_bytes(broker) - before <= limit + accepted * group_bytes("group-1000") + 32 * MIB
        assert metric(broker, "kafkacy_group_requests_refused_total") == len(errors) - accepted
        quiet_client_is_answered(broker)
        assert broker.log_text().count("committed offsets take too much memory") == 1


def test_long_transactional_ids_fill_the_limit(tmp_path: Path) -> None:
    with started(tmp_path) as broker:
        client = Connection(broker.port)
        before, count = rss_bytes(broker), TRANSACTION_BYTES_MAX // id_bytes(f"1000{WIDE}") + 100
        errors = init(client, (f"{number:04}{WIDE}" for number in range(count)))
        accepted = errors.index(POLICY_VIOLATION)
        assert set(errors[:accepted]) == {0} and set(errors[accepted:]) == {POLICY_VIOLATION}
        assert TRANSACTION_BYTES_MAX // id_bytes(f"1000{WIDE}") - 2 <= accepted
        assert rss_bytes(broker) - before <= TRANSACTION_BYTES_MAX + 32 * MIB
        assert init(client, [f"0000{WIDE}"]) == [0], "one that exists goes on"
        quiet_client_is_answered(broker)
        assert broker.log_text().count("a limit of the transaction coordinator is reached") == 1
