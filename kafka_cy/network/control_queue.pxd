"""Requests on their way from reactors to a loop of the Python control plane, and back with a response.

Each loop has its own queue, so that work for one role (topics) does not delay another (groups).
Owner: reactors push, the loop's thread takes all at once. Lock: `mutex`. The condition is signalled only if the
queue was empty. Limits: queued_requests_max requests, control_requests_per_connection_max per connection, and the
bytes counted by `reserved` in the broker's request budget.
"""
from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t

from kafka_cy.base.atomics cimport atomic_add_i64
from kafka_cy.base.posix cimport (
    cond_init_monotonic, cond_wait_until, pthread_cond_destroy, pthread_cond_signal, pthread_cond_t, pthread_mutex_destroy,
    pthread_mutex_init, pthread_mutex_lock, pthread_mutex_t, pthread_mutex_unlock,
)
from kafka_cy.network.connection cimport Connection, ResponseSlot

cdef enum:
    CONTROL_QUEUES = 3          # matches the loops in kafka_cy/api/registry.py
    CONTROL_ERRORS_MAX = 8      # different error codes in one response; more are not counted

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
    uint8_t* response           # whole frame, malloc'ed; NULL: close the connection
    size_t response_size
    char close_reason[160]
    uint8_t data[1]             # client id, then body

cdef struct ControlQueue:
    pthread_mutex_t mutex
    pthread_cond_t not_empty
    ControlMessage* first
    ControlMessage* last
    bint woken                  # wake was called
    int64_t count               # (a) requests whose handler has not started
    int64_t bytes               # (a) of bodies not decoded yet
    int64_t idle_ns             # (a) total time its loop has waited for work
    int64_t busy_since_ns       # (a) 0: the loop waits


cdef inline void control_queue_init(ControlQueue* queue) noexcept nogil:
    pthread_mutex_init(&queue.mutex, NULL)
    cond_init_monotonic(&queue.not_empty)
    queue.first = NULL
    queue.last = NULL
    queue.woken = False
    queue.count = 0
    queue.bytes = 0
    queue.idle_ns = 0
    queue.busy_since_ns = 0


cdef inline void control_queue_free(ControlQueue* queue) noexcept nogil:
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


cdef inline void control_queue_wake(ControlQueue* queue) noexcept nogil:
    pthread_mutex_lock(&queue.mutex)
    queue.woken = True
    pthread_cond_signal(&queue.not_empty)
    pthread_mutex_unlock(&queue.mutex)


cdef inline ControlMessage* control_queue_take(ControlQueue* queue, int64_t deadline_ns) noexcept nogil:
    """Take all waiting requests, oldest first; NULL at the deadline or when woken. Blocks."""
    cdef ControlMessage* taken
    pthread_mutex_lock(&queue.mutex)
    while queue.first == NULL and not queue.woken:
        if cond_wait_until(&queue.not_empty, &queue.mutex, deadline_ns) != 0:
            break
    queue.woken = False
    taken = queue.first
    queue.first = NULL
    queue.last = NULL
    pthread_mutex_unlock(&queue.mutex)
    return taken
