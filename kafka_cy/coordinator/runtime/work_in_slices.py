"""Work on many items of a coordinator, in slices."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from kafka_cy.base.slices import AT_ONCE_MAX, Slices, each

T = TypeVar("T")


class WorkInSlices:
    """A part of CoordinatorRuntime, which has the slices."""

    slices: Slices

    def on_fault(self, fault: Exception) -> None:
        """Log a fault that costs only the piece of work in which it was."""
        raise NotImplementedError

    def in_slices(
        self, items: Iterable[T], work: Callable[[T], object], done: Callable[[], object] = lambda: None
    ) -> None:
        """Call `work` for each item, in slices, then `done`. A fault in one does not stop the others."""
        self.slices.add(each(items, work, self.on_fault), done)

    def for_each(self, items: Sequence[T], work: Callable[[T], object], failed: Callable[[T], object]) -> None:
        """Call `work` for each item, in slices if there are many; `failed` for an item with a fault, which is logged."""

        def guarded(item: T) -> None:
            try:
                work(item)
            except Exception as fault:  # noqa: BLE001 the other items have their turn
                self.on_fault(fault)
                failed(item)

        if len(items) > AT_ONCE_MAX:
            self.in_slices(items, guarded)
        else:
            for item in items:
                guarded(item)
