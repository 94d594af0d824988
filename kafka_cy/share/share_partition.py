"""A share group's consumption of one partition that this broker leads (KIP-932; Kafka: SharePartition).

The stored state is read once. After that the records in flight live in memory (in_flight), where reactors use them too, and every
change of them is stored with the share coordinator before it counts.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from kafka_cy.coordinator.share.state_coordinator import ShareCoordinator
from kafka_cy.coordinator.share.state_machine import SharePartition as PartitionKey
from kafka_cy.coordinator.share.state_machine import ShareState
from kafka_cy.coordinator.share.state_writes import StateWrite
from kafka_cy.protocol.errors import ErrorCode
from kafka_cy.share.acknowledgements import Acknowledgements
from kafka_cy.share.beginnings import Beginnings
from kafka_cy.share.group_series import GroupSeries
from kafka_cy.share.group_totals import GroupCounts
from kafka_cy.share.in_flight import Change, InFlight
from kafka_cy.share.in_flight_values import Acquired, Limits
from kafka_cy.share.log_reader import read_batches
from kafka_cy.share.share_totals import ShareCounts
from kafka_cy.share.shared_records import version_of_terms

NO_START_OFFSET = -1
RETRY_S = 1.0  # between two attempts to release locks that have expired
Respond = Callable[[ErrorCode], object]
Write = Callable[[StateWrite, Respond], object]  # stores it, and responds then

# What a client is told when the share coordinator does not store or show the state (SharePartition.fetchPersisterError).
ERRORS_OF_CLIENTS = {
    ErrorCode.NOT_COORDINATOR: ErrorCode.COORDINATOR_NOT_AVAILABLE,
    ErrorCode.COORDINATOR_LOAD_IN_PROGRESS: ErrorCode.COORDINATOR_NOT_AVAILABLE,
    ErrorCode.COORDINATOR_NOT_AVAILABLE: ErrorCode.COORDINATOR_NOT_AVAILABLE,
    ErrorCode.FENCED_LEADER_EPOCH: ErrorCode.NOT_LEADER_OR_FOLLOWER,
    ErrorCode.FENCED_STATE_EPOCH: ErrorCode.NOT_LEADER_OR_FOLLOWER,
    ErrorCode.UNKNOWN_TOPIC_OR_PARTITION: ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
    ErrorCode.GROUP_ID_NOT_FOUND: ErrorCode.GROUP_ID_NOT_FOUND,
}
# Someone else leads the partition, or the group does not read it any more: the state in memory is void.
FENCING = {
    ErrorCode.FENCED_LEADER_EPOCH,
    ErrorCode.FENCED_STATE_EPOCH,
    ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
    ErrorCode.INVALID_REQUEST,  # the state was deleted
}


class GroupSettings(NamedTuple):
    """The settings of a share group.

    `first_offset` says where to begin: it gets the hosted partition. What has to be looked up in the log is a call that may wait
    for a disk.
    """

    limits: Limits
    committed: bool  # share.isolation.level is read_committed
    first_offset: Callable[[Any], int | Callable[[], int]]
    renews: bool = True  # share.renew.acknowledge.enable


class Wanted(NamedTuple):
    """How much a fetch wants."""

    bytes_max: int
    records_max: int
    batch_size: int
    strict: bool


class Delivered(NamedTuple):
    """What a fetch got."""

    records: bytes
    acquired: list[Acquired]
    acquirable: bool  # whether it could lock records, if the log has any


NOTHING = Delivered(b"", [], acquirable=False)
NO_RECORDS = Delivered(b"", [], acquirable=True)


class SharePartition:
    """Owner: the thread of the loop that is passed in. Limit: the group's record locks (`Limits.records_in_flight`)."""

    def __init__(
        self,
        key: PartitionKey,
        hosted: Any,  # storage's HostedPartition
        coordinator: ShareCoordinator,
        loop: Any,
        settings: Callable[[], GroupSettings],
        changed: Callable[[SharePartition], object],  # records became available
        counts: ShareCounts | None = None,
        closed: Callable[[int], object] = lambda number: None,  # InFlight.number
        series: GroupSeries | None = None,
        beginnings: Beginnings | None = None,
    ) -> None:
        self.key = key
        self.hosted = hosted
        self.leader_epoch: int = hosted.leader_epoch
        self.coordinator = coordinator
        self.loop = loop
        self.settings = settings
        self.changed = changed
        self.closed = closed
        self.counts = counts if counts is not None else ShareCounts()
        self._series = series if series is not None else GroupSeries()
        self._beginnings = beginnings if beginnings is not None else Beginnings(loop, coordinator.log)
        self.group_counts: GroupCounts | None = None  # None as well for a group without metrics of its own
        self.in_flight: InFlight | None = None  # None until the state was read
        self.error = ErrorCode.NONE  # why the partition cannot be used; whoever asks next begins anew
        self.state_epoch = 0
        self._waiting: list[Respond] = []  # for the state
        self._read_begun_s = 0.0
        self._timer: Any = None  # set while records are locked
        self._timer_s = 0.0
        self._storing = 0  # changes that are being stored
        # While a write that was put off is under way, all others go the same way: none overtakes another, so that the stored
        # start offset never goes back.
        self._write: Write = coordinator.write

    # -- beginning and end --

    def when_ready(self, respond: Respond) -> None:
        """Call `respond` when the stored state has been read, with the error if it could not."""
        if self.in_flight is not None or self.error:
            respond(self.error)
            return
        self._waiting.append(respond)
        if len(self._waiting) == 1:
            self._read_begun_s = self.loop.now()
            try:
                self.coordinator.read(self.key, self.leader_epoch, self._read)
            except Exception as fault:  # noqa: BLE001 else it would be waited for for good
                self._failed(fault)

    def _read(self, error: ErrorCode, state: ShareState | None) -> None:
        if self.error:
            return  # it was closed meanwhile
        if error or state is None:
            self.error = ERRORS_OF_CLIENTS.get(error, ErrorCode.UNKNOWN_SERVER_ERROR)
            self._answered()
            return
        try:
            offset = state.start_offset
            first = self.settings().first_offset(self.hosted) if offset == NO_START_OFFSET else offset
            if not isinstance(first, int):
                self._beginnings.look_up(first, partial(self._begin, state))
                return
        except Exception as fault:  # noqa: BLE001 those who wait are told
            self._failed(fault)
            return
        self._begin(state, lambda: first)

    def _begin(self, state: ShareState, first_offset: Callable[[], int]) -> None:
        if self.error:
            return  # it was closed meanwhile
        group_counts: GroupCounts | None = None
        try:
            start_offset = first_offset()
            group_counts = self._series.opened(self.key.group_id)
            self.in_flight = InFlight(start_offset, state.batches, self.hosted, self.counts, group_counts)
        except Exception as fault:  # noqa: BLE001 those who wait are told
            if group_counts is not None:
                self._series.closed(self.key.group_id)
            self._failed(fault)
            return
        self.state_epoch, self.group_counts = state.state_epoch, group_counts
        self._answered()

    def _failed(self, fault: Exception) -> None:
        """It cannot begin. Kafka: SharePartition.completeInitializationWithException."""
        self.error = ErrorCode.KAFKA_STORAGE_ERROR if isinstance(fault, OSError) else ErrorCode.UNKNOWN_SERVER_ERROR
        self._beginnings.failed(self.key, fault)
        self._answered()

    def _answered(self) -> None:
        self.counts.partition_loaded(self.loop.now() - self._read_begun_s)
        self._ready()

    def _ready(self) -> None:
        """It can be used, or has an error: respond to all who wait."""
        waiting, self._waiting = self._waiting, []
        for respond in waiting:
            try:
                respond(self.error)
            except Exception as fault:  # noqa: BLE001 the others are told
                self.coordinator.runtime.on_fault(fault)

    def close(self, error: ErrorCode) -> None:
        """This broker no longer leads the partition, or the group has lost it: nothing is acquired any more."""
        self.error = error
        if self.in_flight is not None:
            self.in_flight.close()
            self.closed(self.in_flight.number)
            self.in_flight = None
            if self.group_counts is not None:
                self._series.closed(self.key.group_id)
                self.group_counts = None
            self.hosted.wake()  # fetches that wait for it on reactors
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._ready()

    # -- fetching --

    def fetch(self, member_id: str, wanted: Wanted) -> Delivered:
        """Lock records for a member. Raises StorageFailure and OSError when the log cannot be read."""
        in_flight = self.in_flight
        if in_flight is None:
            return NOTHING
        begun_s = self.loop.now()
        try:
            return self._fetch(in_flight, member_id, wanted)
        finally:
            in_flight.looked(begun_s, self.loop.now())

    def _fetch(self, in_flight: InFlight, member_id: str, wanted: Wanted) -> Delivered:
        settings = self.settings()
        if self.hosted.log_start_offset > in_flight.start_offset:
            in_flight.forget_below(self.hosted.log_start_offset)
        if wanted.records_max <= 0 or not in_flight.can_acquire(settings.limits):
            return NOTHING
        offset = in_flight.fetch_offset()
        offsets_max = in_flight.next_offset - offset + wanted.records_max  # others may hold what lies in between
        fetched = read_batches(self.hosted, offset, wanted.bytes_max, offsets_max, committed=settings.committed)
        acquired = in_flight.acquire(
            member_id, offset, [each[:2] for each in fetched.batches], settings.limits, self.loop.now(),
            wanted.records_max, wanted.batch_size, strict=wanted.strict,
        )  # fmt: skip
        if acquired:  # before anything can fail: their locks must expire
            self._await_expiry(self.loop.now() + settings.limits.lock_s)
        if fetched.aborted:
            acquired, aborted = _split(acquired, fetched.aborted)
            self._store(in_flight.archive(aborted), lambda error: None)  # nobody shall get them
        if not acquired:
            return NO_RECORDS
        records = fetched.between(acquired[0].first_offset, acquired[-1].last_offset)
        return Delivered(records, acquired, acquirable=True)

    # -- what becomes of acquired records --

    def acknowledge(
        self, member_id: str, acknowledgements: Acknowledgements, respond: Respond, write: Write | None = None
    ) -> None:
        """Store what a member says about its records; INVALID_REQUEST and INVALID_RECORD_STATE change nothing.

        `write` may store it later; None: as the writes before.
        """
        if self.in_flight is None:
            respond(self.error or ErrorCode.NOT_LEADER_OR_FOLLOWER)
            return
        limits, *_, renews = self.settings()
        if not renews and acknowledgements.renew:
            respond(ErrorCode.INVALID_RECORD_STATE)
            return
        error, change = self.in_flight.acknowledge(member_id, acknowledgements, limits, self.loop.now())
        if error:
            respond(error)
            return

        self._store(change, respond, write)

    def release(self, member_id: str, write: Write | None = None) -> None:
        """The member's session has ended: what it holds becomes available."""
        if self.in_flight is not None:
            self._store(self.in_flight.release(member_id, self.settings().limits), lambda error: None, write)

    def store(self, change: Change, respond: Respond, write: Write) -> None:
        """Store what a reactor has begun to change, with `write`, which may do it later."""
        if self.in_flight is None:
            change.undo()
            respond(self.error or ErrorCode.NOT_LEADER_OR_FOLLOWER)
        else:
            self._store(change, respond, write)

    def _store(self, change: Change, respond: Respond, write: Write | None = None) -> None:
        in_flight = self.in_flight
        assert in_flight is not None
        if not len(change):
            change.finish()  # it may have renewed locks
            respond(ErrorCode.NONE)
            return
        batches = change.batches()
        request = StateWrite(
            self.key, self.state_epoch, self.leader_epoch, in_flight.start_offset, in_flight.finishing_count, batches
        )
        self._storing += 1
        if write is not None:
            self._write = write
        self._write(request, partial(self._stored, in_flight, change, respond))

    def _stored(self, in_flight: InFlight, change: Change, respond: Respond, error: ErrorCode) -> None:
        self._storing -= 1
        if not self._storing:
            self._write = self.coordinator.write
        if error:
            self.counts.write_failed()
            change.undo()
            told = ERRORS_OF_CLIENTS.get(error, ErrorCode.UNKNOWN_SERVER_ERROR)
            if error in FENCING:
                self.close(told)
            else:
                self._await_expiry(self.loop.now() + RETRY_S)  # for locks that expired and could not be released
            respond(told)
            return
        available = change.finish()
        try:
            respond(ErrorCode.NONE)
        finally:
            if available and in_flight is self.in_flight:
                self.changed(self)

    # -- locks --

    def _await_expiry(self, due_s: float) -> None:
        """Look at the locks at that time, if not before."""
        if self.in_flight is None or (self._timer is not None and self._timer_s <= due_s):
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_s = due_s
        self.in_flight.await_expiry(due_s)
        self._timer = self.loop.call_later(max(due_s - self.loop.now(), 0.0), self._expire)

    def _expire(self) -> None:
        self._timer = None
        if self.in_flight is None:
            return
        try:
            self._expire_now(self.in_flight)
        except Exception:
            self._await_expiry(self.loop.now() + RETRY_S)  # else nobody would look again
            raise

    def _expire_now(self, in_flight: InFlight) -> None:
        change = in_flight.expire(self.loop.now(), self.settings().limits)
        self.counts.locks_expired(change.records)
        due_s = in_flight.next_deadline_s()
        if due_s is not None:
            self._await_expiry(due_s)
        self._store(change, lambda error: None)

    def locked(self, due_s: float) -> None:
        """A reactor has locked records until then, or records are locked again after a change that was dropped. Whatever else is
        locked is looked at already."""
        now_s = self.loop.now()
        self._await_expiry(due_s if due_s > now_s else now_s + RETRY_S)

    # -- what others look at --

    def publish_terms(self) -> None:
        """Let reactors go by the settings of now."""
        if self.in_flight is not None:
            version = version_of_terms()  # before: what changes while the settings are looked up makes it old
            limits, committed, _, renews = self.settings()
            self.in_flight.set_terms(limits, committed, renews, version)

    def close_if_idle(self) -> bool:
        """Close it if its stored state says all there is: no record is locked, nothing is being read or stored."""
        if self.in_flight is None or self._timer is not None or self._storing or not self.in_flight.close(if_idle=True):
            return False
        self.close(ErrorCode.NOT_LEADER_OR_FOLLOWER)
        return True

    @property
    def lag(self) -> int:
        """How many records are not finished yet; -1 if that is not known."""
        if self.in_flight is None:
            return -1
        return max(0, int(self.hosted.high_watermark) - self.in_flight.start_offset - self.in_flight.finished_count)


def _split(acquired: list[Acquired], aborted: list[tuple[int, int]]) -> tuple[list[Acquired], list[tuple[int, int]]]:
    """The acquired records without the aborted ones, and those that are both. Both lists are in offset order."""
    good: list[Acquired] = []
    bad: list[tuple[int, int]] = []
    place = 0
    for each in acquired:
        at = each.first_offset
        while place < len(aborted) and aborted[place][1] < at:
            place += 1
        following = place
        while following < len(aborted) and aborted[following][0] <= each.last_offset:
            first, last = max(aborted[following][0], at), min(aborted[following][1], each.last_offset)
            if at < first:
                good.append(each._replace(first_offset=at, last_offset=first - 1))
            bad.append((first, last))
            at = last + 1
            following += 1
        if at <= each.last_offset:
            good.append(each._replace(first_offset=at))
    return good, bad
