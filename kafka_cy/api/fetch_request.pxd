"""Reads a Fetch request of any version (4-18)."""
from libc.stdint cimport int8_t, int16_t, int32_t, int64_t, uint8_t, uint32_t

from kafka_cy.api.topic_walk cimport TopicWalk, walk_begin, walk_next
from kafka_cy.network.dispatch cimport Request
from kafka_cy.records.wire cimport (
    Reader, read_int32, read_int64, read_int8, read_raw, read_string, read_uvarint, reader_init,
    skip_tagged_fields,
)


# The fields of the request; its arrays are only located here and are walked again later.
cdef struct FetchHeader:
    int32_t replica_id
    int32_t max_wait_ms
    int32_t min_bytes
    int32_t max_bytes
    int8_t isolation_level
    int32_t session_id
    int32_t session_epoch
    const uint8_t* topics
    const uint8_t* forgotten        # NULL before v7
    int32_t partitions_count
    int64_t replica_epoch           # broker epoch of a follower; -1: not said
    const char* rack                # of the client
    int32_t rack_size               # 0: not said


cdef struct AskedPartition:
    int32_t index
    int32_t current_leader_epoch
    int64_t fetch_offset
    int32_t last_fetched_epoch
    int32_t max_bytes
    int64_t start_offset            # of a follower's own log; -1: not said


cdef inline void read_asked_partition(Reader* r, int16_t version, AskedPartition* asked) noexcept nogil:
    asked.index = read_int32(r)
    asked.current_leader_epoch = read_int32(r) if version >= 9 else -1
    asked.fetch_offset = read_int64(r)
    asked.last_fetched_epoch = read_int32(r) if version >= 12 else -1
    asked.start_offset = read_int64(r) if version >= 5 else -1
    asked.max_bytes = read_int32(r)
    if version >= 12:
        skip_tagged_fields(r)                       # replica directory id, high watermark: followers of a KRaft log


cdef inline int32_t partition_bytes(int16_t version) noexcept nogil:
    """Return the minimum size of one partition in the request. It limits what a false count can claim."""
    return 16 if version < 5 else 24


cdef inline void read_replica_state(Reader* r, FetchHeader* header) noexcept nogil:
    """Reads the request's tagged fields. ReplicaState (tag 1) contains the replica id from v15 on (KIP-903)."""
    cdef uint32_t count = read_uvarint(r)
    cdef uint32_t tag, size
    cdef const uint8_t* data
    cdef Reader field
    while count > 0 and not r.error:
        count -= 1
        tag = read_uvarint(r)
        size = read_uvarint(r)
        data = read_raw(r, size)
        if tag == 1 and data != NULL:
            reader_init(&field, data, size)
            header.replica_id = read_int32(&field)
            header.replica_epoch = read_int64(&field)
            skip_tagged_fields(&field)
            if field.error:
                r.error = field.error


cdef inline void walk_asked(TopicWalk* walk, Reader* r, int16_t version) noexcept nogil:
    """Starts a walk over the requested partitions."""
    walk_begin(walk, r, version >= 13, version >= 12, partition_bytes(version))


cdef inline void walk_forgotten(TopicWalk* walk, Reader* r, int16_t version) noexcept nogil:
    """Starts a walk over the partitions that leave the session; each is an index."""
    walk_begin(walk, r, version >= 13, version >= 12, 4)


cdef inline int read_fetch_header(Request* request, FetchHeader* header) noexcept nogil:
    """Reads and checks the whole request. Returns 0, or another value if the request is malformed."""
    cdef Reader r
    cdef int16_t version = request.api_version
    cdef bint flexible = version >= 12
    cdef TopicWalk walk
    cdef AskedPartition asked
    reader_init(&r, request.body, request.body_size)
    header.replica_id = read_int32(&r) if version <= 14 else -1
    header.replica_epoch = -1
    header.max_wait_ms = read_int32(&r)
    header.min_bytes = read_int32(&r)
    header.max_bytes = read_int32(&r)
    header.isolation_level = read_int8(&r)
    header.session_id = read_int32(&r) if version >= 7 else 0
    header.session_epoch = read_int32(&r) if version >= 7 else -1
    header.topics = r.position
    header.partitions_count = 0
    walk_asked(&walk, &r, version)
    while walk_next(&walk):
        read_asked_partition(&walk.r, version, &asked)
        header.partitions_count += 1
    r = walk.r
    header.forgotten = NULL
    if version >= 7 and not r.error:
        header.forgotten = r.position
        walk_forgotten(&walk, &r, version)
        while walk_next(&walk):
            read_int32(&walk.r)
        r = walk.r
    header.rack_size = 0
    if version >= 11:
        header.rack = read_string(&r, flexible, &header.rack_size)
        if header.rack == NULL and not r.error:
            return 1                                # not nullable
    if flexible:
        read_replica_state(&r, header)
    return r.error
