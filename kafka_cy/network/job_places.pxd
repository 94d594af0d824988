"""Which requests get the free places of a job queue, and which wait; see job_places.pyx."""
from libc.stdint cimport uint32_t

from kafka_cy.network.connection cimport Connection
from kafka_cy.network.job_queue cimport JobQueue
from kafka_cy.network.reactor_state cimport ReactorState
from kafka_cy.network.request cimport Reactor

# Whether another job of the connection's client may wait in the queue: each lane has an equal share of queued.max.requests.
# While requests of the lane are held back, room is for them only, in the order in which they were held back. When a place becomes
# free, the reactors of those that may take it are woken.
# A request that has done nothing yet asks first, and is held back by job_hold_back without room. A request that has begun
# submits its job anyway, so that what it has done is answered once: a Produce that has appended a batch, and each Fetch, as
# its session has moved on. That is one job more for each held connection.
cdef bint job_has_room(Reactor* reactor, Connection* connection, int kind) noexcept nogil
# The handler's result without room. The request stays in the connection's buffer and counts as memory for requests. The
# connection is not read until there is room; then the request is handled from its beginning. `awaited`: see connection_hold.
cdef int job_hold_back(Connection* connection, int kind, bint awaited) noexcept nogil

# -- internal to the network layer --
cdef void job_passed(Connection* connection) noexcept nogil       # its request is no longer held back (connection.held_back)
# For a connection with PAUSE_JOBS whose other pauses may have changed: while it has one (`aside`) others may pass it. It keeps its
# place, unless AHEAD_MAX of its lane are aside already: then it gets the last place when it comes back.
cdef void job_set_aside(Connection* connection, bint aside) noexcept nogil
# Job queues got room (reactor.job_room): marks the reactor's connections that may use it as dirty.
cdef void jobs_have_room(ReactorState* reactor) noexcept nogil
# A place of the lane may be free. Under the queue's mutex.
cdef void tell_of_room(JobQueue* job_queue, uint32_t number) noexcept nogil
