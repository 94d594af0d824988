"""What a handler may touch, by role. A handler names the narrowest role that it needs; ApiContext plays all of them.

For type checks only: the start path does not import this module.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from kafka_cy.cluster.config_changes import ConfigChanges
    from kafka_cy.cluster.metadata_cache import MetadataCache
    from kafka_cy.cluster.producer_ids import ProducerIds
    from kafka_cy.cluster.topic_changes import TopicChanges
    from kafka_cy.config.broker_config import BrokerConfig
    from kafka_cy.coordinator.group_coordinator import GroupCoordinator
    from kafka_cy.server.log import BrokerLog
    from kafka_cy.storage.log_manager import LogManager
    from kafka_cy.telemetry.client_telemetry import ClientTelemetry


class ReadsNothing(Protocol):
    """The response follows from the request alone."""


class ReadsConfig(Protocol):
    """Reads the broker's configuration."""

    @property
    def config(self) -> BrokerConfig:
        """Its configuration, with the dynamic settings."""


class Logs(Protocol):
    """Writes lines of the broker's log."""

    @property
    def log(self) -> BrokerLog:
        """The broker's log."""


class ReadsCluster(Protocol):
    """Reads topics, partitions and stored configurations."""

    @property
    def cluster(self) -> MetadataCache:
        """What is durable of the cluster's metadata."""


class ReadsClusterAndConfig(ReadsCluster, ReadsConfig, Protocol):
    """Reads the cluster's metadata and the broker's configuration."""


class ReadsBrokers(ReadsConfig, Protocol):
    """Tells clients about this broker."""

    @property
    def broker_id(self) -> int:
        """Its id."""

    @property
    def cluster_id(self) -> str:
        """Id of the cluster."""

    @property
    def advertised(self) -> list[tuple[str, int]]:
        """Host and port by listener index."""


class NamesResources(ReadsCluster, Protocol):
    """Lists what has a configuration."""

    @property
    def broker_id(self) -> int:
        """Id of this broker, which is a resource."""


class DescribesTopics(ReadsClusterAndConfig, Protocol):
    """Tells clients about topics and where their replicas are."""

    @property
    def broker_id(self) -> int:
        """Id of this broker."""


class AnswersMetadata(DescribesTopics, ReadsBrokers, Protocol):
    """Metadata, which creates topics on demand."""

    @property
    def create_topics(self) -> Callable[[Sequence[str], Mapping[str, str], Callable[[], object]], object]:
        """Create what can be created of these topics for a client (Request.sender), then call back."""


class ChangesTopics(ReadsClusterAndConfig, Logs, Protocol):
    """Creates, extends and deletes topics."""

    @property
    def topic_changes(self) -> TopicChanges:
        """The changes; the controller's thread only."""


class LogsAndConfig(ReadsConfig, Logs, Protocol):
    """Reads the configuration and writes warnings about it."""


class DescribesConfigs(ReadsCluster, LogsAndConfig, Protocol):
    """Reads all configurations, including the level of the broker's log."""


class ChangesConfigs(DescribesConfigs, Protocol):
    """Changes stored configurations."""

    @property
    def config_changes(self) -> ConfigChanges:
        """The changes; the controller's thread only."""


class ReadsLogs(Protocol):
    """Looks at the logs on this broker."""

    @property
    def logs(self) -> LogManager:
        """All logs."""


class MovesLogs(ReadsCluster, ReadsLogs, Logs, Protocol):
    """Moves partitions between log directories."""


class UsesGroups(Protocol):
    """Asks the group coordinator."""

    @property
    def groups(self) -> GroupCoordinator:
        """The coordinator; its own thread only."""


class DeletesGroups(UsesGroups, Logs, Protocol):
    """Deletes groups."""


class UsesOffsets(UsesGroups, ReadsCluster, Protocol):
    """Asks the group coordinator about offsets of topics that exist."""


class FindsCoordinators(UsesGroups, ReadsCluster, ReadsBrokers, Logs, Protocol):
    """Names coordinators."""

    @property
    def create_offsets_topic(self) -> Callable[[Mapping[str, str], Callable[[], object]], object]:
        """Create the topic that groups are stored in for a client (Request.sender), then call back."""


class TakesProducerIds(Logs, Protocol):
    """Hands out producer ids."""

    @property
    def producer_ids(self) -> ProducerIds:
        """Where they come from."""


class UsesClientTelemetry(Protocol):
    """Takes metrics of clients."""

    @property
    def client_telemetry(self) -> Callable[[], ClientTelemetry]:
        """Made at the first call."""
