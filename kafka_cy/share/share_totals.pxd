"""What happens to the records of share groups, counted for the metrics; see share_totals.pyx."""
from libc.stdint cimport int32_t, int64_t

from kafka_cy.base.histogram cimport Histogram

cdef enum:
    ACKNOWLEDGE_TYPES = 5
    SHARE_RANGES_MAX = 1000000      # of records in flight, of all share partitions together; about 120 bytes each

# Owner: ShareCounts and each share partition. Lifetime: reference counted. Fields marked (a) are atomics, for any thread.
cdef struct ShareTotals:
    int32_t references              # (a)
    int64_t ranges                  # (a) of records that are in flight now
    int64_t acknowledged[ACKNOWLEDGE_TYPES]     # (a) records by what their member said, when that is stored
    int64_t lock_timeouts           # (a) records whose lock expired
    int64_t failed_writes           # (a) states that could not be stored: what they would have changed is undone
    int64_t refused                 # (a) fetches that got nothing because too many ranges are in flight
    Histogram load_ns               # (a) how long it took to read the state of a share partition
    Histogram look_ns               # (a) how long a fetch looked for records in a share partition (Kafka: it holds the fetch lock)
    Histogram look_percent          # (a) that time, of the time since the end of the look before

cdef ShareTotals* totals_acquire(ShareTotals* totals) noexcept nogil
cdef void totals_release(ShareTotals* totals) noexcept nogil
cdef list counts_of(Histogram* histogram)       # a copy

cdef class ShareCounts:
    cdef ShareTotals* totals
