"""The records of a share partition between the first that is not finished and the last that was delivered (KIP-932).

They are kept as ranges that tile the offsets from `start_offset` to the last delivered one. A record is available, acquired (locked
by a member until a deadline), acknowledged or archived; the last two are final. What has to be stored changes in two steps: a
Change collects ranges that nobody else can touch; `ranges_finish` or `ranges_undo` follows when the share coordinator has stored
it or not. Kafka: SharePartition, InFlightBatch, InFlightState, RecordState.
"""
from libc.stdint cimport int8_t, int32_t, int64_t

from kafka_cy.share.group_totals cimport GroupTotals
from kafka_cy.share.range_lists cimport (
    RECORD_ACKNOWLEDGED, RECORD_ACQUIRED, RECORD_ARCHIVED, RECORD_AVAILABLE, Change, Holder, Range, RangeList,
)
from kafka_cy.share.share_totals cimport ShareTotals

cdef enum:
    DELIVERY_COUNT_MAX = 32767  # it is stored as an int16

# What a share group is configured to allow.
cdef struct ShareLimits:
    int32_t delivery_count
    int32_t records_in_flight
    int64_t lock_ns

# Purpose: see above. Locks: the mutex of the SharedRecords that it belongs to. Limit: ShareLimits.records_in_flight and
# RECORDS_AT_ONCE_MAX records together, a range for each at most. Cost of each function, unless it says otherwise: linear in the
# ranges that it changes and in what is passed in, each with a search (range_lists). It does not depend on how many others there
# are: a request may name SHARE_PARTITIONS_MAX share partitions, each with thousands of ranges.
cdef struct Ranges:
    int64_t start_offset
    RangeList all               # no two neighbours are in the same final state
    RangeList free              # those that a member can be given
    Holder* holders
    int32_t count
    int64_t finished            # records in a final state
    int64_t finishing           # records that will be when all that is being stored succeeds
    ShareTotals* totals         # one reference
    GroupTotals* group          # the same of its group; NULL: the group has no metrics of its own


cdef inline bint is_final(const Range* each) noexcept nogil:
    return each.state == RECORD_ACKNOWLEDGED or each.state == RECORD_ARCHIVED


cdef inline bint is_free(const Range* each) noexcept nogil:
    """Whether a member can be given these records."""
    return each.state == RECORD_AVAILABLE and each.change == NULL


cdef inline bint is_held(const Range* each) noexcept nogil:
    """Whether a member has locked these records and has not said yet what becomes of them."""
    return each.state == RECORD_ACQUIRED and each.change == NULL


cdef inline int64_t range_size(const Range* each) noexcept nogil:
    return each.last - each.first + 1


cdef inline int64_t ranges_next_offset(const Ranges* ranges) noexcept nogil:
    """The first offset that was never delivered."""
    return ranges.all.last.last + 1 if ranges.all.last != NULL else ranges.start_offset


# Takes a reference to the totals, and to the group's, which may be NULL.
cdef void ranges_init(Ranges* ranges, int64_t start_offset, ShareTotals* totals, GroupTotals* group) noexcept nogil
# Frees all but what changes hold, which must be finished or undone before the struct itself goes.
cdef void ranges_clear(Ranges* ranges) noexcept nogil
# Adds stored records in offset order; gaps were never delivered. -1 without memory.
cdef int ranges_load(Ranges* ranges, int64_t first, int64_t last, int8_t state, int32_t delivery_count) noexcept nogil
# Forget the records at the start that are finished.
cdef void ranges_move_start(Ranges* ranges) noexcept nogil
# Where the next read of the log begins: at the first record that is available, else behind all.
cdef int64_t ranges_fetch_offset(const Ranges* ranges) noexcept nogil
# Whether a fetch can get anything, if the log has records.
cdef bint ranges_can_acquire(const Ranges* ranges, const ShareLimits* limits) noexcept nogil
# Records after the start offset in a final state (DeliveryCompleteCount). `stored`: as if all that is being stored succeeds.
cdef int64_t ranges_finished_count(const Ranges* ranges, bint stored) noexcept nogil
# When the first lock expires; -1: none is held. Passes all ranges.
cdef int64_t ranges_next_deadline_ns(const Ranges* ranges) noexcept nogil
# How many ranges were looked at so far to find others, for tests.
cdef int64_t ranges_steps(const Ranges* ranges) noexcept nogil
# The log begins at `offset` now: what lies below is finished, also for those who hold it. -1 without memory.
cdef int ranges_forget_below(Ranges* ranges, int64_t offset) noexcept nogil

# -- changes --
cdef void change_add(Ranges* ranges, Change* change, Range* each, int8_t next_state) noexcept nogil
# It was stored. Returns whether records became available, or the start offset moved.
cdef bint ranges_finish(Ranges* ranges, Change* change) noexcept nogil
# It could not be stored: the records are as before. An expired lock expires again. Returns when the first lock of them expires,
# for records_await_expiry: nobody may be looking for it. 0: none of them is locked.
cdef int64_t ranges_undo(Ranges* ranges, Change* change) noexcept nogil

# -- for the modules beside this one --
# The first range that ends at or behind `offset`; `cursor`: a range at or before it, NULL: unknown.
cdef Range* range_from(Ranges* ranges, Range* cursor, int64_t offset) noexcept nogil
# The first free range that ends at or behind `offset`.
cdef Range* range_free_from(Ranges* ranges, int64_t offset) noexcept nogil
# Set the state of a range that no change has. Neighbours in the same final state become one: this range may be gone then.
cdef void range_set_state(Ranges* ranges, Range* each, int8_t state) noexcept nogil
# Let a range begin at `offset`, which lies in `whole` and is not its first. -1 without memory.
cdef int range_cut(Ranges* ranges, Range* whole, int64_t offset) noexcept nogil
# Add a range behind all others, without joining it. NULL: no memory.
cdef Range* range_append(Ranges* ranges, int64_t first, int64_t last, int8_t state, int32_t delivery_count) noexcept nogil
cdef Holder* holder_find(const Ranges* ranges, const char* id, int32_t size) noexcept nogil    # NULL: it holds nothing
# The same, but a new one is added. It goes with its last range; without any, `holder_drop` frees it. NULL: no memory.
cdef Holder* holder_get(Ranges* ranges, const char* id, int32_t size) noexcept nogil
cdef void holder_drop(Ranges* ranges, Holder* holder) noexcept nogil
cdef void range_give(Ranges* ranges, Range* each, Holder* holder) noexcept nogil       # holder NULL: to nobody
