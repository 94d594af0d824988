"""A plan as JSON and as one HTML file with its curves."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from html import escape

import numpy as np

from kafka_cy.sizing import formulas
from kafka_cy.sizing.charts import Axis, Series, line_chart
from kafka_cy.sizing.inputs import INPUT_FIELDS, SizingInputs
from kafka_cy.sizing.plan import Plan, fill_curve
from kafka_cy.sizing.units import format_amount

CURVE_POINTS = 200

STYLE = """
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 84rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; width: 100%; margin: 0 0 1.5rem; }
td, th { padding: .2rem .6rem; border-bottom: 1px solid #8884; text-align: left; vertical-align: top; }
td.number { width: 7rem; text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
td:first-child { width: 16rem; }
td.why { color: #888; }
.warning { border-left: 4px solid #d55e00; padding: .2rem .8rem; margin: .5rem 0; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(36rem, 1fr)); gap: 1rem; }
.charts svg { width: 100%; height: auto; }
@media (max-width: 40rem) { .charts { grid-template-columns: 1fr; } }
"""


def plan_json(plan: Plan) -> str:
    """The plan for programs: plain numbers in bytes, seconds, days; null for infinite values."""
    content = {
        "inputs": asdict(plan.inputs),
        "figures": {
            section: {
                figure.name: {
                    "value": figure.value if math.isfinite(figure.value) else None,
                    "unit": figure.kind,
                    "why": figure.why,
                }
                for figure in figures
            }
            for section, figures in plan.sections.items()
        },
        "warnings": plan.warnings,
    }
    return json.dumps(content, indent=2, allow_nan=False)


def plan_html(plan: Plan, sources: Sequence[str] = ()) -> str:
    """The plan for people: tables, curves and the inputs, in one self-contained file."""
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8"><title>Sizing</title>',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<style>{STYLE}</style></head><body>",
        f"<h1>{plan['brokers needed']:,.0f} brokers</h1>",
        f"<p>{escape(summary(plan))}</p>",
        *(f"<p>{escape(source)}</p>" for source in sources),
        *(f'<p class="warning">{escape(warning)}</p>' for warning in plan.warnings),
        '<div class="charts">',
        *curves(plan),
        "</div>",
    ]
    parts += _inputs("Inputs", plan.inputs, given=True)
    for section, figures in plan.sections.items():
        parts.append(f"<h2>{escape(section)}</h2><table>")
        parts += [_row(figure.name, figure.text, figure.why) for figure in figures]
        parts.append("</table>")
    parts += _inputs("Inputs with their default", plan.inputs, given=False)
    parts.append("</body></html>")
    return "\n".join(parts) + "\n"


def summary(plan: Plan) -> str:
    """What the brokers are for, in a sentence."""
    inputs = plan.inputs
    growth = format_amount("fraction", inputs.growth_per_year)
    return (
        f"For {inputs.messages_per_day:,.0f} messages of {format_amount('bytes', inputs.message_bytes)} a day, kept for "
        f"{format_amount('days', inputs.retention_days)} with a replication factor of {inputs.replication_factor}. The load "
        f"grows by {growth} a year, and the brokers suffice for {format_amount('days', inputs.plan_for_days)}: until then "
        f"it is {plan['messages a day']:,.0f} messages a day."
    )


def _inputs(title: str, inputs: SizingInputs, *, given: bool) -> list[str]:
    """A table of the inputs that were given (or measured), or of those that have their default."""
    rows = []
    for name, value in asdict(inputs).items():
        described = INPUT_FIELDS[name].metadata
        if value is not None and (value != INPUT_FIELDS[name].default) == given:
            rows.append(_row(name, format_amount(described["kind"], value), described["text"]))
    return [f"<h2>{title}</h2><table>", *rows, "</table>"] if rows else []


def _row(name: str, text: str, why: str) -> str:
    return f'<tr><td>{escape(name)}</td><td class="number">{escape(text)}</td><td class="why">{escape(why)}</td></tr>'


def curves(plan: Plan) -> list[str]:
    """Four charts: disks over time, brokers by retention, network by fan-out, page cache by lag."""
    return [_disks(plan), _brokers(plan), _network(plan), _page_cache(plan)]


def _axis(label: str, kind: str) -> Axis:
    return Axis(label, lambda value: format_amount(kind, value))


def _disks(plan: Plan) -> str:
    inputs = plan.inputs
    brokers = inputs.brokers or int(plan["brokers needed"])
    whole = brokers * inputs.disk_bytes
    until_full = plan.days_until_full()
    until = until_full * 1.2 if math.isfinite(until_full) else 0.0
    last = max(min(max(inputs.retention_days * 2, until, 1.0), 730.0), inputs.plan_for_days * 1.1)
    days = np.linspace(0.0, last, CURVE_POINTS)
    if inputs.used_bytes is not None and inputs.growth_bytes_per_day is not None:
        stored = inputs.used_bytes + inputs.growth_bytes_per_day * days
        if inputs.used_bytes < plan["storage"]:
            stored = np.minimum(stored, plan["storage"])  # retention ends the growth
    else:
        stored = fill_curve(inputs, plan["waiting for their segment"], days)
    return line_chart(
        "Bytes on all disks",
        [
            Series("stored", list(days), list(stored), filled=True),
            Series(f"full at {inputs.disk_fill:.0%}", [0.0, last], [whole * inputs.disk_fill] * 2, dashed=True),
            Series("the disks", [0.0, last], [whole] * 2, dashed=True),
            Series("planned for", [inputs.plan_for_days] * 2, [0.0, whole], dashed=True),
        ],
        Axis("days from now"),
        Axis("", lambda value: format_amount("bytes", value), most=max(whole, 1.0) * 1.1),
    )


def _brokers(plan: Plan) -> str:
    inputs = plan.inputs
    days = np.linspace(0.0, inputs.retention_days * 3, CURVE_POINTS)
    per_day = plan["stored a day"]
    overhead = formulas.index_overhead(inputs.index_interval_bytes)
    one_copy = formulas.storage_bytes(np.full_like(days, per_day), days, overhead, np.zeros_like(days), 1)
    full = inputs.disk_bytes * inputs.disk_fill

    def brokers(copies: int) -> list[float]:
        return list(np.maximum(np.ceil(one_copy * copies / full), copies))

    copies = sorted({1, 2, 3, inputs.replication_factor})
    return line_chart(
        "Brokers for storage, by retention",
        [Series(f"{count} {'copy' if count == 1 else 'copies'}", list(days), brokers(count)) for count in copies],
        Axis("days kept"),
        _axis("", "count"),
    )


def _network(plan: Plan) -> str:
    inputs = plan.inputs
    peak = plan["writes, peak"]
    groups = np.linspace(0.0, max(inputs.consumer_fan_out * 2, 4.0), CURVE_POINTS)
    received = formulas.network_in(peak, inputs.replication_factor)
    return line_chart(
        "Network at the peak, by consumer groups",
        [
            Series(
                "out",
                list(groups),
                list(formulas.network_out(np.full_like(groups, peak), inputs.replication_factor, groups)),
            ),
            Series("in", list(groups), [received] * len(groups)),
        ],
        Axis("groups that read everything"),
        _axis("all brokers", "bytes/s"),
    )


def _page_cache(plan: Plan) -> str:
    inputs = plan.inputs
    brokers = inputs.brokers or int(plan["brokers needed"])
    lag = np.linspace(0.0, max(inputs.cached_lag_seconds * 2, 60.0), CURVE_POINTS)
    needed = (
        formulas.page_cache_bytes(np.full_like(lag, plan["writes, peak"]), lag, inputs.replication_factor) / brokers
    )
    have = inputs.memory_bytes - inputs.process_memory_bytes
    return line_chart(
        "Page cache of a broker, by lag",
        [
            Series("needed", list(lag / 60), list(needed), filled=True),
            Series("there is", [0.0, float(lag[-1]) / 60], [have, have], dashed=True),
        ],
        Axis("minutes of lag served from memory"),
        _axis("", "bytes"),
    )
