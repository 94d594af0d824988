"""The parts of a JSON web token, which may come from anybody: base64, JSON, and claims of the expected type."""

from __future__ import annotations

import base64
import json
from typing import Any, Final

from kafka_cy.security.sasl.oauthbearer import TokenRejected

NAME_CHARS_MAX: Final = 1_000  # of a user
SECONDS_MAX: Final = 1 << 43  # of a time, so that it stays exact in milliseconds


def decoded_part(part: str) -> bytes:
    """The bytes of unpadded base64url. Raises TokenRejected."""
    if len(part) % 4 == 1 or "=" in part:
        raise TokenRejected("a part of the token is not base64url")
    try:
        return base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True)
    except ValueError:
        raise TokenRejected("a part of the token is not base64url") from None


def json_object(text: bytes) -> dict[str, Any]:
    """A JSON object. Raises TokenRejected."""
    try:
        value = json.loads(text.decode(), parse_constant=_refuse)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise TokenRejected("a part of the token is not a JSON object")
    return value


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def seconds(claims: dict[str, Any], name: str, *, required: bool) -> float | None:
    """A claim that is a time, in seconds since the epoch; it may have a fraction. Raises TokenRejected."""
    value = claims.get(name)
    if value is None and not required:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= SECONDS_MAX:
        raise TokenRejected(f"the claim {name} is not a time")
    return value


def name_in(claims: dict[str, Any], name: str) -> str:
    """A claim that is a text which is not blank. Raises TokenRejected."""
    value = claims.get(name)
    if not isinstance(value, str) or not value.strip() or len(value) > NAME_CHARS_MAX or not _is_unicode(value):
        raise TokenRejected(f"the claim {name} is missing or not a text")
    return value


def _is_unicode(text: str) -> bool:
    r"""Whether the text has an encoding: JSON may have half of a pair, such as `\ud800`."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
