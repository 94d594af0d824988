"""HTTP GET for the tools, with errors as sentences."""

from __future__ import annotations

import http.client
import urllib.error
import urllib.request
from urllib.parse import urlsplit

from kafka_cy.tools.client import ToolError

TIMEOUT_S = 10.0
ANSWER_BYTES_MAX = 256 << 20


def get_text(url: str, what: str, *, shown: str | None = None, timeout_s: float = TIMEOUT_S) -> str:
    """The body of `url` as text.

    Raises ToolError. The error names the server as `what`, at the address `shown` (default: the whole `url`).
    """
    shown = shown or url
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        usable = False
    if not usable:
        raise ToolError(f"{shown!r} is not an http:// address.")
    request = urllib.request.Request(url, headers={"Accept": "text/plain, application/json;q=0.9"})
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
        raise ToolError(f"No {what} answers at {shown}.") from error
    return body.decode("utf-8", "replace")
