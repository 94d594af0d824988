"""A broker with delegation tokens in this process, and connections to it without a network."""

from __future__ import annotations

from typing import Any

from control_fakes import FakeControl, make_context
from differential_tokens import ACLS, EXPIRY_MS, MAX_MS, PASSWORD, SECRET, USERS

from kafka_cy.api.context import Request
from kafka_cy.api.registry import cold_handler
from kafka_cy.authorizer.acls import AclEntry, PatternType, Permission, Resource
from kafka_cy.authorizer.authorizer import Authorizer
from kafka_cy.cluster.embedded_store import EmbeddedStore
from kafka_cy.cluster.token_cache import TokenCache
from kafka_cy.cluster.token_store import StoredTokens
from kafka_cy.cluster.token_times import TokenLifetimes
from kafka_cy.protocol.bridge import decode_request
from kafka_cy.security.sasl.plain import PlainServer, PlainUsers
from kafka_cy.security.sasl.scram import ScramLookups, ScramServer, TokenCredential
from kafka_cy.security.sasl.server import SaslFailed, SaslServer
from kafka_cy.security.secret import Secret
from tests.cluster.store_owner import Log


class KeptLog(Log):
    """Keeps the details of lines, too."""

    def __init__(self) -> None:
        super().__init__()
        self.details: list[tuple[str, dict[str, Any]]] = []

    def info(self, what: str, **details: Any) -> None:
        super().info(what, **details)
        self.details.append((what, details))

    def repeated(self, level: str, what: str, details: dict[str, Any]) -> None:
        self.lines.append(what)


class TokenBroker:
    """Its clock can be moved."""

    def __init__(
        self, store: EmbeddedStore | None = None, *, is_enabled: bool = True, tokens_max: int = 1000, is_alone: bool = True,
        check_interval_ms: int = 1000,
    ) -> None:
        self.now_ms, self.log = 1_796_040_000_000, KeptLog()
        self.step_ms = 0  # by which the clock goes on when it is read
        self.store = store or EmbeddedStore(None)
        self.timers: list[tuple[float, Any]] = []
        self.context: Any = make_context()
        self.context.log = self.log
        self.authorizer: Authorizer | None = None
        self.cache = TokenCache(SECRET, self._clock)
        self.tokens = StoredTokens(
            self.store, self.cache, TokenLifetimes(MAX_MS, EXPIRY_MS), is_alone=is_alone, tokens_max=tokens_max,
            check_interval_ms=check_interval_ms, removes_expired=lambda: True, wall_clock_ms=self._clock,
            call_later=lambda delay_ms, function: self.timers.append((delay_ms, function)), log=self.log,
        )  # fmt: skip
        if is_enabled:
            self.tokens.load(self.store)
            self.tokens.start()
            self.context.tokens = self.tokens

    def _clock(self) -> int:
        self.now_ms += self.step_ms
        return self.now_ms

    def authorize(self) -> None:
        """With the ACLs of the conversation, and admin as a super user."""
        authorizer = Authorizer("User:admin")
        for operation, kind, name, user in ACLS:
            authorizer.update({Resource(kind, PatternType.LITERAL, name): [
                *authorizer.entries(Resource(kind, PatternType.LITERAL, name)),
                AclEntry(user, "*", operation, Permission.ALLOW),
            ]})  # fmt: skip
        authorizer.open()
        self.authorizer = authorizer

    def run_timers(self) -> None:
        """Everything that is due now or later, as it is set."""
        due, self.timers = self.timers, []
        for _, function in due:
            function()

    def connect(self, user: str | None = None, *, token_authenticated: bool = False) -> Any:
        """A Connection, which stands for a RawClient."""
        return Connection(self, user, token_authenticated=token_authenticated)


class Connection:
    """What a RawClient does, without a network."""

    def __init__(self, broker: TokenBroker, user: str | None, *, token_authenticated: bool) -> None:
        self.broker, self.user, self.token_authenticated = broker, user, token_authenticated
        self.control = FakeControl()
        self._server: SaslServer | None = None

    def request_bytes(self, api_key: int, version: int, body: bytes, *, flexible: bool) -> bytes:
        self.control = FakeControl()
        request: Request[Any] = Request(
            api_key=api_key, api_version=version, correlation_id=1, client_id="test", client_host="127.0.0.1",
            listener_index=0, connection_id=1, body=decode_request(api_key, version, body), control=self.control,
            user=self.user, token_authenticated=self.token_authenticated,
            authorizer=self.broker.authorizer,
        )  # fmt: skip
        handle = cold_handler(api_key)
        assert handle is not None
        answer = handle(request, self.broker.context)
        if answer is not None:
            request.send(answer)
        assert self.control.payload is not None, self.control.reason
        return b"\0" + self.control.payload if flexible else self.control.payload

    def request(self, api_key: int, version: int, values: dict[str, Any]) -> dict[str, Any]:
        """SaslHandshake and SaslAuthenticate."""
        if api_key == 17:
            self._server = self._begin(values["mechanism"])
            return {"error_code": 0}
        assert self._server is not None
        try:
            step = self._server.step(values["auth_bytes"])
        except SaslFailed as error:
            return {"error_code": 58, "error_message": error.message}
        lifetime_ms = 0
        if step.success is not None:
            self.user, self.token_authenticated = step.success.name, step.success.is_token
            lifetime_ms = (step.success.expires_ms or self.broker.now_ms) - self.broker.now_ms
        return {"error_code": 0, "auth_bytes": step.challenge, "session_lifetime": lifetime_ms}

    def _begin(self, mechanism: str) -> SaslServer:
        if mechanism == "PLAIN":
            return PlainServer(PlainUsers({name: Secret(PASSWORD) for name in ("admin", *USERS)}))
        return ScramServer(mechanism, ScramLookups(lambda name, of: None, self._token))

    def _token(self, name: str, mechanism: str) -> TokenCredential | None:
        found = self.broker.cache.login(name, mechanism)
        return TokenCredential(*found) if found is not None else None


