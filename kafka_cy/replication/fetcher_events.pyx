"""What fetchers have to tell Python: partitions that need a decision (they are held until then), errors, lost connections."""
from libc.stdint cimport int64_t
from libc.stdlib cimport free, realloc

from kafka_cy.base.clock cimport monotonic_ns
from kafka_cy.base.posix cimport (
    cond_init_monotonic, cond_wait_until, pthread_cond_destroy, pthread_cond_signal, pthread_mutex_destroy, pthread_mutex_init,
    pthread_mutex_lock, pthread_mutex_unlock,
)
from kafka_cy.storage.partition cimport partition_release

from typing import NamedTuple

EVENT_NAMES = {
    EVENT_DIVERGED: "diverged", EVENT_OUT_OF_RANGE: "out of range", EVENT_BELOW_START: "below start", EVENT_FENCED: "fenced",
    EVENT_FAILED: "failed", EVENT_DELAYED: "delayed", EVENT_CORRUPT: "corrupt", EVENT_DISCONNECTED: "disconnected",
    EVENT_CONNECTED: "connected", EVENT_BEGIN: "begin",
}


class FetcherEvent(NamedTuple):
    """One event; `topic` is "" where it concerns the fetcher. Kinds and fields: fetcher_events.pxd."""

    kind: str
    fetcher: int
    topic: str
    partition: int
    leader_epoch: int
    code: int
    epoch: int
    offset: int


cdef bint fetch_event_add(FetchEvents* events, const FetchEvent* event) noexcept nogil:
    cdef FetchEvent* grown
    cdef int64_t wanted
    cdef bint added = True
    pthread_mutex_lock(&events.fetch_events_mutex)
    if events.closed or events.count >= EVENTS_MAX:
        added = False
    elif events.count == events.capacity:
        wanted = events.capacity * 2 + 16
        grown = <FetchEvent*>realloc(events.events, <size_t>wanted * sizeof(FetchEvent))
        if grown == NULL:
            added = False
        else:
            events.events = grown
            events.capacity = wanted
    if added:
        events.events[events.count] = event[0]
        events.count += 1
        pthread_cond_signal(&events.added)
    pthread_mutex_unlock(&events.fetch_events_mutex)
    return added


cdef int64_t take(FetchEvents* events, int64_t deadline_ns, FetchEvent** taken) noexcept nogil:
    """Wait for events and take all; how many. The caller frees them."""
    cdef int64_t count
    pthread_mutex_lock(&events.fetch_events_mutex)
    while events.count == 0 and not events.closed and monotonic_ns() < deadline_ns:
        cond_wait_until(&events.added, &events.fetch_events_mutex, deadline_ns)
    count = events.count
    taken[0] = events.events
    events.events = NULL
    events.count = 0
    events.capacity = 0
    pthread_mutex_unlock(&events.fetch_events_mutex)
    return count


cdef class FetcherEvents:
    """The queue of one broker's fetchers. It must outlive them."""

    def __cinit__(self):
        pthread_mutex_init(&self.events.fetch_events_mutex, NULL)
        cond_init_monotonic(&self.events.added)

    def __dealloc__(self):
        cdef int64_t i
        for i in range(self.events.count):
            if self.events.events[i].partition != NULL:
                partition_release(self.events.events[i].partition)
        free(self.events.events)
        pthread_mutex_destroy(&self.events.fetch_events_mutex)
        pthread_cond_destroy(&self.events.added)

    def take(self, double timeout_s):
        """Wait for events; [] after the timeout or close()."""
        cdef FetchEvent* taken = NULL
        cdef FetchEvent* each
        cdef int64_t deadline_ns = monotonic_ns() + <int64_t>(timeout_s * 1e9)
        cdef int64_t count, i
        with nogil:
            count = take(&self.events, deadline_ns, &taken)
        found = []
        for i in range(count):
            each = &taken[i]
            topic, index = "", -1
            if each.partition != NULL:
                topic, index = each.partition.topic[:each.partition.topic_size].decode(), each.partition.index
            found.append(FetcherEvent(
                EVENT_NAMES[each.kind], each.fetcher, topic, index, each.leader_epoch, each.code, each.epoch, each.offset))
        with nogil:
            for i in range(count):
                if taken[i].partition != NULL:
                    partition_release(taken[i].partition)
            free(taken)
        return found

    def close(self):
        """Wake the thread that waits in take(); later events are dropped."""
        with nogil:
            pthread_mutex_lock(&self.events.fetch_events_mutex)
            self.events.closed = True
            pthread_cond_signal(&self.events.added)
            pthread_mutex_unlock(&self.events.fetch_events_mutex)
