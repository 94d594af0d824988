"""Gets access tokens with the client credentials grant (RFC 6749, 4.4), as Kafka's HttpAccessTokenRetriever."""

from __future__ import annotations

import base64
import http.client
import io
import json
import re
import socket
import ssl
import time
from collections.abc import Callable
from typing import Any, Final, NamedTuple
from urllib.parse import quote_plus, urlsplit

from kafka_cy.security.sasl.renewal import RenewalFailed
from kafka_cy.security.secret import Secret

ANSWER_BYTES_MAX: Final = 64 << 10
ANSWER_S: Final = 30.0  # for the request and the whole answer
TIMEOUT_MS: Final = 10_000  # of connecting and of each read, where Kafka's keys are not set
_FINAL: Final = frozenset((*range(400, 408), *range(409, 416), 501, 505))  # statuses that another attempt does not change
_ERROR_CODE: Final = re.compile(r"[a-z_]{1,40}")


class Credentials(NamedTuple):
    """Of the client that this broker is to the issuer."""

    client_id: str
    client_secret: Secret
    scope: str | None

    def header(self, *, url_encode: bool) -> str:
        """The value of `Authorization`."""
        parts = (self.client_id, self.client_secret.reveal())
        text = ":".join(quote_plus(part) if url_encode else part for part in parts)
        return "Basic " + base64.b64encode(text.encode()).decode()

    def body(self) -> str:
        """The form that is posted."""
        return "grant_type=client_credentials" + (f"&scope={quote_plus(self.scope)}" if self.scope else "")


class EndpointSettings(NamedTuple):
    """Keys `sasl.login.*`."""

    connect_timeout_ms: int = TIMEOUT_MS
    read_timeout_ms: int = TIMEOUT_MS
    retry_ms: int = 100
    retry_max_ms: int = 10_000


class _Final(RenewalFailed):
    """Another attempt would have the same answer."""


class TokenEndpoint:
    """`retrieve` is for one thread, which waits for the network. No proxy is used, and no redirection followed."""

    def __init__(
        self,
        url: str,
        credentials: Credentials,
        settings: EndpointSettings,
        context: ssl.SSLContext | None = None,
        *,
        url_encode: bool = False,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        """`url`: http: or https:, the latter with `context`. `url_encode`: client id and secret in the header."""
        self._parts = urlsplit(url)
        self._body, self._header = credentials.body(), Secret(credentials.header(url_encode=url_encode))
        self._settings, self._context, self._sleep = settings, context, sleep

    def retrieve(self) -> str:
        """An access token. Tries again, with pauses that grow, for sasl.login.retry.backoff.max.ms. Raises RenewalFailed."""
        end_s, attempt = time.monotonic() + self._settings.retry_max_ms / 1000, 0
        while True:
            try:
                return self._ask()
            except _Final:
                raise
            except RenewalFailed:
                left_s = end_s - time.monotonic()
                if left_s <= 0:
                    raise
                self._sleep(min(self._settings.retry_ms << min(attempt, 20), left_s * 1000) / 1000)
                attempt += 1

    def _ask(self) -> str:
        try:
            status, body = self._exchange()
        except (OSError, http.client.HTTPException, ValueError) as error:
            # Not its whole text, which might repeat what was sent or received.
            reason = (isinstance(error, OSError) and error.strerror) or type(error).__name__
            raise RenewalFailed(f"the token endpoint cannot be asked: {reason}") from None
        if status not in (200, 201):
            failed = _Final if status in _FINAL else RenewalFailed
            raise failed(f"the token endpoint answers {status}{_error_code(body)}")
        try:
            token = json.loads(body).get("access_token")
        except (ValueError, RecursionError, AttributeError):
            token = None
        if not isinstance(token, str) or not token.strip():
            raise _Final("the answer of the token endpoint has no access_token")
        return token

    def _exchange(self) -> tuple[int, bytes]:
        connection, settings = self._connection(), self._settings
        try:
            connection.connect()
            answer = _Answer(connection.sock, settings.read_timeout_ms / 1000)
            path = (self._parts.path or "/") + (f"?{self._parts.query}" if self._parts.query else "")
            headers = {
                "Accept": "application/json", "Authorization": self._header.reveal(), "Cache-Control": "no-cache",
                "Content-Type": "application/x-www-form-urlencoded",
            }  # fmt: skip
            connection.request("POST", path, self._body, headers)
            with http.client.HTTPResponse(answer, method="POST") as response:  # type: ignore[arg-type]
                response.begin()
                return response.status, _body(response)
        finally:
            connection.close()

    def _connection(self) -> http.client.HTTPConnection:
        host, port, timeout_s = self._parts.hostname or "", self._parts.port, self._settings.connect_timeout_ms / 1000
        if self._context is not None:
            return http.client.HTTPSConnection(host, port, timeout=timeout_s, context=self._context)
        return http.client.HTTPConnection(host, port, timeout=timeout_s)


class _Answer(io.RawIOBase):
    """What a socket receives. An issuer that sends a byte now and then, also of a header, cannot hold the thread."""

    def __init__(self, peer: socket.socket, timeout_s: float) -> None:
        """`timeout_s`: of each read; the time for all of them begins."""
        self._peer, self._timeout_s, self._end_s = peer, timeout_s, time.monotonic() + ANSWER_S
        peer.settimeout(timeout_s)

    def makefile(self, mode: str) -> io.BufferedReader:
        """As that of a socket, for HTTPResponse."""
        return io.BufferedReader(self)

    def readable(self) -> bool:
        """Whether it can be read."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Raises TimeoutError, or RenewalFailed if the whole takes too long."""
        left_s = self._end_s - time.monotonic()
        try:
            if left_s <= 0:
                raise TimeoutError
            self._peer.settimeout(min(self._timeout_s, left_s))
            return self._peer.recv_into(buffer)
        except TimeoutError:
            if time.monotonic() < self._end_s:
                raise
            raise RenewalFailed(f"the token endpoint takes more than {ANSWER_S:.0f} s to answer") from None


def _body(response: http.client.HTTPResponse) -> bytes:
    parts, size = [], 0
    while part := response.read1(16 << 10):
        parts.append(part)
        size += len(part)
        if size > ANSWER_BYTES_MAX:
            raise _Final(f"the answer of the token endpoint has more than {ANSWER_BYTES_MAX} bytes")
    return b"".join(parts)


def _error_code(body: bytes) -> str:
    """What RFC 6749 calls `error`; its description is left out, because it may repeat what was sent."""
    try:
        code = json.loads(body).get("error")
    except (ValueError, RecursionError, AttributeError):
        return ""
    return f" ({code})" if isinstance(code, str) and _ERROR_CODE.fullmatch(code) else ""
