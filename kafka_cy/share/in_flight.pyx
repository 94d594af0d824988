"""The coordinator's handle of the records in flight of a share partition.

The records are C data that reactors use too (shared_records): each method takes their mutex, and what others have done in between
counts. Times are seconds of the loop's clock, which is the monotonic one. Kafka: SharePartition.
"""
from cpython.unicode cimport PyUnicode_AsUTF8AndSize
from libc.math cimport llround
from libc.stdint cimport int16_t, int32_t, int64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy

from kafka_cy.base.atomics cimport atomic_load_i32, atomic_store_i32, atomic_store_i64
from kafka_cy.base.posix cimport pthread_mutex_lock, pthread_mutex_unlock
from kafka_cy.coordinator.share.state_batches cimport BatchData, StateBatches, batches_with_room
from kafka_cy.share.acknowledgements cimport Acknowledgements, acknowledgements_of
from kafka_cy.share.group_totals cimport GroupCounts, group_found_full
from kafka_cy.share.in_flight_acknowledge cimport (
    ACKNOWLEDGE_NO_MEMORY, change_count, ranges_acknowledge, ranges_archive, ranges_expire, ranges_release,
)
from kafka_cy.share.in_flight_acquire cimport (
    RECORDS_AT_ONCE, AcquiredRows, BatchBounds, Wanted, ranges_acquire, rows_free,
)
from kafka_cy.share.in_flight_ranges cimport (
    Change as ChangeData, Range, ShareLimits, is_held, range_size, ranges_can_acquire, ranges_fetch_offset,
    ranges_finish, ranges_finished_count, ranges_forget_below, ranges_load, ranges_move_start, ranges_next_deadline_ns,
    ranges_next_offset, ranges_steps, ranges_undo,
)
from kafka_cy.share.shared_records cimport (
    PendingChanges, SharedRecords, records_acquire, records_await_expiry, records_looked, records_new, records_release,
    records_take_noticed, records_undo,
)
from kafka_cy.share.share_totals cimport ShareCounts, ShareTotals
from kafka_cy.storage.hosted_partition cimport HostedPartition
from kafka_cy.storage.partition cimport Partition

from kafka_cy.protocol.errors import ErrorCode
from kafka_cy.share.in_flight_values import Acquired, InFlightRange

RECORDS_AT_ONCE_MAX = RECORDS_AT_ONCE


cdef inline int64_t ns_of(double seconds) noexcept:
    return llround(seconds * 1e9)


cdef ShareLimits limits_of(limits) except *:
    cdef ShareLimits data
    data.delivery_count, data.records_in_flight = limits.delivery_count, limits.records_in_flight
    data.lock_ns = ns_of(limits.lock_s)
    return data


cdef Change change_new(SharedRecords* records):
    cdef Change change = Change.__new__(Change)
    change.data = <ChangeData*>calloc(1, sizeof(ChangeData))
    if change.data == NULL:
        raise MemoryError
    change.records = records_acquire(records)
    return change


cdef class Change:
    """Records whose states are being stored: nobody else can touch them. Without an end it is undone."""

    def __dealloc__(self):
        cdef SharedRecords* records = self.records
        cdef ChangeData* data = self.data
        if records == NULL:
            free(data)
            return
        with nogil:
            records_undo(records, data)
            records_release(records)
            free(data)

    def __len__(self):
        return self.data.count

    @property
    def records(self):
        """How many records it has."""
        cdef SharedRecords* records = self.records
        cdef const Range* each
        cdef int64_t count = 0
        with nogil:
            pthread_mutex_lock(&records.mutex)
            each = self.data.first
            while each != NULL:
                count += range_size(each)
                each = each.next_changed
            pthread_mutex_unlock(&records.mutex)
        return count

    def finish(self):
        """It was stored. Returns whether records became available, or the start offset moved."""
        cdef SharedRecords* records = self.records
        cdef bint moved
        with nogil:
            pthread_mutex_lock(&records.mutex)
            change_count(&records.ranges, self.data)
            moved = ranges_finish(&records.ranges, self.data)
            pthread_mutex_unlock(&records.mutex)
        return moved

    def undo(self):
        """It could not be stored: the records are as before. An expired lock expires again."""
        cdef SharedRecords* records = self.records
        with nogil:
            pthread_mutex_lock(&records.mutex)
            ranges_undo(&records.ranges, self.data)
            pthread_mutex_unlock(&records.mutex)

    def batches(self):
        """What is stored: first and last offset, state, delivery count. Neighbours with the same values are one."""
        cdef SharedRecords* records = self.records
        cdef StateBatches found = batches_with_room(self.data.count)
        cdef BatchData* last = NULL
        cdef Range* each
        with nogil:
            pthread_mutex_lock(&records.mutex)
            each = self.data.first
            while each != NULL:
                if last != NULL and last.last_offset + 1 == each.first and last.delivery_state == each.next_state and (
                    last.delivery_count == each.delivery_count
                ):
                    last.last_offset = each.last
                else:
                    last = &found.items[found.count]
                    last.first_offset, last.last_offset = each.first, each.last
                    last.delivery_state, last.delivery_count = each.next_state, <int16_t>each.delivery_count
                    found.count += 1
                each = each.next_changed
            pthread_mutex_unlock(&records.mutex)
        return found


cdef class InFlight:
    """The records in flight of a share partition, from `start_offset` on.

    `stored`: (first offset, last offset, state, delivery count) in offset order; gaps were never delivered. `hosted`: the
    HostedPartition. `group`: counts of its group, if it has any. Owner: the coordinator's thread. Raises MemoryError.
    """

    def __init__(self, int64_t start_offset, stored=(), hosted=None, ShareCounts counts=None, GroupCounts group=None):
        cdef Partition* partition = NULL
        cdef ShareTotals* totals
        cdef StateBatches batches
        cdef BatchData* item
        cdef Py_ssize_t place
        self.counts = counts if counts is not None else ShareCounts()
        totals = self.counts.totals
        if isinstance(hosted, HostedPartition):
            partition = (<HostedPartition>hosted).partition
        self.records = records_new(start_offset, partition, totals, group.totals if group is not None else NULL)
        if self.records == NULL:
            raise MemoryError
        batches = stored if isinstance(stored, StateBatches) else StateBatches(stored)
        for place in range(batches.count):              # nobody else knows it yet
            item = &batches.items[place]
            if ranges_load(
                &self.records.ranges, item.first_offset, item.last_offset, item.delivery_state, item.delivery_count
            ) < 0:
                raise MemoryError
        ranges_move_start(&self.records.ranges)

    def __dealloc__(self):
        cdef SharedRecords* records = self.records
        if records != NULL:
            with nogil:
                records_release(records)

    # -- what it says --

    @property
    def number(self):
        """Of this share partition: no other one ever has it."""
        return self.records.number

    @property
    def start_offset(self):
        return self._offsets()[0]

    @property
    def next_offset(self):
        """The first offset that was never delivered."""
        return self._offsets()[1]

    def fetch_offset(self):
        """Where the next read of the log begins: at the first record that is available, else behind all."""
        return self._offsets()[2]

    def _offsets(self):
        cdef SharedRecords* records = self.records
        cdef int64_t start_offset, next_offset, fetch_offset
        with nogil:
            pthread_mutex_lock(&records.mutex)
            start_offset = records.ranges.start_offset
            next_offset = ranges_next_offset(&records.ranges)
            fetch_offset = ranges_fetch_offset(&records.ranges)
            pthread_mutex_unlock(&records.mutex)
        return start_offset, next_offset, fetch_offset

    @property
    def finished_count(self):
        """How many records after the start offset are in a final state (DeliveryCompleteCount)."""
        return self._finished(False)

    @property
    def finishing_count(self):
        """finished_count, if everything that is being stored now succeeds."""
        return self._finished(True)

    def _finished(self, bint stored):
        cdef SharedRecords* records = self.records
        cdef int64_t count
        with nogil:
            pthread_mutex_lock(&records.mutex)
            count = ranges_finished_count(&records.ranges, stored)
            pthread_mutex_unlock(&records.mutex)
        return count

    def can_acquire(self, limits):
        """Whether a fetch can get anything, if the log has records."""
        cdef SharedRecords* records = self.records
        cdef ShareLimits data = limits_of(limits)
        cdef bint can
        with nogil:
            pthread_mutex_lock(&records.mutex)
            can = ranges_can_acquire(&records.ranges, &data)
            if not can:
                group_found_full(records.ranges.group)
            pthread_mutex_unlock(&records.mutex)
        return can

    def next_deadline_s(self):
        """When the first lock expires; None: none is held."""
        cdef SharedRecords* records = self.records
        cdef int64_t deadline_ns
        with nogil:
            pthread_mutex_lock(&records.mutex)
            deadline_ns = ranges_next_deadline_ns(&records.ranges)
            pthread_mutex_unlock(&records.mutex)
        return None if deadline_ns < 0 else deadline_ns / 1e9

    @property
    def ranges(self):
        """A copy of all ranges, for tests and descriptions."""
        cdef SharedRecords* records = self.records
        cdef Range* each = records.ranges.all.first
        found = []
        while each != NULL:             # with the GIL: only for tests, where nobody else has it
            member = each.holder.id[:each.holder.size].decode() if each.holder != NULL else ""
            next_state = None if each.change == NULL else each.next_state
            found.append(InFlightRange(each.first, each.last, each.state, each.delivery_count, member, next_state))
            each = each.next
        return found

    @property
    def steps(self):
        """For tests: how many ranges were looked at so far to find others."""
        cdef SharedRecords* records = self.records
        cdef int64_t steps
        with nogil:
            pthread_mutex_lock(&records.mutex)
            steps = ranges_steps(&records.ranges)
            pthread_mutex_unlock(&records.mutex)
        return steps

    # -- acquiring --

    def acquire(
        self, str member_id, int64_t fetch_offset, batches, limits, double now_s, int64_t records_max, int64_t batch_size, *,
        bint strict
    ):
        """Lock records for a member. `batches`: first and last offset of the batches that were read at `fetch_offset`.

        Without `strict` the records of a batch stay together, so that up to a batch more than `records_max` is acquired.
        """
        cdef SharedRecords* records = self.records
        cdef ShareLimits data = limits_of(limits)
        cdef Py_ssize_t size
        cdef Wanted wanted
        cdef AcquiredRows acquired
        cdef int32_t count = <int32_t>len(batches)
        cdef int32_t i
        cdef BatchBounds* bounds = <BatchBounds*>malloc(<size_t>(count + 1) * sizeof(BatchBounds))
        if bounds == NULL:
            raise MemoryError
        for i in range(count):
            bounds[i].first_offset, bounds[i].last_offset = batches[i]
        wanted.member = PyUnicode_AsUTF8AndSize(member_id, &size)
        wanted.member_size = <int32_t>size
        wanted.limits = &data
        wanted.now_ns = ns_of(now_s)
        wanted.fetch_offset = fetch_offset
        wanted.records_max, wanted.batch_size, wanted.strict = records_max, batch_size, strict
        wanted.again_max = RECORDS_AT_ONCE
        acquired.rows = NULL
        acquired.count = acquired.capacity = 0
        with nogil:
            pthread_mutex_lock(&records.mutex)
            if atomic_load_i32(&records.is_open):
                ranges_acquire(&records.ranges, &wanted, bounds, count, &acquired)
            pthread_mutex_unlock(&records.mutex)
            free(bounds)
        found = [
            Acquired(acquired.rows[i].first_offset, acquired.rows[i].last_offset, acquired.rows[i].delivery_count)
            for i in range(acquired.count)
        ]
        rows_free(&acquired)
        return found

    # -- what becomes of acquired records --

    def acknowledge(self, str member_id, acknowledgements, limits, double now_s):
        """Begin what a member says about its records: all of it or, after an error, nothing.

        INVALID_REQUEST for offsets that were never delivered, INVALID_RECORD_STATE for records that the member does not
        hold, or that it acknowledges twice. Records below the start offset are finished: nothing happens.
        """
        cdef Change change = change_new(self.records)
        cdef SharedRecords* records = self.records
        cdef ShareLimits data = limits_of(limits)
        cdef Acknowledgements asked = acknowledgements_of(acknowledgements)
        cdef int64_t now_ns = ns_of(now_s)
        cdef Py_ssize_t size
        cdef const char* member = PyUnicode_AsUTF8AndSize(member_id, &size)
        cdef int error
        with nogil:
            pthread_mutex_lock(&records.mutex)
            error = ranges_acknowledge(
                &records.ranges, member, <int32_t>size, asked.items, asked.count, &data, now_ns, change.data)
            pthread_mutex_unlock(&records.mutex)
        if error == ACKNOWLEDGE_NO_MEMORY:
            raise MemoryError
        return ErrorCode(error), change_new(records) if error else change

    def release(self, str member_id, limits):
        """Begin to release everything that the member holds: its session has ended."""
        cdef Change change = change_new(self.records)
        cdef SharedRecords* records = self.records
        cdef ShareLimits data = limits_of(limits)
        cdef Py_ssize_t size
        cdef const char* member = PyUnicode_AsUTF8AndSize(member_id, &size)
        with nogil:
            pthread_mutex_lock(&records.mutex)
            ranges_release(&records.ranges, member, <int32_t>size, &data, change.data)
            pthread_mutex_unlock(&records.mutex)
        return change

    def expire(self, double now_s, limits):
        """Begin to release everything whose lock has expired. Nobody looks for expired locks until `await_expiry`."""
        cdef Change change = change_new(self.records)
        cdef SharedRecords* records = self.records
        cdef ShareLimits data = limits_of(limits)
        cdef int64_t now_ns = ns_of(now_s)
        with nogil:
            pthread_mutex_lock(&records.mutex)
            records.expiry_ns = 0
            ranges_expire(&records.ranges, now_ns, &data, change.data)
            pthread_mutex_unlock(&records.mutex)
        return change

    def archive(self, offsets):
        """Begin to archive records that no one shall get, (first, last offset): those of aborted transactions."""
        cdef Change change = change_new(self.records)
        cdef SharedRecords* records = self.records
        cdef Range* cursor = NULL
        cdef int32_t count = <int32_t>len(offsets)
        cdef int32_t i
        cdef int error = 0
        cdef int64_t* bounds = <int64_t*>malloc((2 * <size_t>count + 1) * sizeof(int64_t))
        if bounds == NULL:
            raise MemoryError
        for i in range(count):
            bounds[2 * i], bounds[2 * i + 1] = offsets[i]
        with nogil:
            pthread_mutex_lock(&records.mutex)
            for i in range(count):
                error = error or ranges_archive(&records.ranges, &cursor, bounds[2 * i], bounds[2 * i + 1], change.data)
            pthread_mutex_unlock(&records.mutex)
            free(bounds)
        if error:
            raise MemoryError
        return change

    def forget_below(self, int64_t offset):
        """The log begins at `offset` now: what lies below is finished, also for those who hold it. Raises MemoryError."""
        cdef SharedRecords* records = self.records
        cdef int error
        with nogil:
            pthread_mutex_lock(&records.mutex)
            error = ranges_forget_below(&records.ranges, offset)
            pthread_mutex_unlock(&records.mutex)
        if error:
            raise MemoryError

    # -- for reactors --

    def set_terms(self, limits, bint committed, bint renews, int64_t version):
        """The settings that reactors go by, as long as `version` is the current one (shared_records.version_of_terms)."""
        cdef SharedRecords* records = self.records
        cdef ShareLimits data = limits_of(limits)
        with nogil:
            pthread_mutex_lock(&records.mutex)
            records.limits = data
            records.committed = committed
            records.renews = renews
            atomic_store_i64(&records.terms_version, version)
            pthread_mutex_unlock(&records.mutex)

    def looked(self, double begun_s, double ended_s):
        """A fetch has looked for records in that time."""
        records_looked(self.records, ns_of(begun_s), ns_of(ended_s))

    def notice(self, double due_s):
        """For tests: what a reactor does that has locked records until then. Returns whether the coordinator has to be woken."""
        cdef SharedRecords* records = self.records
        cdef int64_t due_ns = ns_of(due_s)
        cdef bint first
        with nogil:
            pthread_mutex_lock(&records.mutex)
            first = records_await_expiry(records, due_ns)
            pthread_mutex_unlock(&records.mutex)
        return first

    def await_expiry(self, double due_s):
        """The coordinator looks for expired locks then: reactors do not tell it about locks that last longer."""
        cdef SharedRecords* records = self.records
        cdef int64_t due_ns = max(ns_of(due_s), <int64_t>1)
        with nogil:
            pthread_mutex_lock(&records.mutex)
            records.expiry_ns = due_ns
            pthread_mutex_unlock(&records.mutex)

    def close(self, bint if_idle=False):
        """No record is acquired any more. Returns False if records are locked or being stored and `if_idle`: it stays open."""
        cdef SharedRecords* records = self.records
        cdef Range* each
        cdef bint idle = True
        with nogil:
            pthread_mutex_lock(&records.mutex)
            each = records.ranges.all.first
            while each != NULL and if_idle and idle:
                idle = each.change == NULL and not is_held(each)
                each = each.next
            if idle:
                atomic_store_i32(&records.is_open, 0)
            pthread_mutex_unlock(&records.mutex)
        return idle


def take_changes(bytes handle not None):
    """The changes that a reactor has handed over: [(number of the share partition, Change)]. `handle` is used up."""
    cdef PendingChanges* pending
    cdef Change change
    cdef int32_t i
    if len(handle) != sizeof(pending):
        raise ValueError("not a handle of changes")
    memcpy(&pending, <const char*>handle, sizeof(pending))
    found = []
    for i in range(pending.count):
        change = Change.__new__(Change)
        change.records = pending.items[i].records
        change.data = pending.items[i].change
        found.append((change.records.number, change))
    free(pending)
    return found


def take_noticed(int most):
    """Share partitions in which a reactor has locked records, and nobody looks when the first lock expires: at most so many.

    Returns [(number, when that lock expires)], and whether others are left.
    """
    cdef SharedRecords* records
    cdef int64_t due_ns = 0
    found = []
    while len(found) < most:
        with nogil:
            records = records_take_noticed()
            if records != NULL:
                pthread_mutex_lock(&records.mutex)
                records.noticed = False
                due_ns = records.noticed_ns
                pthread_mutex_unlock(&records.mutex)
        if records == NULL:
            return found, False
        found.append((records.number, due_ns / 1e9))
        with nogil:
            records_release(records)
    return found, True
