"""A plan as JSON and as one HTML file with its curves."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from html import escape

from kafka_cy.charts.page import html_page
from kafka_cy.sizing.curves import curves
from kafka_cy.sizing.inputs import INPUT_FIELDS, SizingInputs
from kafka_cy.sizing.plan import Plan
from kafka_cy.sizing.units import format_amount

# Figures at the top of the page.
KEY_FIGURES = ("brokers needed", "storage", "days until full", "partitions", "memory a broker", "network out a broker")

GROUP_TITLES = {
    "load": "The load",
    "broker": "Each broker",
    "cluster": "The cluster",
    "price": "Prices",
    "measured": "The cluster as it is",
}


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


def plan_html(plan: Plan, sources: Sequence[str] = (), now: datetime | None = None) -> str:
    """The plan for people: tables, curves and the inputs, in one self-contained file. `now` is the date in it (UTC)."""
    title = f"Sizing: {plan['brokers needed']:,.0f} brokers for {plan['messages a day']:,.0f} messages a day"
    if plan.inputs.brokers is not None:
        title += f" ({plan.brokers:,} exist)"
    when = now or datetime.now(UTC)
    quiet = "".join(f'<p class="quiet">{escape(source)}</p>' for source in sources)
    warnings = "".join(f'<p class="warning">{escape(warning)}</p>' for warning in plan.warnings)
    by_name = {figure.name: figure for found in plan.sections.values() for figure in found}
    facts = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(by_name[name].text)}</dd></div>" for name in KEY_FIGURES
    )
    figures = {
        section: [(figure.name, figure.text, figure.why) for figure in found] for section, found in plan.sections.items()
    }
    parts = [
        f"<h1>{escape(title)}</h1>",
        f"<p>{escape(summary(plan))}</p>",
        quiet,
        warnings,
        f'<dl class="facts">{facts}</dl>',
        f"<h2>Inputs</h2>{_inputs(plan.inputs, given=True)}",
        f'<h2>Curves</h2><div class="plots">{curves(plan)}</div>',
        f"<h2>Figures</h2>{_cards(figures)}",
        f"<h2>Inputs with their default</h2>{_inputs(plan.inputs, given=False)}",
        f'<p class="quiet">Calculated by kafka-cy sizing on {when:%Y-%m-%d}.</p>',
    ]
    return html_page(title, "\n".join(parts), script=False)


def summary(plan: Plan) -> str:
    """What the brokers are for, in a sentence."""
    inputs = plan.inputs
    growth = format_amount("fraction", inputs.growth_per_year)
    return (
        f"For {inputs.messages_per_day:,.0f} messages of {format_amount('bytes', inputs.message_bytes)} a day, kept for "
        f"{format_amount('days', inputs.retention_days)} with a replication factor of {inputs.replication_factor}. The load "
        f"grows by {growth} a year, and the plan is for {format_amount('days', inputs.plan_for_days)}: until then "
        f"it is {plan['messages a day']:,.0f} messages a day."
    )


def _inputs(inputs: SizingInputs, *, given: bool) -> str:
    """Tables of the inputs that were given (or measured), or of those that have their default."""
    groups: dict[str, list[tuple[str, str, str]]] = {}
    for name, value in asdict(inputs).items():
        described = INPUT_FIELDS[name].metadata
        if value is not None and (value != INPUT_FIELDS[name].default) == given:
            row = (name, format_amount(described["kind"], value), described["text"])
            groups.setdefault(GROUP_TITLES[described["group"]], []).append(row)
    return _cards(groups)


def _cards(tables: Mapping[str, Sequence[tuple[str, str, str]]]) -> str:
    return f'<div class="tables">{"".join(_card(title, rows) for title, rows in tables.items())}</div>'


def _card(title: str, rows: Sequence[tuple[str, str, str]]) -> str:
    """A table of names, values and reasons."""
    lines = "".join(
        f'<tr><td>{escape(name).replace("_", "_<wbr>")}</td><td class="n">{escape(text)}</td>'
        f'<td class="quiet">{escape(why)}</td></tr>'
        for name, text, why in rows
    )
    return f'<div class="card"><h3>{escape(title)}</h3><table class="figures"><tbody>{lines}</tbody></table></div>'
