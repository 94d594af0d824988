"""TLS handshakes in job threads: who waits for whom, and what becomes of those whose connection or listener ends meanwhile."""

from __future__ import annotations

import contextlib
import itertools
import random
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest_network import ECHO, Harness, frame

from kafka_cy.network import jobs
from kafka_cy.network.tls import TlsContext
from tests.certificates import Authority
from tests.waiting import wait_until

Make = Callable[..., Harness]
SHARE = 7  # places of a client: 1/64 of queued_requests_max
ONE_PLACE = 64  # queued_requests_max
TOKEN_BYTES_MAX = 1000
API_VERSIONS = 18

pytestmark = pytest.mark.parametrize("harness", ["TLS"], indirect=True)


@pytest.fixture(autouse=True)
def unpaused_jobs() -> Iterator[None]:
    yield
    jobs.resume_jobs()


class Shaking:
    """A client that does its handshake step by step."""

    def __init__(self, made: Harness, tls: ssl.SSLContext | None = None) -> None:
        self.socket = socket.create_connection(("127.0.0.1", made.port), timeout=60)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = tls or made.client_tls
        assert tls is not None
        self.session = tls.wrap_bio(self.incoming, self.outgoing, server_hostname="localhost")

    def hello(self) -> Shaking:
        with pytest.raises(ssl.SSLWantReadError):
            self.session.do_handshake()
        self.socket.sendall(self.outgoing.read())
        return self

    def finish(self, data: bytes = b"") -> None:
        """The rest of the handshake; `data` leaves in the same segments as its last message."""
        while True:
            try:
                self.session.do_handshake()
                break
            except ssl.SSLWantReadError:
                if self.outgoing.pending:
                    self.socket.sendall(self.outgoing.read())
                self._receive()
        for at in range(0, len(data), 10_000):
            self.session.write(data[at : at + 10_000])
        self.socket.sendall(self.outgoing.read())

    def read(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            try:
                data += self.session.read(size - len(data))
            except ssl.SSLWantReadError:
                self._receive()
        return data

    def _receive(self) -> None:
        data = self.socket.recv(65536)
        if not data:
            raise EOFError
        self.incoming.write(data)

    def is_served(self) -> bool:
        self.finish(frame(ECHO, b"served"))
        return self.read(4 + 4 + 6).endswith(b"served")

    def answered(self) -> bool:
        """Whether the broker has sent something; it stays unread."""
        self.socket.setblocking(False)
        try:
            return bool(self.socket.recv(1, socket.MSG_PEEK))
        except BlockingIOError:
            return False
        finally:
            self.socket.settimeout(60)

    def reset(self) -> None:
        """Close the connection with a reset."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, bytes([1, 0, 0, 0, 0, 0, 0, 0]))
        self.socket.close()

    def is_closed(self) -> bool:
        try:
            return self.socket.recv(65536) == b""
        except ConnectionError:
            return True


def waiting() -> int:
    return jobs.waiting_by_kind()["tls-handshake"]


def test_handshakes_wait_and_others_do_not(harness: Make) -> None:
    """As many as a client may have are in the queue, and the others stay unread. All of them are served in the end."""
    made = harness(1)
    before = made.client()
    assert before.ask(ECHO, b"ok") == b"ok"
    jobs.pause_jobs()
    clients = [Shaking(made).hello() for _ in range(20)]
    made.wait_for_counter("paused", 20 - SHARE)
    assert waiting() == SHARE
    assert before.ask(ECHO, b"ok") == b"ok"
    assert not any(client.answered() for client in clients)
    jobs.resume_jobs()
    assert all(client.is_served() for client in clients)


def test_first_come_first_served(harness: Make) -> None:
    made = harness(1, queued_requests_max=ONE_PLACE)
    jobs.pause_jobs()
    clients = []
    for count in range(10):
        clients.append(Shaking(made).hello())
        made.wait_for_counter("paused", count)
    assert waiting() == 1
    for count in range(1, 11):
        jobs.let_jobs_begin(1)
        wait_until(lambda count=count: clients[count - 1].answered(), "the next one is answered")
        assert [client.answered() for client in clients] == [True] * count + [False] * (10 - count)
        wait_until(lambda count=count: waiting() == (count < 10), "the place is taken")


def test_who_has_begun_comes_before_who_begins(harness: Make) -> None:
    """Its second step does not wait behind the first steps of all others."""
    made = harness(1, queued_requests_max=ONE_PLACE)
    begun = Shaking(made).hello()
    wait_until(begun.answered, "it is answered")
    jobs.pause_jobs()
    clients = [Shaking(made).hello() for _ in range(10)]
    made.wait_for_counter("paused", 9)
    begun.finish(frame(ECHO, b"served"))
    wait_until(lambda: waiting() == 2, "one of the others, and the one that has begun")
    jobs.let_jobs_begin(2)
    assert begun.read(4 + 4 + 6).endswith(b"served")
    assert sum(client.answered() for client in clients) == 1


def test_who_has_begun_does_not_keep_out_who_begins(harness: Make) -> None:
    """Clients of the same address that never end, with a byte now and then, would keep all its places."""
    made = harness(1)
    begun = [Shaking(made).hello() for _ in range(2 * SHARE)]
    wait_until(lambda: all(client.answered() for client in begun), "they are answered")
    jobs.pause_jobs()
    for client in begun:
        client.socket.sendall(b"\x16")
    wait_until(lambda: waiting() == 2 * SHARE, "their second steps")
    clients = [Shaking(made).hello() for _ in range(SHARE + 1)]
    wait_until(lambda: waiting() == 3 * SHARE, "as many first steps as there are places")
    jobs.let_jobs_begin(3 * SHARE)
    wait_until(lambda: sum(client.answered() for client in clients) == SHARE, "they are answered, behind the others")
    jobs.resume_jobs()
    assert all(client.is_served() for client in clients)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("count", [1, 30])
def test_requests_right_behind_the_handshake(harness: Make, authority: Authority, version: ssl.TLSVersion, count: int) -> None:
    """What a job reads too much of is handled, without another byte from the client."""
    tls = ssl.create_default_context(cafile=authority.trusted)
    tls.maximum_version = version
    made = harness(1)
    client = Shaking(made, tls).hello()
    client.finish(frame(ECHO, b"x" * 1000) * count)
    for _ in range(count):
        assert client.read(4 + 4 + 1000).endswith(b"x" * 1000)


def test_what_a_client_said_before_it_left_is_logged(harness: Make) -> None:
    """Whether its handshake is in the queue, or held back."""
    made = harness(1)
    jobs.pause_jobs()
    for _ in range(SHARE + 3):
        with socket.create_connection(("127.0.0.1", made.port)) as client:
            client.sendall(b"GET / HTTP/1.1\r\n\r\n")
    made.wait_for_counter("paused", 3)
    jobs.resume_jobs()
    made.wait_for_counter("connections", 0)
    assert made.server.counters()["closed_bad"] == SHARE + 3
    assert set(made.log()) == {"TLS handshake failed: this is plaintext; the listener speaks TLS"}


@pytest.mark.parametrize("reset", [False, True])
def test_why_a_client_refused_the_certificate_is_logged(harness: Make, reset: bool) -> None:
    made = harness(1)
    clients = [Shaking(made, ssl.create_default_context()).hello() for _ in range(SHARE + 3)]
    for client in clients:
        wait_until(client.answered, "it is answered")
    jobs.pause_jobs()
    for client in clients:
        with pytest.raises(ssl.SSLCertVerificationError):
            client.finish()
        client.socket.sendall(client.outgoing.read())  # the alert
        if reset:
            client.reset()
        else:
            client.socket.close()
    wait_until(lambda: waiting() == SHARE + 3, "all are in the queue")
    jobs.resume_jobs()
    made.wait_for_counter("connections", 0)
    assert made.server.counters()["closed_bad"] == SHARE + 3
    assert set(made.log()) == {"TLS handshake failed: tlsv1 alert unknown ca"}


def test_who_has_left_is_not_answered(harness: Make) -> None:
    """It would only hold up the others."""
    made = harness(1)
    jobs.pause_jobs()
    clients = [Shaking(made).hello() for _ in range(SHARE + 3)]
    made.wait_for_counter("paused", 3)
    for client in clients:
        client.socket.shutdown(socket.SHUT_WR)
    jobs.resume_jobs()
    assert all(client.is_closed() for client in clients)
    assert made.log() == []


def test_who_ends_and_then_resets_costs_nothing_while_it_is_held_back(harness: Make) -> None:
    """epoll reports a broken connection also when it is asked for no events."""
    made = harness(1, retry_ms=3_600_000)
    witness = made.client()
    assert witness.ask(ECHO, b"ok") == b"ok"
    jobs.pause_jobs()
    clients = [Shaking(made).hello() for _ in range(SHARE)]
    wait_until(lambda: waiting() == SHARE, "they have all places")
    last = Shaking(made).hello()
    made.wait_for_counter("paused", 1)
    made.wait_until_it_sleeps()
    before = made.server.counters()["loops"]
    last.socket.shutdown(socket.SHUT_WR)
    wait_until(lambda: made.server.counters()["loops"] > before, "the end of its stream is seen")
    made.wait_until_it_sleeps()
    last.reset()
    before = made.server.counters()["loops"]
    for _ in range(200):
        assert witness.ask(ECHO, b"ok") == b"ok"
    assert made.server.counters()["loops"] - before < 1000, "a few for each request"
    jobs.resume_jobs()
    made.wait_for_counter("connections", SHARE + 1)
    assert all(client.is_served() for client in clients)


def test_a_handshake_that_waits_has_the_certificate_of_before(harness: Make, authority: Authority, tmp_path: Path) -> None:
    """The context is gone for others when the job begins."""
    made = harness(1)
    other = Authority(tmp_path / "other")
    jobs.pause_jobs()
    clients = [Shaking(made).hello() for _ in range(SHARE + 3)]
    made.wait_for_counter("paused", 3)
    for _ in range(20):
        context = TlsContext()
        context.use_pem(other.broker.read_bytes(), other.broker.read_bytes())
        made.server.set_transport(0, context)
    del context
    jobs.resume_jobs()
    assert all(client.is_served() for client in clients)
    assert Shaking(made, ssl.create_default_context(cafile=other.trusted)).hello().is_served()


def test_who_waits_for_its_handshake_is_not_closed_for_others(harness: Make) -> None:
    """There are as many as may be, and the rest waits to be accepted. All are served in the end."""
    limit = SHARE + 3
    made = harness(1, authentication=(TOKEN_BYTES_MAX, 60_000, limit))
    jobs.pause_jobs()
    clients = [Shaking(made).hello() for _ in range(limit)]
    made.wait_for_counter("paused", 3)
    later = [Shaking(made).hello() for _ in range(2 * limit)]
    asked = made.server.counters()["loops"] + 10
    wait_until(lambda: made.server.counters()["loops"] > asked, "it looks again whether there is room")
    assert made.server.counters()["connections"] == limit
    jobs.resume_jobs()
    for client in clients + later:
        client.finish(frame(API_VERSIONS))
        assert client.read(4)
        client.socket.close()
    assert made.server.counters()["refused"] == 0 and made.log() == []


def test_who_says_nothing_makes_room(harness: Make) -> None:
    """Also while others wait for their handshakes, which has its limit in any case."""
    made = harness(1, authentication=(TOKEN_BYTES_MAX, 3_200, 3))
    jobs.pause_jobs()
    first = Shaking(made).hello()
    wait_until(lambda: waiting() == 1, "the first one")
    silent = Shaking(made)
    second = Shaking(made).hello()
    wait_until(lambda: waiting() == 2, "the second one")
    third = Shaking(made).hello()
    assert silent.is_closed()
    wait_until(lambda: waiting() == 3, "the third one has its place")
    assert made.log() == ["closed: kafkacy.unauthenticated.connections.max is reached"]
    jobs.resume_jobs()
    for client in (first, second, third):
        client.finish()


def test_who_sends_a_byte_now_and_then_makes_room(harness: Make) -> None:
    """A part of a message is no advance: it keeps no place."""
    made = harness(1, authentication=(TOKEN_BYTES_MAX, 3_200, 1))
    slow = Shaking(made)
    with pytest.raises(ssl.SSLWantReadError):
        slow.session.do_handshake()
    hello = iter(slow.outgoing.read())
    slow.socket.send(bytes([next(hello)]))
    made.wait_for_counter("connections", 1)
    later = Shaking(made).hello()

    polls = itertools.count()

    def is_answered() -> bool:
        """Each byte is a step, during which the client waits for the broker; on a busy machine that is most of the time."""
        if next(polls) % 10 == 0:
            with contextlib.suppress(ConnectionError):
                slow.socket.send(bytes([next(hello)]))
        return later.answered()

    wait_until(is_answered, "the other has its place")
    assert made.log() == ["closed: kafkacy.unauthenticated.connections.max is reached"]
    later.finish()


def extension(kind: int, data: bytes) -> bytes:
    return kind.to_bytes(2, "big") + len(data).to_bytes(2, "big") + data


def tls13_hello(key: bytes) -> bytes:
    """A ClientHello that offers X25519; without a key for it the server asks for one with a HelloRetryRequest."""
    share = b"\x00\x1d\x00\x20" + key if key else b""
    extensions = (
        extension(43, b"\x02\x03\x04")  # TLS 1.3
        + extension(10, b"\x00\x02\x00\x1d")
        + extension(13, b"\x00\x08\x04\x03\x08\x04\x08\x05\x04\x01")
        + extension(51, len(share).to_bytes(2, "big") + share)
    )
    body = b"\x03\x03" + b"r" * 32 + b"\x20" + b"s" * 32 + b"\x00\x02\x13\x01\x01\x00" + extension(0, extensions)[2:]
    message = b"\x01" + len(body).to_bytes(3, "big") + body
    return b"\x16\x03\x01" + len(message).to_bytes(2, "big") + message


def test_who_was_asked_for_another_key_advances_with_it(harness: Make) -> None:
    """The answer to a HelloRetryRequest is a step as others: whoever says nothing makes room before."""
    made = harness(1, authentication=(TOKEN_BYTES_MAX, 3_200, 2))
    asked = Shaking(made)
    asked.socket.sendall(tls13_hello(b""))
    wait_until(asked.answered, "it is asked for a key")
    asked.socket.recv(65536)
    silent = Shaking(made)
    made.wait_for_counter("connections", 2)
    asked.socket.sendall(tls13_hello(bytes(range(1, 33))))
    wait_until(asked.answered, "its key is taken")
    later = Shaking(made).hello()
    assert silent.is_closed()
    assert made.log() == ["closed: kafkacy.unauthenticated.connections.max is reached"]  # and not one line for each
    later.finish()
    asked.reset()


def test_nobody_makes_room_for_who_is_refused(harness: Make) -> None:
    made = harness(1, connections_max=1, authentication=(TOKEN_BYTES_MAX, 3_200, 1))
    first = Shaking(made)
    made.wait_for_counter("connections", 1)
    assert Shaking(made).is_closed()
    assert made.server.counters()["connections"] == 1 and not [line for line in made.log() if "unauthenticated" in line]
    first.hello().finish()


def test_the_wait_for_a_handshake_is_not_the_time_of_the_client(harness: Make) -> None:
    """A client that came later, and lets the broker wait, is closed before."""
    made = harness(1, authentication=(TOKEN_BYTES_MAX, 200, 100))
    jobs.pause_jobs()
    clients = [Shaking(made).hello() for _ in range(SHARE + 3)]
    made.wait_for_counter("paused", 3)
    assert Shaking(made).is_closed()
    assert made.log() == ["closed: it did not authenticate within kafkacy.authentication.timeout.ms"]
    assert waiting() == SHARE
    jobs.resume_jobs()
    for client in clients:
        while not client.is_closed():
            pass
    made.wait_for_counter("connections", 0)
    assert set(made.log()) == {"closed: it did not authenticate within kafkacy.authentication.timeout.ms"}


def test_the_threads_have_almost_the_priority_of_reactors(harness: Make) -> None:
    """Clients wait for them, and they leave a core to the reactors in any case."""
    assert Shaking(harness(1)).hello().is_served()
    names = {path.parent: path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")}
    nice = [int((task / "stat").read_text().rpartition(")")[2].split()[16]) for task, name in names.items() if "handshake" in name]
    assert nice and all(0 <= each <= 3 for each in nice)


NO_THREAD = """
import resource, sys
from pathlib import Path
from kafka_cy.network.server import Server
from kafka_cy.network.tls import TlsContext
server, context = Server(1), TlsContext()
server.listen(0, "SSL", "127.0.0.1", 0)
pem = Path(sys.argv[1]).read_bytes()
context.use_pem(pem, pem)
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (1 << 20), -1))  # a thread's stack does not fit
server.set_transport(0, context)
"""


def test_a_listener_without_a_thread_for_handshakes_does_not_start(harness: Make, authority: Authority, tmp_path: Path) -> None:
    """Its clients would wait for ever."""
    pem = tmp_path / "broker.pem"
    pem.write_bytes(authority.broker.read_bytes())
    ended = subprocess.run(
        [sys.executable, "-c", NO_THREAD, str(pem)], capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 1 and "no thread for TLS handshakes can be started" in ended.stderr, ended.stderr


def test_stop_with_handshakes_that_wait(harness: Make) -> None:
    made = harness(2)
    jobs.pause_jobs()
    clients = [Shaking(made).hello() for _ in range(3 * SHARE)]
    # Two reactors may give away the last place at the same time.
    wait_until(lambda: waiting() + made.server.counters()["paused"] >= 3 * SHARE, "all are noticed")
    made.server.stop(60.0)
    assert waiting() == 0
    assert all(client.is_closed() for client in clients)


def test_stop_with_handshakes_that_run(harness: Make) -> None:
    for _ in range(5):
        made = harness(2)
        clients = [Shaking(made).hello() for _ in range(50)]
        made.server.stop(60.0)
        assert waiting() == 0
        for client in clients:
            while not client.is_closed():
                pass


def test_clients_that_leave_at_any_moment(harness: Make, authority: Authority) -> None:
    made = harness(2, queued_requests_max=ONE_PLACE)
    tls = ssl.create_default_context(cafile=authority.trusted)
    served: list[bool] = []

    def use(number: int) -> None:
        choose = random.Random(number)
        for _ in range(25):
            client = Shaking(made, tls)
            step = choose.randrange(5)
            if step == 1:
                client.socket.sendall(b"\x16\x03\x01\x02\x00\x01")
            elif step >= 2:
                client.hello()
            if step == 3:
                client.finish()
            elif step == 4:
                served.append(client.is_served())
            if choose.random() < 0.5:
                client.reset()
            else:
                client.socket.close()

    users = [threading.Thread(target=use, args=(number,)) for number in range(8)]
    for each in users:
        each.start()
    for each in users:
        each.join()
    assert served and all(served)
    made.wait_for_counter("connections", 0)
    assert waiting() == 0
    assert made.log() == []
