"""The protocols (assignors) that members of a classic group propose: which one is chosen, what a subscription says."""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Collection, Iterable

from kafka_cy.coordinator.classic.member import Member

CONSUMER_PROTOCOL_TYPE = "consumer"


def common_protocols(members: Iterable[Member]) -> set[str]:
    """The names that every member proposes."""
    common: set[str] | None = None
    for member in members:
        names = {name for name, _ in member.protocols}
        common = names if common is None else common & names
    return common or set()


def select_protocol(members: Collection[Member]) -> str | None:
    """Each member votes for the first of its protocols that all know; the earliest of the most voted wins."""
    common = common_protocols(members)
    votes: Counter[str] = Counter()
    for member in members:
        votes.update([name for name, _ in member.protocols if name in common][:1])
    return votes.most_common(1)[0][0] if votes else None


def subscribed_topics(protocol_type: str, protocol: str | None, members: Collection[Member]) -> frozenset[str] | None:
    """The topics that members of a consumer group read; None when that is unknown or the group is of another type."""
    if protocol_type != CONSUMER_PROTOCOL_TYPE:
        return None
    if not members:
        return frozenset()
    if protocol is None:
        return None
    topics: set[str] = set()
    for member in members:
        parsed = subscription_topics(member.metadata(protocol))
        if parsed is None:
            return None
        topics |= parsed
    return frozenset(topics)


def subscription_topics(metadata: bytes) -> set[str] | None:
    """The topics of a ConsumerProtocol subscription (int16 version, array of strings, ...); None if it is not one."""
    try:
        version, count = struct.unpack_from(">hi", metadata)
        if version < 0 or count < 0 or count > len(metadata):
            return None
        topics, position = set(), 6
        for _ in range(count):
            (size,) = struct.unpack_from(">h", metadata, position)
            position += 2 + size
            if size < 0 or position > len(metadata):
                return None
            topics.add(metadata[position - size : position].decode("utf-8"))
        return topics
    except (struct.error, UnicodeDecodeError):
        return None
