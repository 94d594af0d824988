"""Changes whose replies are lost: the controller finds out that they were made."""

from __future__ import annotations

from kafka_cy.controller.operator_events import Outcome
from kafka_cy.protocol.errors import ErrorCode
from tests.controller.cluster import Cluster

THREE = {1: 25, 2: 70, 3: 105}


def test_a_topic_whose_creation_was_not_confirmed_is_created() -> None:
    """Its configuration has outlived an earlier topic of this name. The connection breaks at any moment."""
    for moment in range(40):
        cluster, answers = Cluster(THREE), list[Outcome]()
        cluster.zookeeper.put("/config/topics/t", b'{"version":1,"config":{}}')
        cluster.controller.create_topic("t", [[1, 2, 3]], {"retention.ms": "5"}, answers.append)
        cluster.simulation.run_for(moment * 0.07)
        cluster.session.disconnect()
        cluster.session.connect()
        cluster.settle()
        assert answers == [Outcome(ErrorCode.NONE)], moment
        assert cluster.state("t", 0).leader == 1
