"""Begins changes of records that members hold.

Acknowledgements come in offset order, and so do the ranges: one pass over both checks them, a second one applies them.
"""
from libc.stdint cimport int8_t, int32_t, int64_t, uint64_t

from kafka_cy.base.atomics cimport atomic_add_relaxed_i64
from kafka_cy.share.in_flight_ranges cimport (
    RECORD_ACKNOWLEDGED, RECORD_ARCHIVED, RECORD_AVAILABLE, Holder, Range, change_add, holder_find, is_final, is_held, range_cut,
    range_from, ranges_next_offset, ranges_undo,
)
from kafka_cy.share.share_totals cimport ACKNOWLEDGE_TYPES


cdef bint acknowledgements_are_valid(const Acknowledgement* asked, int32_t count, bint is_renewal) noexcept nogil:
    cdef const Acknowledgement* each
    cdef int64_t last_offset = -1
    cdef int64_t size
    cdef int8_t most = <int8_t>(TYPE_RENEW if is_renewal else TYPE_REJECT)
    cdef int32_t i, k
    for i in range(count):
        each = &asked[i]
        if each.last_offset < each.first_offset or each.first_offset < last_offset:
            return False
        size = <int64_t>(<uint64_t>each.last_offset - <uint64_t>each.first_offset)      # one less
        if each.types_count != 1 and each.types_count - 1 != size:
            return False
        for k in range(each.types_count):
            if each.types[k] < 0 or each.types[k] > most:
                return False
        last_offset = each.last_offset
    return True


cdef int8_t state_after(int kind, const Range* each, const ShareLimits* limits) noexcept nogil:
    if kind == TYPE_ACCEPT:
        return RECORD_ACKNOWLEDGED
    if kind == TYPE_RELEASE and each.delivery_count < limits.delivery_count:
        return RECORD_AVAILABLE
    return RECORD_ARCHIVED


# Neighbouring records of an acknowledgement with the same type.
cdef struct Run:
    int64_t first
    int64_t last
    int kind
    int32_t place                   # of the next run's type


cdef inline void run_begin(Run* run) noexcept nogil:
    run.place = 0


cdef inline bint run_next(const Acknowledgement* asked, Run* run) noexcept nogil:
    cdef int32_t begin = run.place
    if begin >= asked.types_count:
        return False
    run.kind = asked.types[begin]
    run.first = asked.first_offset + begin
    while run.place < asked.types_count and asked.types[run.place] == run.kind:
        run.place += 1
    run.last = asked.last_offset if asked.types_count == 1 else asked.first_offset + run.place - 1
    return True


cdef int check(
    Ranges* ranges, const Holder* holder, const Acknowledgement* asked, int32_t count
) noexcept nogil:
    """Whether the member holds all of it."""
    cdef int64_t next_offset = ranges_next_offset(ranges)
    cdef Range* cursor = NULL
    cdef Range* each
    cdef int32_t i
    for i in range(count):
        if asked[i].last_offset >= next_offset:
            return ACKNOWLEDGE_INVALID_REQUEST
        each = range_from(ranges, cursor, asked[i].first_offset)
        while each != NULL and each.first <= asked[i].last_offset:
            if holder == NULL or each.holder != holder or not is_held(each):
                return ACKNOWLEDGE_INVALID_RECORD_STATE
            cursor = each
            each = each.next
    return ACKNOWLEDGE_OK


cdef Range* isolated(Ranges* ranges, Range* cursor, int64_t first, int* error) noexcept nogil:
    """The range that begins at `first`, or behind it if that is not in flight."""
    cdef Range* each = range_from(ranges, cursor, first)
    if each != NULL and each.first < first:
        if range_cut(ranges, each, first) < 0:
            error[0] = ACKNOWLEDGE_NO_MEMORY
            return NULL
        each = each.next
    return each


cdef int apply_run(Ranges* ranges, Range** cursor, const Run* run, const ShareLimits* limits, Change* change) noexcept nogil:
    cdef int error = ACKNOWLEDGE_OK
    cdef Range* each = isolated(ranges, cursor[0], max(run.first, ranges.start_offset), &error)
    while each != NULL and each.first <= run.last:
        if each.last > run.last and range_cut(ranges, each, run.last + 1) < 0:
            return ACKNOWLEDGE_NO_MEMORY
        if each.change != NULL:
            return ACKNOWLEDGE_INVALID_RECORD_STATE     # acknowledged twice
        if run.kind != TYPE_RENEW:
            change_add(ranges, change, each, state_after(run.kind, each, limits))
        cursor[0] = each
        each = each.next
    return error


cdef void renew(Ranges* ranges, const Acknowledgement* asked, int32_t count, int64_t deadline_ns) noexcept nogil:
    """After apply_run: the ranges of each run are cut at its ends."""
    cdef Range* cursor = NULL
    cdef Range* each
    cdef Run run
    cdef int32_t i
    for i in range(count):
        run_begin(&run)
        while run_next(&asked[i], &run):
            if run.kind != TYPE_RENEW:
                continue
            each = range_from(ranges, cursor, run.first)
            while each != NULL and each.first <= run.last:
                each.deadline_ns = deadline_ns
                cursor = each
                each = each.next


cdef int ranges_acknowledge(
    Ranges* ranges, const char* member, int32_t member_size, const Acknowledgement* asked, int32_t count, const ShareLimits* limits,
    int64_t now_ns, Change* change
) noexcept nogil:
    cdef int error = check(ranges, holder_find(ranges, member, member_size), asked, count)
    cdef Range* cursor = NULL
    cdef bint renews = False
    cdef Run run
    cdef int32_t i
    for i in range(count):
        run_begin(&run)
        while error == ACKNOWLEDGE_OK and run_next(&asked[i], &run):
            renews = renews or run.kind == TYPE_RENEW
            if 0 <= run.kind < ACKNOWLEDGE_TYPES:
                change.told[run.kind] += run.last - run.first + 1
            error = apply_run(ranges, &cursor, &run, limits, change)
    if error:
        ranges_undo(ranges, change)
    elif renews:
        renew(ranges, asked, count, now_ns + limits.lock_ns)
    return error


cdef void ranges_release(
    Ranges* ranges, const char* member, int32_t member_size, const ShareLimits* limits, Change* change
) noexcept nogil:
    cdef Holder* holder = holder_find(ranges, member, member_size)
    cdef Range* each = ranges.all.first
    cdef int32_t left = holder.ranges if holder != NULL else 0
    while each != NULL and left > 0:
        if each.holder == holder:
            left -= 1
            if is_held(each):
                change_add(ranges, change, each, state_after(TYPE_RELEASE, each, limits))
        each = each.next


cdef void ranges_expire(Ranges* ranges, int64_t now_ns, const ShareLimits* limits, Change* change) noexcept nogil:
    cdef Range* each = ranges.all.first
    while each != NULL:
        if is_held(each) and each.deadline_ns <= now_ns:
            change_add(ranges, change, each, state_after(TYPE_RELEASE, each, limits))
        each = each.next


cdef inline bint is_open(const Range* each) noexcept nogil:
    return not is_final(each) and each.change == NULL


cdef int ranges_archive(Ranges* ranges, Range** cursor, int64_t first, int64_t last, Change* change) noexcept nogil:
    cdef Range* each = range_from(ranges, cursor[0], first)
    while each != NULL and each.first <= last:
        if is_open(each) and each.first < first:
            if range_cut(ranges, each, first) < 0:
                return -1
            each = each.next
        if is_open(each) and each.last > last and range_cut(ranges, each, last + 1) < 0:
            return -1
        if is_open(each):
            change_add(ranges, change, each, RECORD_ARCHIVED)
        cursor[0] = each
        each = each.next
    return 0


cdef void change_count(const Ranges* ranges, const Change* change) noexcept nogil:
    cdef int i
    for i in range(ACKNOWLEDGE_TYPES):
        if change.told[i]:
            atomic_add_relaxed_i64(&ranges.totals.acknowledged[i], change.told[i])
