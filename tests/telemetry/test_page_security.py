"""The metrics and lag pages with TLS and passwords."""

from __future__ import annotations

import base64
import contextlib
import os
import selectors
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kafka_cy.telemetry import http_server, page_security, page_users
from kafka_cy.telemetry.http_server import CONNECTIONS_MAX, HttpAnswer, HttpRequest, HttpServer
from kafka_cy.telemetry.page_security import PageSecurity, PageSecurityError
from kafka_cy.telemetry.page_tls import TlsSocket
from kafka_cy.telemetry.page_users import VERIFIED_MAX, PasswordHash, UsersFileError, Verified, read_users, user_line
from tests.certificates import Authority
from tests.no_threads import forbid_threads
from tests.waiting import wait_until

LARGE = os.urandom(8 << 20)
ALICE, BOB = "alice:sesame", "bob:open"


def handle(request: HttpRequest) -> HttpAnswer:
    return HttpAnswer(LARGE if request.path == "/large" else b"numbers\n")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module", autouse=True)
def cheap_hashes() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(page_users, "LOG_N", 4)
        yield


class Page:
    """A page with its files, and what it reported."""

    def __init__(self, folder: Path, authority: Authority, *, tls: bool, users: bool) -> None:
        self.certificate, self.users = folder / "page.pem", folder / "users"
        self.certificate.write_bytes(authority.broker.read_bytes())
        self.write_users(ALICE, BOB)
        self.reports: list[tuple[str, str, dict[str, Any], str]] = []
        self.context = ssl.create_default_context(cafile=authority.trusted) if tls else None
        self.security = PageSecurity(
            "metrics", str(self.certificate) if tls else "", "", str(self.users) if users else "",
            lambda *words: self.reports.append(words),
        )  # fmt: skip
        self.server = HttpServer("127.0.0.1:0", handle, security=self.security, public=("/ready",))
        self.server.start()

    def write_users(self, *pairs: str) -> None:
        lines = [user_line(*pair.split(":")) for pair in pairs]
        replacement = self.users.with_suffix(".new")
        replacement.write_text("# users\n\n" + "".join(f"{line}\n" for line in lines))
        replacement.replace(self.users)

    def connect(self) -> socket.socket:
        client = socket.create_connection(("127.0.0.1", self.server.port), timeout=60)
        if self.context is None:
            return client
        return self.context.wrap_socket(client, server_hostname="localhost", suppress_ragged_eofs=False)

    def get(self, path: str = "/metrics", user: str = "", method: str = "GET") -> bytes:
        """The whole answer; over TLS, its end must have been said."""
        with self.connect() as client:
            client.sendall(f"{method} {path} HTTP/1.1\r\n{header(user)}\r\n".encode())
            return all_of(client)

    def status(self, path: str = "/metrics", user: str = "", method: str = "GET") -> str:
        return self.get(path, user, method)[9:12].decode()


def header(user: str) -> str:
    return f"Authorization: Basic {base64.b64encode(user.encode()).decode()}\r\n" if user else ""


def all_of(client: socket.socket) -> bytes:
    answer = b""
    while piece := client.recv(1 << 20):
        answer += piece
    return answer


MakePage = Callable[..., Page]


@pytest.fixture
def make(tmp_path: Path, authority: Authority, monkeypatch: pytest.MonkeyPatch) -> Iterator[MakePage]:
    monkeypatch.setattr(page_security, "LOOK_INTERVAL_S", 0.0)
    with contextlib.ExitStack() as stack:

        def made(*, tls: bool, users: bool) -> Page:
            page = Page(tmp_path, authority, tls=tls, users=users)
            stack.callback(page.server.stop)
            return page

        yield made


@pytest.mark.parametrize("tls", [False, True])
def test_who_gets_a_page(make: MakePage, tls: bool) -> None:
    page = make(tls=tls, users=True)
    head = page.get().partition(b"\r\n\r\n")[0]
    assert head.startswith(b"HTTP/1.1 401 Unauthorized\r\n")
    assert b'\r\nWWW-Authenticate: Basic realm="kafka-cy", charset="UTF-8"\r\n' in head
    assert page.reports == []  # browsers ask first without a password
    for user in (ALICE, BOB, ALICE):
        assert page.get(user=user).endswith(b"\r\n\r\nnumbers\n")
    for wrong in ("alice:open", "alice:", "eve:sesame", ":", "alice:sesame "):
        assert page.status(user=wrong) == "401"
    assert page.status("/ready") == page.status("/ready", user="eve:x") == "200"
    assert page.status("/ready/") == page.status("/nothing") == page.status("//ready") == "401"
    assert page.get(user="eve:x", method="HEAD").endswith(b"\r\n\r\n")
    assert page.status(method="POST") == "405"
    texts = {what for _, what, _, _ in page.reports}
    assert texts == {"a wrong user or password for the metrics or lag page"}
    assert not any(word in str(page.reports) for word in ("sesame", "open", "eve", "alice"))


@pytest.mark.parametrize(
    "line", ["Authorization: Bearer abc", "Authorization: Basic", "Authorization: Basic !!", "Authorization: Basic YWxpY2U="]
)
def test_headers_without_a_password(make: MakePage, line: str) -> None:
    page = make(tls=False, users=True)
    with page.connect() as client:
        client.sendall(f"GET /metrics HTTP/1.1\r\n{line}\r\n\r\n".encode())
        assert all_of(client)[9:12] == b"401"


@pytest.mark.parametrize("tls", [False, True])
def test_a_page_goes_on_when_its_side_thread_could_not_start(make: MakePage, tls: bool) -> None:
    page = make(tls=tls, users=True)
    with pytest.MonkeyPatch.context() as patch:
        forbid_threads(patch)
        for _ in range(2):
            with pytest.raises((OSError, AssertionError)):
                assert page.get(user=ALICE)
    assert page.status(user=ALICE) == "200"


def test_large_pages_over_tls(make: MakePage) -> None:
    page = make(tls=True, users=False)
    assert page.get("/large").endswith(LARGE)
    with page.connect() as client:  # a slow reader, and a request in many records
        for byte in b"GET /large HTTP/1.1\r\n\r\n":
            client.sendall(bytes([byte]))
        answer = b""
        while piece := client.recv(50_000):
            answer += piece
            time.sleep(0.001)
    assert answer.endswith(LARGE)
    with page.connect() as client:
        client.sendall(b"GET /" + b"a" * 30_000)
        assert client.recv(100).startswith(b"HTTP/1.1 431")


def test_tls_versions_and_strangers(make: MakePage) -> None:
    page = make(tls=True, users=False)
    with page.connect() as client:
        assert isinstance(client, ssl.SSLSocket) and client.version() == "TLSv1.3"
    assert page.context is not None
    page.context.maximum_version = ssl.TLSVersion.TLSv1_2
    assert page.status() == "200"
    with socket.create_connection(("127.0.0.1", page.server.port), timeout=60) as client:
        client.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
        with contextlib.suppress(ConnectionResetError):
            assert b"numbers" not in all_of(client)
    with pytest.raises(ssl.SSLCertVerificationError):
        page.context = ssl.create_default_context()
        page.connect()
    wait_until(lambda: len(page.reports) == 2, "two failed handshakes are reported")
    assert {what for _, what, _, _ in page.reports} == {"a TLS handshake with the metrics or lag page failed"}
    assert sorted(details["reason"] for _, _, details, _ in page.reports) == ["http request", "tlsv1 alert unknown ca"]
    with socket.create_connection(("127.0.0.1", page.server.port), timeout=60):
        pass  # a probe that only connects is no failure
    wait_until(lambda: not page.server._connections, "the probe's connection is closed")
    assert len(page.reports) == 2


class Clock:
    """Replaces the module `time`; `ahead_s` is the offset of the server's clock."""

    def __init__(self) -> None:
        self.ahead_s = 0.0
        self.sleep = time.sleep

    def monotonic(self) -> float:
        return time.monotonic() + self.ahead_s


def count_turns(server: HttpServer, monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """A list that grows with each turn of the server from its next one on."""
    turns: list[None] = []
    select_events = server._selector.select

    def counted(timeout: float | None = None) -> Any:
        turns.append(None)
        return select_events(timeout)

    monkeypatch.setattr(server._selector, "select", counted)
    return turns


def test_half_handshakes_end_and_hold_nobody_up(make: MakePage, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(http_server, "time", clock)
    monkeypatch.setattr(http_server, "REQUEST_TIMEOUT_S", 1000.0)
    page = make(tls=True, users=False)
    hello = ssl.MemoryBIO()
    assert page.context is not None
    with contextlib.suppress(ssl.SSLWantReadError):
        page.context.wrap_bio(ssl.MemoryBIO(), hello, server_hostname="localhost").do_handshake()
    first = hello.read()
    with contextlib.ExitStack() as opened:
        halves = []
        for size in (0, 1, len(first) // 2, len(first)):
            for _ in range(8):
                client = opened.enter_context(socket.create_connection(("127.0.0.1", page.server.port), timeout=60))
                client.sendall(first[:size])
                halves.append(client)
        assert page.status() == "200"
        turns = count_turns(page.server, monkeypatch)
        for _ in range(5):
            assert page.status() == "200"
        assert len(turns) < 200  # the server does not spin: some ten turns for each request
        clock.ahead_s = 2000.0
        assert page.status() == "200"  # it also wakes the server
        for client in halves:
            with contextlib.suppress(ConnectionResetError):
                all_of(client)
        wait_until(lambda: not page.server._connections, "all are closed")


def test_many_clients_that_do_not_go_on(make: MakePage) -> None:
    page = make(tls=True, users=True)
    with contextlib.ExitStack() as opened:
        for _ in range(3 * CONNECTIONS_MAX):
            opened.enter_context(socket.create_connection(("127.0.0.1", page.server.port), timeout=60))
        assert page.status(user=ALICE) == "200"
        assert len(page.server._connections) <= CONNECTIONS_MAX


def readable(sockets: list[socket.socket], timeout_s: float) -> list[socket.socket]:
    """The sockets that have bytes to read, once one does. Not select.select: it refuses descriptors from 1,024 on."""
    with selectors.DefaultSelector() as selector:
        for each in sockets:
            selector.register(each, selectors.EVENT_READ)
        return [key.fileobj for key, _ in selector.select(timeout_s) if isinstance(key.fileobj, socket.socket)]


class Gate:
    """Stops checks of passwords until it is opened; counts them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.opened = threading.Event()
        self.checked = 0
        check = PasswordHash.matches

        def matches(own: PasswordHash, password: bytes) -> bool:
            self.checked += 1
            assert self.opened.wait(60)
            return check(own, password)

        monkeypatch.setattr(PasswordHash, "matches", matches)


def test_a_check_holds_nobody_up(make: MakePage, monkeypatch: pytest.MonkeyPatch) -> None:
    page = make(tls=True, users=True)
    assert page.status(user=ALICE) == "200"
    gate = Gate(monkeypatch)
    with page.connect() as waiting, page.connect() as leaving:
        waiting.sendall(f"GET /metrics HTTP/1.1\r\n{header(BOB)}\r\n".encode())
        leaving.sendall(f"GET /metrics HTTP/1.1\r\n{header('eve:x')}\r\n".encode())
        wait_until(lambda: gate.checked == 1, "the check has begun")
        waiting.sendall(f"GET /metrics HTTP/1.1\r\n{header(ALICE)}\r\n".encode())  # only the first request counts
        leaving.close()
        for user, path in ((ALICE, "/metrics"), ("", "/ready"), (ALICE, "/large")):
            assert page.status(path, user) == "200"  # answered while the check goes on
        assert page.status() == "401"
        assert readable([waiting], 0) == []
        gate.opened.set()
        assert all_of(waiting)[9:12] == b"200"
    assert page.status(user=BOB) == "200"
    assert gate.checked <= 2  # once for each of the two


def test_unknown_users_cost_as_much(make: MakePage, monkeypatch: pytest.MonkeyPatch) -> None:
    page = make(tls=False, users=True)
    gate = Gate(monkeypatch)
    gate.opened.set()
    for user in ("eve:sesame", "alice:wrong", "eve:sesame"):
        before = gate.checked
        assert page.status(user=user) == "401"
        assert gate.checked == before + 1


def test_waiting_checks_have_a_limit_and_a_deadline(make: MakePage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_security, "CONNECTIONS_MAX", 3)
    clock = Clock()
    monkeypatch.setattr(http_server, "time", clock)
    page = make(tls=False, users=True)
    gate = Gate(monkeypatch)
    with contextlib.ExitStack() as opened:
        clients = [opened.enter_context(page.connect()) for _ in range(5)]
        for index, client in enumerate(clients):
            client.sendall(f"GET /metrics HTTP/1.1\r\n{header(BOB)}\r\n".encode())
            if index == 0:
                wait_until(lambda: gate.checked == 1, "the first check has begun")
        answered = readable(clients, 60)
        assert [all_of(client)[:12] for client in answered] == [b"HTTP/1.1 503"]  # one is checked, three wait
        clock.ahead_s = 2000.0
        assert page.status("/ready") == "200"
        assert [all_of(client) for client in clients if client not in answered] == [b""] * 4
        gate.opened.set()
        wait_until(lambda: page.status(user=BOB) == "200", "those that are gone have made room")
        assert gate.checked <= 2  # the first one, and perhaps this one


def test_a_handshake_holds_nobody_up(make: MakePage, monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes 10 ms with a key of 3072 bits on a slow machine. Its connection is not closed while another thread uses it."""
    clock = Clock()
    monkeypatch.setattr(http_server, "time", clock)
    monkeypatch.setattr(http_server, "REQUEST_TIMEOUT_S", 1000.0)
    page = make(tls=True, users=False)
    with page.connect() as opened, contextlib.ExitStack() as stack:
        wait_until(lambda: [each.socket.is_open for each in page.server._connections] == [True], "its handshake is done")
        entered, gate, handshake = threading.Event(), threading.Event(), TlsSocket.handshake

        def slow(own: TlsSocket) -> int | OSError:
            entered.set()
            assert gate.wait(60)
            return handshake(own)

        monkeypatch.setattr(TlsSocket, "handshake", slow)
        first = stack.enter_context(socket.create_connection(("127.0.0.1", page.server.port), timeout=60))
        first.sendall(b"\x16\x03\x01")
        assert entered.wait(60)
        opened.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
        assert opened.recv(1000).startswith(b"HTTP/1.1 200")
        (shaking,) = [each for each in page.server._connections if each.shaking]
        clock.ahead_s = 2000.0
        others = [stack.enter_context(socket.create_connection(("127.0.0.1", page.server.port), timeout=60)) for _ in range(100)]
        wait_until(lambda: len(page.server._connections) == CONNECTIONS_MAX, "the first one made no room")
        for client in others:
            with contextlib.suppress(OSError):
                client.sendall(b"\x16\x03\x01")
        wait_until(lambda: sum(each.shaking for each in page.server._connections) == CONNECTIONS_MAX, "all shake hands")
        assert shaking in page.server._connections and shaking.socket.fileno() >= 0
        with socket.create_connection(("127.0.0.1", page.server.port), timeout=60) as refused:
            assert refused.recv(10) == b""
        gate.set()
        with contextlib.suppress(ConnectionResetError):
            all_of(first)
        wait_until(lambda: shaking.socket.fileno() < 0, "it is closed afterwards")
        for client in others:
            client.close()
    assert page.status() == "200"


def test_the_side_threads_end_with_the_page(make: MakePage) -> None:
    page = make(tls=True, users=True)
    assert page.status(user=ALICE) == "200"
    page.server.stop()
    threads = [each._thread for each in page.security.side_threads]
    assert len(threads) == 2
    for thread in threads:
        assert thread is not None
        thread.join(60)
        assert not thread.is_alive()


def test_files_are_read_again(make: MakePage, authority: Authority) -> None:
    page = make(tls=True, users=True)
    assert page.status(user=ALICE) == "200"
    page.write_users("alice:another")
    assert page.status(user=ALICE) == page.status(user=BOB) == "401"
    assert page.status(user="alice:another") == "200"

    def serial() -> str:
        with page.connect() as client:
            assert isinstance(client, ssl.SSLSocket)
            return str(dict(client.getpeercert() or {})["serialNumber"])

    before = serial()
    page.certificate.write_bytes(authority.issue("localhost").read_bytes())
    assert serial() != before
    page.reports.clear()
    page.users.write_text("alice:secret-in-plain-text\n")
    page.certificate.write_text("nothing")
    assert page.status(user="alice:another") == "200"  # the last ones that could be read
    assert page.status(user="alice:another") == "200"
    errors = [each for each in page.reports if each[0] == "error"]
    assert len(errors) == 1 and "secret" not in str(errors)
    assert errors[0][1] == "files of the metrics and lag pages cannot be read again: the current ones stay in use"


def test_a_check_with_users_of_yesterday_is_not_enough(make: MakePage, monkeypatch: pytest.MonkeyPatch) -> None:
    page = make(tls=False, users=True)
    gate = Gate(monkeypatch)
    with page.connect() as client:
        client.sendall(f"GET /metrics HTTP/1.1\r\n{header(BOB)}\r\n".encode())
        wait_until(lambda: gate.checked == 1, "the check has begun")
        page.write_users(ALICE)
        assert page.status("/ready") == "200"
        gate.opened.set()
        assert all_of(client)[9:12] == b"401"


def test_verified_passwords_are_bounded_and_keep_no_password() -> None:
    verified = Verified()
    for number in range(VERIFIED_MAX):
        verified.add(b"user:%d" % number)
    assert verified.has(b"user:0")
    verified.add(b"user:more")
    assert verified.has(b"user:0") and not verified.has(b"user:1")
    assert len(verified._known) == VERIFIED_MAX and b"user:0" not in verified._known


def test_the_format_is_passlibs(tmp_path: Path) -> None:
    """The example of passlib's documentation."""
    text = "$scrypt$ln=16,r=8,p=1$aM15713r3Xsvxbi31lqr1Q$nFNh2CVHVjNldFVKDHDlm4CbdRSCdEBsjjJxD+iCs5E"
    (tmp_path / "users").write_text(f"a:{text}\r\n")
    found = read_users(str(tmp_path / "users"))[b"a"]
    assert found.matches(b"password") and not found.matches(b"Password")


GOOD = "$scrypt$ln=4,r=8,p=1$aM15713r3Xsvxbi31lqr1Q$nFNh2CVHVjNldFVKDHDlm4CbdRSCdEBsjjJxD+iCs5E"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "0 users"),
        ("# alice\n", "0 users"),
        ("alice:sesame", "line 1"),
        (f"a:{GOOD}\nalice", "line 2"),
        (f"a:{GOOD}\na:{GOOD}", "line 2 has a user"),
        (f":{GOOD}", "line 1"),
        (f"a:{GOOD.replace('ln=4', 'ln=17')}", "line 1"),  # 128 MiB for a check
        (f"a:{GOOD.replace('ln=4', 'ln=-4')}", "line 1"),
        (f"a:{GOOD.replace('p=1', 'p=99')}", "line 1"),
        (f"a:{GOOD.replace('ln=4', 'ln=4,x=1')}", "line 1"),
        (f"a:{GOOD.replace('scrypt', 'sha256')}", "line 1"),
        (f"a:{GOOD[:-30]}", "line 1"),
        (f"a:{GOOD.replace('aM15', '????')}", "line 1"),
        ("a:$2y$10$abcdefghijklmnopqrstuuJ7Z7z7z7z7z7z7z7z7z7z7z7z7z7z7z", "line 1"),
        ("\n".join(f"a{n}:{GOOD}" for n in range(1001)), "1001 users"),
        ("#" * (1 << 21), "bytes"),
    ],
)
def test_users_files_that_are_refused(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "users"
    path.write_text(text)
    with pytest.raises(UsersFileError, match=reason) as raised:
        read_users(str(path))
    assert "sesame" not in str(raised.value) and len(str(raised.value)) < 100


def test_files_that_cannot_be_used(tmp_path: Path, authority: Authority) -> None:
    def refused(certificate: object, key: object, users: object) -> tuple[str, str]:
        with pytest.raises(PageSecurityError) as raised:
            PageSecurity("metrics", str(certificate), str(key), str(users), lambda *_: None)
        return raised.value.name.removeprefix("kafkacy.metrics."), str(raised.value)

    nothing, text = tmp_path / "nothing", tmp_path / "text"
    text.write_text("text")
    encrypted = tmp_path / "encrypted.pem"
    from cryptography.hazmat.primitives import serialization

    content = authority.broker.read_bytes()
    key = serialization.load_pem_private_key(content, None)
    own = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8)
    encrypted.write_bytes(key.private_bytes(*own, serialization.BestAvailableEncryption(b"secret")))
    assert refused("", text, "") == ("tls.certificate", "kafkacy.metrics.tls.key is set, but no certificate")
    assert refused(nothing, "", "") == ("tls.certificate", "No such file or directory")
    assert refused(authority.broker, nothing, "") == ("tls.key", "No such file or directory")
    assert refused(text, "", "")[0] == "tls.certificate"
    assert "the key is encrypted" in refused(authority.broker, encrypted, "")[1]
    assert "KEY_VALUES_MISMATCH" in refused(authority.broker, authority.issue("x"), "")[1]
    assert refused("", "", nothing) == ("basic.auth.users.file", "No such file or directory")
    assert refused("", "", text)[0] == "basic.auth.users.file"
