"""Partitions with a replica that may join the ISR: noted by the threads that answer followers, taken by the one that asks the
controller.

A list of the process without a lock: reactors push, one Python thread takes all. Each partition is in it once at most, with a
reference.
"""
from libc.stdint cimport int32_t, int64_t, uint64_t

from kafka_cy.base.atomics cimport (
    atomic_cas_i32, atomic_cas_i64, atomic_exchange_pointer, atomic_load_i32, atomic_load_pointer, atomic_store_i32,
)
from kafka_cy.base.clock cimport monotonic_ns
from kafka_cy.base.posix cimport EFD_CLOEXEC, EFD_NONBLOCK, eventfd, read, write
from kafka_cy.base.posix_connect cimport POLLIN, wait_for_socket
from kafka_cy.storage.partition cimport partition_acquire, partition_release

cdef Partition* noted = NULL            # (a) linked by isr_next
cdef int32_t wanted = 0                 # (a) somebody takes them: a broker by itself keeps no references here
cdef int noted_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)


cdef void isr_candidate_note(Partition* partition) noexcept nogil:
    cdef Partition* head
    cdef uint64_t one = 1
    if not atomic_load_i32(&wanted) or not atomic_cas_i32(&partition.isr_noted, 0, 1):
        return
    partition_acquire(partition)
    head = <Partition*>atomic_load_pointer(<void**>&noted)
    partition.isr_next = head
    while not atomic_cas_i64(<int64_t*>&noted, <int64_t>head, <int64_t>partition):
        head = <Partition*>atomic_load_pointer(<void**>&noted)
        partition.isr_next = head
    if head == NULL:
        write(noted_fd, &one, sizeof(one))


cdef void wait_noted(int64_t deadline_ns) noexcept nogil:
    cdef uint64_t count = 0
    if atomic_load_pointer(<void**>&noted) == NULL:
        wait_for_socket(noted_fd, POLLIN, -1, deadline_ns)
    read(noted_fd, &count, sizeof(count))


def take_candidates(double timeout_s):
    """Wait for partitions with a replica that may join; [(topic, index)], [] after the timeout or wake_candidates()."""
    cdef int64_t deadline_ns = monotonic_ns() + <int64_t>(timeout_s * 1e9)
    cdef Partition* partition
    atomic_store_i32(&wanted, 1)
    with nogil:
        wait_noted(deadline_ns)
    partition = <Partition*>atomic_exchange_pointer(<void**>&noted, NULL)
    found = []
    try:
        while partition != NULL:
            found.append((partition.topic[:partition.topic_size].decode(), partition.index))
            partition = forget(partition)
    finally:                                            # out of memory: the next fetch of a follower notes the rest again
        while partition != NULL:
            partition = forget(partition)
    return found


cdef Partition* forget(Partition* partition):
    """It may be noted again from here on. Returns the next one."""
    cdef Partition* following = partition.isr_next
    with nogil:
        atomic_store_i32(&partition.isr_noted, 0)
        partition_release(partition)
    return following


def forget_candidates():
    """Drop what nobody takes any more, with its references; nothing is noted before the next take_candidates()."""
    cdef Partition* partition
    atomic_store_i32(&wanted, 0)
    partition = <Partition*>atomic_exchange_pointer(<void**>&noted, NULL)
    while partition != NULL:
        partition = forget(partition)


def wake_candidates():
    """End the wait of take_candidates()."""
    cdef uint64_t one = 1
    write(noted_fd, &one, sizeof(one))
