"""Which brokers are alive: the leader of a partition waits for a caught-up replica outside the ISR only if its broker could join.

One flag for each broker id that was ever seen, never freed: replicas keep a pointer to it, so that a change costs the same
however many partitions there are. Until the first `set_live_brokers`, every broker counts as alive.
"""
from cpython cimport array
from libc.stdint cimport int32_t
from libc.stdlib cimport calloc, realloc

from kafka_cy.base.atomics cimport atomic_store_i32
from kafka_cy.base.posix cimport pthread_mutex_init, pthread_mutex_lock, pthread_mutex_t, pthread_mutex_unlock

import array

cdef struct KnownBroker:
    int32_t broker_id
    int32_t alive               # (a)
    bint named                  # by the call that runs now

# Guards `known` and the counts. Held for a search among the brokers.
cdef pthread_mutex_t live_brokers_mutex
cdef KnownBroker** known = NULL         # by broker id
cdef int32_t known_count = 0
cdef int32_t known_capacity = 0
cdef int32_t alive_at_first = 1         # what a broker is that no call has named yet
cdef int32_t no_broker = 0              # the flag of those beyond the limit
pthread_mutex_init(&live_brokers_mutex, NULL)


cdef int32_t place_of(int32_t broker_id) noexcept nogil:
    cdef int32_t low = 0
    cdef int32_t high = known_count
    cdef int32_t middle
    while low < high:
        middle = low + (high - low) // 2
        if known[middle].broker_id < broker_id:
            low = middle + 1
        else:
            high = middle
    return low


cdef KnownBroker* find_or_add(int32_t broker_id) noexcept nogil:
    """With the mutex. NULL: beyond the limit, or no memory."""
    global known, known_count, known_capacity
    cdef int32_t place = place_of(broker_id)
    cdef int32_t i
    cdef KnownBroker** grown
    cdef KnownBroker* broker
    if place < known_count and known[place].broker_id == broker_id:
        return known[place]
    if known_count == BROKERS_MAX:
        return NULL
    if known_count == known_capacity:
        grown = <KnownBroker**>realloc(known, <size_t>(known_capacity * 2 + 16) * sizeof(KnownBroker*))
        if grown == NULL:
            return NULL
        known = grown
        known_capacity = known_capacity * 2 + 16
    broker = <KnownBroker*>calloc(1, sizeof(KnownBroker))
    if broker == NULL:
        return NULL
    broker.broker_id = broker_id
    broker.alive = alive_at_first
    for i in range(known_count, place, -1):
        known[i] = known[i - 1]
    known[place] = broker
    known_count += 1
    return broker


cdef const int32_t* broker_alive(int32_t broker_id) noexcept nogil:
    cdef KnownBroker* broker
    pthread_mutex_lock(&live_brokers_mutex)
    broker = find_or_add(broker_id)
    pthread_mutex_unlock(&live_brokers_mutex)
    return &broker.alive if broker != NULL else &no_broker


cdef int set_alive(const int32_t* broker_ids, int32_t count) noexcept nogil:
    """0, or -1: no memory, and nothing has changed."""
    global alive_at_first
    cdef KnownBroker* broker
    cdef int failed = 0
    cdef int32_t i
    pthread_mutex_lock(&live_brokers_mutex)
    for i in range(known_count):
        known[i].named = False
    for i in range(count):
        broker = find_or_add(broker_ids[i])
        if broker == NULL:
            failed = -1
            break
        broker.named = True
    if not failed:
        alive_at_first = 0
        for i in range(known_count):
            atomic_store_i32(&known[i].alive, 1 if known[i].named else 0)
    pthread_mutex_unlock(&live_brokers_mutex)
    return failed


def set_live_brokers(broker_ids):
    """Name all brokers that are alive and not shutting down; every other one is not. Raises MemoryError."""
    cdef array.array wanted = array.array("i", broker_ids)
    cdef int32_t count = <int32_t>len(wanted)
    cdef const int32_t* ids = <const int32_t*>wanted.data.as_ints
    cdef int failed
    with nogil:
        failed = set_alive(ids, count)
    if failed:
        raise MemoryError
