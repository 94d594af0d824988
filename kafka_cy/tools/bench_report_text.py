"""Shows a results file, or two side by side, in the terminal."""

from __future__ import annotations

import sys

import click

from kafka_cy.bench.columns import Column, used_columns
from kafka_cy.bench.figures import bytes_rate_text, bytes_text, ms_text, ratio_text
from kafka_cy.bench.loads import Line, Load, loads_of
from kafka_cy.bench.results import Results
from kafka_cy.bench.tune_results import Trial, Tune, changes_text, properties_text
from kafka_cy.tools.output import note, print_table


def print_report(first: Results, second: Results | None = None) -> None:
    """Print the figures of one file, or both with B's ratios to A. On a pipe: tab-separated, remarks on stderr."""
    for name, results in (("", first),) if second is None else (("A: ", first), ("B: ", second)):
        note(printable(f"{name}{head_text(results)}"))
    if second is None and first.tune is not None:
        print_tune(first.tune)
        return
    loads = loads_of(first, second)
    if second is not None and not any(load.reference_of(line) for load in loads for line in load.lines):
        note("A and B have no load with the same label and target in common: nothing is compared.")
    columns = used_columns(loads)
    if sys.stdout.isatty():
        for load in loads:
            figures_down(load, columns)
    else:
        figures_across(loads, columns)
    if any(load.reference_of(line) for load in loads for line in load.lines):
        beside = "A" if second else "Apache Kafka"
        note(
            f"Medians; in brackets the ratio to {beside}, with ~ where the rounds overlap, so that it may be noise only."
        )


def figures_down(load: Load, columns: list[Column]) -> None:
    """Print one load as a table with one row per figure, so that its width depends only on the number of targets."""
    rows = [[column.name, *(cell(load, line, column) for line in load.lines)] for column in columns]
    rows.append(["rounds", *(outcome_text(line) for line in load.lines)])
    print_table(["", *(printable(line.name) for line in load.lines)], rows, title=printable(load.label))


def figures_across(loads: list[Load], columns: list[Column]) -> None:
    """Print all loads as one table for other programs, with one row per target."""
    rows = [
        [printable(load.label), printable(line.name), outcome_text(line), *(cell(load, line, each) for each in columns)]
        for load in loads
        for line in load.lines
    ]
    print_table(["load", "target", "rounds", *(column.name for column in columns)], rows)


def printable(text: str) -> str:
    """A text from a file with escaped control characters, which could control the terminal or break a table."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def head_text(results: Results) -> str:
    """The date, machine and versions of a run."""
    machine = results.machine
    versions = ", ".join(f"{name} {version}" for name, version in results.versions.items())
    return (
        f"{results.kind} of {results.started}: {machine.cpu}, {machine.cores} cores, "
        f"{bytes_text(machine.memory_bytes)}, {machine.kernel}; {versions}"
    )


def cell(load: Load, line: Line, column: Column) -> str:
    """Median and ratio of one figure."""
    found = line.summary(column.figure)
    if found is None:
        return "-"
    reference = load.reference_of(line)
    other = reference.summary(column.figure) if reference else None
    if other is None or not other.median > 0:
        return column.text(found.median)
    noise = "~" if found.overlaps(other) else ""
    return f"{column.text(found.median)} ({noise}{ratio_text(found.median / other.median)})"


def outcome_text(line: Line) -> str:
    """The number of rounds, and the errors."""
    failed = dict.fromkeys(run.error or run.outcome for run in line.runs if run.outcome != "completed")
    errors = sum(run.totals.errors for run in line.runs)
    return printable("; ".join([str(len(line.runs)), *failed, *([f"{errors} errors"] if errors else [])]))


def print_trial(stage: str, trial: Trial, baseline: Trial, budget_left_s: float) -> None:
    """Print a line to stderr about the trial just measured."""
    figures = trial.error or f"{bytes_rate_text(trial.bytes_per_s)}, p99 {ms_text(trial.latency_p99_ms)}"
    left = f"{max(0.0, budget_left_s):4.0f} s left"
    note(printable(f"{left}  {stage:<14} {changes_text(trial, baseline)}: {figures}"))


def print_tune(tune: Tune) -> None:
    """Print the trials with the Pareto front marked, then the recommendation."""
    if tune.trials:
        rows = [
            (
                printable(changes_text(trial, tune.trials[0])),
                printable(trial.stage),
                "*" if index in tune.front else "",
                bytes_rate_text(trial.bytes_per_s),
                ms_text(trial.latency_p50_ms),
                ms_text(trial.latency_p99_ms),
                printable(trial.error or ", ".join(trial.survives) or "nothing"),
            )
            for index, trial in enumerate(tune.trials)
        ]
        print_table(["changed", "stage", "front", "throughput", "p50", "p99", "survives"], rows)
    for each in tune.notes:
        note(printable(each))
    for recommendation in tune.recommendations:
        click.secho(f"\nFor {printable(recommendation.goal)}", bold=True)
        click.echo(printable(recommendation.reason))
        for title, properties in recommendation.blocks():
            lines = properties_text(properties).splitlines()
            click.echo("\n".join(["", f"# {title}", *map(printable, lines)]))
