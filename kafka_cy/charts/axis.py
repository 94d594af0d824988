"""An axis: its range, its ticks, and where on it a value is."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

Scale = Literal["linear", "binary", "log", "percentile"]

#: Distances of ticks in seconds, up to a week.
TIME_STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 21_600, 43_200, 86_400, 604_800)


@dataclass(frozen=True)
class Axis:
    """An axis. "binary" is linear with ticks at powers of two, for memory; "percentile" takes fractions below 1 and
    gives every additional nine the same width.

    `least` and `most` bound the axis (default: the range of the points, and 0 for linear axes). `steps` are the allowed
    distances of ticks in ascending order (default: 1, 2 or 5 times a power of ten); `whole` allows whole numbers only.
    """

    label: str
    text: Callable[[float], str]
    scale: Scale = "linear"
    least: float | None = None
    most: float | None = None
    steps: Sequence[float] = ()
    whole: bool = False

    def drawable(self, value: float) -> bool:
        """Whether the axis has a place for the value."""
        if not math.isfinite(value) or abs(value) > 1e300:
            return False
        return (self.scale != "log" or value > 1e-12) and (self.scale != "percentile" or 0 <= value < 1)

    def tick_text(self, value: float) -> str:
        """The text of a tick, without trailing zeros: 1.00 ms as "1 ms"."""
        return re.sub(r"(\.\d*?)0+(?!\d)", lambda found: found[1].rstrip("."), self.text(value))


class Projection:
    """Converts the values of an axis to pixels between `start` and `end`."""

    def __init__(self, axis: Axis, values: Sequence[float], start: float, end: float) -> None:
        self.axis, self.start, self.end = axis, start, end
        places = [self._place(value) for value in values]
        self.low, self.high = _range(axis, min(places), max(places))

    def _place(self, value: float) -> float:
        if self.axis.scale == "log":
            return math.log10(max(value, 1e-300))  # the lower edge of an area may be 0
        if self.axis.scale == "percentile":
            return -math.log10(1 - value)
        return value if abs(value) > 1e-290 else 0.0  # the step between two such values would be 0

    def pixel(self, value: float) -> float:
        """Where the value is; a value outside of the range is put on the nearer end."""
        share = (self._place(value) - self.low) / (self.high - self.low)
        return round(self.start + min(max(share, 0.0), 1.0) * (self.end - self.start), 1)

    def ticks(self, count: int) -> list[float]:
        """About `count` round values; rather fewer on a linear axis, rather more on the others."""
        if self.axis.scale == "percentile":
            return [0.0, 0.5, *(1 - 10.0**-nines for nines in range(1, 9) if nines <= self.high + 1e-9)]
        if self.axis.scale == "log":
            return self._log_ticks(count)
        least = (self.high - self.low) / count
        if self.axis.whole:
            least = max(least, 1.0)
        step = self._step(least)
        first = math.ceil(self.low / step - 1e-9)
        return [index * step for index in range(first, math.floor(self.high / step + 1e-9) + 1)]

    def _step(self, least: float) -> float:
        if self.axis.scale == "binary":
            return 2.0 ** math.ceil(math.log2(least))
        steps = self.axis.steps
        if steps and steps[0] <= least <= steps[-1]:
            return next(step for step in steps if step >= least)
        decade = 10.0 ** math.floor(math.log10(least))
        return next(step * decade for step in (1, 2, 5, 10) if step * decade >= least * (1 - 1e-9))

    def _log_ticks(self, count: int) -> list[float]:
        decades = range(math.floor(self.low), math.ceil(self.high) + 1)
        thin = max(1, math.ceil((self.high - self.low) / max(count, 1)))
        found: list[float] = []
        for steps in ((1,), (1, 2, 5)):
            ticks = [step * 10.0**decade for decade in decades if decade % thin == 0 for step in steps]
            found = [tick for tick in ticks if self.low - 1e-9 <= math.log10(tick) <= self.high + 1e-9]
            if len(found) > 2:
                break
        return found


def _range(axis: Axis, low: float, high: float) -> tuple[float, float]:
    """The two ends of the axis in its own scale, for points from `low` to `high`; never the same."""
    if axis.scale in ("linear", "binary"):
        low = min(0.0, low)  # an axis that does not start at 0 would exaggerate differences between rates or sizes
    elif axis.scale == "percentile":
        low = 0.0
    if axis.least is not None:
        low = axis.least
    if axis.most is not None:
        high = axis.most
    if high - low < 1e-9 * max(1.0, abs(high)):
        return (low - 0.5, high + 0.5) if axis.scale == "log" else (low, low + (abs(low) or 1.0))
    if axis.scale == "percentile":
        return low, high
    margin = (high - low) * 0.06
    return (
        low - margin if axis.least is None and (axis.scale == "log" or low < 0) else low,
        high if axis.most is not None else high + margin,
    )
