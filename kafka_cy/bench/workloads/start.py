"""Start: from exec to the ApiVersions response, repeatedly and in new folders; with the CPU time and memory of each."""

from __future__ import annotations

import time
from collections.abc import Callable

from kafka_cy.bench import results
from kafka_cy.bench.brokers import Restartable
from kafka_cy.bench.histogram import LatencyHistogram
from kafka_cy.bench.load_options import LoadOptions
from kafka_cy.bench.measure import NoProgress, Progress
from kafka_cy.bench.process_sampler import usage

IDLE_S = 1.0


def run(
    start: Callable[[], Restartable], options: LoadOptions, progress: Progress | None = None, *, round: int = 1
) -> results.Run:
    """`options.starts` starts, one sample each. Memory is measured after an idle second.

    Latency is the start time without the creation of the folder (Apache Kafka: `format`). Raises BrokerError when the
    broker does not start.
    """
    progress = progress or NoProgress()
    latency = LatencyHistogram()
    samples: list[results.Sample] = []
    outcome: results.Outcome = "completed"
    cpu_s, rss_bytes, began_ns, name = 0.0, 0, time.monotonic_ns(), ""
    try:
        for number in range(options.starts):
            broker = start()  # creates the folder; the next start is the one that is timed
            try:
                if not number:
                    name = broker.name
                    progress.run_started("start", name, options)
                broker.kill()
                before_ns = time.monotonic_ns()
                broker.start()
                took_ns = time.monotonic_ns() - before_ns
                used = usage(broker.pid)
                time.sleep(IDLE_S)
                rss_bytes = max(rss_bytes, usage(broker.pid).rss_bytes or 0)
            finally:
                broker.stop()
            latency.record(took_ns)
            cpu_s += used.cpu_s or 0.0
            sample = results.Sample(
                t_s=round_s(began_ns),
                requests=1,
                latency_p50_ms=took_ns / 1e6,
                latency_p99_ms=took_ns / 1e6,
                cpu_s=used.cpu_s,
                rss_bytes=rss_bytes,
            )
            samples.append(sample)
            progress.sample(sample)
    except KeyboardInterrupt:
        outcome = "interrupted"
    done = results.Run(
        workload="start",
        label="start",
        target=name,
        generator=None,
        round=round,
        options={"starts": options.starts},
        outcome=outcome,
        samples=samples,
        totals=results.Totals(
            duration_s=round_s(began_ns),
            requests=len(samples),
            broker_cpu_s=round_to_us(cpu_s),
            rss_bytes_max=rss_bytes,
        ),
        latency=results.Latency(**latency.export()),
    )
    progress.run_ended(done)
    return done


def round_s(began_ns: int) -> float:
    """Seconds since then, to the millisecond."""
    return float(f"{(time.monotonic_ns() - began_ns) / 1e9:.3f}")


def round_to_us(seconds: float) -> float:
    """Seconds to the microsecond."""
    return float(f"{seconds:.6f}")
