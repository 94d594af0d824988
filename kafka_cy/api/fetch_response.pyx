"""Chooses what a Fetch response contains, and writes it.

A full response contains every partition. An incremental one (KIP-227) contains the partitions that have records or whose
high watermark, log start offset or error changed; the session remembers what was sent.
"""
from libc.stdint cimport int8_t, int32_t, int64_t, uint8_t
from libc.stdlib cimport free

from kafka_cy.api.error_codes cimport (
    ERROR_FENCED_LEADER_EPOCH, ERROR_INVALID_FETCH_SESSION_EPOCH, ERROR_KAFKA_STORAGE_ERROR, ERROR_NONE,
    ERROR_NOT_LEADER_OR_FOLLOWER, ERROR_TOPIC_AUTHORIZATION_FAILED, ERROR_UNKNOWN_TOPIC_ID, ERROR_UNKNOWN_TOPIC_OR_PARTITION,
)
from kafka_cy.api.fetch cimport READ_COMMITTED, FetchItem, forget_offsets
from kafka_cy.api.fetch_request cimport AskedPartition
from kafka_cy.api.fetch_session cimport (
    FetchSession, SessionPartition, SessionTopic, session_epoch, session_move_last, session_new, session_put,
    session_release, session_set, session_topic, session_trylock, session_unlock,
)
from kafka_cy.api.fetch_session_cache cimport cache_add, cache_has_room, cache_refuse
from kafka_cy.api.fetch_throttle cimport count_sent_to_follower
from kafka_cy.api.leader_hints cimport leaders_add, write_response_tags
from kafka_cy.api.topic_key cimport same_topic, write_topic_key
from kafka_cy.api.topic_name cimport topic_name_is_legal
from kafka_cy.base.atomics cimport atomic_add_relaxed_i64, atomic_load_pointer
from kafka_cy.network.dispatch cimport request_error, response_add_file, response_begin, response_send
from kafka_cy.network.request cimport RESPONSE_BYTES_MAX
from kafka_cy.network.throttle cimport throttle_fetch
from kafka_cy.network.tracing cimport trace_fetched
from kafka_cy.records.wire cimport (
    WIRE_NO_MEMORY, Writer, write_array_length, write_int16, write_int32, write_int64, write_int8, write_no_tags, write_uvarint,
    writer_init, writer_reserve,
)
from kafka_cy.storage.log cimport Log, log_aborted_transactions, segment_read

cdef enum:
    COPIED_BYTES_MAX = 16384        # for larger pieces, sendfile costs less than the copy


cdef void note_sent(FetchSession* session, FetchItem* item) noexcept nogil:
    """Decides whether an incremental response contains the partition, and notes what it says. The session's lock is held."""
    cdef SessionPartition* partition
    if item.session_entry < 0:                      # not in the session: an illegal name
        item.send = True
        return
    partition = &session.partitions[item.session_entry]
    item.send = item.read.size > 0 or item.diverging or item.preferred >= 0
    if partition.high_watermark != item.high_watermark:
        item.send = True
        partition.high_watermark = item.high_watermark
    if partition.log_start_offset != item.log_start_offset:
        item.send = True
        partition.log_start_offset = item.log_start_offset
    if item.error or item.diverging:
        item.send = True
        # So that the next response contains it again, with an error or without. A follower that diverges takes no high watermark.
        partition.high_watermark = -1
    if item.read.size > 0:
        item.moved = True
        session_move_last(session, item.session_entry)


cdef void choose_incremental(Fetch* fetch) noexcept nogil:
    """Chooses the partitions that changed, unless another request has advanced the session since, or is about to do so."""
    cdef FetchItem* item = fetch.first
    if session_trylock(fetch.session):
        if session_epoch(fetch.session) == fetch.session_epoch_next:
            while item != NULL:
                note_sent(fetch.session, item)
                item = item.next
            fetch.chosen = True
        session_unlock(fetch.session)
    if not fetch.chosen:
        fetch.error = ERROR_INVALID_FETCH_SESSION_EPOCH


cdef int fill_session(FetchSession* session, Fetch* fetch) noexcept nogil:
    """Puts the partitions of this fetch into a new session. 1: beyond a limit, or no memory."""
    cdef SessionPartition* partition
    cdef SessionTopic* topic = NULL
    cdef FetchItem* item
    cdef AskedPartition asked
    cdef int32_t i
    for i in range(fetch.count):
        item = &fetch.items[i]
        if topic == NULL or not same_topic(&item.key, &fetch.items[i - 1].key):
            topic = NULL
            if item.partition == NULL and not item.key.by_id and not topic_name_is_legal(item.key.name, item.key.name_size):
                continue
            topic = session_topic(session, &item.key)
        partition = session_put(session, topic, item.index) if topic != NULL else NULL
        if partition == NULL:
            return 1
        asked.current_leader_epoch = item.current_leader_epoch
        asked.last_fetched_epoch = item.last_fetched_epoch
        asked.fetch_offset = item.fetch_offset
        asked.max_bytes = item.max_bytes
        asked.start_offset = item.start_offset
        session_set(partition, &asked)
        partition.high_watermark = item.high_watermark if item.error == ERROR_NONE and not item.diverging else -1
        partition.log_start_offset = item.log_start_offset
    return 0


cdef int32_t create_session(Reactor* reactor, Request* request, Fetch* fetch) noexcept nogil:
    """Returns the id of a new session with the partitions of this fetch; 0: a limit does not allow one."""
    cdef FetchSession* session = NULL
    cdef int32_t session_id = 0
    cdef bint refused = True
    if fetch.count == 0:
        return 0
    if cache_has_room(fetch.count, reactor.now_ms):
        session = session_new(request.connection.principal, fetch.by_id, fetch.count, reactor.now_ms)
    if session != NULL:
        if fill_session(session, fetch) == 0:
            refused = session.count > 0 and not cache_add(session)
        if not refused:
            session_id = session.id
        session_release(session)
    if refused:
        cache_refuse(reactor.now_ms)
    return session_id


cdef int32_t choose(Reactor* reactor, Request* request, Fetch* fetch) noexcept nogil:
    """Marks the partitions that are sent. Returns the session id for the response."""
    cdef int32_t session_id = 0
    if fetch.session != NULL:
        session_id = fetch.session.id
        choose_incremental(fetch)
    else:
        send_each(fetch, True)
        if fetch.create_session and fetch.error == ERROR_NONE:
            session_id = create_session(reactor, request, fetch)
    if fetch.error:
        send_each(fetch, False)
    return session_id


cdef void send_each(Fetch* fetch, bint send) noexcept nogil:
    cdef FetchItem* item = fetch.first
    while item != NULL:
        item.send = send
        item = item.next


cdef FetchItem* next_sent(FetchItem* item) noexcept nogil:
    while item != NULL and not item.send:
        item = item.next
    return item


cdef FetchItem* topic_end(FetchItem* start, int32_t* sent) noexcept nogil:
    """Return the end of the run of partitions of one topic that begins at `start`. `sent` gets how many of them are sent."""
    cdef FetchItem* item = start
    sent[0] = 0
    while item != NULL and (not item.send or same_topic(&start.key, &item.key)):
        if item.send:
            sent[0] += 1
        item = item.next
    return item


cdef void write_aborted(Fetch* fetch, FetchItem* item, Writer* w) noexcept nogil:
    """Writes the aborted transactions in the order of the index: null for read_uncommitted, empty if nothing was read.

    Kafka's response for a partition that is unknown or denied contains an empty list with either level.
    """
    cdef int64_t* pairs = NULL
    cdef int32_t count = 0
    cdef int32_t i
    if item.error and (
        item.error == ERROR_UNKNOWN_TOPIC_OR_PARTITION or item.error == ERROR_UNKNOWN_TOPIC_ID
        or item.error == ERROR_TOPIC_AUTHORIZATION_FAILED
    ):
        write_array_length(w, fetch.flexible, 0)
        return
    if fetch.isolation_level != READ_COMMITTED or fetch.replica_id >= 0 or item.error:
        write_array_length(w, fetch.flexible, -1)
        return
    if item.read.size > 0 and log_aborted_transactions(
        <Log*>atomic_load_pointer(<void**>&item.partition.log), item.fetch_offset, item.read.end_offset, &pairs, &count
    ):
        w.error = WIRE_NO_MEMORY                    # closes the connection: without the list, aborted records would count
        return
    write_array_length(w, fetch.flexible, count)
    for i in range(count):
        write_int64(w, pairs[2 * i])
        write_int64(w, pairs[2 * i + 1])
        write_no_tags(w, fetch.flexible)
    free(pairs)


cdef void write_records_size(Fetch* fetch, Writer* w, int64_t size) noexcept nogil:
    if fetch.flexible:
        write_uvarint(w, <unsigned int>(size + 1))
    else:
        write_int32(w, <int32_t>size)


cdef bint copy_records(FetchItem* item, Writer* w) noexcept nogil:
    """Reads the records into the response. False: they could not be read."""
    cdef size_t size = <size_t>item.read.size
    cdef uint8_t* place = writer_reserve(w, size)
    if place == NULL:
        return True                                 # the error of the Writer closes the connection
    if segment_read(item.read.segment, item.read.position, place, size):
        return False
    w.size += size
    return True


cdef void write_head(Fetch* fetch, FetchItem* item, Writer* w) noexcept nogil:
    """Writes everything of a partition that precedes its records."""
    write_int32(w, item.index)
    write_int16(w, item.error)
    write_int64(w, item.high_watermark)
    write_int64(w, item.last_stable_offset)
    if fetch.version >= 5:
        write_int64(w, item.log_start_offset)
    write_aborted(fetch, item, w)
    if fetch.version >= 11:
        write_int32(w, item.preferred)


cdef void write_partition_tags(Fetch* fetch, FetchItem* item, Writer* w) noexcept nogil:
    """Writes DivergingEpoch (0) and CurrentLeader (1). SnapshotId (2) is used by KRaft only."""
    cdef bint stale = item.error == ERROR_NOT_LEADER_OR_FOLLOWER or item.error == ERROR_FENCED_LEADER_EPOCH
    cdef bint leader = stale and item.leader >= 0 and fetch.version >= 16      # KIP-951, like Kafka
    if not fetch.flexible:
        return
    write_int8(w, <int8_t>(item.diverging + leader))
    if item.diverging:
        write_uvarint(w, 0)
        write_uvarint(w, 13)
        write_int32(w, item.diverging_epoch)
        write_int64(w, item.diverging_end_offset)
        write_int8(w, 0)
    if leader:
        write_uvarint(w, 1)
        write_uvarint(w, 9)
        write_int32(w, item.leader)
        write_int32(w, item.leader_epoch)
        write_int8(w, 0)
        if fetch.replica_id < 0:
            leaders_add(&fetch.leaders, item.leader)


cdef void write_item(Request* request, Fetch* fetch, FetchItem* item, Writer* w) noexcept nogil:
    cdef size_t start = w.size
    cdef int64_t size = item.read.size
    write_head(fetch, item, w)
    write_records_size(fetch, w, size)
    if size > COPIED_BYTES_MAX:
        response_add_file(request, w, item.read.segment, item.read.fd, item.read.position, size)
        item.read.segment = NULL                    # the response holds it now
    elif size > 0 and not copy_records(item, w):
        item.error = ERROR_KAFKA_STORAGE_ERROR
        forget_offsets(item)
        atomic_add_relaxed_i64(&item.partition.failed_fetch_requests, 1)
        item.read.size = 0
        size = 0
        w.size = start
        write_head(fetch, item, w)
        write_records_size(fetch, w, 0)
    if size > 0:
        if fetch.replica_id < 0:
            atomic_add_relaxed_i64(&item.partition.bytes_out, size)
        else:
            count_sent_to_follower(item, size)
    write_partition_tags(fetch, item, w)


cdef void write_topics(Request* request, Fetch* fetch, Writer* w) noexcept nogil:
    cdef int32_t topics_count = 0
    cdef int32_t sent = 0
    cdef FetchItem* end
    cdef FetchItem* item = next_sent(fetch.first)
    while item != NULL:
        topics_count += 1
        item = next_sent(topic_end(item, &sent))
    write_array_length(w, fetch.flexible, topics_count)
    item = next_sent(fetch.first)
    while item != NULL:
        end = topic_end(item, &sent)
        write_topic_key(w, &item.key, fetch.flexible)
        write_array_length(w, fetch.flexible, sent)
        while item != end:
            if item.send:
                write_item(request, fetch, item, w)
                request_error(request, item.error, 1)
            item = item.next
        write_no_tags(w, fetch.flexible)
        item = next_sent(end)


cdef void trace(Reactor* reactor, Request* request, Fetch* fetch) noexcept nogil:
    cdef FetchItem* item = fetch.first
    while item != NULL:
        if item.send and item.read.size > 0 and fetch.replica_id < 0:
            trace_fetched(reactor, request.slot, item.partition, item.fetch_offset, item.read_limit, &item.read)
        item = item.next


cdef int32_t choose_nothing(Fetch* fetch) noexcept nogil:
    """The client is throttled, or its rights may be gone: no partition is sent, and no session begins. Returns the session id for
    the response.
    """
    cdef bint current = False
    send_each(fetch, False)
    if fetch.session == NULL:
        return 0
    if session_trylock(fetch.session):
        current = session_epoch(fetch.session) == fetch.session_epoch_next
        session_unlock(fetch.session)
    if not current:
        fetch.error = ERROR_INVALID_FETCH_SESSION_EPOCH
    return fetch.session.id


cdef int32_t throttle(Reactor* reactor, Request* request, Fetch* fetch) noexcept nogil:
    """Return throttle_time_ms. Followers have no client quota. Of a response, the records count."""
    if fetch.replica_id >= 0:
        request.slot.throttle_decided = True
        return 0
    return throttle_fetch(reactor, request, fetch.bytes)


cdef void fetch_respond(Reactor* reactor, Request* request, Fetch* fetch) noexcept nogil:
    cdef Writer w
    cdef int32_t throttle_ms = throttle(reactor, request, fetch)
    cdef bint nothing = throttle_ms != 0 or fetch.withholds
    cdef int32_t session_id = choose_nothing(fetch) if nothing else choose(reactor, request, fetch)
    request_error(request, fetch.error, 1)
    writer_init(&w, RESPONSE_BYTES_MAX)
    response_begin(request, &w)
    if reactor.tracer != NULL:
        trace(reactor, request, fetch)
    write_int32(&w, throttle_ms)
    if fetch.version >= 7:
        write_int16(&w, fetch.error)
        write_int32(&w, session_id)
    write_topics(request, fetch, &w)
    if fetch.version >= 16:
        write_response_tags(&w, &reactor.scratch, reactor.image, request.listener, &fetch.leaders)
    else:
        write_no_tags(&w, fetch.flexible)
    response_send(reactor, request, &w)
