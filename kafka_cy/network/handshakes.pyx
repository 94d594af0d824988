"""TLS handshakes run as jobs: a private key takes a millisecond (RSA with 2048 bits) or six (4096), and others would wait for it.

Every step is a job, also that of a client that resumes a session: only OpenSSL knows whether its ticket is good, a key exchange
takes 0.1 ms, and after a restart of many clients there are thousands. What a connection says after that is not a job.

While a job has the session, it alone uses the session and reads the socket; the queue and the mailbox hand it over. epoll does
not watch the socket, because it cannot be told to ignore a client that leaves, and what such a client has sent is read in any
case: an alert says why it left. A handshake that finds its lane of the queue full is held back, unread. So it holds no memory but
that of its connection, and those of one client do not keep out another's. One that was answered has its next step anyway: to wait
twice behind all that begin would waste what it has cost. Such a step takes no place of its lane: clients that send their second
message byte by byte would otherwise keep out those of their address that begin. In the lane, the oldest step is first.
All functions but `run` are called on the connection's reactor.
Limits: one job for each connection, and the threads and places of the queue.
"""
from libc.stdint cimport int64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset

from kafka_cy.base.atomics cimport counter_add
from kafka_cy.base.posix cimport EPOLLIN, EPOLL_CTL_ADD, EPOLL_CTL_DEL, close, epoll_ctl, epoll_event
from kafka_cy.network.authentication cimport authentication_awaits, authentication_goes_on
from kafka_cy.network.certificate cimport certificate_begin
from kafka_cy.network.connection cimport PAUSE_HANDSHAKE, Connection
from kafka_cy.network.connection_lifetime cimport connection_active
from kafka_cy.network.job_places cimport job_has_room, job_hold_back, job_passed
from kafka_cy.network.jobs cimport JOB_HANDSHAKE, Job, job_cancel, job_submit
from kafka_cy.network.reactor_state cimport ReactorState, connection_fail, connection_mark_dirty
from kafka_cy.network.receive cimport session_ended
from kafka_cy.network.request cimport Reactor
from kafka_cy.network.transport cimport Session
from kafka_cy.records.compression cimport Codecs

# Owner: as its Job.
cdef struct Handshake:
    Job job
    Session* session
    Connection* connection  # NULL: it has closed. The reactor's, like `fd`
    int fd                  # then the socket
    int64_t answered_bytes  # before this step


cdef void run(Job* job, Codecs* codecs) noexcept nogil:
    cdef Session* session = (<Handshake*>job).session
    session.shake_hands(session)


cdef void done(Reactor* shared, Job* job) noexcept nogil:
    cdef Handshake* handshake = <Handshake*>job
    cdef Connection* connection = handshake.connection
    if connection == NULL:
        handshake.session.close(handshake.session)
        close(handshake.fd)
    else:
        connection.handshake = NULL
        if not connection.dead:
            go_on(<ReactorState*>shared.private_state, connection, handshake.answered_bytes)
    free(handshake)


cdef void go_on(ReactorState* reactor, Connection* connection, int64_t answered_bytes) noexcept nogil:
    """Watch the socket again, unless the job has found the end. The connection is resumed later, so an end is told here: until
    then the client may reset the connection."""
    cdef epoll_event event
    cdef bint has_advanced
    connection_active(reactor, connection)
    has_advanced = connection.session.established or connection.session.answered_bytes > answered_bytes
    authentication_goes_on(reactor, connection, has_advanced)
    if connection.session.ended:
        session_ended(reactor, connection)
        return
    if connection.session.established and connection.authentication == NULL:
        certificate_begin(reactor, connection)
    event.events = EPOLLIN
    event.data.ptr = connection
    connection.events = EPOLLIN
    if epoll_ctl(reactor.epoll_fd, EPOLL_CTL_ADD, connection.fd, &event) != 0:
        connection_fail(reactor, connection, -1, "the socket cannot be watched")
    connection_mark_dirty(reactor, connection)


cdef void handshake_continue(ReactorState* reactor, Connection* connection) noexcept nogil:
    cdef Handshake* handshake
    connection_mark_dirty(reactor, connection)
    authentication_awaits(reactor, connection)
    if connection.session.answered_bytes == 0 and not job_has_room(&reactor.shared, connection, JOB_HANDSHAKE):
        job_hold_back(connection, JOB_HANDSHAKE, True)
        counter_add(&reactor.counters.paused, 1)
        return
    handshake = <Handshake*>malloc(sizeof(Handshake))
    if handshake == NULL:
        connection_fail(reactor, connection, -1, "out of memory")
        return
    memset(handshake, 0, sizeof(Handshake))
    handshake.job.kind = JOB_HANDSHAKE
    handshake.job.run = run
    handshake.job.done = done
    handshake.session = connection.session
    handshake.connection = connection
    handshake.answered_bytes = connection.session.answered_bytes
    handshake.job.placeless = handshake.answered_bytes > 0
    if connection.held_back:
        job_passed(connection)
    epoll_ctl(reactor.epoll_fd, EPOLL_CTL_DEL, connection.fd, NULL)
    connection.events = 0
    connection.handshake = handshake
    connection.pauses |= PAUSE_HANDSHAKE
    job_submit(&reactor.shared, connection, &handshake.job)


cdef void handshake_abandon(ReactorState* reactor, Connection* connection) noexcept nogil:
    cdef Handshake* handshake = <Handshake*>connection.handshake
    handshake.connection = NULL
    handshake.fd = connection.fd
    connection.handshake = NULL
    connection.session = NULL
    job_cancel(&reactor.shared, &handshake.job)
