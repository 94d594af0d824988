"""Unclean elections: topics that always, sometimes or never allow them, and operators who ask for one."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from kafka_cy.cluster.store import Set
from kafka_cy.cluster.znodes import config_data
from kafka_cy.controller.partition_machine import UNCLEAN_KEY
from kafka_cy.controller.partition_state import TopicPartition

if TYPE_CHECKING:
    from tests.cluster.simulator.cluster import SimulatedCluster

UNCLEAN_TOPIC = "d"  # allows them from the start
CHANGED = ("c", "d")  # the others never allow one, and nobody asks for one


class UncleanFaults:
    """Faults of a cluster."""

    def __init__(self, cluster: SimulatedCluster) -> None:
        self._cluster = cluster
        self._simulation = cluster.simulation
        self._random = cluster.simulation.random

    def flip(self) -> None:
        """unclean.leader.election.enable of a topic changes."""
        topic = self._random.choice(CHANGED)
        cluster, path = self._cluster, f"/config/topics/{topic}"
        if path not in cluster.zookeeper.nodes or not cluster.zookeeper.has_majority:
            return
        allowed = not cluster.invariants.unclean.allows(topic)
        cluster.note(f"{topic} allows unclean elections: {allowed}")
        cluster.zookeeper.apply(None, [Set(path, config_data({UNCLEAN_KEY: "true"} if allowed else {}))])
        for broker in cluster.brokers.values():
            if allowed and broker.up:  # each broker hears of it (ClusterMember._topic_settings_changed)
                broker.process.later(self._random.uniform(1, 500), partial(broker.elect_missing))

    def ask(self) -> None:
        """ElectLeaders of the kind UNCLEAN."""
        cluster, controller = self._cluster, self._cluster.controller()
        states = cluster.invariants.states
        partitions = [each for each in states if each.topic in CHANGED and states[each].leader == -1]
        if controller is not None and partitions:
            partition: TopicPartition = self._random.choice(partitions)
            cluster.note(f"an operator asks for an unclean election of {partition}")
            controller.elect_leaders({partition}, True, cluster.invariants.unclean.ask(partition))
