"""Tunes a broker: librdkafka measures each trial of the search end to end, each time on a new topic."""

from __future__ import annotations

import time

from kafka_cy.bench import figures, workloads
from kafka_cy.bench.brokers import BrokerError, Target
from kafka_cy.bench.load_options import LoadOptions, OptionError
from kafka_cy.bench.payloads import Payloads
from kafka_cy.bench.results import Outcome, Results, Run, Totals
from kafka_cy.bench.tune import INTERRUPTED, Measure, OnTrial, Search
from kafka_cy.bench.tune_results import Tune
from kafka_cy.bench.tune_settings import (
    PARTITIONS,
    Settings,
    baseline,
    librdkafka_consumer,
    librdkafka_producer,
    searched,
    topic_config,
)

WORKLOAD = "end-to-end"
#: Limit of the producer's queue. A larger queue would only prolong the end of a slow trial.
QUEUE_KBYTES = 16_384
#: Warm-up time before the baseline is measured, and its maximum share of the budget.
WARM_UP_S = 10.0
WARM_UP_SHARE = 0.1
#: The first requests of a new topic are slow, especially with Apache Kafka.
TRIAL_WARM_UP_S_MIN = 1.0
#: Above this share of a core, the generator itself may be the bottleneck.
CLIENT_BUSY = 0.9


def tune_broker(
    results: Results,
    target: Target,
    goals: list[str],
    payloads: Payloads,
    *,
    duration_s: float,
    budget_s: float,
    replication_factor: int,
    on_trial: OnTrial,
) -> Tune:
    """Search for `budget_s` seconds, with runs of `duration_s`; Ctrl-C ends it. `results` also has everything measured.

    The first tenth of the time, at most ten seconds, warms the broker up. Raises PayloadError. A failure of the broker is
    reported in the trials and the notes.
    """
    results.tune = tune = Tune(goals)

    def measure(settings: Settings, rate: float | None, label: str) -> Run:
        options = LoadOptions(
            generator="librdkafka",
            topic_config=topic_config(settings),
            partitions=int(settings[PARTITIONS]),
            replication_factor=replication_factor,
            duration_s=duration_s,
            warm_up_s=max(TRIAL_WARM_UP_S_MIN, duration_s / 3),
            throughput=rate,
            producers=1,
            consumers=1,
            payloads=payloads,
            producer_properties={**librdkafka_producer(settings), "queue.buffering.max.kbytes": str(QUEUE_KBYTES)},
            consumer_properties=librdkafka_consumer(settings),
        )
        try:
            return workloads.run(WORKLOAD, target, options, label=label)
        except (BrokerError, OptionError) as error:
            outcome: Outcome = "failed" if target.alive() else "broker-died"
            return Run(WORKLOAD, label, target.name, "librdkafka", 1, {}, outcome, Totals(0.0), str(error))

    settings = searched(replication_factor)
    begun = time.monotonic()
    if not warm_up(measure, baseline(settings), begun + min(WARM_UP_S, budget_s * WARM_UP_SHARE)):
        tune.notes.append(INTERRUPTED)
        return tune
    Search(results, tune, settings, measure, budget_s - (time.monotonic() - begun), on_trial).run()
    if replication_factor == 1:
        tune.notes.append("min.insync.replicas was not searched: with one replica, it has no effect.")
    busiest = max(map(client_share, results.runs), default=0.0)
    if busiest > CLIENT_BUSY:
        tune.notes.append(
            f"The generator used up to {busiest:.0%} of a core: similar throughputs may be the limit of the generator."
        )
    return tune


def warm_up(measure: Measure, settings: Settings, until_s: float) -> bool:
    """Run a load without using its results until `until_s`, because the first seconds of a JVM would distort the baseline.

    Returns False after Ctrl-C.
    """
    try:
        while time.monotonic() < until_s:
            run = measure(settings, None, "warm-up")
            if run.outcome == "interrupted":
                return False
            if run.outcome == "broker-died":
                break
    except KeyboardInterrupt:  # between two runs
        return False
    return True


def client_share(run: Run) -> float:
    """CPU use of the generator in a saturated run, in cores."""
    if run.options.get("rate") is not None or not run.totals.client_cpu_s or not figures.bytes_per_s(run):
        return 0.0
    return run.totals.client_cpu_s / run.totals.duration_s
