"""Locks records for members: first those that are available again, then new ones behind all that were delivered."""
from libc.stdint cimport int32_t, int64_t
from libc.stdlib cimport free, realloc

from kafka_cy.share.group_totals cimport group_range_made
from kafka_cy.share.in_flight_ranges cimport (
    DELIVERY_COUNT_MAX, RECORD_ACQUIRED, RECORD_ARCHIVED, RECORD_AVAILABLE, Holder, Range, holder_drop, holder_find, holder_get,
    is_held, range_append, range_cut, range_free_from, range_from, range_give, range_set_state, range_size,
    ranges_move_start, ranges_next_offset,
)

cdef enum:
    NO_LIMIT = -1

# One call of ranges_acquire.
cdef struct Acquiring:
    Ranges* ranges
    const Wanted* wanted
    Holder* holder
    AcquiredRows* acquired
    int64_t left                # records that the request may still get
    int64_t room                # of RECORDS_AT_ONCE
    bint failed                 # no memory


cdef void rows_free(AcquiredRows* acquired) noexcept nogil:
    free(acquired.rows)
    acquired.rows = NULL
    acquired.count = 0
    acquired.capacity = 0


cdef bint rows_reserve(AcquiredRows* acquired) noexcept nogil:
    """Room for one more. False: no memory."""
    cdef int32_t wanted = acquired.capacity * 2 if acquired.capacity else 4
    cdef AcquiredRow* grown
    if acquired.count < acquired.capacity:
        return True
    grown = <AcquiredRow*>realloc(acquired.rows, <size_t>wanted * sizeof(AcquiredRow))
    if grown == NULL:
        return False
    acquired.rows = grown
    acquired.capacity = wanted
    return True


cdef void rows_add(AcquiredRows* acquired, const Range* each) noexcept nogil:
    cdef AcquiredRow* row = &acquired.rows[acquired.count]
    row.first_offset = each.first
    row.last_offset = each.last
    row.delivery_count = each.delivery_count
    acquired.count += 1


cdef int64_t records_at_once(const Range* each, const ShareLimits* limits) noexcept nogil:
    """How many of these records come at once. Fewer and fewer as they fail, so that the bad one is found."""
    cdef int32_t begin = max(2, (limits.delivery_count + 1) // 2)
    cdef int32_t shift = each.delivery_count - begin + 1
    if each.delivery_count < begin:
        return NO_LIMIT
    if each.delivery_count >= limits.delivery_count - 1 or shift > 62:
        return 1
    return max(<int64_t>1, each.batch_size >> shift)


cdef bint skip_gap(Ranges* ranges, int64_t first, int64_t end) noexcept nogil:
    """The log has no records from `first` to before `end` any more: compaction removed them. No one can get them."""
    cdef Range* each
    cdef Range* following
    if first >= end:
        return True
    each = range_free_from(ranges, first)
    while each != NULL and each.first < end:
        if each.first < first:
            if range_cut(ranges, each, first) < 0:
                return False
            each = each.next
        if each.last >= end and range_cut(ranges, each, end) < 0:
            return False
        following = each.next_free
        range_set_state(ranges, each, RECORD_ARCHIVED)
        each = following
    ranges_move_start(ranges)
    return True


cdef bint lock_range(Acquiring* work, Range* each, int64_t begin, int64_t size, Range** following) noexcept nogil:
    """Lock `size` records of an available range from `begin` on. False: no memory, and nothing is locked.

    `following` is set to the next free range behind them.
    """
    cdef Range* part = each
    if not rows_reserve(work.acquired):
        return False
    if each.first < begin:
        if range_cut(work.ranges, each, begin) < 0:
            return False
        part = each.next
    if part.last >= begin + size and range_cut(work.ranges, part, begin + size) < 0:
        return False
    following[0] = part.next_free
    range_set_state(work.ranges, part, RECORD_ACQUIRED)
    part.deadline_ns = work.wanted.now_ns + work.wanted.limits.lock_ns
    range_give(work.ranges, part, work.holder)
    if part.delivery_count < DELIVERY_COUNT_MAX:
        part.delivery_count += 1
    rows_add(work.acquired, part)
    return True


cdef bint acquire_again(Acquiring* work, int64_t first, int64_t last) noexcept nogil:
    """Lock available records. False: nothing may be added."""
    cdef Range* each = range_free_from(work.ranges, first)
    cdef int64_t most, begin, size
    while each != NULL and each.first <= last:
        most = records_at_once(each, work.wanted.limits)
        if work.left <= 0 or work.room <= 0 or work.acquired.count >= work.wanted.again_max or (
            most != NO_LIMIT and work.acquired.count
        ):
            return False
        begin = max(first, each.first)
        size = min(min(each.last, last) - begin + 1, work.room)
        if work.wanted.strict:
            size = min(size, work.left)
        if most != NO_LIMIT:
            size = min(size, most)
        if not lock_range(work, each, begin, size, &each) or most != NO_LIMIT:
            return False
        work.left -= size
        work.room -= size
    return True


cdef bint deliver(Acquiring* work, int64_t begin, int64_t end) noexcept nogil:
    """Lock new records. False: no memory."""
    cdef Range* made
    cdef int64_t next_offset = ranges_next_offset(work.ranges)
    if not rows_reserve(work.acquired):
        return False
    if begin > next_offset:             # the log has no records in between
        made = range_append(work.ranges, next_offset, begin - 1, RECORD_AVAILABLE, 0)
        if made == NULL:
            return False
        range_set_state(work.ranges, made, RECORD_ARCHIVED)     # joins it
    made = range_append(work.ranges, begin, end, RECORD_ACQUIRED, 1)
    if made == NULL:
        return False
    made.deadline_ns = work.wanted.now_ns + work.wanted.limits.lock_ns
    group_range_made(work.ranges.group, range_size(made))
    range_give(work.ranges, made, work.holder)
    rows_add(work.acquired, made)
    return True


cdef void acquire_new(Acquiring* work, const BatchBounds* batches, int32_t count, int64_t first) noexcept nogil:
    """Whole batches from `first` on, together up to about `batch_size` records a row."""
    cdef int64_t begin = -1
    cdef int64_t end = -1
    cdef int64_t low, high
    cdef int32_t i
    for i in range(count):
        if batches[i].last_offset < first:
            continue
        if work.left <= 0 or work.room <= 0:
            break
        low = max(batches[i].first_offset, first)
        high = min(batches[i].last_offset, low + (min(work.left, work.room) if work.wanted.strict else work.room) - 1)
        work.left -= high - low + 1
        work.room -= high - low + 1
        if begin >= 0 and (low != end + 1 or high - begin + 1 > work.wanted.batch_size):
            if not deliver(work, begin, end):
                return
            begin = -1
        if begin < 0:
            begin = low
        end = high
    if begin >= 0:
        deliver(work, begin, end)


cdef void ranges_acquire(
    Ranges* ranges, const Wanted* wanted, const BatchBounds* batches, int32_t count, AcquiredRows* acquired
) noexcept nogil:
    cdef Acquiring work
    cdef int64_t first, last
    if count == 0 or not skip_gap(ranges, wanted.fetch_offset, batches[0].first_offset):
        return
    work.ranges = ranges
    work.wanted = wanted
    work.acquired = acquired
    work.left = wanted.records_max
    work.room = RECORDS_AT_ONCE
    work.holder = holder_get(ranges, wanted.member, wanted.member_size)
    if work.holder == NULL:
        return
    first = max(batches[0].first_offset, ranges.start_offset)
    last = batches[count - 1].last_offset
    if acquire_again(&work, first, last):
        work.left = min(
            work.left, wanted.limits.records_in_flight - (ranges_next_offset(ranges) - ranges.start_offset))
        acquire_new(&work, batches, count, max(first, ranges_next_offset(ranges)))
    holder_drop(ranges, work.holder)


cdef void ranges_give_back(Ranges* ranges, const char* member, int32_t member_size, const AcquiredRows* acquired) noexcept nogil:
    cdef Holder* holder = holder_find(ranges, member, member_size)
    cdef Range* each = NULL
    cdef Range* following
    cdef int32_t i
    for i in range(acquired.count):
        each = range_from(ranges, each, acquired.rows[i].first_offset)     # the rows are in offset order
        while holder != NULL and each != NULL and each.last <= acquired.rows[i].last_offset:
            following = each.next
            if is_held(each) and each.holder == holder and each.delivery_count == acquired.rows[i].delivery_count:
                each.delivery_count -= 1
                if holder.ranges == 1:
                    holder = NULL           # it is freed with its last range
                range_give(ranges, each, NULL)
                range_set_state(ranges, each, RECORD_AVAILABLE)
            each = following
