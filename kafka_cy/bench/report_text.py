"""Results as Markdown: the tables of `bench compare` and `bench scaling`, and RESULTS.md, generated from several files.

python -m kafka_cy.bench.report_text bench/results/*.json > bench/RESULTS.md
"""

from __future__ import annotations

import re
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from kafka_cy.bench import figures
from kafka_cy.bench.results import APACHE_KAFKA, FLOOR, KAFKA_CY, Results, Run, load
from kafka_cy.bench.scaling import pairs_of
from kafka_cy.bench.tune_results import changes_text

#: With fewer rounds, noise cannot be told from a difference.
ROUNDS_MIN = 3
#: Converts a median absolute deviation to a standard deviation, for a normal distribution.
MAD_TO_SIGMA = 1.4826
SIGMAS = 2.0
#: Settings that changed a goal by a smaller ratio are not mentioned.
INFLUENCE_MIN = 1.1
RATES = {"GB": figures.bytes_per_s, "record": figures.records_per_s}  # of a unit; others: requests per second
#: Units of runs whose one figure is a time.
SINGLE = ("time", "idle")
TARGETS = ((APACHE_KAFKA, "Apache Kafka"), (FLOOR, "floor"), (KAFKA_CY, "kafka-cy"))


@dataclass(frozen=True)
class Spread:
    """A median and its median absolute deviation over `rounds` rounds."""

    median: float
    mad: float
    rounds: int


@dataclass(frozen=True)
class Ratio:
    """The median of the ratios within rounds. `noise`: the rounds differ so much that the true ratio may be 1, or there are
    too few rounds to tell."""

    median: float
    mad: float
    noise: bool

    def text(self) -> str:
        """The ratio with its deviation; `~` marks a ratio that may be noise only."""
        return f"{'~' if self.noise else ''}{figures.ratio_text(self.median)} ±{self.mad:.2f}"


def spread(values: list[float | None]) -> Spread | None:
    """The spread of the known values; None when there are none."""
    known = [value for value in values if value is not None]
    if not known:
        return None
    median = statistics.median(known)
    return Spread(median, statistics.median(abs(value - median) for value in known), len(known))


def ratio(pairs: list[tuple[float | None, float | None]]) -> Ratio | None:
    """The ratio of the first to the second value over all pairs; None when no pair is complete."""
    ratios: list[float | None] = [first / second for first, second in pairs if first is not None and second]
    found = spread(ratios)
    if found is None:
        return None
    noise = found.rounds < ROUNDS_MIN or abs(found.median - 1) <= SIGMAS * MAD_TO_SIGMA * found.mad
    return Ratio(found.median, found.mad, noise)


def cost_of(unit: object) -> figures.Figure:
    """The figure that ratios compare: CPU time, or the median latency for a latency row."""
    if unit in ("GB", "record"):
        return figures.cpu_s_per_gb if unit == "GB" else figures.cpu_us_per_record
    return figures.percentile_of("p50_ms") if unit in ("latency", *SINGLE) else figures.cpu_us_per_request


# -- compare --


def compare_table(file: Results, heading: str = "load (4 connections, 4 partitions)") -> list[str]:
    """One row per load: Apache Kafka, the floor, kafka-cy, and the ratios."""
    lines = [
        f"| {heading} | Apache Kafka | floor | kafka-cy | of the floor | of Kafka |",
        "|---|---|---|---|---|---|",
    ]
    for label in dict.fromkeys(run.label for run in file.runs):
        of_row = [run for run in file.runs if run.label == label]
        cells = [cell([run for run in of_row if run.target == target]) for target, _ in TARGETS]
        ratios = [row_ratio(of_row, FLOOR), row_ratio(of_row, APACHE_KAFKA)]
        lines.append(f"| {' | '.join([escaped(label), *cells, *(each.text() if each else '-' for each in ratios)])} |")
    return lines


def row_ratio(runs: list[Run], target: str) -> Ratio | None:
    """The ratio of kafka-cy's cost to the target's, round by round.

    The disk has no CPU cost, so the floor of the fsync rows gets no ratio: only the rates can be compared there.
    """
    cost = cost_of(runs[0].options.get("unit"))
    if target == FLOOR and any(run.workload == "fdatasync" for run in runs):
        return None
    by_round = {(run.target, run.round): cost(run) for run in runs}
    rounds = sorted({run.round for run in runs})
    return ratio([(by_round.get((KAFKA_CY, each)), by_round.get((target, each))) for each in rounds])


def cell(runs: list[Run]) -> str:
    """The cost with its spread, and the rate; for a latency row, three latencies first."""
    if not runs:
        return "-"
    unit = runs[0].options.get("unit")
    ended = dict.fromkeys(run.error or run.outcome for run in runs if run.outcome != "completed")
    if unit in SINGLE:
        return ", ".join([*single_parts(runs), *map(escaped, ended)])
    parts = []
    if unit == "latency":
        names = ("p50_ms", "p99_ms", "p999_ms")
        found = [spread([figures.percentile_of(name)(run) for run in runs]) for name in names]
        parts.append("/".join(f"{each.median:.2f}" if each else "-" for each in found) + " ms")
    cpu = spread([(figures.cpu_us_per_request if unit == "latency" else cost_of(unit))(run) for run in runs])
    if cpu is not None:
        parts.append(f"{cpu.median:.2f} ±{cpu.mad:.2f} s/GB" if unit == "GB" else f"{cpu.median:.1f} ±{cpu.mad:.1f} us")
    rate = spread([RATES.get(str(unit), figures.requests_per_s)(run) for run in runs])
    if rate is not None and unit == "GB":
        parts.append(figures.bytes_rate_text(rate.median))
    elif rate is not None and unit in ("request", "record"):
        parts.append(f"{figures.number_text(rate.median)}{' records' if unit == 'record' else ''}/s")
    return ", ".join([*parts, *map(escaped, ended)])


def single_parts(runs: list[Run]) -> list[str]:
    """The one time of each run, with its spread, and the CPU time of the brokers meanwhile."""
    found = spread([figures.percentile_of("p50_ms")(run) for run in runs])
    if found is None:
        return []
    if runs[0].options.get("unit") == "idle":
        return [f"{found.median:.1f} ±{found.mad:.1f} ms/s"]
    cpu = spread([run.totals.broker_cpu_s for run in runs])
    parts = [f"{found.median:,.0f} ±{found.mad:,.0f} ms"]
    return [*parts, f"{cpu.median:.2f} s of CPU"] if cpu is not None else parts


def zookeeper_lines(file: Results) -> list[str]:
    """ZooKeeper's CPU time in each row, which the figures of the brokers do not contain."""
    rows = []
    for label in dict.fromkeys(run.label for run in file.runs):
        cells = []
        for target in (APACHE_KAFKA, KAFKA_CY):
            of_row = [run for run in file.runs if (run.label, run.target) == (label, target)]
            used = spread([run.options.get("zookeeper_cpu_s") for run in of_row])
            cells.append(figures.ms_text(used.median * 1000) if used else "-")
        rows.append([escaped(label), *cells])
    return table(("CPU time of ZooKeeper, with what comes before and after", "Apache Kafka", "kafka-cy"), rows)


def cluster_text(file: Results) -> list[str]:
    """The tables of `bench compare --cluster`, with an explanation of how to read them."""
    rounds = max((run.round for run in file.runs), default=0)
    seconds = next((run.options["duration_s"] for run in file.runs if "duration_s" in run.options), 0)
    return [
        *about(file),
        "",
        f"Three brokers each, with the same ZooKeeper; {rounds} alternating rounds of {seconds:g} s per load; medians with the",
        "median absolute deviation (±). CPU time is that of all three brokers: us per request, s/GB per gigabyte received, ms/s",
        "per second of idleness. The three latencies are p50/p99/p99.9, measured from when a request was due. Ratios compare",
        "CPU time (in rows of latencies p50, in rows of a time that time), round by round; `~` marks a difference that may be",
        "noise. The floor receives and writes each batch once, without replicas. The generator and all brokers share the machine.",
        "",
        *compare_table(file, "three brokers, replication factor 3"),
        "",
        *zookeeper_lines(file),
    ]


def memory_line(file: Results) -> str:
    """The maximum resident memory of each server."""
    parts = []
    for target, name in TARGETS:
        held = [run.totals.rss_bytes_max or 0 for run in file.runs if run.target == target]
        if max(held, default=0):
            parts.append(f"{name} {max(held) / 2**20:.0f}")
    return f"Maximum resident memory, MiB: {'; '.join(parts)}."


def compare_text(file: Results) -> list[str]:
    """The table, with an explanation of how to read it."""
    if any("cluster" in run.options for run in file.runs):
        return cluster_text(file)
    rounds = max((run.round for run in file.runs), default=0)
    seconds = file.runs[0].options.get("duration_s", 0) if file.runs else 0
    return [
        *about(file),
        "",
        f"{rounds} interleaved rounds of {seconds:g} s per load; medians with the median absolute deviation (±). us: CPU time",
        "of the server per request (per record where records/s are shown); s/GB: CPU seconds per gigabyte received (produce) or",
        "sent (fetch). The three latencies are",
        "p50/p99/p99.9, measured from when a request was due. Ratios compare CPU time (in the latency row: p50), round by",
        "round; `~` marks a difference that may be noise. The floor of the fsync rows is a bare write and fdatasync, one after",
        "the other; that of transactions has ready-made answers, so that its time is librdkafka's own. The generator and the",
        "servers share the machine.",
        "",
        *compare_table(file),
        "",
        memory_line(file),
    ]


# -- scaling --

#: In these curves, a request does not touch what grows. (It does touch the reactors, and the bytes of a larger record.)
UNTOUCHED = ("partitions", "connections", "groups", "segments")
#: Up to this ratio, the cost at the end of a curve counts as equal to that at its start.
FLAT_MAX = 1.15


def growth_line(file: Results) -> list[str]:
    """One line that says whether the cost of a request stays flat, judged by the last point of each curve."""
    ends: dict[tuple[str, str], tuple[float, Ratio]] = {}
    for curve, label, at, pairs in pairs_of(file):
        found = ratio([(figures.cpu_us_per_request(grown), figures.cpu_us_per_request(base)) for base, grown in pairs])
        if curve in UNTOUCHED and found is not None:
            ends[curve, label] = at, found
    if not ends:
        return []
    above = {key: (at, end) for key, (at, end) in ends.items() if end.median > FLAT_MAX}
    places = {f"{label} at {at:,.0f} {curve} {end.text()}": end for (curve, label), (at, end) in above.items()}
    steep = [place for place, end in places.items() if not end.noise]
    if steep:
        return ["", f"**The cost of a request grows**: {escaped('; '.join(steep))}."]
    if places:
        return ["", f"**The noise hides whether the cost of a request grows**: {escaped('; '.join(places))}."]
    furthest = {curve: max(at for (each, _), (at, _) in ends.items() if each == curve) for curve, _ in ends}
    ratios = [end.median for _, end in ends.values()]
    reached = [f"{at:,.0f} {curve}" for curve, at in furthest.items()]
    span = f"{figures.ratio_text(min(ratios))} to {figures.ratio_text(max(ratios))}"
    return ["", f"**The cost of a request is flat**: at {', '.join(reached)} it is {span} of the cost without them."]


def scaling_text(file: Results) -> list[str]:
    """One table per curve and load."""
    lines = [
        *about(file),
        "",
        "CPU time per request. Runs alternate between a broker where nothing has grown (base) and one where it has (grown); for",
        "the record sizes, the base has 100 B records. The ratio is the median over the pairs; `~` marks a ratio that may be",
        "noise.",
    ]
    lines[1:1] = growth_line(file)
    heading = None
    for curve, label, at, pairs in pairs_of(file):
        if (curve, label) != heading:
            heading = (curve, label)
            lines += ["", f"**{escaped(curve)}**: {escaped(label)}", ""]
            lines += ["| at | base | grown | ratio | requests/s | data |", "|---|---|---|---|---|---|"]
        lines.append(scaling_row(at, pairs))
    return lines


def scaling_row(at: float, pairs: list[tuple[Run, Run]]) -> str:
    """One point."""
    cost = figures.cpu_us_per_request
    base = spread([cost(each) for each, _ in pairs])
    grown = spread([cost(each) for _, each in pairs])
    of_base = ratio([(cost(variant), cost(base_run)) for base_run, variant in pairs])
    rate = spread([figures.requests_per_s(each) for _, each in pairs])
    size = spread([figures.bytes_per_s(each) for _, each in pairs])
    cells = [
        f"{at:,.0f}",
        *(f"{each.median:.1f} ±{each.mad:.1f} us" if each else "-" for each in (base, grown)),
        of_base.text() if of_base else "-",
        figures.number_text(rate.median) if rate else "-",
        figures.bytes_rate_text(size.median) if size else "-",
    ]
    return f"| {' | '.join(cells)} |"


# -- the rest --


def run_text(file: Results) -> list[str]:
    """One row per run."""
    if all(run.workload in ("start", "recovery") for run in file.runs):
        return lives_text(file)
    names = ("run", "target", "requests/s", "data", "CPU/request", "p50", "p99", "p99.9", "memory")
    rows = [
        [
            escaped(run.label),
            escaped(run.target),
            figures.number_text(figures.requests_per_s(run)),
            figures.bytes_rate_text(figures.bytes_per_s(run)),
            "-" if (cpu := figures.cpu_us_per_request(run)) is None else f"{cpu:.1f} us",
            *(figures.ms_text(figures.percentile_of(name)(run)) for name in ("p50_ms", "p99_ms", "p999_ms")),
            figures.bytes_text(figures.rss_bytes(run)),
        ]
        for run in file.runs
    ]
    return [*about(file), "", *table(names, rows)]


def lives_text(file: Results) -> list[str]:
    """One row per run that started a broker repeatedly."""
    names = ("run", "target", "starts", "written before", "median", "slowest", "CPU time per start", "memory")
    rows = [
        [
            escaped(run.label),
            escaped(run.target),
            str(run.totals.requests),
            figures.bytes_text(run.totals.bytes / max(run.totals.requests, 1)) if run.totals.bytes else "-",
            *(figures.ms_text(figures.percentile_of(name)(run)) for name in ("p50_ms", "max_ms")),
            "-" if (cpu := figures.cpu_us_per_request(run)) is None else figures.ms_text(cpu / 1000),
            figures.bytes_text(figures.rss_bytes(run)),
        ]
        for run in file.runs
    ]
    return [*about(file), "", *table(names, rows)]


def tune_text(file: Results) -> list[str]:
    """The recommendation for each goal compared with Kafka's defaults, and the settings that changed the goal most."""
    tune = file.tune
    if tune is None or not tune.trials:
        return about(file)
    first = tune.trials[0]
    names = ("goal", "settings", "throughput", "p99", "survives", "rounds")
    found = [("Kafka's defaults", first), *((each.goal, tune.trials[each.trial]) for each in tune.recommendations)]
    rows = [
        [
            escaped(goal),
            "-" if trial is first else escaped(changes_text(trial, first)),
            figures.bytes_rate_text(trial.bytes_per_s),
            figures.ms_text(trial.latency_p99_ms),
            escaped(", ".join(trial.survives) or "nothing"),
            str(trial.rounds),
        ]
        for goal, trial in found
    ]
    rate = f"{tune.latency_records_per_s:,.0f}" if tune.latency_records_per_s else "-"
    moved = [
        f"{each.setting} {figures.ratio_text(each.ratio)} ({each.best} best, {each.worst} worst) for {each.goal}"
        for each in tune.influences
        if each.ratio > INFLUENCE_MIN
    ]
    return [
        *about(file),
        "",
        f"{len(tune.trials)} trials against {escaped(target_of(file))} with librdkafka, one producer and one consumer. p99 is",
        f"measured from when a record was due until the consumer received it, at {rate} records/s.",
        "",
        *table(names, rows),
        *(["", escaped(f"Settings that changed a goal most on their own: {'; '.join(moved)}.")] if moved else []),
        *(line for note in tune.notes for line in ("", escaped(note))),
    ]


def table(names: Sequence[str], rows: list[list[str]]) -> list[str]:
    """A Markdown table; the cells must be escaped already."""
    return [f"| {' | '.join(names)} |", "|---" * len(names) + "|", *(f"| {' | '.join(row)} |" for row in rows)]


def target_of(file: Results) -> str:
    """The target of a file that has only one."""
    return file.runs[0].target if file.runs else "-"


def about(file: Results) -> list[str]:
    """The date, versions, machine and load average of a file."""
    machine = file.machine
    versions = ", ".join(f"{name} {version}" for name, version in file.versions.items())
    tcp = f", TCP {machine.congestion_control}" if machine.congestion_control else ""
    text = (
        f"{file.started[:10]}; {versions}; {machine.cpu}, {machine.cores} cores, {machine.memory_bytes / 2**30:.0f} GiB, "
        f"Linux {machine.kernel.split('-')[0]}{tcp}; load average {machine.load_average_start} at the start, "
        f"{machine.load_average_end} at the end."
    )
    return [escaped(text)]


def escaped(text: str) -> str:
    """Text from a file, escaped for a Markdown table."""
    return re.sub(r"([|<>`*\\])", r"\\\1", " ".join(text.split()))


#: In the order of the page.
TITLES = {
    "compare": "Compared with Apache Kafka and the machine's floor",
    "scaling": "Scaling",
    "start": "Start",
    "recovery": "Recovery after a crash",
    "tune": "Tuning",
    "run": "Single runs",
}
TEXTS = {"compare": compare_text, "scaling": scaling_text, "run": run_text, "tune": tune_text}


def section_of(file: Results) -> str:
    """The section of the page that a file belongs to."""
    workloads = {run.workload for run in file.runs}
    if file.kind == "run" and len(workloads) == 1 and workloads <= TITLES.keys():
        return workloads.pop()
    return file.kind if file.kind in TITLES else "run"


def markdown(file: Results) -> str:
    """The tables of one file."""
    return "\n".join(TEXTS.get(file.kind, run_text)(file))


def results_page(files: list[Results]) -> str:
    """The text of RESULTS.md."""
    lines = ["# Benchmark results", "", "Generated from the files in bench/results (`make bench-results`)."]
    for section, title in TITLES.items():
        found = [file for file in files if section_of(file) == section]
        if found:
            lines += ["", f"## {title}"]
        for file in found:
            lines += ["", markdown(file)]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(results_page([load(path) for path in sys.argv[1:]]))
