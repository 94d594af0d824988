"""A request that changes many entities works on a few at a time, so that the controller's loop serves others in between."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Generator, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, TypeVar

from kafka_cy.base.slices import WAITS
from kafka_cy.cluster.store import StoreBroken
from kafka_cy.cluster.topic_changes import PIECE_PARTITIONS

if TYPE_CHECKING:
    from kafka_cy.api.context import Request
    from kafka_cy.base.slices import Slices
    from kafka_cy.cluster.topic_changes import TopicChanges

PIECE_ENTITIES: Final = 16  # stored in one transaction: they take about a millisecond, and the disk as long as one does
FOLDERS_AT_ONCE_MAX: Final = 8  # that are created or renamed at once; each takes 0.1 to 0.3 ms
TOPIC_AT_ONCE_MAX: Final = 256  # partitions of topics that get a new node and a new image at once
ENTRIES_AT_ONCE: Final = 256  # partitions of an assignment, or settings, that are made or checked in one step; about 0.4 ms
NAMES_AT_ONCE: Final = 1024  # that are counted in one step
T = TypeVar("T")


def pieces_of(topics: Iterable[T], partitions: Callable[[T], int]) -> Iterator[list[T]]:
    """Topics that are stored together: each piece has PIECE_ENTITIES and PIECE_PARTITIONS at most, or is one topic."""
    piece: list[T] = []
    count = 0
    for topic in topics:
        more = partitions(topic)
        if piece and (len(piece) == PIECE_ENTITIES or count + more > PIECE_PARTITIONS):
            yield piece
            piece, count = [], 0
        piece.append(topic)
        count += more
    if piece:
        yield piece


def is_quick(changes: TopicChanges, names: Iterable[str], partitions: int, *, validate_only: bool = False) -> bool:
    """Whether topics with so many partitions can be changed at once: few folders, and no other change of them in progress.

    `validate_only`: they are only checked, without folders.
    """
    most = ENTRIES_AT_ONCE if validate_only else FOLDERS_AT_ONCE_MAX
    return partitions <= most and not any(changes.is_busy(name) for name in names)


def has_passed(timeout: timedelta) -> bool:
    """Whether the time-out of a request is over before it is looked at: Kafka's controller changes nothing then."""
    return timeout <= timedelta(0)


def one_answer(request: Request[Any], count: int, make: Callable[[], dict[str, Any]]) -> dict[str, Any] | None:
    """The response to a request whose `count` entities all get the same answer. Another thread makes one that has many."""
    if count <= PIECE_ENTITIES:
        return make()
    request.respond_long(lambda ready: ready(make))
    return None


def in_steps(items: Iterable[T]) -> Generator[None, None, list[T]]:
    """The list of the items, of which a few are made in each step."""
    made: list[T] = []
    for item in items:
        made.append(item)
        if len(made) % ENTRIES_AT_ONCE == 0:
            yield
    return made


def counted(names: Iterable[T]) -> Generator[None, None, Counter[T]]:
    """How often each name occurs."""
    times: Counter[T] = Counter()
    for count, name in enumerate(names, 1):
        times[name] += 1
        if count % NAMES_AT_ONCE == 0:
            yield
    return times


def when_free(changes: TopicChanges, names: Collection[str]) -> Iterator[object]:
    """Wait until none of the topics is being changed in steps by another request."""
    while any(changes.is_busy(name) for name in names):
        yield WAITS


@contextmanager
def stored_together(batch: AbstractContextManager[None], lines: list[T]) -> Iterator[list[T]]:
    """A batch of changes; what the context adds to `lines`, which it gets, is removed again if the changes were not stored."""
    begin = len(lines)
    try:
        with batch:
            yield lines
    except StoreBroken:
        del lines[begin:]
        raise


def with_lines(steps: Iterable[object], write_lines: Callable[[], object]) -> Iterator[object]:
    """The steps, then the lines of the broker's log: also of what was stored before a fault."""
    try:
        yield from steps
    finally:
        write_lines()


def add_task(request: Request[Any], slices: Slices, steps: Iterable[object], done: Callable[[], object]) -> None:
    """Work on a request in slices, then call `done`. A fault in either ends the request, and `done` is not called."""

    slices.add(guarded(request, steps), request.guarded(lambda: None if request.responded else done()))


def guarded(request: Request[Any], steps: Iterable[object]) -> Iterator[object]:
    """The steps; a fault in one ends the request as a fault of its handler does."""
    try:
        yield from steps
    except Exception as error:
        if request.fail is None:
            raise
        request.fail(request, error)
