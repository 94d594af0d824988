"""Which topics the subscriptions of classic consumers name. Kafka: ConsumerProtocol, ClassicGroup.computeSubscribedTopics.

Kafka reads all subscriptions of a group in each rebalance. Here OffsetDelete and the expiry of offsets read them when they ask,
in pieces: the members of one group may name millions of topics.
"""

from __future__ import annotations

import struct
from collections.abc import Generator, Iterable
from typing import Final

PIECE_NAMES: Final = 1000  # that one step reads, in about half a millisecond
AT_ONCE_BYTES: Final = 10_000  # of subscriptions: more take more than about a millisecond

_HEAD = struct.Struct(">hi")  # version, number of topics
_SIZE = struct.Struct(">h")  # of a topic's name


class MalformedSubscription(ValueError):
    """The bytes are not a subscription."""


def unread_topics(subscriptions: Iterable[bytes], topics: Iterable[str]) -> Generator[None, None, set[str]]:
    """Those of the topics that no subscription names; none if one is malformed, because it may mean any. A task for slices."""
    unread: set[str] = set()
    for place, topic in enumerate(topics):
        if place % PIECE_NAMES == 0:
            yield None
        unread.add(topic)
    before = None
    for subscription in subscriptions:
        yield None
        if not unread:
            break
        if subscription == before:
            continue  # the members of a group mostly read the same
        before = subscription
        try:
            for names in _pieces(subscription):
                unread.difference_update(names)
                yield None
        except MalformedSubscription:
            return set()
    return unread


def _pieces(subscription: bytes) -> Generator[list[str], None, None]:
    """The names in a subscription (version, array of names, ...), at most PIECE_NAMES at a time."""
    try:
        version, count = _HEAD.unpack_from(subscription)
        if version < 0 or count < 0:
            raise MalformedSubscription
        position, end = _HEAD.size, len(subscription)
        for first in range(0, count, PIECE_NAMES):
            names = []
            for _ in range(min(PIECE_NAMES, count - first)):
                (size,) = _SIZE.unpack_from(subscription, position)
                start = position + _SIZE.size
                position = start + size
                if size < 0 or position > end:
                    raise MalformedSubscription
                names.append(subscription[start:position].decode())
            yield names
    except (struct.error, UnicodeDecodeError) as error:
        raise MalformedSubscription from error
