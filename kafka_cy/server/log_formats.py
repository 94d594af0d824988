"""How a line of the broker's log looks: `kafkacy.log.format` chooses one of FORMATS."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Final

VALUE_CHARS_MAX: Final = 4000  # of one value; the rest is cut, because clients choose ids, names and settings


def text_line(stamp: str, level: str, what: str, details: Mapping[str, Any]) -> str:
    """`TIME LEVEL what key=value ...`, for people."""
    words = [stamp, level.upper(), _printable(what)]
    words += [f"{key}={_quoted(value)}" for key, value in details.items()]
    return " ".join(words)


def logfmt_line(stamp: str, level: str, what: str, details: Mapping[str, Any]) -> str:
    """`time=TIME level=LEVEL msg=WHAT key=value ...`: every field has a name."""
    fields = {"time": stamp, "level": level, "msg": what, **details}
    return " ".join(f"{key}={_quoted(value)}" for key, value in fields.items())


def json_line(stamp: str, level: str, what: str, details: Mapping[str, Any]) -> str:
    """One JSON object with `time`, `level` and `msg`; numbers and booleans stay what they are."""
    import json

    fields: dict[str, Any] = {"time": stamp, "level": level, "msg": what}
    fields |= {key: value if isinstance(value, (bool, int, float)) else _cut(str(value)) for key, value in details.items()}
    return json.dumps(fields)


#: Format -> (time, level, what happened, details) -> line. A detail is never called time, level or msg.
FORMATS: Final[dict[str, Callable[[str, str, str, Mapping[str, Any]], str]]] = {
    "text": text_line,
    "logfmt": logfmt_line,
    "json": json_line,
}


def stamp_of(time_ns: int) -> str:
    """Return the UTC time as text, with milliseconds."""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(time_ns // 10**9)) + f".{time_ns // 10**6 % 1000:03d}Z"


def _cut(text: str) -> str:
    return text if len(text) <= VALUE_CHARS_MAX else f"{text[:VALUE_CHARS_MAX]}... ({len(text)} characters)"


def _printable(text: str) -> str:
    return text if text.isprintable() else text.encode("unicode_escape").decode()


def _quoted(value: Any) -> str:
    text = _cut(str(value))
    if text.isprintable() and text and not any(character in ' "=' for character in text):
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"') if text.isprintable() else _escaped(text)
    return f'"{escaped}"'


def _escaped(text: str) -> str:
    return text.encode("unicode_escape").decode().replace('"', '\\"')
