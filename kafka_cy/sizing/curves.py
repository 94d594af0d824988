"""The charts of a plan. Where a chart shows a figure of the plan, it is that figure: nothing is calculated a second time."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from kafka_cy.charts.axis import TIME_STEPS, Axis
from kafka_cy.charts.cards import line_card
from kafka_cy.charts.series import Series
from kafka_cy.sizing import formulas
from kafka_cy.sizing.plan import Plan, fill_curve
from kafka_cy.sizing.units import format_amount

CURVE_POINTS = 201  # so that the middle of a curve is a point
DISK_DAYS_MAX = 730.0
LIMIT_COLOR, SECOND_LIMIT_COLOR, HORIZON_COLOR = 1, 5, 7


def curves(plan: Plan) -> str:
    """Four cards: disks over time, brokers by retention, network by fan-out, page cache by lag."""
    return disks(plan) + brokers(plan) + network(plan) + page_cache(plan)


def axis(label: str, kind: str, steps: Sequence[float] = ()) -> Axis:
    """An axis of amounts of a kind (kafka_cy.sizing.units.UNITS)."""
    return Axis(label, lambda value: format_amount(kind, value) if value else "0", steps=steps)


def days_text(value: float) -> str:
    """A place on an axis of days."""
    return f"{value:,.4g} d"


def points(xs: NDArray[np.float64], ys: NDArray[np.float64]) -> list[tuple[float, float]]:
    """The points of a curve."""
    return [(float(x), float(y)) for x, y in zip(xs, ys, strict=True)]


def limit(name: str, last: float, value: float, color: int) -> Series:
    """A dashed level."""
    return Series(f"{name}: {format_amount('bytes', value)}", [(0.0, value), (last, value)], color, dashed=True)


def disks(plan: Plan) -> str:
    """Bytes on the disks from now until after the time that is planned for."""
    inputs = plan.inputs
    whole = plan.brokers * inputs.disk_bytes
    until_full = plan.days_until_full()
    until = until_full * 1.2 if math.isfinite(until_full) else 0.0
    last = max(min(max(inputs.retention_days * 2, until, 1.0), DISK_DAYS_MAX), inputs.plan_for_days * 1.1)
    days = np.linspace(0.0, last, CURVE_POINTS)
    if inputs.used_bytes is not None and inputs.growth_bytes_per_day is not None:
        stored = inputs.used_bytes + inputs.growth_bytes_per_day * days
        if inputs.used_bytes < plan["storage"]:
            stored = np.minimum(stored, plan["storage"])  # retention ends the growth
    else:
        stored = fill_curve(inputs, plan["expired, not yet deletable"], days)
    horizon = inputs.plan_for_days
    top = max(whole, 1.0) * 1.1
    stored = np.where(stored <= top, stored, math.nan)  # the curve ends where the disks could not hold it by far
    return line_card(
        "Bytes on all disks",
        [
            Series("stored", points(days, stored), 0, filled=True),
            limit(f"usable ({inputs.disk_fill:.0%})", last, plan["usable disk a broker"] * plan.brokers, LIMIT_COLOR),
            limit("disks", last, whole, SECOND_LIMIT_COLOR),
            Series(
                f"planned for: {format_amount('days', horizon)}",
                [(horizon, 0.0), (horizon, whole)],
                HORIZON_COLOR,
                dashed=True,
            ),
        ],
        Axis("days from now", days_text, least=0.0, most=last),
        Axis("all brokers", lambda value: format_amount("bytes", value), most=top),
    )


def brokers(plan: Plan) -> str:
    """Brokers that the storage needs, at the end of the time that is planned for."""
    inputs = plan.inputs
    days = np.linspace(0.0, inputs.retention_days * 2, CURVE_POINTS)  # the retention itself is in the middle
    usable = plan["usable disk a broker"]
    factors = sorted({1, 2, 3, inputs.replication_factor})
    series = []
    most = 1.0
    for color, factor in enumerate(factors):
        stored = formulas.storage_bytes(
            np.full_like(days, plan["stored a day"]),
            days,
            plan["index overhead"],
            np.full_like(days, plan["expired, not yet deletable"]),
            factor,
        )
        needed = np.array([max(formulas.brokers_for(each, usable, 0), factor) for each in stored], dtype=np.float64)
        most = max(most, float(needed.max()))
        series.append(Series(f"replication factor {factor}", points(days, needed), color))
    retention = inputs.retention_days
    series.append(
        Series(
            f"retention: {format_amount('days', retention)}",
            [(retention, 0.0), (retention, most)],
            HORIZON_COLOR,
            dashed=True,
        )
    )
    return line_card(
        "Brokers for storage, by retention",
        series,
        Axis("retention", days_text),
        Axis("brokers", lambda value: format_amount("count", value), whole=True),
    )


def network(plan: Plan) -> str:
    """Traffic of all brokers at the peak, by the number of groups that read everything."""
    inputs = plan.inputs
    groups = np.linspace(0.0, max(inputs.consumer_fan_out * 2, 4.0), CURVE_POINTS)
    sent = formulas.network_out(np.full_like(groups, plan["writes, peak"]), inputs.replication_factor, groups)
    return line_card(
        "Network at the peak, by consumer groups",
        [
            Series("out", points(groups, sent), 0),
            Series("in", points(groups, np.full_like(groups, plan["network in"])), 1),
            Series(
                f"fan-out: {inputs.consumer_fan_out:g}",
                [(inputs.consumer_fan_out, 0.0), (inputs.consumer_fan_out, float(sent.max()))],
                HORIZON_COLOR,
                dashed=True,
            ),
        ],
        Axis("consumer groups that read everything", lambda value: f"{value:g}"),
        axis("all brokers", "bytes/s"),
    )


def page_cache(plan: Plan) -> str:
    """Memory of a broker that serves consumers which lag."""
    inputs = plan.inputs
    lag = np.linspace(0.0, max(inputs.cached_lag_seconds * 2, 60.0), CURVE_POINTS)
    needed = formulas.page_cache_bytes(np.full_like(lag, plan["writes, peak"]), lag, inputs.replication_factor)
    available = inputs.memory_bytes - inputs.process_memory_bytes
    return line_card(
        "Page cache of a broker, by consumer lag",
        [
            Series("needed", points(lag, needed / plan.brokers), 0, filled=True),
            limit("available", float(lag[-1]), available, LIMIT_COLOR),
        ],
        axis("lag served from memory", "seconds", TIME_STEPS),
        axis("each broker", "bytes"),
    )
