"""The authentication loop's decisions, with requests and mechanisms of the test's own."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any, ClassVar

import pytest

from kafka_cy.protocol.bridge import decode_request
from kafka_cy.security.sasl.server import NotReady, SaslFailed, SaslServer, Step, Success
from kafka_cy.server.authenticator import (
    EXPIRES_NS_MAX,
    FAILED,
    FIRST,
    OPEN,
    RAW_TOKENS,
    STEP_ILLEGAL,
    STEP_RAW_TOKEN,
    STEP_REQUEST,
    TOKENS,
    Authenticator,
)
from kafka_cy.server.control_loop import ControlLoop
from kafka_cy.server.log import BrokerLog

NOW_NS = 10**12
STEPS: dict[bytes, Callable[[], Step]] = {
    b"more": lambda: Step(b"challenge"),
    b"ann": lambda: Step(b"", Success("ann")),
    b"far": lambda: Step(b"", Success("ann", expires_ms=253402300799000)),
    b"token": lambda: Step(b"", Success("ann", is_token=True)),
    b"past": lambda: Step(b"", Success("ann", expires_ms=1)),
}


class Server:
    prepared: ClassVar[set[bytes]] = set()  # tokens whose work was done

    def step(self, token: bytes) -> Step:
        if token.startswith(b"slow") and token not in self.prepared:
            raise NotReady(lambda: self.prepare(token))
        token = token.removeprefix(b"slow ").removesuffix(b"!")
        if token == b"fault":
            raise RuntimeError("canary")
        if token not in STEPS:
            raise SaslFailed("no", "the reason")
        return STEPS[token]()


    def prepare(self, token: bytes) -> None:
        if token == b"slow fault":
            raise OSError("canary")
        self.prepared.add(token)


class Sasl:
    mechanisms = ("PLAIN", "SCRAM-SHA-256")
    reauth_ms = 0

    def begin(self, mechanism: str) -> SaslServer:
        return Server()

    def max_reauth_ms(self, mechanism: str) -> int:
        return self.reauth_ms


class Control:
    """A request on the authentication loop."""

    correlation_id, client_host, listener_index, answered = 1, "1.2.3.4", 0, False

    def __init__(
        self, api_key: int, version: int, body: bytes, step: int, state: int, *, user: str | None = None, since_ns: int = 0
    ) -> None:
        self.api_key, self.api_version, self.body, self.connection_id = api_key, version, body, 7
        self.authentication, self.principal = (step, state, since_ns, 0), user
        self.decided: tuple[Any, ...] = ()
        self.payload: bytes | None = None
        self.reason = ""

    def begin(self) -> None: ...
    def handled(self) -> None: ...

    def authenticate(self, *decided: Any) -> None:
        self.decided = decided
        assert len(decided) < 3 or decided[2] < 2**63

    def respond(self, payload: bytes, errors: object) -> None:
        assert not self.answered
        self.payload, self.answered = payload, True

    def close(self, reason: str) -> None:
        assert not self.answered
        self.reason, self.answered = reason, True


class World:
    def __init__(self) -> None:
        self.sasl, self.text = Sasl(), io.StringIO()
        self.now_s = 0.0
        self.loop = ControlLoop(lambda what, error: pytest.fail(f"{what}: {error!r}"))
        self.loop.now = lambda: self.now_s  # type: ignore[method-assign]
        self.authenticator = Authenticator(
            {0: self.sasl}, self.loop, BrokerLog(stream=self.text), failure_delay_ms=100, timeout_ms=30_000,  # type: ignore[dict-item]
            now_ns=lambda: NOW_NS,
        )  # fmt: skip

    def handshake(self, mechanism: str = "PLAIN", version: int = 1, state: int = FIRST, **more: Any) -> Control:
        body = len(mechanism).to_bytes(2) + mechanism.encode()
        return self.ask(Control(17, version, body, STEP_REQUEST, state, **more))

    def token(self, token: bytes, state: int = TOKENS, **more: Any) -> Control:
        return self.ask(Control(36, 1, len(token).to_bytes(4) + token, STEP_REQUEST, state, **more))

    def ask(self, control: Control) -> Control:
        self.authenticator.dispatch(control)  # type: ignore[arg-type]
        return control

    def later(self, seconds: float) -> None:
        self.now_s += seconds
        self.loop.run_pending()


@pytest.fixture
def world() -> World:
    return World()


def test_a_login(world: World) -> None:
    assert world.handshake().decided == (TOKENS,) and len(world.authenticator) == 1
    assert world.token(b"more").decided == (TOKENS,)
    assert world.token(b"ann").decided == (OPEN, "ann", 0, 0, False) and len(world.authenticator) == 0
    world.handshake()
    assert world.token(b"token").decided == (OPEN, "ann", 0, 0, True), "the connection is that of a token"
    assert decode_request(36, 1, (5).to_bytes(4) + b"token") is not None


def test_conversations_end_with_their_time_or_their_connection(world: World) -> None:
    world.handshake()
    world.later(29)
    world.handshake()  # a second one of the connection takes the place of the first, and has its own time
    world.later(29)
    assert len(world.authenticator) == 1
    world.later(2)
    assert len(world.authenticator) == 0
    world.handshake()
    world.authenticator.forget(7)
    world.authenticator.forget(7)
    assert len(world.authenticator) == 0
    assert world.token(b"ann").reason == "a SASL token without a handshake for its mechanism"


def test_failures_are_answered_after_the_delay(world: World) -> None:
    world.handshake()
    control = world.token(b"wrong")
    assert not control.answered and len(world.authenticator) == 0
    world.later(0.2)
    assert control.decided == (FAILED,) and control.payload is not None and b"no" in control.payload
    refused = world.handshake("GSSAPI")
    assert not refused.answered
    world.later(0.2)
    assert refused.decided == (FAILED,)
    assert 'authentication failed client=1.2.3.4 mechanism=PLAIN reason="the reason"' in world.text.getvalue()


def test_a_bare_token_that_fails_closes_after_the_delay(world: World) -> None:
    world.handshake(version=0)
    control = world.ask(Control(36, 0, b"wrong", STEP_RAW_TOKEN, RAW_TOKENS))
    assert not control.answered
    world.later(0.2)
    assert control.reason == "authentication failed: the reason"


def test_a_connection_that_closes_before_the_delay_is_over(world: World) -> None:
    world.handshake()
    control = world.token(b"wrong")
    control.close("gone")
    world.later(0.2)  # nothing is answered twice


@pytest.mark.parametrize(
    ("token", "reauth_ms", "lifetime_ms"), [(b"ann", 0, None), (b"ann", 5000, 5000), (b"past", 0, 0), (b"past", 5000, 0)]
)
def test_lifetimes(world: World, token: bytes, reauth_ms: int, lifetime_ms: int | None) -> None:
    world.sasl.reauth_ms = reauth_ms
    world.handshake()
    expires_ns = 0 if lifetime_ms is None else NOW_NS + lifetime_ms * 1_000_000
    assert world.token(token).decided == (OPEN, "ann", expires_ns, 0, False)


@pytest.mark.parametrize(("token", "reauth_ms"), [(b"far", 0), (b"ann", 2**63 - 1)])
def test_a_lifetime_that_never_ends(world: World, token: bytes, reauth_ms: int) -> None:
    world.sasl.reauth_ms = reauth_ms
    world.handshake()
    decided = world.token(token).decided
    assert decided[:2] == (OPEN, "ann") and decided[2] in (EXPIRES_NS_MAX, decided[2]) and decided[2] > NOW_NS + 10**18


def test_prolonging(world: World) -> None:
    """Not within a second, not by another user, not with another mechanism."""
    early = world.handshake(state=OPEN, user="ann", since_ns=NOW_NS - 1)
    assert early.decided == (OPEN,) and early.payload is not None and early.payload[:2] == (34).to_bytes(2)
    since = NOW_NS - 2 * 10**9
    assert world.handshake(state=OPEN, user="ann", since_ns=since).decided == (TOKENS,)
    assert world.token(b"ann", user="ann", since_ns=since).decided == (OPEN, "ann", 0, 0, False)
    world.handshake(state=OPEN, user="bob", since_ns=since)
    other = world.token(b"ann", user="bob", since_ns=since)
    world.later(0.2)
    text = b"Cannot change principals during re-authentication from User.bob: User.ann"
    assert other.decided == (FAILED,) and other.payload is not None and text in other.payload
    assert world.handshake("SCRAM-SHA-256", state=OPEN, user="ann", since_ns=since).decided == (TOKENS,)
    assert world.token(b"ann", user="ann", since_ns=since).reason


@pytest.mark.parametrize(("api_key", "version"), [(3, 1), (18, 0), (18, 99), (1, 11), (6, 0), (999, 0)])
def test_another_request_in_the_place_of_a_token(world: World, api_key: int, version: int) -> None:
    """Its own response where there is one, and the end of the connection."""
    world.handshake()
    control = world.ask(Control(api_key, version, b"", STEP_ILLEGAL, TOKENS))
    assert control.answered and control.decided == (FAILED,) and len(world.authenticator) == 0
    assert "error in the broker" not in world.text.getvalue()
    assert "another request in the place of a SASL token" in world.text.getvalue()


def test_a_fault_costs_one_connection_and_shows_no_secret(world: World) -> None:
    world.handshake()
    assert world.token(b"fault").reason and len(world.authenticator) == 0
    assert "error=RuntimeError" in world.text.getvalue() and "canary" not in world.text.getvalue()


def test_malformed_requests(world: World) -> None:
    assert "malformed" in world.ask(Control(17, 1, b"\xff", STEP_REQUEST, FIRST)).reason
    world.handshake()
    assert "malformed" in world.ask(Control(36, 1, b"\0\0", STEP_REQUEST, TOKENS)).reason


class Slow(World):
    """Threads are run by the test. The connections have numbers."""

    def __init__(self) -> None:
        super().__init__()
        Server.prepared = set()
        self.threads: list[tuple[Callable[[], object], Callable[[], object]]] = []
        self.loop.run_in_thread = lambda *work: self.threads.append(work)  # type: ignore[method-assign]

    def begin(self, connection_id: int, token: bytes) -> Control:
        for control in (
            Control(17, 1, b"\0\5PLAIN", STEP_REQUEST, FIRST),
            Control(36, 1, len(token).to_bytes(4) + token, STEP_REQUEST, TOKENS),
        ):
            control.connection_id = connection_id
            self.ask(control)
        return control

    def run_one(self) -> None:
        work, done = self.threads.pop(0)
        work()
        done()


def test_work_of_a_step_leaves_the_loop() -> None:
    """One thread works, in the order of the requests; meanwhile others log in."""
    world = Slow()
    first, second = world.begin(1, b"slow ann"), world.begin(2, b"slow token")
    assert not (first.answered or second.answered or Server.prepared) and len(world.threads) == 1
    assert world.begin(3, b"ann").decided == (OPEN, "ann", 0, 0, False)
    world.run_one()
    assert first.decided == (OPEN, "ann", 0, 0, False) and not second.answered and len(world.threads) == 1
    world.run_one()
    assert second.decided == (OPEN, "ann", 0, 0, True) and world.threads == [] and len(world.authenticator) == 0
    assert world.begin(4, b"slow ann").answered, "there is nothing left to do"


def test_no_work_for_connections_that_have_gone() -> None:
    """Nor for those whose time is over; these are told."""
    world = Slow()
    controls = [world.begin(number, b"slow ann" + b"!" * number) for number in range(4)]
    controls[1].answered = True
    world.authenticator.forget(1)
    world.authenticator.forget(2)
    world.run_one()
    assert [each.decided[:1] for each in controls[::3]] == [(OPEN,), ()]
    assert controls[2].reason == "the authentication took too long"
    assert len(world.threads) == 1
    controls[3].answered = True
    world.authenticator.forget(3)
    world.run_one()
    assert controls[3].decided == () and world.threads == []


def test_work_that_fails_costs_one_connection() -> None:
    world = Slow()
    controls = [world.begin(1, b"slow fault"), world.begin(2, b"slow ann")]
    world.run_one()
    assert controls[0].reason == "the broker failed to handle the request" and "canary" not in world.text.getvalue()
    world.run_one()
    assert controls[1].decided == (OPEN, "ann", 0, 0, False)

    def no_thread(*work: object) -> None:
        raise RuntimeError("can't start new thread")

    world.loop.run_in_thread = no_thread  # type: ignore[method-assign]
    assert world.begin(3, b"slow token").reason == "the broker failed to handle the request"
    assert world.begin(4, b"ann").decided == (OPEN, "ann", 0, 0, False)
