"""Acquiring: a member locks records of a share partition."""
from libc.stdint cimport int32_t, int64_t

from kafka_cy.share.in_flight_ranges cimport Ranges, ShareLimits

cdef enum:
    RECORDS_AT_ONCE = 10000     # that one fetch acquires, also of a batch with more (Kafka delivers a batch as a whole)

# A batch of the log.
cdef struct BatchBounds:
    int64_t first_offset
    int64_t last_offset
    int64_t position            # in its file; of interest to the one who reads it
    int64_t end

# Records that a member was given, for the time of the lock.
cdef struct AcquiredRow:
    int64_t first_offset
    int64_t last_offset
    int32_t delivery_count

# Owner: the fetch. Limit: RECORDS_AT_ONCE rows.
cdef struct AcquiredRows:
    AcquiredRow* rows           # malloc'ed; NULL: none yet
    int32_t count
    int32_t capacity

# What a fetch wants of a share partition.
cdef struct Wanted:
    const char* member
    int32_t member_size
    const ShareLimits* limits
    int64_t now_ns              # monotonic
    int64_t fetch_offset        # where the log was read
    int64_t records_max
    int32_t again_max               # rows of records that were delivered before: each may be a single record
    int64_t batch_size
    bint strict                 # no more than records_max; otherwise the records of a batch stay together

# Lock records of the batches that were read at `fetch_offset`, which are in offset order. Each row is a batch, or as many whole
# batches as have `batch_size` records. Records that have failed often come alone, and fewer each time. It ends early without
# memory.
cdef void ranges_acquire(
    Ranges* ranges, const Wanted* wanted, const BatchBounds* batches, int32_t count, AcquiredRows* acquired
) noexcept nogil
# Nobody was told of these rows of the member: its records are as before, as far as it still holds them.
cdef void ranges_give_back(Ranges* ranges, const char* member, int32_t member_size, const AcquiredRows* acquired) noexcept nogil
cdef void rows_free(AcquiredRows* acquired) noexcept nogil
