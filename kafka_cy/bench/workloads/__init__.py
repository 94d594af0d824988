"""The workloads, one per file. `run` returns a results.Run even when the broker fails meanwhile."""

from __future__ import annotations

import importlib
import time
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from kafka_cy.bench.measure import Load, NoProgress, Progress, measure
from kafka_cy.bench.results import Run

if TYPE_CHECKING:
    from kafka_cy.bench.brokers import Target
    from kafka_cy.bench.load_options import LoadOptions

#: Workloads for a running broker, by their names on the command line; their modules have `load(target, options)`.
LOADS = (
    "produce", "consume", "end-to-end", "mixed", "many-partitions", "many-connections", "groups", "transactions",
    "share-group", "group-members", "idle-members",
)  # fmt: skip
#: Workloads that start brokers themselves; their modules have their own `run(...)`.
LIVES = ("start", "recovery")


def load_of(workload: str, target: Target, options: LoadOptions) -> AbstractContextManager[Load]:
    """The load of a workload; its topic exists. Raises BrokerError, OptionError, PayloadError."""
    module = importlib.import_module(f"kafka_cy.bench.workloads.{workload.replace('-', '_')}")
    made: AbstractContextManager[Load] = module.load(target, options)
    return made


def run(
    workload: str,
    target: Target,
    options: LoadOptions,
    progress: Progress | None = None,
    *,
    label: str | None = None,
    round: int = 1,
    marks: dict[str, object] | None = None,
) -> Run:
    """One run of a workload in LOADS; `marks` are additional options for the results file. Raises what `load_of` raises."""
    progress = progress or NoProgress()
    label = label or workload
    with load_of(workload, target, options) as load:
        progress.run_started(label, target.name, options)
        measured = measure(load, target, progress)
        began_s = time.time() - (time.monotonic_ns() - load.measured_from_ns()) / 1e9
    done = Run(
        workload=workload,
        label=label,
        target=target.name,
        generator=options.generator,
        round=round,
        options={**options.shown(), **(marks or {})},
        outcome=measured.outcome,
        error=measured.error,
        samples=measured.samples,
        totals=measured.totals,
        latency=measured.latency,
        started=f"{datetime.fromtimestamp(began_s, UTC):%Y-%m-%dT%H:%M:%S.%fZ}",
    )
    progress.run_ended(done)
    return done
