"""Numbers in Grafana's units."""

from __future__ import annotations

import math

from kafka_cy.sizing.units import format_amount

SUFFIXES = {"mps": " msg/s", "reqps": " req/s", "ops": " /s", "Bps": "/s"}


def in_unit(unit: str, value: float) -> str:
    """`value` as Grafana would show it, near enough."""
    if not math.isfinite(value):
        return "–"
    if unit in ("bytes", "Bps"):
        return format_amount("bytes", value) + SUFFIXES.get(unit, "")
    if unit == "percentunit":
        return format_amount("fraction", value)
    if unit == "percent":
        return format_amount("fraction", value / 100)
    if unit == "s":
        return format_amount("seconds", value) if value else "0 s"
    if unit == "ms":
        return format_amount("seconds", value / 1000) if value else "0 ms"
    if unit == "d":
        return format_amount("days", value)
    if unit.startswith("suffix:"):
        return _short(value) + unit.removeprefix("suffix:")
    return _short(value) + SUFFIXES.get(unit, "")


def _short(value: float) -> str:
    for factor, suffix in ((1e9, " B"), (1e6, " M"), (1e4, " K")):
        if abs(value) >= factor:
            return f"{value / (factor if factor > 1e4 else 1e3):.3g}{suffix}"
    return f"{value:.0f}" if value == round(value) or abs(value) >= 100 else f"{value:.3g}"
