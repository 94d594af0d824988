"""Requests that create, extend and delete topics: they only write the nodes; the controller's own watches do the rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from uuid import UUID

from kafka_cy.cluster.store import Create, NodeExistsError, NoNodeError, Operation, Set, StoreError
from kafka_cy.cluster.znodes import DELETE_TOPICS, config_data, new_id, topic_path
from kafka_cy.controller.nodes import topic_data
from kafka_cy.controller.operator_events import Outcome
from kafka_cy.controller.partition_state import ReplicaAssignment
from kafka_cy.controller.parts import Parts
from kafka_cy.protocol.errors import ErrorCode

_DONE = Outcome(ErrorCode.NONE)


class TopicRequests:
    """Owner: the controller's thread. Lifetime: one term. Names, assignments and configurations are already validated."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._context = parts.context

    async def create(
        self, name: str, assignment: Sequence[Sequence[int]], configs: Mapping[str, str], topic_id: UUID | None = None
    ) -> Outcome:
        """Store a topic: its configuration first, for the brokers read it when they hear of the topic."""
        if name in self._context.topics:
            return Outcome(ErrorCode.TOPIC_ALREADY_EXISTS, f"Topic '{name}' already exists.")
        uses_ids = self._parts.settings.protocol.uses_topic_ids
        assignments = {index: ReplicaAssignment(tuple(replicas)) for index, replicas in enumerate(assignment)}
        config, data = f"/config/topics/{name}", config_data(configs)
        topic = Create(topic_path(name), topic_data(assignments, (topic_id or new_id()) if uses_ids else None))
        outcome = (await self._parts.store.write([[Create(config, data), topic]]))[0]
        if isinstance(outcome, NodeExistsError) and outcome.operation == 0:  # a configuration that outlived its topic
            outcome = (await self._parts.store.write([[Set(config, data), topic]]))[0]
        if isinstance(outcome, NodeExistsError):
            return Outcome(ErrorCode.TOPIC_ALREADY_EXISTS, f"Topic '{name}' already exists.")
        return _outcome(outcome)

    async def create_partitions(self, name: str, added: Sequence[Sequence[int]]) -> Outcome:
        """Store further partitions of a topic."""
        known = self._context.topics.get(name)
        if known is None or name in self._context.deleting:
            return Outcome(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, f"The topic '{name}' does not exist.")
        if any(each.topic == name for each in self._context.being_reassigned):
            return Outcome(
                ErrorCode.REASSIGNMENT_IN_PROGRESS, f"A partition reassignment is in progress for the topic '{name}'."
            )
        first = len(known)
        new = {first + index: ReplicaAssignment(tuple(replicas)) for index, replicas in enumerate(added)}
        data = topic_data({**known, **new}, self._context.topic_ids.get(name))
        return _outcome((await self._parts.store.write([[Set(topic_path(name), data)]]))[0])

    async def delete(self, name: str) -> Outcome:
        """Record the deletion of a topic."""
        if not self._parts.settings.delete_topic_enable:
            return Outcome(ErrorCode.TOPIC_DELETION_DISABLED, "Topic deletion is disabled.")
        if name not in self._context.topics:
            return Outcome(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, f"The topic '{name}' does not exist.")
        change: list[Operation] = [Create(f"{DELETE_TOPICS}/{name}")]
        outcome = (await self._parts.store.write([change]))[0]
        if isinstance(outcome, NodeExistsError):
            return _DONE  # it is being deleted already
        return _outcome(outcome)


def _outcome(outcome: object) -> Outcome:
    if isinstance(outcome, NoNodeError):
        return Outcome(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
    if isinstance(outcome, StoreError):
        return Outcome(ErrorCode.UNKNOWN_SERVER_ERROR, f"{type(outcome).__name__}: {outcome}")
    return _DONE
