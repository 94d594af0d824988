"""The topics that the members of a group name, and those that it will name after a change.

Nothing here copies or walks all names, except where it says so: clients may make a group name hundreds of thousands of topics that
do not exist, and every heartbeat that changes something asks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from operator import lt
from typing import Any, Final

PIECE_NAMES: Final = 2000  # that one step counts, in less than half a millisecond


def in_pieces(changes: Iterable[tuple[Callable[[Iterable[str], int], object], Iterable[str], int]]) -> Iterator[None]:
    """Call (what counts names)(names, change) for all of them, PIECE_NAMES in each step. A task for slices."""
    count = 0
    for counts, names, change in changes:
        left = iter(names)
        while piece := tuple(islice(left, PIECE_NAMES - count)):
            counts(piece, change)
            count += len(piece)
            if count >= PIECE_NAMES:
                yield
                count = 0


def count_names(counts: Counter[str], names: Iterable[str], change: int) -> None:
    """Add `change` to the count of each name; no name stays with a count of 0."""
    for name in names:
        count = counts[name] + change
        if count > 0:
            counts[name] = count
        else:
            counts.pop(name, None)


def distinct(names: Sequence[str]) -> tuple[str, ...]:
    """The names in order, each once. Stored ones are so already, and need no sorting."""
    is_ordered = all(map(lt, names, islice(names, 1, None)))
    return tuple(names) if is_ordered else tuple(sorted(set(names)))


def names_count(members: Iterable[Any]) -> int:
    """How many topics the members of a consumer or share group name."""
    return sum(len(member.details.subscribed_topic_names) for member in members)


class ChangedNames(Collection[str]):
    """The names with a count above 0, after changes that are kept beside the counts. Valid until the counts change."""

    def __init__(self, counts: Mapping[str, int]) -> None:
        self._counts = counts
        self._changes: Counter[str] = Counter()

    def change(self, names: Iterable[str], change: int) -> None:
        """Add `change` to the count of each name."""
        for name in names:
            self._changes[name] += change

    def __contains__(self, name: object) -> bool:
        return self._counts.get(name, 0) + self._changes.get(name, 0) > 0  # type: ignore[call-overload, no-any-return]

    def __len__(self) -> int:
        return len(self._counts) + sum((name in self) - (name in self._counts) for name in self._changes)

    def __iter__(self) -> Iterator[str]:
        """All names."""
        yield from (name for name in self._counts if name in self)
        yield from (name for name in self._changes if name not in self._counts and name in self)


class EitherNames(Collection[str]):
    """The names of two collections."""

    def __init__(self, one: Collection[str], other: Collection[str]) -> None:
        self._one = one
        self._other = other

    def __contains__(self, name: object) -> bool:
        return name in self._one or name in self._other

    def __len__(self) -> int:
        """At most so many: names of both count twice."""
        return len(self._one) + len(self._other)

    def __iter__(self) -> Iterator[str]:
        """All names."""
        yield from self._one
        yield from (name for name in self._other if name not in self._one)
