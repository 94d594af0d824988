"""The HTTP server with slow, greedy, misbehaving or many clients."""

from __future__ import annotations

import contextlib
import gzip
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kafka_cy.telemetry import http_server
from kafka_cy.telemetry.http_server import (
    CONNECTIONS_MAX,
    HttpAnswer,
    HttpRequest,
    HttpServer,
    parse_address,
    parse_request,
    weights,
)

LARGE = b"x" * (32 << 20)


def handle(request: HttpRequest) -> HttpAnswer:
    if request.path == "/large":
        return HttpAnswer(LARGE)
    if request.path == "/broken":
        raise RuntimeError("a fault of the page")
    if request.path == "/hello":
        return HttpAnswer(b"hello " * 200)
    return HttpAnswer(b"what?\n", status="404 Not Found")


@pytest.fixture
def server() -> Iterator[HttpServer]:
    made = HttpServer("127.0.0.1:0", handle)
    made.start()
    yield made
    made.stop()


def exchange(server: HttpServer, data: bytes) -> bytes:
    """Everything that is received until the end."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as client:
        client.sendall(data)
        answer = b""
        while piece := client.recv(65536):
            answer += piece
        return answer


def get(server: HttpServer, path: str = "/hello", headers: str = "") -> bytes:
    return exchange(server, f"GET {path} HTTP/1.1\r\nHost: x\r\n{headers}\r\n".encode())


def test_answers(server: HttpServer) -> None:
    head, _, body = get(server).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"Content-Length: 1200" in head
    assert body == b"hello " * 200
    head, _, body = exchange(server, b"HEAD /hello HTTP/1.0\r\n\r\n").partition(b"\r\n\r\n")
    assert b"Content-Length: 1200" in head
    assert body == b""
    head, _, body = get(server, headers="Accept-Encoding: deflate, gzip;q=0.5\r\n").partition(b"\r\n\r\n")
    assert b"Content-Encoding: gzip" in head
    assert gzip.decompress(body) == b"hello " * 200
    assert b"Content-Encoding" not in get(server, headers="Accept-Encoding: gzip;q=0\r\n").partition(b"\r\n\r\n")[0]


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"GET /nothing HTTP/1.1\r\n\r\n", b"404"),
        (b"GET /hello?" + b"a=1&" * 3000 + b" HTTP/1.1\r\n\r\n", b"200"),
        (b"GET /hello?" + b"a=1&" * 30000 + b" HTTP/1.1\r\n\r\n", b"431"),
        (b"POST /hello HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", b"405"),
        (b"GET hello HTTP/1.1\r\n\r\n", b"400"),
        (b"GET /hello HTTP/2\r\n\r\n", b"400"),
        (b"\x16\x03\x01\x02\x00\r\n\r\n", b"400"),
        (b"GET /broken HTTP/1.1\r\n\r\n", b"500"),
        (b"GET /hello HTTP/1.1\r\n: nameless\r\nno colon\r\n\xff\xfe: \xff\r\n\r\n", b"200"),
        (b"GET /hello HTTP/1.1\r\n\r\n" * 50 + b"\0garbage" * 500, b"200"),
    ],
)
def test_statuses(server: HttpServer, request_bytes: bytes, status: bytes) -> None:
    assert exchange(server, request_bytes)[9:12] == status
    assert get(server)[9:12] == b"200"


class Clock:
    """Replaces the module `time`; `ahead_s` is the offset of the server's clock."""

    def __init__(self) -> None:
        self.ahead_s = 0.0
        self.sleep = time.sleep

    def monotonic(self) -> float:
        return time.monotonic() + self.ahead_s


def test_who_does_not_speak_or_read_is_cut_and_blocks_nobody(
    server: HttpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr(http_server, "time", clock)
    monkeypatch.setattr(http_server, "REQUEST_TIMEOUT_S", 1000.0)
    monkeypatch.setattr(http_server, "ANSWER_TIMEOUT_S", 1000.0)
    address = ("127.0.0.1", server.port)
    with contextlib.ExitStack() as opened:
        silent = [opened.enter_context(socket.create_connection(address)) for _ in range(10)]
        halves = [opened.enter_context(socket.create_connection(address)) for _ in range(10)]
        for client in halves:
            client.sendall(b"GET /hello HTT")
        readers = [opened.enter_context(socket.socket()) for _ in range(3)]
        for client in readers:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)  # the kernel must not buffer all of it
            client.connect(address)
            client.sendall(b"GET /large HTTP/1.1\r\n\r\n")
        assert get(server)[9:12] == b"200"
        clock.ahead_s = 2000.0
        assert get(server)[9:12] == b"200"
        for client in silent + halves:
            client.settimeout(60)
            assert client.recv(10) == b""  # the deadline closed it
        deadline = time.monotonic() + 60
        while server._connections:  # a client that reads before its deadline would get all of it
            assert time.monotonic() < deadline
            time.sleep(0.01)
        for client in readers:
            client.settimeout(60)
            received = 0
            with contextlib.suppress(ConnectionResetError):
                while piece := client.recv(1 << 20):
                    received += len(piece)
            assert received < len(LARGE)


def test_more_clients_than_places(server: HttpServer) -> None:
    with contextlib.ExitStack() as opened:
        for _ in range(3 * CONNECTIONS_MAX):
            client = opened.enter_context(socket.create_connection(("127.0.0.1", server.port)))
            with contextlib.suppress(OSError):
                client.sendall(b"GET /he")
        assert get(server)[9:12] == b"200"
        assert len(server._connections) <= CONNECTIONS_MAX


def test_a_slow_reader_gets_all_of_it(server: HttpServer) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as client:
        client.sendall(b"GET /large HTTP/1.1\r\n\r\n")
        received = b""
        while piece := client.recv(1 << 18):
            received += piece
            time.sleep(0.001)
    assert received.endswith(LARGE)


def test_stop_ends_the_thread_and_frees_the_port() -> None:
    made = HttpServer("127.0.0.1:0", handle)
    made.start()
    with socket.create_connection(("127.0.0.1", made.port)):
        made.stop()
        made._thread.join(60)
    assert not made._thread.is_alive()
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(f"http://127.0.0.1:{made.port}/hello", timeout=60)
    never_started = HttpServer("127.0.0.1:0", handle)
    never_started.stop()


@given(st.binary(max_size=400) | st.text(max_size=100).map(lambda text: f"GET /{text} HTTP/1.1\r\n{text}".encode()))
def test_any_head_parses_or_is_refused(head: bytes) -> None:
    request = parse_request(head)
    assert request is None or (request.path.startswith("/") and "?" not in request.path)


@given(st.text(alphabet="abc/*;q=0.15, ", max_size=60))
def test_any_accept_header_gives_weights(text: str) -> None:
    assert all(name == name.lower() and isinstance(weight, float) for name, weight in weights(text).items())


@settings(max_examples=60)
@given(st.lists(st.binary(min_size=1, max_size=200), max_size=4))
def test_fuzz_over_the_wire(pieces: list[bytes]) -> None:
    server = shared_server()
    with (
        contextlib.suppress(OSError),
        socket.create_connection(("127.0.0.1", server.port), timeout=60) as client,
    ):
        for piece in pieces:
            client.sendall(piece)
        client.shutdown(socket.SHUT_WR)
        while client.recv(4096):
            pass
    assert server._thread.is_alive()
    assert get(server)[9:12] == b"200"


_shared: list[HttpServer] = []
_lock = threading.Lock()


def shared_server() -> HttpServer:
    """One server for all examples of a property; its daemon thread ends with the process."""
    with _lock:
        if not _shared:
            _shared.append(HttpServer("127.0.0.1:0", handle))
            _shared[0].start()
        return _shared[0]


def test_addresses() -> None:
    assert parse_address("127.0.0.1:9404") == ("127.0.0.1", 9404)
    assert parse_address(":9404") == ("", 9404)
    assert parse_address("[::1]:9404") == ("::1", 9404)
    for wrong in ("9404", "host:", "host:70000", "host:port", "host:²"):
        with pytest.raises(ValueError, match="HOST:PORT"):
            parse_address(wrong)
