"""SASL handshakes and tokens (KIP-43, KIP-152, KIP-368), on a loop of their own. See SaslServerAuthenticator.

Reactors keep the order of requests (network/authentication) and ask here what a SaslHandshake or a token means, one at a time
for each connection.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from kafka_cy.protocol.errors import ErrorCode
from kafka_cy.security.sasl.server import NotReady, SaslFailed, SaslServer, Success

if TYPE_CHECKING:
    from kafka_cy.network.control_request import ControlRequest
    from kafka_cy.security.sasl.listener import ListenerSasl
    from kafka_cy.server.control_loop import ControlLoop, Timer
    from kafka_cy.server.log import BrokerLog

# As AuthenticationState and AuthenticationStep of network/authentication.
FIRST, TOKENS, RAW_TOKENS, OPEN, FAILED = 1, 2, 3, 4, 5
STEP_REQUEST, STEP_RAW_TOKEN, STEP_ILLEGAL = 1, 2, 3
SASL_HANDSHAKE, SASL_AUTHENTICATE = 17, 36
MECHANISMS: Final = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "GSSAPI", "OAUTHBEARER")
REAUTHENTICATION_MIN_NS: Final = 1_000_000_000  # between two authentications of a connection (KIP-368)
EXPIRES_NS_MAX: Final = 2**63 - 1


class _Conversation(NamedTuple):
    """From a SaslHandshake to the last token."""

    mechanism: str
    server: SaslServer
    timer: Timer


class _Waiting(NamedTuple):
    """A step that waits for work on another thread."""

    control: ControlRequest
    conversation: _Conversation
    token: bytes
    work: Callable[[], object]


class Authenticator:
    """Owner: the authentication loop. Limit: a conversation for each open connection that authenticates, at most for the time that
    a connection has for it; one step of each waits for work at most, and one thread works.
    """

    def __init__(
        self,
        listeners: Mapping[int, ListenerSasl],
        loop: ControlLoop,
        log: BrokerLog,
        *,
        failure_delay_ms: int,
        timeout_ms: int,
        now_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        """`listeners`: by index. `failure_delay_ms`: connection.failed.authentication.delay.ms."""
        self._listeners = listeners
        self._loop, self._log = loop, log
        self._failure_delay_s, self._timeout_s = failure_delay_ms / 1000, timeout_ms / 1000
        self._now_ns = now_ns
        self._conversations: dict[int, _Conversation] = {}  # by connection
        self._waiting: deque[_Waiting] = deque()
        self._is_working = False

    def __len__(self) -> int:
        return len(self._conversations)

    def dispatch(self, control: ControlRequest) -> None:
        """Answer one request of a connection that authenticates."""
        control.begin()
        try:
            self._guarded(control, lambda: self._dispatch(control))
        finally:
            control.handled()

    def _guarded(self, control: ControlRequest, function: Callable[[], object]) -> None:
        try:
            function()
        except Exception as error:  # noqa: BLE001 a fault costs this connection only, and its text may hold a secret
            self.forget(control.connection_id)
            self._log.repeated("error", "a SASL request failed because of an error in the broker", {"error": type(error).__name__})
            if not control.answered:
                control.close("the broker failed to handle the request")

    def _dispatch(self, control: ControlRequest) -> None:
        from kafka_cy.protocol.bridge import MalformedRequest, decode_request

        step, *_ = control.authentication
        if step == STEP_ILLEGAL:
            self._illegal(control)
            return
        if step == STEP_RAW_TOKEN:
            self._token(control, control.body)
            return
        try:
            request = decode_request(control.api_key, control.api_version, control.body)
        except MalformedRequest as error:
            control.close(f"malformed request: {error}")
            return
        if control.api_key == SASL_HANDSHAKE:
            self._handshake(control, request.mechanism)
        else:
            self._token(control, bytes(request.auth_bytes))

    # -- the handshake --

    def _handshake(self, control: ControlRequest, mechanism: str) -> None:
        _, state, authenticated_ns, authenticated_with = control.authentication
        sasl = self._listeners[control.listener_index]
        if state == OPEN and self._now_ns() - authenticated_ns < REAUTHENTICATION_MIN_NS:
            self._answer_handshake(control, ErrorCode.ILLEGAL_SASL_STATE, (), OPEN)
            return
        if mechanism not in sasl.mechanisms:
            self._failed(control, f"Unsupported SASL mechanism {mechanism!r:.80}")
            self._later(control, lambda: self._answer_handshake(
                control, ErrorCode.UNSUPPORTED_SASL_MECHANISM, sasl.mechanisms, FAILED
            ))  # fmt: skip
            return
        if state != OPEN or mechanism == MECHANISMS[authenticated_with]:
            self._begin(control.connection_id, mechanism, sasl.begin(mechanism))
        # Otherwise, as in Kafka, the handshake succeeds, and the token after it finds no conversation.
        self._answer_handshake(control, ErrorCode.NONE, sasl.mechanisms, TOKENS if control.api_version > 0 else RAW_TOKENS)

    def _answer_handshake(self, control: ControlRequest, error: ErrorCode, mechanisms: tuple[str, ...], state: int) -> None:
        control.authenticate(state)
        _respond(control, {"error_code": error, "mechanisms": list(mechanisms)}, error)

    def _begin(self, connection_id: int, mechanism: str, server: SaslServer) -> None:
        self.forget(connection_id)
        timer = self._loop.call_later(self._timeout_s, self.forget, connection_id)
        self._conversations[connection_id] = _Conversation(mechanism, server, timer)

    def forget(self, connection_id: int) -> None:
        """The connection is authenticated, has failed or has closed, or its time is over."""
        conversation = self._conversations.pop(connection_id, None)
        if conversation is not None:
            conversation.timer.cancel()

    # -- tokens --

    def _token(self, control: ControlRequest, token: bytes, *, may_wait: bool = True) -> None:
        conversation = self._conversations.get(control.connection_id)
        if conversation is None:
            control.close("a SASL token without a handshake for its mechanism")
            return
        try:
            step = conversation.server.step(token)
            if step.success is not None:
                self._check_name(control, step.success)
        except NotReady as wait:
            if not may_wait:
                raise RuntimeError("the work before a step has failed") from None
            self._waiting.append(_Waiting(control, conversation, token, wait.work))
            self._work()
            return
        except SaslFailed as error:
            self.forget(control.connection_id)
            message, reason = error.message, error.reason or error.message
            if error.may_try_again or control.authentication[0] == STEP_RAW_TOKEN:  # the line about its end has the reason
                self._later(control, lambda: control.close(f"authentication failed: {reason}"))
                return
            self._failed(control, reason, conversation.mechanism)
            self._later(control, lambda: self._refuse(control, message))
            return
        _, state, _, _ = control.authentication
        lifetime_ms = 0
        if step.success is None:
            control.authenticate(state)
        else:
            self.forget(control.connection_id)
            lifetime_ms = self._open(control, conversation.mechanism, step.success)
        if state == RAW_TOKENS:
            control.respond(None if step.is_silent else step.challenge, {0: 1})
        else:
            body = {"error_code": 0, "error_message": None, "auth_bytes": step.challenge, "session_lifetime": lifetime_ms}
            _respond(control, body, ErrorCode.NONE)

    def _work(self) -> None:
        """Run what steps wait for on one thread, one after the other, for connections that are still there."""
        while self._waiting and not self._is_working:
            step = self._waiting.popleft()
            self._guarded(step.control, lambda step=step: self._begin_work(step))  # type: ignore[misc]

    def _begin_work(self, step: _Waiting) -> None:
        if self._is_over(step):
            return

        def work() -> None:
            with suppress(Exception):  # the step fails then
                step.work()

        self._loop.run_in_thread(work, lambda: self._worked(step))
        self._is_working = True

    def _worked(self, step: _Waiting) -> None:
        self._is_working = False
        if not self._is_over(step):
            self._guarded(step.control, lambda: self._token(step.control, step.token, may_wait=False))
        self._work()

    def _is_over(self, step: _Waiting) -> bool:
        is_over = self._conversations.get(step.control.connection_id) is not step.conversation
        if is_over and not step.control.answered:  # its time is over
            step.control.close("the authentication took too long")
        return is_over

    def _check_name(self, control: ControlRequest, success: Success) -> None:
        before, (_, _, authenticated_ns, _) = control.principal, control.authentication
        if authenticated_ns and success.name != before:
            raise SaslFailed(
                f"Cannot change principals during re-authentication from User.{before}: User.{success.name}"
            )

    def _open(self, control: ControlRequest, mechanism: str, success: Success) -> int:
        """The client is authenticated. Returns the lifetime of its session in ms; 0: it has none."""
        sasl = self._listeners[control.listener_index]
        lifetimes = [ms for ms in (sasl.max_reauth_ms(mechanism),) if ms > 0]
        if success.expires_ms is not None:
            lifetimes.append(max(0, success.expires_ms - time.time_ns() // 1_000_000))
        lifetime_ms = min(lifetimes, default=0)
        expires_ns = min(self._now_ns() + lifetime_ms * 1_000_000, EXPIRES_NS_MAX) if lifetimes else 0
        control.authenticate(OPEN, success.name, expires_ns, MECHANISMS.index(mechanism), success.is_token)
        return lifetime_ms

    # -- what fails --

    def _refuse(self, control: ControlRequest, message: str) -> None:
        control.authenticate(FAILED)
        error = ErrorCode.SASL_AUTHENTICATION_FAILED
        _respond(control, {"error_code": error, "error_message": message, "auth_bytes": b"", "session_lifetime": 0}, error)

    def _illegal(self, control: ControlRequest) -> None:
        """Another request in the place of a token gets its own response, with ILLEGAL_SASL_STATE, and the connection is closed."""
        self.forget(control.connection_id)
        self._failed(control, "another request in the place of a SASL token")
        control.authenticate(FAILED)
        error = ErrorCode.ILLEGAL_SASL_STATE
        try:
            _respond(control, {"error_code": error}, error)
        except KeyError:  # kio does not have the message: one of those that only brokers send
            control.close("another request in the place of a SASL token")

    def _failed(self, control: ControlRequest, reason: str, mechanism: str = "") -> None:
        details = {"client": control.client_host, "mechanism": mechanism, "reason": reason}
        self._log.repeated("warning", "authentication failed", details, control.client_host)

    def _later(self, control: ControlRequest, function: Callable[[], object]) -> None:
        """Answer after connection.failed.authentication.delay.ms, so that guessing takes time."""

        def call() -> None:
            if not control.answered:
                function()

        self._loop.call_later(self._failure_delay_s, call)


def _respond(control: ControlRequest, body: Mapping[str, Any], error: ErrorCode) -> None:
    from kafka_cy.protocol.bridge import encode_response

    control.respond(encode_response(control.api_key, control.api_version, body), {int(error): 1})
