"""The records in flight of one share partition, as reactors and the coordinator's thread share them; see shared_records.pyx."""
from libc.stdint cimport int32_t, int64_t

from kafka_cy.base.posix cimport pthread_mutex_t
from kafka_cy.share.group_totals cimport GroupTotals
from kafka_cy.share.in_flight_ranges cimport Change, Ranges, ShareLimits
from kafka_cy.share.share_totals cimport ShareTotals
from kafka_cy.storage.partition cimport Partition

# Purpose: what acquires, acknowledges and releases records of a share partition, wherever it runs. It is the only copy.
# Threads: reactors (ShareFetch, ShareAcknowledge), coordinator (the same, expired locks, sessions that end, what was stored).
# Locks: `mutex` guards the ranges and the fields behind it; it is held while they are walked, never over a read of the log.
# Lifetime: reference counted: the coordinator's handle (InFlight), sessions, fetches and changes. Limit: PARTITIONS_MAX of
#   SharePartitions are open; a closed one lives until its last fetch and change have ended.
cdef struct SharedRecords:
    int32_t references          # (a)
    int64_t number              # of this share partition: no other one ever has it
    Partition* partition        # of its log; one reference. NULL in tests of the ranges alone
    int32_t leader_epoch        # with which it was begun
    int32_t is_open             # (a) 0: no record is acquired any more. Written under the mutex
    int64_t terms_version       # (a) of when the settings below were looked up; written under the mutex
    pthread_mutex_t mutex
    ShareLimits limits
    bint committed              # share.isolation.level is read_committed
    bint renews                 # share.renew.acknowledge.enable
    Ranges ranges
    int64_t expiry_ns           # when the coordinator looks for expired locks (monotonic); 0: it does not
    bint noticed                # it is in the list of those for which the coordinator has to look earlier
    int64_t noticed_ns          # when, if so
    SharedRecords* noticed_next
    int64_t looked_ns           # (a) when the last look of a fetch for records ended (monotonic); 0: there was none

# A share partition with one reference. `group`: NULL if its group has no metrics of its own. NULL: no memory.
cdef SharedRecords* records_new(
    int64_t start_offset, Partition* partition, ShareTotals* totals, GroupTotals* group
) noexcept nogil
cdef SharedRecords* records_acquire(SharedRecords* records) noexcept nogil
cdef void records_release(SharedRecords* records) noexcept nogil
# Whether it is open, and this broker leads the partition as when it was begun.
cdef bint records_are_led(SharedRecords* records) noexcept nogil
# Whether reactors may use it: the same, and its settings are current.
cdef bint records_are_current(SharedRecords* records) noexcept nogil
# The next fetch is the coordinator's work.
cdef void records_outdate(SharedRecords* records) noexcept nogil
# Records were locked until `deadline_ns`; the mutex is held. True: the coordinator has to be woken, so that it looks in time
# (records_take_noticed).
cdef bint records_await_expiry(SharedRecords* records, int64_t deadline_ns) noexcept nogil
# Undo a change of these records, and await the expiry of locks that hold again. True: as above.
cdef bint records_undo(SharedRecords* records, Change* change) noexcept nogil
# A fetch has looked for records, from `begun_ns` until `ended_ns`; for the metrics.
cdef void records_looked(SharedRecords* records, int64_t begun_ns, int64_t ended_ns) noexcept nogil
# The next one that the coordinator has to look at, with a reference. NULL: none.
cdef SharedRecords* records_take_noticed() noexcept nogil

# A change with what it belongs to.
cdef struct PendingChange:
    SharedRecords* records      # one reference
    Change* change              # malloc'ed

# What a request changes in several share partitions. Owner: the request, then the coordinator's thread (take_changes).
cdef struct PendingChanges:
    int32_t count
    PendingChange items[1]      # really `count`
