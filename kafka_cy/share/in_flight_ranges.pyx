"""The ranges of a share partition: cutting, joining, forgetting, and changes that end.

Whoever changes the state of a range takes it out of the sums and of the list of free ranges before (`leave`), and adds it again
after (`enter`).
"""
from libc.stdint cimport int8_t, int32_t, int64_t, uint32_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcmp, memcpy, memset

from kafka_cy.base.atomics cimport atomic_add_relaxed_i64
from kafka_cy.base.hash cimport hash_of_bytes
from kafka_cy.share.group_totals cimport (
    GroupTotals, group_in_flight, group_range_made, group_totals_acquire, group_totals_release,
)
from kafka_cy.share.range_lists cimport (
    ALL_RANGES, FREE_RANGES, list_find, list_insert, list_insert_behind, list_remove, range_allocate,
)
from kafka_cy.share.share_totals cimport ShareTotals, totals_acquire, totals_release

cdef enum:
    STEPS_BEFORE_SEARCH = 8     # a range that lies so near behind a known one is found without a search


cdef void ranges_init(Ranges* ranges, int64_t start_offset, ShareTotals* totals, GroupTotals* group) noexcept nogil:
    memset(ranges, 0, sizeof(Ranges))
    ranges.start_offset = start_offset
    ranges.all.kind = ALL_RANGES
    ranges.free.kind = FREE_RANGES
    ranges.totals = totals_acquire(totals)
    ranges.group = group_totals_acquire(group)


# -- holders --

cdef Holder* holder_find(const Ranges* ranges, const char* id, int32_t size) noexcept nogil:
    cdef uint32_t hash = hash_of_bytes(id, <size_t>size)
    cdef Holder* holder = ranges.holders
    while holder != NULL and (holder.hash != hash or holder.size != size or memcmp(holder.id, id, <size_t>size)):
        holder = holder.next
    return holder


cdef Holder* holder_get(Ranges* ranges, const char* id, int32_t size) noexcept nogil:
    cdef Holder* holder = holder_find(ranges, id, size)
    if holder != NULL:
        return holder
    holder = <Holder*>malloc(sizeof(Holder) + <size_t>size)
    if holder == NULL:
        return NULL
    holder.ranges = 0
    holder.hash = hash_of_bytes(id, <size_t>size)
    holder.size = size
    memcpy(holder.id, id, <size_t>size)
    holder.next = ranges.holders
    ranges.holders = holder
    return holder


cdef void holder_drop(Ranges* ranges, Holder* holder) noexcept nogil:
    cdef Holder** place = &ranges.holders
    if holder == NULL or holder.ranges > 0:
        return
    while place[0] != holder:
        place = &place[0].next
    place[0] = holder.next
    free(holder)


cdef void range_give(Ranges* ranges, Range* each, Holder* holder) noexcept nogil:
    cdef Holder* before = each.holder
    if before == holder:
        return
    if holder != NULL:
        holder.ranges += 1
    each.holder = holder
    if before != NULL:
        before.ranges -= 1
        holder_drop(ranges, before)


# -- sums, and the list of free ranges --

cdef inline bint is_final_state(int8_t state) noexcept nogil:
    return state == RECORD_ACKNOWLEDGED or state == RECORD_ARCHIVED


cdef void count_finished(Ranges* ranges, const Range* each, int64_t records) noexcept nogil:
    if is_final(each):
        ranges.finished += records
    elif each.change != NULL and is_final_state(each.next_state):
        ranges.finishing += records


cdef void leave(Ranges* ranges, Range* each) noexcept nogil:
    count_finished(ranges, each, -range_size(each))
    if each.listed_free:
        list_remove(&ranges.free, each)
        each.listed_free = False


cdef void enter(Ranges* ranges, Range* each) noexcept nogil:
    count_finished(ranges, each, range_size(each))
    if is_free(each):
        each.listed_free = True
        if each.previous != NULL and each.previous.listed_free:
            list_insert_behind(&ranges.free, each.previous, each)
        else:
            list_insert(&ranges.free, each)


# -- the list --

cdef Range* range_new(Ranges* ranges, int64_t first, int64_t last, int8_t state, int32_t delivery_count) noexcept nogil:
    """Not in the list yet, but counted."""
    cdef Range* made = range_allocate()
    if made == NULL:
        return NULL
    made.first = first
    made.last = last
    made.state = state
    made.delivery_count = min(delivery_count, <int32_t>DELIVERY_COUNT_MAX)
    made.batch_size = last - first + 1
    ranges.count += 1
    atomic_add_relaxed_i64(&ranges.totals.ranges, 1)
    group_in_flight(ranges.group, 0, 1)
    return made


cdef Range* range_append(Ranges* ranges, int64_t first, int64_t last, int8_t state, int32_t delivery_count) noexcept nogil:
    cdef Range* made = range_new(ranges, first, last, state, delivery_count)
    if made == NULL:
        return NULL
    list_insert(&ranges.all, made)
    enter(ranges, made)
    group_in_flight(ranges.group, range_size(made), 0)
    return made


cdef void range_remove(Ranges* ranges, Range* each) noexcept nogil:
    """Take it out of the list. What a change refers to is freed with the change."""
    leave(ranges, each)
    list_remove(&ranges.all, each)
    ranges.count -= 1
    atomic_add_relaxed_i64(&ranges.totals.ranges, -1)
    group_in_flight(ranges.group, -range_size(each), -1)
    range_give(ranges, each, NULL)
    each.forgotten = True
    if each.change == NULL:
        free(each)


cdef Range* range_from(Ranges* ranges, Range* cursor, int64_t offset) noexcept nogil:
    cdef Range* each = cursor
    cdef int _step
    if each != NULL and each.first <= offset:
        for _step in range(STEPS_BEFORE_SEARCH):
            if each == NULL or each.last >= offset:
                return each
            each = each.next
    return list_find(&ranges.all, offset)


cdef Range* range_free_from(Ranges* ranges, int64_t offset) noexcept nogil:
    return list_find(&ranges.free, offset)


cdef int range_cut(Ranges* ranges, Range* whole, int64_t offset) noexcept nogil:
    cdef Range* rest = range_new(ranges, offset, whole.last, whole.state, whole.delivery_count)
    if rest == NULL:
        return -1
    rest.batch_size = whole.batch_size
    rest.deadline_ns = whole.deadline_ns
    range_give(ranges, rest, whole.holder)
    list_insert_behind(&ranges.all, whole, rest)
    if whole.listed_free:
        rest.listed_free = True
        list_insert_behind(&ranges.free, whole, rest)
    whole.last = offset - 1             # the sums stay
    if whole.change != NULL:
        rest.change = whole.change
        rest.next_state = whole.next_state
        rest.next_changed = whole.next_changed
        whole.next_changed = rest
        if whole.change.last == whole:
            whole.change.last = rest
        whole.change.count += 1
    return 0


cdef inline bint is_one_with_next(const Range* each) noexcept nogil:
    return is_final(each) and each.next != NULL and each.next.state == each.state and (
        each.next.delivery_count == each.delivery_count
    )


cdef void join(Ranges* ranges, Range* each) noexcept nogil:
    """Neighbours in the same final state become one, so that no more is kept than needed."""
    if each.previous != NULL and is_one_with_next(each.previous):
        each = each.previous
    while is_one_with_next(each):
        leave(ranges, each)
        group_in_flight(ranges.group, range_size(each.next), 0)     # they stay: range_remove takes only the range
        each.last = each.next.last
        range_remove(ranges, each.next)
        enter(ranges, each)


cdef void range_set_state(Ranges* ranges, Range* each, int8_t state) noexcept nogil:
    leave(ranges, each)
    each.state = state
    enter(ranges, each)
    join(ranges, each)


cdef int ranges_load(Ranges* ranges, int64_t first, int64_t last, int8_t state, int32_t delivery_count) noexcept nogil:
    cdef int64_t at = ranges_next_offset(ranges)
    cdef Range* made
    if first > at:
        if range_append(ranges, at, first - 1, RECORD_AVAILABLE, 0) == NULL:
            return -1
        at = first
    if last >= at:
        made = range_append(ranges, at, last, state, delivery_count)
        if made == NULL:
            return -1
        group_range_made(ranges.group, range_size(made))
        join(ranges, made)
    return 0


cdef void ranges_move_start(Ranges* ranges) noexcept nogil:
    while ranges.all.first != NULL and is_final(ranges.all.first):
        ranges.start_offset = ranges.all.first.last + 1
        range_remove(ranges, ranges.all.first)


cdef int ranges_forget_below(Ranges* ranges, int64_t offset) noexcept nogil:
    cdef Range* each
    if offset <= ranges.start_offset:
        return 0
    each = range_from(ranges, NULL, offset)
    if each != NULL and each.first < offset and range_cut(ranges, each, offset) < 0:
        return -1
    while ranges.all.first != NULL and ranges.all.first.first < offset:
        range_remove(ranges, ranges.all.first)
    ranges.start_offset = offset
    ranges_move_start(ranges)
    return 0


cdef void ranges_clear(Ranges* ranges) noexcept nogil:
    while ranges.all.first != NULL:
        range_remove(ranges, ranges.all.first)
    if ranges.totals != NULL:
        totals_release(ranges.totals)
        ranges.totals = NULL
    group_totals_release(ranges.group)
    ranges.group = NULL


# -- what it says --

cdef int64_t ranges_fetch_offset(const Ranges* ranges) noexcept nogil:
    return ranges.free.first.first if ranges.free.first != NULL else ranges_next_offset(ranges)


cdef bint ranges_can_acquire(const Ranges* ranges, const ShareLimits* limits) noexcept nogil:
    cdef int64_t next_offset = ranges_next_offset(ranges)
    return next_offset - ranges.start_offset < limits.records_in_flight or ranges.free.first != NULL


cdef int64_t ranges_finished_count(const Ranges* ranges, bint stored) noexcept nogil:
    return ranges.finished + ranges.finishing if stored else ranges.finished


cdef int64_t ranges_steps(const Ranges* ranges) noexcept nogil:
    return ranges.all.steps + ranges.free.steps


cdef int64_t ranges_next_deadline_ns(const Ranges* ranges) noexcept nogil:
    cdef Range* each = ranges.all.first
    cdef int64_t deadline_ns = -1
    while each != NULL:
        if is_held(each) and (deadline_ns < 0 or each.deadline_ns < deadline_ns):
            deadline_ns = each.deadline_ns
        each = each.next
    return deadline_ns


# -- changes --

cdef void change_add(Ranges* ranges, Change* change, Range* each, int8_t next_state) noexcept nogil:
    leave(ranges, each)
    each.change = change
    each.next_state = next_state
    each.next_changed = NULL
    enter(ranges, each)
    if change.last != NULL:
        change.last.next_changed = each
    else:
        change.first = each
    change.last = each
    change.count += 1


cdef Range* change_take(Ranges* ranges, Change* change) noexcept nogil:
    """Take the next range that is in the list out of a change that ends; it has left the sums. NULL: none is left."""
    cdef Range* each = change.first
    while each != NULL:
        change.first = each.next_changed
        if not each.forgotten:
            leave(ranges, each)
            each.change = NULL
            each.next_changed = NULL
            return each
        free(each)
        each = change.first
    change.last = NULL
    change.count = 0
    return NULL


cdef bint ranges_finish(Ranges* ranges, Change* change) noexcept nogil:
    cdef Range* each = change_take(ranges, change)
    cdef int64_t start_offset = ranges.start_offset
    cdef bint freed = False
    while each != NULL:
        each.state = each.next_state
        range_give(ranges, each, NULL)
        freed = freed or each.state == RECORD_AVAILABLE
        enter(ranges, each)
        join(ranges, each)
        each = change_take(ranges, change)
    ranges_move_start(ranges)
    return freed or ranges.start_offset != start_offset


cdef int64_t ranges_undo(Ranges* ranges, Change* change) noexcept nogil:
    cdef Range* each = change_take(ranges, change)
    cdef int64_t deadline_ns = 0
    while each != NULL:
        enter(ranges, each)
        if is_held(each) and (deadline_ns == 0 or each.deadline_ns < deadline_ns):
            deadline_ns = each.deadline_ns
        each = change_take(ranges, change)
    return deadline_ns
