"""TLS handshakes: each connection is new, resumes nothing, and closes at once. A request is a handshake, as its client sees it."""

from __future__ import annotations

import contextlib
import socket
import ssl
import time
from collections.abc import Iterator
from functools import partial

from kafka_cy.bench.brokers import Target, parse_address
from kafka_cy.bench.load_options import LoadOptions, OptionError
from kafka_cy.bench.measure import Load
from kafka_cy.bench.threaded_load import LoadFailure, ThreadedLoad

TIMEOUT_S = 30.0


@contextlib.contextmanager
def load(target: Target, options: LoadOptions) -> Iterator[Load]:
    """`producers` clients that connect one connection after the other. Raises OptionError, BrokerError."""
    trusted = target.client_properties.get("ssl.ca.location")
    if trusted is None or "SSL" not in target.client_properties.get("security.protocol", ""):
        raise OptionError("The handshake load needs security.protocol=SSL and ssl.ca.location.")
    address = parse_address(target.bootstrap_servers.split(",")[0])
    clients = ThreadedLoad(options)
    for _ in range(options.producers):
        clients.add(partial(shake_hands, clients, address, ssl.create_default_context(cafile=trusted)))
    yield clients


def shake_hands(load: ThreadedLoad, address: tuple[str, int], context: ssl.SSLContext) -> None:
    """One client: handshakes until the time is over."""
    while not load.is_over():
        began_ns = time.monotonic_ns()
        with socket.create_connection(address, timeout=TIMEOUT_S) as plain:
            try:
                context.wrap_socket(plain, server_hostname=address[0]).close()
            except ssl.SSLError as error:
                raise LoadFailure(f"A handshake failed: {error.reason}.") from None
        load.answered(began_ns, 0, 0)
