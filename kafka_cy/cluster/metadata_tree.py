"""Reads the whole metadata tree into the cache at startup."""

from __future__ import annotations

from typing import Any

from kafka_cy.cluster import znodes
from kafka_cy.cluster.metadata_cache import MetadataCache
from kafka_cy.cluster.store import MetadataStore
from kafka_cy.cluster.topics import PartitionMetadata, Topic

ENTITY_TYPES = ("topics", "brokers", "clients", "users", "ips", "groups", "client-metrics")


def read_tree(store: MetadataStore, cache: MetadataCache) -> list[Topic]:
    """Fill the cache; returns the topics with a recorded, unfinished deletion.

    Raises ValueError, KeyError or TypeError if a node's data is invalid.
    """
    cache.cluster_id = znodes.from_json(store.get(znodes.CLUSTER_ID).data)["id"]
    for entity_type in ENTITY_TYPES:
        for child in store.children(f"/config/{entity_type}"):
            data = znodes.from_json(store.get(f"/config/{entity_type}/{child}").data)
            cache.put_config(entity_type, znodes.config_entity_name(entity_type, child), data.get("config", {}))
            if entity_type == "users" and "clients" in store.children(f"/config/users/{child}"):
                _read_clients_of(store, cache, child)
    deletions, deleting = set(store.children(znodes.DELETE_TOPICS)), []
    states: dict[bytes | None, dict[str, Any]] = {}  # parsed states by text: most partitions have the same
    for name in store.children(znodes.TOPICS):
        data = znodes.from_json(store.get(znodes.topic_path(name)).data)
        partitions = [
            _read_partition(store, states, name, index, list(data["partitions"][str(index)]))
            for index in range(len(data["partitions"]))
        ]
        topic = Topic(name, znodes.id_from_text(data["topic_id"]), partitions, cache.config("topics", name))
        if name in deletions:
            deleting.append(topic)
            cache.remove_topic(topic)
        else:
            cache.put_topic(topic)
    return deleting


def _read_clients_of(store: MetadataStore, cache: MetadataCache, user: str) -> None:
    for child in store.children(f"/config/users/{user}/clients"):
        name = f"{user}/clients/{child}"
        cache.put_config("users", name, znodes.from_json(store.get(f"/config/users/{name}").data).get("config", {}))


def _read_partition(
    store: MetadataStore, states: dict[bytes | None, dict[str, Any]], topic: str, index: int, replicas: list[int]
) -> PartitionMetadata:
    node = store.find(znodes.state_path(topic, index))
    text = node.data if node is not None else None
    state = states.get(text)
    if state is None:
        state = states[text] = znodes.from_json(text)
    return PartitionMetadata(
        index=index,
        leader=state.get("leader", replicas[0]),
        leader_epoch=state.get("leader_epoch", 0),
        replicas=replicas,
        isr=list(state.get("isr", replicas)),
        partition_epoch=node.version if node is not None else 0,
    )
