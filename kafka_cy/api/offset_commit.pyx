"""OffsetCommit (key 8), of a group whose commits need no decision.

The coordinator opens the door of such a group (coordinator/open_groups). Behind it, a reactor checks the member, appends the
offsets to the group's partition of `__consumer_offsets` and stores them in memory, as the coordinator would do it. Whatever is
unusual is forwarded to the coordinator, and nothing has changed then: a group that is not open, an unknown member, an old
generation, partitions that do not exist, a retention time, metadata that is long or not ASCII, an append that fails, a request
that is long, a gate behind which another commit takes long, a group or a topic that the ACLs deny.

A connection that has a request at the control plane gets all its commits from there: otherwise a later commit could overtake
an earlier one.

- v2-4: retention time. v6: leader epoch. v7: group instance id. v8: flexible. v10: topics by id.
"""
from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

from kafka_cy.api.error_codes cimport ERROR_COORDINATOR_NOT_AVAILABLE, ERROR_NONE, ERROR_NOT_COORDINATOR
from kafka_cy.api.parking cimport park, parked_init
from kafka_cy.api.produce_job cimport append_was_slow, appends_need_job
from kafka_cy.api.topic_key cimport find_topic, topic_id_is_zero, write_topic_key
from kafka_cy.api.topic_walk cimport TopicWalk, walk_begin, walk_next
from kafka_cy.base.atomics cimport atomic_add_relaxed_i64, atomic_load_i32, atomic_load_i64
from kafka_cy.base.clock cimport ticks_now
from kafka_cy.base.posix cimport pthread_mutex_unlock
from kafka_cy.base.run_delay cimport run_delay_since_last_ns
from kafka_cy.coordinator.commit_batch cimport commit_batch_add, commit_batch_begin, commit_batch_end
from kafka_cy.coordinator.heartbeat_table cimport member_may_commit
from kafka_cy.coordinator.offset_map cimport Committed, offset_map_put, offset_map_reserve
from kafka_cy.coordinator.open_groups cimport DOOR_FOR_MEMBERS, DOOR_FOR_SIMPLE, Door, Gate, gate_lock
from kafka_cy.network.authorization cimport ACL_READ, has_authorizer, request_allows_group, request_allows_topic
from kafka_cy.network.current_image cimport image_is_current
from kafka_cy.network.dispatch cimport (
    FORWARD, HANDLED, PARKED_WATCH_BYTES, Parked, Reactor, Request, park_reserve_anyway, parked_watch,
    request_error, response_begin, response_send, response_throttle_time,
)
from kafka_cy.network.hot_handlers cimport hot_handler_authorizes, hot_handler_register
from kafka_cy.network.metadata_image cimport TopicImage, image_find_topic, topic_partition
from kafka_cy.records.batch cimport ValidBatch
from kafka_cy.records.wire cimport (
    Reader, Writer, read_int32, read_int64, read_string, reader_init, skip_tagged_fields, write_array_length, write_int16,
    write_int32, write_no_tags,
)
from kafka_cy.storage.log_struct cimport ORIGIN_COORDINATOR, AppendResult
from kafka_cy.storage.partition cimport (
    PARTITION_ONLINE, Partition, partition_acquire, partition_append_since, partition_log, partition_release,
)
from kafka_cy.storage.slow_disk cimport SLOW_APPEND_NS, disk_was_slow

cdef enum:
    API_KEY = 8
    # More partitions, a longer request or a larger batch are the coordinator's work: a reactor's turn stays below a millisecond.
    PARTITIONS_MAX = 1000
    REQUEST_BYTES_MAX = 131072
    BATCH_BYTES_MAX = 131072

cdef const char* OFFSETS_TOPIC = "__consumer_offsets"

# One request. Owner: one handler call, on its stack; borrows the request's body.
cdef struct OffsetCommit:
    int16_t version
    bint flexible
    const char* group
    int32_t group_size
    int32_t generation              # or member epoch
    const char* member
    int32_t member_size
    const char* instance
    int32_t instance_size           # -1: null
    Reader topics                   # where the array of topics begins
    int32_t partitions_count
    int32_t metadata_bytes_max      # the longest metadata

# Purpose: a commit that is appended, and waits for the high watermark. Owner: the reactor of its connection.
# Limits: its memory counts as memory of parked requests (network/request_memory).
cdef struct ParkedCommit:
    Parked parked                   # first field
    Partition* partition            # one reference
    int64_t required_offset
    int32_t leader_epoch            # with which the batch was appended
    size_t body_size
    uint8_t body[1]                 # a copy of the request's body, really body_size bytes


cdef bint read_header(Request* request, OffsetCommit* commit) noexcept nogil:
    """The fields before the topics. False: it is malformed, or asks for something unusual."""
    cdef Reader r
    if request.body_size > REQUEST_BYTES_MAX:
        return False
    reader_init(&r, request.body, request.body_size)
    commit.version = request.api_version
    commit.flexible = request.api_version >= 8
    commit.instance = NULL
    commit.instance_size = -1
    commit.group = read_string(&r, commit.flexible, &commit.group_size)
    commit.generation = read_int32(&r)
    commit.member = read_string(&r, commit.flexible, &commit.member_size)
    if commit.version >= 7:
        commit.instance = read_string(&r, commit.flexible, &commit.instance_size)
    if commit.version <= 4 and read_int64(&r) >= 0:
        return False
    commit.topics = r
    return not r.error and commit.group != NULL and commit.group_size > 0 and commit.member != NULL


cdef inline void walk_commit(const OffsetCommit* commit, TopicWalk* walk) noexcept nogil:
    cdef Reader r = commit.topics
    walk_begin(walk, &r, commit.version >= 10, commit.flexible, 14)


cdef inline int32_t read_offset(const OffsetCommit* commit, Reader* r, int64_t now_ms, Committed* committed) noexcept nogil:
    """One partition of the request; returns its index."""
    cdef int32_t partition = read_int32(r)
    committed.offset = read_int64(r)
    committed.leader_epoch = read_int32(r) if commit.version >= 6 else -1
    committed.metadata = read_string(r, commit.flexible, &committed.metadata_size)
    if committed.metadata == NULL:
        committed.metadata_size = 0
    committed.commit_timestamp_ms = now_ms
    committed.expire_timestamp_ms = -1
    if commit.flexible:
        skip_tagged_fields(r)
    return partition


cdef inline bint is_ascii(const char* text, int32_t size) noexcept nogil:
    cdef int32_t i
    cdef uint8_t seen = 0
    for i in range(size):
        seen |= <uint8_t>text[i]
    return seen < 0x80


cdef inline void set_topic(TopicImage* topic, Committed* committed) noexcept nogil:
    committed.has_topic_id = True
    memcpy(committed.topic_id, topic.topic_id, 16)


cdef bint write_batch(Reactor* reactor, Request* request, OffsetCommit* commit, ValidBatch* batch) noexcept nogil:
    """Read the topics, and write the batch into the reactor's scratch buffer. False: malformed, or the coordinator's work."""
    cdef TopicWalk walk
    cdef Committed committed
    cdef TopicImage* topic = NULL
    cdef Writer* w = &reactor.scratch
    cdef int32_t topics, partition
    commit.partitions_count = 0
    commit.metadata_bytes_max = 0
    w.size = 0
    w.error = 0
    commit_batch_begin(w, reactor.now_ms)
    walk_commit(commit, &walk)
    topics = walk.topics_left
    while walk_next(&walk):
        partition = read_offset(commit, &walk.r, reactor.now_ms, &committed)
        if walk.first_of_topic:
            topic = find_topic(reactor.image, &walk.key)
            topics -= 1
        if walk.r.error or topic == NULL or topic_partition(topic, partition) == NULL or topic_id_is_zero(topic.topic_id):
            return False
        if walk.first_of_topic and has_authorizer(reactor) and not request_allows_topic(reactor, request, topic, ACL_READ, True):
            return False
        if commit.partitions_count == PARTITIONS_MAX or w.size > BATCH_BYTES_MAX:
            return False
        if not is_ascii(committed.metadata, committed.metadata_size):
            return False
        if committed.metadata_size > commit.metadata_bytes_max:
            commit.metadata_bytes_max = committed.metadata_size
        set_topic(topic, &committed)
        commit_batch_add(
            w, commit.partitions_count, commit.group, commit.group_size, topic.name, topic.name_size, partition, &committed)
        commit.partitions_count += 1
    if commit.flexible:
        skip_tagged_fields(&walk.r)
    if walk.r.error or walk.r.position != walk.r.end or commit.partitions_count == 0 or topics > 0:
        return False                    # topics > 0: one of them has no partition
    return commit_batch_end(w, commit.partitions_count, batch) == 0


# -- behind the door --

cdef bint is_hosted(Reactor* reactor, Partition* partition) noexcept nogil:
    """Whether the partition is in the image that this reactor uses, which is the current one."""
    cdef TopicImage* topic = image_find_topic(reactor.image, OFFSETS_TOPIC, 18)
    cdef bint known = topic != NULL and partition.index < topic.partitions_count
    return known and topic.partitions[partition.index].partition == partition and image_is_current(reactor)


cdef bint may_commit(Reactor* reactor, const OffsetCommit* commit, const Door* door, size_t batch_bytes) noexcept nogil:
    """Whether the group takes this commit now. A member's commit counts as its heartbeat, as far as its kind of group says so."""
    cdef Partition* partition = door.log.partition
    if atomic_load_i32(&door.log.lost) or not is_hosted(reactor, partition):
        return False
    if commit.metadata_bytes_max > door.metadata_bytes_max or <int64_t>batch_bytes > door.batch_bytes_max:
        return False
    if disk_was_slow(partition_log(partition).disk) and appends_need_job(reactor, partition_log(partition)):
        return False
    if door.open_for == DOOR_FOR_SIMPLE:
        return commit.generation < 0
    return door.open_for == DOOR_FOR_MEMBERS and member_may_commit(
        commit.group, commit.group_size, commit.member, commit.member_size, commit.generation, commit.instance,
        commit.instance_size, commit.version, reactor.now_ns
    )


cdef bint reserve(Reactor* reactor, const OffsetCommit* commit, Door* door) noexcept nogil:
    """Make room for the offsets. False: out of memory, or the offsets of all groups have reached their limit."""
    cdef TopicWalk walk
    cdef Committed committed
    cdef TopicImage* topic = NULL
    cdef int32_t partition
    walk_commit(commit, &walk)
    while walk_next(&walk):
        partition = read_offset(commit, &walk.r, reactor.now_ms, &committed)
        if walk.first_of_topic:
            topic = find_topic(reactor.image, &walk.key)
        if offset_map_reserve(door.offsets, topic.name, topic.name_size, partition, committed.metadata_size) < 0:
            return False
    return True


cdef int64_t stored_offsets = 0         # by all reactors, for metrics


cdef void store(Reactor* reactor, const OffsetCommit* commit, Door* door) noexcept nogil:
    """Store the offsets in memory, after `reserve`."""
    cdef TopicWalk walk
    cdef Committed committed
    cdef TopicImage* topic = NULL
    cdef int32_t partition
    cdef int64_t count = 0
    walk_commit(commit, &walk)
    while walk_next(&walk):
        partition = read_offset(commit, &walk.r, reactor.now_ms, &committed)
        if walk.first_of_topic:
            topic = find_topic(reactor.image, &walk.key)
        set_topic(topic, &committed)
        offset_map_put(door.offsets, topic.name, topic.name_size, partition, &committed)
        count += 1
    atomic_add_relaxed_i64(&stored_offsets, count)


cdef bint commit_offsets(
    Reactor* reactor, const OffsetCommit* commit, Door* door, ValidBatch* batch, AppendResult* result, int64_t* append_ticks
) noexcept nogil:
    """The gate is held. False: nothing has changed."""
    cdef int error
    append_ticks[0] = 0
    if not may_commit(reactor, commit, door, batch.size) or not reserve(reactor, commit, door):
        return False
    append_ticks[0] = ticks_now()
    error = partition_append_since(
        door.log.partition, batch, door.log.leader_since_epoch, ORIGIN_COORDINATOR, reactor.now_ms, result)
    append_ticks[0] = ticks_now() - append_ticks[0]
    if error:
        return False
    store(reactor, commit, door)
    return True


# -- the response --

cdef void respond(Reactor* reactor, Request* request, const OffsetCommit* commit, int16_t error) noexcept nogil:
    """The same error for each partition."""
    cdef TopicWalk walk
    cdef Committed committed
    cdef Writer w
    cdef bint flexible = commit.flexible
    cdef int32_t partition
    cdef int32_t partitions_count = 0
    response_begin(request, &w)
    if commit.version >= 3:
        response_throttle_time(request, &w)
    walk_commit(commit, &walk)
    write_array_length(&w, flexible, walk.topics_left)
    while walk_next(&walk):
        partition = read_offset(commit, &walk.r, 0, &committed)
        if walk.first_of_topic:
            if partitions_count > 0:
                write_no_tags(&w, flexible)
            write_topic_key(&w, &walk.key, flexible)
            write_array_length(&w, flexible, walk.partitions_left + 1)
        write_int32(&w, partition)
        write_int16(&w, error)
        write_no_tags(&w, flexible)
        partitions_count += 1
    write_no_tags(&w, flexible)
    write_no_tags(&w, flexible)
    request_error(request, error, partitions_count)
    response_send(reactor, request, &w)


cdef int check_parked(Reactor* reactor, Parked* parked, bint expired) noexcept nogil:
    """ParkedCheck: respond when the high watermark has passed the records, or the partition is lost."""
    cdef ParkedCommit* waiting = <ParkedCommit*>parked
    cdef Partition* partition = waiting.partition
    cdef OffsetCommit commit
    cdef int16_t error = ERROR_NONE
    # First the high watermark: that of a follower says nothing about these records.
    cdef int64_t high_watermark = atomic_load_i64(&partition.high_watermark)
    if atomic_load_i32(&partition.state) != PARTITION_ONLINE or (
        waiting.leader_epoch < atomic_load_i32(&partition.leader_since_epoch)
    ):
        error = ERROR_NOT_COORDINATOR
    elif high_watermark < waiting.required_offset:
        if not expired:
            return 0
        error = ERROR_COORDINATOR_NOT_AVAILABLE
    parked.request.body = waiting.body
    parked.request.body_size = waiting.body_size
    read_header(&parked.request, &commit)
    respond(reactor, &parked.request, &commit, error)
    return 1


cdef void free_parked(Parked* parked) noexcept nogil:
    partition_release((<ParkedCommit*>parked).partition)
    free(parked)


cdef int await_stored(
    Reactor* reactor, Request* request, ParkedCommit* waiting, const AppendResult* result, int32_t timeout_ms
) noexcept nogil:
    """Park the request until the high watermark has passed what was appended. Returns the handler's result."""
    cdef int64_t bytes = <int64_t>sizeof(ParkedCommit) + <int64_t>request.body_size + PARKED_WATCH_BYTES
    waiting.required_offset = result.last_offset + 1
    waiting.leader_epoch = result.leader_epoch
    waiting.body_size = request.body_size
    memcpy(waiting.body, request.body, request.body_size)
    parked_init(&waiting.parked, request, reactor.now_ns + <int64_t>timeout_ms * 1000000, check_parked, free_parked)
    park_reserve_anyway(reactor, &waiting.parked, bytes)        # its offsets are appended, so it cannot be refused
    return park(
        reactor, request, &waiting.parked, parked_watch(reactor, &waiting.parked, waiting.partition) == 0, False)


cdef void count_slow_append(Reactor* reactor, Partition* partition, int64_t ticks) noexcept nogil:
    """Tell slow_disk. The time for which this thread had no core does not count: commits are small and many, so that on a busy
    machine some of them are interrupted in each second."""
    cdef double ticks_per_ns = <double>reactor.slow_append_ticks / <double>SLOW_APPEND_NS
    ticks -= <int64_t>(<double>run_delay_since_last_ns() * ticks_per_ns)
    if ticks >= reactor.slow_append_ticks:
        append_was_slow(reactor, partition, ticks)


cdef int handle(Reactor* reactor, Request* request) noexcept nogil:
    cdef OffsetCommit commit
    cdef ValidBatch batch
    cdef AppendResult result
    cdef Gate* gate
    cdef Door* door = NULL
    cdef ParkedCommit* waiting = NULL
    cdef Partition* partition = NULL
    cdef int64_t append_ticks
    cdef int32_t timeout_ms = 0
    cdef bint done = False
    if request.connection.at_control > 0 or not read_header(request, &commit):
        return FORWARD
    if not request_allows_group(reactor, request, commit.group, commit.group_size):
        return FORWARD
    if not write_batch(reactor, request, &commit, &batch):
        return FORWARD
    gate = gate_lock(commit.group, commit.group_size, &door)
    if gate != NULL:
        if door != NULL:
            done = commit_offsets(reactor, &commit, door, &batch, &result, &append_ticks)
        if done:
            partition = partition_acquire(door.log.partition)
            timeout_ms = door.log.stored_timeout_ms
        pthread_mutex_unlock(&gate.gate_mutex)
    if not done:
        return FORWARD
    if append_ticks >= reactor.slow_append_ticks:
        count_slow_append(reactor, partition, append_ticks)
    if atomic_load_i64(&partition.high_watermark) > result.last_offset:
        partition_release(partition)
        respond(reactor, request, &commit, ERROR_NONE)
        return HANDLED
    waiting = <ParkedCommit*>malloc(sizeof(ParkedCommit) + request.body_size)
    if waiting == NULL:
        partition_release(partition)
        respond(reactor, request, &commit, ERROR_COORDINATOR_NOT_AVAILABLE)
        return HANDLED
    waiting.partition = partition
    return await_stored(reactor, request, waiting, &result, timeout_ms)


def stored_count() -> int:
    """How many offsets reactors have stored since the start."""
    return atomic_load_i64(&stored_offsets)


def register(int16_t version_min, int16_t version_max) -> None:
    """Makes reactors store commits that need no decision."""
    hot_handler_register(API_KEY, version_min, version_max, handle)
    hot_handler_authorizes(API_KEY)
