"""Reads the text of a key set from its URL: `file:`, `http:` or `https:` (`sasl.oauthbearer.jwks.endpoint.url`)."""

from __future__ import annotations

import http.client
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from kafka_cy.security.sasl.jwks import KeySetError

TEXT_BYTES_MAX: Final = 1 << 20
TIMEOUT_S: Final = 10.0  # of each step, while the thread of the caller waits
ANSWER_S: Final = 30.0  # for the whole answer, to within one step


def reader_of(url: str, authorities: str | None = None) -> Callable[[], bytes]:
    """A function that reads the key set, and raises KeySetError. `authorities`: a PEM file; None: those of the system."""
    if urlsplit(url).scheme.lower() == "file":
        path = unquote(urlsplit(url).path)
        return lambda: _read_file(path)
    handlers: list[urllib.request.BaseHandler] = [_NoRedirects()]
    if url.lower().startswith("https"):
        handlers.append(urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=authorities)))
    opener = urllib.request.build_opener(*handlers)
    return lambda: _fetch(opener, url)


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """The configured URL is the only one that is asked."""

    def redirect_request(self, *_: Any) -> None:
        return None


def _read_file(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return _checked(file.read(TEXT_BYTES_MAX + 1))
    except OSError as error:
        raise KeySetError(f"{path}: {error.strerror or error}") from None


def _fetch(opener: urllib.request.OpenerDirector, url: str) -> bytes:
    request = urllib.request.Request(url, headers={"Accept": "application/json"})
    try:
        with opener.open(request, timeout=TIMEOUT_S) as response:
            return _checked(_answer(response))
    except urllib.error.HTTPError as error:
        with error:
            raise KeySetError(f"the issuer answers {error.code}") from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise KeySetError(f"the issuer cannot be asked: {error}") from None


def _answer(response: http.client.HTTPResponse) -> bytes:
    """The body. An issuer that sends a byte now and then cannot hold the thread."""
    begin, parts, size = time.monotonic(), [], 0
    while size <= TEXT_BYTES_MAX and (part := response.read1(64 << 10)):
        parts.append(part)
        size += len(part)
        if time.monotonic() > begin + ANSWER_S:
            raise KeySetError(f"the issuer takes more than {ANSWER_S:.0f} s to answer")
    return b"".join(parts)


def _checked(text: bytes) -> bytes:
    if len(text) > TEXT_BYTES_MAX:
        raise KeySetError(f"the key set has more than {TEXT_BYTES_MAX} bytes")
    return text
