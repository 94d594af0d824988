"""What other threads send to a reactor: accepted sockets, control-plane responses, partition wakes, completed jobs.

Owner: the reactor drains, any thread posts. Lock: `mutex`, held for a few instructions. The eventfd is written only
while the reactor sleeps, once per sleep. Limit: bounded by what may be in flight (one entry each). Responses are linked
through their own first field, so posting one needs no memory and cannot fail.
"""
from libc.stdint cimport int32_t, int64_t, uint64_t
from libc.stdlib cimport realloc

from kafka_cy.base.atomics cimport atomic_exchange_u64, atomic_fence, atomic_load_i64, atomic_store_i64
from kafka_cy.base.posix cimport (
    EFD_CLOEXEC, EFD_NONBLOCK, eventfd, pthread_mutex_init, pthread_mutex_lock, pthread_mutex_t, pthread_mutex_unlock,
    write,
)

cdef enum MailKind:
    MAIL_CONNECTION = 1     # pointer: Connection made by another reactor's accept
    MAIL_WAKE = 2           # pointer: Partition, one reference
    MAIL_JOB = 3            # pointer: Job that has run

cdef struct Mail:
    int32_t kind
    void* pointer

# A request with its response; its first field points to the next one (ControlMessage).
cdef struct MailedResponse:
    MailedResponse* next

cdef struct Mailbox:
    pthread_mutex_t mutex
    Mail* items
    int32_t capacity
    int64_t count           # (a) written under the mutex
    MailedResponse* responses_first
    MailedResponse* responses_last
    int64_t responses_count  # (a) written under the mutex
    uint64_t sleeping       # (a) 1: the reactor waits in epoll_wait
    int32_t event_fd
    Mail* taken             # the reactor's: the array being handled
    int32_t taken_capacity


cdef inline int mailbox_init(Mailbox* box) noexcept nogil:
    pthread_mutex_init(&box.mutex, NULL)
    box.items = NULL
    box.capacity = 0
    box.count = 0
    box.responses_first = NULL
    box.responses_last = NULL
    box.responses_count = 0
    box.sleeping = 0
    box.taken = NULL
    box.taken_capacity = 0
    box.event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)
    return 0 if box.event_fd >= 0 else -1


cdef inline void mailbox_ring(Mailbox* box) noexcept nogil:
    """Wake the reactor if it sleeps."""
    cdef uint64_t one = 1
    if atomic_exchange_u64(&box.sleeping, 0):
        write(box.event_fd, &one, 8)


cdef inline int mailbox_post(Mailbox* box, int32_t kind, void* pointer) noexcept nogil:
    """Post a mail. 0, or -1 if memory is short (nothing was posted)."""
    cdef Mail* grown
    cdef int32_t wanted
    cdef int64_t count
    pthread_mutex_lock(&box.mutex)
    count = box.count
    if count == box.capacity:
        wanted = box.capacity * 2 if box.capacity else 64
        grown = <Mail*>realloc(box.items, <size_t>wanted * sizeof(Mail))
        if grown == NULL:
            pthread_mutex_unlock(&box.mutex)
            return -1
        box.items = grown
        box.capacity = wanted
    box.items[count].kind = kind
    box.items[count].pointer = pointer
    atomic_store_i64(&box.count, count + 1)
    pthread_mutex_unlock(&box.mutex)
    atomic_fence()
    mailbox_ring(box)
    return 0


cdef inline int64_t mailbox_take(Mailbox* box) noexcept nogil:
    """Swap the arrays; return the number of mails in `taken`."""
    cdef Mail* items
    cdef int32_t capacity
    cdef int64_t count
    if atomic_load_i64(&box.count) == 0:
        return 0
    pthread_mutex_lock(&box.mutex)
    count = box.count
    items = box.items
    capacity = box.capacity
    box.items = box.taken
    box.capacity = box.taken_capacity
    box.taken = items
    box.taken_capacity = capacity
    atomic_store_i64(&box.count, 0)
    pthread_mutex_unlock(&box.mutex)
    return count


cdef inline void mailbox_post_response(Mailbox* box, MailedResponse* response) noexcept nogil:
    response.next = NULL
    pthread_mutex_lock(&box.mutex)
    if box.responses_last != NULL:
        box.responses_last.next = response
    else:
        box.responses_first = response
    box.responses_last = response
    atomic_store_i64(&box.responses_count, box.responses_count + 1)
    pthread_mutex_unlock(&box.mutex)
    atomic_fence()
    mailbox_ring(box)


cdef inline MailedResponse* mailbox_take_responses(Mailbox* box) noexcept nogil:
    """Take all responses, oldest first; NULL: none."""
    cdef MailedResponse* taken
    if atomic_load_i64(&box.responses_count) == 0:
        return NULL
    pthread_mutex_lock(&box.mutex)
    taken = box.responses_first
    box.responses_first = NULL
    box.responses_last = NULL
    atomic_store_i64(&box.responses_count, 0)
    pthread_mutex_unlock(&box.mutex)
    return taken


cdef inline bint mailbox_waits(Mailbox* box) noexcept nogil:
    """Whether anything was posted and not taken yet."""
    return atomic_load_i64(&box.count) != 0 or atomic_load_i64(&box.responses_count) != 0
