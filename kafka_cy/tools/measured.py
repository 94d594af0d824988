"""Sizing inputs that are measured instead of estimated, and how each was measured."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

LabelledValue = tuple[Mapping[str, str], float]


def disk_bytes(total: Sequence[LabelledValue], usable: Sequence[LabelledValue], brokers: int) -> float | None:
    """Mean size of a broker's disks, from the samples of `kafkacy_log_dir_total_bytes` and `..._usable_bytes`.

    Log directories with the same two numbers are on the same file system, which counts once.
    """
    free = {tuple(sorted(labels.items())): value for labels, value in usable}
    disks = {(value, free.get(tuple(sorted(labels.items())))) for labels, value in total}
    return sum(size for size, _ in disks) / brokers if disks else None


class Measured:
    """Values by field name of `SizingInputs`, a sentence on how each was measured, and warnings of what they do not cover."""

    def __init__(self) -> None:
        self.values: dict[str, float | int] = {}
        self.notes: list[str] = []
        self.warnings: list[str] = []

    def add(self, name: str, value: float | None, how: str) -> None:
        """Add a value unless it is missing, negative or not finite (a cluster without that load or that metric)."""
        if value is not None and math.isfinite(value) and (value > 0 or name == "growth_bytes_per_day"):
            self.values[name] = value
            self.notes.append(f"{name}: {how}")

    def add_whole(self, name: str, value: float | None, how: str) -> None:
        """Like `add`, for counts: rounded, and at least 1."""
        if value is not None and math.isfinite(value) and value > 0:
            self.add(name, max(round(value), 1), how)
