"""When an unclean election is legal: its topic allows it, or an operator has asked for it, since the state before was written."""

from __future__ import annotations

from collections.abc import Callable
from math import inf

from kafka_cy.cluster.store import Create, Delete, Operation, Set
from kafka_cy.cluster.znodes import from_json
from kafka_cy.controller.partition_machine import UNCLEAN_KEY
from kafka_cy.controller.partition_state import TopicPartition
from tests.cluster.simulator.clock import Simulation

CONFIGS = "/config/topics/"


class UncleanElections:
    """A controller reads a partition's state, then what its topic allows, and writes only if the state is still that one."""

    def __init__(self, simulation: Simulation) -> None:
        self._simulation = simulation
        self._allowed_until_ms: dict[str, float] = {}  # by topic
        self._asked_until_ms: dict[TopicPartition, float] = {}
        self._written_ms: dict[TopicPartition, float] = {}  # the latest state

    def written(self, operation: Operation) -> None:
        """A node was changed."""
        if isinstance(operation, Create | Set | Delete) and operation.path.startswith(CONFIGS):
            topic = operation.path.removeprefix(CONFIGS)
            data = None if isinstance(operation, Delete) else operation.data
            config = from_json(data)["config"] if data is not None else {}
            if config.get(UNCLEAN_KEY) == "true":
                self._allowed_until_ms[topic] = inf
            elif self.allows(topic):
                self._allowed_until_ms[topic] = self._simulation.now_ms

    def allows(self, topic: str) -> bool:
        """Whether a topic allows it now."""
        return self._allowed_until_ms.get(topic) == inf

    def ask(self, partition: TopicPartition) -> Callable[[object], object]:
        """An operator asks for an election; returns what to call with the answer."""
        self._asked_until_ms[partition] = inf

        def answered(answer: object) -> None:
            self._asked_until_ms[partition] = self._simulation.now_ms

        return answered

    def is_legal(self, partition: TopicPartition) -> bool:
        """Whether the change of the state that is written now may be one."""
        until_ms = max(self._allowed_until_ms.get(partition.topic, -1.0), self._asked_until_ms.get(partition, -1.0))
        return until_ms >= self._written_ms.get(partition, 0.0)

    def state_written(self, partition: TopicPartition) -> None:
        """A new state is there; call it after is_legal()."""
        self._written_ms[partition] = self._simulation.now_ms
