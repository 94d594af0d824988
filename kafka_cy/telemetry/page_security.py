"""TLS and passwords of the metrics and lag pages; imported only if one of their keys is set."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from kafka_cy.telemetry.http_server import CONNECTIONS_MAX, HttpAnswer
from kafka_cy.telemetry.page_side_thread import SideThread
from kafka_cy.telemetry.page_users import Users, UsersFileError, Verified, check, credentials, read_users

if TYPE_CHECKING:
    import ssl

    from kafka_cy.telemetry.page_tls import TlsSocket

CERTIFICATE, KEY, USERS = "kafkacy.metrics.tls.certificate", "kafkacy.metrics.tls.key", "kafkacy.metrics.basic.auth.users.file"
LOOK_INTERVAL_S = 1.0  # how often a new connection makes the page look whether its files were replaced

UNAUTHORIZED = HttpAnswer(
    b"a user and a password are needed\n", status="401 Unauthorized",
    headers='WWW-Authenticate: Basic realm="kafka-cy", charset="UTF-8"\r\n',
)  # fmt: skip
BUSY = HttpAnswer(b"too many passwords are being checked\n", status="503 Service Unavailable")

Report = Callable[[str, str, dict[str, Any], str], None]  # (level, what happened, details, the client's address)


class PageSecurityError(Exception):
    """`name`: the key whose value cannot be used; the text is the reason."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(reason)
        self.name = name


class PageSecurity:
    """What one page asks of clients. Owner: its thread, from the start of the page on."""

    def __init__(self, page: str, certificate: str, key: str, users_file: str, report: Report) -> None:
        """Read the files that are named. Raises PageSecurityError."""
        if key and not certificate:
            raise PageSecurityError(CERTIFICATE, f"{KEY} is set, but no certificate")
        self.page = page
        self.report = report
        self._certificate, self._key, self._users_file = certificate, key, users_file
        self._paths = [path for path in (certificate, key, users_file) if path]
        self._seen = self._marks()
        self._look_at = 0.0
        self.scheme = "https" if certificate else "http"
        self._context: ssl.SSLContext | None = None
        self._users: Users = {}
        self._verified = Verified()
        self.checks = SideThread(f"{page}-password", check, CONNECTIONS_MAX) if users_file else None
        self.handshakes = SideThread(f"{page}-handshake", _handshake, CONNECTIONS_MAX) if certificate else None
        self._read()

    @property
    def side_threads(self) -> list[SideThread]:
        """The threads that this page uses."""
        return [each for each in (self.checks, self.handshakes) if each is not None]

    # -- connections --

    def accept(self, accepted: socket.socket) -> socket.socket | TlsSocket:
        """The connection, with TLS if the page has it. Raises OSError."""
        self._look()
        if self._context is None:
            return accepted
        from kafka_cy.telemetry.page_tls import TlsSocket

        return TlsSocket(self._context, accepted)

    def shake_hands(self, connection: Any) -> bool:
        """Whether the connection's handshake goes on now: `handshakes` will have the result. False: there is none to do."""
        return self.handshakes is not None and not connection.socket.is_open and self.handshakes.submit(connection, None)

    def failed(self, error: OSError, address: str) -> None:
        """Say that a handshake failed."""
        from kafka_cy.telemetry.page_tls import handshake_failure

        reason = handshake_failure(error)
        if reason:
            details = {"page": self.page, "address": address, "reason": reason}
            self.report("warning", "a TLS handshake with the metrics or lag page failed", details, address)

    # -- passwords --

    def judge(self, authorization: str, connection: Any) -> HttpAnswer | bool:
        """True: the header has a user's password. False: that is being checked, see `results`. Else the refusal."""
        if self.checks is None:
            return True
        given = credentials(authorization)
        if given is None:
            return UNAUTHORIZED
        if self._verified.has(given):
            return True
        return BUSY if not self.checks.submit(connection, (self._users, given)) else False

    def results(self) -> list[tuple[Any, HttpAnswer | None]]:
        """(connection, the refusal if its password is wrong) of the checks that are done."""
        assert self.checks is not None
        found: list[tuple[Any, HttpAnswer | None]] = []
        for connection, (users, given), right in self.checks.results():
            valid = right and users is self._users  # else they have changed meanwhile
            if valid:
                self._verified.add(given)
            else:
                details = {"page": self.page, "address": connection.address}
                self.report("warning", "a wrong user or password for the metrics or lag page", details, connection.address)
            found.append((connection, None if valid else UNAUTHORIZED))
        return found

    # -- files --

    def _look(self) -> None:
        """Read the files again if one of them was replaced."""
        now = time.monotonic()
        if now < self._look_at:
            return
        self._look_at = now + LOOK_INTERVAL_S
        marks = self._marks()
        if marks == self._seen:
            return
        self._seen = marks
        try:
            self._read()
        except PageSecurityError as error:
            details = {"page": self.page, "key": error.name, "reason": str(error)}
            what = "files of the metrics and lag pages cannot be read again: the current ones stay in use"
            self.report("error", what, details, "")

    def _marks(self) -> list[tuple[int, int, int] | None]:
        found: list[tuple[int, int, int] | None] = []
        for path in self._paths:
            try:
                state = os.stat(path)  # noqa: PTH116
            except OSError:
                found.append(None)
            else:
                found.append((state.st_mtime_ns, state.st_ino, state.st_size))
        return found

    def _read(self) -> None:
        """Raises PageSecurityError, with everything as it was."""
        context = self._read_certificate() if self._certificate else None
        users = self._read_users() if self._users_file else {}
        self._context = context
        if users != self._users:
            self._users = users
            self._verified.clear()

    def _read_certificate(self) -> ssl.SSLContext:
        from kafka_cy.telemetry.page_tls import server_context

        for name, path in ((CERTIFICATE, self._certificate), (KEY, self._key)):
            try:
                if path:
                    open(path, "rb").close()
            except OSError as error:
                raise PageSecurityError(name, error.strerror or str(error)) from None
        try:
            return server_context(self._certificate, self._key)
        except (OSError, ValueError) as error:
            reason = getattr(error, "reason", None) or (str(error) if isinstance(error, ValueError) else "no PEM of both")
            raise PageSecurityError(CERTIFICATE, f"certificate and key cannot be used ({reason})") from None

    def _read_users(self) -> Users:
        try:
            return read_users(self._users_file)
        except UsersFileError as error:
            raise PageSecurityError(USERS, str(error)) from None
        except OSError as error:
            raise PageSecurityError(USERS, error.strerror or str(error)) from None


def _handshake(connection: Any, _: None) -> int | OSError:
    result: int | OSError = connection.socket.handshake()
    return result
