"""Requests that create, extend and delete topics: they write the nodes; the controller's own watches do most of the rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from uuid import UUID

from kafka_cy.cluster.new_partitions import problem_of_assignments, problem_of_count
from kafka_cy.cluster.store import (
    BadVersionError,
    ChangeTooLarge,
    Create,
    NodeExistsError,
    NoNodeError,
    Operation,
    Set,
    StoreError,
)
from kafka_cy.cluster.znodes import DELETE_TOPICS, config_data, new_id, topic_path
from kafka_cy.controller.nodes import topic_data, topic_of
from kafka_cy.controller.operator_events import Outcome
from kafka_cy.controller.partition_state import ReplicaAssignment
from kafka_cy.controller.parts import Parts
from kafka_cy.controller.topic_events import TopicEvents
from kafka_cy.protocol.errors import ErrorCode

QUEUED_FOR_DELETION = "The topic is queued for deletion."
_DONE = Outcome(ErrorCode.NONE)


class TopicRequests:
    """Owner: the controller's thread. Lifetime: one term. Names, assignments and configurations are already validated."""

    def __init__(self, parts: Parts, topics: TopicEvents) -> None:
        self._parts = parts
        self._topics = topics
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

    async def create_partitions(
        self, name: str, count: int, added: Sequence[Sequence[int]], *, is_manual: bool
    ) -> Outcome:
        """Store further partitions of a topic, so that it has `count`.

        `added` are the replicas of the last ones. If other requests have added partitions meanwhile, some of them are left out;
        `is_manual`: then they do not fit any more. The count is what the node says: events of other requests may be stored but
        not known yet.
        """
        outcome: Outcome | None = None
        while outcome is None:
            node = await self._parts.store.get(topic_path(name))
            if name in self._context.deleting:
                return Outcome(ErrorCode.INVALID_TOPIC_EXCEPTION, QUEUED_FOR_DELETION)
            if node is None:
                return Outcome(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, f"The topic '{name}' does not exist.")
            known, topic_id = topic_of(node)
            refused = _refused_partitions(name, known, count, len(added), is_manual=is_manual)
            if refused is not None:
                return refused
            first = len(known)
            replicas = added[len(added) - (count - first) :]
            new = {first + index: ReplicaAssignment(tuple(each)) for index, each in enumerate(replicas)}
            data = topic_data({**known, **new}, self._context.topic_ids.get(name) or topic_id)
            stored = (await self._parts.store.write([[Set(topic_path(name), data, node.version)]]))[0]
            if not isinstance(stored, BadVersionError):
                outcome = _outcome(stored)
        if outcome.error is ErrorCode.NONE:
            # Not only when the watch tells: a reassignment that comes before would write the node as it is known.
            await self._topics.modified(name)
        return outcome

    async def delete(self, name: str, topic_id: UUID | None = None) -> Outcome:
        """Record the deletion of a topic. `topic_id`: only if it is this one; another one may have got its name meanwhile."""
        if not self._parts.settings.delete_topic_enable:
            return Outcome(ErrorCode.TOPIC_DELETION_DISABLED, "Topic deletion is disabled.")
        if topic_id is not None and self._context.topic_ids.get(name) != topic_id:
            return Outcome(ErrorCode.UNKNOWN_TOPIC_ID, "This server does not host this topic ID.")
        if name not in self._context.topics:
            return Outcome(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, f"The topic '{name}' does not exist.")
        change: list[Operation] = [Create(f"{DELETE_TOPICS}/{name}")]
        outcome = (await self._parts.store.write([change]))[0]
        if isinstance(outcome, NodeExistsError):
            return _DONE  # it is being deleted already
        return _outcome(outcome)


def _refused_partitions(
    name: str, known: Mapping[int, ReplicaAssignment], count: int, added: int, *, is_manual: bool
) -> Outcome | None:
    """Why the topic cannot get `count` partitions, of which `added` have replicas; None if it can."""
    if any(each.is_being_reassigned for each in known.values()):
        return Outcome(
            ErrorCode.REASSIGNMENT_IN_PROGRESS, f"A partition reassignment is in progress for the topic '{name}'."
        )
    problem = problem_of_count(name, len(known), count)
    if problem is not None:
        return Outcome(ErrorCode.INVALID_PARTITIONS, problem)
    needed = count - len(known)
    problem = problem_of_assignments(needed, added) if is_manual else None
    if problem is not None:
        return Outcome(ErrorCode.INVALID_REPLICA_ASSIGNMENT, problem)
    if needed > added:
        return Outcome(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, f"The topic '{name}' was replaced by another one.")
    return None


def _outcome(outcome: object) -> Outcome:
    if isinstance(outcome, NoNodeError):
        return Outcome(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
    if isinstance(outcome, ChangeTooLarge):
        return Outcome(ErrorCode.POLICY_VIOLATION, f"The topic's assignment and settings are too large: {outcome}.")
    if isinstance(outcome, StoreError):
        return Outcome(ErrorCode.UNKNOWN_SERVER_ERROR, f"{type(outcome).__name__}: {outcome}")
    return _DONE
