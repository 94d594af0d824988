"""One term of office: it begins with everything read from the store, and ends when another controller is elected."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from kafka_cy.cluster.store import Children, Create, Exists, Node, Set
from kafka_cy.cluster.znodes import BROKER_IDS, DELETE_TOPICS, FEATURE, TOPICS, from_json, to_json
from kafka_cy.controller.broker_events import BrokerEvents
from kafka_cy.controller.nodes import ISR_CHANGES, LOG_DIR_EVENTS, PREFERRED_ELECTION, REASSIGN_PARTITIONS
from kafka_cy.controller.operator_events import OperatorEvents
from kafka_cy.controller.parts import Parts
from kafka_cy.controller.settings import Timer
from kafka_cy.controller.topic_events import TopicEvents
from kafka_cy.controller.topic_requests import TopicRequests

FIRST_REBALANCE_MS = 5_000


class Term:
    """Owner: the controller's thread."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self.brokers = BrokerEvents(parts)
        self.topics = TopicEvents(parts)
        self.operator = OperatorEvents(parts)
        self.topic_requests = TopicRequests(parts, self.topics)
        self._rebalance_timer: Timer | None = None

    async def start(self) -> None:
        """Take over. Raises TermEnded. The order is Kafka's: nothing is told to brokers before everything is read.

        But elections come before dead replicas leave the ISR, as they do when a broker fails. A new controller of Kafka's has them
        leave first, which are three times as many changes while partitions have no leader.
        """
        parts, context = self.parts, self.parts.context
        await self._write_feature()
        _, _, log_dir_events, isr_changes, broker_ids, topics, deletions = await parts.store.read(
            [
                Exists(PREFERRED_ELECTION, self.operator.on_preferred_election),
                Exists(REASSIGN_PARTITIONS, self.operator.on_reassign_partitions),
                Children(LOG_DIR_EVENTS, self.brokers.on_log_dir_events),
                Children(ISR_CHANGES, self.topics.on_isr_changes),
                Children(BROKER_IDS, self.brokers.on_ids),
                Children(TOPICS, self.topics.on_topics),
                Children(DELETE_TOPICS, self.topics.on_deletions),
            ]
        )
        # Every broker will be asked for the state of all its replicas, and every state is read: both kinds are void.
        await self.brokers.forget(
            [f"{LOG_DIR_EVENTS}/{name}" for name in log_dir_events or ()]
            + [f"{ISR_CHANGES}/{name}" for name in isr_changes or ()]
        )
        context.brokers = await self.brokers.read(broker_ids or [])
        await self.topics.read(topics or [])
        states, _ = await parts.states.read(list(context.partitions()))
        context.states.update(states)
        for broker in context.brokers.values():
            parts.channels.add(broker)
        if parts.settings.delete_topic_enable:  # else the records are removed below, and the topics live on
            context.deleting.update(name for name in deletions or () if name in context.topics)
        await parts.tell_brokers()
        offline = await parts.replicas.start()
        await parts.partitions.start()
        await parts.replicas.to_offline(offline)
        await self._resume(deletions or [])
        parts.around.info(
            f"this broker is the controller with epoch {context.epoch}: {len(context.brokers)} brokers,"
            f" {len(context.topics)} topics, {len(context.partition_status)} partitions"
        )
        if parts.settings.auto_leader_rebalance_enable:
            self._rebalance_timer = parts.around.call_later(FIRST_REBALANCE_MS, self._rebalance)

    async def _write_feature(self) -> None:
        """Brokers of earlier releases end when they read a version of this node that they do not know."""
        parts, protocol = self.parts, self.parts.settings.protocol
        node: Node | None = await parts.store.get(FEATURE)
        version, status = protocol.feature_node_version, int(protocol.registers_features)
        known: dict[str, Any] = {}
        if node is not None:
            with suppress(ValueError):
                known = from_json(node.data)
        if (known.get("version"), known.get("status")) == (version, status):
            return
        features = known.get("features", {}) if status and known.get("status") else {}
        data = to_json({"features": features, "version": version, "status": status})
        await parts.store.write([[Create(FEATURE, data) if node is None else Set(FEATURE, data, node.version)]])

    async def _resume(self, deletions: list[str]) -> None:
        """Go on with what an earlier controller began."""
        context = self.parts.context
        for partition in context.partitions():
            if context.assignment(partition).is_being_reassigned and partition.topic not in context.deleting:
                context.being_reassigned.add(partition)
            await self.parts.pace.looked()
        await self.parts.reassignments.remove_strays()
        await self.operator.reassign_partitions()
        await self.parts.reassignments.resume(sorted(context.being_reassigned))
        await self.topics.deletions(deletions)
        await self.operator.preferred_election()

    def _rebalance(self) -> None:
        parts = self.parts
        parts.put("AutoPreferredReplicaLeaderElection", self.operator.rebalance)
        interval_ms = parts.settings.leader_imbalance_check_interval_seconds * 1000
        self._rebalance_timer = parts.around.call_later(interval_ms, self._rebalance)

    def close(self) -> None:
        """The term has ended."""
        self.parts.close()
        if self._rebalance_timer is not None:
            self._rebalance_timer.cancel()
