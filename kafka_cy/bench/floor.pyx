"""The machine's floor: the cost of a broker's work without the broker.

`serve` is one epoll thread that receives Produce v7, Fetch v4 and OffsetCommit v2 requests of one topic and one partition
each. It checks CRC32C, writes the batch to the partition's file and answers; fetches are sent with sendfile. A commit is written
as a batch of the request's size, to the file of partition 0. It keeps no index or state and gives no guarantees. Its sockets have
the same send buffer size as both brokers'. The other requests of librdkafka's transactional producers get ready-made answers
(floor_answers), so that the floor of transactions is the client's own time. `synced_writes` is the floor of durability: write and
fdatasync in a loop.
"""
import socket

from libc.errno cimport EAGAIN, errno
from libc.stdint cimport int16_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy, memmove, memset

from kafka_cy.base.clock cimport monotonic_ns
from kafka_cy.base.posix cimport (
    EPOLLET, EPOLLIN, EPOLLOUT, EPOLL_CLOEXEC, EPOLL_CTL_ADD, MSG_MORE, MSG_NOSIGNAL, O_CREAT, O_RDWR, O_TRUNC, SOCK_CLOEXEC,
    SOCK_NONBLOCK, accept4, close, epoll_create1, epoll_ctl, epoll_event, epoll_wait, fdatasync, open_file, pwrite, recv,
    send, sendfile, set_no_delay,
)
from kafka_cy.bench.histogram cimport LatencyHistogram, histogram_record
from kafka_cy.records.batch cimport ATTRIBUTES_AT, BATCH_HEADER_SIZE, CRC_AT, LEADER_EPOCH_AT, RECORDS_COUNT_AT
from kafka_cy.records.crc32c cimport crc32c
from kafka_cy.records.wire cimport load_be16, load_be32, load_be64, store_be16, store_be32, store_be64

from kafka_cy.bench.floor_answers import answers

cdef enum:
    PRODUCE_KEY = 0
    FETCH_KEY = 1
    ADD_PARTITIONS_TO_TXN_KEY = 24
    API_KEYS = 128
    INPUT_BYTES = 4194304
    OUTPUT_BYTES = 65536
    PARTITIONS = 64
    EVENTS_MAX = 256
    CORRUPT_MESSAGE = 2
    OFFSET_COMMIT_KEY = 8
    COMMIT_BYTES_MAX = 4096
    SEND_BUFFER_BYTES = 102400      # default of socket.send.buffer.bytes
    SYNCED_WRITE_BYTES = 170        # a batch of one record of 100 bytes

cdef struct FloorPartition:
    int fd
    int64_t size
    int64_t offset
    int64_t batch_size              # all batches of a partition have the same size: this is the only index
    int64_t batch_records

cdef struct FloorConnection:
    int fd
    uint8_t* input
    int64_t have
    uint8_t output[OUTPUT_BYTES]
    int64_t queued
    FloorPartition* sending         # a fetch that is not fully sent yet
    int64_t send_at
    int64_t send_left

# A ready-made answer; its bytes are the table's that `serve` holds.
cdef struct FloorAnswer:
    const char* data                # without length and correlation id; NULL: the API is not known
    int64_t size

cdef struct Floor:
    int epoll_fd
    int listener_fd
    FloorPartition* partitions      # PARTITIONS of them
    FloorAnswer answers[API_KEYS]


cdef int64_t answer_head(uint8_t* out, const uint8_t* name, int64_t name_size, uint32_t index) noexcept nogil:
    """Write the one topic and partition of a response, from its topic count on; returns the bytes written."""
    store_be32(out, 1)
    memcpy(out + 4, name, <size_t>name_size)
    store_be32(out + 4 + name_size, 1)
    store_be32(out + 8 + name_size, index)
    return 12 + name_size


cdef bint produce(Floor* floor, FloorConnection* c, uint8_t* body, uint32_t correlation_id) noexcept nogil:
    """Transactional id, acks, timeout, topics (1), name, partitions (1), index, size, batch."""
    cdef uint8_t* name = body + 12 + max(<int16_t>0, <int16_t>load_be16(body))
    cdef int64_t name_size = 2 + load_be16(name)
    cdef uint8_t* p = name + name_size + 4
    cdef uint32_t index = load_be32(p)
    cdef int64_t size = load_be32(p + 4)
    cdef uint8_t* batch = p + 8
    cdef uint8_t* out = c.output + c.queued
    cdef FloorPartition* partition = &floor.partitions[index % PARTITIONS]
    cdef int64_t base = partition.offset
    cdef int16_t code = 0
    if size < BATCH_HEADER_SIZE:
        return False
    if crc32c(batch + ATTRIBUTES_AT, <size_t>(size - ATTRIBUTES_AT)) != load_be32(batch + CRC_AT):
        code = CORRUPT_MESSAGE
    else:
        store_be64(batch, <uint64_t>base)
        store_be32(batch + LEADER_EPOCH_AT, 0)
        if pwrite(partition.fd, batch, <size_t>size, partition.size) != size:
            return False
        partition.batch_size = size
        partition.batch_records = load_be32(batch + RECORDS_COUNT_AT)
        partition.size += size
        partition.offset += partition.batch_records
    store_be32(out + 4, correlation_id)
    p = out + 8 + answer_head(out + 8, name, name_size, index)
    store_be16(p, <uint16_t>code)
    store_be64(p + 2, <uint64_t>base)
    memset(p + 10, 0xff, 8)                 # log append time
    memset(p + 18, 0, 8 + 4)                # log start offset, throttle time
    store_be32(out, <uint32_t>(p + 30 - out - 4))
    c.queued += p + 30 - out
    return True


cdef void fetch(Floor* floor, FloorConnection* c, const uint8_t* body, uint32_t correlation_id) noexcept nogil:
    """Replica, wait, min bytes, max bytes, isolation, topics (1), name, partitions (1), index, offset, max bytes.

    The batch size gives the file position of the offset.
    """
    cdef const uint8_t* name = body + 21
    cdef int64_t name_size = 2 + load_be16(name)
    cdef const uint8_t* p = name + name_size + 4
    cdef uint32_t index = load_be32(p)
    cdef int64_t offset = <int64_t>load_be64(p + 4)
    cdef int64_t wanted = load_be32(p + 12)
    cdef int64_t at = 0, size = 0
    cdef FloorPartition* partition = &floor.partitions[index % PARTITIONS]
    cdef uint8_t* out = c.output + c.queued
    cdef uint8_t* o
    if partition.batch_size and 0 <= offset < partition.offset:
        at = offset // partition.batch_records * partition.batch_size
        size = min(max(wanted // partition.batch_size, <int64_t>1) * partition.batch_size, partition.size - at)
    store_be32(out + 4, correlation_id)
    store_be32(out + 8, 0)                  # throttle time
    o = out + 12 + answer_head(out + 12, name, name_size, index)
    store_be16(o, 0)
    store_be64(o + 2, <uint64_t>partition.offset)
    store_be64(o + 10, <uint64_t>partition.offset)
    store_be32(o + 18, 0)                   # aborted transactions
    store_be32(o + 22, <uint32_t>size)
    store_be32(out, <uint32_t>(o + 26 - out - 4 + size))
    c.queued += o + 26 - out
    c.sending = partition
    c.send_at = at
    c.send_left = size


cdef bint commit(Floor* floor, FloorConnection* c, const uint8_t* body, int64_t size, uint32_t correlation_id) noexcept nogil:
    """Group, generation, member, retention, topics (1), name, partitions (1), index, offset, metadata."""
    cdef uint8_t batch[BATCH_HEADER_SIZE + COMMIT_BYTES_MAX]
    cdef const uint8_t* p = body + 2 + load_be16(body) + 4
    cdef const uint8_t* name
    cdef int64_t name_size
    cdef uint8_t* out = c.output + c.queued
    cdef uint8_t* o
    cdef FloorPartition* partition = &floor.partitions[0]
    cdef int64_t batch_size = BATCH_HEADER_SIZE + size
    if size > COMMIT_BYTES_MAX:
        return False
    name = p + 2 + load_be16(p) + 8 + 4
    name_size = 2 + load_be16(name)
    if name + name_size + 8 > body + size:
        return False
    memset(batch, 0, BATCH_HEADER_SIZE)
    memcpy(batch + BATCH_HEADER_SIZE, body, <size_t>size)
    store_be32(batch + CRC_AT, crc32c(batch + ATTRIBUTES_AT, <size_t>(batch_size - ATTRIBUTES_AT)))
    if pwrite(partition.fd, batch, <size_t>batch_size, partition.size) != batch_size:
        return False
    partition.size += batch_size
    store_be32(out + 4, correlation_id)
    o = out + 8 + answer_head(out + 8, name, name_size, load_be32(name + name_size + 4))
    store_be16(o, 0)
    store_be32(out, <uint32_t>(o + 2 - out - 4))
    c.queued += o + 2 - out
    return True


cdef void add_partitions_to_txn(FloorConnection* c, const uint8_t* body, uint32_t correlation_id) noexcept nogil:
    """v0: transactional id, producer id, epoch, topics of a name and partition indexes. Each partition is added."""
    cdef const uint8_t* p = body + 2 + load_be16(body) + 10
    cdef uint8_t* out = c.output + c.queued
    cdef uint8_t* o = out + 16
    cdef uint32_t topics = load_be32(p)
    cdef uint32_t partitions, _i, _j
    cdef int64_t head
    store_be32(out + 4, correlation_id)
    store_be32(out + 8, 0)                  # throttle time
    store_be32(out + 12, topics)
    p += 4
    for _i in range(topics):
        head = 2 + load_be16(p) + 4
        partitions = load_be32(p + head - 4)
        memcpy(o, p, <size_t>head)
        o += head
        p += head
        for _j in range(partitions):
            memcpy(o, p, 4)
            store_be16(o + 4, 0)
            o += 6
            p += 4
    store_be32(out, <uint32_t>(o - out - 4))
    c.queued += o - out


cdef bint ready_made(FloorConnection* c, const FloorAnswer* answer, uint32_t correlation_id) noexcept nogil:
    """False for an API that the floor does not know."""
    cdef uint8_t* out = c.output + c.queued
    if answer.data == NULL:
        return False
    store_be32(out, <uint32_t>(answer.size + 4))
    store_be32(out + 4, correlation_id)
    memcpy(out + 8, answer.data, <size_t>answer.size)
    c.queued += 8 + answer.size
    return True


cdef bint answer_one(Floor* floor, FloorConnection* c, uint8_t* p) noexcept nogil:
    """Handle the request whose length field is at `p`."""
    cdef uint16_t api_key = load_be16(p + 4)
    cdef uint32_t correlation_id = load_be32(p + 8)
    cdef uint8_t* body = p + 14 + max(<int16_t>0, <int16_t>load_be16(p + 12))
    if api_key == PRODUCE_KEY:
        return produce(floor, c, body, correlation_id)
    if api_key == FETCH_KEY:
        fetch(floor, c, body, correlation_id)
    elif api_key == OFFSET_COMMIT_KEY:
        return commit(floor, c, body, p + 4 + load_be32(p) - body, correlation_id)
    elif api_key == ADD_PARTITIONS_TO_TXN_KEY:
        add_partitions_to_txn(c, body, correlation_id)
    else:
        return api_key < API_KEYS and ready_made(c, &floor.answers[api_key], correlation_id)
    return True


cdef bint send_out(FloorConnection* c) noexcept nogil:
    """Send responses, then the file part; False when the connection is no longer usable."""
    cdef ssize_t n
    if c.queued:
        n = send(c.fd, c.output, <size_t>c.queued, MSG_NOSIGNAL | (MSG_MORE if c.send_left else 0))
        if n != c.queued:
            return False                    # responses are small: a full socket here means a broken client
        c.queued = 0
    while c.send_left:
        n = sendfile(c.fd, c.sending.fd, &c.send_at, <size_t>c.send_left)
        if n <= 0:
            return errno == EAGAIN
        c.send_left -= n
    return True


cdef bint handle(Floor* floor, FloorConnection* c) noexcept nogil:
    """Handle all complete requests, but one fetch at a time."""
    cdef int64_t at = 0, size
    while c.have - at >= 14 and not c.send_left:
        size = load_be32(c.input + at)
        if size + 4 > INPUT_BYTES or size < 10:
            return False
        if c.have - at < size + 4:
            break
        if not answer_one(floor, c, c.input + at):
            return False
        at += size + 4
        if (c.queued > OUTPUT_BYTES // 2 or c.send_left) and not send_out(c):
            return False
    if at:
        memmove(c.input, c.input + at, <size_t>(c.have - at))
        c.have -= at
    return send_out(c)


cdef bint ready(Floor* floor, FloorConnection* c) noexcept nogil:
    """A connection is readable or writable; False when it is closed."""
    cdef ssize_t n
    if c.send_left:
        if not send_out(c):
            return False
        if not c.send_left and not handle(floor, c):
            return False
    while c.have < INPUT_BYTES and not c.send_left:
        n = recv(c.fd, c.input + c.have, <size_t>(INPUT_BYTES - c.have), 0)
        if n < 0:
            return errno == EAGAIN
        if n == 0:
            return False
        c.have += n
        if not handle(floor, c):
            return False
    return True


cdef bint accept(Floor* floor) noexcept nogil:
    cdef epoll_event event
    cdef FloorConnection* c = <FloorConnection*>calloc(1, sizeof(FloorConnection))
    if c == NULL:
        return False
    c.fd = accept4(floor.listener_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)
    c.input = <uint8_t*>malloc(INPUT_BYTES)
    if c.fd < 0 or c.input == NULL:
        free(c.input)
        free(c)
        return True
    set_no_delay(c.fd)
    event.events = <uint32_t>(EPOLLIN | EPOLLOUT | EPOLLET)
    event.data.ptr = c
    return epoll_ctl(floor.epoll_fd, EPOLL_CTL_ADD, c.fd, &event) == 0


cdef void serve_loop(Floor* floor) noexcept nogil:
    cdef epoll_event events[EVENTS_MAX]
    cdef FloorConnection* c
    cdef int i, n
    while True:
        n = epoll_wait(floor.epoll_fd, events, EVENTS_MAX, -1)
        for i in range(n):
            c = <FloorConnection*>events[i].data.ptr
            if c == NULL:
                if not accept(floor):
                    return
            elif not ready(floor, c):
                close(c.fd)
                free(c.input)
                free(c)


def serve(port, folder):
    """Serve on 127.0.0.1 until the process is killed. OSError when the port or the folder cannot be used."""
    cdef Floor floor
    cdef FloorPartition partitions[PARTITIONS]
    cdef epoll_event event
    cdef dict ready = answers("127.0.0.1", port, PARTITIONS)
    cdef bytes answer
    memset(&floor, 0, sizeof(floor))
    memset(&partitions[0], 0, sizeof(partitions))
    for api_key, answer in ready.items():
        floor.answers[<int>api_key].data = answer
        floor.answers[<int>api_key].size = <int64_t>len(answer)
    for index in range(PARTITIONS):
        path = f"{folder}/floor-{index}.log".encode()
        partitions[index].fd = open_file(path, O_RDWR | O_CREAT | O_TRUNC)
        if partitions[index].fd < 0:
            raise OSError(errno, "cannot be written", path.decode())
    listener = socket.create_server(("127.0.0.1", port), backlog=1024)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)     # accepted sockets inherit it
    floor.listener_fd = listener.fileno()
    floor.partitions = &partitions[0]
    floor.epoll_fd = epoll_create1(EPOLL_CLOEXEC)
    event.events = EPOLLIN
    event.data.ptr = NULL
    epoll_ctl(floor.epoll_fd, EPOLL_CTL_ADD, floor.listener_fd, &event)
    with nogil:
        serve_loop(&floor)


def synced_writes(path, double seconds):
    """(writes, seconds, bytes, LatencyHistogram) of appending small batches, each followed by fdatasync. OSError."""
    cdef LatencyHistogram latency = LatencyHistogram()
    cdef uint8_t data[SYNCED_WRITE_BYTES]
    cdef int64_t began, before, now, done = 0
    cdef int failed = 0
    cdef int fd = open_file(path.encode(), O_RDWR | O_CREAT | O_TRUNC)
    if fd < 0:
        raise OSError(errno, "cannot be written", path)
    memset(data, 1, SYNCED_WRITE_BYTES)
    with nogil:
        began = monotonic_ns()
        now = began
        while now - began < seconds * 1e9:
            before = now
            if pwrite(fd, data, SYNCED_WRITE_BYTES, done * SYNCED_WRITE_BYTES) < 0 or fdatasync(fd):
                failed = errno
                break
            done += 1
            now = monotonic_ns()
            histogram_record(latency.data, now - before)
        close(fd)
    if failed:
        raise OSError(failed, "cannot be written", path)
    return done, (now - began) / 1e9, done * SYNCED_WRITE_BYTES, latency
