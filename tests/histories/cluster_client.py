"""Requests to a cluster, each to the broker that it is for. Only leader epochs are remembered: all else may have changed."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any
from uuid import UUID

from raw_client import Closed, RawClient

TIMEOUT_S = 2.0  # of a request; a broker may stand still
ROUTE_S_MAX = 60.0
PAUSE_S = 0.02
METADATA, FIND_COORDINATOR = (3, 12), (10, 4)
GROUP, TRANSACTION = 0, 1
Address = tuple[str, int]


class ClusterClient:
    """Used by one thread. A request waits until there is a broker for it. Raises Closed if there is no response."""

    def __init__(self, addresses: list[str], name: str, chance: random.Random) -> None:
        self._name = name
        self._addresses = [(host, int(port)) for host, _, port in (each.rpartition(":") for each in addresses)]
        self._chance = chance  # not the one of the workload: how often a request is repeated depends on the machine
        self._clients: dict[Address, RawClient] = {}
        self._leader_epochs: dict[tuple[str, int], int] = {}

    def request(self, api_key: int, version: int, values: dict[str, Any]) -> dict[str, Any]:
        if api_key in (FIND_COORDINATOR[0], METADATA[0]):
            return self._ask(self._chance.choice(self._addresses), api_key, version, values)
        deadline = time.monotonic() + ROUTE_S_MAX
        while (address := self._route(api_key, values)) is None:
            assert time.monotonic() < deadline, f"no broker for a request {api_key}"
            time.sleep(PAUSE_S)
        return self._ask(address, api_key, version, values)

    def _ask(self, address: Address, api_key: int, version: int, values: dict[str, Any]) -> dict[str, Any]:
        client = self._clients.get(address)
        if client is None:
            client = self._clients[address] = RawClient(f"{address[0]}:{address[1]}", self._name, TIMEOUT_S)
        try:
            return client.request(api_key, version, values)
        except OSError as error:
            client.close()  # a late response must not be taken for that of the next request
            raise Closed from error

    def _route(self, api_key: int, values: dict[str, Any]) -> Address | None:
        try:
            return ROUTES[api_key](self, values)
        except Closed:
            return None

    def leader(self, topic: str, index: int) -> Address | None:
        """None also if the broker that was asked knows of an earlier leader only: it has stood still, for example (KIP-320)."""
        metadata = self.metadata([topic])
        for partition in metadata["topics"][0]["partitions"]:
            epoch = partition["leader_epoch"]
            if partition["partition_index"] == index and epoch >= self._leader_epochs.get((topic, index), -1):
                self._leader_epochs[topic, index] = epoch
                return _address(metadata, partition["leader_id"])
        return None

    def coordinator(self, kind: int, key: str) -> Address | None:
        found = self.request(*FIND_COORDINATOR, {"key_type": kind, "coordinator_keys": [key]})["coordinators"][0]
        return None if found["error_code"] else (found["host"], found["port"])

    def controller(self) -> Address | None:
        metadata = self.metadata([])
        return _address(metadata, metadata["controller_id"])

    def metadata(self, topics: list[str]) -> dict[str, Any]:
        names = [{"topic_id": UUID(int=0), "name": each} for each in topics]
        return self.request(*METADATA, {"topics": names, "allow_auto_topic_creation": False})

    def close(self) -> None:
        for client in self._clients.values():
            client.close()
        self._clients.clear()


def _address(metadata: dict[str, Any], broker_id: int) -> Address | None:
    for broker in metadata["brokers"]:
        if broker["node_id"] == broker_id:
            return broker["host"], broker["port"]
    return None


def _produce(client: ClusterClient, values: dict[str, Any]) -> Address | None:
    (topic,) = values["topic_data"]
    return client.leader(topic["name"], topic["partition_data"][0]["index"])


def _fetch(client: ClusterClient, values: dict[str, Any]) -> Address | None:
    (topic,) = values["topics"]
    return client.leader(topic["topic"], topic["partitions"][0]["partition"])


def _init_producer_id(client: ClusterClient, values: dict[str, Any]) -> Address | None:
    name = values["transactional_id"]
    return client._chance.choice(client._addresses) if name is None else client.coordinator(TRANSACTION, name)


def _transaction(field: str) -> Callable[[ClusterClient, dict[str, Any]], Address | None]:
    return lambda client, values: client.coordinator(TRANSACTION, values[field])


def _group(client: ClusterClient, values: dict[str, Any]) -> Address | None:
    return client.coordinator(GROUP, values["group_id"])


ROUTES: dict[int, Callable[[ClusterClient, dict[str, Any]], Address | None]] = {
    0: _produce,
    1: _fetch,
    8: _group,
    9: lambda client, values: client.coordinator(GROUP, values["groups"][0]["group_id"]),
    11: _group,
    14: _group,
    19: lambda client, _: client.controller(),
    20: lambda client, _: client.controller(),
    22: _init_producer_id,
    24: _transaction("v3_and_below_transactional_id"),
    25: _transaction("transactional_id"),
    26: _transaction("transactional_id"),
    28: _group,
}
