"""The receive side of a connection, from its socket or through its session.

All connections of a reactor receive into one shared buffer, so an idle connection holds no buffer, and whole frames are
handled in place. A partial frame is kept in a pooled buffer of the frame's size, and the rest of the frame is received
straight into that buffer. A frame's length is checked before it is used. A frame that has to be kept is reserved from the
broker's request budget before more of it is read (`request_memory.pyx`).
"""
from libc.errno cimport EAGAIN, EINTR, errno
from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t
from libc.stdio cimport snprintf
from libc.stdlib cimport malloc, realloc
from libc.string cimport memcmp, memcpy, memmove

from kafka_cy.base.atomics cimport (
    atomic_load_pointer, atomic_load_relaxed_i64, atomic_store_pointer, counter_add,
)
from kafka_cy.base.clock cimport ticks_now
from kafka_cy.base.posix cimport iovec, readv, recv
from kafka_cy.network.buffer_pool cimport POOL_BYTES_MAX, pool_give, pool_take
from kafka_cy.network.authentication cimport (
    GUARD_FAILED, GUARD_MORE, GUARD_PASSES, GUARD_RAW_TOKEN, authentication_check, authentication_guards,
    authentication_not_asked, authentication_waits,
)
from kafka_cy.network.certificate cimport certificate_ask, certificate_asks
from kafka_cy.network.connection cimport (
    CERTIFICATE_ASKED,
    PAUSE_AUTHENTICATION, PAUSE_CONTROL, PAUSE_HANDSHAKE, PAUSE_HELD, PAUSE_IN_FLIGHT, PAUSE_JOBS, PAUSE_MEMORY, PAUSE_PARKED,
    PAUSE_RESPONSES,
    PAUSE_THROTTLED, PAUSE_TURN,
    Connection, connection_advance, connection_flush,
)
from kafka_cy.network.handshakes cimport handshake_continue
from kafka_cy.network.job_places cimport job_has_room, job_passed
from kafka_cy.network.log_events cimport LOG_MESSAGE_BYTES_MAX
from kafka_cy.network.metadata_image cimport MetadataImage
from kafka_cy.network.dispatch cimport reactor_dispatch, reactor_dispatch_token
from kafka_cy.network.hot_handlers cimport api_is_cold
from kafka_cy.network.reactor_state cimport (
    NetworkState, ReactorState, connection_fail, connection_mark_dead, connection_mark_dirty, connection_refuse,
)
from kafka_cy.network.request_memory cimport (
    KEPT_FREE_BYTES, RESPONSES_SMALL_BYTES, memory_admit, memory_hold, memory_receive_bytes, memory_release,
    parked_crowded_by, responses_share,
)
from kafka_cy.network.throttle cimport is_throttled
from kafka_cy.network.transport cimport Session
from kafka_cy.records.wire cimport load_be16, load_be32

cdef enum:
    KEPT_BYTES_START = 1048576      # the buffer of a larger frame grows as its bytes arrive
    LARGE_FRAME_BYTES = 131072
    OVERFLOW_BYTES = 8192           # read beyond a large frame
    READS_PER_EVENT_MAX = 4         # then other connections get their turn


cdef void connection_release_input(ReactorState* reactor, Connection* connection) noexcept nogil:
    pool_give(&reactor.send.pool, connection.data, connection.capacity)
    connection.data = NULL
    connection.capacity = 0
    connection.start = 0
    connection.end = 0
    memory_release(reactor, connection, 0)


cdef int connection_pauses(ReactorState* reactor, Connection* connection) noexcept nogil:
    cdef NetworkState* network = reactor.network
    cdef int pauses = 0
    if connection.queued_bytes - connection.queued_shared > RESPONSES_SMALL_BYTES:
        responses_share(reactor, connection)
    if connection.slots_count + connection.unsent_pieces >= network.in_flight_max:
        pauses |= PAUSE_IN_FLIGHT
    if connection.queued_bytes > network.connection_response_bytes_max:
        pauses |= PAUSE_RESPONSES
    elif connection.queued_bytes and (
        atomic_load_relaxed_i64(&network.queued_response_bytes) > network.queued_response_bytes_max >> 1
    ):
        pauses |= PAUSE_RESPONSES
    if connection.held:
        pauses |= PAUSE_HELD
    if connection.handshake != NULL:
        pauses |= PAUSE_HANDSHAKE
    if connection.certificate == CERTIFICATE_ASKED or authentication_waits(connection):
        pauses |= PAUSE_AUTHENTICATION
    if not connection.pauses:
        return pauses
    if connection.pauses & PAUSE_MEMORY and (
        atomic_load_relaxed_i64(&network.queued_request_bytes) >= network.queued_request_bytes_max
    ):
        pauses |= PAUSE_MEMORY
    if connection.pauses & PAUSE_PARKED and parked_crowded_by(reactor, connection):
        pauses |= PAUSE_PARKED
    if connection.pauses & PAUSE_CONTROL and connection.at_control >= network.control_requests_per_connection_max:
        pauses |= PAUSE_CONTROL
    if connection.pauses & PAUSE_THROTTLED and is_throttled(reactor, connection):
        pauses |= PAUSE_THROTTLED
    if connection.pauses & PAUSE_TURN and connection.paused_ticks == reactor.turn_ticks:
        pauses |= PAUSE_TURN
    # A connection that waits for something else, too, takes no room: it looks again when that ends.
    if connection.pauses & PAUSE_JOBS and (pauses or not job_has_room(&reactor.shared, connection, connection.job_kind)):
        pauses |= PAUSE_JOBS
    return pauses


cdef bint must_pause(ReactorState* reactor, Connection* connection) noexcept nogil:
    """Whether the next request must wait. A full send queue is first offered to the socket."""
    connection.pauses = connection_pauses(reactor, connection)
    if connection.pauses & (PAUSE_RESPONSES | PAUSE_IN_FLIGHT):
        connection_advance(&reactor.send, connection)
        if connection_flush(&reactor.send, connection) < 0:
            if connection.session != NULL:
                session_ended(reactor, connection)
            connection_mark_dead(reactor, connection)
            return True
        connection.pauses = connection_pauses(reactor, connection)
    if connection.pauses:
        counter_add(&reactor.counters.paused, 1)
    return connection.pauses != 0


cdef bint frame_length_ok(ReactorState* reactor, Connection* connection, const uint8_t* frame, int64_t length) noexcept nogil:
    """Check a frame's length before it is used; False: the connection was refused."""
    if 8 <= length <= reactor.network.request_bytes_max:
        return True
    if not connection.spoke and looks_like_http(frame):
        connection_refuse(reactor, connection, -1, "this is HTTP; the listener speaks the Kafka protocol")
    elif not connection.spoke and frame[0] == 0x16 and frame[1] == 0x03:
        connection_refuse(reactor, connection, -1, "this is TLS; the listener speaks the Kafka protocol in plaintext")
    elif length < 0:
        connection_refuse(reactor, connection, -1, "negative request size")
    elif length < 8:
        connection_refuse(reactor, connection, -1, "request shorter than its header")
    else:
        connection_refuse(reactor, connection, -1, "request larger than socket.request.max.bytes")
    return False


cdef bint looks_like_http(const uint8_t* frame) noexcept nogil:
    return (
        memcmp(frame, b"GET ", 4) == 0 or memcmp(frame, b"POST", 4) == 0 or memcmp(frame, b"HEAD", 4) == 0
        or memcmp(frame, b"PUT ", 4) == 0 or memcmp(frame, b"OPTI", 4) == 0 or memcmp(frame, b"PRI ", 4) == 0
    )


cdef void image_refresh(ReactorState* reactor) noexcept nogil:
    """Take the newest image (hazard pointer): a request sees everything published before it was sent."""
    cdef void* current = atomic_load_pointer(&reactor.network.image)
    while current != reactor.hazard:
        atomic_store_pointer(&reactor.hazard, current)
        current = atomic_load_pointer(&reactor.network.image)
    reactor.shared.image = <MetadataImage*>current


cdef size_t consume(ReactorState* reactor, Connection* connection, uint8_t* data, size_t size) noexcept nogil:
    """Handle the whole frames at the front of `data`; return how many bytes were consumed.

    A small request may be much work. After about a millisecond the rest waits for the next turn, in which others come first.
    """
    cdef size_t at = 0
    cdef int64_t length
    cdef int64_t begun = ticks_now()
    cdef int guarded
    cdef bint is_taken
    reactor.ticks = begun
    while size - at >= 4:
        if connection.dead or connection.closing:
            return size
        if must_pause(reactor, connection):
            return at
        if certificate_asks(connection):
            certificate_ask(reactor, connection)
            return size if connection.dead else at
        length = <int32_t>load_be32(data + at)
        guarded = GUARD_PASSES
        if authentication_guards(connection):
            guarded = authentication_check(reactor, connection, data + at, size - at)
            if guarded == GUARD_MORE:
                return at
        if guarded == GUARD_FAILED or (
            guarded == GUARD_PASSES and not frame_length_ok(reactor, connection, data + at, length)
        ):
            return size
        if <int64_t>(size - at - 4) < length:
            return at
        image_refresh(reactor)
        if guarded == GUARD_RAW_TOKEN:
            is_taken = reactor_dispatch_token(&reactor.shared, connection, data + at + 4, <size_t>length)
        else:
            is_taken = reactor_dispatch(&reactor.shared, connection, data + at + 4, <size_t>length)
        if not is_taken:
            authentication_not_asked(reactor, connection)
            counter_add(&reactor.counters.paused, 1)
            return at
        at += 4 + <size_t>length
        if connection.held_back:
            job_passed(connection)
        if reactor.ticks - begun > reactor.consume_ticks_max and size - at >= 4:
            connection.paused_ticks = reactor.turn_ticks
            connection.pauses |= PAUSE_TURN
            break
    return at if not (connection.dead or connection.closing) else size


cdef size_t kept_capacity(const uint8_t* data, size_t size) noexcept nogil:
    """Return the buffer size for a partial frame: as much of the frame as is likely to arrive."""
    cdef size_t wanted = 4096
    cdef size_t total
    if size >= 4:
        total = <size_t>load_be32(data) + 4
        wanted = total if total < KEPT_BYTES_START else KEPT_BYTES_START
    return wanted if wanted > size else size


cdef bint keep(ReactorState* reactor, Connection* connection, const uint8_t* data, size_t size) noexcept nogil:
    """Keep unhandled bytes (none are kept yet) until more arrive or the connection is resumed."""
    cdef size_t capacity = 0
    cdef uint8_t* kept = pool_take(&reactor.send.pool, kept_capacity(data, size), &capacity)
    if kept == NULL:
        connection_fail(reactor, connection, -1, "out of memory")
        return False
    memcpy(kept, data, size)
    connection.data = kept
    connection.capacity = capacity
    connection.start = 0
    connection.end = size
    account_kept(reactor, connection)
    return True


cdef void account_kept(ReactorState* reactor, Connection* connection) noexcept nogil:
    """Count the kept bytes and reserve memory for their first frame; if that fails, the socket is not read further."""
    cdef size_t have = connection.end - connection.start
    cdef const uint8_t* frame = connection.data + connection.start
    cdef int64_t held = <int64_t>connection.end if connection.end > KEPT_FREE_BYTES else 0
    cdef int64_t total
    memory_hold(reactor, connection, held)
    if have < 4 or connection.pauses:
        return
    total = <int64_t><int32_t>load_be32(frame) + 4
    if total <= <int64_t>have or total <= KEPT_FREE_BYTES:
        return
    if have >= 6 and total > reactor.network.control_request_bytes_max and api_is_cold(<int16_t>load_be16(frame + 4)):
        connection_refuse(
            reactor, connection, <int16_t>load_be16(frame + 4), "request larger than kafkacy.control.request.max.bytes"
        )
        connection_release_input(reactor, connection)
    elif not memory_admit(reactor, connection, total):
        connection.pauses |= PAUSE_MEMORY


cdef bint grow(ReactorState* reactor, Connection* connection, size_t wanted) noexcept nogil:
    cdef size_t have = connection.end - connection.start
    cdef size_t capacity = 0
    cdef uint8_t* grown
    if connection.start:
        memmove(connection.data, connection.data + connection.start, have)
        connection.start = 0
        connection.end = have
    if wanted <= connection.capacity:
        return True
    if connection.capacity > POOL_BYTES_MAX:            # realloc moves pages, not bytes
        grown = <uint8_t*>realloc(connection.data, wanted)
        if grown == NULL:
            connection_fail(reactor, connection, -1, "out of memory")
            return False
        connection.data = grown
        connection.capacity = wanted
        return True
    grown = pool_take(&reactor.send.pool, wanted, &capacity)
    if grown == NULL:
        connection_fail(reactor, connection, -1, "out of memory")
        return False
    memcpy(grown, connection.data, have)
    pool_give(&reactor.send.pool, connection.data, connection.capacity)
    connection.data = grown
    connection.capacity = capacity
    return True


cdef void consume_kept(ReactorState* reactor, Connection* connection) noexcept nogil:
    """Handle the kept bytes and reserve memory for the rest; an empty buffer goes back to the pool."""
    cdef size_t done
    if connection.data == NULL:
        return
    done = consume(reactor, connection, connection.data + connection.start, connection.end - connection.start)
    connection.start += done
    if connection.dead or connection.closing or connection.start == connection.end:
        connection_release_input(reactor, connection)
    else:
        if done:
            memory_release(reactor, connection, 0)
        account_kept(reactor, connection)


cdef bint received(ReactorState* reactor, Connection* connection, uint8_t* data, size_t size) noexcept nogil:
    """Handle new bytes of the shared buffer; False: stop reading this socket."""
    cdef size_t done
    if connection.data != NULL:         # paused, with earlier bytes kept
        if grow(reactor, connection, connection.end - connection.start + size):
            memcpy(connection.data + connection.end, data, size)
            connection.end += size
            account_kept(reactor, connection)
        return False
    done = consume(reactor, connection, data, size)
    if connection.dead or connection.closing:
        return False
    if done < size and not keep(reactor, connection, data + done, size - done):
        return False
    return connection.pauses == 0 and not connection.closing


cdef ssize_t read_some(ReactorState* reactor, Connection* connection, size_t* asked) noexcept nogil:
    """Read into the rest of the kept frame, then the shared buffer, with one system call. Returns the same as recv."""
    cdef iovec[2] vector
    cdef size_t have = connection.end - connection.start
    cdef size_t total
    if connection.data == NULL:
        asked[0] = memory_receive_bytes(reactor, RECEIVE_BYTES)
        return recv(connection.fd, reactor.receive_buffer, asked[0], 0)
    total = 4 if have < 4 else <size_t>load_be32(connection.data + connection.start) + 4
    if connection.start + total > connection.capacity and connection.end == connection.capacity:
        if not grow(reactor, connection, total if total < 2 * have else 2 * have):
            return -1
    elif connection.start and connection.start + total > connection.capacity:
        grow(reactor, connection, have)
    vector[0].iov_base = connection.data + connection.end
    vector[0].iov_len = total - have
    if vector[0].iov_len > connection.capacity - connection.end:
        vector[0].iov_len = connection.capacity - connection.end
        asked[0] = vector[0].iov_len
        return recv(connection.fd, vector[0].iov_base, vector[0].iov_len, 0)
    vector[1].iov_base = reactor.receive_buffer
    vector[1].iov_len = memory_receive_bytes(reactor, OVERFLOW_BYTES if total > LARGE_FRAME_BYTES else RECEIVE_BYTES)
    asked[0] = vector[0].iov_len + vector[1].iov_len
    return readv(connection.fd, vector, 2)


cdef bint take_in(ReactorState* reactor, Connection* connection, size_t size) noexcept nogil:
    """Process `size` bytes from read_some; False: stop reading this socket."""
    cdef size_t have = connection.end - connection.start
    cdef size_t total
    cdef size_t part
    if connection.data == NULL:
        return received(reactor, connection, reactor.receive_buffer, size)
    total = 4 if have < 4 else <size_t>load_be32(connection.data + connection.start) + 4
    part = total - have
    if part > connection.capacity - connection.end:
        part = connection.capacity - connection.end
    if part > size:
        part = size
    connection.end += part
    if have < 4 or have + part == total:
        consume_kept(reactor, connection)
    if connection.dead or connection.closing:
        return False
    if size > part:
        return after_kept(reactor, connection, reactor.receive_buffer, size - part)
    return connection.pauses == 0


cdef bint after_kept(ReactorState* reactor, Connection* connection, uint8_t* data, size_t size) noexcept nogil:
    """Process new bytes of the shared buffer, after any kept ones; False: stop reading this socket."""
    cdef size_t have = connection.end - connection.start
    cdef size_t wanted = have + size
    cdef size_t total
    if connection.data == NULL:
        return received(reactor, connection, data, size)
    if have >= 4 and wanted > connection.capacity:
        total = <size_t>load_be32(connection.data + connection.start) + 4
        if wanted < total and wanted < 2 * have:
            wanted = total if total < 2 * have else 2 * have        # double it: otherwise each small piece would copy everything
        wanted = kept_capacity(connection.data + connection.start, wanted)
    if not grow(reactor, connection, wanted):
        return False
    memcpy(connection.data + connection.end, data, size)
    connection.end += size
    consume_kept(reactor, connection)
    return not (connection.dead or connection.closing or connection.pauses)


cdef void session_ended(ReactorState* reactor, Connection* connection) noexcept nogil:
    cdef char reason[LOG_MESSAGE_BYTES_MAX]
    if not connection.session.failure[0]:
        connection_mark_dead(reactor, connection)
        return
    if connection.session.established:
        snprintf(reason, LOG_MESSAGE_BYTES_MAX, "TLS failed: %s", connection.session.failure)
    else:
        counter_add(&reactor.counters.authentication_failed_by_listener[connection.listener], 1)
        snprintf(reason, LOG_MESSAGE_BYTES_MAX, "TLS handshake failed: %s", connection.session.failure)
    connection_fail(reactor, connection, -1, reason)


cdef void session_receive(ReactorState* reactor, Connection* connection) noexcept nogil:
    """Like connection_receive below, but through the connection's session: one read of the socket."""
    cdef Session* session = connection.session
    cdef bint goes_on = True
    cdef size_t size
    if not session.established and not session.ended:
        handshake_continue(reactor, connection)
        return
    if reactor.session_buffer == NULL:
        reactor.session_buffer = <uint8_t*>malloc(RECEIVE_BYTES)
    if reactor.session_buffer == NULL:
        connection_fail(reactor, connection, -1, "out of memory")
        return
    size = session.receive(session, reactor.receive_buffer, reactor.session_buffer, RECEIVE_BYTES)
    if session.wants_write:
        connection_mark_dirty(reactor, connection)      # register for write events
    if size:
        counter_add(&reactor.counters.bytes_in, <int64_t>size)
        counter_add(&reactor.counters.network_io_by_listener[connection.listener], 1)
        goes_on = after_kept(reactor, connection, reactor.receive_buffer, size)
    if session.failure[0]:
        session_ended(reactor, connection)              # sending is impossible too
    elif not goes_on:
        connection_mark_dirty(reactor, connection)      # paused or closing
    elif session.ended:
        session_ended(reactor, connection)


cdef void end_of_stream(ReactorState* reactor, Connection* connection) noexcept nogil:
    """The client sends nothing more. It may still read: parked requests are answered at once (client_left in reactor.pyx)."""
    if connection.slots_first == NULL or connection.at_control:
        connection_mark_dead(reactor, connection)
        return
    connection.closing = True
    connection.client_gone = True
    connection_mark_dirty(reactor, connection)


cdef void connection_receive(ReactorState* reactor, Connection* connection) noexcept nogil:
    cdef size_t asked = 0
    cdef ssize_t n
    cdef int turn
    if connection.session != NULL:
        session_receive(reactor, connection)
        return
    for turn in range(READS_PER_EVENT_MAX):  # no-cython-lint
        n = read_some(reactor, connection, &asked)
        if n == 0:
            end_of_stream(reactor, connection)
            return
        if n < 0:
            if errno != EAGAIN and errno != EINTR:
                connection_mark_dead(reactor, connection)
            return
        counter_add(&reactor.counters.bytes_in, n)
        counter_add(&reactor.counters.network_io_by_listener[connection.listener], 1)
        if not take_in(reactor, connection, <size_t>n):
            connection_mark_dirty(reactor, connection)      # paused or closing
            return
        if <size_t>n < asked:
            return


cdef void connection_resume(ReactorState* reactor, Connection* connection) noexcept nogil:
    cdef Session* session = connection.session
    connection.pauses = 0
    consume_kept(reactor, connection)
    if session == NULL or connection.pauses or connection.closing:
        return
    if session.ended or session.holds_input or (connection.held_back and not session.established):
        session_receive(reactor, connection)        # for what arrived while the connection was paused
