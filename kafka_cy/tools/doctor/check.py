"""One finding of `kafka-cy doctor`."""

from __future__ import annotations

from dataclasses import dataclass

OK, WARN, FAIL = "ok", "warn", "fail"


@dataclass(frozen=True)
class Check:
    """`status` is OK, WARN or FAIL. `finding` is what was found; `remedy`, empty if all is well, is what to do."""

    status: str
    name: str
    finding: str
    remedy: str = ""


def shortened(items: list[str], limit: int = 5) -> str:
    """`a, b, c`, with the rest counted."""
    rest = len(items) - limit
    return ", ".join(items[:limit]) + (f" and {rest} more" if rest > 0 else "")
