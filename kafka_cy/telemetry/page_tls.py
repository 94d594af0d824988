"""TLS for the metrics and lag pages, with Python's own ssl module; imported only by a broker that has a certificate for them."""

from __future__ import annotations

import selectors
import socket
import ssl
from typing import Any


def server_context(certificate: str, key: str) -> ssl.SSLContext:
    """TLS 1.2 and 1.3 with the chain and the key of these PEM files. Raises OSError, ValueError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.num_tickets = 0  # each request has a connection of its own, and scrapers resume none
    context.load_cert_chain(certificate, key or None, password=_no_password)
    return context


def _no_password() -> str:
    """OpenSSL would ask for it on the terminal."""
    raise ValueError("the key is encrypted; its file must be one that only the broker can read, without a password")


class TlsSocket:
    """A connection with the methods of a non-blocking socket; with BlockingIOError, `wants` says what OpenSSL waits for."""

    def __init__(self, context: ssl.SSLContext, accepted: socket.socket) -> None:
        """Takes `accepted` over. Raises OSError."""
        self._tls = context.wrap_socket(accepted, server_side=True, do_handshake_on_connect=False)
        self._shaken = False
        self.wants = selectors.EVENT_READ

    @property
    def is_open(self) -> bool:
        """Whether the handshake is done."""
        return self._shaken

    def fileno(self) -> int:
        """The descriptor; -1 when it is closed."""
        return self._tls.fileno()

    def handshake(self) -> int | OSError:
        """Go on with the handshake, on a thread that may take long. Events to wait for; 0: it is done. Or why it failed."""
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return selectors.EVENT_READ
        except ssl.SSLWantWriteError:
            return selectors.EVENT_WRITE
        except OSError as error:
            return error
        self._shaken = True
        return 0

    def recv(self, size: int) -> bytes:
        """At most one record. None of it stays in OpenSSL if `size` is that of a record (16384) or more."""
        data: bytes = self._run(self._tls.recv, size)
        return data

    def send(self, data: memoryview) -> int:
        """Send all of it, or raise BlockingIOError: the same bytes have to come again."""
        sent: int = self._run(self._tls.send, data)
        return sent

    def shutdown(self, how: int) -> None:
        """Say the end in TLS as well: clients with OpenSSL 3 call a connection without it an error."""
        try:
            self._tls.unwrap()
        except ssl.SSLWantWriteError:
            self.wants = selectors.EVENT_WRITE
            raise BlockingIOError from None
        except (ssl.SSLError, ValueError):
            pass  # it is said, and the client has not answered yet
        self._tls.shutdown(how)

    def close(self) -> None:
        """Close the connection."""
        self._tls.close()

    def _run(self, function: Any, argument: Any) -> Any:
        try:
            return function(argument)
        except (ssl.SSLWantReadError, BlockingIOError):
            self.wants = selectors.EVENT_READ
        except ssl.SSLWantWriteError:
            self.wants = selectors.EVENT_WRITE
        raise BlockingIOError


def handshake_failure(error: OSError) -> str:
    """Why a handshake failed, as OpenSSL says it: `http request`, `tlsv1 alert unknown ca` ...; empty if the client only left."""
    reason = getattr(error, "reason", None)
    if not isinstance(reason, str) or isinstance(error, ssl.SSLEOFError):
        return ""
    return reason.lower().replace("_", " ")
