"""Shows reactors the topics and brokers of a cluster: the image of what the controller told, with the partitions hosted here."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from kafka_cy.network.metadata_image import TopicMetadata

if TYPE_CHECKING:
    from kafka_cy.cluster.member_cache import MemberCache
    from kafka_cy.cluster.metadata_cache import LiveBroker
    from kafka_cy.cluster.topics import Topic
    from kafka_cy.network.metadata_image import ImagePublisher
    from kafka_cy.storage.log_manager import LogManager


class PublishedTopics:
    """Owner: the controller's thread."""

    def __init__(self, cache: MemberCache, logs: LogManager, publisher: ImagePublisher, own: LiveBroker) -> None:
        """`own`: this broker, which is shown until a controller has told of the live ones.

        A client that is told of no broker at all has nobody left to ask: librdkafka gives its bootstrap servers up for those of the
        first response.
        """
        self._cache, self._logs, self._publisher, self._own = cache, logs, publisher, own

    def put(self, topic: Topic) -> None:
        """Show this topic from the next `publish` on."""
        self._publisher.set_topics([self._image(topic)], [])

    def publish(self, removed: Iterable[str] = ()) -> None:
        """Make what was put visible, and the live brokers; without the topics `removed`."""
        cache = self._cache
        self._publisher.set_topics([], removed)
        self._publisher.set_brokers(cache.cluster_id, cache.broker_id, cache.controller_id, cache.brokers or (self._own,))
        self._publisher.publish()

    def hosted_changed(self, names: Iterable[str]) -> None:
        """Logs of these topics were created or deleted, or have failed."""
        for name in names:
            topic = self._cache.topics.get(name)
            if topic is not None:
                self.put(topic)
        self.publish()

    def _image(self, topic: Topic) -> TopicMetadata:
        partitions: list[Any] = []
        for each in topic.partitions:
            if each.replicas:  # the controller has told of it
                hosted = self._logs.partitions.get((topic.name, each.index))
                leader = each.leader if each.leader not in each.offline else -1
                partitions.append((each.index, leader, each.leader_epoch, each.replicas, each.isr, each.offline, hosted))
        return TopicMetadata(topic.name, topic.id.bytes, topic.internal, partitions)
