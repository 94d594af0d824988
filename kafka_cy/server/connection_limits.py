"""Applies the broker's connection limits to the network server, at start and when they change."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Any, Final

from kafka_cy.config.definitions import LISTENER_LIMITS, without_listener
from kafka_cy.network.host_names import numeric_address, resolve

_NO_LIMIT: Final = 0x7FFFFFFF
LIMIT_KEYS: Final = frozenset((*LISTENER_LIMITS, "max.connections.per.ip", "max.connections.per.ip.overrides"))


def are_limited_by(names: Iterable[str]) -> bool:
    """Whether connections have a limit that one of these keys sets, for all listeners or for one."""
    return not LIMIT_KEYS.isdisjoint(map(without_listener, names))


def protected_listeners(config: Any) -> frozenset[str]:
    """Names of the listeners to which the limits of all connections together do not apply (`protectedListener`, KIP-402).

    Clients must not be able to keep the brokers of a cluster out. Kafka does not protect the listener of the control plane.
    With one listener for everything, or without a cluster, nothing is protected.
    """
    if not config.is_member or len(config.listeners) < 2:
        return frozenset()
    names = (config.inter_broker_listener_name, config.control_plane_listener_name)
    return frozenset(name for name in names if name is not None)


def _own(config: Any, listener: str, limit: str) -> int:
    """The listener's own limit. Without one, only that of all listeners together applies."""
    key, value = config.of_listener(listener, limit)
    return int(value) if key != limit else _NO_LIMIT


class ConnectionLimits:
    """Sets the limits. Owner: the thread that calls `apply`, one at a time; it never waits for a name to be resolved.

    Host names in the overrides are resolved on the thread `resolve-hosts`, which exists while there is something to resolve.
    Until then, a name has the addresses of the last time. Lock: `_lock` guards the fields below it and what is published.
    """

    def __init__(self, server: Any, warn: Callable[..., object]) -> None:
        """`warn(text, **details)` writes a line of the broker's log; any thread calls it."""
        self._server = server
        self._warn = warn
        self._lock = threading.Lock()
        self._limits: dict[bytes, int] = {}  # by numeric address
        self._names: dict[str, int] = {}  # by host name
        self._addresses: dict[str, set[bytes]] = {}  # of host names, when they were last resolved
        self._generation = 0  # how often the overrides were set
        self._is_resolving = False

    def apply(self, config: Any) -> None:
        """Set the limits of this configuration."""
        self._server.set_connections_max(int(config["max.connections"]))
        self._server.set_connections_per_ip_max(int(config["max.connections.per.ip"]))
        self._server.set_connection_creation_rate(int(config["max.connection.creation.rate"]))
        for index, listener in enumerate(config.listeners):
            self._server.set_listener_limits(index, *(_own(config, listener.name, key) for key in LISTENER_LIMITS))
        overrides = {host: (numeric_address(host), limit) for host, limit in config.connections_per_ip_overrides.items()}
        with self._lock:
            self._generation += 1
            self._limits = {address: limit for address, limit in overrides.values() if address is not None}
            self._names = {host: limit for host, (address, limit) in overrides.items() if address is None}
            self._publish()
            starts = bool(self._names) and not self._is_resolving
            self._is_resolving |= starts
        if starts:
            self._start()

    def _publish(self) -> None:
        limits = dict(self._limits)
        for host, limit in self._names.items():
            limits.update(dict.fromkeys(self._addresses.get(host, ()), limit))
        self._server.set_connections_per_ip_overrides(limits)

    def _start(self) -> None:
        from kafka_cy.base.named_thread import NamedThread

        try:
            NamedThread(target=self._resolve_names, name="resolve-hosts", daemon=True).start()
        except RuntimeError as error:  # the next change of the settings tries again
            with self._lock:
                self._is_resolving = False
            self._warn("the host names in max.connections.per.ip.overrides are not resolved", error=str(error))

    def _resolve_names(self) -> None:
        """The thread: resolve the names, and again if the overrides were set meanwhile."""
        resolved = -1
        while True:
            with self._lock:
                generation, names = self._generation, list(self._names)
                if generation == resolved:
                    self._is_resolving = False
                    return
            found = {host: resolve(host) for host in names}
            with self._lock:
                if generation != self._generation:
                    continue
                self._addresses = found
                self._publish()
            resolved = generation
            for host in names:
                if not found[host]:
                    self._warn("a host name in max.connections.per.ip.overrides has no address", host=host)
