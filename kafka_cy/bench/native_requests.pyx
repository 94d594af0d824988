"""Sends the pre-encoded requests of the native load generator.

Small requests of a connection are copied into its output buffer and leave together. Of a large request, only the head is
copied; the body is sent from where it is.
"""
from libc.errno cimport EAGAIN, EINTR, errno
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from kafka_cy.base.posix cimport MSG_NOSIGNAL, iovec, msghdr, send, sendmsg
from kafka_cy.bench.native_state cimport (
    CORRELATION_ID_AT, KIND_FETCH, KIND_PRODUCE, KIND_TAIL, SMALL_REQUEST_BYTES, STAGE_HEAD, TRACK_RING, Body, Connection,
    Load, all_started, due_ns,
)
from kafka_cy.records.batch cimport ATTRIBUTES_AT, BASE_SEQUENCE_AT, CRC_AT, PRODUCER_EPOCH_AT, PRODUCER_ID_AT
from kafka_cy.records.crc32c cimport crc32c
from kafka_cy.records.wire cimport store_be16, store_be32, store_be64


cdef inline bint sent_whole(Connection* c) noexcept nogil:
    return c.out_at == c.out_size and not c.rest_size


cdef int flush(Connection* c) noexcept nogil:
    """Send the output buffer and `rest`. Returns 1 when everything is sent, 0 when the socket is full, -1 when the
    connection is closed."""
    cdef ssize_t n
    cdef iovec parts[2]
    cdef msghdr message
    cdef int64_t of_out
    while not sent_whole(c):
        if c.rest_size:
            parts[0].iov_base = c.out + c.out_at
            parts[0].iov_len = <size_t>(c.out_size - c.out_at)
            parts[1].iov_base = <void*>c.rest
            parts[1].iov_len = <size_t>c.rest_size
            memset(&message, 0, sizeof(msghdr))
            message.msg_iov = &parts[0]
            message.msg_iovlen = 2
            n = sendmsg(c.fd, &message, MSG_NOSIGNAL)
        else:
            n = send(c.fd, c.out + c.out_at, <size_t>(c.out_size - c.out_at), MSG_NOSIGNAL)
        if n < 0:
            if errno == EAGAIN:
                return 0
            if errno == EINTR:
                continue
            return -1
        of_out = min(<int64_t>n, c.out_size - c.out_at)
        c.out_at += of_out
        c.rest += n - of_out
        c.rest_size -= n - of_out
    c.out_at = 0
    c.out_size = 0
    return 1


cdef inline bint may_start(const Load* load, const Connection* c, int64_t now) noexcept nogil:
    """Whether the next request of this connection may be sent now."""
    if <int32_t>(c.next_id - c.response_id) >= c.depth:
        return False
    if c.stage != STAGE_HEAD and (c.kind == KIND_FETCH or c.kind == KIND_TAIL):
        return False                    # the offset of the next fetch is known only at the end of the response
    if c.track != NULL and c.kind == KIND_PRODUCE and c.track.sent - c.track.seen >= TRACK_RING:
        return False
    if c.kind == KIND_TAIL:
        return True
    if all_started(load):
        return False
    if load.step_ns:
        return due_ns(load, c.tick) <= now and due_ns(load, c.tick) < load.end_ns
    return now < load.end_ns


cdef const uint8_t* numbered(Connection* c, const Body* body) noexcept nogil:
    """Return a copy of the batch with the next sequence of the partition that it goes to. It is valid until the next call: the
    next batch is made when this one has left."""
    cdef int32_t* sequence = &c.sequences[c.partition_turn]
    memcpy(c.batch, body.data, <size_t>body.size)
    store_be64(c.batch + PRODUCER_ID_AT, <uint64_t>c.producer_id)
    store_be16(c.batch + PRODUCER_EPOCH_AT, <uint16_t>c.producer_epoch)
    store_be32(c.batch + BASE_SEQUENCE_AT, <uint32_t>sequence[0])
    store_be32(c.batch + CRC_AT, crc32c(c.batch + ATTRIBUTES_AT, <size_t>(body.size - ATTRIBUTES_AT)))
    sequence[0] = <int32_t>((<uint32_t>sequence[0] + <uint32_t>body.records) & 0x7fffffff)
    return c.batch


cdef bint request_append(Load* load, Connection* c, int64_t now) noexcept nogil:
    """Append the next request to the output; False when it has to wait until the output has been sent."""
    cdef const Body* body = &c.bodies[c.body_turn] if c.bodies_count else NULL
    cdef const uint8_t* data = body.data if body != NULL else NULL
    cdef int64_t size = c.head_size + (body.size if body != NULL else 0)
    cdef bint small = size <= SMALL_REQUEST_BYTES
    cdef int64_t started = now
    if c.rest_size or c.out_size + (size if small else c.head_size) > c.out_capacity:
        return False
    if load.step_ns and c.kind != KIND_TAIL:
        started = due_ns(load, c.tick)
        c.tick += load.paced_count
    store_be32(c.head, <uint32_t>(size - 4))
    store_be32(c.head + CORRELATION_ID_AT, c.next_id)
    if c.producer_id >= 0:
        data = numbered(c, body)
    if c.partitions_count:
        store_be32(c.head + c.partition_at, <uint32_t>c.partitions[c.partition_turn])
        c.partition_turn += 1
        if c.partition_turn == c.partitions_count:
            c.partition_turn = 0
    if c.offset_at >= 0:
        store_be64(c.head + c.offset_at, <uint64_t>c.offset)
    if c.kind == KIND_PRODUCE:
        store_be32(c.head + c.head_size - 4, <uint32_t>body.size)
    memcpy(c.out + c.out_size, c.head, <size_t>c.head_size)
    c.out_size += c.head_size
    if body != NULL:
        if small:
            memcpy(c.out + c.out_size, data, <size_t>body.size)
            c.out_size += body.size
        else:
            c.rest = data
            c.rest_size = body.size
        c.body_turn += 1
        if c.body_turn == c.bodies_count:
            c.body_turn = 0
    if c.track != NULL and c.kind == KIND_PRODUCE:
        c.track.intended_ns[c.track.sent % TRACK_RING] = started
        c.track.sent += 1
    c.started_ns[c.next_id & c.ring_mask] = started
    c.next_id += 1
    if started >= load.measure_ns and c.kind != KIND_TAIL:
        load.requests_started += 1
    return True


cdef int fill(Load* load, Connection* c, int64_t now) noexcept nogil:
    """Send all requests that may be sent now. Returns -1 when the connection is closed."""
    cdef int sent
    while True:
        while may_start(load, c, now):
            if not request_append(load, c, now):
                break
        if sent_whole(c):
            return 0
        sent = flush(c)
        if sent <= 0:
            return sent
