"""State batches of a share partition: what was stored, and what changed since, merged (Kafka: PersisterStateBatchCombiner).

A share partition may have thousands of batches, and one request may change as many. So they are C data, 24 bytes each, and the
cost is linear in their number when they come in offset order without overlaps, as they do; otherwise it is n log n, however they
overlap.
"""
from typing import NamedTuple

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport INT64_MAX, INT64_MIN, int8_t, int16_t, int64_t, uint8_t, uint16_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, qsort, realloc

from kafka_cy.records.wire cimport load_be16, load_be64, store_be16, store_be64

cdef enum:
    ENCODED_BYTES = 20      # two int64, an int8, an int16, and the number of tagged fields


class StateBatch(NamedTuple):
    """Records that share a state: 0 available, 2 acknowledged, 4 archived."""

    first_offset: int
    last_offset: int
    delivery_state: int
    delivery_count: int


cdef int reserve(StateBatches batches, Py_ssize_t room) except -1:
    if batches.items != NULL:
        raise ValueError("state batches are immutable")
    batches.items = <BatchData*>calloc(<size_t>room + 1, sizeof(BatchData))
    if batches.items == NULL:
        raise MemoryError
    return 0


cdef StateBatches batches_with_room(Py_ssize_t room):
    cdef StateBatches made = StateBatches.__new__(StateBatches)
    reserve(made, room)
    return made


cdef StateBatches without_room(StateBatches batches):
    """They may be kept for long."""
    cdef BatchData* kept = <BatchData*>realloc(batches.items, <size_t>(batches.count + 1) * sizeof(BatchData))
    if kept != NULL:
        batches.items = kept
    return batches


cdef StateBatches batches_of(rows):
    return rows if isinstance(rows, StateBatches) else StateBatches(rows)


cdef class StateBatches:
    def __init__(self, rows=()):
        cdef BatchData* item
        if not isinstance(rows, (list, tuple)):
            rows = list(rows)
        reserve(self, len(rows))
        for first, last, state, count in rows:
            item = &self.items[self.count]
            item.first_offset, item.last_offset, item.delivery_state, item.delivery_count = first, last, state, count
            self.count += 1

    def __dealloc__(self):
        free(self.items)

    @staticmethod
    def of_fields(rows):
        cdef StateBatches made = batches_with_room(len(rows))
        cdef Py_ssize_t room = len(rows)
        cdef BatchData* item
        for each in rows:
            if made.count == room:
                break
            item = &made.items[made.count]
            item.first_offset, item.last_offset = each.first_offset, each.last_offset
            item.delivery_state, item.delivery_count = each.delivery_state, each.delivery_count
            made.count += 1
        return made

    def __len__(self):
        return self.count

    def __getitem__(self, place):
        cdef BatchData* item
        cdef Py_ssize_t at
        if isinstance(place, slice):
            return tuple(self)[place]
        at = place
        if at < 0:
            at += self.count
        if not 0 <= at < self.count:
            raise IndexError("there is no such batch")
        item = &self.items[at]
        return StateBatch(item.first_offset, item.last_offset, item.delivery_state, item.delivery_count)

    def __iter__(self):
        cdef Py_ssize_t at
        for at in range(self.count):
            yield self[at]

    def __eq__(self, other):
        cdef StateBatches theirs
        if isinstance(other, (tuple, list)):
            return tuple(self) == tuple(other)
        if not isinstance(other, StateBatches):
            return NotImplemented
        theirs = other
        return self.count == theirs.count and self.encoded() == theirs.encoded()

    def __hash__(self):
        return hash(tuple(self))

    def __repr__(self):
        return f"StateBatches({list(self)!r})"

    def encoded(self):
        cdef bytes data = PyBytes_FromStringAndSize(NULL, self.count * ENCODED_BYTES)
        cdef uint8_t* at = <uint8_t*>PyBytes_AS_STRING(data)
        cdef BatchData* item
        cdef Py_ssize_t i
        for i in range(self.count):
            item = &self.items[i]
            store_be64(at, <uint64_t>item.first_offset)
            store_be64(at + 8, <uint64_t>item.last_offset)
            at[16] = <uint8_t>item.delivery_state
            store_be16(at + 17, <uint16_t>item.delivery_count)
            at[19] = 0
            at += ENCODED_BYTES
        return data

    @staticmethod
    def decoded(bytes data not None):
        cdef Py_ssize_t count = len(data) // ENCODED_BYTES
        cdef const uint8_t* at = <const uint8_t*>PyBytes_AS_STRING(data)
        cdef StateBatches made
        cdef BatchData* item
        if len(data) != count * ENCODED_BYTES:
            return None
        made = batches_with_room(count)
        while made.count < count:
            if at[19] != 0:
                return None
            item = &made.items[made.count]
            item.first_offset = <int64_t>load_be64(at)
            item.last_offset = <int64_t>load_be64(at + 8)
            item.delivery_state = <int8_t>at[16]
            item.delivery_count = <int16_t>load_be16(at + 17)
            at += ENCODED_BYTES
            made.count += 1
        return made


# -- merging --

cdef inline bint is_better(const BatchData* one, const BatchData* other) noexcept nogil:
    """Where both cover a record: the higher delivery count, then the higher delivery state."""
    if one.delivery_count != other.delivery_count:
        return one.delivery_count > other.delivery_count
    return one.delivery_state > other.delivery_state


cdef int by_first_offset(const void* one, const void* other) noexcept nogil:
    cdef int64_t first = (<const BatchData*>one).first_offset
    cdef int64_t second = (<const BatchData*>other).first_offset
    return (first > second) - (first < second)


cdef void put_in_order(BatchData* batches, Py_ssize_t count) noexcept nogil:
    """They mostly are."""
    cdef Py_ssize_t i
    for i in range(1, count):
        if batches[i].first_offset < batches[i - 1].first_offset:
            qsort(batches, <size_t>count, sizeof(BatchData), by_first_offset)
            return


cdef void interleave(
    BatchData* out, const BatchData* one, Py_ssize_t one_count, const BatchData* other, Py_ssize_t other_count
) noexcept nogil:
    """Two that are in order become one."""
    cdef Py_ssize_t i = 0
    cdef Py_ssize_t k = 0
    while i < one_count or k < other_count:
        if k == other_count or (i < one_count and one[i].first_offset <= other[k].first_offset):
            out[i + k] = one[i]
            i += 1
        else:
            out[i + k] = other[k]
            k += 1


cdef inline void join(StateBatches combined, int64_t first, int64_t last, const BatchData* like) noexcept:
    """Append a batch, or extend the last one by it. There is room."""
    cdef BatchData* end = &combined.items[combined.count]
    if combined.count > 0:
        end -= 1
        if end.last_offset + 1 == first and end.delivery_state == like.delivery_state and (
            end.delivery_count == like.delivery_count
        ):
            end.last_offset = last
            return
        end += 1
    end.first_offset, end.last_offset = first, last
    end.delivery_state, end.delivery_count = like.delivery_state, like.delivery_count
    combined.count += 1


cdef void heap_add(const BatchData** heap, Py_ssize_t count, const BatchData* added) noexcept nogil:
    """The best one lies in front. The heap has room, and `count` others."""
    cdef Py_ssize_t at = count
    cdef Py_ssize_t above
    while at > 0:
        above = (at - 1) // 2
        if not is_better(added, heap[above]):
            break
        heap[at] = heap[above]
        at = above
    heap[at] = added


cdef void heap_drop(const BatchData** heap, Py_ssize_t count) noexcept nogil:
    """Take the one in front out of `count`."""
    cdef const BatchData* moved = heap[count - 1]
    cdef Py_ssize_t at = 0
    cdef Py_ssize_t below = 1
    while below < count - 1:
        if below + 1 < count - 1 and is_better(heap[below + 1], heap[below]):
            below += 1
        if not is_better(heap[below], moved):
            break
        heap[at] = heap[below]
        at = below
        below = 2 * at + 1
    heap[at] = moved


cdef void sweep(StateBatches combined, const BatchData* batches, Py_ssize_t count, const BatchData** heap) noexcept:
    """Combine batches that are in the order of their first offsets, and may overlap. There is room for twice as many, and in the
    heap for all."""
    cdef Py_ssize_t begun = 0
    cdef Py_ssize_t covering = 0
    cdef int64_t at = 0
    cdef int64_t last
    while begun < count or covering > 0:
        if covering == 0:
            at = batches[begun].first_offset
        while begun < count and batches[begun].first_offset <= at:
            heap_add(heap, covering, &batches[begun])
            covering += 1
            begun += 1
        while covering > 0 and heap[0].last_offset < at:
            heap_drop(heap, covering)
            covering -= 1
        if covering == 0:
            continue
        last = heap[0].last_offset
        if begun < count and batches[begun].first_offset <= last:
            last = batches[begun].first_offset - 1      # it is behind `at`
        join(combined, at, last, heap[0])
        if last == INT64_MAX:
            return
        at = last + 1


cdef Py_ssize_t take(BatchData* out, const BatchData* batches, Py_ssize_t count, int64_t start_offset) noexcept nogil:
    """Copy what lies from `start_offset` on. Returns how many."""
    cdef Py_ssize_t taken = 0
    cdef Py_ssize_t i
    for i in range(count):
        if batches[i].last_offset < max(start_offset, batches[i].first_offset):
            continue
        out[taken] = batches[i]
        out[taken].first_offset = max(start_offset, batches[i].first_offset)
        taken += 1
    return taken


cdef int combine_into(
    StateBatches combined, const BatchData* old, Py_ssize_t old_count, const BatchData* new, Py_ssize_t new_count,
    int64_t start_offset
) except -1:
    """There is room for twice as many."""
    cdef size_t room = <size_t>(old_count + new_count + 1)
    cdef BatchData* taken = <BatchData*>malloc(2 * room * sizeof(BatchData))
    cdef const BatchData** heap = <const BatchData**>malloc(room * sizeof(BatchData*))
    cdef BatchData* batches
    if taken == NULL or heap == NULL:
        free(taken)
        free(heap)
        raise MemoryError
    batches = &taken[room]
    old_count = take(taken, old, old_count, start_offset)
    new_count = take(&taken[old_count], new, new_count, start_offset)
    put_in_order(taken, old_count)
    put_in_order(&taken[old_count], new_count)
    interleave(batches, taken, old_count, &taken[old_count], new_count)
    sweep(combined, batches, old_count + new_count, heap)
    free(taken)
    free(heap)
    return 0


def combine(old, new, int64_t start_offset):
    cdef StateBatches before = batches_of(old)
    cdef StateBatches after = batches_of(new)
    cdef StateBatches combined = batches_with_room(2 * (before.count + after.count))
    combine_into(combined, before.items, before.count, after.items, after.count, start_offset)
    return without_room(combined)


cdef Py_ssize_t first_that_ends(StateBatches batches, Py_ssize_t low, int64_t offset):
    """The place of the first batch, from `low` on, that ends at `offset` or behind it."""
    cdef Py_ssize_t high = batches.count
    cdef Py_ssize_t middle
    while low < high:
        middle = (low + high) // 2
        if batches.items[middle].last_offset < offset:
            low = middle + 1
        else:
            high = middle
    return low


cdef Py_ssize_t first_behind(StateBatches batches, Py_ssize_t low, int64_t offset):
    """The place of the first batch, from `low` on, that begins behind `offset`."""
    cdef Py_ssize_t high = batches.count
    cdef Py_ssize_t middle
    while low < high:
        middle = (low + high) // 2
        if batches.items[middle].first_offset <= offset:
            low = middle + 1
        else:
            high = middle
    return low


def merge(old, new, int64_t start_offset):
    cdef StateBatches before = batches_of(old)
    cdef StateBatches after = batches_of(new)
    cdef StateBatches merged
    cdef int64_t first = INT64_MAX
    cdef int64_t last = INT64_MIN
    cdef Py_ssize_t begin = first_that_ends(before, 0, start_offset)
    cdef Py_ssize_t touched, untouched, i
    for i in range(after.count):
        first = min(first, after.items[i].first_offset)
        last = max(last, after.items[i].last_offset)
    touched = first_that_ends(before, begin, first - 1 if first > INT64_MIN else first)
    untouched = first_behind(before, touched, last + 1 if last < INT64_MAX else last)
    if after.count == 0:
        touched = untouched = before.count
    merged = batches_with_room(before.count - begin + untouched - touched + 2 * after.count)
    merged.count = take(merged.items, &before.items[begin], touched - begin, start_offset)
    combine_into(merged, &before.items[touched], untouched - touched, after.items, after.count, start_offset)
    merged.count += take(&merged.items[merged.count], &before.items[untouched], before.count - untouched, start_offset)
    return without_room(merged)
