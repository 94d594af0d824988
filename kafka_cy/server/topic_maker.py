"""Creates topics that other parts of the broker need, on the controller loop, and writes lines about them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from kafka_cy.base.slices import Slices

if TYPE_CHECKING:
    from kafka_cy.cluster.metadata import ClusterMetadata
    from kafka_cy.cluster.topics import Topic
    from kafka_cy.coordinator.streams.configured import InternalTopic
    from kafka_cy.server.broker import KafkaServer

NOT_STORED = "The topic could not be stored."


class TopicMaker:
    """Names and settings come from clients; `sender` says which one, for the log. Topics are created in slices.

    Limits: those of TopicCreations and of the streams groups' InternalTopics.
    """

    def __init__(self, broker: KafkaServer, metadata: ClusterMetadata) -> None:
        self._broker = broker
        self._metadata = metadata
        self._slices = Slices(broker.controller_loop, partial(broker.on_error, "topics that are created automatically"))

    def stop(self) -> None:
        """The loop has ended: let go of the requests that wait for topics."""
        self._slices.stop()

    def create_on_demand(self, names: Sequence[str], sender: Mapping[str, str], done: Callable[[], object]) -> None:
        """Called on the controller loop: create these topics as far as possible, then call `done`, even after a fault."""
        created: list[Topic] = []
        self._slices.add(self._on_demand(names, sender, created), partial(self._created_on_demand, created, sender, done))

    def _on_demand(self, names: Sequence[str], sender: Mapping[str, str], created: list[Topic]) -> Iterator[object]:
        from kafka_cy.api.topic_creation import TopicRefused, create_all_on_demand

        metadata = self._metadata
        try:
            yield from create_all_on_demand(metadata.cache, metadata.topic_changes, self._broker.config, names, created)
        except TopicRefused as refused:
            details = {"topics": len(names), "reason": refused.message, **sender}
            self._broker.log.repeated("warning", "topics are not created automatically", details, sender["client"])

    def _created_on_demand(self, created: list[Topic], sender: Mapping[str, str], done: Callable[[], object]) -> None:
        try:
            self._log_lines("topic created automatically", created, sender)
        finally:
            done()

    def create_for_streams(
        self, topics: Sequence[InternalTopic], sender: Mapping[str, str], done: Callable[[Mapping[str, str]], object]
    ) -> None:
        """Called on the coordinator loop: create topics of a streams group, then call `done` there with the errors by topic."""
        self._broker.controller_loop.call_soon_threadsafe(self._create_for_streams, topics, sender, done)

    def _create_for_streams(
        self, topics: Sequence[InternalTopic], sender: Mapping[str, str], done: Callable[[Mapping[str, str]], object]
    ) -> None:
        from kafka_cy.api.topic_creation import create_with_settings

        metadata = self._metadata
        created: list[Topic] = []
        errors: dict[str, str] = {each.name: NOT_STORED for each in topics}
        steps = create_with_settings(
            metadata.cache, metadata.topic_changes, self._broker.config, topics, created, errors
        )  # fmt: skip
        self._slices.add(steps, partial(self._created_for_streams, created, errors, sender, done))

    def _created_for_streams(
        self,
        created: list[Topic],
        errors: Mapping[str, str],
        sender: Mapping[str, str],
        done: Callable[[Mapping[str, str]], object],
    ) -> None:
        try:
            self._log_lines("topic created for a streams group", created, sender)
        finally:
            if errors:
                details = {"topics": len(errors), "reason": next(iter(errors.values())), **sender}
                text = "topics of a streams group cannot be created"
                self._broker.log.repeated("warning", text, details, sender["client"])
            self._broker.coordinator_loop.call_soon_threadsafe(done, errors)

    def _log_lines(self, text: str, created: list[Topic], sender: Mapping[str, str]) -> None:
        from kafka_cy.api.change_lines import created_topic, log_each

        log_each(self._broker.log, text, [created_topic(topic) for topic in created], sender)
