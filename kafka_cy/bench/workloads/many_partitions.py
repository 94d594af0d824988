"""Producers that write to a thousand partitions and more in turn: one request, one partition."""

from __future__ import annotations

from contextlib import AbstractContextManager

from kafka_cy.bench.brokers import Target
from kafka_cy.bench.load_options import LoadOptions
from kafka_cy.bench.measure import Load
from kafka_cy.bench.workloads import produce


def load(target: Target, options: LoadOptions) -> AbstractContextManager[Load]:
    """As `produce`, which deals all partitions out to the connections."""
    return produce.load(target, options)
