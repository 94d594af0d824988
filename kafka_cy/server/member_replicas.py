"""The replica manager of a member, with its loop and what it needs of the broker."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from kafka_cy.api import fetch_preferred
from kafka_cy.base.named_thread import NamedThread
from kafka_cy.cluster.stored_configs import MalformedSettings
from kafka_cy.protocol.controller_messages.alter_partition import AlterPartitionRequest, AlterPartitionResponse
from kafka_cy.replication.replica_manager import BrokerSide, ReplicaManager
from kafka_cy.replication.settings import settings_from
from kafka_cy.replication.waiting_roles import UnknownSettings
from kafka_cy.server.control_loop import ControlLoop, NoRequests

if TYPE_CHECKING:
    from kafka_cy.server.broker import KafkaServer
    from kafka_cy.server.cluster_member import ClusterMember

CONFIG_WAIT_S = 0.5  # between looks whether the broker stops


class MemberReplicas:
    """Made and stopped by the main thread. `manager` has a thread of its own, `replicas`."""

    def __init__(self, broker: KafkaServer, member: ClusterMember, post: Callable[..., object]) -> None:
        """`post`: to the controller's thread."""
        self._broker, self._member, self._post = broker, member, post
        self._loop = ControlLoop(broker.on_error)
        self._loop.attach(NoRequests(), lambda request: None)
        self._thread: NamedThread | None = None
        config = broker.config
        side = BrokerSide(
            alter_partition=self._alter_partition,
            topic_config=self._topic_config,
            is_unknown=member.configs.lacks_settings,
            hosted=lambda topics: self._post(member.hosted_changed, topics),
            leadership=self._leadership,
            log_dir_failed=lambda: self._post(member.tell_of_failed_log_dir),
            log=broker.log,
            fault=broker.on_error,
            transport=broker.transport_to(config.inter_broker_listener_name),
        )
        self.manager = ReplicaManager(
            settings_from(config.__getitem__, config.broker_id), broker.logs, self._loop, side
        )
        fetch_preferred.set_rack_aware(str(config["replica.selector.class"]).endswith(".RackAwareReplicaSelector"))
        config.add_change_listener(self._config_changed)

    def start(self) -> None:
        """Start the threads."""
        self._thread = NamedThread(target=self._loop.run, name="replicas", daemon=True)
        self._thread.start()
        self.manager.start()

    def stop(self) -> None:
        """End the threads: nothing is written to the logs any more."""
        self._loop.stop()
        if self._thread is not None:
            self._thread.join()
            self._loop.join_workers()
            self.manager.stop()
        self._loop.close()

    def controller_epoch_seen(self, epoch: int) -> None:
        """UpdateMetadata came from a controller with this epoch: an earlier one has nothing to say any more."""
        self._loop.call_soon_threadsafe(self._see_epoch, epoch)

    def _see_epoch(self, epoch: int) -> None:
        states = self.manager.states
        states.controller_epoch = max(states.controller_epoch, epoch)

    # -- what the replica manager asks for, on its thread --

    def _alter_partition(
        self, request: AlterPartitionRequest, done: Callable[[AlterPartitionResponse | None], object]
    ) -> None:
        self._post(self._member.alter_partition, request, done)

    def _topic_config(self, topic: str) -> dict[str, Any]:
        """Of a new topic, the settings are read first; as in Kafka, the log is created with them. Raises UnknownSettings."""
        known = threading.Event()
        self._post(self._member.configs.ensure, [topic], known.set)
        while not known.wait(CONFIG_WAIT_S):
            if self._loop.is_stopped:
                raise OSError("the broker stops")
        try:
            return self._member.topic_config(topic)
        except MalformedSettings as error:
            raise UnknownSettings(str(error)) from error

    def _leadership(self, topic: str, partition: int, leader_epoch: int, leads: bool) -> None:
        coordinators = self._broker.coordinators
        if coordinators is not None:  # else they load what this broker leads when they start
            coordinators.leadership_changed(topic, partition, leader_epoch, leads)

    def _config_changed(self, names: frozenset[str]) -> None:
        if "num.replica.fetchers" in names:
            self.manager.set_fetcher_count(int(self._broker.config["num.replica.fetchers"]))
