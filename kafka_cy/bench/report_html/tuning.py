"""The section about a tuning: recommendations, the Pareto front, and the effect of each setting."""

from __future__ import annotations

from html import escape

from kafka_cy.bench.figures import Summary, bytes_rate_text, ms_text, ratio_text
from kafka_cy.bench.report_html.parts import bars
from kafka_cy.bench.results import Results
from kafka_cy.bench.tune_results import Recommendation, Trial, Tune, changes_text, properties_text
from kafka_cy.bench.tune_settings import NEVER
from kafka_cy.charts.axis import Axis
from kafka_cy.charts.cards import line_card, table
from kafka_cy.charts.series import Series

FRONT_COLOR = 0
OTHERS_COLOR = 7
GOAL_COLORS = {"throughput": 1, "latency": 2, "durability": 3}


def tune_section(results: Results) -> str:
    """The whole section; empty when the file has no tuning."""
    tune = results.tune
    if tune is None or not tune.trials:
        return ""
    notes = "".join(f"<p>{escape(note)}</p>" for note in tune.notes)
    return (
        f'<h2 id="recommendations">Recommendations</h2>{"".join(recommended(each, tune) for each in tune.recommendations)}'
        f'<h2 id="front">Throughput and latency of every trial</h2><div class="plots">{front_plot(tune)}'
        f'{influence_bars(tune)}</div><div class="card">{trial_table(tune)}{notes}</div>'
    )


def recommended(each: Recommendation, tune: Tune) -> str:
    """The recommendation for one goal: the reason and the configuration to paste."""
    texts = "".join(
        f"<div><h3>{escape(title)}</h3><pre>{escape(properties_text(properties))}</pre></div>"
        for title, properties in each.blocks()
    )
    return (
        f'<div class="card"><h3>For {escape(each.goal)}</h3><p>{escape(each.reason)}</p>'
        f'<div class="plots">{texts}</div></div>'
    )


def front_plot(tune: Tune) -> str:
    """Every trial by throughput and latency; the front is coloured and the recommended trials are named."""
    measured = [index for index, trial in enumerate(tune.trials) if trial.bytes_per_s and trial.latency_p99_ms]
    in_front = set(tune.front)
    chosen = {each.trial: each.goal for each in reversed(tune.recommendations)}
    series = [
        cloud("other trials", [i for i in measured if i not in in_front and i not in chosen], tune, OTHERS_COLOR),
        cloud("Pareto front", [i for i in measured if i in in_front and i not in chosen], tune, FRONT_COLOR),
        *(
            cloud(f"for {goal}", [index], tune, GOAL_COLORS.get(goal, 4))
            for index, goal in chosen.items()
            if index in measured
        ),
    ]
    return line_card(
        "Throughput and p99 latency",
        series,
        Axis("throughput, saturated (right is better)", bytes_rate_text),
        Axis("p99 latency (low is better)", ms_text, "log"),
        wide=True,
    )


def cloud(name: str, indexes: list[int], tune: Tune, color: int) -> Series:
    """The trials as separate points."""
    points = [(tune.trials[i].bytes_per_s or 0.0, tune.trials[i].latency_p99_ms or 0.0) for i in indexes]
    notes = [f"{changes_text(tune.trials[i], tune.trials[0])}\n{figures_text(tune.trials[i])}" for i in indexes]
    return Series(name, points, color, joined=False, notes=notes)


def figures_text(trial: Trial) -> str:
    """The figures of a trial in one line."""
    return (
        f"{bytes_rate_text(trial.bytes_per_s)}, p99 {ms_text(trial.latency_p99_ms)}, "
        f"survives {', '.join(trial.survives) or 'nothing'}"
    )


def influence_bars(tune: Tune) -> str:
    """The effect of each setting alone, one card per goal."""
    cards = []
    for goal in dict.fromkeys(each.goal for each in tune.influences):
        color = GOAL_COLORS.get(goal, 4)
        rows = [
            (f"{each.setting}: {value_text(each.best)} instead of {value_text(each.worst)}", color, exactly(each.ratio))
            for each in sorted(tune.influences, key=lambda each: -each.ratio)
            if each.goal == goal
        ]
        cards.append(bars(f"Effect of one setting alone on {goal}", rows, ratio_text))
    return "".join(cards)


def value_text(value: str) -> str:
    """The value of a setting; Kafka's "never" is shown as "unset"."""
    return "unset" if value == NEVER else value


def exactly(value: float) -> Summary:
    """A figure with no spread."""
    return Summary(value, value, value, 1)


def trial_table(tune: Tune) -> str:
    """The table of all trials."""
    chosen = {each.trial: each.goal for each in tune.recommendations}
    rows = []
    for index, trial in enumerate(tune.trials):
        place = "front" if index in tune.front else ""
        goal = f"for {chosen[index]}" if index in chosen else ""
        rows.append(
            [
                escape(changes_text(trial, tune.trials[0])),
                escape(trial.stage),
                escape(", ".join(filter(None, (place, goal)))),
                escape(trial.error or ", ".join(trial.survives) or "nothing"),
                str(trial.rounds),
                escape(bytes_rate_text(trial.bytes_per_s)),
                escape(ms_text(trial.latency_p50_ms)),
                escape(ms_text(trial.latency_p99_ms)),
            ]
        )
    columns = [
        "changed from the baseline",
        "stage",
        "",
        "an acknowledged record survives",
        "rounds",
        "throughput",
        "p50",
        "p99",
    ]
    return table(columns, rows, texts=4)
