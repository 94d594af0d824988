"""HTTP GET for the tools, with errors as sentences.

A user and a password in an address (`https://user:password@host:9404/metrics`) are sent, and never shown. An authority that this
machine does not know is named by SSL_CERT_FILE, as for every program with OpenSSL.
"""

from __future__ import annotations

import base64
import http.client
import sys
import urllib.error
import urllib.request
from urllib.parse import unquote, urlsplit

from kafka_cy.tools.client import ToolError

TIMEOUT_S = 10.0
ANSWER_BYTES_MAX = 256 << 20


def without_user(url: str) -> str:
    """The address as it may be shown: without a user and a password."""
    scheme, separator, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}{separator}{host.rpartition('@')[2]}{slash}{path}" if separator else url


def get_text(url: str, what: str, *, shown: str | None = None, timeout_s: float = TIMEOUT_S) -> str:
    """The body of `url` as text.

    Raises ToolError. The error names the server as `what`, at the address `shown` (default: the whole `url`).
    """
    shown = without_user(shown or url)
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        usable = False
    if not usable:
        raise ToolError(f"{shown!r} is not an http:// address.")
    request = urllib.request.Request(without_user(url), headers={"Accept": "text/plain, application/json;q=0.9"})
    if parts.username is not None:
        given = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
        request.add_unredirected_header("Authorization", f"Basic {base64.b64encode(given).decode()}")
    try:
        # No proxy: these servers are on this machine or in this network.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=timeout_s) as answer:
            body: bytes = answer.read(ANSWER_BYTES_MAX)
    except urllib.error.HTTPError as error:
        body = error.read(1 << 20)
        if not body.startswith(b"{"):  # Prometheus explains rejected requests in JSON
            raise ToolError(f"{what} at {shown} answered {error.code} {error.reason}.") from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        if _is_untrusted(getattr(error, "reason", None)):
            untrusted = "has a certificate that this machine does not trust (SSL_CERT_FILE can name its authority)"
            raise ToolError(f"{what} at {shown} {untrusted}.") from error
        raise ToolError(f"No {what} answers at {shown}.") from error
    return body.decode("utf-8", "replace")


def _is_untrusted(reason: object) -> bool:
    """Whether a certificate was refused. A Python without OpenSSL has no ssl, and never loads it."""
    ssl = sys.modules.get("ssl")
    return ssl is not None and isinstance(reason, ssl.SSLCertVerificationError)
