"""Counters of one reactor. Writer: that reactor, with plain stores (`counter_add`, `histogram_add`). Readers sum over
the reactors at any time, with relaxed loads: no lock is needed, and the reactor never waits for them.

Durations are in ticks (ticks.pxd). A request's time is split as in Kafka's RequestChannel: request queue (from
socket ready to handler), local (in the handler), remote (parked, or waiting in the control plane for its
response), response queue (until the response reaches the socket), response send (until the socket took all of it).
"""
from libc.stdint cimport int16_t, int32_t, int64_t
from libc.stdlib cimport calloc

from kafka_cy.base.atomics cimport atomic_load_relaxed_i64, atomic_store_pointer, counter_add
from kafka_cy.base.histogram cimport Histogram

cdef enum:
    API_KEYS_MAX = 128
    API_FETCH_FOLLOWER = 128        # a separate row: Fetch (1) counts consumers only
    API_ROWS = 129
    API_VERSIONS_MAX = 32           # the last one counts all higher versions
    ERROR_CODES_MAX = 160           # indexed by error code + 1 (UNKNOWN_SERVER_ERROR is -1); the last one counts all others
    LISTENERS_MAX = 16
    SOFTWARE_MAX = 64               # client software, version and listener; the last entry counts all others
    SOFTWARE_NAME_BYTES_MAX = 48
    SOFTWARE_VERSION_BYTES_MAX = 24

cdef enum:                         # the parts of a request's time
    TIME_REQUEST_QUEUE = 0
    TIME_LOCAL = 1
    TIME_REMOTE = 2                 # only requests that waited; others count as 0
    TIME_RESPONSE_QUEUE = 3
    TIME_RESPONSE_SEND = 4
    TIME_TOTAL = 5
    TIME_THROTTLE = 6               # only requests whose client is throttled; others count as 0
    TIMES_COUNT = 7

# One API on one reactor. Allocated at its first request, never freed while the server exists.
cdef struct ApiCounters:
    int64_t requests[API_VERSIONS_MAX]
    int64_t errors[ERROR_CODES_MAX]
    int64_t parked                  # gauge
    int64_t expired                 # parked requests that were answered because they timed out
    Histogram times[TIMES_COUNT]
    Histogram request_bytes

# Clients of one software on one listener. A reader's copy is valid if `sequence` was even and did not change.
cdef struct ClientSoftware:
    int32_t sequence                # (a) odd while the entry is written
    int32_t listener
    int32_t name_size
    int32_t version_size
    char name[SOFTWARE_NAME_BYTES_MAX]
    char version[SOFTWARE_VERSION_BYTES_MAX]
    int64_t connections             # gauge; an entry at 0 may be reused for other software

cdef enum:                          # the low byte of `activity`; in a handler the API key is stored above it
    ACTIVITY_STARTING = 0
    ACTIVITY_WAITING = 1            # waits for sockets, mail or a deadline
    ACTIVITY_RECEIVING = 2
    ACTIVITY_HANDLING = 3
    ACTIVITY_SENDING = 4
    ACTIVITY_STOPPED = 5

cdef struct Counters:
    int64_t padding_before[8]       # shares no cache line with another thread's data
    ApiCounters* apis[API_ROWS]     # (a) by API key; NULL: not requested yet
    int64_t activity                # an ACTIVITY_ value and the API key
    int64_t turn_ns                 # monotonic time when the last turn started
    int64_t bytes_in
    int64_t bytes_out
    int64_t accepted
    int64_t refused                 # refused by a connection limit
    int64_t closed
    int64_t closed_idle
    int64_t closed_excess           # there were more connections than max.connections
    int64_t closed_bad              # malformed input
    int64_t connections             # gauge
    int64_t forwarded
    int64_t parked                  # gauge
    int64_t wakes
    int64_t loops
    int64_t busy_ticks
    int64_t slow                    # requests over the slow-request log threshold
    int64_t paused                  # times reading a socket was paused (memory, in flight, slow reader)
    int64_t throttled               # gauge: connections that are not read because of a quota
    int64_t address_throttled_by_listener[LISTENERS_MAX]        # new connections beyond the quota of their address
    int64_t address_throttle_ns_by_listener[LISTENERS_MAX]      # how long they were kept
    int64_t network_io_by_listener[LISTENERS_MAX]               # reads and writes of sockets that moved bytes
    int64_t opened_by_listener[LISTENERS_MAX]
    int64_t closed_by_listener[LISTENERS_MAX]
    int64_t authenticated_by_listener[LISTENERS_MAX]            # successful handshakes, and failed ones
    int64_t authentication_failed_by_listener[LISTENERS_MAX]
    int64_t reauthenticated_by_listener[LISTENERS_MAX]          # successful SASL re-authentications (KIP-368), and failed ones
    int64_t reauthentication_failed_by_listener[LISTENERS_MAX]
    int64_t expired_killed_by_listener[LISTENERS_MAX]           # connections that were closed because their session had expired
    int64_t accepts_throttled_by_listener[LISTENERS_MAX]        # times that connections waited for the creation rate
    int64_t accept_throttle_ns_by_listener[LISTENERS_MAX]       # how long
    ClientSoftware software[SOFTWARE_MAX]
    int64_t padding_after[8]


cdef inline ApiCounters* api_counters(Counters* counters, int row) noexcept nogil:
    """Return an API's row, allocated at its first request; NULL if memory is short."""
    cdef ApiCounters* made = counters.apis[row]
    if made == NULL:
        made = <ApiCounters*>calloc(1, sizeof(ApiCounters))
        if made != NULL:
            atomic_store_pointer(<void**>&counters.apis[row], made)
    return made


cdef inline void count_request(ApiCounters* api, int16_t version) noexcept nogil:
    counter_add(&api.requests[version if 0 <= version < API_VERSIONS_MAX else API_VERSIONS_MAX - 1], 1)


cdef inline int64_t requests_counted(const ApiCounters* api) noexcept nogil:
    """Of all versions."""
    cdef int64_t total = 0
    cdef int version
    for version in range(API_VERSIONS_MAX):
        total += atomic_load_relaxed_i64(<int64_t*>&api.requests[version])
    return total


cdef inline void count_error(ApiCounters* api, int error, int64_t times) noexcept nogil:
    """Count one response, or one partition of it, with this error code; 0 counts successes."""
    cdef int place = error + 1
    counter_add(&api.errors[place if 0 <= place < ERROR_CODES_MAX else ERROR_CODES_MAX - 1], times)
