"""Makes the coordinators, which all run on the coordinator loop: of groups, of transactions, and of share groups."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from kafka_cy.api.registry import COORDINATOR

if TYPE_CHECKING:
    from kafka_cy.server.broker import KafkaServer


class Coordinators:
    """Made by the admin thread before the coordinator loop runs, used on that loop's thread."""

    def __init__(self, broker: KafkaServer) -> None:
        self._server, self._loop, self._log = broker.server, broker.coordinator_loop, broker.log
        self.share = self._share(broker)
        self.groups = self._groups(broker)
        self.transactions = self._transactions(broker)
        runtimes = (self.groups.runtime, self.transactions.runtime, self.share.coordinator.runtime)
        self._runtimes: dict[str, Any] = {each.topic: each for each in runtimes}
        loop, cluster = self._loop, broker.cluster
        assert cluster is not None
        for each in (self.groups, self.transactions, self.share):
            cluster.add_listener(partial(loop.call_soon_threadsafe, each.on_change))
            loop.call_soon_threadsafe(each.start)
        if broker.arrangement is not None and broker.arrangement.calls is not None:
            loop.call_soon_threadsafe(self._load_led, broker.logs)

    def _load_led(self, logs: Any) -> None:
        """Of a member of a cluster: what it leads already. The controller may not have told of the topics yet."""
        for topic, index in list(logs.partitions):
            if topic in self._runtimes:
                self._runtimes[topic].leadership_changed(index)

    def _groups(self, broker: KafkaServer) -> Any:
        from kafka_cy.coordinator.group_coordinator import GroupCoordinator
        from kafka_cy.coordinator.share.state_requests import StateRequests

        assert broker.arrangement is not None
        log, states = broker.log, StateRequests(self.share.coordinator, self.share.partitions.forget)
        return GroupCoordinator(
            broker.config, broker.cluster, broker.coordinator_loop, log.warning, log.info, states,
            broker.arrangement.create_for_streams,
        )  # fmt: skip

    def _transactions(self, broker: KafkaServer) -> Any:
        from kafka_cy.coordinator.transactions.transaction_coordinator import TransactionCoordinator
        from kafka_cy.storage import transaction_table

        assert broker.arrangement is not None
        return TransactionCoordinator(
            broker.config, broker.cluster, broker.coordinator_loop, broker.producer_ids, transaction_table,
            self.groups.runtime.end_transaction, broker.log.warning, broker.log.info, broker.arrangement.calls,
        )  # fmt: skip

    def _share(self, broker: KafkaServer) -> Any:
        from kafka_cy.share.service import ShareService

        return ShareService(broker.config, broker.cluster, broker.coordinator_loop, broker.log.warning)

    def leadership_changed(self, topic: str, index: int, leader_epoch: int, leads: bool) -> None:
        """This broker leads a partition from this epoch on, or does not any more. Any thread."""
        self._loop.call_soon_threadsafe(self._leadership_changed, topic, index, leader_epoch, leads)

    def _leadership_changed(self, topic: str, index: int, leader_epoch: int, leads: bool) -> None:
        if not leads:
            self.transactions.verification.leadership_lost((topic, index))
        runtime = self._runtimes.get(topic)
        if runtime is None:
            return
        what = "begins to coordinate what is in" if leads else "no longer coordinates what is in"
        self._log.info(f"this broker {what} a partition", topic=topic, partition=index, leader_epoch=leader_epoch)
        runtime.leadership_changed(index)

    def look(self) -> None:
        """Called in every round of the coordinator loop: send responses whose records have been stored, end share sessions."""
        for connection_id in self._server.take_closed(COORDINATOR):
            self.share.fetches.connection_closed(connection_id)
        self.groups.look()
        self.transactions.look()
        self.share.look()
