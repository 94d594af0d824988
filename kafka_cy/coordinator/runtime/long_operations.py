"""Operations that take long: their work is done in slices, and what only computes on another thread, between other requests.

One of them is under way at a time. Other operations on its key wait in the key's line (`lines`) from its arrival to its end. So
it sees one state, nobody decides by a part of its records, and all are done in the order in which they came. Its records are one
batch, as those of any operation, so that a start finds all of them or none. One that removes more than a batch can hold stores
several, one after the other: what is left after a crash, or an error, is what a smaller removal leaves.

Work of the coordinator itself arrives when its turn comes: requests on the key do not wait for the work of other keys, and
whoever waited before it is done before it.

The marker of a transaction with many records is applied in the same way. Until its turn comes, the records are as they were.
Meanwhile the producer can neither add to its transaction nor end it once more.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from functools import partial
from typing import Any, Generic, TypeVar

from kafka_cy.base.slices import OVER, Work
from kafka_cy.coordinator.runtime.lines import Lines, Place
from kafka_cy.coordinator.runtime.result import CoordinatorResult
from kafka_cy.coordinator.runtime.shard import AppendFailed, S, Shard
from kafka_cy.coordinator.runtime.stored_waits import Stored
from kafka_cy.protocol.errors import ErrorCode

R = TypeVar("R")
Outcome = tuple[ErrorCode, Any]
Respond = Callable[[ErrorCode, Any], object]  # of a request
#: Looks at the state in steps, as a task for Slices does. The records of a CoordinatorResult that it yields are a batch of their
#: own: they are stored and replayed before it goes on. An error ends it.
LongOperation = Callable[[S], Generator[object, None, CoordinatorResult[R]]]


class LongOperations(Generic[S]):
    """Owner: the coordinator's thread. The callers bound the number: a request has one at most, and a group's assignment."""

    def __init__(self, runtime: Any) -> None:
        """`runtime` is the CoordinatorRuntime that this is a part of."""
        self.busy_key: str | None = None  # of the operation that is under way
        self.lines = Lines(runtime.loop, runtime.slices, self._turn, runtime.on_fault)
        self._runtime = runtime
        self._to_do: deque[Iterator[object]] = deque()
        self._is_working = False  # the slices hold the operations

    def add(
        self, key: str, operation: LongOperation[S, Any], respond: Respond | None, prepare: Iterable[object] | None
    ) -> None:
        """See CoordinatorRuntime.write_long."""
        if respond is None:
            self._add(self._own(key, operation))
            return
        place = self.lines.join(key)
        ready = partial(self.lines.ready, place, self._steps(key, operation, respond))
        if prepare is None:
            ready()
        else:
            self._runtime.slices.add(prepare, ready)

    def insert(self, key: str, operation: LongOperation[S, Any], respond: Respond) -> None:
        """add() for an operation that had its turn in the line just now: it is the next one."""
        self.lines.ready(self.lines.enter(key), self._steps(key, operation, respond))

    def _turn(self, place: Place) -> None:
        """The place is the first of its line, and ready."""
        self._add(self._work(place))

    def _add(self, task: Iterator[object]) -> None:
        self._to_do.append(task)
        if not self._is_working:
            self._is_working = True
            self._runtime.slices.add(self._each(), self._over)

    def apply(
        self, shard: Shard[S], steps: Iterator[str | None], producer_id: int, done: Stored, *, at_once: bool
    ) -> None:
        """Apply the marker of a producer's transaction, now or in slices; `steps` as StateMachine.end_transaction.

        `done` gets NONE, or NOT_COORDINATOR: a step has failed, or the partition was lost.
        """
        shard.busy_producers.add(producer_id)
        task = self._change(shard, steps, producer_id, done)
        if at_once:
            for _ in task:
                pass
        else:
            self._add(task)

    def stop(self) -> None:
        """Drop everything: the loop has ended."""
        self._to_do.clear()
        self.lines.stop()

    def _each(self) -> Iterator[object]:
        while self._to_do:
            try:
                yield from self._to_do.popleft()
            except Exception as fault:  # noqa: BLE001 the other operations have their turn
                self._runtime.on_fault(fault)

    def _over(self) -> None:
        self._is_working = False

    def _own(self, key: str, operation: LongOperation[S, Any]) -> Iterator[object]:
        """The turn of work of the coordinator itself has come; if others wait for the key, it goes behind them."""
        is_free = key not in self.lines
        place = self.lines.join(key)
        steps = self._steps(key, operation, None)
        if is_free:
            place.steps, place.has_turn = steps, True
            yield from self._work(place)
        else:
            self.lines.ready(place, steps)

    def _work(self, place: Place) -> Iterator[object]:
        """Do the first operation of a line."""
        assert place.steps is not None
        self.busy_key = place.line.key
        try:
            yield from place.steps
        except Exception as fault:  # noqa: BLE001 those who wait have their turn
            self._runtime.on_fault(fault)
        self.busy_key = None
        self.lines.leave(place)

    def _steps(self, key: str, operation: LongOperation[S, Any], respond: Respond | None) -> Iterator[object]:
        runtime = self._runtime
        if respond is None:
            respond, shard = _ignore, runtime.replayed_shard(key)
        else:
            error, shard = runtime.shard_of(key)
            if error:
                respond(error, None)
        if shard is None:
            return
        outcome = yield from self._outcome(shard, key, operation)
        runtime.respond(shard, outcome, respond)

    def _outcome(
        self, shard: Shard[S], key: str, operation: LongOperation[S, Any]
    ) -> Generator[object, None, Outcome]:
        try:
            shard.state.hold(key)
        except Exception as fault:  # noqa: BLE001 nothing is held then
            return self._runtime.operation_failed(key, fault)  # type: ignore[no-any-return]
        try:
            outcome = yield from self._while_loaded(shard, self._operate(shard, key, operation))
        except Exception as fault:  # noqa: BLE001 nothing has changed: only this request fails
            outcome = self._runtime.operation_failed(key, fault)
        self._runtime.release(shard, key)
        return outcome

    def _change(
        self, shard: Shard[S], steps: Iterator[str | None], producer_id: int, done: Stored
    ) -> Iterator[object]:
        """Take the steps; the key of which only a part has changed is busy."""
        held: Place | None = None
        while self._runtime.shards.get(shard.index) is shard:
            try:
                held = self._move(shard, held, next(steps))
            except StopIteration:
                break
            except Exception as fault:  # noqa: BLE001 the log is right, the memory may not be: load it again
                self._runtime.load_again(shard, fault)
                break
            yield None
        is_lost = self._runtime.shards.get(shard.index) is not shard
        shard.busy_producers.discard(producer_id)
        self._guard(partial(done, ErrorCode.NOT_COORDINATOR if is_lost else ErrorCode.NONE))
        self._move(shard, held, None)

    def _move(self, shard: Shard[S], before: Place | None, key: str | None) -> Place | None:
        """Another key is busy from now on, or none. An exception leaves all as it was."""
        if key == (before.line.key if before is not None else None):
            return before
        place = None
        if key is not None:
            shard.state.hold(key)
            place = self.lines.enter(key)
            place.has_turn = True
        self.busy_key = key
        if before is not None:
            self._runtime.release(shard, before.line.key)
            self.lines.leave(before)
        return place

    def _while_loaded(self, shard: Shard[S], steps: Generator[object, None, Outcome]) -> Generator[object, None, Outcome]:
        """What `steps` return, or NOT_COORDINATOR as soon as the partition is lost, or loaded anew."""
        while True:
            try:
                step = next(steps)
            except StopIteration as end:
                outcome: Outcome = end.value
                return outcome
            yield step
            if self._runtime.shards.get(shard.index) is not shard:
                steps.close()
                return ErrorCode.NOT_COORDINATOR, None

    def _operate(
        self, shard: Shard[S], key: str, operation: LongOperation[S, Any]
    ) -> Generator[object, None, Outcome]:
        steps = operation(shard.state)
        try:
            while True:
                try:
                    step = next(steps)
                except StopIteration as end:
                    result: CoordinatorResult[Any] = end.value
                    break
                if not isinstance(step, CoordinatorResult):
                    yield step
                elif error := (yield from self._do(shard, key, step)):
                    return error, None
        finally:
            steps.close()
        error = yield from self._do(shard, key, result)
        return error, None if error else result.response

    def _do(self, shard: Shard[S], key: str, result: CoordinatorResult[Any]) -> Generator[object, None, ErrorCode]:
        """Do what the result asks for."""
        if shard.is_busy(result.producer):
            return ErrorCode.CONCURRENT_TRANSACTIONS
        if result.records:
            error = ErrorCode.NOT_COORDINATOR  # if the partition is lost meanwhile: the task is closed
            try:
                error = yield from self._store(shard, key, result)
            finally:
                if error and result.failed is not None:
                    self._runtime.run_change(key, partial(result.failed, error))
            if error:
                return error
        if result.apply is not None and not self._runtime.run_change(key, result.apply):
            return ErrorCode.UNKNOWN_SERVER_ERROR
        if result.apply_steps is not None and not (yield from self._apply_steps(key, result.apply_steps())):
            return ErrorCode.UNKNOWN_SERVER_ERROR
        return ErrorCode.NONE

    def _apply_steps(self, key: str, steps: Iterator[object]) -> Generator[object, None, bool]:
        """Change the soft state in steps. False: there was a fault in one, and the soft state has begun anew."""
        is_over = False

        def step() -> None:
            nonlocal is_over
            is_over = next(steps, OVER) is OVER

        while self._runtime.run_change(key, step):
            if is_over:
                return True
            yield None
        return False

    def _store(self, shard: Shard[S], key: str, result: CoordinatorResult[Any]) -> Generator[object, None, ErrorCode]:
        """Append the records and replay them."""
        runtime, records = self._runtime, result.records
        building = Work(runtime.batch_maker(shard, result))
        if result.batch is None:
            yield building
        else:
            building.run()
        try:
            first = runtime.append(shard, _built(building), len(records))
        except AppendFailed as failure:
            failed: ErrorCode = runtime.append_failed(key, failure)
            return failed
        producers = {result.producer[0]} if result.producer is not None else set()
        shard.busy_producers |= producers
        try:
            yield from shard.replay_steps(records, first, result.producer)
        except Exception as fault:  # noqa: BLE001 the log is right, the memory may not be: load it again
            runtime.load_again(shard, fault)
            return ErrorCode.NOT_COORDINATOR
        shard.busy_producers -= producers
        return ErrorCode.NONE

    def _guard(self, call: Callable[[], object]) -> None:
        try:
            call()
        except Exception as fault:  # noqa: BLE001 the operations that wait have their turn
            self._runtime.on_fault(fault)


def _built(building: Work[bytes]) -> bytes:
    """The batch. Raises AppendFailed, also if no thread could be started."""
    try:
        return building.result()
    except AppendFailed:
        raise
    except Exception as error:
        raise AppendFailed(ErrorCode.UNKNOWN_SERVER_ERROR, str(error) or repr(error)) from error


def _ignore(error: ErrorCode, response: Any) -> None:
    """Nobody waits for the response."""
