"""Creates `__share_group_state` for the first request that needs it (in Kafka the coordinator looks for its own coordinator)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from kafka_cy.cluster.topic_names import SHARE_STATE_TOPIC

if TYPE_CHECKING:
    from kafka_cy.api.context import Request
    from kafka_cy.api.roles import ChangesShareGroups


def with_state_topic(request: Request[Any], context: ChangesShareGroups, then: Callable[[], object]) -> None:
    """Call `then` when the topic exists, or could not be created."""
    topic = context.cluster.topics.get(SHARE_STATE_TOPIC)
    # Another loop may be about to create the partitions, the last one last.
    if topic is not None and context.cluster.partition(SHARE_STATE_TOPIC, len(topic.partitions) - 1) is not None:
        then()
    else:
        context.create_topics([SHARE_STATE_TOPIC], request, request.guarded(then))
