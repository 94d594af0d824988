"""The send side of a connection: responses leave in request order, many per system call.

All functions run on the connection's reactor, without the GIL, and take no locks.
"""
from libc.errno cimport EAGAIN, EINTR, EIO, ENOMEM, errno
from libc.stdint cimport int32_t, int64_t, uint8_t
from libc.stdio cimport snprintf
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcpy, memset, strlen

from kafka_cy.base.atomics cimport counter_add
from kafka_cy.base.clock cimport ticks_now
from kafka_cy.base.histogram cimport histogram_add
from kafka_cy.base.posix cimport (
    MSG_DONTWAIT, MSG_MORE, MSG_NOSIGNAL, errno_set, inet_ntop, iovec, msghdr, pread, send, sendfile, sendmsg,
)
from kafka_cy.network.buffer_pool cimport pool_free, pool_give, pool_take
from kafka_cy.network.counters cimport TIME_RESPONSE_QUEUE, TIME_RESPONSE_SEND, TIME_TOTAL
from kafka_cy.network.transport cimport RECORD_BYTES_MAX
from kafka_cy.storage.log cimport Segment, segment_release

cdef enum:
    SPARE_BYTES_MAX = 65536
    UNUSED_BYTES_MAX = 1024         # at the end of a response's memory


cdef void spare_take(SendContext* context, uint8_t** data, size_t* capacity) noexcept nogil:
    data[0] = context.spare
    capacity[0] = context.spare_capacity
    context.spare = NULL
    context.spare_capacity = 0


cdef void spare_give(SendContext* context, uint8_t* data, size_t capacity) noexcept nogil:
    if context.spare == NULL and 0 < capacity <= SPARE_BYTES_MAX:
        context.spare = data
        context.spare_capacity = capacity
    else:
        free(data)


cdef Piece* piece_new(SendContext* context) noexcept nogil:
    cdef Piece* piece = context.free_pieces
    if piece != NULL:
        context.free_pieces = piece.next
        memset(piece, 0, sizeof(Piece))
        return piece
    return <Piece*>calloc(1, sizeof(Piece))


cdef void piece_free(SendContext* context, Piece* piece) noexcept nogil:
    if piece.segment != NULL:
        segment_release(piece.segment)
    if piece.capacity:
        pool_give(&context.pool, piece.data, piece.capacity)
    else:
        free(piece.data)
    piece.next = context.free_pieces
    context.free_pieces = piece


cdef ResponseSlot* slot_append(SendContext* context, Connection* connection) noexcept nogil:
    cdef ResponseSlot* slot = context.free_slots
    if slot != NULL:
        context.free_slots = slot.next
        memset(slot, 0, sizeof(ResponseSlot))
    else:
        slot = <ResponseSlot*>calloc(1, sizeof(ResponseSlot))
        if slot == NULL:
            return NULL
    list_append(&connection.slots_first, &connection.slots_last, slot)
    connection.slots_count += 1
    return slot


cdef void slot_remove(SendContext* context, Connection* connection, ResponseSlot* slot) noexcept nogil:
    cdef Piece* piece
    list_remove(&connection.slots_first, &connection.slots_last, slot)
    connection.slots_count -= 1
    if slot.trace != NULL:
        context.trace_free(slot.trace)
    connection.queued_bytes -= <int64_t>slot.memory_bytes
    while slot.first != NULL:
        piece = slot.first
        slot.first = piece.next
        piece_free(context, piece)
    slot.next = context.free_slots
    context.free_slots = slot


cdef int slot_send_whole(
    SendContext* context, Connection* connection, ResponseSlot* slot, uint8_t* data, size_t size, size_t capacity
) noexcept nogil:
    if slot == connection.slots_first and size <= COALESCE_BYTES_MAX and not connection.ended:
        if send_coalesce(context, connection, data, size) == 0:     # in order and small: needs no own piece
            spare_give(context, data, capacity)
            return 0
    return slot_add_memory(context, connection, slot, data, size, capacity)


cdef int slot_add_memory(
    SendContext* context, Connection* connection, ResponseSlot* slot, uint8_t* data, size_t size, size_t capacity
) noexcept nogil:
    cdef Piece* piece = piece_new(context)
    cdef uint8_t* fitting = NULL
    if piece == NULL:
        free(data)
        return -1
    if size and capacity - size > UNUSED_BYTES_MAX:     # only `size` is counted, and the client may not read for a long time
        fitting = <uint8_t*>realloc(data, size)
    piece.data = data if fitting == NULL else fitting
    piece.size = size
    slot_link(slot, piece)
    slot.memory_bytes += size
    connection.queued_bytes += <int64_t>size
    return 0


cdef int slot_add_file(
    SendContext* context, ResponseSlot* slot, Segment* segment, int32_t fd, int64_t position, int64_t size
) noexcept nogil:
    cdef Piece* piece = piece_new(context)
    if piece == NULL:
        segment_release(segment)
        return -1
    piece.segment = segment
    piece.fd = fd
    piece.position = position
    piece.size = <size_t>size
    slot_link(slot, piece)
    return 0


cdef void slot_link(ResponseSlot* slot, Piece* piece) noexcept nogil:
    if slot.last != NULL:
        slot.last.next = piece
    else:
        slot.first = piece
    slot.last = piece
    slot.pieces += 1
    slot.bytes += piece.size


cdef int send_coalesce(SendContext* context, Connection* connection, const uint8_t* data, size_t size) noexcept nogil:
    """Copy a small response to the end of the send queue; -1 if it has to be a piece of its own (nothing was done)."""
    cdef Piece* piece = connection.send_last
    if piece == NULL or piece.data == NULL or piece.size + size > piece.capacity:
        if connection.send_blocked:     # the buffer may be kept for long, and would count as `size` bytes only
            return -1
        piece = piece_new(context)
        if piece == NULL:
            return -1
        piece.data = pool_take(&context.pool, COALESCE_BUFFER_BYTES, &piece.capacity)
        if piece.data == NULL:
            piece.capacity = 0
            piece_free(context, piece)
            return -1
        send_link(connection, piece, piece, 1)
    memcpy(piece.data + piece.size, data, size)
    piece.size += size
    connection.queued_bytes += <int64_t>size
    return 0


cdef void send_link(Connection* connection, Piece* first, Piece* last, int32_t pieces) noexcept nogil:
    if connection.send_last != NULL:
        connection.send_last.next = first
    else:
        connection.send_first = first
    connection.send_last = last
    connection.unsent_pieces += pieces


# -- send times of responses --

cdef void sent_add(SendContext* context, Connection* connection, ResponseSlot* slot, int64_t now) noexcept nogil:
    """Record that the response joins the send queue."""
    cdef SentGroups* sent = &context.sent
    cdef SentGroup* group
    histogram_add(&slot.api.times[TIME_RESPONSE_QUEUE], now - slot.answered, 1)
    if now - slot.received >= context.slow_ticks:
        context.on_slow(connection, slot, NULL, now)
    if sent.count:
        group = &sent.groups[sent.count - 1]
        if group.api == slot.api and group.received == slot.received and group.queued == now:
            group.count += 1
            return
        if sent.count == SENT_GROUPS_MAX:
            sent_record_one(group, now)     # too many groups: count this one as sent now
            sent.count -= 1
    group = &sent.groups[sent.count]
    sent.count += 1
    group.api = slot.api
    group.received = slot.received
    group.queued = now
    group.count = 1


cdef inline void sent_record_one(SentGroup* group, int64_t now) noexcept nogil:
    histogram_add(&group.api.times[TIME_RESPONSE_SEND], now - group.queued, group.count)
    histogram_add(&group.api.times[TIME_TOTAL], now - group.received, group.count)


cdef void sent_record(SendContext* context, Connection* connection) noexcept nogil:
    """Record that all queued responses were sent."""
    cdef int64_t now = ticks_now()
    cdef SentGroup* group
    cdef int i
    for i in range(context.sent.count):
        group = &context.sent.groups[i]
        sent_record_one(group, now)
        if now - group.received >= context.slow_ticks and group.queued - group.received < context.slow_ticks:
            context.on_slow(connection, NULL, group, now)
    context.sent.count = 0


cdef void sent_keep(SendContext* context, Connection* connection) noexcept nogil:
    """The socket is full: record send times when the queue is empty, or now if memory is short."""
    if connection.unsent == NULL:
        connection.unsent = <SentGroups*>malloc(sizeof(SentGroups))
    if connection.unsent == NULL:
        sent_record(context, connection)
    else:
        connection.unsent[0] = context.sent
        context.sent.count = 0


cdef inline void sent_resume(SendContext* context, Connection* connection) noexcept nogil:
    if connection.unsent != NULL:
        context.sent = connection.unsent[0]
        free(connection.unsent)
        connection.unsent = NULL


cdef inline void slot_postpone(ResponseSlot* slot, int64_t ticks) noexcept nogil:
    """Leave out the time for which a complete response waited for an earlier request of its connection.

    Kafka handles one request of a connection at a time. There, the later request would wait in the client's socket, where no
    time is measured.
    """
    slot.received += ticks
    slot.begun += ticks
    slot.handled += ticks
    slot.answered += ticks


cdef void connection_advance(SendContext* context, Connection* connection) noexcept nogil:
    cdef ResponseSlot* slot = connection.slots_first
    cdef int64_t now = 0
    cdef int64_t earlier_answered = 0       # when the responses that left before were complete
    sent_resume(context, connection)
    while slot != NULL and slot.done and not connection.ended:
        if slot.close_here:
            connection.closing = True
            connection.ended = True
        if slot.first != NULL:
            send_link(connection, slot.first, slot.last, slot.pieces)
            slot.first = NULL
            slot.memory_bytes = 0       # the bytes stay counted; they are in the send queue now
        if slot.api != NULL:
            if now == 0:
                now = ticks_now()
            if slot.trace != NULL:
                context.on_traced(connection, slot, now)    # a trace shows when it really happened
            if slot.answered < earlier_answered:
                slot_postpone(slot, earlier_answered - slot.answered)
            earlier_answered = slot.answered
            sent_add(context, connection, slot, now)
        slot_remove(context, connection, slot)
        slot = connection.slots_first


cdef ssize_t send_memory(Connection* connection) noexcept nogil:
    """Send all memory pieces up to the next file piece with one system call."""
    cdef iovec[IOVECS_MAX] vector
    cdef msghdr message
    cdef Piece* piece = connection.send_first
    cdef int count = 0
    cdef int flags = MSG_NOSIGNAL | MSG_DONTWAIT
    while piece != NULL and piece.data != NULL and count < IOVECS_MAX:
        vector[count].iov_base = piece.data + piece.sent
        vector[count].iov_len = piece.size - piece.sent
        count += 1
        piece = piece.next
    if piece != NULL:
        flags |= MSG_MORE
    if count == 1:
        return send(connection.fd, vector[0].iov_base, vector[0].iov_len, flags)
    memset(&message, 0, sizeof(msghdr))
    message.msg_iov = vector
    message.msg_iovlen = <size_t>count
    return sendmsg(connection.fd, &message, flags)


cdef ssize_t send_record(SendContext* context, Connection* connection) noexcept nogil:
    """Send a session's next record, built from as many pieces as fit. A retry after EAGAIN starts with the same bytes."""
    cdef Piece* piece = connection.send_first
    cdef size_t size = 0
    cdef size_t part
    if piece.data != NULL and (piece.next == NULL or piece.size - piece.sent >= RECORD_BYTES_MAX):
        part = piece.size - piece.sent
        return connection.session.send(
            connection.session, piece.data + piece.sent, part if part < RECORD_BYTES_MAX else RECORD_BYTES_MAX
        )
    if context.record == NULL:
        context.record = <uint8_t*>malloc(RECORD_BYTES_MAX)
    if context.record == NULL:
        errno_set(ENOMEM)
        return -1
    while piece != NULL and size < RECORD_BYTES_MAX:
        part = piece.size - piece.sent
        if part > RECORD_BYTES_MAX - size:
            part = RECORD_BYTES_MAX - size
        if piece.data != NULL:
            memcpy(context.record + size, piece.data + piece.sent, part)
        elif pread(piece.fd, context.record + size, part, piece.position + <int64_t>piece.sent) != <ssize_t>part:
            errno_set(EIO)                     # the file is shorter than the log says
            return -1
        size += part
        piece = piece.next
    return connection.session.send(connection.session, context.record, size)


cdef void send_consume(SendContext* context, Connection* connection, size_t sent) noexcept nogil:
    """Drop `sent` bytes from the front of the send queue."""
    cdef Piece* piece
    cdef size_t part
    while connection.send_first != NULL:
        piece = connection.send_first
        part = piece.size - piece.sent
        if part > sent:
            part = sent
        piece.sent += part
        sent -= part
        if piece.data != NULL:
            connection.queued_bytes -= <int64_t>part
        if piece.sent < piece.size:
            return
        connection.send_first = piece.next
        if piece.next == NULL:
            connection.send_last = NULL
        connection.unsent_pieces -= 1
        piece_free(context, piece)
        if sent == 0:
            return


cdef int connection_flush(SendContext* context, Connection* connection) noexcept nogil:
    cdef Piece* piece
    cdef ssize_t n
    cdef int64_t position
    while connection.send_first != NULL:
        piece = connection.send_first
        if piece.size == piece.sent:
            n = 0
        elif connection.session != NULL:
            n = send_record(context, connection)
        elif piece.data != NULL:
            n = send_memory(connection)
        else:
            position = piece.position + <int64_t>piece.sent
            n = sendfile(connection.fd, piece.fd, &position, piece.size - piece.sent)
            if n == 0:
                context.sent.count = 0
                return -1               # the file is shorter than the log says
        if n < 0:
            if errno == EINTR:
                continue
            if errno == EAGAIN:
                sent_keep(context, connection)
                return 1
            context.sent.count = 0
            return -1
        counter_add(&context.counters.bytes_out, n)
        counter_add(&context.counters.network_io_by_listener[connection.listener], n > 0)   # an empty piece is not sent
        connection.sent_bytes += n
        send_consume(context, connection, <size_t>n)
    if context.sent.count:
        sent_record(context, connection)
    return 0


cdef void connection_drop_responses(SendContext* context, Connection* connection) noexcept nogil:
    cdef ResponseSlot* slot = connection.slots_first
    cdef ResponseSlot* following
    cdef Piece* piece
    while slot != NULL:
        following = slot.next
        if not slot.at_control:
            slot_remove(context, connection, slot)
        slot = following
    while connection.send_first != NULL:
        piece = connection.send_first
        connection.send_first = piece.next
        piece_free(context, piece)
    connection.send_last = NULL
    connection.unsent_pieces = 0
    connection.queued_bytes = 0
    free(connection.unsent)
    connection.unsent = NULL


cdef void send_context_free(SendContext* context) noexcept nogil:
    cdef Piece* piece
    cdef ResponseSlot* slot
    while context.free_pieces != NULL:
        piece = context.free_pieces
        context.free_pieces = piece.next
        free(piece)
    while context.free_slots != NULL:
        slot = context.free_slots
        context.free_slots = slot.next
        free(slot)
    free(context.spare)
    context.spare = NULL
    free(context.record)
    context.record = NULL
    pool_free(&context.pool)


cdef void connection_host(Connection* connection, char* text, size_t size) noexcept nogil:
    text[0] = 0
    inet_ntop(connection.family, connection.address, text, <unsigned int>size)


cdef void connection_peer(Connection* connection, char* text, size_t size) noexcept nogil:
    cdef size_t length
    connection_host(connection, text, size)
    length = strlen(text)
    snprintf(text + length, size - length, ":%d", <int>connection.port)
