"""Statistics of reactors, control queue and storage that are few enough to be Python objects at a scrape."""
from typing import NamedTuple

from libc.stdint cimport int32_t, int64_t

from kafka_cy.base.atomics cimport atomic_load_i64, atomic_load_pointer, atomic_load_relaxed_i64
from kafka_cy.base.clock cimport monotonic_ns
from kafka_cy.base.histogram cimport HISTOGRAM_BUCKETS, counts_quantile, counts_total, histogram_bucket, histogram_floor
from kafka_cy.network.control_queue cimport AUTHENTICATION_QUEUE, ControlQueue
from kafka_cy.network.counters cimport (
    API_ROWS, LISTENERS_MAX, SOFTWARE_MAX, TIME_TOTAL, ApiCounters, ClientSoftware, Counters, requests_counted,
)
from kafka_cy.network.reactor_state cimport NetworkState, ReactorState, ns_per_tick
from kafka_cy.network.server cimport Server
from kafka_cy.network.client_software cimport software_read
from kafka_cy.storage.log cimport log_flush_times


class ReactorNumbers(NamedTuple):
    """One reactor. Lists by listener index; times in nanoseconds."""

    activity: int               # ACTIVITY_ of counters.pxd
    api_key: int                # of the current request, if any
    turn_ns: int                # time since its loop iteration began
    busy_ns: int
    loops: int
    requests: int
    responses: int              # sent; a request without one (acks=0) counts
    bytes_in: int
    bytes_out: int
    mails: int                  # responses and wakes queued for it
    network_io: list            # reads and writes of sockets
    opened: list
    closed: list
    authenticated: list
    authentication_failed: list
    reauthenticated: list
    reauthentication_failed: list
    expired_killed: list
    accepts_throttled: list     # times that connections waited for max.connection.creation.rate, and how long
    accept_throttle_ns: list
    address_throttled: list     # connections that were refused by the quota of their address, and how long they were kept
    address_throttle_ns: list
    throttled: int              # connections that are not read because of a quota
    software: list              # (listener index, name, version as bytes, connections)


class ControlNumbers(NamedTuple):
    """One loop of the control plane."""

    idle_ns: int                # time it has been waiting for work
    busy_ns: int                # duration of its current round so far; 0: it is waiting
    queued: int                 # requests queued for it


class SharedNumbers(NamedTuple):
    """Statistics that all reactors share."""

    uptime_ns: int              # of the server
    request_bytes: int
    request_bytes_max: int


cdef int64_t requests_of(Counters* counters) noexcept nogil:
    cdef ApiCounters* api
    cdef int64_t total = 0
    cdef int row
    for row in range(API_ROWS):
        api = <ApiCounters*>atomic_load_pointer(<void**>&counters.apis[row])
        if api != NULL:
            total += requests_counted(api)
    return total


cdef int64_t responses_of(Counters* counters) noexcept nogil:
    """Requests whose response was sent, or that need none (acks=0)."""
    cdef ApiCounters* api
    cdef int64_t total = 0
    cdef int row
    cdef int place
    for row in range(API_ROWS):
        api = <ApiCounters*>atomic_load_pointer(<void**>&counters.apis[row])
        if api != NULL:
            for place in range(HISTOGRAM_BUCKETS):
                total += atomic_load_relaxed_i64(&api.times[TIME_TOTAL].counts[place])
    return total


def reactors(Server server not None):
    """One ReactorNumbers per reactor."""
    cdef NetworkState* network = server.network
    cdef Counters* counters
    cdef ClientSoftware entry
    cdef int64_t now = monotonic_ns()
    cdef double tick_ns = ns_per_tick(network)
    cdef int64_t activity
    cdef int32_t i
    cdef int32_t j
    found = []
    for i in range(network.reactors_count):
        counters = &(<ReactorState*>network.reactors[i]).counters
        activity = atomic_load_relaxed_i64(&counters.activity)
        software = []
        for j in range(SOFTWARE_MAX):
            if software_read(counters, j, &entry):
                software.append((
                    entry.listener, entry.name[:entry.name_size], entry.version[:entry.version_size], entry.connections,
                ))
        found.append(ReactorNumbers(
            activity & 0xff, activity >> 8, max(0, now - atomic_load_relaxed_i64(&counters.turn_ns)),
            <int64_t>(<double>atomic_load_relaxed_i64(&counters.busy_ticks) * tick_ns),
            atomic_load_relaxed_i64(&counters.loops),
            requests_of(counters), responses_of(counters), atomic_load_relaxed_i64(&counters.bytes_in),
            atomic_load_relaxed_i64(&counters.bytes_out),
            atomic_load_i64(&(<ReactorState*>network.reactors[i]).mailbox.responses_count),
            [atomic_load_relaxed_i64(&counters.network_io_by_listener[j]) for j in range(LISTENERS_MAX)],
            [atomic_load_relaxed_i64(&counters.opened_by_listener[j]) for j in range(LISTENERS_MAX)],
            [atomic_load_relaxed_i64(&counters.closed_by_listener[j]) for j in range(LISTENERS_MAX)],
            [atomic_load_relaxed_i64(&counters.authenticated_by_listener[j]) for j in range(LISTENERS_MAX)],
            [atomic_load_relaxed_i64(&counters.authentication_failed_by_listener[j]) for j in range(LISTENERS_MAX)],
            [atomic_load_relaxed_i64(&counters.reauthenticated_by_listener[j]) for j in range(LISTENERS_MAX)],
            [atomic_load_relaxed_i64(&counters.reauthentication_failed_by_listener[j]) for j in range(LISTENERS_MAX)],
            [atomic_load_relaxed_i64(&counters.expired_killed_by_listener[j]) for j in range(LISTENERS_MAX)],
            [atomic_load_relaxed_i64(&counters.accepts_throttled_by_listener[j]) for j in range(LISTENERS_MAX)],
            [atomic_load_relaxed_i64(&counters.accept_throttle_ns_by_listener[j]) for j in range(LISTENERS_MAX)],
            [atomic_load_relaxed_i64(&counters.address_throttled_by_listener[j]) for j in range(LISTENERS_MAX)],
            [atomic_load_relaxed_i64(&counters.address_throttle_ns_by_listener[j]) for j in range(LISTENERS_MAX)],
            atomic_load_relaxed_i64(&counters.throttled),
            software,
        ))
    return found


def control(Server server not None):
    """One ControlNumbers per loop, in the order of kafka_cy.api.registry.LOOPS."""
    cdef ControlQueue* queue
    cdef int64_t since
    cdef int64_t now = monotonic_ns()
    cdef list found = []
    cdef int i
    for i in range(AUTHENTICATION_QUEUE):
        queue = &server.network.controls[i]
        since = atomic_load_relaxed_i64(&queue.busy_since_ns)
        found.append(ControlNumbers(
            atomic_load_relaxed_i64(&queue.idle_ns), max(0, now - since) if since else 0, atomic_load_relaxed_i64(&queue.count),
        ))
    return found


def shared(Server server not None):
    """The SharedNumbers."""
    cdef NetworkState* network = server.network
    cdef int64_t now = monotonic_ns()
    return SharedNumbers(
        max(0, now - network.started_ns) if network.started_ns else 0,
        atomic_load_relaxed_i64(&network.queued_request_bytes), network.queued_request_bytes_max,
    )


def flush_counts():
    """Log flush counts by duration: a list by histogram bucket, cumulative since the process started."""
    cdef int i
    return [atomic_load_relaxed_i64(&log_flush_times().counts[i]) for i in range(HISTOGRAM_BUCKETS)]


def ms_per_tick(Server server not None):
    """The unit of flush_counts."""
    return ns_per_tick(server.network) / 1e6


def quantile(list counts not None, double wanted):
    """The value below which the share `wanted` (0 to 1) of the counted values lies; 0 if there are none."""
    cdef int64_t[HISTOGRAM_BUCKETS] copied
    cdef int i
    for i in range(HISTOGRAM_BUCKETS):
        copied[i] = counts[i]
    return counts_quantile(copied, counts_total(copied), wanted)


def bucket(int64_t value):
    """The histogram bucket that counts a value."""
    return histogram_bucket(value)


def bucket_floor(int index):
    """The smallest value of a bucket."""
    return histogram_floor(index)
