"""State shared by the parts of the network layer: everything of a reactor and of the server."""
from libc.stdint cimport int8_t, int16_t, int32_t, int64_t, uint8_t, uint64_t

from kafka_cy.base.atomics cimport atomic_store_i32, counter_add
from kafka_cy.base.clock cimport monotonic_ns, ticks_now
from kafka_cy.base.posix cimport pthread_mutex_t, pthread_t
from kafka_cy.network.address_counts cimport AddressCounts
from kafka_cy.network.connection cimport Connection, ResponseSlot, SendContext, connection_peer, slot_append
from kafka_cy.network.connection_rate cimport ConnectionRate
from kafka_cy.network.control_queue cimport CONTROL_QUEUES, ControlQueue
from kafka_cy.network.counters cimport API_KEYS_MAX, LISTENERS_MAX, Counters
from kafka_cy.network.denials cimport Denial, Denials
from kafka_cy.network.log_events cimport (
    LOG_PEER_BYTES_MAX, LOG_WARNING, LogEventData, LogEvents, log_events_add,
)
from kafka_cy.network.mailbox cimport Mailbox
from kafka_cy.network.metadata_image cimport MetadataImage
from kafka_cy.network.request cimport Reactor
from kafka_cy.network.timer_wheel cimport Timer, TimerWheel
from kafka_cy.network.transport cimport Transport
from kafka_cy.storage.partition cimport REACTORS_MAX, Partition

cdef struct ApiRange:       # by API key; set by set_api_versions before start
    bint known
    int16_t version_min
    int16_t version_max
    int16_t flexible_from   # 32767: never
    int16_t queue           # the ControlQueue of its requests
    int16_t throttle_from   # the first version whose response has throttle_time_ms; 32767: none
    int16_t throttle_at     # where: its first byte after the header; below 0: counted from the end, before the tags
    bint throttled          # the request quota (request_percentage) applies to it
    bint watched            # the queue is told when a connection closes on which such a request came

cdef enum:
    SASL_HANDSHAKE_KEY = 17
    API_VERSIONS_KEY = 18
    SASL_AUTHENTICATE_KEY = 36

cdef struct Listener:
    int32_t kind            # KIND_LISTENER; first
    int32_t fd
    int32_t index
    int64_t token_bytes_max # of a frame before authentication (sasl.server.max.receive.size); 0: it does not ask for SASL
    bint names_certificates # client certificates name users (certificate.pyx)
    bint is_protected       # of brokers: limits of all listeners together do not apply to its connections
    int64_t connections     # (a)
    int64_t connections_max # (a)
    ConnectionRate connection_rate
    Transport* transport    # under transports_mutex; NULL: plaintext

# Purpose: state that reactors and Python share. Lifetime: the Server object's. Threads: (a) atomics; limits and listeners
# are set before start and never change.
cdef struct NetworkState:
    int32_t reactors_count
    void** reactors                     # ReactorState* each
    int32_t listeners_count
    Listener listeners[LISTENERS_MAX]
    ApiRange apis[API_KEYS_MAX]
    int64_t request_bytes_max           # of one frame
    int64_t queued_request_bytes_max
    int64_t queued_response_bytes_max
    int64_t connection_response_bytes_max
    int64_t connections_max
    int64_t connections_per_ip_max
    ConnectionRate connection_rate
    int64_t idle_timeout_ns             # 0: never
    int32_t in_flight_max
    int32_t retry_ms                    # how soon the retry lists are looked at without an event; tests set it
    int32_t control_requests_per_connection_max     # max at the control plane at once
    int64_t control_request_bytes_max   # max body size of a request for the control plane
    int64_t queued_requests_max         # max waiting in a control queue
    int64_t queued_request_bytes        # (a)
    int64_t request_refused_ns          # (a) when a request last had to wait for memory
    int64_t parked_bytes                # (a) the part of queued_request_bytes that parked requests hold
    int64_t queued_response_bytes       # (a) not accepted by sockets yet
    int64_t authentication_timeout_ns
    int64_t unauthenticated_max         # (a) connections that have not authenticated yet, on listeners with SASL
    int64_t unauthenticated             # (a) from accept on; when all reactors accept together, one more for each
    int64_t connections                 # (a) without those that are closed for others (Connection.is_excess)
    int64_t connection_id_next          # (a)
    int64_t turn                        # (a) round robin of new connections
    void* image                         # (a) MetadataImage*
    int32_t stopping                    # (a)
    int64_t drain_deadline_ns           # written before `stopping`
    int64_t started_ns                  # monotonic, and the ticks at that moment
    int64_t started_ticks
    int64_t slow_ns                     # (a) requests that take this long are logged; 0: none
    pthread_mutex_t transports_mutex    # guards the listeners' transports
    AddressCounts addresses
    ControlQueue[CONTROL_QUEUES] controls
    void* quotas                        # Quotas (kafka_cy/quota/table.pxd)
    LogEvents log
    LogEventData* log_ring
    Denials denials
    Denial* denials_ring

# Owner: the reactor's thread, except `mailbox`, `hazard` (image publisher reads), `connections` (acceptors read).
cdef struct ReactorState:
    Reactor shared                      # the part handlers see; first
    NetworkState* network
    int32_t mailbox_kind                # KIND_MAILBOX: the eventfd's epoll event points here
    Mailbox mailbox
    void* hazard                        # (a) the image in use; NULL while sleeping
    int64_t connections                 # (a) assigned to this reactor
    int32_t epoll_fd
    uint8_t* receive_buffer             # shared by all connections; empty between two reads
    uint8_t* session_buffer             # shared by all sessions for raw socket data; allocated for the first session
    SendContext send
    TimerWheel wheel
    Connection* idle_first              # least recently active
    Connection* idle_last
    Connection* dirty                   # have something to send or resume
    # What these wait for ends without an event of theirs: request budget, room in a control queue or job queue, the next
    # turn. The longest waiting is first.
    Connection* retry_first
    Connection* retry_last
    int64_t retry_now                   # so many of them wait for the next turn
    int64_t consume_ticks_max           # after this time the requests of a connection wait for the next turn
    int64_t resumed_ticks               # spent on connections that were paused, in this half of the turn
    int64_t stalled_check_ns            # when close_stalled is next due
    Connection* dead_first              # they are destroyed in this order
    Connection* dead_last
    bint dead_left                      # the last turn has left some for this one
    void** local_wakes                  # Partition*, one reference each
    int32_t local_wakes_count
    int32_t local_wakes_capacity
    int64_t turn_ticks                  # when this turn started
    int64_t ticks                       # last clock reading
    double ns_per_tick                  # 0: not known yet
    int64_t slow_check_ns               # when send.slow_ticks is next refreshed
    int64_t slow_lines                  # logged since then
    int64_t[LISTENERS_MAX] accepts_at_ns    # when a listener is watched again; 0: it is watched
    int64_t accepts_again_ns            # at the latest then one of them is; 0: all are watched
    void* unauthenticated_first         # Authentication (authentication.pxd), in their order
    void* unauthenticated_last
    void* refused_first                 # RefusedConnection (throttle.pxd)
    int64_t refused_count
    int64_t jobs                        # submitted and not done (see jobs.pxd)
    uint64_t excess                     # (a) 1: there may be more connections than max.connections
    uint64_t job_room                   # (a) bit set: a job queue may have room in that lane for requests that are held back here
    bint draining
    int32_t running                     # (a) its thread is running
    pthread_t thread
    Counters counters


cdef inline double ns_per_tick(const NetworkState* network) noexcept nogil:
    """Return the tick length, measured by both clocks since the start."""
    cdef int64_t ticks = ticks_now() - network.started_ticks
    return <double>(monotonic_ns() - network.started_ns) / <double>(ticks if ticks > 0 else 1)


cdef inline void connection_mark_dirty(ReactorState* reactor, Connection* connection) noexcept nogil:
    """Process the connection's responses at the end of this loop turn."""
    if not connection.dirty and not connection.dead:
        connection.dirty = True
        connection.dirty_next = reactor.dirty
        reactor.dirty = connection


cdef inline void connection_mark_dead(ReactorState* reactor, Connection* connection) noexcept nogil:
    """Destroy the connection at the end of this loop turn, or of a later one if there are many. Until then nothing more is read
    from it or sent to it, and it counts."""
    if not connection.dead:
        atomic_store_i32(&connection.dead, 1)
        connection.dead_next = NULL
        if reactor.dead_last != NULL:
            reactor.dead_last.dead_next = connection
        else:
            reactor.dead_first = connection
        reactor.dead_last = connection


cdef inline void connection_log(
    ReactorState* reactor, Connection* connection, int level, int api_key, const char* message
) noexcept nogil:
    cdef char peer[LOG_PEER_BYTES_MAX]
    connection_peer(connection, peer, LOG_PEER_BYTES_MAX)
    log_events_add(&reactor.network.log, reactor.shared.now_ns, level, peer, api_key, message)


cdef inline void connection_fail(
    ReactorState* reactor, Connection* connection, int api_key, const char* message
) noexcept nogil:
    """Close the connection because of bad input, with one log line."""
    if connection.dead:
        return
    connection_log(reactor, connection, LOG_WARNING, api_key, message)
    counter_add(&reactor.counters.closed_bad, 1)
    connection_mark_dead(reactor, connection)


cdef inline void connection_refuse(
    ReactorState* reactor, Connection* connection, int api_key, const char* message
) noexcept nogil:
    """Close the connection because of its next request, with one log line.

    Kafka handles one request of a connection after another, so the responses to the earlier ones leave first. A client that does
    not read them is closed as every other one that does not read.
    """
    cdef ResponseSlot* slot = NULL
    if connection.dead:
        return
    if connection.slots_first != NULL or connection.send_first != NULL:
        slot = slot_append(&reactor.send, connection)
    if slot == NULL:                    # no response is due, or no memory
        connection_fail(reactor, connection, api_key, message)
        return
    connection_log(reactor, connection, LOG_WARNING, api_key, message)
    counter_add(&reactor.counters.closed_bad, 1)
    slot.close_here = True
    slot.done = True
    connection.closing = True
    connection_mark_dirty(reactor, connection)
