"""Pareto fronts: the candidates that no other candidate dominates."""

from __future__ import annotations

import math
from collections.abc import Sequence


def dominates(a: Sequence[float], b: Sequence[float], larger_is_better: Sequence[bool]) -> bool:
    """Whether `a` is at least as good as `b` in every objective and better in at least one."""
    better = False
    for mine, other, larger in zip(a, b, larger_is_better, strict=True):
        if mine == other:
            continue
        if (mine > other) is not larger:
            return False
        better = True
    return better


def front(rows: Sequence[Sequence[float | None]], larger_is_better: Sequence[bool]) -> list[int]:
    """Indexes of the rows that no other row dominates, ascending. Equal rows are all included.

    A row with an objective that was not measured (None or NaN) is never in the front and excludes no other row.
    """
    measured = [
        (index, [float(value) for value in row if value is not None])
        for index, row in enumerate(rows)
        if all(value is not None and not math.isnan(value) for value in row)
    ]
    return [
        index for index, row in measured if not any(dominates(other, row, larger_is_better) for _, other in measured)
    ]
