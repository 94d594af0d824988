"""Doubly linked lists with shortcuts (a skip list).

The list itself has all of its ranges. Some of them are in a first level of shortcuts, too, some of those in a second one, and so
on. A search begins in the highest level and goes down where the next range lies too far. The height of a range is random, with the
secret seed of the process: a client cannot choose which of its records have shortcuts.
"""
from libc.stdint cimport int8_t, uint32_t, uint64_t
from libc.stdlib cimport malloc
from libc.string cimport memset

from kafka_cy.base.atomics cimport atomic_add_relaxed_i64
from kafka_cy.base.hash cimport hash_of_number

cdef int64_t heights_drawn = 0      # (a)


cdef int8_t draw_height() noexcept nogil:
    cdef uint32_t bits = hash_of_number(<uint64_t>atomic_add_relaxed_i64(&heights_drawn, 1))
    cdef int8_t height = 0
    while height < SHORTCUT_LEVELS and bits % SHORTCUT_STEP == 0:
        height += 1
        bits //= SHORTCUT_STEP
    return height


cdef Range* range_allocate() noexcept nogil:
    cdef int8_t height = draw_height()
    cdef Range* made = <Range*>malloc(sizeof(Range) + 2 * <size_t>height * sizeof(RangeLink))
    if made == NULL:
        return NULL
    memset(made, 0, sizeof(Range))
    made.height = height
    return made


cdef inline RangeLink* link_at(Range* each, int kind, int level) noexcept nogil:
    """Level 0 is the list itself."""
    if level == 0:
        return <RangeLink*>each + kind
    return <RangeLink*>(each + 1) + kind * each.height + level - 1


cdef inline Range* next_at(const RangeList* chain, Range* each, int level) noexcept nogil:
    """The range behind `each`; NULL: the first one."""
    if each != NULL:
        return link_at(each, chain.kind, level).next
    return chain.first if level == 0 else chain.shortcuts[level - 1]


cdef Range* pass_lower(RangeList* chain, Range* each, int level, int64_t first) noexcept nogil:
    """The last range of the level that begins before `first`, from `each` on; NULL: none does."""
    cdef Range* following = next_at(chain, each, level)
    while following != NULL and following.first < first:
        chain.steps += 1
        each = following
        following = link_at(each, chain.kind, level).next
    return each


cdef void link_behind(RangeList* chain, Range* before, Range* each, int level) noexcept nogil:
    """`before` NULL: at the beginning."""
    cdef RangeLink* link = link_at(each, chain.kind, level)
    link.previous = before
    link.next = next_at(chain, before, level)
    if link.next != NULL:
        link_at(link.next, chain.kind, level).previous = each
    elif level == 0:
        chain.last = each
    if before != NULL:
        link_at(before, chain.kind, level).next = each
    elif level == 0:
        chain.first = each
    else:
        chain.shortcuts[level - 1] = each


cdef Range* list_find(RangeList* chain, int64_t offset) noexcept nogil:
    cdef Range* each = NULL
    cdef int level
    if chain.last == NULL or chain.last.last < offset:
        return NULL
    for level in range(SHORTCUT_LEVELS, -1, -1):
        each = pass_lower(chain, each, level, offset)
    if each != NULL and each.last >= offset:
        return each
    return next_at(chain, each, 0)


cdef void list_insert(RangeList* chain, Range* each) noexcept nogil:
    cdef Range* before = NULL
    cdef int level
    if each.height == 0 and chain.last != NULL and chain.last.first < each.first:
        link_behind(chain, chain.last, each, 0)
        return
    for level in range(SHORTCUT_LEVELS, -1, -1):
        before = pass_lower(chain, before, level, each.first)
        if level <= each.height:
            link_behind(chain, before, each, level)


cdef void list_insert_behind(RangeList* chain, Range* before, Range* each) noexcept nogil:
    if each.height == 0:
        link_behind(chain, before, each, 0)
    else:
        list_insert(chain, each)


cdef void list_remove(RangeList* chain, Range* each) noexcept nogil:
    cdef RangeLink* link
    cdef int level
    for level in range(each.height + 1):
        link = link_at(each, chain.kind, level)
        if link.next != NULL:
            link_at(link.next, chain.kind, level).previous = link.previous
        elif level == 0:
            chain.last = link.previous
        if link.previous != NULL:
            link_at(link.previous, chain.kind, level).next = link.next
        elif level == 0:
            chain.first = link.next
        else:
            chain.shortcuts[level - 1] = link.next
