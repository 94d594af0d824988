"""TLS on the reactors: valid, invalid, slow and broken handshakes, listener rules, certificate changes."""

from __future__ import annotations

import functools
import socket
import ssl
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest_network import ECHO, LARGE, Client, Harness, frame

from kafka_cy.network.server import Server
from kafka_cy.network.tls import TlsContext, TlsError
from tests.certificates import PASSWORD, Authority
from tests.network.tls_socket import TlsSocket
from tests.waiting import wait_until

Make = Callable[..., Harness]

OLD = "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"  # of TLS 1.2


@pytest.fixture
def made(harness: Make) -> Harness:
    return harness(1)


pytestmark = pytest.mark.parametrize("harness", ["TLS"], indirect=True)


def plain(made: Harness) -> socket.socket:
    return socket.create_connection(("127.0.0.1", made.port), timeout=60)


def served(made: Harness, tls: ssl.SSLContext) -> bool:
    """Whether a client with this context gets a response; in TLS 1.3 a refusal arrives only after the handshake."""
    client = None
    try:
        client = Client(made.port, tls)
        return client.ask(ECHO, b"x") == b"x"
    except (ssl.SSLError, ConnectionError, EOFError):
        return False
    finally:
        if client is not None:
            client.close()


def use(made: Harness, pem: Path, change: Callable[[TlsContext], Any] = lambda context: None) -> None:
    """Give the listener another context."""
    context = TlsContext()
    context.use_pem(pem.read_bytes(), pem.read_bytes())
    change(context)
    made.server.set_transport(0, context)


def client_of(authority: Authority, certificate: Path | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=authority.trusted)
    if certificate is not None:
        context.load_cert_chain(certificate)
    return context


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (frame(18, version=0), "this is plaintext; the listener speaks TLS"),
        (b"GET / HTTP/1.1\r\n\r\n", "this is plaintext; the listener speaks TLS"),
        (b"\x16\x03\x01\x00\x10" + b"\xff" * 16, ""),
        (b"\x16\x03\x01\xff\xff" + bytes(100), ""),
        (b"\x17\x03\x03\x00\x20" + bytes(32), ""),
        (b"\x16\x03\x01\x00\x04\x01\x04\x00\x00", "excessive message size"),
    ],
)
def test_what_is_no_handshake_costs_its_connection(made: Harness, data: bytes, reason: str) -> None:
    with plain(made) as client:
        client.sendall(data)
        while_open = b"first"
        try:
            while while_open:
                while_open = client.recv(1000)  # possibly an alert
        except ConnectionError:
            pass
    made.wait_for_counter("closed_bad", 1)
    (line,) = made.log()
    assert line.startswith("TLS handshake failed: ") and line.endswith(reason) and len(line) > 25
    assert made.client().ask(ECHO, b"ok") == b"ok"


def test_who_leaves_before_or_within_a_handshake_is_no_failure(made: Harness) -> None:
    for data in (b"", b"\x16\x03\x01\x02\x00\x01\x00\x01"):
        with plain(made) as client:
            client.sendall(data)
    made.wait_for_counter("closed", 2)
    assert made.log() == []


def test_half_handshakes_hold_up_nobody(made: Harness) -> None:
    waiting = [plain(made) for _ in range(200)]
    for client in waiting:
        client.sendall(b"\x16\x03\x01\x02\x00\x01")
    assert made.client().ask(ECHO, b"ok") == b"ok"
    for client in waiting:
        client.close()
    made.wait_for_counter("connections", 1)


def test_a_handshake_of_single_bytes(made: Harness) -> None:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    assert made.client_tls is not None
    session = made.client_tls.wrap_bio(incoming, outgoing, server_hostname="localhost")
    with plain(made) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        def send() -> None:
            for byte in outgoing.read():
                client.sendall(bytes([byte]))

        def until_done(step: Callable[[], Any]) -> Any:
            while True:
                try:
                    result = step()
                    send()
                    return result
                except ssl.SSLWantReadError:
                    send()
                    incoming.write(client.recv(1))

        until_done(session.do_handshake)
        session.write(frame(ECHO, b"slowly"))
        assert until_done(lambda: session.read(100)).endswith(b"slowly")


def test_end_of_a_connection(made: Harness) -> None:
    """The broker sends close_notify before it closes, and handles clients that close with or without close_notify."""
    assert made.client_tls is not None
    client = made.client_tls.wrap_socket(plain(made), server_hostname="localhost")
    client.sendall(frame(ECHO, b"x"))
    assert client.recv(100).endswith(b"x")
    client.unwrap().close()  # waits for the broker's close_notify
    with made.client_tls.wrap_socket(plain(made), server_hostname="localhost"):
        pass  # closes without close_notify
    made.wait_for_counter("connections", 0)
    assert made.log() == []
    last = made.client_tls.wrap_socket(plain(made), server_hostname="localhost")
    last.sendall(frame(ECHO, b"x"))
    assert last.recv(100).endswith(b"x")
    made.server.stop(1.0)
    assert last.recv(1) == b""  # an end without close_notify would raise an error


def test_broken_record_behind_a_good_one(made: Harness) -> None:
    client = made.client()
    tls = client.socket
    assert isinstance(tls, TlsSocket)
    tls.session.write(frame(ECHO, b"good"))
    tls.plain.sendall(tls.outgoing.read() + b"\x17\x03\x03\x00\x20" + bytes(32))
    with pytest.raises((ssl.SSLError, ConnectionError)):
        client.receive()
    made.wait_for_counter("closed_bad", 1)
    assert made.log() == ["TLS failed: decryption failed or bad record mac"]


def test_answers_wait_for_a_slow_reader(made: Harness) -> None:
    """TLS records that the socket did not accept are sent again unchanged, even with more data after them."""
    client = made.client()
    for i in range(50):
        client.send(
            frame(LARGE, struct.pack(">i", 300_000), correlation_id=i) + frame(ECHO, b"%d" % i, correlation_id=1000 + i)
        )
    sizes = set()
    for i in range(50):
        correlation_id, large = client.receive()
        sizes.add(len(large))
        assert correlation_id == i
        assert client.receive() == (1000 + i, b"%d" % i)
    assert sizes == {300_000}


@pytest.mark.parametrize(
    ("required", "certificate", "answered"),
    [
        (True, "good", True),
        (True, None, False),
        (True, "foreign", False),
        (True, "expired", False),
        (False, "good", True),
        (False, None, True),
        (False, "foreign", False),
    ],
)
def test_certificates_of_clients(
    made: Harness, authority: Authority, tmp_path: Path, required: bool, certificate: str | None, answered: bool
) -> None:
    foreign = Authority(tmp_path / "foreign")
    shown = {
        "good": lambda: authority.issue("client@example.org"),
        "foreign": lambda: foreign.issue("client@example.org"),
        "expired": lambda: authority.issue("client@example.org", expires_in_s=-86400),
    }

    def ask(context: TlsContext) -> None:
        context.trust_pem(authority.trusted.read_bytes())
        context.ask_clients(required)

    use(made, authority.broker, ask)
    path = shown[certificate]() if certificate is not None else None
    assert served(made, client_of(authority, path)) is answered
    if not answered:
        made.wait_for_counter("closed_bad", 1)
        (line,) = made.log()
        assert line.startswith("TLS handshake failed: ")
        reasons = {"foreign": "unable to get local issuer certificate", "expired": "certificate has expired"}
        assert reasons.get(certificate or "", "peer did not return a certificate") in line


@pytest.mark.parametrize("trusted", ["own", "intermediate"])
def test_a_chain_ends_at_any_trusted_certificate(
    made: Harness, authority: Authority, tmp_path: Path, trusted: str
) -> None:
    """As in Java, the trusted certificate may be the client's own, or an authority's that another one signed."""
    below = authority.authority.create_child_ca()
    certificate, trust = tmp_path / "client.pem", tmp_path / "trust.pem"
    issued = below.issue_cert("client@example.org")
    issued.private_key_and_cert_chain_pem.write_to_path(str(certificate))
    (issued.cert_chain_pems[0] if trusted == "own" else below.cert_pem).write_to_path(str(trust))
    use(made, authority.broker, lambda context: (context.trust_pem(trust.read_bytes()), context.ask_clients(True)))
    assert served(made, client_of(authority, certificate))
    assert not served(made, client_of(authority, authority.issue("client@example.org")))


def resume(
    made: Harness, context: ssl.SSLContext, session: ssl.SSLSession | None
) -> tuple[bool | None, ssl.SSLSession | None]:
    """Connect with a session, and return whether it was taken, and the new one."""
    with context.wrap_socket(plain(made), server_hostname="localhost", session=session) as client:
        client.sendall(frame(ECHO, b"x"))
        assert client.recv(100).endswith(b"x")
        return client.session_reused, client.session


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_session_ends_with_the_certificate_of_its_client(
    made: Harness, authority: Authority, version: ssl.TLSVersion
) -> None:
    use(made, authority.broker, lambda context: (context.trust_pem(authority.trusted.read_bytes()), context.ask_clients(True)))
    expiry = time.time() + 4
    context = client_of(authority, authority.issue("client@example.org", expires_in_s=4))
    context.maximum_version = version
    taken, session = resume(made, context, None)
    taken, session = resume(made, context, session)
    assert taken is True
    wait_until(lambda: time.time() > expiry, "the certificate has expired")
    with pytest.raises((OSError, AssertionError)):
        resume(made, context, session)
    made.wait_for_counter("closed_bad", 1)
    assert "certificate has expired" in made.log()[-1]


def test_sessions_are_kept_by_clients_only(made: Harness, authority: Authority) -> None:
    """The server keeps no sessions: they are in tickets, and a new certificate invalidates the tickets."""
    resumed = functools.partial(resume, made)
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        context = client_of(authority)
        context.maximum_version = version
        _, session = resumed(context, None)
        assert resumed(context, session)[0] is True
        use(made, authority.broker)
        assert resumed(context, session)[0] is False
    without_tickets = client_of(authority)
    without_tickets.maximum_version = ssl.TLSVersion.TLSv1_2
    without_tickets.options |= ssl.OP_NO_TICKET
    _, session = resumed(without_tickets, None)
    assert resumed(without_tickets, session)[0] is False


def test_protocols_and_cipher_suites(made: Harness, authority: Authority) -> None:
    old = client_of(authority)
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    new = client_of(authority)
    new.minimum_version = ssl.TLSVersion.TLSv1_3
    assert served(made, old) and served(made, new)
    use(made, authority.broker, lambda context: context.set_protocols(["TLSv1.3"]))
    assert not served(made, old) and served(made, new)
    use(made, authority.broker, lambda context: context.set_protocols(["TLSv1.2"]))
    assert served(made, old) and not served(made, new)
    use(made, authority.broker, lambda context: context.set_cipher_suites([OLD]))
    assert served(made, old) and not served(made, new)
    use(made, authority.broker, lambda context: context.set_cipher_suites(["TLS_CHACHA20_POLY1305_SHA256"]))
    assert not served(made, old)
    client = Client(made.port, new)
    assert client.socket.session.cipher()[0] == "TLS_CHACHA20_POLY1305_SHA256"
    client.close()


def test_another_certificate_counts_for_new_connections(made: Harness, authority: Authority, tmp_path: Path) -> None:
    before = made.client()
    other = Authority(tmp_path / "other")
    for _ in range(20):
        use(made, other.broker)
    assert served(made, client_of(other)) and not served(made, client_of(authority))
    assert before.ask(ECHO, b"still here") == b"still here"


def test_pkcs12(made: Harness, authority: Authority) -> None:
    context = TlsContext()
    context.use_pkcs12(authority.key_store(authority.broker).read_bytes(), PASSWORD.encode())
    made.server.set_transport(0, context)
    assert served(made, client_of(authority))


def unusable() -> Iterator[tuple[str, Callable[[TlsContext, Authority], Any], str]]:
    yield "no key", lambda c, a: c.use_pem(a.trusted.read_bytes(), a.trusted.read_bytes()), "the private key cannot be read"
    yield "empty", lambda c, a: c.use_pem(b"", b""), "the private key cannot be read"
    yield "no certificate", lambda c, a: c.use_pem(a.broker.read_bytes(), b""), "no start line"
    yield "other key", lambda c, a: c.use_pem(a.broker.read_bytes(), a.trusted.read_bytes()), "does not match the certificate"
    yield "cut", lambda c, a: c.trust_pem(a.trusted.read_bytes()[:200]), "certificate cannot be read"
    yield "garbage", lambda c, a: c.trust_pem(b"-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n"), "base64"
    yield "not PKCS#12", lambda c, a: c.use_pkcs12(b"\0" * 50, b"x"), "not a PKCS#12 file"
    yield (
        "wrong password",
        lambda c, a: c.use_pkcs12(a.key_store(a.broker).read_bytes(), b"x"),
        "password is wrong",
    )
    yield "protocol", lambda c, a: c.set_protocols(["TLSv1.1"]), "TLSv1.1: only TLSv1.2 and TLSv1.3"
    yield "cipher", lambda c, a: c.set_cipher_suites(["TLS_RSA_WITH_NONSENSE"]), "TLS_RSA_WITH_NONSENSE"
    yield "cipher of no protocol", lambda c, a: (c.set_protocols(["TLSv1.3"]), c.set_cipher_suites([OLD])), "in any enabled version"
    yield "new cipher", lambda c, a: c.set_cipher_suites(["TLS_NONSENSE"]), "TLS_NONSENSE"


@pytest.mark.parametrize(("name", "attempt", "reason"), list(unusable()))
def test_what_cannot_be_used(
    harness: Make, authority: Authority, name: str, attempt: Callable[[TlsContext, Authority], Any], reason: str
) -> None:
    with pytest.raises(TlsError, match=reason):
        attempt(TlsContext(), authority)


def test_wrong_transports(harness: Make, authority: Authority) -> None:
    server = Server(1)
    with pytest.raises(ValueError, match="unknown listener 0"):
        server.set_transport(0, TlsContext())
    with pytest.raises(AttributeError):
        server.set_transport(0, object())


def test_idle_connections_are_closed_within_the_handshake_too(harness: Make) -> None:
    made = harness(1, idle_timeout_ms=200)
    with plain(made) as client:
        client.sendall(b"\x16\x03\x01")
        wait_until(lambda: made.server.counters()["closed_idle"] == 1, "the idle connection to be closed")
