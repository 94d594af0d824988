"""Lifetime of shared records, whether their settings are current, and how the coordinator hears of locks.

The settings of a group belong to the metadata, which only Python reads. The coordinator copies them into each share partition, with
the version of `terms_version` before it looked. Any change of the metadata raises that version; then reactors forward the next
request, and the coordinator copies them again.
"""
from libc.stdint cimport int64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset

from kafka_cy.base.atomics cimport (
    atomic_add_i32, atomic_add_i64, atomic_load_i32, atomic_load_i64, atomic_store_i32, atomic_store_i64,
    atomic_sub_i32,
)
from kafka_cy.base.histogram cimport histogram_add_shared
from kafka_cy.base.posix cimport (
    pthread_mutex_destroy, pthread_mutex_init, pthread_mutex_lock, pthread_mutex_t, pthread_mutex_unlock,
)
from kafka_cy.share.group_totals cimport GroupTotals
from kafka_cy.share.in_flight_ranges cimport ranges_clear, ranges_init, ranges_undo
from kafka_cy.share.share_totals cimport ShareTotals
from kafka_cy.storage.partition cimport PARTITION_ONLINE, partition_acquire, partition_release

# Share partitions whose first lock expires before the coordinator looks, in the order in which they came. Each has a reference.
cdef struct Noticed:
    pthread_mutex_t mutex
    SharedRecords* first
    SharedRecords* last

cdef Noticed noticed
cdef int64_t terms_version = 1          # (a)
cdef int64_t numbers = 0                # (a)


cdef SharedRecords* records_new(
    int64_t start_offset, Partition* partition, ShareTotals* totals, GroupTotals* group
) noexcept nogil:
    cdef SharedRecords* records = <SharedRecords*>malloc(sizeof(SharedRecords))
    if records == NULL:
        return NULL
    memset(records, 0, sizeof(SharedRecords))
    records.references = 1
    records.number = atomic_add_i64(&numbers, 1)
    if partition != NULL:
        records.partition = partition_acquire(partition)
        records.leader_epoch = atomic_load_i32(&partition.leader_epoch)
    pthread_mutex_init(&records.mutex, NULL)
    ranges_init(&records.ranges, start_offset, totals, group)
    atomic_store_i32(&records.is_open, 1)
    return records


cdef SharedRecords* records_acquire(SharedRecords* records) noexcept nogil:
    atomic_add_i32(&records.references, 1)
    return records


cdef void records_release(SharedRecords* records) noexcept nogil:
    if atomic_sub_i32(&records.references, 1) > 0:
        return
    ranges_clear(&records.ranges)
    pthread_mutex_destroy(&records.mutex)
    if records.partition != NULL:
        partition_release(records.partition)
    free(records)


cdef bint records_are_led(SharedRecords* records) noexcept nogil:
    cdef Partition* partition = records.partition
    return (
        atomic_load_i32(&records.is_open) and partition != NULL and atomic_load_i32(&partition.state) == PARTITION_ONLINE
        and atomic_load_i32(&partition.leader_epoch) == records.leader_epoch
    )


cdef bint records_are_current(SharedRecords* records) noexcept nogil:
    return records_are_led(records) and atomic_load_i64(&records.terms_version) == atomic_load_i64(&terms_version)


cdef void records_outdate(SharedRecords* records) noexcept nogil:
    pthread_mutex_lock(&records.mutex)
    atomic_store_i64(&records.terms_version, 0)
    pthread_mutex_unlock(&records.mutex)


cdef bint records_await_expiry(SharedRecords* records, int64_t deadline_ns) noexcept nogil:
    cdef bint first = False
    if records.expiry_ns and records.expiry_ns <= deadline_ns:
        return False
    if records.noticed:
        records.noticed_ns = min(records.noticed_ns, deadline_ns)
        return False
    records.noticed = True
    records.noticed_ns = deadline_ns
    records.noticed_next = NULL
    records_acquire(records)
    pthread_mutex_lock(&noticed.mutex)
    first = noticed.first == NULL
    if first:
        noticed.first = records
    else:
        noticed.last.noticed_next = records
    noticed.last = records
    pthread_mutex_unlock(&noticed.mutex)
    return first


cdef bint records_undo(SharedRecords* records, Change* change) noexcept nogil:
    cdef int64_t deadline_ns
    cdef bint first
    pthread_mutex_lock(&records.mutex)
    deadline_ns = ranges_undo(&records.ranges, change)
    first = deadline_ns != 0 and records_await_expiry(records, deadline_ns)
    pthread_mutex_unlock(&records.mutex)
    return first


cdef void records_looked(SharedRecords* records, int64_t begun_ns, int64_t ended_ns) noexcept nogil:
    """The first look counts as all of its time, as in Kafka (SharePartition.recordFetchLockRatioMetric). Fetches may look at the
    same time: one that began before the last one ended says nothing about the time between them."""
    cdef ShareTotals* totals = records.ranges.totals
    cdef int64_t before_ns = atomic_load_i64(&records.looked_ns)
    cdef int64_t looked_ns = max(ended_ns - begun_ns, <int64_t>0)
    cdef int64_t all_ns = ended_ns - before_ns if before_ns else looked_ns
    atomic_store_i64(&records.looked_ns, ended_ns)
    histogram_add_shared(&totals.look_ns, looked_ns)
    if begun_ns >= before_ns:
        histogram_add_shared(&totals.look_percent, 100 * looked_ns // all_ns if all_ns > 0 else 100)


cdef SharedRecords* records_take_noticed() noexcept nogil:
    cdef SharedRecords* records
    pthread_mutex_lock(&noticed.mutex)
    records = noticed.first
    if records != NULL:
        noticed.first = records.noticed_next
    pthread_mutex_unlock(&noticed.mutex)
    return records


def outdate_terms():
    """Something has changed on which the settings of share groups may depend."""
    atomic_add_i64(&terms_version, 1)


def version_of_terms():
    """Grows with each `outdate_terms`."""
    return atomic_load_i64(&terms_version)


pthread_mutex_init(&noticed.mutex, NULL)
noticed.first = NULL
noticed.last = NULL
