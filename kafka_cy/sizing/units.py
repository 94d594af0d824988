"""Parses and formats amounts as people write them (`500 GB`, `7d`, `10Gbit/s`, `70%`).

Sizes are in bytes, times in seconds or days as requested, rates in bytes a second. `kB`, `MB` ... are powers of 1,000,
`KiB`, `MiB` ... of 1,024.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

SECONDS_PER_DAY = 86_400.0

AMOUNT = re.compile(r"\s*([0-9][0-9_,]*(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)\s*(.*?)\s*")
PREFIXES = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9, "t": 1e12, "p": 1e15}
BYTE_UNITS = {
    "": 1.0,
    **{f"{prefix}b": factor for prefix, factor in PREFIXES.items()},
    **{f"{prefix}ib": 1024.0**power for power, prefix in enumerate(PREFIXES) if prefix},
}
BYTE_RATE_UNITS = {
    **{f"{unit}/s": factor for unit, factor in BYTE_UNITS.items()},
    **{f"{prefix}bit/s": factor / 8 for prefix, factor in PREFIXES.items()},
    "": 1.0,
}
COUNT_UNITS = {**PREFIXES, "b": 1e9, "bn": 1e9}
SECOND_UNITS = {"": 1.0, "ms": 1e-3, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}
DAY_UNITS = {**{unit: factor / SECONDS_PER_DAY for unit, factor in SECOND_UNITS.items()}, "": 1.0, "y": 365.0}
FRACTION_UNITS = {"": 1.0, "%": 0.01}

# The units allowed for a kind of amount, and an example for the error message.
UNITS: Mapping[str, tuple[Mapping[str, float], str]] = {
    "bytes": (BYTE_UNITS, "512, 1kB or 2 TiB"),
    "bytes/s": (BYTE_RATE_UNITS, "100MB/s or 10Gbit/s"),
    "count": (COUNT_UNITS, "3, 200k or 1.5M"),
    "days": (DAY_UNITS, "7, 12h or 2w"),
    "seconds": (SECOND_UNITS, "30, 10m or 500ms"),
    "fraction": (FRACTION_UNITS, "0.7 or 70%"),
    "ratio": ({"": 1.0, "x": 1.0}, "1 or 2.5"),
    "price": ({"": 1.0}, "0.09 or 250"),
}


class SizingError(ValueError):
    """Invalid input; the text is one sentence that names the input."""


def parse_amount(name: str, kind: str, value: object) -> float:
    """Parse `value` (a number, or text with a unit of `kind`, a key of UNITS) into a number.

    Raises SizingError, naming `name`.
    """
    units, example = UNITS[kind]
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        amount = float(value)
    else:
        matched = AMOUNT.fullmatch(value) if isinstance(value, str) else None
        factor = units.get(matched[2].lower()) if matched else None
        if matched is None or factor is None:
            raise SizingError(f"{name} must be an amount such as {example}, not {value!r}.")
        amount = float(matched[1].replace("_", "").replace(",", "")) * factor
    if not math.isfinite(amount):
        raise SizingError(f"{name} must be finite, not {value!r}.")
    return amount


def _scaled(value: float, step: float, prefixes: tuple[str, ...]) -> tuple[float, str]:
    index = 0
    while abs(value) >= step and index < len(prefixes) - 1:
        value /= step
        index += 1
    return value, prefixes[index]


def _three_digits(value: float) -> str:
    decimals = 2 if abs(value) < 10 else 1 if abs(value) < 100 else 0
    text = f"{value:,.{decimals}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def format_amount(kind: str, value: float) -> str:
    """`value` in human-readable form with three digits: `1.5 TB`, `83.3 MB/s`, `2 h 5 min` ..."""
    if math.isinf(value):
        return "never" if kind in ("days", "seconds") else "unlimited"
    if kind in ("bytes", "bytes/s"):
        number, prefix = _scaled(value, 1000.0, ("", "k", "M", "G", "T", "P"))
        return f"{_three_digits(number)} {prefix}{'B' if kind == 'bytes' else 'B/s'}"
    if kind == "fraction":
        return f"{_three_digits(value * 100)} %"
    if kind == "seconds":
        return _format_seconds(value)
    if kind == "days":
        return _format_seconds(value * SECONDS_PER_DAY) if value < 1 else f"{_three_digits(value)} d"
    if kind == "count":
        return f"{value:,.0f}" if value >= 10 or value == round(value) else _three_digits(value)
    return f"{value:,.2f}" if kind == "price" else _three_digits(value)


def _format_seconds(value: float) -> str:
    if value < 1:
        return f"{_three_digits(value * 1000)} ms"
    for factor, unit in ((86_400.0, "d"), (3600.0, "h"), (60.0, "min")):
        if value >= factor:
            return f"{_three_digits(value / factor)} {unit}"
    return f"{_three_digits(value)} s"
