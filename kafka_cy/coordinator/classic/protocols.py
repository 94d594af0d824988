"""The protocols (assignors) that members of a classic group propose, and which one is chosen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Container, Iterable

from kafka_cy.coordinator.classic.member import Member

CONSUMER_PROTOCOL_TYPE = "consumer"


def common_protocols(members: Iterable[Member]) -> set[str]:
    """The names that every member proposes."""
    common: set[str] | None = None
    for member in members:
        names = {name for name, _ in member.protocols}
        common = names if common is None else common & names
    return common or set()


def select_protocol(members: Collection[Member], common: Container[str] | None = None) -> str | None:
    """Each member votes for the first of its protocols that all know; the earliest of the most voted wins.

    `common`: those that all know, if the caller knows them.
    """
    if common is None:
        common = common_protocols(members)
    votes: Counter[str] = Counter()
    for member in members:
        first = next((name for name, _ in member.protocols if name in common), None)
        if first is not None:
            votes[first] += 1
    return votes.most_common(1)[0][0] if votes else None
