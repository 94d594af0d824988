"""Applies stored client quotas to the network: at the start, and when they change."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from kafka_cy.cluster.metadata_cache import ConfigChanged
from kafka_cy.cluster.quota_entities import IP, STORED_TYPES, QuotaEntity, entity_at
from kafka_cy.network.host_names import HostLookups, numeric_address

if TYPE_CHECKING:
    from kafka_cy.cluster.metadata_cache import MetadataCache
    from kafka_cy.config.broker_config import BrokerConfig
    from kafka_cy.network.client_quotas import ClientQuotas
    from kafka_cy.network.server import Server
    from kafka_cy.server.control_loop import ControlLoop

NO_QUOTA: Final = -1.0
RESOLVED_AT_ONCE: Final = 16  # names of hosts

#: Key of a client's quota -> its kind (network/client_quotas.KINDS).
_KINDS: Final = {
    "producer_byte_rate": "produce",
    "consumer_byte_rate": "fetch",
    "request_percentage": "request",
    "controller_mutation_rate": "mutation",
}


def start_quotas(server: Server, config: BrokerConfig, cluster: MetadataCache, loop: ControlLoop) -> ClientQuotas:
    """Apply the stored quotas to a server that has not started, and from now on every change. `loop`: the controller's."""
    from kafka_cy.network.client_quotas import ClientQuotas

    quotas = ClientQuotas(server)
    for kind in ("produce", "fetch", "request", "connection"):
        quotas.set_windows(kind, int(config["quota.window.num"]), int(config["quota.window.size.seconds"]))
    quotas.set_windows(
        "mutation", int(config["controller.quota.window.num"]), int(config["controller.quota.window.size.seconds"])
    )
    AppliedQuotas(quotas, cluster, loop).start()
    return quotas


class AppliedQuotas:
    """Listens to MetadataCache. Owner: the controller's thread.

    The names of hosts are resolved on another thread; until then, their quotas do not apply. As in Kafka, addresses that a name
    gets later are not noticed.
    """

    def __init__(self, quotas: ClientQuotas, cluster: MetadataCache, loop: ControlLoop) -> None:
        self._quotas = quotas
        self._cluster = cluster
        self._loop = loop
        self._lookups = HostLookups()
        self._rates: dict[str, float] = {}  # of addresses and hosts, as they were named
        self._hosts: dict[bytes, dict[str, None]] = {}  # the names that mean an address, the newest last
        self._addresses: dict[str, set[bytes]] = {}  # the inverse
        self._unresolved: dict[str, None] = {}  # names of hosts that wait for the DNS, the oldest first
        self._resolving = False

    def start(self) -> None:
        """Apply what is stored, and listen for changes."""
        for entity in self._cluster.quotas:
            self._apply(entity)
        self._cluster.add_listener(self._changed)

    def _changed(self, change: Any) -> None:
        if isinstance(change, ConfigChanged) and change.entity_type in STORED_TYPES:
            self._apply(entity_at(change.entity_type, change.entity_name))

    def _apply(self, entity: QuotaEntity) -> None:
        quotas = self._cluster.quotas.get(entity, {})
        kind, name = entity[0]
        if kind != IP:
            limits = {_KINDS[key]: value for key, value in quotas.items() if key in _KINDS}
            self._quotas.set_client(dict(entity), limits)
            return
        rate = quotas.get("connection_creation_rate", NO_QUOTA)
        if math.isnan(rate):
            rate = 0.0  # as in Kafka, which converts it to an int
        if name is None:
            self._quotas.set_address(None, rate)
        else:
            self._apply_host(name, rate)

    def _apply_host(self, name: str, rate: float) -> None:
        if rate >= 0:
            self._rates[name] = rate
        else:
            self._rates.pop(name, None)
        self._unresolved.pop(name, None)
        address = numeric_address(name)
        if address is not None:
            self._put(name, {address})
        elif rate < 0:
            self._put(name, set())
        else:
            self._unresolved[name] = None
            self._resolve_next()

    def _resolve_next(self) -> None:
        if self._resolving or not self._unresolved:
            return
        names = list(islice(self._unresolved, RESOLVED_AT_ONCE))
        for name in names:
            del self._unresolved[name]
        self._resolving = True
        if not self._lookups.add(names, lambda found: self._loop.call_soon_threadsafe(self._resolved, found)):
            self._resolving = False  # there is no thread: the next change of a host tries again
            self._unresolved.update(dict.fromkeys(names))

    def _resolved(self, found: Mapping[str, set[bytes]]) -> None:
        self._resolving = False
        for name, addresses in found.items():
            self._put(name, set(sorted(addresses)[:1]))
        self._resolve_next()

    def _put(self, name: str, addresses: set[bytes]) -> None:
        """`name` means these addresses now, and no others."""
        before = self._addresses.pop(name, set())
        if name in self._rates:
            self._addresses[name] = addresses
        for address in addresses | before:
            names = self._hosts.setdefault(address, {})
            names.pop(name, None)
            if address in addresses and name in self._rates:
                names[name] = None
            self._quotas.set_address(address, self._rates[next(reversed(names))] if names else NO_QUOTA)
            if not names:
                del self._hosts[address]
