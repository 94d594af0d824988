"""DeleteRecords requests that wait until the followers have deleted, too (Kafka: DelayedDeleteRecords, KIP-107)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from kafka_cy.protocol.errors import ErrorCode

if TYPE_CHECKING:
    from kafka_cy.api.context import Request
    from kafka_cy.base.slices import Slices
    from kafka_cy.server.control_loop import ControlLoop
    from kafka_cy.server.log import BrokerLog

LOOK_INTERVAL_S = 0.05  # a follower needs two fetches: one tells it of the leader's start, the next one tells its own
REQUESTS_MAX = 500
ROWS_MAX = 20_000  # topics and partitions in the responses of all that wait; to look at so many takes some 20 ms, in slices
NO_OFFSET = -1


class Deletion:
    """A partition whose leader has deleted. `row` is its part of the response, and says REQUEST_TIMED_OUT as long as it waits."""

    __slots__ = ("_hosted", "_offset", "row")

    def __init__(self, hosted: Any, offset: int, row: dict[str, Any]) -> None:
        """`offset`: the low watermark that is waited for."""
        self._hosted, self._offset = hosted, offset
        self.row = row
        row.update(low_watermark=NO_OFFSET, error_code=ErrorCode.REQUEST_TIMED_OUT)

    def is_settled(self) -> bool:
        """Whether it waits no more. As in Kafka, the response to a request that timed out has the first low watermark."""
        from kafka_cy.storage.log import StorageFailure

        try:
            low = self._hosted.low_watermark()
        except StorageFailure as failure:
            self.row.update(low_watermark=NO_OFFSET, error_code=ErrorCode(failure.kafka_error_code))
            return True
        if low is not None and low >= self._offset:
            self.row.update(low_watermark=low, error_code=ErrorCode.NONE)
            return True
        if low is not None and self.row["low_watermark"] == NO_OFFSET:
            self.row["low_watermark"] = low
        return False


class _Wait:
    def __init__(self, request: Request[Any], deletions: Sequence[Deletion], rows: int, done: Callable[[], object]) -> None:
        self.request, self.deletions, self.rows, self.done = request, deletions, rows, done
        self.timer: Any = None


class DeleteWaits:
    """Owner: the thread of `loop`. Limits: REQUESTS_MAX and ROWS_MAX. A wait ends with its connection.

    While something waits, a timer looks at the partitions that wait, and at no others: fetches cost nothing more.
    """

    def __init__(self, loop: ControlLoop, slices: Slices, log: BrokerLog) -> None:
        self._loop, self._slices, self._log = loop, slices, log
        self._waits: dict[_Wait, None] = {}
        self._rows = 0
        self._looks = False  # a look is under way, or its timer is set

    @property
    def count(self) -> int:
        """The requests that wait. Any thread."""
        return len(self._waits)

    def wait(
        self, request: Request[Any], deletions: Sequence[Deletion], rows: int, timeout_s: float, done: Callable[[], object]
    ) -> None:
        """Call `done` when all are settled, or after the time-out, or at once beyond the limits. `rows`: of the response."""
        if timeout_s <= 0:
            done()
            return
        if len(self._waits) >= REQUESTS_MAX or self._rows + rows > ROWS_MAX:
            details = {"requests": len(self._waits), "rows": self._rows, **request.sender}
            self._log.repeated("warning", "too many DeleteRecords wait for followers: others are answered at once", details)
            done()
            return
        waiting = _Wait(request, deletions, rows, done)
        waiting.timer = self._loop.call_later(timeout_s, self._end, waiting)
        self._waits[waiting] = None
        self._rows += rows
        if not self._looks:
            self._looks = True
            self._loop.call_later(LOOK_INTERVAL_S, self._look)

    def stop(self) -> None:
        """The loop has ended: let go of the requests that wait."""
        self._waits.clear()

    def _look(self) -> None:
        self._slices.add(self._steps(), self._looked)

    def _looked(self) -> None:
        self._looks = bool(self._waits)
        if self._looks:
            self._loop.call_later(LOOK_INTERVAL_S, self._look)

    def _steps(self) -> Iterator[None]:
        for waiting in list(self._waits):
            left = []
            for deletion in waiting.deletions:
                if waiting not in self._waits:
                    break  # its time is over: the response does not change any more
                if not deletion.is_settled():
                    left.append(deletion)
                yield
            if waiting in self._waits:
                waiting.deletions = left
                if not left or waiting.request.connection_closed:
                    self._end(waiting)

    def _end(self, waiting: _Wait) -> None:
        del self._waits[waiting]
        self._rows -= waiting.rows
        waiting.timer.cancel()
        waiting.done()
