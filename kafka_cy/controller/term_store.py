"""The store as a controller uses it: many requests in flight, every write fenced by the epoch of its term."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from kafka_cy.cluster import znodes
from kafka_cy.cluster.change_size import too_large
from kafka_cy.cluster.store import (
    ANY_VERSION,
    Answers,
    AsyncStore,
    BadVersionError,
    Check,
    ConnectionLost,
    Create,
    Delete,
    Get,
    NoAuthError,
    Node,
    NodeExistsError,
    NoNodeError,
    Operation,
    OutcomeUnknown,
    Request,
    Results,
    SessionExpired,
    Set,
    StoreError,
)
from kafka_cy.controller.events import Answer

RETRY_MS = 100
READ_AT_ONCE = 200
DONE_AT_ONCE = 50  # what is not only read, but decoded or written

Item = TypeVar("Item")


def pieces(items: Sequence[Item], at_once: int = DONE_AT_ONCE) -> Iterator[Sequence[Item]]:
    """The items, some at a time: the controller's thread does other work in between, and the store limits what waits."""
    for start in range(0, len(items), at_once):
        yield items[start : start + at_once]


class TermEnded(Exception):
    """Another controller was elected, or our session ended: nothing that this event does counts any more."""


class TermStore:
    """Owner: the controller's thread. Lifetime: one term.

    A lost connection is waited for. A write whose reply was lost is submitted again: it is conditional, so that it cannot
    happen twice; if the repetition is refused, the nodes tell whether the first one was applied. They cannot have the same
    content from anybody else, because the fence keeps other controllers out and each write of ours is answered before
    another one of the same node.
    """

    def __init__(
        self, store: AsyncStore, epoch_version: int, call_later: Callable[[float, Callable[[], object]], Any]
    ) -> None:
        self._store = store
        self._fence = Check(znodes.CONTROLLER_EPOCH, epoch_version)
        self._call_later = call_later
        self.writes = 0  # fenced changes that were submitted

    async def read(self, requests: Sequence[Request]) -> Answers:
        """The answers, in order. Raises TermEnded."""
        found: Answers = []
        for some in pieces(requests, READ_AT_ONCE):
            found += await self._read(some)
        return found

    async def _read(self, requests: Sequence[Request]) -> Answers:
        while True:
            answers, error = await self._ask(requests)
            if answers is not None:
                return answers
            await self._outlast(error)

    async def read_allowed(self, requests: Sequence[Request]) -> list[Any]:
        """As `read`, but with a NoAuthError in the place of what ZooKeeper refuses. Raises TermEnded."""
        found: list[Any] = []
        for some in pieces(requests, READ_AT_ONCE):
            for request, answer in [(request, self._ask([request])) for request in some]:
                answers, error = await answer
                while answers is None and not isinstance(error, NoAuthError):
                    await self._outlast(error)
                    answers, error = await self._ask([request])
                found.append(error if answers is None else answers[0])
        return found

    def _ask(self, requests: Sequence[Request]) -> Answer[tuple[Answers | None, StoreError | None]]:
        answer: Answer[tuple[Answers | None, StoreError | None]] = Answer()
        self._store.read(requests, lambda answers, error: answer.set((answers, error)))
        return answer

    async def get(self, path: str) -> Node | None:
        """One node."""
        node: Node | None = (await self.read([Get(path)]))[0]
        return node

    async def write(self, changes: Sequence[Sequence[Operation]]) -> list[Results | StoreError]:
        """Submit changes, many at once, each of them atomic; the results or the error of each. Raises TermEnded.

        Errors: NoNodeError, NodeExistsError, BadVersionError, NotEmptyError, ChangeTooLarge; `operation` counts without the fence.
        """
        outcomes: list[Results | StoreError] = []
        for some in pieces(changes):
            outcomes += await self._write(some)
        return outcomes

    async def _write(self, changes: Sequence[Sequence[Operation]]) -> list[Results | StoreError]:
        outcomes: list[Results | StoreError | None] = [too_large([self._fence, *each]) for each in changes]
        unknown: set[int] = set()
        left = [index for index, refusal in enumerate(outcomes) if refusal is None]
        while left:
            answers = [self._submit(changes[index]) for index in left]
            again: list[int] = []
            for index, answer in zip(left, answers, strict=True):
                results, error = await answer
                if isinstance(error, ConnectionLost | OutcomeUnknown):
                    if isinstance(error, OutcomeUnknown):
                        unknown.add(index)
                    again.append(index)
                elif results is not None:
                    outcomes[index] = results
                else:
                    outcomes[index] = self._refused(error)
            if again:
                await self._pause()
            left = again
        for index in unknown:
            if isinstance(outcomes[index], BadVersionError | NodeExistsError | NoNodeError):
                applied = await self._applied(changes[index])
                if applied is not None:
                    outcomes[index] = applied
        return [outcome for outcome in outcomes if outcome is not None]

    def _submit(self, operations: Sequence[Operation]) -> Answer[tuple[Results | None, StoreError | None]]:
        answer: Answer[tuple[Results | None, StoreError | None]] = Answer()

        def done(results: Results | None, error: StoreError | None) -> None:
            answer.set((None if results is None else results[1:], error))

        self.writes += 1
        self._store.submit([self._fence, *operations], done)
        return answer

    def _refused(self, error: StoreError | None) -> StoreError:
        if isinstance(error, SessionExpired):
            raise TermEnded("the session has ended") from error
        assert error is not None
        if error.operation == 0:
            raise TermEnded("another controller was elected") from error
        error.operation -= 1
        return error

    async def _outlast(self, error: StoreError | None) -> None:
        if not isinstance(error, ConnectionLost):
            raise TermEnded(f"the store failed: {error}") from error
        await self._pause()

    async def _pause(self) -> None:
        answer: Answer[None] = Answer()
        self._call_later(RETRY_MS, lambda: answer.set(None))
        await answer

    async def _applied(self, operations: Sequence[Operation]) -> Results | None:
        """The results of a change if the nodes look as it leaves them; else None."""
        nodes: list[Node | None] = await self.read([Get(operation.path) for operation in operations])
        results: Results = []
        for operation, node in zip(operations, nodes, strict=True):
            if isinstance(operation, Create):
                if node is None or node.data != operation.data:
                    return None
                results.append(operation.path)
            elif isinstance(operation, Set):
                if node is None or node.data != operation.data:
                    return None
                if operation.version not in (ANY_VERSION, node.version - 1):
                    return None
                results.append(node.version)
            elif isinstance(operation, Delete):
                if node is not None:
                    return None
                results.append(None)
            else:
                results.append(None)
        return results
