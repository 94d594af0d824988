"""The log manager's thread: moves, flush.ms, delayed removal, retention, checkpoints, failed directories."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Protocol

from kafka_cy.base.named_thread import NamedThread
from kafka_cy.storage.hosted_logs import HostedLogs
from kafka_cy.storage.hosted_partition import HostedPartition
from kafka_cy.storage.log import StorageFailure
from kafka_cy.storage.log_moves import LogMoves
from kafka_cy.storage.removals import again, remove

FAILURES_CHECK_S = 0.25  # compares one integer
PAUSE_MIN_S = 0.02  # whatever flush.ms is, and other intervals: each turn looks at all partitions
PAUSE_OF_FLUSH_TIME = 9  # the pause is so many times the CPU time of the last look at flush.ms: a tenth of a core at most
PAUSE_MAX_S = 10.0
SAME_ERROR_AGAIN_S = 60.0
ROLL_RECOVERED_BYTES = 1 << 20  # smaller segments are recovered again: rolling them would create many small files


class CopyPace(Protocol):
    """How fast moves may copy: quota.replication_quota."""

    def record(self, kind: str, size: int) -> None: ...
    def wait_ms(self, kind: str) -> int: ...


class LogUpkeep:
    """Owner: LogManager. Calls `on_uncleanable(partition, why)` for a log that cannot be compacted."""

    def __init__(
        self,
        hosted: HostedLogs,
        retention_check_s: float,
        producers_check_s: float,
        checkpoint_s: float,
        on_uncleanable: Callable[[HostedPartition, str], None] | None,
        high_watermark_s: float | None = None,
        copy_pace: CopyPace | None = None,
    ) -> None:
        self.moves = LogMoves(hosted, lambda: self._stopping, self._copied)
        self._copy_pace = copy_pace
        self._hosted = hosted
        self._retention_check_s = retention_check_s
        self._producers_check_s = producers_check_s
        self._checkpoint_s = checkpoint_s
        self._high_watermark_s = high_watermark_s
        self._next_retention = self._next_producers_check = self._next_checkpoint = 0.0
        self._next_high_watermarks = float("inf")
        self._next_work = 0.0  # while a move copies: the work looks at all partitions, too much for each piece
        self._on_uncleanable = on_uncleanable
        self._pause_min_s = PAUSE_MIN_S
        self._failing_told = float("-inf")
        self._reported: dict[str, tuple[str, float]] = {}  # by kind of work: its last error, and when it was logged
        self._recovered: list[HostedPartition] = []
        self._stopping = False
        self._stopped = threading.Event()
        self._thread: NamedThread | None = None

    def start(self, recovered: list[HostedPartition]) -> None:
        """Start the thread. `recovered`: after an unclean stop, the recovered partitions, so that the next start skips
        them."""
        now = time.monotonic()
        self._next_retention = now + self._retention_check_s
        self._next_producers_check = now + self._producers_check_s
        self._next_checkpoint = now if recovered else now + self._checkpoint_s
        if self._high_watermark_s is not None:
            self._next_high_watermarks = now + self._high_watermark_s
        self._recovered = recovered
        thread = NamedThread(target=self._run, name="log-manager", daemon=True)
        thread.start()
        self._thread = thread  # only now: stop() waits for a thread that runs

    def stop(self) -> None:
        """Stop the thread after its current piece of work."""
        self._stopping = True
        self._stopped.set()
        self._hosted.wake.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while True:
            if not self._guarded(self._wait):
                self._hosted.wake.wait(FAILURES_CHECK_S)
            if self._stopping:
                return
            self._guarded(self._roll_recovered)
            self._guarded(self.moves.run)
            self._work()

    def _work(self) -> None:
        for work in (
            self._hosted.compacted.restart_if_due,
            self._after_cleaning,
            self._flush_by_time,
            self._run_removals,
            self._retention_if_due,
            self._expire_producers_if_due,
            self._checkpoints_if_due,
            self._high_watermarks_if_due,
            self._hosted.check_directories,
        ):
            self._guarded(work)
        self._next_work = time.monotonic() + FAILURES_CHECK_S

    def _copied(self, size: int) -> None:
        """A move copied so many bytes: wait while that is too fast. The other work goes on.

        A move that has come to nothing does not hold up the next one.
        """
        if self._copy_pace is None:
            return
        self._copy_pace.record("log dirs", size)
        while not self.moves.is_over():
            wait_ms = self._copy_pace.wait_ms("log dirs")
            if time.monotonic() >= self._next_work:
                self._work()
            if not wait_ms:
                return
            self._stopped.wait(min(wait_ms / 1000, FAILURES_CHECK_S))

    def _guarded(self, work: Callable[[], None]) -> bool:
        """Run one kind of work; a failure does not stop the others. The same error is logged once a minute. False on
        failure."""
        try:
            work()
            return True
        except Exception as error:  # noqa: BLE001 one kind of work must not end the others
            name, text, now = work.__name__.strip("_"), repr(error), time.monotonic()
            before, logged = self._reported.get(name, ("", 0.0))
            if text != before or now - logged >= SAME_ERROR_AGAIN_S:
                self._reported[name] = (text, now)
                self._hosted.warn("a task of the log manager failed", task=name, error=text)
            return False

    def _wait(self) -> None:
        """Wait for work. Reactors cannot wake Python threads, so this polls for their failures."""
        hosted = self._hosted
        until = time.monotonic() + self._pause_s()
        while not hosted.wake.wait(max(0.0, min(FAILURES_CHECK_S, until - time.monotonic()))):
            if hosted.has_new_failures:
                hosted.check_directories()
            if time.monotonic() >= until or hosted.compacted.rounds_ended:
                return
        hosted.wake.clear()

    def _pause_s(self) -> float:
        due = min(
            self._next_retention, self._next_producers_check, self._next_checkpoint, self._next_high_watermarks,
            self._hosted.next_removal,
        )  # fmt: skip
        wanted = min(due - time.monotonic(), self._hosted.shortest_flush_ms() / 2000)
        return min(max(wanted, self._pause_min_s), PAUSE_MAX_S)

    def _roll_recovered(self) -> None:
        """Recovery reads the segment with the recovery point from its beginning, so a large one is closed once."""
        recovered, self._recovered = self._recovered, []
        for partition in recovered:
            segments = partition.log.segments()
            if segments and segments[-1][1] >= ROLL_RECOVERED_BYTES:
                try:
                    partition.log.roll()
                    partition.log.flush()
                except StorageFailure:
                    continue  # check_directories() takes its directory offline

    def _flush_by_time(self) -> None:
        begun = time.thread_time()
        now_ms = int(time.time() * 1000)
        for partition in self._hosted.working():
            flush_ms = int(self._hosted.config_of(partition.topic).get("flush.ms", 1 << 62))
            log = partition.log
            if log.recovery_point < log.log_end_offset and now_ms - log.last_flush_ms >= flush_ms:
                try:
                    log.flush()
                except StorageFailure:
                    continue  # check_directories() takes its directory offline
        self._pause_min_s = max(PAUSE_MIN_S, PAUSE_OF_FLUSH_TIME * (time.thread_time() - begun))

    def apply_retention(self, now_ms: int | None = None) -> int:
        """Retire old segments of every partition. Returns the number of retired segments."""
        total = 0
        now = int(time.time() * 1000) if now_ms is None else now_ms
        for partition in self._hosted.working():
            try:
                count = partition.log.delete_old_segments(partition.high_watermark, now)
            except StorageFailure:
                continue
            if count:
                total += count
                self._hosted.remove_later(partition.log.directory, self._hosted.delete_delay_ms(partition.topic))
        return total

    def _retention_if_due(self) -> None:
        if time.monotonic() >= self._next_retention:
            self._next_retention = time.monotonic() + self._retention_check_s
            self.apply_retention()

    def expire_producers(self, now_ms: int | None = None) -> None:
        """Forget the producers that have written nothing for `producer.id.expiration.ms`, in every partition."""
        now = int(time.time() * 1000) if now_ms is None else now_ms
        for partition in self._hosted.working():
            partition.log.expire_producers(now)

    def _expire_producers_if_due(self) -> None:
        if time.monotonic() >= self._next_producers_check:
            self._next_producers_check = time.monotonic() + self._producers_check_s
            self.expire_producers()

    def _checkpoints_if_due(self) -> None:
        if time.monotonic() >= self._next_checkpoint:
            self._next_checkpoint = time.monotonic() + self._checkpoint_s
            self._hosted.write_checkpoints()

    def _high_watermarks_if_due(self) -> None:
        if self._high_watermark_s is not None and time.monotonic() >= self._next_high_watermarks:
            self._next_high_watermarks = time.monotonic() + self._high_watermark_s
            self._hosted.write_high_watermarks()

    def _run_removals(self) -> None:
        hosted = self._hosted
        for folder, removal in hosted.take_due_removals().items():
            try:
                left = remove(folder, removal)
            except Exception as error:  # noqa: BLE001 the other folders have their turn; out of descriptors, an import fails
                left, why = again(removal), repr(error)
            else:
                why = "some of it cannot be deleted"
            if left is None:
                continue
            if left.failed and not removal.failed:
                hosted.warn("a removal failed, and is tried again", folder=folder, reason=why)
            hosted.plan_removal(folder, left)

    def _after_cleaning(self) -> None:
        """After cleaning rounds: checkpoint the clean offsets, schedule removal of replaced files, report uncleanable
        logs."""
        hosted = self._hosted
        if not hosted.compacted.rounds_ended:
            return
        replaced, uncleanable = hosted.compacted.look_after(hosted.hosted())
        for partition in replaced:
            hosted.remove_later(partition.log.directory, hosted.delete_delay_ms(partition.topic))
        for partition in uncleanable:
            hosted.tell(self._on_uncleanable, partition, partition.log.uncleanable)
        self._tell_failing()
        hosted.write_cleaned_offsets()

    def _tell_failing(self) -> None:
        """Name one of the logs whose rounds lack space, memory or descriptors; at most once a minute."""
        failing = list(self._hosted.compacted.failing.values())
        now = time.monotonic()
        if failing and now - self._failing_told >= SAME_ERROR_AGAIN_S:
            self._failing_told = now
            partition, why = failing[0]
            text = "a log cannot be compacted now: it is tried again"
            self._hosted.warn(text, topic=partition.topic, partition=partition.index, error=why, logs=len(failing))
