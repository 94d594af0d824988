"""Results in the form that the benchmark writes them, the same on every call."""

from __future__ import annotations

import math
import random

from kafka_cy.bench.results import Latency, Machine, Results, Run, Sample, Totals
from kafka_cy.bench.tune_results import Influence, Recommendation, Trial, Tune

MACHINE = Machine("Sample CPU <fast>", 2, 24 * 2**30, "Linux 6.18", 0.4, 1.9)
VERSIONS = {"kafka-cy": "0.1.0", "python": "3.11.7", "librdkafka": "2.16.1", "apache-kafka": "4.3.1"}
SPEED = {"kafka-cy": 1.0, "apache-kafka": 3.2, "floor": 0.6}


def latency(generator: random.Random, median_ms: float, count: int = 20_000) -> Latency:
    """A log-normal latency distribution in log-linear buckets."""
    counts: dict[float, float] = {}
    values = sorted(generator.lognormvariate(math.log(median_ms), 0.7) for _ in range(count))
    for value in values:
        step = 2.0 ** (math.floor(math.log2(value)) - 5)
        upper = (math.floor(value / step) + 1) * step
        counts[upper] = counts.get(upper, 0) + 1
    at = {name: values[min(count - 1, int(count * share))] for name, share in PERCENTILES.items()}
    return Latency(count, sum(values) / count, values[-1], buckets=[list(pair) for pair in counts.items()], **at)


PERCENTILES = {"p50_ms": 0.5, "p90_ms": 0.9, "p99_ms": 0.99, "p999_ms": 0.999, "p9999_ms": 0.9999}


def run(target: str, label: str, round_number: int, seconds: int = 10, **options: object) -> Run:
    """One run of `seconds` samples."""
    generator = random.Random(f"{target}{label}{round_number}{options}")
    slow = SPEED.get(target, 2.0) * generator.uniform(0.93, 1.07)
    samples = []
    for second in range(1, seconds + 1):
        requests = int(40_000 / slow * generator.uniform(0.9, 1.05))
        samples.append(
            Sample(
                t_s=second + generator.uniform(-0.01, 0.01),
                requests=requests,
                records=requests * 10,
                bytes=requests * 10_240,
                latency_p50_ms=slow * 0.2,
                latency_p99_ms=slow * generator.uniform(0.8, 1.6),
                cpu_s=0.9,
                rss_bytes=int((30 + 3 * second) * 2**20 * slow),
                context_switches=1000,
                written_bytes=requests * 10_000,
            )
        )
    totals = Totals(
        duration_s=samples[-1].t_s,
        requests=sum(each.requests for each in samples),
        records=sum(each.records for each in samples),
        bytes=sum(each.bytes for each in samples),
        broker_cpu_s=0.9 * seconds,
        client_cpu_s=0.5 * seconds,
        rss_bytes_max=max(each.rss_bytes or 0 for each in samples),
        context_switches=1000 * seconds,
        written_bytes=sum(each.written_bytes or 0 for each in samples),
    )
    return Run(
        "produce", label, target, "native", round_number, dict(options), "completed", totals, None, samples,
        latency(generator, slow * 0.25),
    )  # fmt: skip


def sample_run(label: str = "produce 16 KiB batches, acks=1", target: str = "kafka-cy") -> Results:
    """One load, one target, one round."""
    return Results(
        "run", "2026-11-25T16:00:00Z", ["kafka-cy", "bench", "produce"], MACHINE, VERSIONS, [run(target, label, 1)]
    )


def sample_compare() -> Results:
    """Two loads, three targets, three interleaved rounds."""
    runs = [
        run(target, label, number, row=index, unit=unit)
        for index, (label, unit) in enumerate(
            (("produce 16 KiB batches, acks=1", "GB"), ("one 100 B record", "request"))
        )
        for number in (1, 2, 3)
        for target in SPEED
    ]
    broken = run("apache-kafka", "one 100 B record", 4)
    broken.outcome, broken.error = "broker-died", "exit code 137"
    return Results(
        "compare", "2026-11-25T16:10:00Z", ["kafka-cy", "bench", "compare"], MACHINE, VERSIONS, [*runs, broken]
    )


def sample_scaling() -> Results:
    """A curve of four points, each with a base."""
    runs = []
    for at in (1, 100, 1000, 20_000):
        for number in (1, 2):
            for role in ("base", "variant"):
                options = {"curve": "partitions", "at": at, "pair": f"{at}-{number}", "role": role}
                runs.append(run("kafka-cy", "produce one 100 B record", number, 2, **options))
    return Results("scaling", "2026-11-25T16:20:00Z", ["kafka-cy", "bench", "scaling"], MACHINE, VERSIONS, runs)


def sample_tune() -> Results:
    """Twenty-five trials, several of them on the front."""
    generator = random.Random(7)
    base = {"batch.size": "16384", "linger.ms": "5", "acks": "all", "compression.type": "none"}
    survives = {"0": [], "1": ["broker process"], "all": ["broker process", "one broker"]}
    trials = [Trial(dict(base), "baseline", [0], 3, 80e6, 3.0, 12.0, survives["all"])]
    for number in range(24):
        settings = dict(base)
        settings[generator.choice(["batch.size", "linger.ms"])] = str(2 ** generator.randint(1, 8))
        settings["acks"] = generator.choice(["0", "1", "all"])
        speed = generator.uniform(60e6, 400e6)
        p99 = 2 + (speed / 1e8) ** 2 * generator.uniform(1, 4)
        stage = "one at a time" if number < 16 else "combination"
        trials.append(Trial(settings, stage, [0], 1, speed, p99 / 4, p99, survives[settings["acks"]]))
    trials[5].error, trials[5].latency_p99_ms = "the broker refused the topic", None
    from kafka_cy.bench.pareto import front

    rows = [(trial.bytes_per_s, trial.latency_p99_ms, trial.durability) for trial in trials]
    chosen = front(rows, [True, False, True])
    fastest = max(chosen, key=lambda index: trials[index].bytes_per_s or 0)
    quickest = min(chosen, key=lambda index: trials[index].latency_p99_ms or math.inf)
    tune = Tune(
        ["throughput", "latency"],
        5000.0,
        trials,
        chosen,
        [
            Influence("throughput", "batch.size", "262144", "4096", 3.4),
            Influence("throughput", "linger.ms", "20", "0", 1.3),
            Influence("latency", "acks", "1", "all", 1.8),
        ],
        [
            Recommendation(
                "throughput", fastest, "The most bytes per second.", {"batch.size": "262144", "acks": "1"},
                {"batch.size": "262144", "acks": "1"}, {"fetch.min.bytes": "1"}, {"num.partitions": "4"},
            ),
            Recommendation("latency", quickest, "The lowest p99.", {"linger.ms": "0"}),
        ],
        ["min.insync.replicas was not searched: one broker holds one replica."],
    )  # fmt: skip
    results = sample_run()
    results.kind, results.tune = "tune", tune
    return results
