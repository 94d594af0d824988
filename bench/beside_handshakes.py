"""Measures the latency of a quiet client next to a storm of new TLS connections. Prints a table; see docs/benchmarks.md.

    .venv/bin/python bench/beside_handshakes.py [SECONDS for each row] [KEY of the broker]...

The quiet client is that of beside.py, in plaintext and over TLS, and the broker has one reactor. Three processes keep 100
connections each whose ClientHello waits for its answer; when it comes, they close the connection and open another. The ClientHello
is made once, so that the storm costs the clients next to nothing, and the broker a whole handshake but for its last message.
"""

from __future__ import annotations

import multiprocessing
import multiprocessing.sharedctypes
import select
import socket
import ssl
import struct
import sys
import time
from functools import partial
from pathlib import Path

from beside import Quiet, call, connect, frame, measure, milliseconds, quiet, quiet_through, string

from kafka_cy.bench.brokers import OwnBroker, parse_address
from kafka_cy.bench.secured import Certificate, SecuredListeners

CONNECTIONS = 100  # of a process
KEYS = {
    "rsa2048": ("-newkey", "rsa:2048"),
    "rsa4096": ("-newkey", "rsa:4096"),
    "p256": ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"),
}
Counter = multiprocessing.sharedctypes.Synchronized


def client_hello() -> bytes:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    try:
        ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname="localhost").do_handshake()
    except ssl.SSLWantReadError:
        pass
    return outgoing.read()


def storm(tls_port: int, answered: Counter[int], port: int, folder: Path) -> None:
    hello = client_hello()
    poll = select.poll()
    waiting: dict[int, socket.socket] = {}
    while True:
        while len(waiting) < CONNECTIONS:
            client = connect(tls_port)
            client.sendall(hello)
            waiting[client.fileno()] = client
            poll.register(client, select.POLLIN)
        count = 0
        for fd, _ in poll.poll():
            client = waiting.pop(fd)
            poll.unregister(fd)
            count += bool(client.recv(65536))
            client.close()
        with answered.get_lock():
            answered.value += count


def quiet_tls(
    tls_port: int, trusted: Path, port: int, seconds: float, results: multiprocessing.Queue[list[float]]
) -> None:
    context = ssl.create_default_context(cafile=str(trusted))
    quiet_through(context.wrap_socket(connect(tls_port), server_hostname="127.0.0.1"), seconds, results)


def run_key(key: str, seconds: float) -> None:
    certificate = Certificate(KEYS[key])
    listeners = SecuredListeners(certificate)
    broker = OwnBroker({**listeners.broker_config(), "num.network.threads": 1}, more_listeners=listeners.listeners)
    try:
        port = parse_address(broker.bootstrap_servers)[1]
        tls_port = parse_address(listeners.through(broker, "SSL").bootstrap_servers)[1]
        with connect(port) as client:
            body = struct.pack(">i", 1) + string("quiet") + struct.pack(">ihiiib", 1, 1, 0, 0, 30000, 0)
            call(client, frame(19, 2, body))
        clients: dict[str, Quiet] = {"plaintext": quiet, "TLS": partial(quiet_tls, tls_port, certificate.trusted)}
        for name, quiet_client in clients.items():
            answered: Counter[int] = multiprocessing.Value("q", 0)
            alone = measure(port, Path(), seconds, quiet_client, None)
            began = time.monotonic()
            beside = measure(port, Path(), seconds, quiet_client, partial(storm, tls_port, answered))
            rate = answered.value / (time.monotonic() - began)
            print(f"{key:10s} {name:9s} {milliseconds(alone)}   {milliseconds(beside)}  {rate:9.0f}", flush=True)
    finally:
        broker.stop()
        certificate.delete()


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 8
    print(f"{'milliseconds':20s} {'alone: p50':>10s} {'p99':>9s} {'max':>9s}   {'beside: p50':>9s} {'p99':>9s} {'max':>9s}   "
          "answers/s")
    for key in sys.argv[2:] or list(KEYS):
        run_key(key, seconds)


if __name__ == "__main__":
    main()
