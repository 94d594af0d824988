"""Searches for the best settings for a goal, within a time limit, and explains the result with its measurements.

A trial is one choice of settings. It is measured twice: saturated (for throughput), and at a fixed rate far below that
(for end-to-end latency, which under saturation would only show the length of the queues). The search has four stages:

1. Baseline: Kafka's defaults. The throughput determines the rate of the latency runs.
2. One at a time: every value of every setting is tried alone against the baseline, the most promising settings first.
3. Combinations: for each goal, everything that clearly helped is combined; then follows a small grid over the three
   settings with the largest effect, in the order of their predicted results.
4. Confirmation: the best trials for each goal and the baseline are repeated, interleaved, because the best of many
   single measurements is partly luck.

Each stage has a share of the time. Trials that do not fit are skipped, and the results say so.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from kafka_cy.bench import figures
from kafka_cy.bench.pareto import front
from kafka_cy.bench.results import Results, Run
from kafka_cy.bench.tune_results import Influence, Recommendation, Trial, Tune, changes_text
from kafka_cy.bench.tune_settings import (
    IDEMPOTENT_IN_FLIGHT_MAX,
    IN_FLIGHT,
    PARTITIONS,
    Setting,
    Settings,
    baseline,
    is_idempotent,
    java_consumer,
    java_producer,
    librdkafka_consumer,
    librdkafka_producer,
    survives,
    topic_config,
)

INTERRUPTED = "Interrupted: the search is incomplete."
#: The share of the time after which a stage starts no further trial.
ONE_AT_A_TIME_UNTIL = 0.6
COMBINATIONS_UNTIL = 0.8
#: The rate of the latency runs as a share of the baseline's throughput, and its limit in records per second.
LATENCY_SHARE = 0.1
LATENCY_RATE_MAX = 5000.0
#: A latency run that ends this much later than its records were due has measured a queue, so its latency is not used.
LATE_MAX_S = 1.0
#: Smaller relative differences between single measurements count as noise.
NOISE = 0.05
GRID_SETTINGS = 3
CONFIRMED_ROUNDS = 3

#: (settings, records per second or None for as fast as possible, label): measures one run. May raise KeyboardInterrupt.
Measure = Callable[[Settings, float | None, str], Run]
#: (stage, trial, baseline, seconds left): called after each trial.
OnTrial = Callable[[str, Trial, Trial, float], None]


@dataclass
class Search:
    """One search. Not thread-safe."""

    results: Results
    tune: Tune
    settings: list[Setting]
    measure: Measure
    budget_s: float
    on_trial: OnTrial = lambda stage, trial, baseline, left_s: None
    clock: Callable[[], float] = time.monotonic

    def run(self) -> None:
        """Search until the budget is used up, everything has been tried, or Ctrl-C. `results` has everything measured so far."""
        self.begun = self.clock()
        self.longest_s = 0.0
        try:
            self._trial(baseline(self.settings), "baseline")
            if self.tune.trials[0].bytes_per_s is not None:
                self._stages()
        except (KeyboardInterrupt, _Stop) as stop:
            self.tune.notes.append(str(stop) or INTERRUPTED)
        self._conclude()

    def _stages(self) -> None:
        self._until("one at a time", one_at_a_time(self.settings, self.tune.goals), ONE_AT_A_TIME_UNTIL)
        self._until("combination", self._combinations(), COMBINATIONS_UNTIL)
        self._until("confirmation", self._confirmations(), 1.0)

    def _until(self, stage: str, choices: Iterator[Settings], share: float) -> None:
        """Run the trials that fit into the share of the time."""
        left_out = 0
        for chosen in choices:
            if self.clock() - self.begun + self.longest_s > self.budget_s * share:
                left_out += 1
            else:
                self._trial(chosen, stage)
        if left_out and stage != "confirmation":
            self.tune.notes.append(f"{left_out} trials of the stage “{stage}” were skipped for lack of time.")

    # -- one trial --

    def _trial(self, chosen: Settings, stage: str) -> None:
        """Measure the settings, as a new trial or as a further round of an existing one."""
        begun = self.clock()
        trial = next((each for each in self.tune.trials if each.settings == chosen), None)
        if trial is None:
            trial = Trial(dict(chosen), stage, survives=survives(chosen))
            self.tune.trials.append(trial)
        label = changes_text(trial, self.tune.trials[0])
        try:
            saturated = self._run(trial, None, f"{label}: saturated")
            if self.tune.latency_records_per_s is None and saturated.outcome == "completed":
                rate = figures.records_per_s(saturated)
                self.tune.latency_records_per_s = min(LATENCY_RATE_MAX, (rate or 0.0) * LATENCY_SHARE) or None
            rate = self.tune.latency_records_per_s
            if saturated.outcome == "completed" and not saturated.totals.records:
                trial.error = "No record that was sent in the measured time was received."
            if rate is not None and saturated.outcome == "completed" and saturated.totals.records:
                self._run(trial, rate, f"{label}: {rate:.0f} records/s")
        finally:
            self._figures_of(trial)
        trial.rounds += 1
        self.longest_s = max(self.longest_s, self.clock() - begun)
        self.on_trial(stage, trial, self.tune.trials[0], self.budget_s - (self.clock() - self.begun))

    def _run(self, trial: Trial, rate: float | None, label: str) -> Run:
        run = self.measure(trial.settings, rate, label)
        run.options["rate"] = rate
        trial.runs.append(len(self.results.runs))
        self.results.runs.append(run)
        if run.outcome == "interrupted":
            raise KeyboardInterrupt
        if run.outcome != "completed":
            trial.error = run.error or run.outcome
        if run.outcome == "broker-died":
            raise _Stop(f"The broker died during {label}: the search is incomplete.")
        return run

    def _figures_of(self, trial: Trial) -> None:
        """Set the figures of a trial: medians over its completed runs."""
        runs = [run for run in map(self.results.runs.__getitem__, trial.runs) if run.outcome == "completed"]
        saturated = [run for run in runs if run.options["rate"] is None]
        kept = [run for run in runs if run.options["rate"] is not None and keeps_rate(run)]
        trial.bytes_per_s = figures.median(figures.bytes_per_s(run) for run in saturated)
        trial.latency_p50_ms = figures.median(figures.percentile_of("p50_ms")(run) for run in kept)
        trial.latency_p99_ms = figures.median(figures.percentile_of("p99_ms")(run) for run in kept)
        if len(runs) > len(saturated) and not kept:
            trial.error = "It did not keep up with the rate of the latency runs."

    # -- which trials --

    def _combinations(self) -> Iterator[Settings]:
        """The combinations for all goals in turn, without those measured already."""
        goals = [self._combinations_for(goal) for goal in self.tune.goals]
        seen = [trial.settings for trial in self.tune.trials]
        for chosen in itertools.chain.from_iterable(itertools.zip_longest(*goals)):
            if chosen is not None and chosen not in seen:
                seen.append(chosen)
                yield chosen

    def _combinations_for(self, goal: str) -> list[Settings]:
        start = self.tune.trials[0].settings
        scores = self._single_scores(goal)
        if not scores:
            return []
        order = sorted(scores, key=lambda name: -(max(scores[name].values()) - min(scores[name].values())))
        best = {name: max(values, key=values.__getitem__) for name, values in scores.items()}
        fixed: Settings = {}
        if goal == "durability":
            fixed = dict(most_durable(self.settings))
        helped = {name: best[name] for name in order if scores[name][best[name]] > math.log(1 + NOISE)}
        names = [name for name in order if name not in fixed][:GRID_SETTINGS]
        top_two = [sorted(scores[name], key=lambda value, n=name: -scores[n][value])[:2] for name in names]  # type: ignore[misc]
        grid = [dict(zip(names, values, strict=True)) for values in itertools.product(*top_two)]
        grid.sort(key=lambda row: -sum(scores[name][value] for name, value in row.items()))
        return [{**start, **row, **fixed} for row in (helped, *grid)]

    def _single_scores(self, goal: str) -> dict[str, dict[str, float]]:
        """Per setting and value: the logarithm of its effect on the goal, alone, relative to the baseline (which is 0)."""
        first = self.tune.trials[0]
        base = score(first, goal)
        if base is None:
            return {}
        found: dict[str, dict[str, float]] = {}
        for trial in self.tune.trials[1:]:
            changed = [name for name, value in trial.settings.items() if first.settings[name] != value]
            value = score(trial, goal)
            if len(changed) == 1 and value is not None and is_allowed(trial):
                name = changed[0]
                found.setdefault(name, {first.settings[name]: 0.0})[trial.settings[name]] = value - base
        return found

    def _confirmations(self) -> Iterator[Settings]:
        """The two best trials for each goal and the baseline, one round after another."""
        chosen = [self.tune.trials[0]]
        for goal in self.tune.goals:
            chosen += [trial for trial in ranked(self.tune.trials, goal)[:2] if trial not in chosen]
        for _ in range(CONFIRMED_ROUNDS - 1):
            for trial in chosen:
                if trial.rounds < CONFIRMED_ROUNDS:
                    yield trial.settings

    # -- what follows --

    def _conclude(self) -> None:
        tune = self.tune
        tune.front = pareto_front(tune.trials)
        for goal in tune.goals:
            tune.influences += self._influences(goal)
            candidates = ranked(tune.trials, goal)
            if candidates:
                tune.recommendations.append(self._recommendation(goal, candidates[0]))

    def _influences(self, goal: str) -> list[Influence]:
        if goal == "durability":  # the settings guarantee it; it is not measured
            return []
        found = []
        for name, scores in self._single_scores(goal).items():
            best, worst = max(scores, key=scores.__getitem__), min(scores, key=scores.__getitem__)
            found.append(Influence(goal, name, best, worst, round(math.exp(scores[best] - scores[worst]), 4)))
        return sorted(found, key=lambda each: -each.ratio)

    def _recommendation(self, goal: str, trial: Trial) -> Recommendation:
        first, chosen = self.tune.trials[0], trial.settings
        measured = (
            f"{figures.bytes_rate_text(trial.bytes_per_s)} saturated and p99 {figures.ms_text(trial.latency_p99_ms)} at "
            f"{self.tune.latency_records_per_s or 0:.0f} records/s (baseline: {figures.bytes_rate_text(first.bytes_per_s)} "
            f"and {figures.ms_text(first.latency_p99_ms)}); {rounds_text(trial.rounds)}. An acknowledged record survives: "
            f"{', '.join(trial.survives) or 'nothing'}."
        )
        if trial is first:
            reason = f"{REASONS[goal]} No trial was clearly better than the baseline: {measured}"
        else:
            reason = f"{REASONS[goal]} {changes_text(trial, first)}: {measured}"
        return Recommendation(
            goal,
            self.tune.trials.index(trial),
            reason,
            {**librdkafka_producer(chosen), **librdkafka_consumer(chosen)},
            java_producer(chosen),
            java_consumer(chosen),
            {PARTITIONS: chosen[PARTITIONS], **topic_config(chosen)},
        )


REASONS = {
    "throughput": "The most bytes per second; among trials within 5 % of it, the most durable, then the one with the lowest p99.",
    "latency": "The lowest p99; among trials within 5 % of it, the most durable, then the one with the highest throughput.",
    "durability": "The most durable settings; among those, settings with which retries neither duplicate nor reorder "
    "records; among those, the best compromise between throughput and p99.",
}


class _Stop(Exception):
    """The search cannot continue; the text is a note for the results."""


def one_at_a_time(settings: list[Setting], goals: list[str]) -> Iterator[Settings]:
    """Every value of every setting alone, except the defaults: earlier values first, and settings that concern the goals
    before others."""
    start = baseline(settings)
    order = sorted(settings, key=lambda each: not set(each.concerns) & set(goals))
    for index in range(1, max(len(each.values) for each in settings)):
        for setting in order:
            if index < len(setting.values):
                yield {**start, setting.name: setting.values[index]}


def most_durable(settings: list[Setting]) -> Settings:
    """The settings that determine which failures an acknowledged record survives, with their most durable values."""
    replicas = next((each.values for each in settings if each.name == "min.insync.replicas"), ())
    promises = {"acks": "all", "flush.messages": "1", IN_FLIGHT: str(IDEMPOTENT_IN_FLIGHT_MAX)}
    return {**promises, **({"min.insync.replicas": "2"} if "2" in replicas else {})}


def keeps_rate(run: Run) -> bool:
    """Whether a latency run roughly kept its rate."""
    due_s = run.totals.records / run.options["rate"]
    return run.totals.records > 0 and run.totals.duration_s <= due_s + LATE_MAX_S


def is_allowed(trial: Trial) -> bool:
    """Whether a trial may be recommended: not when an acknowledged record is lost as the broker's process dies."""
    return trial.durability > 0


def score(trial: Trial, goal: str) -> float | None:
    """How good a trial is for a goal, on a logarithmic scale, by its measurements alone; None where they are missing.

    Durability follows from the settings and is not measured; its score is the compromise between throughput and latency.
    """
    speed = math.log(trial.bytes_per_s) if trial.bytes_per_s else None
    latency = -math.log(trial.latency_p99_ms) if trial.latency_p99_ms else None
    if goal == "throughput":
        return speed
    if goal == "latency":
        return latency
    return speed + latency if speed is not None and latency is not None else None


def ranked(trials: list[Trial], goal: str) -> list[Trial]:
    """The trials that may be recommended for a goal, the best first.

    For durability, the order is: more failures survived, then an idempotent producer, then the better compromise. For the
    other goals, trials within the noise of the best one count as equal; among them, durability decides, then the other
    figure.
    """
    scored = [(trial, value) for trial in trials if is_allowed(trial) and (value := score(trial, goal)) is not None]
    if not scored:
        return []
    if goal == "durability":
        return [trial for trial, _ in sorted(scored, key=_durability_key)]
    best = max(value for _, value in scored)
    other = "latency" if goal == "throughput" else "throughput"

    def key(each: tuple[Trial, float]) -> tuple[float, ...]:
        trial, value = each
        second = score(trial, other)
        rest = (-trial.durability, -second if second is not None else math.inf, -value)
        return (0.0, *rest) if value >= best - math.log(1 + NOISE) else (1.0, -value, *rest)

    return [trial for trial, _ in sorted(scored, key=key)]


def _durability_key(scored: tuple[Trial, float]) -> tuple[float, ...]:
    trial, value = scored
    return -trial.durability, not is_idempotent(trial.settings), -value


def pareto_front(trials: list[Trial]) -> list[int]:
    """Indexes of the trials that no other trial dominates in throughput, p99 and durability."""
    rows = [(trial.bytes_per_s, trial.latency_p99_ms, float(trial.durability)) for trial in trials]
    return front(rows, (True, False, True))


def rounds_text(rounds: int) -> str:
    """For example "medians of 3 rounds"."""
    return "one round, not confirmed" if rounds < 2 else f"medians of {rounds} rounds"
