"""What a handler may touch, by role. A handler names the narrowest role that it needs; ApiContext plays all of them.

For type checks only: the start path does not import this module.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from kafka_cy.api.context import Request
    from kafka_cy.api.delete_waits import DeleteWaits
    from kafka_cy.base.slices import Slices
    from kafka_cy.cluster.acl_store import StoredAcls
    from kafka_cy.cluster.config_changes import ConfigChanges
    from kafka_cy.cluster.feature_changes import FeatureChanges
    from kafka_cy.cluster.metadata_cache import MetadataCache
    from kafka_cy.cluster.producer_ids import ProducerIds
    from kafka_cy.cluster.quorum import Quorum
    from kafka_cy.cluster.token_store import StoredTokens
    from kafka_cy.cluster.topic_changes import TopicChanges
    from kafka_cy.config.broker_config import BrokerConfig
    from kafka_cy.coordinator.group_coordinator import GroupCoordinator
    from kafka_cy.coordinator.transactions.transaction_coordinator import TransactionCoordinator
    from kafka_cy.network.client_quotas import ClientQuotas
    from kafka_cy.server.control_loop import ControlLoop
    from kafka_cy.server.log import BrokerLog
    from kafka_cy.server.member_parts import Member
    from kafka_cy.share.service import ShareService
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


class ReadsBrokers(ReadsClusterAndConfig, Protocol):
    """Tells clients about the brokers."""

    @property
    def broker_id(self) -> int:
        """Its id."""

    @property
    def cluster_id(self) -> str:
        """Id of the cluster."""

    @property
    def advertised(self) -> list[tuple[str, int]]:
        """Host and port by listener index."""


class ChangesFeatures(ReadsClusterAndConfig, Logs, Protocol):
    """Changes feature levels, and the settings that go with them."""

    @property
    def feature_changes(self) -> FeatureChanges:
        """The changes; the controller's thread only."""


class DescribesQuorum(ReadsBrokers, Protocol):
    """Describes the quorum of the metadata."""

    @property
    def quorum(self) -> Callable[[], Quorum]:
        """The quorum; the controller's thread only."""

    @property
    def loop(self) -> ControlLoop:
        """The loop that runs the handler."""


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


class WorksInSlices(Protocol):
    """Does long work between other requests."""

    @property
    def slices(self) -> Slices:
        """Long tasks of the loop that runs the handler."""


class DeletesRecords(ReadsCluster, WorksInSlices, Protocol):
    """Deletes records of partitions that a request may name in any number."""

    @property
    def delete_waits(self) -> DeleteWaits:
        """The requests that wait until the followers have deleted."""


class DescribesProducers(ReadsCluster, WorksInSlices, Protocol):
    """Describes the producers of partitions that a request may name in any number."""


class AnswersMetadata(DescribesTopics, ReadsBrokers, WorksInSlices, Protocol):
    """Metadata, which creates topics on demand."""

    @property
    def create_topics(self) -> Callable[[Sequence[str], Request[Any], Callable[[], object]], object]:
        """Create what can be created of these topics for a request, then call back."""


class ReadsAcls(Protocol):
    """Describes ACLs."""

    @property
    def acls(self) -> StoredAcls | None:
        """The ACLs and the authorizer that decides by them; None: there is no authorizer. Changes: the controller's thread only."""


class MayWait(Logs, Protocol):
    """Has requests wait for ZooKeeper."""

    @property
    def member(self) -> Member | None:
        """This broker as a member of a cluster; None: it is by itself. The controller's thread only."""


class ChangesAcls(ReadsAcls, WorksInSlices, MayWait, Protocol):
    """Creates and deletes ACLs."""


class ReadsTokens(Protocol):
    """Describes delegation tokens."""

    @property
    def tokens(self) -> StoredTokens | None:
        """The tokens; None: delegation.token.secret.key is not set. Changes: the controller's thread only."""


class ChangesTokens(ReadsTokens, MayWait, Protocol):
    """Creates, renews and expires delegation tokens."""


class ChangesTopics(ReadsClusterAndConfig, Logs, WorksInSlices, Protocol):
    """Creates, extends and deletes topics."""

    @property
    def quotas(self) -> ClientQuotas:
        """What clients may use."""

    @property
    def topic_changes(self) -> TopicChanges:
        """The changes; the controller's thread only."""


class LogsAndConfig(ReadsConfig, Logs, Protocol):
    """Reads the configuration and writes warnings about it."""


class DescribesConfigs(ReadsCluster, LogsAndConfig, Protocol):
    """Reads all configurations, including the level of the broker's log."""


class ChangesConfigs(DescribesConfigs, WorksInSlices, Protocol):
    """Changes stored configurations."""

    @property
    def config_changes(self) -> ConfigChanges:
        """The changes; the controller's thread only."""


class ChangesQuotas(ReadsCluster, Logs, WorksInSlices, Protocol):
    """Changes client quotas."""

    @property
    def config_changes(self) -> ConfigChanges:
        """The changes; the controller's thread only."""

    @property
    def loop(self) -> ControlLoop:
        """The loop that runs the handler."""


class ReadsLogs(Protocol):
    """Looks at the logs on this broker."""

    @property
    def logs(self) -> LogManager:
        """All logs."""


class DescribesLogDirs(ReadsCluster, ReadsLogs, Protocol):
    """Describes log directories."""


class MovesLogs(ReadsCluster, ReadsLogs, Logs, WorksInSlices, Protocol):
    """Moves partitions, which a request may name in any number, between log directories."""


class UsesGroups(Protocol):
    """Asks the group coordinator."""

    @property
    def groups(self) -> GroupCoordinator:
        """The coordinator; its own thread only."""


class UsesModernGroups(UsesGroups, WorksInSlices, Protocol):
    """Asks the group coordinator for requests that may name many groups or topics."""


class DeletesGroups(UsesGroups, Logs, WorksInSlices, Protocol):
    """Deletes groups."""


class UsesOffsets(UsesModernGroups, ReadsCluster, Protocol):
    """Asks the group coordinator about offsets of topics that exist."""


class UsesShareGroups(ReadsCluster, Protocol):
    """Reads share partitions, and keeps their state."""

    @property
    def share(self) -> ShareService:
        """Everything about share groups on this broker; the thread of the group coordinator only."""


class ChangesShareGroups(UsesModernGroups, ReadsCluster, Protocol):
    """Asks the group coordinator about share groups, which may need the topic of their states."""

    @property
    def create_topics(self) -> Callable[[Sequence[str], Request[Any], Callable[[], object]], object]:
        """Create the topics that coordinators store their state in, for a request, then call back."""


class UsesTransactions(Protocol):
    """Asks the transaction coordinator."""

    @property
    def transactions(self) -> TransactionCoordinator:
        """The coordinator; the thread of the group coordinator only."""


class DescribesTransactions(UsesTransactions, WorksInSlices, Protocol):
    """Describes transactional ids that a request may name in any number."""


class ChangesTransactions(UsesTransactions, UsesOffsets, Protocol):
    """Changes transactions over partitions that exist, and over offsets of groups."""


class AnswersProduce(UsesTransactions, ReadsClusterAndConfig, Protocol):
    """Answers reactors that ask about a Produce of a transaction."""

    @property
    def loop(self) -> ControlLoop:
        """The loop of the transaction coordinator."""


class FindsCoordinators(UsesGroups, UsesTransactions, UsesShareGroups, ReadsBrokers, WorksInSlices, Protocol):
    """Names coordinators."""

    @property
    def create_topics(self) -> Callable[[Sequence[str], Request[Any], Callable[[], object]], object]:
        """Create the topics that coordinators store their state in, for a request, then call back."""


class TakesProducerIds(UsesTransactions, ReadsConfig, WorksInSlices, Protocol):
    """Hands out producer ids."""

    @property
    def producer_ids(self) -> ProducerIds:
        """Where they come from."""


class TakesMetadata(ReadsConfig, Protocol):
    """Takes what the controller of the cluster tells."""

    @property
    def member(self) -> Member:
        """This broker as a member; the controller's thread only."""


class AsksController(TakesMetadata, Protocol):
    """Passes what brokers and clients ask the controller to it."""


class ChangesTopicsOfCluster(ChangesTopics, AsksController, Protocol):
    """Has the controller of a cluster change topics and partitions."""


class ChangesConfigsOfCluster(ChangesConfigs, AsksController, Protocol):
    """Changes stored configurations of a cluster."""

    @property
    def config_changes(self) -> Any:
        """The changes (ConfigWriter); the controller's thread only."""


class ChangesReplicas(ReadsConfig, Protocol):
    """Takes the roles of this broker's replicas."""

    @property
    def replicas(self) -> Any:
        """The replica manager."""


class UsesClientTelemetry(Protocol):
    """Takes metrics of clients."""

    @property
    def client_telemetry(self) -> Callable[[], ClientTelemetry]:
        """Made at the first call."""
