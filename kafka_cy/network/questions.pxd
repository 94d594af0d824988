"""Questions that a hot handler asks the control plane while its request waits; see questions.pyx."""
from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t

from kafka_cy.network.connection cimport Connection
from kafka_cy.network.control_queue cimport ControlMessage, QuestionAnswered
from kafka_cy.network.request cimport Reactor
from kafka_cy.network.reactor_state cimport ReactorState

# Whether the control loop of an API can be asked now.
cdef enum QuestionRoom:
    QUESTION_ALLOWED = 0
    QUESTION_LATER = 1          # its queue is full
    QUESTION_NOBODY = 2         # the API is not served

cdef QuestionRoom question_room(Reactor* reactor, int16_t api_key) noexcept nogil
# The handler's result when the queue is full and nothing of the request is done: it is handled again later.
cdef int question_hold_back(Connection* connection) noexcept nogil
# Have the loop that handles `api_key` look for what reactors have left for it.
cdef void question_wake(Reactor* reactor, int16_t api_key) noexcept nogil
# Ask the loop that handles `api_key`. The connection must be held, and only one question may be open for it. `held_bytes`: the
# memory of the request that waits, counted as queued request bytes until the answer. `answered` is called once, unless the
# connection closes before; `context` must live until then. 0, or -1 without memory.
cdef int question_ask(
    Reactor* reactor, Connection* connection, int16_t api_key, int16_t api_version, const uint8_t* data, size_t size,
    int64_t held_bytes, QuestionAnswered answered, void* context,
) noexcept nogil
# The same to the loop of a queue, about no request: `api_key` and `api_version` are for the loop to know the question by.
cdef int question_ask_queue(
    Reactor* reactor, Connection* connection, int32_t queue, int16_t api_key, int16_t api_version, const uint8_t* data,
    size_t size, int64_t held_bytes, QuestionAnswered answered, void* context,
) noexcept nogil

# -- internal to the network layer --
cdef void question_complete(ReactorState* reactor, ControlMessage* message) noexcept nogil    # its answer came back
