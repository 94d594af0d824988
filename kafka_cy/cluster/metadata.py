"""The cluster's metadata over one store: its readers, its writers and the controller.

Only server/standalone.py holds all of it; other code gets the narrowest part that it needs.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from types import MappingProxyType

from kafka_cy.cluster import znodes
from kafka_cy.cluster.config_changes import ConfigChanges
from kafka_cy.cluster.controller import Controller
from kafka_cy.cluster.feature_changes import FeatureChanges
from kafka_cy.cluster.features import initial_levels, supported_features
from kafka_cy.cluster.metadata_cache import LiveBroker, MetadataCache
from kafka_cy.cluster.metadata_tree import read_tree
from kafka_cy.cluster.store import Create, MetadataStore, Set, StoreBroken
from kafka_cy.cluster.topic_changes import TopicChanges


class ClusterMetadata:
    """Owner: the controller's thread."""

    def __init__(
        self,
        store: MetadataStore,
        broker_id: int,
        wall_clock_ms: Callable[[], int],
        api_keys: Container[int] = (),  # that the broker serves: they decide which feature levels it supports
        initial_features: Mapping[str, int] = MappingProxyType({}),  # of a new cluster, where they are not the newest
    ) -> None:
        """Raises ValueError for initial features that are not supported."""
        self.store = store
        self.cache = MetadataCache(broker_id)
        self.controller = Controller(store, broker_id, wall_clock_ms)
        self.topic_changes = TopicChanges(store, self.cache, self.controller)
        self.config_changes = ConfigChanges(store, self.cache, self.controller)
        supported = supported_features(api_keys)
        initial = self.controller.new_levels = initial_levels(supported, initial_features)
        self.feature_changes = FeatureChanges(store, self.cache, self.controller, self.config_changes, supported, initial)
        self._wall_clock_ms = wall_clock_ms

    def load(self, cluster_id: str) -> None:
        """Become controller (Controller.elect) and fill the cache. StoreBroken: unreadable or another cluster's."""
        self.controller.elect(cluster_id)
        try:
            self.topic_changes.resume_deletions(read_tree(self.store, self.cache))
            self.feature_changes.load()
        except (ValueError, KeyError, TypeError) as error:
            raise StoreBroken(f"the metadata tree cannot be read: {error!r}") from error
        if self.cache.cluster_id != cluster_id:
            raise StoreBroken(
                f"the metadata belongs to cluster {self.cache.cluster_id}, but the log directories belong to {cluster_id}"
            )
        self._read_brokers()

    def register_broker(self, endpoints: Sequence[tuple[str, str, str, int]], rack: str | None) -> None:
        """Write our registration; endpoints are (listener name, security protocol, host, port)."""
        path = f"{znodes.BROKER_IDS}/{self.cache.broker_id}"
        data = znodes.broker_data(endpoints, rack, self._wall_clock_ms())
        self.store.multi([Create(path, None, ephemeral=True), Set(path, data, 0)])
        addresses = tuple((host, port) for _, _, host, port in endpoints)
        self.cache.brokers = (LiveBroker(self.cache.broker_id, rack, addresses),)

    def _read_brokers(self, _changed: str = "") -> None:
        living = self.store.children(znodes.BROKER_IDS, self._read_brokers)
        self.cache.broker_ids = sorted(int(name) for name in living) or [self.cache.broker_id]


def new_cluster_id() -> str:
    """A new cluster id: 22 characters of base64url, as in Kafka."""
    return znodes.id_to_text(znodes.new_id())
