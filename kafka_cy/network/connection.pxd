"""One client connection: unparsed bytes, ordered response slots and the send queue; see connection.pyx."""
from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t, uint32_t

from kafka_cy.network.buffer_pool cimport BufferPool
from kafka_cy.network.counters cimport ApiCounters, Counters
from kafka_cy.network.principal cimport Principal
from kafka_cy.network.trace_events cimport TraceEvent
from kafka_cy.network.transport cimport Session
from kafka_cy.storage.log cimport Segment

cdef enum EpollKind:        # first field of every struct an epoll event points to
    KIND_LISTENER = 1
    KIND_CONNECTION = 2
    KIND_MAILBOX = 3

# A connection is read and its requests are handled while `pauses` is 0. A pause is set where its cause is met, and ends
# when connection_pauses (receive.pyx) no longer finds the cause. Four kinds of events look again, through settle:
# - Something of this connection ended, and it was marked dirty: a response was sent (IN_FLIGHT, RESPONSES), the control
#   plane responded (CONTROL, AUTHENTICATION), a job ended (HELD, HANDSHAKE).
# - Something of others ended (MEMORY, PARKED, JOBS), or the next turn began (TURN): the connection is in the reactor's retry
#   list. When a job queue gets room, the reactors of those that may use it are told (job_places).
# - A timer expired (THROTTLED).
#
#                      the request                    `held`    the request is
#   handled, no job    is answered or parked             0      done or parked
#   a job has room     begins its job            HELD    1      parked; no other request is handled until connection_unhold
#   the queue is full  is held back              JOBS    0      still unparsed bytes; handled from its beginning later
#
# A connection that is held back and gets another pause, too, keeps JOBS and its place, but others need not wait for it meanwhile
# (`held_aside`).
#
# A connection has one job at a time. A Fetch that is parked already, and then finds that it needs a job while the connection
# is held, waits until it is not held any more (park_until_unheld).
#
# The client may close a paused connection (`client_gone`, from EPOLLRDHUP). Requests with a job, or held back, then end at
# once if a response is awaited (left_alone, reactor.pyx). Without a response (acks=0: `held_unanswered`, or not
# `response_awaited`) they are completed first. In both cases the end of the stream is met when the connection is read again.
cdef enum Pause:            # bits: why a socket is not read
    PAUSE_IN_FLIGHT = 1
    PAUSE_RESPONSES = 2
    PAUSE_MEMORY = 4        # no budget left for the request, or its control queue is full
    PAUSE_CONTROL = 8       # the control plane has as many of its requests as allowed
    PAUSE_HELD = 16         # a request waits for a job, and no other request may overtake it
    PAUSE_JOBS = 32         # its next request needs a job, and the job queue has no room for this client
    PAUSE_TURN = 64         # its requests took long in this turn of the reactor: the others come first
    PAUSE_THROTTLED = 256   # its client has used more than a quota allows (throttle.pyx)
    PAUSE_AUTHENTICATION = 512  # the authentication loop has its SaslHandshake, its token or its certificate
    PAUSE_HANDSHAKE = 1024  # a job has its TLS handshake (handshakes.pyx); epoll does not watch the socket meanwhile
    PAUSE_PARKED = 128      # a Produce of it parked while parked requests hold much memory, some of it for this connection

cdef enum CertificateState: # of a client certificate that names the user (certificate.pyx)
    CERTIFICATE_NONE = 0        # there is none, or the user is known
    CERTIFICATE_SHOWN = 1       # the first request asks who it is
    CERTIFICATE_ASKED = 2       # and waits for the answer

cdef enum:
    COALESCE_BYTES_MAX = 2048       # responses up to this size are copied together
    COALESCE_BUFFER_BYTES = 16384
    IOVECS_MAX = 64
    SENT_GROUPS_MAX = 16
    CLIENT_ID_BYTES_MAX = 48        # kept for the log

# A range of bytes to send: memory owned by the piece, or a range of a segment's file (one reference).
cdef struct Piece:
    Piece* next
    uint8_t* data           # NULL: file piece
    size_t size
    size_t sent
    size_t capacity         # > 0: from the buffer pool (more may be copied in); 0: malloc'ed
    Segment* segment
    int32_t fd
    int64_t position

# One response's position in the order of its connection. Owner: the connection's reactor.
# Lifetime: from dispatch until its response moves to the send queue; a request at the control plane must return first.
cdef struct ResponseSlot:
    ResponseSlot* next
    ResponseSlot* prev
    int32_t correlation_id
    int16_t api_key
    int16_t api_version
    bint done
    bint close_here         # close the connection after everything before it was sent
    bint at_control         # a ControlMessage points here
    bint throttle_decided   # quotas were asked already, or do not apply
    size_t throttle_at      # where the response has throttle_time_ms; 0: nowhere (dispatch.pxd, response_throttle_time)
    size_t response_size    # of a response in one piece, once it is complete
    Piece* first
    Piece* last
    int32_t pieces
    bint waits              # parked: counts as remote time
    size_t bytes            # of all pieces
    size_t memory_bytes     # of memory pieces
    TraceEvent* trace       # NULL: not traced
    ApiCounters* api        # where it is counted; NULL: not counted
    int64_t received        # ticks: socket ready, handler started, handler returned, response complete
    int64_t begun
    int64_t handled
    int64_t answered

# Responses of one API whose requests arrived together and that leave together.
cdef struct SentGroup:
    ApiCounters* api
    int64_t received        # ticks
    int64_t queued
    int64_t count

# Responses in the send queue whose send time is not recorded yet.
cdef struct SentGroups:
    int32_t count
    SentGroup groups[SENT_GROUPS_MAX]

# The notice to a control queue that a connection has closed. Owner: its connection until it closes, then the queue.
cdef struct ClosedConnection:
    ClosedConnection* next
    int64_t id
    int32_t queue

# Purpose: state of one socket. Owner: one reactor, from registration until it is freed; no locks.
# Lifetime: freed at the end of a loop turn in which it is dead (50 are in one turn), when none of its requests is at the control
#   plane.
# Limits: in_flight_max slots; one frame of input; queued memory bounded by connection_response_bytes_max + one response.
cdef struct Connection:
    int32_t kind            # KIND_CONNECTION; first
    int32_t fd
    int64_t id
    void* reactor           # ReactorState
    int32_t reactor_id
    int32_t listener
    int32_t family
    uint8_t address[16]
    int32_t port
    Session* session        # NULL: plaintext
    void* handshake         # the job that has the session (handshakes.pyx); NULL: none
    void* authentication    # Authentication; NULL: its listener does not ask for SASL
    Principal* principal    # NULL: User:ANONYMOUS
    int32_t certificate     # CertificateState
    void* rights            # ClientRights (authorization.pxd); NULL: no ACL was asked about yet
    # unparsed bytes: data[start:end] starts at a frame; NULL if none (idle connections hold no buffer)
    uint8_t* data
    size_t capacity
    size_t start
    size_t end
    int64_t reserved        # bytes taken from the global request budget
    int64_t reserved_ns     # since when
    int64_t request_checked_ns      # for request_memory.pyx: when progress was last seen, and its position
    int64_t request_checked_bytes
    int64_t responses_checked_ns
    int64_t responses_checked_bytes # of sent_bytes
    bint spoke              # a well-formed request arrived
    uint32_t events         # registered with epoll
    int32_t pauses
    bint closing            # stop reading; close once everything was sent
    bint ended              # the response that closes the connection was reached; nothing is queued after it
    int32_t dead            # (a) not 0: destroyed at the end of this loop turn or a later one; ControlRequest asks
    bint is_excess          # closed because of max.connections: it counts no longer (connection_quotas.pyx)
    bint dirty              # is in the reactor's dirty list
    bint send_blocked
    bint waits_for_retry    # is in the reactor's retry list
    bint waits_for_turn     # is there only until the next turn
    ResponseSlot* slots_first
    ResponseSlot* slots_last
    int32_t slots_count
    int32_t at_control      # requests at the control plane
    int32_t held            # requests that no other request may overtake: at most one (see jobs.pxd)
    int32_t held_unanswered # those of them that have no response (acks=0)
    int32_t job_kind        # with PAUSE_JOBS: the queue
    bint response_awaited   # with PAUSE_JOBS: the request that is held back has a response
    bint held_back          # in its lane of that queue, among those that get room in their order (job_places.pxd)
    bint held_aside         # it waits for something else, too: others may pass it. Written under the queue's mutex
    Connection* held_next   # there; under the queue's mutex
    Connection* held_prev
    int64_t paused_ticks    # with PAUSE_TURN: the turn's ReactorState.turn_ticks
    bint client_gone        # the client has closed its side; noticed while the socket is not read
    Piece* send_first
    Piece* send_last
    int32_t unsent_pieces   # in the send queue; with the slots, at most in_flight_max before another request is handled
    int64_t sent_bytes      # since the connection was opened
    int64_t queued_bytes    # memory bytes in slots and send queue
    int64_t queued_shared   # the part counted in the global response budget
    SentGroups* unsent      # set while the socket is full, else NULL
    int32_t software        # its entry in Counters.software; -1: none
    int32_t client_id_size  # from its first request
    char client_id[CLIENT_ID_BYTES_MAX]
    Connection* dirty_next
    Connection* retry_next      # in the reactor's retry list
    Connection* retry_prev
    Connection* dead_next       # in the order in which they ended
    Connection* next        # idle order: least recently active first
    Connection* prev
    int64_t active_ns
    ClosedConnection* watched       # to be sent when it closes; NULL: no control queue asked for it
    void* parked            # first ParkedState
    int64_t parked_bytes    # memory that parked requests reserved (park_reserve)
    void* standing          # WatchSet of its standing fetch (api/fetch_standing); NULL: none
    void* throttle          # ClientThrottle; NULL: no quota has applied to it yet

# Logs a slow request's `slot`, or, if only sending was slow, the `group` it left with; the other is NULL.
ctypedef void (*slow_hook)(Connection* connection, ResponseSlot* slot, SentGroup* group, int64_t now) noexcept nogil

# Called when the response to a traced request leaves, and for the trace of a request whose response never leaves.
ctypedef void (*trace_hook)(Connection* connection, ResponseSlot* slot, int64_t now) noexcept nogil
ctypedef void (*trace_free_hook)(TraceEvent* event) noexcept nogil

# Send state of one reactor. Owner: the reactor.
cdef struct SendContext:
    BufferPool pool
    Piece* free_pieces
    ResponseSlot* free_slots
    uint8_t* spare          # one warm writer buffer
    size_t spare_capacity
    Counters* counters
    uint8_t* record         # plaintext of a session's next record; allocated at first use
    SentGroups sent         # of the connection being sent to
    int64_t slow_ticks      # a request is logged if its total time reaches this
    slow_hook on_slow
    trace_hook on_traced
    trace_free_hook trace_free

cdef ResponseSlot* slot_append(SendContext* context, Connection* connection) noexcept nogil     # NULL: no memory
cdef void slot_remove(SendContext* context, Connection* connection, ResponseSlot* slot) noexcept nogil
# Take ownership of malloc'ed `data` as the response's next piece. 0, or -1 if memory is short (data is freed).
cdef int slot_add_memory(
    SendContext* context, Connection* connection, ResponseSlot* slot, uint8_t* data, size_t size, size_t capacity
) noexcept nogil
# The same for a response of one piece: small ones are copied together and the buffer is reused.
cdef int slot_send_whole(
    SendContext* context, Connection* connection, ResponseSlot* slot, uint8_t* data, size_t size, size_t capacity
) noexcept nogil
cdef int slot_add_file(
    SendContext* context, ResponseSlot* slot, Segment* segment, int32_t fd, int64_t position, int64_t size
) noexcept nogil
# Move completed responses, in order, to the send queue.
cdef void connection_advance(SendContext* context, Connection* connection) noexcept nogil
# Send what the socket accepts: 0 all sent, 1 the socket is full, -1 the connection is broken.
cdef int connection_flush(SendContext* context, Connection* connection) noexcept nogil
# All but slots at the control plane.
cdef void connection_drop_responses(SendContext* context, Connection* connection) noexcept nogil
cdef void send_context_free(SendContext* context) noexcept nogil
cdef void spare_take(SendContext* context, uint8_t** data, size_t* capacity) noexcept nogil
cdef void spare_give(SendContext* context, uint8_t* data, size_t capacity) noexcept nogil
# The peer's address as Kafka prints it: "127.0.0.1:40123"; `size` includes the terminating zero.
cdef void connection_peer(Connection* connection, char* text, size_t size) noexcept nogil
cdef void connection_host(Connection* connection, char* text, size_t size) noexcept nogil   # without the port


# Items of doubly linked lists (`next`, `prev`): responses in order, connections by idleness.
ctypedef fused Linked:
    ResponseSlot
    Connection


cdef inline void list_append(Linked** first, Linked** last, Linked* item) noexcept nogil:
    item.next = NULL
    item.prev = last[0]
    if last[0] != NULL:
        last[0].next = item
    else:
        first[0] = item
    last[0] = item


cdef inline void list_remove(Linked** first, Linked** last, Linked* item) noexcept nogil:
    if item.prev != NULL:
        item.prev.next = item.next
    else:
        first[0] = item.next
    if item.next != NULL:
        item.next.prev = item.prev
    else:
        last[0] = item.prev
