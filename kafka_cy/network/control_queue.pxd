"""Requests on their way from reactors to a loop of the Python control plane, and back with a response.

Each loop has its own queue, so that work for one role (topics) does not delay another (groups). A queue also tells which
connections have closed, of those on which a request of a watched API came (Server.watch_closes).
Owner: reactors push, the loop's thread takes all at once. Lock: `mutex`. The condition is signalled only if the
queue was empty. Limits: queued_requests_max requests, control_requests_per_connection_max per connection, and the
bytes counted by `reserved` in the broker's request budget.
"""
from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t
from libc.stdlib cimport free

from kafka_cy.base.atomics cimport atomic_add_i64
from kafka_cy.base.posix cimport (
    cond_init_monotonic, cond_wait_until, pthread_cond_destroy, pthread_cond_signal, pthread_cond_t, pthread_mutex_destroy,
    pthread_mutex_init, pthread_mutex_lock, pthread_mutex_t, pthread_mutex_unlock,
)
from kafka_cy.network.connection cimport ClosedConnection, Connection, ResponseSlot
from kafka_cy.network.principal cimport Principal, principal_unref
from kafka_cy.network.request cimport Reactor

cdef enum:
    CONTROL_QUEUES = 4          # matches the loops in kafka_cy/api/registry.py
    AUTHENTICATION_QUEUE = 3
    CONTROL_ERRORS_MAX = 8      # different error codes in one response; more are not counted

# The answer to a question of a hot handler (network/questions); `answer` is NULL when there is none. On the reactor that asked.
ctypedef void (*QuestionAnswered)(Reactor* reactor, void* context, const uint8_t* answer, size_t size) noexcept nogil

# One forwarded request; the same struct carries the response back (mailbox_post_response). Owner: its current holder.
# `connection` and `slot` stay allocated until it returns to its reactor, even if the socket was closed long before.
cdef struct ControlMessage:
    ControlMessage* next        # first
    Connection* connection
    ResponseSlot* slot
    int32_t reactor
    int32_t queue               # the ControlQueue it came through
    int16_t api_key
    int16_t api_version
    int32_t correlation_id
    int32_t listener
    int64_t connection_id
    int64_t received_ns
    int64_t received            # ticks: socket ready, handler started, handler returned, response complete
    int64_t begun               # 0: never handled
    int64_t handled
    int64_t answered
    int32_t errors_count
    int16_t error_codes[CONTROL_ERRORS_MAX]     # of the response; the reactor counts them
    int32_t error_times[CONTROL_ERRORS_MAX]
    int32_t client_port
    int32_t software            # as Connection.software
    char client_host[64]
    int32_t client_id_size      # -1 null
    size_t body_size
    int64_t reserved            # bytes of the request budget; 0 once the body was decoded
    QuestionAnswered answered_question      # NULL: a request of a client. Otherwise a question of a hot handler, without a slot
    void* question_context
    int64_t question_holds      # bytes of the request budget that the request which waits for the answer holds
    Principal* principal        # of the client; one reference
    int32_t authentication_step # AuthenticationStep
    int32_t authentication_state        # AuthenticationState: the present one, then the one that the loop decides
    int64_t authenticated_ns    # 0: not yet
    bint authenticates          # the loop says: it is `new_principal` from now on
    Principal* new_principal    # one reference; NULL: anonymous
    int64_t expires_ns          # of the session; 0: never
    int32_t mechanism           # as Authentication.mechanism
    int32_t throttle_ms         # how long the client waits according to a quota that the handler knows
    uint8_t* response           # whole frame, malloc'ed; NULL: close the connection
    size_t response_size
    char close_reason[160]
    uint8_t data[1]             # client id, then body

cdef struct ControlQueue:
    pthread_mutex_t mutex
    pthread_cond_t not_empty
    ControlMessage* first
    ControlMessage* last
    ClosedConnection* closed    # connections that have closed; at most one each
    bint woken                  # wake was called
    int64_t count               # (a) requests whose handler has not started
    int64_t bytes               # (a) of bodies not decoded yet
    int64_t idle_ns             # (a) total time its loop has waited for work
    int64_t busy_since_ns       # (a) 0: the loop waits


cdef inline void control_message_free(ControlMessage* message) noexcept nogil:
    """Free the message; its response was taken over, or is NULL."""
    principal_unref(message.principal)
    principal_unref(message.new_principal)
    free(message)


cdef inline void control_queue_init(ControlQueue* queue) noexcept nogil:
    pthread_mutex_init(&queue.mutex, NULL)
    cond_init_monotonic(&queue.not_empty)
    queue.first = NULL
    queue.last = NULL
    queue.closed = NULL
    queue.woken = False
    queue.count = 0
    queue.bytes = 0
    queue.idle_ns = 0
    queue.busy_since_ns = 0


cdef inline void closed_connections_free(ClosedConnection* first) noexcept nogil:
    cdef ClosedConnection* following
    while first != NULL:
        following = first.next
        free(first)
        first = following


cdef inline void control_queue_free(ControlQueue* queue) noexcept nogil:
    closed_connections_free(queue.closed)
    pthread_cond_destroy(&queue.not_empty)
    pthread_mutex_destroy(&queue.mutex)


cdef inline void control_queue_push(ControlQueue* queue, ControlMessage* message) noexcept nogil:
    cdef bint was_empty
    message.next = NULL
    pthread_mutex_lock(&queue.mutex)
    was_empty = queue.first == NULL
    if was_empty:
        queue.first = message
    else:
        queue.last.next = message
    queue.last = message
    atomic_add_i64(&queue.count, 1)
    if was_empty:
        pthread_cond_signal(&queue.not_empty)
    pthread_mutex_unlock(&queue.mutex)


cdef inline void control_queue_closed(ControlQueue* queue, ClosedConnection* closed) noexcept nogil:
    """The connection has closed; its requests were pushed before."""
    pthread_mutex_lock(&queue.mutex)
    closed.next = queue.closed
    queue.closed = closed
    queue.woken = True
    pthread_cond_signal(&queue.not_empty)
    pthread_mutex_unlock(&queue.mutex)


cdef inline void control_queue_wake(ControlQueue* queue) noexcept nogil:
    pthread_mutex_lock(&queue.mutex)
    queue.woken = True
    pthread_cond_signal(&queue.not_empty)
    pthread_mutex_unlock(&queue.mutex)


cdef inline ControlMessage* control_queue_take(
    ControlQueue* queue, int64_t deadline_ns, ClosedConnection** closed
) noexcept nogil:
    """Take all waiting requests, oldest first; NULL at the deadline or when woken. Blocks.

    `closed` gets the connections that have closed: all of their requests were taken now or before.
    """
    cdef ControlMessage* taken
    pthread_mutex_lock(&queue.mutex)
    while queue.first == NULL and not queue.woken:
        if cond_wait_until(&queue.not_empty, &queue.mutex, deadline_ns) != 0:
            break
    queue.woken = False
    taken = queue.first
    queue.first = NULL
    queue.last = NULL
    closed[0] = queue.closed
    queue.closed = NULL
    pthread_mutex_unlock(&queue.mutex)
    return taken
