"""The runs of one or two results files, ordered for a report: a load has lines, a line has rounds."""

from __future__ import annotations

from dataclasses import dataclass, field

from kafka_cy.bench.figures import Figure, Summary, summary
from kafka_cy.bench.results import APACHE_KAFKA, Results, Run


@dataclass
class Line:
    """The rounds of one load against one target, by one generator, in one file ("A", "B", or "" for the only one)."""

    file: str
    target: str
    generator: str
    runs: list[Run] = field(default_factory=list)
    name: str = ""

    def summary(self, figure: Figure) -> Summary | None:
        """A figure over the rounds; a failed or interrupted round counts with what was measured."""
        return summary(figure(run) for run in self.runs)


@dataclass
class Load:
    """The key for comparison: the same workload with the same label."""

    workload: str
    label: str
    lines: list[Line] = field(default_factory=list)

    def reference_of(self, line: Line) -> Line | None:
        """The reference line of a line's ratios: with two files the same target in A, with one file Apache Kafka."""
        if line.file == "B":
            wanted = ("A", line.target, line.generator)
        elif not line.file and line.target != APACHE_KAFKA:
            wanted = ("", APACHE_KAFKA, line.generator)
        else:
            return None
        return next((each for each in self.lines if (each.file, each.target, each.generator) == wanted), None)


def loads_of(first: Results, second: Results | None = None) -> list[Load]:
    """The loads in the order of their first runs. With two files, a target's line of B follows its line of A."""
    loads: dict[tuple[str, str], Load] = {}
    files = [("" if second is None else "A", first)] + ([("B", second)] if second else [])
    for file, results in files:
        for run in results.runs:
            label = label_of(run)
            load = loads.setdefault((run.workload, label), Load(run.workload, label))
            key = (file, run.target, run.generator or "")
            line = next((each for each in load.lines if (each.file, each.target, each.generator) == key), None)
            if line is None:
                line = Line(*key)
                load.lines.append(line)
            line.runs.append(run)
    for load in loads.values():
        several = len({line.generator for line in load.lines}) > 1
        targets = list(dict.fromkeys((line.target, line.generator) for line in load.lines))
        load.lines.sort(key=lambda line: (targets.index((line.target, line.generator)), line.file))
        for line in load.lines:
            generator = f" by {line.generator}" if several and line.generator else ""
            line.name = f"{line.file + ': ' if line.file else ''}{line.target}{generator}"
    return list(loads.values())


def label_of(run: Run) -> str:
    """The run's label, with its position on a scaling curve."""
    if "at" not in run.options:
        return run.label
    role = " (base)" if run.options.get("role") == "base" else ""
    return f"{run.label}, {run.options.get('curve', 'at')}={run.options['at']}{role}"


def names_in_order(loads: list[Load]) -> list[str]:
    """The names of all lines, so that a line has the same colour in every plot of a page."""
    return list(dict.fromkeys(line.name for load in loads for line in load.lines))
