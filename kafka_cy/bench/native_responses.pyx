"""Parses the responses of the native load generator as they stream in.

The parser checks error codes, walks the batches of fetches and counts their records. It stores nothing but the start of a
header whose rest has not arrived yet.
"""
from libc.errno cimport EAGAIN, EINTR, errno
from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t
from libc.string cimport memcpy, memmove

from kafka_cy.base.clock cimport monotonic_ns
from kafka_cy.base.posix cimport recv
from kafka_cy.bench.histogram cimport histogram_record
from kafka_cy.bench.native_state cimport (
    CARRY_BYTES, ERROR_CODES, KIND_FETCH, KIND_PRODUCE, KIND_TAIL, LOAD_CLOSED, LOAD_CONFUSED, LOAD_RUNNING, RECEIVE_BYTES,
    STAGE_BATCH, STAGE_HEAD, STAGE_SKIP, TRACK_RING, Connection, Load, Track,
)
from kafka_cy.records.batch cimport BATCH_HEADER_SIZE, LAST_OFFSET_DELTA_AT, LENGTH_AT, LOG_OVERHEAD, RECORDS_COUNT_AT
from kafka_cy.records.wire cimport load_be16, load_be32, load_be64


cdef inline void error_count(Load* load, int16_t code) noexcept nogil:
    load.errors += 1
    load.error_counts[code if 0 < code < ERROR_CODES else 0] += 1


cdef inline void response_arrived(Load* load, Connection* c, int64_t now, int16_t code) noexcept nogil:
    """Count a response when its head has arrived."""
    c.response_started_ns = c.started_ns[c.response_id & c.ring_mask]
    c.response_id += 1
    c.counted = c.response_started_ns >= load.measure_ns
    load.last_response_ns = now
    if not c.counted:
        return
    load.requests += 1
    if code:
        error_count(load, code)
    if c.kind != KIND_TAIL and not load.end_to_end:
        histogram_record(load.histogram, now - c.response_started_ns)


cdef void batch_seen(Load* load, Connection* c, const uint8_t* header, int64_t now) noexcept nogil:
    """Count a batch that was fetched completely."""
    cdef int64_t offset = <int64_t>load_be64(header)
    cdef int64_t next_offset = offset + <int32_t>load_be32(header + LAST_OFFSET_DELTA_AT) + 1
    cdef int64_t which
    cdef Track* track = c.track
    if next_offset <= c.offset:
        return                      # the whole batch is before the wanted offset
    c.offset = next_offset
    if track != NULL:
        which = (offset - track.base_offset) // track.records
        if which != track.seen or which >= track.sent:
            error_count(load, 0)    # not the batch that our producer sent next
            return
        track.seen += 1
        c.counted = track.intended_ns[which % TRACK_RING] >= load.measure_ns
        if c.counted:
            histogram_record(load.histogram, now - track.intended_ns[which % TRACK_RING])
    if c.counted:
        load.records += <int32_t>load_be32(header + RECORDS_COUNT_AT)
        load.bytes += <int32_t>load_be32(header + LENGTH_AT) + LOG_OVERHEAD
        if load.records_max and load.records >= load.records_max and load.end_ns > now:
            load.end_ns = now


cdef bint head_seen(Load* load, Connection* c, const uint8_t* p, int64_t now) noexcept nogil:
    """Read the head of a response, which is complete; False when the response belongs to no request."""
    cdef int64_t size = load_be32(p)
    cdef int16_t code = <int16_t>load_be16(p + c.error_at)
    if load_be32(p + 4) != c.response_id or c.response_id == c.next_id or size + 4 < c.response_head_size:
        return False
    c.frame_left = size + 4 - c.response_head_size
    response_arrived(load, c, now, code)
    if c.kind == KIND_PRODUCE:
        if c.counted and not code:
            load.records += c.bodies[c.response_body_turn].records
            load.bytes += c.head_size + c.bodies[c.response_body_turn].size
        c.response_body_turn += 1
        if c.response_body_turn == c.bodies_count:
            c.response_body_turn = 0
    elif c.kind == KIND_FETCH or c.kind == KIND_TAIL:
        c.end_offset = <int64_t>load_be64(p + c.error_at + 2)
        if c.frame_left and not code and load_be32(p + c.response_head_size - 4) == c.frame_left:
            c.stage = STAGE_BATCH
            return True
    c.skip_left = c.frame_left
    c.stage = STAGE_SKIP
    return True


cdef inline void response_finish(Connection* c) noexcept nogil:
    c.stage = STAGE_HEAD
    if c.kind == KIND_FETCH and c.offset >= c.end_offset:
        c.offset = c.first_offset


cdef int64_t parse(Load* load, Connection* c, const uint8_t* data, int64_t size, int64_t now) noexcept nogil:
    """Consume responses. Returns the number of bytes used (the rest is carried over), or -1 for an invalid response."""
    cdef int64_t at = 0, taken, batch
    while True:
        if c.stage == STAGE_HEAD:
            if size - at < c.response_head_size:
                return at
            if not head_seen(load, c, data + at, now):
                return -1
            at += c.response_head_size
        elif c.stage == STAGE_BATCH:
            if c.frame_left < BATCH_HEADER_SIZE:
                c.skip_left = c.frame_left      # a batch that was cut off at the end
            elif size - at < BATCH_HEADER_SIZE:
                return at
            else:
                batch = <int64_t>load_be32(data + at + LENGTH_AT) + LOG_OVERHEAD
                if batch <= c.frame_left and batch >= BATCH_HEADER_SIZE:
                    batch_seen(load, c, data + at, now)
                    c.skip_left = batch
                else:
                    c.skip_left = c.frame_left
            c.stage = STAGE_SKIP
        if c.stage == STAGE_SKIP:
            taken = min(c.skip_left, size - at)
            at += taken
            c.skip_left -= taken
            c.frame_left -= taken
            if c.skip_left:
                return at
            if c.frame_left:
                c.stage = STAGE_BATCH
            else:
                response_finish(c)


cdef int receive(Load* load, Connection* c) noexcept nogil:
    """Read everything that has arrived. Returns LOAD_RUNNING, or the status with which the load ends."""
    cdef ssize_t n
    cdef int64_t used, size
    cdef uint8_t* start
    while True:
        start = load.input + CARRY_BYTES - c.carry_size
        n = recv(c.fd, load.input + CARRY_BYTES, RECEIVE_BYTES, 0)
        if n < 0:
            if errno == EAGAIN:
                return LOAD_RUNNING
            if errno == EINTR:
                continue
            return LOAD_CLOSED
        if n == 0:
            return LOAD_CLOSED
        memcpy(start, c.carry, <size_t>c.carry_size)
        size = c.carry_size + n
        used = parse(load, c, start, size, monotonic_ns())
        if used < 0:
            return LOAD_CONFUSED
        c.carry_size = <int32_t>(size - used)
        memmove(c.carry, start + used, <size_t>c.carry_size)
        if n < RECEIVE_BYTES:
            return LOAD_RUNNING
