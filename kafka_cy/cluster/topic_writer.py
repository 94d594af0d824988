"""New topics that any broker of a cluster writes: those created on demand. The controller's watch does the rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from uuid import UUID

from kafka_cy.cluster import znodes
from kafka_cy.cluster.store import Create, NodeExistsError, NoNodeError, OutcomeUnknown, Set
from kafka_cy.cluster.store_calls import StoreCalls
from kafka_cy.cluster.znode_formats import TopicAssignment


async def write_topic(
    calls: StoreCalls, name: str, topic_id: UUID | None, assignment: Sequence[Sequence[int]], configs: Mapping[str, str]
) -> bool:
    """Store a topic with its settings in one change. False: it exists, or somebody else creates it now. Raises StoreError.

    `topic_id`: None with inter.broker.protocol.version below 2.8.
    """
    partitions = {index: tuple(replicas) for index, replicas in enumerate(assignment)}
    topic = Create(znodes.topic_path(name), TopicAssignment(topic_id, partitions).encode())
    config, data = f"/config/topics/{name}", znodes.config_data(configs)
    has_config = False
    while True:
        try:
            await calls.change(Set(config, data) if has_config else Create(config, data), topic)
            return True
        except NodeExistsError as error:
            if error.operation != 0 or has_config:
                return False
            has_config = True  # settings that outlived their topic
        except NoNodeError:
            has_config = False
            await calls.create_missing([znodes.TOPICS, "/config/topics"])
        except OutcomeUnknown:
            has_config = False  # the topic's node says what became of it
