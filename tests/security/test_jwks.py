"""The keys of a token issuer: which are read, from where, and when again."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kafka_cy.security.sasl import jwks_source
from kafka_cy.security.sasl.issuer_url import check_url
from kafka_cy.security.sasl.jwks import (
    ASKED_INTERVAL_MS,
    KEY_ID_CHARS_MAX,
    KEYS_MAX,
    KeySetError,
    RefreshedKeySet,
    RefreshSettings,
    parse_keys,
)
from kafka_cy.security.sasl.jwks_source import TEXT_BYTES_MAX, reader_of
from tests.certificates import Authority
from tests.security.token_issuer import ec_key, jwk, rsa_key

ONE = jwk(rsa_key("one"), "one")


def text(*keys: Any) -> bytes:
    return json.dumps({"keys": keys}).encode()


@pytest.mark.parametrize(
    "key",
    [
        {**ONE, "use": "enc"},
        {**ONE, "kty": "oct", "k": "c2VjcmV0"},
        {**ONE, "kid": 5},
        {**ONE, "n": 5},
        {**ONE, "n": "?"},
        {**ONE, "n": ""},
        {**ONE, "e": "AA"},
        {**ONE, "e": ONE["n"]},
        {"kty": "RSA"},
        {**jwk(ec_key("one", "P-256"), "ec"), "x": "AAAA"},
        {**jwk(ec_key("one", "P-256"), "ec"), "crv": "P-384"},
        {**jwk(ec_key("one", "P-256"), "ec"), "crv": ["P-256"]},
        {**jwk(ec_key("one", "P-256"), "ec"), "crv": "secp256k1"},
        {**jwk(ec_key("one", "P-256"), "ec"), "y": None},
        jwk(rsa_key("small", 1024), "small"),
        "key",
        None,
    ],
)
def test_a_key_that_is_no_use_is_left_out(key: Any) -> None:
    assert [each.key_id for each in parse_keys(text(key, ONE))] == ["one"]


def test_a_private_key_is_read_as_its_public_one() -> None:
    assert len(parse_keys(text({**ONE, "d": "AQAB"}, jwk(rsa_key("one"), None, use="sig")))) == 2


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"keys":{}}', b"\xff", b"[" * 100_000, b"<html>"])
def test_a_malformed_set(content: bytes) -> None:
    with pytest.raises(KeySetError):
        parse_keys(content)


@given(st.binary(max_size=80) | st.recursive(st.none() | st.integers() | st.text(max_size=5), st.lists).map(lambda x: text(x)))
def test_any_set(content: bytes) -> None:
    try:
        parse_keys(content)
    except KeySetError:
        pass


def test_the_number_of_keys_has_a_limit() -> None:
    assert len(parse_keys(text(*[ONE] * (KEYS_MAX + 5)))) == KEYS_MAX


class Source:
    """A key set whose text and clock the test sets."""

    def __init__(self, **settings: int) -> None:
        self.now, self.text, self.woken = 0.0, text(ONE), 0
        self.keys = RefreshedKeySet(self.read, RefreshSettings(**settings), lambda: self.now)
        self.keys.on_due = self.wake

    def read(self) -> bytes:
        if not self.text:
            raise KeySetError("no answer")
        return self.text

    def wake(self) -> None:
        self.woken += 1

    def ids(self) -> list[str | None]:
        return [key.key_id for key in self.keys.find(None, "RSA")]


def test_refreshing() -> None:
    source = Source(refresh_ms=1000)
    assert source.keys.due_in_ms() <= 0 and source.ids() == []
    source.keys.refresh()
    assert source.ids() == ["one"] and source.keys.due_in_ms() == 1000
    source.text = text(jwk(rsa_key("two"), "two"))
    source.now = 1000
    assert source.keys.due_in_ms() == 0
    source.keys.refresh()
    assert source.ids() == ["two"]


def test_keys_stay_while_the_issuer_does_not_answer() -> None:
    source = Source(refresh_ms=1000, retry_ms=100, retry_max_ms=350)
    source.keys.refresh()
    good, source.text = source.text, b""
    pauses = []
    for _ in range(4):
        with pytest.raises(KeySetError):
            source.keys.refresh()
        pauses.append(source.keys.due_in_ms())
    assert pauses == [100, 200, 350, 350] and source.ids() == ["one"]
    source.now += ASKED_INTERVAL_MS
    source.keys.ask_for("new")
    assert source.woken == 0, "the retries look for it"
    source.text = good
    source.keys.refresh()
    assert source.keys.due_in_ms() == 1000


def test_unknown_keys_cause_few_refreshes() -> None:
    source = Source(refresh_ms=3_600_000)
    source.keys.refresh()
    source.keys.ask_for("x" * (KEY_ID_CHARS_MAX + 1))
    assert source.woken == 0
    for number in range(100):
        source.keys.ask_for(f"new {number}")
    assert source.woken == 1 and source.keys.due_in_ms() == 0
    source.keys.refresh()
    source.now = ASKED_INTERVAL_MS - 1
    source.keys.ask_for("again")
    assert source.woken == 1 and source.keys.due_in_ms() > 0
    source.now = ASKED_INTERVAL_MS
    source.keys.ask_for("again")
    assert source.woken == 2 and source.keys.due_in_ms() == 0


KEY = "sasl.oauthbearer.jwks.endpoint.url"


@pytest.mark.parametrize(
    ("url", "message"),
    [
        (None, f"The OAuth configuration option {KEY} value is required"),
        (" ", f"The OAuth configuration option {KEY} value is required"),
        ("keys.json", f"The OAuth configuration option {KEY} contains a URL (keys.json) that is missing the protocol"),
        (
            "ftp://h/keys",
            f"The OAuth configuration option {KEY} contains a URL (ftp://h/keys) that contains an invalid protocol (ftp); "
            'only "http", "https", and "file" protocol are supported',
        ),
        ("https:///keys", f"The OAuth configuration option {KEY} contains a URL (https:///keys) that is malformed: no host"),
    ],
)
def test_urls(url: str | None, message: str) -> None:
    with pytest.raises(ValueError) as raised:
        check_url(KEY, url)
    assert str(raised.value) == message


def test_a_file(tmp_path: Path) -> None:
    path = tmp_path / "key set.json"
    read = reader_of(f"file://{tmp_path}/key%20set.json")
    with pytest.raises(KeySetError, match="No such file"):
        read()
    path.write_bytes(text(ONE))
    assert read() == text(ONE)
    path.write_bytes(b" " * (TEXT_BYTES_MAX + 1))
    with pytest.raises(KeySetError, match="more than"):
        read()


class Handler(BaseHTTPRequestHandler):
    """/jwks answers, and other paths fail in their own ways."""

    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        if self.path == "/redirect":
            self.send_response(302)
            self.send_header("Location", "/jwks")
            self.end_headers()
            return
        self.send_response(500 if self.path == "/error" else 200)
        self.end_headers()
        self.wfile.write(b" " * (TEXT_BYTES_MAX + 1) if self.path == "/large" else text(ONE))

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def issuer() -> Iterator[ThreadingHTTPServer]:
    handler = type("Handler", (Handler,), {"asked": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_an_issuer(issuer: ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")
    base = f"http://127.0.0.1:{issuer.server_port}"
    assert reader_of(f"{base}/jwks")() == text(ONE)
    for path, message in (("/error", "answers 500"), ("/redirect", "answers 302"), ("/large", "more than")):
        with pytest.raises(KeySetError, match=message):
            reader_of(base + path)()
    assert issuer.RequestHandlerClass.asked.count("/jwks") == 1  # type: ignore[attr-defined]
    monkeypatch.setattr(jwks_source, "ANSWER_S", -1.0)
    with pytest.raises(KeySetError, match="to answer"):
        reader_of(f"{base}/jwks")()
    with pytest.raises(KeySetError, match="cannot be asked"):
        reader_of("http://127.0.0.1:1/jwks")()


def test_an_issuer_with_tls(issuer: ThreadingHTTPServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")
    authority = Authority(tmp_path / "own")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority.broker)
    issuer.socket = context.wrap_socket(issuer.socket, server_side=True)
    url = f"https://localhost:{issuer.server_port}/jwks"
    assert reader_of(url, str(authority.trusted))() == text(ONE)
    for trusted in (None, str(Authority(tmp_path / "foreign").trusted)):
        with pytest.raises(KeySetError, match="cannot be asked"):
            reader_of(url, trusted)()
