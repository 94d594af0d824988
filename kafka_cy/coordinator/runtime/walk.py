"""A collection that can be walked over in slices while items come and go, without a copy."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class Walk(Generic[T]):
    """Owner: the coordinator's thread. Other threads only call `each` and `len`."""

    def __init__(self) -> None:
        self._items: list[T] = []
        self._places: dict[T, int] = {}

    def __len__(self) -> int:
        return len(self._items)

    def last(self) -> T:
        """Any item; there has to be one."""
        return self._items[-1]

    def add(self, item: T) -> None:
        """Add the item, unless it is there already."""
        if item not in self._places:
            self._places[item] = len(self._items)
            self._items.append(item)

    def discard(self, item: T) -> None:
        """Remove the item if it is there: the last one takes its place."""
        place = self._places.pop(item, None)
        if place is None:
            return
        last = self._items.pop()
        if last is not item:
            self._items[place] = last
            self._places[last] = place

    def each(self) -> Iterator[T]:
        """Every item that stays while this goes on. Any thread.

        From the end to the start: the item that takes the place of a removed one was visited before. It may be visited again.
        """
        place = len(self._items)
        while place > 0:
            place = min(place, len(self._items)) - 1
            try:
                yield self._items[place]
            except IndexError:  # another thread removed items just now
                continue
