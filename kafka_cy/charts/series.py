"""The data of a line chart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from kafka_cy.charts.axis import Axis

Point = tuple[float, float]

#: A series with more points is thinned out: a screen could not show them separately.
POINTS_MAX = 240


@dataclass(frozen=True)
class Series:
    """A line of points (x, y); with `joined` false, separate points. A point that cannot be drawn interrupts the line.

    `faint` is for further rounds, without legend and tooltips; `dashed` for limits, without tooltips. `filled` colours the
    area below the line, down to 0 or to the y values in `base` (one for each point). `notes` replace the default tooltips.
    """

    name: str
    points: Sequence[Point]
    color: int
    faint: bool = False
    dashed: bool = False
    joined: bool = True
    marked: bool = False
    filled: bool = False
    base: Sequence[float] | None = None
    notes: list[str] = field(default_factory=list)


def runs_of(series: Series, x: Axis, y: Axis) -> list[list[int]]:
    """The indexes of the points that can be drawn, at most POINTS_MAX, in runs without interruption."""
    runs: list[list[int]] = [[]]
    for index, (at, value) in enumerate(series.points):
        if x.drawable(at) and y.drawable(value) and _within(x, at):
            runs[-1].append(index)
        elif runs[-1]:
            runs.append([])
    count = sum(map(len, runs))
    if count > POINTS_MAX:
        step = (count - 1) / (POINTS_MAX - 1)
        chosen = {round(place * step) for place in range(POINTS_MAX)}
        number = iter(range(count))
        runs = [[index for index in run if next(number) in chosen] for run in runs]
    return [run for run in runs if run]


def _within(axis: Axis, value: float) -> bool:
    return (axis.least is None or value >= axis.least) and (axis.most is None or value <= axis.most)
