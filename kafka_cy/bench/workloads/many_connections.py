"""Thousands of connections: `producers` that send, and `idle_connections` that stay open without sending."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

from kafka_cy.bench.brokers import BrokerError, Target, parse_address
from kafka_cy.bench.load_options import LoadOptions
from kafka_cy.bench.measure import Load
from kafka_cy.bench.native_runner import raise_descriptor_limit
from kafka_cy.bench.workloads import produce


@contextlib.contextmanager
def load(target: Target, options: LoadOptions) -> Iterator[Load]:
    """Like `produce`, with the idle connections open."""
    raise_descriptor_limit(options.producers + options.idle_connections)
    with idle_connections(target, options.idle_connections), produce.load(target, options) as working:
        yield working


@contextlib.contextmanager
def idle_connections(target: Target, count: int) -> Iterator[None]:
    """Open connections that send nothing. Raises BrokerError when one is refused."""
    address = parse_address(target.bootstrap_servers.split(",")[0])
    with contextlib.ExitStack() as opened:
        for number in range(count):
            try:
                opened.enter_context(socket.create_connection(address, timeout=5))
            except OSError as error:
                raise BrokerError(f"The broker refused connection {number + 1}: {error}.") from None
        yield
