"""A server whose listener has SASL: the reactor's guard, the authentication loop and the mechanisms are the real ones.

Users are `ann`, `bob` and NAMED, each with the password that `PASSWORDS` has; `ann` and `bob` also have a delegation token and a
signed token. Every request of a user is answered with CANARY and the name of the user.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import hmac
import io
import json
import threading
import time
from collections.abc import Callable, Generator

from kafka_cy.cluster.scram_credentials import MECHANISMS as SCRAM_NUMBERS
from kafka_cy.cluster.scram_credentials import ScramCredential, new_credential, salted_password
from kafka_cy.network.control_request import ControlRequest
from kafka_cy.network.server import Server
from kafka_cy.protocol.decoder import entity_reader
from kafka_cy.protocol.schema import message_class
from kafka_cy.security.sasl.jwks import RefreshedKeySet, RefreshSettings
from kafka_cy.security.sasl.jwt import JwtSettings, JwtValidator
from kafka_cy.security.sasl.oauthbearer import OAuthBearerServer
from kafka_cy.security.sasl.plain import PlainServer, PlainUsers
from kafka_cy.security.sasl.scram import ScramLookups, ScramServer, TokenCredential
from kafka_cy.security.sasl.server import NotReady, SaslServer
from kafka_cy.security.secret import Secret
from kafka_cy.server.authenticator import REAUTHENTICATION_MIN_NS, Authenticator
from kafka_cy.server.control_loop import ControlLoop, NetworkQueue
from kafka_cy.server.log import BrokerLog
from tests.security.token_issuer import ec_key, jwk, now_claims, token

HANDSHAKE, API_VERSIONS, AUTHENTICATE = 17, 18, 36
MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER")
AUTHENTICATION = 3  # the queue
CANARY = b"only-for-those-who-logged-in|"
NAMED = 'o\'neil, "=\\\n\u2028\xad\u2168\x7f'
PASSWORDS = {"ann": "right", "bob": "another", NAMED: "pä,=ss"}
TOKENS = {"token-of-ann": "ann", "token-of-bob": "bob"}  # id -> owner; the HMAC is the id, backwards
SALT, ITERATIONS = b"a salt of 16 b..", 4096
FOR_EVER_MS = 1 << 45
TOKEN_KEY = ec_key("sasl_server", "P-256")


@functools.cache
def salted(mechanism: str, password: str) -> bytes:
    number = next(number for number, (name, _) in SCRAM_NUMBERS.items() if name == mechanism)
    return salted_password(number, password.encode(), SALT, ITERATIONS)


@functools.cache
def credential(mechanism: str, password: str) -> ScramCredential:
    number = next(number for number, (name, _) in SCRAM_NUMBERS.items() if name == mechanism)
    return new_credential(number, SALT, salted(mechanism, password), ITERATIONS)


@functools.cache
def bearer_token(user: str) -> str:
    return token(TOKEN_KEY, now_claims(sub=user), "ES256", "key")


class Sasl:
    """The mechanisms of the listener (security.sasl.listener.ListenerSasl)."""

    def __init__(self, extra: dict[str, Callable[[], SaslServer]]) -> None:
        """`extra`: mechanisms besides MECHANISMS."""
        self.extra = extra
        self.mechanisms = (*MECHANISMS, *extra)
        self.plain = PlainUsers({user: Secret(password) for user, password in PASSWORDS.items()})
        self.lookups = ScramLookups(self.credential, self.token)
        self.hashed: set[tuple[str, str]] = set()
        keys = RefreshedKeySet(lambda: json.dumps({"keys": [jwk(TOKEN_KEY, "key")]}).encode(), RefreshSettings())
        keys.refresh()
        self.validator = JwtValidator(JwtSettings(), keys)

    def credential(self, user: str, mechanism: str) -> ScramCredential | None:
        return credential(mechanism, PASSWORDS[user]) if user in PASSWORDS else None

    def token(self, token_id: str, mechanism: str) -> TokenCredential | None:
        """As the broker's, the first login with a token waits for a hash."""
        if token_id not in TOKENS:
            return None
        if (token_id, mechanism) not in self.hashed:
            raise NotReady(lambda: self.hashed.add((token_id, mechanism)))
        return TokenCredential(credential(mechanism, token_id[::-1]), TOKENS[token_id], FOR_EVER_MS)

    def begin(self, mechanism: str) -> SaslServer:
        if mechanism in self.extra:
            return self.extra[mechanism]()
        if mechanism == "PLAIN":
            return PlainServer(self.plain)
        return OAuthBearerServer(self.validator) if mechanism == "OAUTHBEARER" else ScramServer(mechanism, self.lookups)

    def max_reauth_ms(self, mechanism: str) -> int:
        """Some sessions end, so that they are prolonged; that of an OAuth token always does."""
        return 3_600_000 if mechanism in ("PLAIN", "SCRAM-SHA-512") else 0


class SaslServerUnderTest:
    """`apis`: rows of Server.set_api_versions, without those of SASL."""

    def __init__(
        self, apis: list[tuple[int, int, int, int | None]], *, token_bytes_max: int = 98_304, timeout_ms: int = 30_000,
        connections_max: int = 1000, queues: tuple[int, ...] = (0,), extra: dict[str, Callable[[], SaslServer]] | None = None,
    ) -> None:  # fmt: skip
        """`queues`: those whose requests are answered; others keep theirs."""
        for api_key, version in ((HANDSHAKE, 1), (AUTHENTICATE, 1)):  # loaded before a client's time begins
            for kind in ("request", "response"):
                entity_reader(message_class(api_key, version, kind))
        self.server = Server(2)
        self.port = self.server.listen(0, "SASL", "127.0.0.1", 0)
        self.server.set_api_versions([*apis, (HANDSHAKE, 0, 1, None), (AUTHENTICATE, 0, 2, 2)])
        self.server.set_authentication(0, token_bytes_max)
        self.server.set_authentication_limits(timeout_ms, connections_max)
        self.faults: list[str] = []
        self.users: set[str | None] = set()  # of the requests that were answered
        self.text = io.StringIO()
        self.loops = [self._loop() for _ in range(1 + len(queues))]
        self.authenticator = Authenticator(
            {0: Sasl(extra or {})}, self.loops[0], BrokerLog(stream=self.text), failure_delay_ms=1, timeout_ms=timeout_ms,  # type: ignore[dict-item]
            now_ns=lambda: self.now_ns(),
        )  # fmt: skip
        self.loops[0].attach(NetworkQueue(self.server, AUTHENTICATION), self.authenticator.dispatch, self._look)
        for loop, queue in zip(self.loops[1:], queues, strict=True):
            loop.attach(NetworkQueue(self.server, queue), self._answer)
        self.server.start()
        self.threads = [threading.Thread(target=loop.run) for loop in self.loops]
        for thread in self.threads:
            thread.start()

    def _loop(self) -> ControlLoop:
        return ControlLoop(lambda what, error: self.faults.append(f"{what}: {error!r}"))

    def now_ns(self) -> int:
        """Ahead, so that a session may be prolonged at once."""
        return time.monotonic_ns() + REAUTHENTICATION_MIN_NS

    def _look(self) -> None:
        for connection_id in self.server.take_closed(AUTHENTICATION):
            self.authenticator.forget(connection_id)

    def _answer(self, request: ControlRequest) -> None:
        if request.api_key == API_VERSIONS:  # anybody may ask; reactors answer it, if an earlier test has registered their handlers
            request.respond(b"versions")
            return
        self.users.add(request.principal)
        request.respond(CANARY + (request.principal or "").encode())

    def stop(self) -> None:
        for loop in self.loops:
            loop.stop()
        for thread in self.threads:
            thread.join()
        for loop in self.loops:
            loop.join_workers()
            loop.close()
        self.server.stop(1.0)


# -- what clients say --

Dialogue = Generator[bytes, bytes, None]  # the client's tokens; each is answered with the server's


def escaped(name: str) -> str:
    return name.replace("=", "=3D").replace(",", "=2C")


def plain_dialogue(user: str, password: str) -> Dialogue:
    yield f"\0{user}\0{password}".encode()


def bearer_dialogue(jwt: str) -> Dialogue:
    if (yield f"n,,\x01auth=Bearer {jwt}\x01\x01".encode()):
        yield b"\x01"  # the token was rejected


def scram_dialogue(mechanism: str, name: str, password: str, nonce: str, extensions: str = "") -> Dialogue:
    hash_name = {"SCRAM-SHA-256": "sha256", "SCRAM-SHA-512": "sha512"}[mechanism]
    bare = f"n={escaped(name)},r={nonce}{extensions}".encode()
    first = yield b"n,," + bare
    fields = dict(part.partition(b"=")[::2] for part in first.split(b","))
    without_proof = b"c=biws,r=" + fields.get(b"r", b"")
    key = salted(mechanism, password)  # of the salt that every user has; whoever is not one has no right proof in any case
    client_key = hmac.digest(key, b"Client Key", hash_name)
    signature = hmac.digest(hashlib.new(hash_name, client_key).digest(), b"%s,%s,%s" % (bare, first, without_proof), hash_name)
    proof = bytes(a ^ b for a, b in zip(client_key, signature, strict=True))
    yield without_proof + b",p=" + base64.b64encode(proof)


def dialogue(mechanism: str, user: str, nonce: str, *, knows: bool, with_token: bool = False) -> Dialogue:
    """What a client says who logs in as the user. Without `knows`, its secret is a wrong one."""
    wrong = "" if knows else "x"
    if mechanism == "PLAIN":
        return plain_dialogue(user, PASSWORDS[user] + wrong)
    if mechanism == "OAUTHBEARER":
        jwt = bearer_token(user)
        signed, _, signature = jwt.rpartition(".")
        return bearer_dialogue(jwt if knows else f"{signed}.{signature[::-1]}")
    if with_token:
        token_id = next(each for each, owner in TOKENS.items() if owner == user)
        return scram_dialogue(mechanism, token_id, token_id[::-1] + wrong, nonce, ",tokenauth=true")
    return scram_dialogue(mechanism, user, PASSWORDS[user] + wrong, nonce)
