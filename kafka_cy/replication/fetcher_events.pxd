"""What fetchers have to tell Python. See fetcher_events.pyx."""
from libc.stdint cimport int16_t, int32_t, int64_t

from kafka_cy.base.posix cimport pthread_cond_t, pthread_mutex_t
from kafka_cy.storage.partition cimport Partition

cdef enum FetchEventKind:
    EVENT_DIVERGED = 1          # held: truncate by (epoch, offset), then resume
    EVENT_OUT_OF_RANGE = 2      # held: ask the leader for its start and end
    EVENT_BELOW_START = 3       # the log was empty, and begins at `offset` now, below the leader's start
    EVENT_FENCED = 4            # held: the leader has a newer epoch
    EVENT_FAILED = 5            # held: the own log refused the records; `code` is a StorageError
    EVENT_DELAYED = 6           # the leader's error `code`; tried again after the back-off
    EVENT_CORRUPT = 7           # a batch is corrupt, at `offset`; tried again after the back-off
    EVENT_DISCONNECTED = 8      # of the fetcher: its requests fail, or for another reason; `code` is a ClientError
    EVENT_CONNECTED = 9         # of the fetcher: they succeed again
    EVENT_BEGIN = 10            # held: IBP below 2.7, truncate by OffsetForLeaderEpoch before the first fetch

cdef enum:
    EVENTS_MAX = 2000000        # further ones are dropped; see hold()

cdef struct FetchEvent:
    int32_t kind                # FetchEventKind
    int32_t fetcher             # its number
    Partition* partition        # one reference; NULL: the fetcher itself
    int32_t leader_epoch        # with which it was fetched
    int32_t code
    int32_t epoch
    int64_t offset

# Purpose: events of all fetchers of a broker, in their order. Threads: fetchers add, one Python thread takes.
# Locks: fetch_events_mutex.
cdef struct FetchEvents:
    pthread_mutex_t fetch_events_mutex
    pthread_cond_t added
    FetchEvent* events
    int64_t count
    int64_t capacity
    bint closed

# The event's reference goes to the queue. False: dropped (no memory, or beyond the limit).
cdef bint fetch_event_add(FetchEvents* events, const FetchEvent* event) noexcept nogil

cdef class FetcherEvents:
    cdef FetchEvents events
