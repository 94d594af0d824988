"""Writes Prometheus' text format from plain strings, where prometheus-client is too slow."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from kafka_cy.telemetry.sample_lines import sample_lines

if TYPE_CHECKING:
    from kafka_cy.telemetry.sample_lines import Values


class Rows(NamedTuple):
    """Samples of many label sets: each is `head`, one of `places` and its value; a value of None gives no sample."""

    head: str
    places: list[bytes]
    values: Values


Family = tuple[str, str, str, list[str] | Rows]  # name, type, help, "{labels} value" for each sample


def escape(text: str) -> str:
    """A label value, escaped as it is written between the quotes."""
    if "\\" in text or '"' in text or "\n" in text:
        text = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return text


def labels(**values: object) -> str:
    """`{name="value",...}`"""
    return "{" + ",".join(f'{name}="{escape(str(value))}"' for name, value in values.items()) + "}"


def page(families: Iterable[Family]) -> bytes:
    """The families as a page, each once. Families without samples are omitted."""
    parts: list[bytes] = []
    for name, kind, help_text, samples in families:
        if isinstance(samples, Rows):
            lines = sample_lines(utf8(name + samples.head), samples.places, samples.values)
        else:
            lines = utf8("".join([f"{name}{sample}\n" for sample in samples]))
        if lines:
            parts.append(utf8(f"# HELP {name} {help_text}\n# TYPE {name} {kind}\n"))
            parts.append(lines)
    return b"".join(parts)


def utf8(text: str) -> bytes:
    """The text as UTF-8; lone surrogates are written as backslash escapes."""
    return text.encode("utf-8", "backslashreplace")
