"""What becomes of acquired records: acknowledgements, locks that end, records that no one shall get."""
from libc.stdint cimport int8_t, int32_t, int64_t

from kafka_cy.share.in_flight_ranges cimport Change, Range, Ranges, ShareLimits

cdef enum AcknowledgeType:
    TYPE_GAP = 0
    TYPE_ACCEPT = 1
    TYPE_RELEASE = 2
    TYPE_REJECT = 3
    TYPE_RENEW = 4

# Kafka's error codes.
cdef enum AcknowledgeError:
    ACKNOWLEDGE_OK = 0
    ACKNOWLEDGE_NO_MEMORY = -1          # UNKNOWN_SERVER_ERROR
    ACKNOWLEDGE_INVALID_REQUEST = 42
    ACKNOWLEDGE_INVALID_RECORD_STATE = 121

# What a member has done with records: one type for all of them, or one for each. Borrows the types.
cdef struct Acknowledgement:
    int64_t first_offset
    int64_t last_offset
    const int8_t* types
    int32_t types_count

# Whether the acknowledgements of a partition are in order, and have one type for all records or one for each.
cdef bint acknowledgements_are_valid(const Acknowledgement* asked, int32_t count, bint is_renewal) noexcept nogil
# Begin what a member says about its records: all of it or, after an error, nothing. Returns an AcknowledgeError:
# INVALID_REQUEST for offsets that were never delivered, INVALID_RECORD_STATE for records that the member does not hold, or that it
# acknowledges twice. Records below the start offset are finished: nothing happens. `change` is empty before.
cdef int ranges_acknowledge(
    Ranges* ranges, const char* member, int32_t member_size, const Acknowledgement* asked, int32_t count, const ShareLimits* limits,
    int64_t now_ns, Change* change
) noexcept nogil
# Begin to release everything that the member holds: its session has ended. Passes all ranges up to the last one that it holds.
cdef void ranges_release(
    Ranges* ranges, const char* member, int32_t member_size, const ShareLimits* limits, Change* change
) noexcept nogil
# Begin to release everything whose lock has expired. Passes all ranges.
cdef void ranges_expire(Ranges* ranges, int64_t now_ns, const ShareLimits* limits, Change* change) noexcept nogil
# Begin to archive records that no one shall get: those of aborted transactions. -1 without memory: some are left. `cursor`: NULL
# before the first call of several in offset order, under one lock; it makes them one pass.
cdef int ranges_archive(Ranges* ranges, Range** cursor, int64_t first, int64_t last, Change* change) noexcept nogil
# What a change says was stored: count it.
cdef void change_count(const Ranges* ranges, const Change* change) noexcept nogil
