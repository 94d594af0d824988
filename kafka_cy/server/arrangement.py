"""Where the cluster's metadata comes from, and who changes it: a broker by itself, or a member of a cluster.

The rest of the server asks the arrangement and does not know which one it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from kafka_cy.api.registry import Api
    from kafka_cy.cluster.acl_store import StoredAcls
    from kafka_cy.cluster.metadata_cache import MetadataCache
    from kafka_cy.cluster.producer_ids import Reserved
    from kafka_cy.cluster.quorum import Quorum
    from kafka_cy.cluster.store import AsyncStore
    from kafka_cy.cluster.token_store import StoredTokens
    from kafka_cy.coordinator.streams.configured import InternalTopic
    from kafka_cy.coordinator.transactions.broker_calls import BrokerCalls
    from kafka_cy.server.broker import KafkaServer
    from kafka_cy.storage.log_manager import LogManager


class StartFailed(Exception):
    """The machine did not give what the broker needs, such as a thread."""


class DataRefused(Exception):
    """The log directories cannot be used; the message is one sentence with the reason."""


class ClusterRefused(Exception):
    """The broker cannot be a member of its cluster; the message is one sentence with the reason."""


class Arrangement(Protocol):
    """Made by the main thread, which calls `load` to `publish` in this order; afterwards the controller's thread owns it."""

    topic_changes: Any  # what the handlers of `apis` get as ApiContext.topic_changes, and so on
    config_changes: Any
    feature_changes: Any
    tokens: StoredTokens | None  # after `load`; None: there are no delegation tokens

    @property
    def acls(self) -> StoredAcls | None:
        """The ACLs, which are loaded; None: there is no authorizer. After `load`."""

    @property
    def apis(self) -> Mapping[int, Api]:
        """What the broker serves."""

    @property
    def cache(self) -> MetadataCache:
        """What requests read; after `load`."""

    @property
    def store(self) -> AsyncStore:
        """Where the metadata is; after `load`."""

    @property
    def member(self) -> Any:
        """What only handlers of a cluster's APIs use. None: this broker is by itself."""

    @property
    def calls(self) -> BrokerCalls | None:
        """Requests of the transaction coordinator to other brokers; None: this broker is by itself. After `publish`."""

    def load(self) -> None:
        """Have the broker's id, the cluster's id and the stored settings in the cache. Raises DataRefused, StoreError."""

    def open_logs(self, logs: LogManager) -> None:
        """Open the logs of the topics that belong here. Raises OSError, ValueError, StoreError."""

    def publish(self) -> None:
        """Show the brokers and topics that are known to the reactors."""

    def join(self) -> None:
        """The listeners are open and the logs are loaded: take part in the cluster. Raises StoreError."""

    def supported_features(self) -> Mapping[str, tuple[int, int]]:
        """Lowest and highest level by the name of the feature."""

    def quorum(self) -> Quorum:
        """The quorum of the metadata, on the controller's thread."""

    def controller_epoch(self) -> int:
        """The largest epoch of a controller that this broker has heard of. Any thread."""

    def reserve_producer_ids(self, done: Reserved) -> None:
        """On the controller's thread: call `done` with a block of producer ids that is this broker's."""

    def create_on_demand(self, names: Sequence[str], sender: Mapping[str, str], done: Callable[[], object]) -> None:
        """On the controller's thread: create these topics as far as possible, then call `done` there. May raise instead."""

    def create_for_streams(
        self, topics: Sequence[InternalTopic], sender: Mapping[str, str], done: Callable[[Mapping[str, str]], object]
    ) -> None:
        """Called on the coordinator loop: create topics of a streams group, then call `done` there with the errors by topic."""

    def log_options(self) -> dict[str, Any]:
        """What the log manager has to know beside the configuration."""

    def log_dir_offline(self, path: str, lost: Sequence[Any]) -> str | None:
        """A log directory with these partitions failed. Returns why the broker cannot go on, or None."""

    def leave(self, done: Callable[[], object]) -> None:
        """Any thread: hand over what this broker leads, then call `done`, on any thread."""

    def drop_requests(self) -> None:
        """The loops have ended: let go of the requests that wait for topics, so that their connections are closed."""

    def stop(self) -> None:
        """The loops have ended: nothing is written to the logs any more."""

    def close(self) -> None:
        """The logs are closed: end the session of the store."""


def arrange(broker: KafkaServer) -> Arrangement:
    """The arrangement that the configuration asks for."""
    if broker.config.is_member:
        from kafka_cy.server.cluster_member import ClusterMember

        return ClusterMember(broker)
    from kafka_cy.server.standalone import Standalone

    return Standalone(broker)
