"""Recovery: fill a log, send SIGKILL, and measure the time until the restarted broker serves every record again."""

from __future__ import annotations

import time
from collections.abc import Callable

from kafka_cy.bench import results
from kafka_cy.bench.bench_topic import BenchTopic, bench_topic, offsets, wait_for_leaders
from kafka_cy.bench.brokers import Restartable
from kafka_cy.bench.histogram import LatencyHistogram
from kafka_cy.bench.load_options import LoadOptions
from kafka_cy.bench.measure import NoProgress, Progress
from kafka_cy.bench.process_sampler import usage
from kafka_cy.bench.workloads.consume import fill
from kafka_cy.bench.workloads.start import round_s, round_to_us

FILL_S_MAX = 600.0


def run(
    start: Callable[[], Restartable], options: LoadOptions, progress: Progress | None = None, *, round: int = 1
) -> results.Run:
    """Fill, kill and start `options.starts` times; each sample has the CPU time until all partitions are served.

    `bytes` were written before the crash; `errors` counts acknowledged records that were lost. Raises BrokerError.
    """
    progress = progress or NoProgress()
    latency = LatencyHistogram()
    samples: list[results.Sample] = []
    totals = results.Totals(duration_s=0.0, broker_cpu_s=0.0)
    outcome: results.Outcome = "completed"
    began_ns = time.monotonic_ns()
    broker = start()
    try:
        progress.run_started("recovery", broker.name, options)
        with bench_topic(broker, options) as topic:
            for _ in range(options.starts):
                size = fill(broker, topic, options, options.log_bytes, FILL_S_MAX)
                took_ns, lost, cpu_s, rss_bytes = crash(broker, topic)
                latency.record(took_ns)
                took_ms = took_ns / 1e6
                sample = results.Sample(round_s(began_ns), 1, 0, size, lost, took_ms, took_ms, cpu_s, rss_bytes)
                samples.append(sample)
                progress.sample(sample)
                totals.requests += 1
                totals.bytes += size
                totals.errors += lost
                totals.broker_cpu_s = round_to_us((totals.broker_cpu_s or 0.0) + (cpu_s or 0.0))
                totals.rss_bytes_max = max(totals.rss_bytes_max or 0, rss_bytes or 0)
    except KeyboardInterrupt:
        outcome = "interrupted"
    finally:
        broker.stop()
    totals.duration_s = round_s(began_ns)
    error = f"{totals.errors} acknowledged records were lost." if totals.errors else None
    done = results.Run(
        workload="recovery",
        label="recovery",
        target=broker.name,
        generator="native",
        round=round,
        options={"starts": options.starts, "log_bytes": options.log_bytes, "partitions": options.partitions},
        outcome="failed" if error else outcome,
        totals=totals,
        error=error,
        samples=samples,
        latency=results.Latency(**latency.export()),
    )
    progress.run_ended(done)
    return done


def crash(broker: Restartable, topic: BenchTopic) -> tuple[int, int, float | None, int | None]:
    """Kill and restart the broker: (ns until all partitions are served, records lost, CPU seconds, resident bytes)."""
    _, before = offsets(broker, topic)
    broker.kill()
    began_ns = time.monotonic_ns()
    broker.start()
    wait_for_leaders(broker, topic.name)
    took_ns = time.monotonic_ns() - began_ns
    used = usage(broker.pid)
    _, after = offsets(broker, topic)
    lost = sum(max(0, old - new) for old, new in zip(before, after, strict=True))
    return took_ns, lost, used.cpu_s, used.rss_bytes
