"""Prometheus' text format where prometheus-client is too slow: lines from plain strings."""

from __future__ import annotations

from collections.abc import Iterable

Family = tuple[str, str, str, list[str]]  # name, type, help, "{labels} value" for each sample


def escape(text: str) -> str:
    """A label value as it stands between the quotes."""
    if "\\" in text or '"' in text or "\n" in text:
        text = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return text


def labels(**values: object) -> str:
    """`{name="value",...}`"""
    return "{" + ",".join(f'{name}="{escape(str(value))}"' for name, value in values.items()) + "}"


def page(families: Iterable[Family]) -> bytes:
    """The families as a page, each once; those without samples are left out."""
    parts: list[str] = []
    for name, kind, help_text, samples in families:
        if samples:
            parts.append(f"# HELP {name} {help_text}\n# TYPE {name} {kind}\n{name}")
            parts.append(f"\n{name}".join(samples))
            parts.append("\n")
    return "".join(parts).encode("utf-8", "backslashreplace")
