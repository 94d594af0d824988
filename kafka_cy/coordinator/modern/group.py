"""What the newer kinds of groups answer in the same way: KIP-848, KIP-932, KIP-1071 (Kafka: ModernGroup)."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Generator, Iterable
from typing import Any, ClassVar, Final, TypeVar

from kafka_cy.base.slices import in_work
from kafka_cy.coordinator.group import Group
from kafka_cy.coordinator.modern.assignment import STEP_ITEMS
from kafka_cy.coordinator.modern.published import PublishedMembers, Words
from kafka_cy.coordinator.open_groups import OPEN_FOR_MEMBERS, OPEN_FOR_SIMPLE, Steady
from kafka_cy.protocol.errors import ErrorCode

NAMES_FEW: Final = 50  # topics of a record that is replayed in one step with others
R = TypeVar("R")


def look(size: int, function: Callable[[], R]) -> Generator[object, None, R]:
    """What the function returns, which looks at so many topics: on another thread if they are many. A task for slices."""
    return (yield from in_work(function)) if size > NAMES_FEW else function()


class ModernGroup(Group):
    """A group with members whose tasks or partitions the broker assigns. Its protocol type has the name of its kind."""

    __slots__ = ("members", "published")

    HEARTBEAT_KEY: ClassVar[int]  # API of the members' heartbeats

    def __init__(self, group_id: str) -> None:
        super().__init__(group_id)
        self.members: dict[str, Any] = {}  # by id
        self.published = PublishedMembers(group_id)  # soft state: reactors commit for them, and respond to heartbeats

    def replay(self, key: Any, value: Any) -> None:
        self.steady = None
        self._replay(key, value)

    @abstractmethod
    def _replay(self, key: Any, value: Any) -> None:
        """See Group.replay."""

    def _republish(self, old: Any, new: Any) -> None:
        """A member changes or goes (`new` is None, or another one)."""
        if new is None or new.member_id != old.member_id:
            self.published.gone(old.member_id)
        else:
            self.published.changed(old.member_id)

    def stays(self, member: Any, steady: Steady) -> None:
        """Nothing has changed: reactors may respond to the member's next heartbeats, as long as that is so."""
        self.published.add_steady(member.member_id, member.member_epoch, self._words(member))
        self.steady, self.uses_door = steady, True

    def _words(self, member: Any) -> Words:
        """What the member may say again."""
        return Words(member.details.client_id, member.details.client_host)

    def closed(self) -> None:
        super().closed()
        self.published.clear()

    @property
    def open_for(self) -> int:
        return OPEN_FOR_MEMBERS if self.members else OPEN_FOR_SIMPLE

    @property
    def is_empty(self) -> bool:
        return not self.members

    @property
    def members_count(self) -> int:
        return len(self.members)

    @property
    def protocol_type_name(self) -> str:
        return self.kind

    @abstractmethod
    def is_subscribed(self, topic: str) -> bool:
        """Whether a member reads the topic."""

    def unread_topics(self, topics: Iterable[str]) -> Generator[None, None, set[str]]:
        unread = set()
        for place, topic in enumerate(topics):
            if place % STEP_ITEMS == 0:
                yield None
            if not self.is_subscribed(topic):
                unread.add(topic)
        return unread

    def validate_delete(self) -> ErrorCode:
        return ErrorCode.NONE if not self.members else ErrorCode.NON_EMPTY_GROUP
