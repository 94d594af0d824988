"""The memory of a broker with thousands of TLS handshakes that are not finished: a bounded part for each, which is used again."""

from __future__ import annotations

import resource
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from kafka_cy.testing import Broker
from kafka_cy.testing.broker import free_ports
from tests.certificates import Authority
from tests.waiting import wait_until

COUNT = 2000
LISTENS, NOBODYS = "0A", "0"  # a state, and the inode of a socket that was closed or not accepted yet
BEGUN, ANSWERED = "a ClientHello without its end", "a whole one, and then no word"
KIB_MAX = 64  # of memory for each; docs/limits.md says 50, and the allocator keeps some more


@pytest.fixture
def tls_port() -> int:
    return free_ports(1)[0]


@pytest.fixture
def broker(tmp_path_factory: pytest.TempPathFactory, tls_port: int) -> Iterator[Broker]:
    """One for each kind, which does not use the memory of the other kind."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 2 * COUNT:
        pytest.skip("too few file descriptors")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    authority = Authority(tmp_path_factory.mktemp("certificates"))
    (plain,) = free_ports(1)
    config = {
        "listeners": f"PLAINTEXT://127.0.0.1:{plain},SSL://127.0.0.1:{tls_port}", "num.network.threads": 1,
        **authority.broker_config(),
    }  # fmt: skip
    started = Broker(config, folder=tmp_path_factory.mktemp("half-handshakes"))
    started.port, (started.metrics_port, started.lag_port) = plain, free_ports(2)
    with started:
        yield started
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def rss_kib(broker: Broker) -> int:
    status = Path(f"/proc/{broker.pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:"))


def clients(port: int) -> tuple[int, int]:
    """How many connections to the port the broker has, and from how many of them it has something to read."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    own = [row for row in rows if row[1].endswith(f":{port:04X}") and row[3] != LISTENS and row[9] != NOBODYS]
    return len(own), sum(not row[4].endswith(":00000000") for row in own)


def hello() -> bytes:
    context = ssl.create_default_context()
    session = context.wrap_bio(ssl.MemoryBIO(), outgoing := ssl.MemoryBIO(), server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        session.do_handshake()
    return outgoing.read()


def wave(broker: Broker, port: int, kind: str) -> int:
    """What the process holds with COUNT of them, in KiB; afterwards they are gone."""
    wait_until(lambda: clients(port) == (0, 0), "the end of others")
    opened, data = [], hello()
    for _ in range(COUNT):
        opened.append(socket.create_connection(("127.0.0.1", port), timeout=60))
        opened[-1].sendall(data if kind == ANSWERED else data[:-1])
        if kind == ANSWERED:
            assert opened[-1].recv(1, socket.MSG_PEEK), "the answer, which stays unread"
    wait_until(lambda: clients(port) == (COUNT, 0), "all are read")
    held = rss_kib(broker)
    for each in opened:
        each.close()
    wait_until(lambda: clients(port) == (0, 0), "their end")
    return held


@pytest.mark.parametrize("kind", [BEGUN, ANSWERED])
def test_memory(broker: Broker, tls_port: int, kind: str) -> None:
    for _ in range(20):  # so that the allocator and OpenSSL have what they need once
        with socket.create_connection(("127.0.0.1", tls_port), timeout=60) as client:
            client.sendall(hello())
            client.recv(1)
    before = rss_kib(broker)
    first = wave(broker, tls_port, kind)
    second = wave(broker, tls_port, kind)
    print(f"{kind}: {(first - before) / COUNT:.1f} KiB each, with as many again {(second - before) / COUNT:.1f}")
    assert first - before < KIB_MAX * COUNT
    assert second - first < (first - before) // 4, "the second wave uses the memory of the first one"
