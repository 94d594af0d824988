"""What the operations on streams groups share."""

from __future__ import annotations

from typing import Any, ClassVar, Final

from kafka_cy.coordinator.modern.context import SESSION, ModernContext
from kafka_cy.coordinator.modern.group_lines import ID_CHARS_MAX, Info, ModernGroupLines
from kafka_cy.coordinator.modern.topics import Topics
from kafka_cy.coordinator.runtime.runtime import CoordinatorRuntime
from kafka_cy.coordinator.streams.group import StreamsGroup
from kafka_cy.coordinator.streams.internal_topics import CreateTopics, InternalTopics
from kafka_cy.coordinator.streams.limits import MEMBER_BYTES_MAX
from kafka_cy.coordinator.streams.settings import StreamsSettings
from kafka_cy.coordinator.streams.statuses import Status

REBALANCE: Final = "rebalance"  # that a member gives up tasks
FIRST_ASSIGNMENT: Final = ("first assignment", "")  # the time in which more members may join a new group: not of a member


class StreamsContext(ModernContext):
    """Owner: the coordinator's thread."""

    AWAITED: ClassVar[tuple[str, ...]] = (SESSION, REBALANCE)

    def __init__(
        self, runtime: CoordinatorRuntime[Any], settings: StreamsSettings, topics: Topics, info: Info,
        create_topics: CreateTopics,
    ) -> None:  # fmt: skip
        super().__init__(runtime, settings, topics, MEMBER_BYTES_MAX)
        self.settings = settings
        self.lines = StreamsGroupLines(info)
        self.internal_topics = InternalTopics(self.loop, create_topics)

    def is_delayed(self, group: StreamsGroup) -> bool:
        """Whether the first assignment waits for more members."""
        return group.deadlines is not None and FIRST_ASSIGNMENT in group.deadlines

    def delay_first_assignment(self, group: StreamsGroup, delay_ms: int) -> None:
        """The first assignment waits for more members, if it does not do so already."""
        if not self.is_delayed(group):
            self.deadlines(group).set(FIRST_ASSIGNMENT, delay_ms)

    def request_shutdown(self, group: StreamsGroup, member_id: str) -> None:
        """A member asks that the application ends. All members are told until the group is empty."""
        if group.shutdown_member_id is None:
            group.shutdown_member_id, group.steady = member_id, None
            self.lines.shutdown(group.group_id, member_id)


class StreamsGroupLines(ModernGroupLines):
    """Owner: the coordinator's thread."""

    def __init__(self, info: Info) -> None:
        super().__init__(info, "streams")

    def not_ready(self, group_id: str, problem: Status) -> None:
        """The topics do not fit the topology: nobody has tasks until they do."""
        self._info("streams group is not ready", group=group_id[:ID_CHARS_MAX], reason=problem.text)

    def unplaced(self, group_id: str, count: int) -> None:
        """An assignment has fewer standby tasks than wanted."""
        if count:
            text = "too few processes for the standby tasks of a streams group"
            self._info(text, group=group_id[:ID_CHARS_MAX], missing=count)

    def shutdown(self, group_id: str, member_id: str) -> None:
        """A member asked that the application ends."""
        self._info("streams application ends", group=group_id[:ID_CHARS_MAX], member=member_id[:ID_CHARS_MAX])
