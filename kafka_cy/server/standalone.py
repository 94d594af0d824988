"""A broker by itself: its metadata is in an embedded store, and it is its own controller."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from kafka_cy.api.registry import APIS
from kafka_cy.cluster.embedded_store import FILE_NAME, EmbeddedStore
from kafka_cy.cluster.features import read_levels
from kafka_cy.cluster.hosting import Hosting, folders_of
from kafka_cy.cluster.log_directories import missing_directories
from kafka_cy.cluster.metadata import ClusterMetadata, new_cluster_id
from kafka_cy.cluster.metadata_location import check_unused, metadata_dir
from kafka_cy.cluster.producer_ids import ProducerIdBlocks
from kafka_cy.cluster.unknown_partitions import finish_adoption, refuse_unknown
from kafka_cy.server.arrangement import DataRefused
from kafka_cy.server.authorization import stored_acls, warn_of_no_rights
from kafka_cy.server.delegation_tokens import stored_tokens
from kafka_cy.server.topic_maker import TopicMaker
from kafka_cy.server.topic_settings import NotAllowed, topic_settings

if TYPE_CHECKING:
    from kafka_cy.api.registry import Api
    from kafka_cy.cluster.acl_store import StoredAcls
    from kafka_cy.cluster.producer_ids import Reserved
    from kafka_cy.cluster.quorum import Quorum
    from kafka_cy.cluster.token_store import StoredTokens
    from kafka_cy.coordinator.streams.configured import InternalTopic
    from kafka_cy.server.broker import KafkaServer
    from kafka_cy.storage.log_manager import LogManager


class Standalone:
    """See Arrangement."""

    apis: Mapping[int, Api] = APIS
    member: None = None
    calls: None = None
    tokens: StoredTokens | None = None

    def __init__(self, broker: KafkaServer) -> None:
        self._broker = broker
        self._home = broker.config.log_dirs[0]  # the directory of the metadata store
        self._open_store: EmbeddedStore | None = None
        self._topic_maker: TopicMaker | None = None
        self.acls: StoredAcls | None = None

    # -- start --

    def load(self) -> None:
        """See Arrangement. Checks the directories before anything is written."""
        broker, log_dirs = self._broker, self._broker.config.log_dirs
        home = self._home = metadata_dir(log_dirs, broker.config["metadata.log.dir"])
        is_new = not os.path.exists(f"{home}/{FILE_NAME}")  # noqa: PTH110 (pathlib costs start time)
        if is_new:
            self._check_unused(home)
        try:
            os.makedirs(home, exist_ok=True)  # noqa: PTH103
        except OSError as error:
            raise DataRefused(f"log directory {home} cannot be created: {error.strerror}") from error
        if not os.access(home, os.W_OK | os.X_OK):
            raise DataRefused(f"log directory {home} is not writable")
        self.store = self._open_store = EmbeddedStore(
            f"{home}/{FILE_NAME}", broker.controller_loop.call_soon_threadsafe
        )
        metadata = self._metadata = self._cluster_metadata(self.store)
        self.topic_changes, self.config_changes = metadata.topic_changes, metadata.config_changes
        self.feature_changes = metadata.feature_changes
        stored_id = metadata.controller.stored_cluster_id()
        if stored_id is None and not is_new:
            self._check_unused(home)  # an interrupted first start leaves an empty store
        known_id = cluster_id_of(log_dirs) or stored_id
        if known_id and broker.new_cluster_id not in (None, known_id):
            broker.log.warning(
                f"the data belongs to cluster {known_id}; CLUSTER_ID={broker.new_cluster_id} has no effect"
            )
        metadata.load(known_id or broker.new_cluster_id or new_cluster_id())
        self.cache = metadata.cache
        self._load_acls(self.store)
        self._producer_id_blocks = ProducerIdBlocks(self.store, broker.config.broker_id)
        self._topic_maker = TopicMaker(broker, metadata)
        self.tokens = stored_tokens(broker, self.store, self._call_later)
        if self.tokens is not None:
            self.tokens.load(self.store)

    def _call_later(self, delay_ms: float, function: Callable[[], object]) -> object:
        return self._broker.controller_loop.call_later(delay_ms / 1000, function)

    def _load_acls(self, store: EmbeddedStore) -> None:
        self.acls = stored_acls(self._broker, store, self._call_later, is_alone=True)
        if self.acls is not None:
            self.acls.load(store)
            warn_of_no_rights(self._broker)

    def _cluster_metadata(self, store: EmbeddedStore) -> ClusterMetadata:
        broker = self._broker
        initial = broker.config["kafkacy.initial.features"]
        try:
            return ClusterMetadata(store, broker.config.broker_id, broker.loop.wall_clock_ms, APIS, read_levels(initial))
        except ValueError as error:
            from kafka_cy.config import ConfigError

            raise ConfigError("kafkacy.initial.features", initial, str(error)) from error

    def _check_unused(self, home: str) -> None:
        try:
            check_unused(home, self._broker.config.log_dirs, self._broker.config.broker_id)
        except OSError as error:
            raise DataRefused(str(error)) from error

    def open_logs(self, logs: LogManager) -> None:
        """See Arrangement."""
        metadata, log = self._metadata, self._broker.log
        logs.open()
        refuse_unknown(metadata, logs)
        for topic in self.cache.all_topics():
            if topic.config:
                try:
                    logs.set_config(topic.name, topic_settings(self._broker.config, topic.name, topic.config))
                except NotAllowed as error:  # another version has stored it
                    raise DataRefused(str(error)) from error
        known, deleting = folders_of(self.cache.all_topics()), folders_of(metadata.topic_changes.deleting)
        missing = missing_directories(metadata.controller, logs.directory_ids())
        adopted = finish_adoption(metadata, logs, self._home)
        if adopted is not None:
            log.warning(adopted)
        logs.start(known, deleting, incomplete=bool(missing))

    def publish(self) -> None:
        """See Arrangement."""
        broker, config = self._broker, self._broker.config
        if self._home in broker.logs.offline_dirs:
            raise DataRefused(f"log directory {self._home}, which contains the metadata, cannot be used")
        self._metadata.register_broker(broker.endpoints(), config.rack)
        broker.publisher.set_brokers(self.cache.cluster_id, config.broker_id, config.broker_id, self.cache.brokers)
        self._hosting = Hosting(
            self._metadata, broker.logs, broker.publisher, config.topic_config, broker.on_storage_error, broker.log.warning
        )
        self._hosting.start()
        if self.acls is not None:
            self.acls.start()

    def join(self) -> None:
        """See Arrangement. There is nobody to join."""
        if self.tokens is not None:
            self.tokens.start()

    # -- running --

    def supported_features(self) -> Mapping[str, tuple[int, int]]:
        """See Arrangement."""
        return self._metadata.feature_changes.supported

    def quorum(self) -> Quorum:
        """See Arrangement."""
        from kafka_cy.cluster.quorum import describe_quorum

        return describe_quorum(self._metadata, self._broker.logs, self._home)

    def controller_epoch(self) -> int:
        """See Arrangement."""
        return self._metadata.controller.epoch

    def reserve_producer_ids(self, done: Reserved) -> None:
        """See Arrangement."""
        self._producer_id_blocks.reserve(done)

    def create_on_demand(self, names: Sequence[str], sender: Mapping[str, str], done: Callable[[], object]) -> None:
        """See Arrangement."""
        assert self._topic_maker is not None
        self._topic_maker.create_on_demand(names, sender, done)

    def create_for_streams(
        self, topics: Sequence[InternalTopic], sender: Mapping[str, str], done: Callable[[Mapping[str, str]], object]
    ) -> None:
        """See Arrangement."""
        assert self._topic_maker is not None
        self._topic_maker.create_for_streams(topics, sender, done)

    def log_options(self) -> dict[str, Any]:
        """See Arrangement."""
        return {}

    def log_dir_offline(self, path: str, lost: Sequence[Any]) -> str | None:
        """See Arrangement."""
        if path == self._home:
            return f"log directory {path}, which contains the metadata, failed"
        if len(self._broker.logs.offline_dirs) < len(self._broker.logs.log_dirs):
            self._hosting.republish({partition.topic for partition in lost})
        return None

    def leave(self, done: Callable[[], Any]) -> None:
        """See Arrangement. There is nobody to hand over to."""
        done()

    def drop_requests(self) -> None:
        """See Arrangement."""
        if self._topic_maker is not None:
            self._topic_maker.stop()

    def stop(self) -> None:
        """See Arrangement."""

    def close(self) -> None:
        """See Arrangement."""
        if self._open_store is not None:
            self._open_store.close()


def cluster_id_of(log_dirs: list[str]) -> str | None:
    """Return the cluster id from a meta.properties in the log directories, or None."""
    return property_of(log_dirs, "cluster.id")


def property_of(log_dirs: list[str], name: str) -> str | None:
    """Return what the first meta.properties in the log directories that has the property says, or None."""
    for directory in log_dirs:
        try:
            with open(f"{directory}/meta.properties", encoding="utf-8") as file:
                lines = file.read().splitlines()
        except (OSError, UnicodeDecodeError):
            continue
        for line in lines:
            key, _, value = line.partition("=")
            if key.strip() == name and value.strip():
                return value.strip()
    return None
