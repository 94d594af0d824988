"""Topics, configurations and brokers as requests read them: an in-memory image of the metadata store.

Only the controller's thread updates it and calls the listeners for every change. Any Python thread may read: an entry is
replaced as a whole and never modified, and iterations use a copy (all_topics, config_entities).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import Any, NamedTuple, Protocol
from uuid import UUID

from kafka_cy.cluster.assignment import replicas_in_turn
from kafka_cy.cluster.features import FinalizedFeatures
from kafka_cy.cluster.quota_entities import STORED_TYPES, QuotaEntity, entity_at, quotas_in
from kafka_cy.cluster.topic_names import collision_key
from kafka_cy.cluster.topics import PartitionMetadata, Topic
from kafka_cy.protocol.errors import ErrorCode
from kafka_cy.storage.hosted_partition import STATE_OFFLINE


class Logs(Protocol):
    """The part of the log manager that metadata uses."""

    partitions: Mapping[tuple[str, int], Any]

    def has_topic(self, topic: str) -> bool:
        """Whether a partition of the topic is hosted."""

    def config_of(self, topic: str) -> dict[str, Any]:
        """The typed configuration of a topic's logs."""


class TopicsChanged(NamedTuple):
    """Topics that were created or got partitions (`changed`), and topics that were deleted (`removed`).

    `keeps_folders`: the folders of deleted topics go afterwards, in steps.
    """

    changed: tuple[Topic, ...]
    removed: tuple[Topic, ...]
    keeps_folders: bool = False


class ConfigChanged(NamedTuple):
    """An entity's configuration was replaced."""

    entity_type: str
    entity_name: str
    values: dict[str, str]


class FeaturesChanged(NamedTuple):
    """Finalized feature levels were changed."""

    features: FinalizedFeatures


class LiveBroker(NamedTuple):
    """A live broker. `addresses`: host and port for clients of each listener of this broker; None: it has no such listener."""

    broker_id: int
    rack: str | None
    addresses: tuple[tuple[str, int] | None, ...]


Change = TopicsChanged | ConfigChanged | FeaturesChanged
Listener = Callable[[Change], None]


def _always() -> bool:
    return True


class MetadataCache:
    """Owner: the controller's thread. Only it calls the methods under "updates"; any Python thread may call the others."""

    def __init__(self, broker_id: int) -> None:
        self.broker_id = broker_id
        self.cluster_id = ""
        self.broker_ids: Sequence[int] = (broker_id,)  # live brokers, sorted
        self.brokers: Sequence[LiveBroker] = ()  # the same brokers
        self.controller_id = broker_id  # -1: there is none
        self.has_usable_dirs: Callable[[], bool] = _always  # of this broker: False if all are cordoned (KIP-1066)
        self.features = FinalizedFeatures({}, -1)
        self.topics: dict[str, Topic] = {}  # look up only; iterate over all_topics()
        self.topic_by_id: dict[UUID, Topic] = {}
        self.quotas: dict[QuotaEntity, dict[str, float]] = {}  # entities without quotas are not in it
        self.topics_without_settings: Collection[str] = ()  # theirs are stored, but cannot be read
        self.logs: Logs | None = None
        self._collisions: dict[str, str] = {}
        self._configs: dict[tuple[str, str], dict[str, str]] = {}
        self._config_counts: Counter[str] = Counter()  # of put_config, by entity type; topics are not counted right
        self._listeners: list[Listener] = []

    # -- reading --

    def usable_broker_ids(self) -> list[int]:
        """Live brokers, sorted, without this one if all of its log directories are cordoned."""
        return [each for each in self.broker_ids if each != self.broker_id or self.has_usable_dirs()]

    def assign(
        self, partitions: int, replication: int, first: int = 0, first_replica: int | None = None
    ) -> Iterator[list[int]]:
        """Replicas for new partitions of a topic that has `first` already, made when they are asked for. Raises ValueError."""
        return replicas_in_turn(self.usable_broker_ids(), partitions, replication, first)

    def all_topics(self) -> list[Topic]:
        """A copy of the list of current topics."""
        return list(self.topics.values())

    def topic_config(self, name: str) -> dict[str, str]:
        """A topic's overrides as text."""
        return self.config("topics", name)

    def config(self, entity_type: str, entity_name: str) -> dict[str, str]:
        """An entity's stored configuration as text; empty if there is none."""
        return dict(self._configs.get((entity_type, entity_name), {}))

    def find_config(self, entity_type: str, entity_name: str) -> dict[str, str] | None:
        """An entity's stored configuration as text; None if there is none."""
        found = self._configs.get((entity_type, entity_name))
        return None if found is None else dict(found)

    def config_entities(self, entity_type: str) -> list[str]:
        """Names of the entities of a type that have a stored configuration, sorted."""
        return sorted(name for kind, name in list(self._configs) if kind == entity_type)

    def config_count(self, entity_type: str) -> int:
        """How many entities of a type, which is not that of topics, have a stored configuration."""
        return self._config_counts[entity_type]

    def partition(self, topic: str, index: int) -> Any:
        """The HostedPartition; None if this broker does not host the partition or its log directory failed."""
        hosted = self.logs.partitions.get((topic, index)) if self.logs is not None else None
        return hosted if hosted is not None and hosted.state != STATE_OFFLINE else None

    def unavailable(self, topic: str, index: int) -> ErrorCode:
        """Why `partition` has nothing for a partition that exists."""
        return ErrorCode.KAFKA_STORAGE_ERROR

    def partition_count(self, name: str) -> int:
        """How many partitions the topic has; 0 while it does not exist, or that is not known."""
        topic = self.topics.get(name)
        return len(topic.partitions) if topic is not None else 0

    def offline_replicas(self, topic: str, partition: PartitionMetadata) -> list[int]:
        """The replicas of a partition that are not available: this broker's if it does not host it."""
        missing = self.broker_id in partition.replicas and self.partition(topic, partition.index) is None
        return [self.broker_id] if missing else []

    def collides_with(self, name: str) -> str | None:
        """A topic whose name differs from `name` only in '.' and '_'; None if there is none."""
        other = self._collisions.get(collision_key(name))
        return other if other != name else None

    # -- updates --

    def add_listener(self, listener: Listener) -> None:
        """Call `listener` for every change, on the controller's thread, before the call that made the change returns."""
        self._listeners.append(listener)

    def announce(self, change: Change) -> None:
        """Call the listeners for a change that readers see already.

        All of them are called, even if one fails. Its exception is raised afterwards, with those of others as its context.
        """
        with ExitStack() as calls:
            for listener in reversed(self._listeners):  # the last callback is called first
                calls.callback(listener, change)

    def put_topic(self, topic: Topic) -> None:
        """Add a topic, or replace the topic of that name."""
        self._configs["topics", topic.name] = topic.config
        self._collisions[collision_key(topic.name)] = topic.name
        self.topic_by_id[topic.id] = topic
        self.topics[topic.name] = topic

    def remove_topic(self, topic: Topic) -> None:
        """Remove a topic and its configuration."""
        self.topics.pop(topic.name, None)
        self.topic_by_id.pop(topic.id, None)
        self.remove_topic_config(topic.name)
        if self._collisions.get(collision_key(topic.name)) == topic.name:
            del self._collisions[collision_key(topic.name)]

    def remove_topic_config(self, name: str) -> None:
        """Remove the configuration of a topic that does not exist."""
        self._configs.pop(("topics", name), None)

    def put_config(self, entity_type: str, entity_name: str, values: Mapping[str, str]) -> None:
        """Replace an entity's configuration. Of an entity that is not a topic, nothing stays without settings."""
        key = (entity_type, entity_name)
        self._config_counts[entity_type] -= key in self._configs
        if values or entity_type == "topics":
            self._configs[key] = dict(values)
            self._config_counts[entity_type] += 1
        else:
            self._configs.pop(key, None)
        if entity_type in STORED_TYPES:
            self._put_quotas(entity_at(entity_type, entity_name), quotas_in(values))
        topic = self.topics.get(entity_name) if entity_type == "topics" else None
        if topic is not None:
            self.put_topic(Topic(topic.name, topic.id, topic.partitions, dict(values)))

    def _put_quotas(self, entity: QuotaEntity, quotas: dict[str, float]) -> None:
        if quotas:
            self.quotas[entity] = quotas
        else:
            self.quotas.pop(entity, None)
