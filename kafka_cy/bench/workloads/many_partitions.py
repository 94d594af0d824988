"""Producers that write to thousands of partitions in turn, one partition per request."""

from __future__ import annotations

from contextlib import AbstractContextManager

from kafka_cy.bench.brokers import Target
from kafka_cy.bench.load_options import LoadOptions
from kafka_cy.bench.measure import Load
from kafka_cy.bench.workloads import produce


def load(target: Target, options: LoadOptions) -> AbstractContextManager[Load]:
    """Like `produce`, which distributes all partitions over the connections."""
    return produce.load(target, options)
