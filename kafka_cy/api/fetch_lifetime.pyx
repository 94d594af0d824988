"""How the memory of a Fetch comes and goes. Each reactor keeps one allocation, which most fetches need no more than."""
from libc.stdint cimport int32_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset

from kafka_cy.api.fetch cimport FetchItem
from kafka_cy.api.fetch_cold cimport cold_read_cancel
from kafka_cy.api.fetch_session cimport session_release, topic_release
from kafka_cy.storage.log cimport segment_release
from kafka_cy.storage.partition cimport REACTORS_MAX, partition_release

cdef enum:
    SPARE_CAPACITY_MAX = 64

cdef Fetch* spare[REACTORS_MAX]                 # one unused allocation for each reactor, which owns it
memset(spare, 0, sizeof(spare))


cdef Fetch* fetch_new(Reactor* reactor, int32_t count) noexcept nogil:
    cdef Fetch* fetch = spare[reactor.id]
    cdef int32_t capacity = count if count > 4 else 4
    if fetch != NULL and fetch.capacity >= count:
        spare[reactor.id] = NULL
        capacity = fetch.capacity
    else:
        fetch = <Fetch*>malloc(sizeof(Fetch) + sizeof(FetchItem) * <size_t>capacity)
        if fetch == NULL:
            return NULL
    memset(fetch, 0, sizeof(Fetch))
    fetch.capacity = capacity
    fetch.items = <FetchItem*>(fetch + 1)
    return fetch


cdef void fetch_release_reads(Fetch* fetch) noexcept nogil:
    cdef FetchItem* item = fetch.first
    while item != NULL:
        if item.read.segment != NULL:
            segment_release(item.read.segment)
            item.read.segment = NULL
        item = item.next


cdef void fetch_clear(Fetch* fetch) noexcept nogil:
    cdef int32_t i
    cold_read_cancel(&fetch.cold_wait)
    fetch_release_reads(fetch)
    for i in range(fetch.count):
        if fetch.items[i].session_topic != NULL:
            topic_release(fetch.items[i].session_topic)
        if fetch.holds_partitions and fetch.items[i].partition != NULL:
            partition_release(fetch.items[i].partition)
    if fetch.session != NULL:
        session_release(fetch.session)
    fetch.session = NULL
    fetch.first = NULL
    fetch.last = NULL
    fetch.count = 0


cdef void fetch_free(Reactor* reactor, Fetch* fetch) noexcept nogil:
    fetch_clear(fetch)
    if reactor != NULL and spare[reactor.id] == NULL and fetch.capacity <= SPARE_CAPACITY_MAX:
        spare[reactor.id] = fetch
    else:
        free(fetch)
