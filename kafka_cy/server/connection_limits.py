"""Applies the broker's connection limits to the network server, at start and when they change."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any, Final

LIMIT_KEYS: Final = frozenset(
    ("max.connections", "max.connections.per.ip", "max.connections.per.ip.overrides", "max.connection.creation.rate")
)


def apply_connection_limits(config: Any, server: Any, warn: Callable[..., object]) -> None:
    """Set the limits. Host names in the overrides are resolved on a separate thread because that can take long."""
    server.set_connections_max(int(config["max.connections"]))
    server.set_connections_per_ip_max(int(config["max.connections.per.ip"]))
    server.set_connection_creation_rate(int(config["max.connection.creation.rate"]))
    limits: dict[bytes, int] = {}
    names: dict[str, int] = {}
    for host, limit in config.connections_per_ip_overrides.items():
        address = _address(host)
        if address is None:
            names[host] = limit
        else:
            limits[address] = limit
    server.set_connections_per_ip_overrides(limits)
    if names:
        from kafka_cy.base.named_thread import NamedThread

        def resolve() -> None:
            for host, limit in names.items():
                found = _resolve(host)
                if not found:
                    warn("a host name in max.connections.per.ip.overrides has no address", host=host)
                limits.update(dict.fromkeys(found, limit))
            server.set_connections_per_ip_overrides(limits)

        NamedThread(target=resolve, name="resolve-hosts", daemon=True).start()


def _address(host: str) -> bytes | None:
    """Return the 4 or 16 bytes of a numeric address; None for a name."""
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            return socket.inet_pton(family, host)
        except OSError:
            continue
    return None


def _resolve(host: str) -> set[bytes]:
    """Return all addresses of a host name; empty if it has none."""
    try:
        answers = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        return set()
    found = (_address(str(answer[4][0])) for answer in answers)
    return {address for address in found if address is not None}
