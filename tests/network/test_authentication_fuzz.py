"""Random clients on a listener with SASL: whoever does not know the password is served nothing, whatever he sends.

The reactor's guard, the authentication loop and the mechanisms are the real ones. `make fuzz` runs this under the address
sanitizer. KAFKA_CY_FUZZ_SECONDS sets the duration, KAFKA_CY_FUZZ_SEED the random seed.
"""

from __future__ import annotations

import io
import os
import random
import socket
import struct
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from kafka_cy.network.control_request import ControlRequest
from kafka_cy.network.server import Server
from kafka_cy.security.sasl.oauthbearer import OAuthBearerServer
from kafka_cy.security.sasl.plain import PlainServer, PlainUsers
from kafka_cy.security.sasl.scram import ScramLookups, ScramServer
from kafka_cy.security.sasl.server import SaslServer
from kafka_cy.security.sasl.unsecured_jws import UnsecuredSettings, UnsecuredValidator
from kafka_cy.security.secret import Secret
from kafka_cy.server.authenticator import Authenticator
from kafka_cy.server.control_loop import ControlLoop, NetworkQueue
from kafka_cy.server.log import BrokerLog

from .conftest_network import COLD, ECHO, frame

SECONDS = float(os.environ.get("KAFKA_CY_FUZZ_SECONDS", "2"))
SEED = int(os.environ.get("KAFKA_CY_FUZZ_SEED", str(random.randrange(1 << 30))))
pytestmark = [pytest.mark.fuzz, pytest.mark.timeout(SECONDS + 120, func_only=True)]

HANDSHAKE, API_VERSIONS, AUTHENTICATE = 17, 18, 36
APIS = [(ECHO, 0, 9, 5), (COLD, 0, 9, 5), (API_VERSIONS, 0, 4, 3), (HANDSHAKE, 0, 1, None), (AUTHENTICATE, 0, 2, 2)]
MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "OAUTHBEARER")
CANARY = b"only-for-those-who-logged-in"
GOOD = b"\0ann\0right"


class Sasl:
    """The mechanisms of the listener (security.sasl.listener.ListenerSasl)."""

    mechanisms = MECHANISMS

    def begin(self, mechanism: str) -> SaslServer:
        if mechanism == "PLAIN":
            return PlainServer(PlainUsers({"ann": Secret("right")}))
        if mechanism == "OAUTHBEARER":
            return OAuthBearerServer(UnsecuredValidator(UnsecuredSettings()))
        return ScramServer(mechanism, ScramLookups(lambda user, mechanism: None))

    def max_reauth_ms(self, mechanism: str) -> int:
        return 2000


class Guarded:
    def __init__(self) -> None:
        self.server = Server(2)
        self.port = self.server.listen(0, "SASL", "127.0.0.1", 0)
        self.server.set_api_versions(APIS)
        self.server.set_authentication(0, 2000)
        self.server.set_authentication_limits(2000, 1000)
        self.faults: list[str] = []
        self.users: set[str | None] = set()
        self.text = io.StringIO()
        log = BrokerLog(stream=self.text)
        self.loop = ControlLoop(lambda what, error: self.faults.append(f"{what}: {error!r}"))
        self.authenticator = Authenticator({0: Sasl()}, self.loop, log, failure_delay_ms=1, timeout_ms=2000)  # type: ignore[dict-item]
        self.loop.attach(NetworkQueue(self.server, 3), self.authenticator.dispatch)
        self.cold = ControlLoop(lambda what, error: self.faults.append(f"{what}: {error!r}"))
        self.cold.attach(NetworkQueue(self.server, 0), self._cold)
        self.server.start()
        self.threads = [threading.Thread(target=loop.run) for loop in (self.loop, self.cold)]
        for thread in self.threads:
            thread.start()

    def _cold(self, request: ControlRequest) -> None:
        if request.api_key != API_VERSIONS:  # everybody may ask for them
            self.users.add(request.principal)
        request.respond(b"" if request.api_key == API_VERSIONS else CANARY)

    def stop(self) -> None:
        for loop in (self.loop, self.cold):
            loop.stop()
        for thread in self.threads:
            thread.join()
        for loop in (self.loop, self.cold):
            loop.close()
        self.server.stop(1.0)


@pytest.fixture
def guarded(probe: Any) -> Iterator[Guarded]:
    started = Guarded()
    yield started
    started.stop()


def sized(data: bytes) -> bytes:
    return struct.pack(">i", len(data)) + data


def string(text: str) -> bytes:
    return struct.pack(">h", len(text)) + text.encode()


def token(chance: random.Random, *, may_log_in: bool) -> bytes:
    tokens = [
        b"", b"\0", b"\0ann\0wrong", b"\0\0", b"n,,n=ann,r=abc", b"n,,n=zoe,r=abc", b"c=biws,r=abc,p=AAAA", b"\x01",
        b"n,,\x01auth=Bearer a.b.c\x01\x01", b"y,,n=ann,r=x", os.urandom(chance.randrange(40)), b"x" * chance.randrange(1900),
    ]  # fmt: skip
    return GOOD if may_log_in and chance.random() < 0.5 else chance.choice(tokens)


def piece(chance: random.Random, *, may_log_in: bool) -> bytes:
    """One frame, or what looks like one."""
    kind = chance.randrange(10)
    if kind < 3:
        mechanism = chance.choice((*MECHANISMS, "plain", "", "GSSAPI"))
        return frame(HANDSHAKE, string(mechanism), version=chance.choice((0, 1, 1, 2)))
    if kind < 6:
        raw = token(chance, may_log_in=may_log_in)
        if chance.random() < 0.3:
            return sized(raw)
        return frame(AUTHENTICATE, sized(raw), version=chance.choice((0, 1)))
    if kind == 6:
        return frame(API_VERSIONS, version=chance.choice((0, 9)))
    if kind == 7:
        return frame(chance.choice((ECHO, COLD)), CANARY)
    if kind == 8:
        return struct.pack(">i", chance.choice((-1, 0, 2, 7, 8, 1999, 2001, 1 << 30))) + os.urandom(chance.randrange(20))
    return os.urandom(chance.randrange(1, 60))


def converse(port: int, chance: random.Random, *, may_log_in: bool) -> bytes:
    """Send some pieces, split anywhere; everything that came back."""
    data = b"".join(piece(chance, may_log_in=may_log_in) for _ in range(chance.randrange(1, 12)))
    if may_log_in and chance.random() < 0.5:
        data = frame(HANDSHAKE, string("PLAIN"), version=1) + frame(AUTHENTICATE, sized(GOOD)) + data
    client = socket.create_connection(("127.0.0.1", port), timeout=10)
    received = bytearray()
    try:
        while data:
            size = chance.choice((1, 3, 17, 200, len(data)))
            client.sendall(data[:size])
            data = data[size:]
            if chance.random() < 0.1:
                client.settimeout(0.005)
                received += receive(client)
                client.settimeout(10)
        if chance.random() < 0.8:
            client.shutdown(socket.SHUT_WR)
            while part := receive(client):
                received += part
    except OSError:
        pass  # the server has closed it
    finally:
        client.close()
    return bytes(received)


def receive(client: socket.socket) -> bytes:
    try:
        return client.recv(65536)
    except TimeoutError:
        return b""


def test_nothing_is_served_without_the_password(guarded: Guarded) -> None:
    chance = random.Random(SEED)
    until = time.monotonic() + SECONDS
    rounds = served = 0
    while time.monotonic() < until or rounds < 50:
        may_log_in = chance.random() < 0.5
        answer = converse(guarded.port, chance, may_log_in=may_log_in)
        assert may_log_in or CANARY not in answer, f"seed {SEED}, round {rounds}"
        served += CANARY in answer
        rounds += 1
    assert guarded.users <= {"ann"} and guarded.faults == [], f"seed {SEED}"
    assert "error in the broker" not in guarded.text.getvalue(), f"seed {SEED}"
    print(f"{rounds} rounds, {served} of them were served something; seed {SEED}")
