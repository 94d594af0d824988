"""Steps over the metadata store as coroutines: each `await` is an answer of the store. Nothing but its owner's loop is needed.

The coroutines run on the owner's thread, from one answer to the next; no event loop of asyncio exists.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator, Sequence
from typing import Any, Generic, TypeVar

from kafka_cy.cluster.store import (
    ANY_VERSION,
    Answers,
    AsyncStore,
    Check,
    ConnectionLost,
    Create,
    Exists,
    NoAuthError,
    NodeExistsError,
    NoNodeError,
    Operation,
    OutcomeUnknown,
    Request,
    Results,
    SessionExpired,
    StoreError,
)

RETRY_MS = 100.0

T = TypeVar("T")
CallLater = Callable[[float, Callable[[], object]], Any]  # (delay in ms, function)


class Answer(Generic[T]):
    """A value that comes later. One coroutine waits for it at most."""

    def __init__(self) -> None:
        self._values: list[T] = []
        self._resume: Callable[[], None] | None = None

    def set(self, value: T) -> None:
        """The value is there; later ones do not count."""
        if not self._values:
            self._values.append(value)
            if self._resume is not None:
                self._resume()

    def then(self, resume: Callable[[], None]) -> None:
        """Call this when the value is there."""
        self._resume = resume

    def __await__(self) -> Generator[Answer[T], None, T]:
        if not self._values:
            yield self
        return self._values[0]


def run(steps: Coroutine[Answer[Any], None, T], done: Callable[[T | None, Exception | None], object]) -> None:
    """Run a coroutine until it ends; `done` gets its result or what it raised, within this call if it has not to wait."""

    def resume() -> None:
        try:
            answer = steps.send(None)
        except StopIteration as end:
            done(end.value, None)
        except Exception as fault:  # noqa: BLE001 the caller says what becomes of it
            done(None, fault)
        else:
            answer.then(resume)

    resume()


class StoreCalls:
    """The store for coroutines. Owner: the store's. All calls belong to the session of now, or to the first one."""

    def __init__(self, store: AsyncStore, call_later: CallLater) -> None:
        self._store, self._call_later = store, call_later
        self._session_id = store.session_id

    async def read(self, *requests: Request) -> Answers:
        """The answers; waits while the connection is lost. Raises SessionExpired."""
        while True:
            self.check_session()
            answer: Answer[tuple[Answers | None, StoreError | None]] = Answer()
            self._store.read(requests, _setter(answer))
            answers, error = await answer
            if error is None:
                self._session_id = self._session_id or self._store.session_id
                return answers or []
            if not isinstance(error, ConnectionLost):
                raise error
            await self.sleep(RETRY_MS)

    async def catch_up(self) -> None:
        """Later reads of this session see all that was stored before: the server that is asked may be behind the others.

        A server applies changes in their order, and answers this one, which changes nothing, when it has applied it.
        """
        while True:
            try:
                await self.change(Check("/", ANY_VERSION))
            except (NoNodeError, NoAuthError):  # not there yet, or not to be read; the refusal has come from the leader, too
                return
            except OutcomeUnknown:
                continue
            else:
                return

    async def change(self, *operations: Operation) -> Results:
        """The results. Waits while the connection is lost and the change was not sent. Raises StoreError, OutcomeUnknown too."""
        return (await self.changes([operations]))[0]

    async def changes(self, many: Sequence[Sequence[Operation]]) -> list[Results]:
        """Submit many changes at once; the results. Raises the first error, after the last answer."""
        outcomes = await self.try_changes(many)
        for _, error in outcomes:
            if error is not None:
                raise error
        return [results or [] for results, _ in outcomes]

    async def try_changes(self, many: Sequence[Sequence[Operation]]) -> list[tuple[Results | None, StoreError | None]]:
        """Submit many changes at once; the outcome of each."""
        self.check_session()
        answers: list[Answer[tuple[Results | None, StoreError | None]]] = []
        for operations in many:
            answer: Answer[tuple[Results | None, StoreError | None]] = Answer()
            answers.append(answer)
            self._store.submit(operations, _setter(answer))
        outcomes = [await each for each in answers]
        for index, operations in enumerate(many):
            while isinstance(outcomes[index][1], ConnectionLost):
                await self.sleep(RETRY_MS)
                again: Answer[tuple[Results | None, StoreError | None]] = Answer()
                self._store.submit(operations, _setter(again))
                outcomes[index] = await again
        return outcomes

    async def create_missing(self, paths: Sequence[str]) -> None:
        """Create nodes without data, and their parents, where they are missing."""
        wanted = sorted({parent for path in paths for parent in _with_parents(path)})
        while True:
            found = await self.read(*[Exists(path) for path in wanted])
            missing = [path for path, node in zip(wanted, found, strict=True) if node is None]
            if not missing:
                return
            try:
                await self.change(*[Create(path) for path in missing])
            except (NodeExistsError, OutcomeUnknown):
                continue  # somebody else creates them, too; or look what became of it

    async def sleep(self, delay_ms: float) -> None:
        """Wait. Raises SessionExpired if the session is another one afterwards."""
        answer: Answer[None] = Answer()
        self._call_later(delay_ms, lambda: answer.set(None))
        await answer
        self.check_session()

    def check_session(self) -> None:
        """Raises SessionExpired if the session of the first call has ended."""
        if self._session_id and self._store.session_id != self._session_id:
            raise SessionExpired("the session has ended")


def _setter(answer: Answer[tuple[Any, StoreError | None]]) -> Callable[[Any, StoreError | None], object]:
    return lambda value, error: answer.set((value, error))


def _with_parents(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[: count + 1]) for count in range(1, len(parts))]
