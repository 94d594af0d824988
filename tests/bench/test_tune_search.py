"""The search of `bench tune`, with a simulated broker whose best settings are known."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kafka_cy.bench.pareto import dominates
from kafka_cy.bench.results import Latency, Results, Run, Totals
from kafka_cy.bench.tune import Search, is_allowed, one_at_a_time, ranked
from kafka_cy.bench.tune_results import Trial, Tune, changes
from kafka_cy.bench.tune_settings import (
    GOALS,
    IN_FLIGHT,
    NEVER,
    SETTINGS,
    baseline,
    is_idempotent,
    java_producer,
    librdkafka_consumer,
    librdkafka_producer,
    searched,
    survives,
    topic_config,
)

from .sample_results import MACHINE

DURATION_S = 2.0
TRIAL_S = 5.0
#: The effect of each value on throughput and p99 in the simulated broker.
EFFECTS = {
    ("batch.size", "262144"): (3.0, 1.1),
    ("batch.size", "1000000"): (2.9, 1.4),
    ("batch.size", "4096"): (0.4, 0.99),
    ("linger.ms", "0"): (0.9, 0.5),
    ("linger.ms", "100"): (1.2, 9.0),
    ("acks", "1"): (1.3, 0.7),
    ("acks", "0"): (5.0, 0.1),
    ("compression.type", "gzip"): (0.3, 1.5),
    ("fetch.max.wait.ms", "10"): (1.0, 0.99),
    ("flush.messages", "1"): (0.2, 4.0),
}


class Broker:
    """Measures without waiting: each run advances the clock."""

    def __init__(self, **changes: Any) -> None:
        self.now = 0.0
        self.runs = 0
        self.changes = changes

    def clock(self) -> float:
        return self.now

    def measure(self, settings: dict[str, str], rate: float | None, label: str) -> Run:
        self.runs += 1
        self.now += TRIAL_S / 2
        speed, p99 = 40_000.0, 20.0
        for pair in settings.items():
            more, slower = EFFECTS.get(pair, (1.0, 1.0))
            speed, p99 = speed * more, p99 * slower
        records = int((speed if rate is None else min(rate, speed)) * DURATION_S)
        run = Run(
            "end-to-end", label, "kafka-cy", "librdkafka", 1, {}, "completed",
            Totals(DURATION_S, records, records, records * 1000),
            latency=Latency(records, p99 / 3, p99 * 2, p99 / 4, p99 / 2, p99, p99, p99),
        )  # fmt: skip
        for name, value in self.changes.get(f"run_{self.runs}", {}).items():
            if isinstance(value, BaseException):
                raise value
            setattr(run, name, value)
        return run


def search(broker: Broker, goals: tuple[str, ...] = GOALS, budget_s: float = 1e9, replicas: int = 1) -> Tune:
    tune = Tune(list(goals))
    results = Results("tune", "2026-11-25T16:00:00Z", [], MACHINE, {}, tune=tune)
    Search(results, tune, searched(replicas), broker.measure, budget_s, clock=broker.clock).run()
    assert [index for trial in tune.trials for index in trial.runs if index >= len(results.runs)] == []
    assert sum(len(trial.runs) for trial in tune.trials) == len(results.runs)
    return tune


def recommended(tune: Tune, goal: str) -> dict[str, str]:
    (found,) = [each for each in tune.recommendations if each.goal == goal]
    return changes(tune.trials[found.trial], tune.trials[0])


def test_the_best_of_each_goal_is_found_and_confirmed() -> None:
    tune = search(Broker())
    assert recommended(tune, "throughput") == {"batch.size": "262144", "linger.ms": "100", "acks": "1"}
    assert recommended(tune, "latency") == {"linger.ms": "0", "acks": "1"}
    assert recommended(tune, "durability") == {"batch.size": "262144", "linger.ms": "0", "flush.messages": "1"}
    for each in tune.recommendations:
        assert tune.trials[each.trial].rounds == 3
        assert "medians of 3 rounds" in each.reason
    assert tune.trials[0].rounds == 3
    assert tune.notes == []


def test_durability_is_idempotent_though_more_in_flight_would_carry_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(EFFECTS, (IN_FLIGHT, "100"), (3.0, 0.3))
    tune = search(Broker())
    assert recommended(tune, "throughput")[IN_FLIGHT] == "100"
    (durable,) = [each for each in tune.recommendations if each.goal == "durability"]
    assert durable.java_producer["enable.idempotence"] == "true"
    assert "power failure" in tune.trials[durable.trial].survives


def test_what_moved_a_goal_is_named_with_its_size() -> None:
    tune = search(Broker())
    influence = {(each.goal, each.setting): each for each in tune.influences}
    batch = influence["throughput", "batch.size"]
    assert (batch.best, batch.worst, batch.ratio) == ("262144", "4096", pytest.approx(3.0 / 0.4, rel=1e-3))
    assert influence["latency", "linger.ms"].ratio == pytest.approx(9.0 / 0.5, rel=1e-3)
    assert {each.goal for each in tune.influences} == {"throughput", "latency"}


def test_acknowledged_records_that_nothing_holds_are_measured_but_not_recommended() -> None:
    tune = search(Broker())
    unsafe = [index for index, trial in enumerate(tune.trials) if trial.settings["acks"] == "0"]
    assert set(unsafe) & set(tune.front)
    assert not set(unsafe) & {each.trial for each in tune.recommendations}


def test_latency_is_measured_at_a_fixed_rate_far_below_the_baselines_throughput() -> None:
    tune = search(Broker())
    assert tune.latency_records_per_s == pytest.approx(4000.0)


@pytest.mark.parametrize("budget_s", [0.0, 30.0, 100.0, 200.0])
def test_the_budget_is_kept(budget_s: float) -> None:
    broker = Broker()
    tune = search(broker, budget_s=budget_s)
    assert broker.now <= max(budget_s, TRIAL_S)
    assert tune.trials[0].rounds >= 1
    assert any("for lack of time" in note for note in tune.notes)
    assert len(tune.recommendations) == len(GOALS)


def test_with_little_time_what_concerns_the_goal_is_tried_first() -> None:
    first = [changes_of(each) for each in list(one_at_a_time(searched(1), ["durability"]))[:2]]
    assert first == [{"acks": "1"}, {"flush.messages": "1"}]


def changes_of(settings: dict[str, str]) -> dict[str, str]:
    return changes(Trial(settings, ""), Trial(baseline(searched(3)), ""))


def test_one_at_a_time_changes_one_setting_to_each_of_its_values() -> None:
    every = [changes_of(each) for each in one_at_a_time(searched(3), list(GOALS))]
    assert all(len(each) == 1 for each in every)
    pairs = [next(iter(each.items())) for each in every]
    assert sorted(pairs) == sorted((each.name, value) for each in SETTINGS for value in each.values[1:])


@pytest.mark.parametrize("run_number", [1, 2, 9, 30])
@pytest.mark.parametrize("how", [{"outcome": "interrupted"}, {"outcome": KeyboardInterrupt()}])
def test_ctrl_c_keeps_what_was_measured(run_number: int, how: dict[str, Any]) -> None:
    tune = search(Broker(**{f"run_{run_number}": how}))
    assert tune.notes == ["Interrupted: the search is incomplete."]
    assert len(tune.trials) == (run_number + 1) // 2
    assert bool(tune.recommendations) == (run_number > 1)


def test_a_broker_that_dies_ends_the_search_with_a_note() -> None:
    tune = search(Broker(run_7={"outcome": "broker-died", "error": "The broker died after 1.0 s."}))
    assert tune.trials[-1].error == "The broker died after 1.0 s."
    assert tune.trials[-1].bytes_per_s is None
    assert tune.notes[0].startswith("The broker died during ")
    assert len(tune.trials) == 4


def test_a_failed_trial_does_not_end_the_search() -> None:
    tune = search(Broker(run_5={"outcome": "failed", "error": "Policy violation."}))
    assert tune.trials[2].error == "Policy violation."
    assert tune.trials[2].bytes_per_s is None
    assert 2 not in tune.front
    assert len(tune.recommendations) == 3


def test_a_latency_run_that_falls_behind_gives_no_latency() -> None:
    slow = Totals(DURATION_S + 1.5, 8000, 8000, 8_000_000)
    tune = search(Broker(run_4={"totals": slow}))
    assert tune.trials[1].latency_p99_ms is None
    assert tune.trials[1].bytes_per_s is not None
    assert tune.trials[1].error == "It did not keep up with the rate of the latency runs."


def test_a_baseline_that_fails_ends_it() -> None:
    broker = Broker(run_1={"outcome": "failed", "error": "No.", "totals": Totals(0.0)})
    tune = search(broker)
    assert broker.runs == 1
    assert tune.recommendations == []


SPEEDS = st.one_of(st.none(), st.floats(1.0, 1e9))
TRIALS = st.lists(
    st.builds(
        Trial,
        st.sampled_from(["5", "100"]).map(lambda number: {**baseline(searched(1)), IN_FLIGHT: number}),
        st.just(""),
        bytes_per_s=SPEEDS,
        latency_p99_ms=SPEEDS,
        survives=st.lists(st.sampled_from("abc"), unique=True),
    ),
    max_size=15,
)


@given(TRIALS, st.sampled_from(GOALS))
def test_the_first_of_a_ranking_is_not_beaten_by_more_than_noise(trials: list[Trial], goal: str) -> None:
    order = ranked(trials, goal)
    assert all(is_allowed(trial) for trial in order)
    if not order:
        return
    best = order[0]
    rest = [trial for trial in order if trial.bytes_per_s and trial.latency_p99_ms]
    if goal == "throughput":
        assert (best.bytes_per_s or 0) * 1.0501 >= max(trial.bytes_per_s or 0 for trial in order)
    elif goal == "latency":
        assert (best.latency_p99_ms or math.inf) <= 1.0501 * min(trial.latency_p99_ms or math.inf for trial in order)
    else:
        assert best.durability == max(trial.durability for trial in order)
        rest = [trial for trial in rest if trial.settings == best.settings]
    if goal == "durability":
        figures = [(trial.bytes_per_s or 0, trial.latency_p99_ms or 0, trial.durability) for trial in rest]
        mine = (best.bytes_per_s or 0, best.latency_p99_ms or 0, best.durability)
        # (a tie in the product of both figures is not domination)
        beaten = [other for other in figures if dominates(other, mine, (True, False, True))]
        assert all(math.isclose(other[0] / other[1], mine[0] / mine[1], rel_tol=1e-9) for other in beaten)


def test_promises() -> None:
    start = baseline(searched(3))
    assert survives(start) == ["death of the broker's process"]
    assert survives({**start, "acks": "0", "flush.messages": "1"}) == []
    assert survives({**start, "min.insync.replicas": "2"})[1:] == ["loss of a broker"]
    assert survives({**start, "min.insync.replicas": "2", "acks": "1"})[1:] == []
    assert survives({**start, "acks": "1", "flush.messages": "1"})[1:] == ["power failure"]
    assert not is_idempotent({**start, "acks": "1"})
    assert not is_idempotent({**start, "max.in.flight.requests.per.connection": "100"})


def test_names_to_paste() -> None:
    chosen = {**baseline(searched(3)), "fetch.max.wait.ms": "10", "min.insync.replicas": "2"}
    assert librdkafka_consumer(chosen) == {"fetch.min.bytes": "1", "fetch.wait.max.ms": "10"}
    assert java_producer(chosen)["enable.idempotence"] == "true"
    assert topic_config(chosen) == {"min.insync.replicas": "2"}
    assert topic_config({**chosen, "flush.messages": "1"})["flush.messages"] == "1"
    assert baseline(searched(1))["flush.messages"] == NEVER
    assert "min.insync.replicas" not in baseline(searched(1))


def test_librdkafka_takes_every_choice() -> None:
    from confluent_kafka import Consumer, Producer

    for setting in SETTINGS:
        for value in setting.values:
            chosen = {**baseline(searched(3)), setting.name: value}
            Producer(librdkafka_producer(chosen))
            Consumer({"group.id": "g", **librdkafka_consumer(chosen)}).close()
