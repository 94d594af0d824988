"""Decodes ShareFetch and ShareAcknowledge requests that need no decision of the coordinator.

Whatever is unusual is forwarded before anything has changed: a request without a session, or with another epoch than the next; one
that opens or ends a session, adds partitions to it or removes some; renewals of locks; partitions whose state is not read yet, or
that this broker does not lead; settings that may have changed; a read_committed group that has met an aborted transaction; more
records in flight than SHARE_RANGES_MAX; a request that does not parse.
"""
from libc.stdint cimport int32_t, int8_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy, memset

from kafka_cy.api.fetch_cold cimport cold_kept_free, cold_read_cancel
from kafka_cy.api.share_changes cimport share_acknowledge_item, share_undo
from kafka_cy.api.topic_walk cimport TopicWalk, walk_begin, walk_next
from kafka_cy.base.atomics cimport atomic_load_relaxed_i64
from kafka_cy.base.posix cimport pthread_mutex_lock, pthread_mutex_unlock
from kafka_cy.network.dispatch cimport FORWARD, HANDLED
from kafka_cy.network.jobs cimport connection_unhold
from kafka_cy.network.questions cimport QUESTION_ALLOWED, QUESTION_LATER, QuestionRoom, question_hold_back, question_room
from kafka_cy.share.in_flight_acknowledge cimport Acknowledgement
from kafka_cy.records.wire cimport (
    Reader, read_array_length, read_int32, read_int64, read_int8, read_raw, read_string, reader_init, skip_tagged_fields,
)
from kafka_cy.share.in_flight_acquire cimport ranges_give_back, rows_free
from kafka_cy.share.session_data cimport (
    SessionData, SessionPlace, share_session_advance, share_session_find, share_session_place, share_session_release,
)
from kafka_cy.share.share_totals cimport SHARE_RANGES_MAX
from kafka_cy.share.shared_records cimport records_acquire, records_are_current, records_release
from kafka_cy.storage.log cimport segment_release
from kafka_cy.storage.partition cimport partition_wake

cdef enum:
    PARTITION_BYTES_MIN = 6             # index, an empty array, no tags
    BATCH_BYTES_MIN = 18                # two offsets, an empty array, no tags
    STRICT = 1                          # acquire mode


# -- decoding --

cdef inline bint read_batch(Reader* r, Acknowledgement* asked) noexcept nogil:
    """One acknowledgement. False: malformed."""
    asked.first_offset = read_int64(r)
    asked.last_offset = read_int64(r)
    asked.types_count = read_array_length(r, True, 1)
    asked.types = <const int8_t*>read_raw(r, asked.types_count if asked.types_count > 0 else 0)
    skip_tagged_fields(r)
    return not r.error and asked.types_count >= 0


cdef inline int32_t read_partition(Reader* r, int32_t* batches_count) noexcept nogil:
    """The index of a partition; its acknowledgements follow."""
    cdef int32_t index = read_int32(r)
    batches_count[0] = read_array_length(r, True, BATCH_BYTES_MIN)
    return index


cdef inline void walk_named(TopicWalk* walk, const ShareHeader* header) noexcept nogil:
    cdef Reader r = header.topics
    walk_begin(walk, &r, True, True, PARTITION_BYTES_MIN)


cdef bint read_topics(ShareHeader* header, Reader* r) noexcept nogil:
    """Count what the topics name. False: malformed, or too much."""
    cdef TopicWalk walk
    cdef Acknowledgement ignored
    cdef int32_t batches_count
    cdef int32_t types_count = 0
    header.topics = r[0]
    header.named_count = 0
    header.batches_count = 0
    walk_named(&walk, header)
    while walk_next(&walk):
        read_partition(&walk.r, &batches_count)
        header.named_count += 1
        header.batches_count += batches_count
        if walk.r.error or batches_count < 0 or header.batches_count > SHARE_BATCHES_MAX or (
            header.named_count > SHARE_PARTITIONS_MAX
        ):
            return False
        while batches_count > 0:
            batches_count -= 1
            if not read_batch(&walk.r, &ignored):
                return False
            types_count += ignored.types_count
            if types_count > SHARE_TYPES_MAX:
                return False
        skip_tagged_fields(&walk.r)
    r[0] = walk.r
    return not r.error


cdef bint read_header(Request* request, ShareHeader* header) noexcept nogil:
    """False: it is malformed, or asks for something unusual."""
    cdef Reader r
    cdef bint renews = False
    if request.body_size > SHARE_BODY_BYTES_MAX:
        return False
    memset(header, 0, sizeof(ShareHeader))
    reader_init(&r, request.body, request.body_size)
    header.group = read_string(&r, True, &header.group_size)
    header.member = read_string(&r, True, &header.member_size)
    header.epoch = read_int32(&r)
    if request.api_key == SHARE_FETCH_KEY:
        header.max_wait_ms = read_int32(&r)
        read_int32(&r)                  # min bytes are not waited for
        header.max_bytes = read_int32(&r)
        header.max_records = read_int32(&r)
        header.batch_size = read_int32(&r)
        if request.api_version >= 2:
            header.strict = read_int8(&r) == STRICT
    if request.api_version >= 2:
        renews = read_int8(&r) != 0
    if r.error or renews or header.epoch <= 0 or header.group == NULL or header.member == NULL or header.member_size <= 0:
        return False
    if not read_topics(header, &r):
        return False
    if request.api_key == SHARE_FETCH_KEY and read_array_length(&r, True, 18) != 0:
        return False                    # partitions leave the session
    skip_tagged_fields(&r)
    return not r.error and r.position == r.end


# -- the session --

cdef ShareWork* work_new(const ShareHeader* header, int32_t count, bint is_fetch) noexcept nogil:
    cdef ShareWork* work = <ShareWork*>calloc(1, sizeof(ShareWork) + <size_t>count * sizeof(ShareItem))
    if work == NULL:
        return NULL
    work.is_fetch = is_fetch
    work.items = <ShareItem*>(work + 1)
    if is_fetch:
        work.max_wait_ms = header.max_wait_ms
        work.max_bytes = header.max_bytes
        work.max_records = header.max_records
        work.batch_size = header.batch_size
        work.strict = header.strict
    return work


cdef ShareItem* item_add(ShareWork* work, SessionPlace* place) noexcept nogil:
    cdef ShareItem* item = &work.items[work.count]
    place.item = work.count
    work.count += 1
    item.records = records_acquire(place.records)
    memcpy(item.topic_id, place.topic_id, 16)
    item.index = place.index
    item.is_stored = True
    return item


cdef ShareItem* item_find(ShareWork* work, SessionPlace* place) noexcept nogil:
    """The place remembers where `item_add` has put it; if another request did, the records there are others."""
    if 0 <= place.item < work.count and work.items[place.item].records == place.records:
        return &work.items[place.item]
    return NULL


cdef bint is_usable(SessionPlace* place) noexcept nogil:
    """Whether a reactor may use the partition now."""
    return place.records != NULL and records_are_current(place.records) and (
        atomic_load_relaxed_i64(&place.records.ranges.totals.ranges) < SHARE_RANGES_MAX
    )


cdef bint add_all(ShareWork* work, SessionData* share_session) noexcept nogil:
    """All partitions of the session. False: one of them is the coordinator's work."""
    cdef int32_t number = share_session.first
    cdef SessionPlace* place
    while number >= 0:
        place = &share_session.places[number]
        if not is_usable(place):
            return False
        item_add(work, place)
        number = place.next
    return True


cdef bint mark_named(ShareWork* work, SessionData* share_session, const ShareHeader* header) noexcept nogil:
    """Which partitions have acknowledgements. False: one of those that it names is the coordinator's work."""
    cdef TopicWalk walk
    cdef Acknowledgement ignored
    cdef SessionPlace* place
    cdef ShareItem* item
    cdef int32_t index, batches_count, batches_left
    walk_named(&walk, header)
    while walk_next(&walk):
        index = read_partition(&walk.r, &batches_count)
        batches_left = batches_count
        while batches_left > 0:
            batches_left -= 1
            read_batch(&walk.r, &ignored)
        skip_tagged_fields(&walk.r)
        place = share_session_place(share_session, walk.key.topic_id, index)
        if place == NULL:
            return False
        if batches_count == 0:
            continue
        item = item_find(work, place) if place.records != NULL else NULL
        if item == NULL:
            if work.is_fetch or not is_usable(place):
                return False
            item = item_add(work, place)
        if item.acknowledges:           # named twice
            return False
        item.acknowledges = True
    return True


cdef void acknowledge_all(
    Reactor* reactor, ShareWork* work, SessionData* share_session, const ShareHeader* header, Acknowledgement* asked
) noexcept nogil:
    """Begin the changes; `asked` has room for all acknowledgements."""
    cdef TopicWalk walk
    cdef SessionPlace* place
    cdef int32_t index, batches_count, i
    walk_named(&walk, header)
    while walk_next(&walk):
        index = read_partition(&walk.r, &batches_count)
        for i in range(batches_count):
            read_batch(&walk.r, &asked[i])
        skip_tagged_fields(&walk.r)
        if batches_count > 0:
            place = share_session_place(share_session, walk.key.topic_id, index)
            share_acknowledge_item(
                item_find(work, place), share_session.member, share_session.member_size, asked, batches_count, reactor.now_ns)


cdef bint begin_in_session(
    Reactor* reactor, ShareWork* work, SessionData* share_session, const ShareHeader* header, Acknowledgement* asked
) noexcept nogil:
    """With the session's mutex. False: the coordinator's work, and nothing has changed."""
    cdef SessionPlace* first = &share_session.places[share_session.first]
    if share_session.ended or header.epoch != share_session.next_epoch or not is_usable(first):
        return False
    work.lock_ms = <int32_t>(first.records.limits.lock_ns // 1000000)       # as for all of the group
    if work.is_fetch and not add_all(work, share_session):
        return False
    if not mark_named(work, share_session, header):
        return False
    share_session_advance(share_session)
    if header.batches_count > 0:
        acknowledge_all(reactor, work, share_session, header, asked)
    return True


cdef int begin(Reactor* reactor, Request* request, const ShareHeader* header, ShareWork** made) noexcept nogil:
    cdef bint is_fetch = request.api_key == SHARE_FETCH_KEY
    cdef SessionData* share_session = share_session_find(header.group, header.group_size, header.member, header.member_size)
    cdef Acknowledgement* asked = NULL
    cdef ShareWork* work = NULL
    cdef bint begun = False
    if share_session == NULL:
        return FORWARD
    asked = <Acknowledgement*>malloc(<size_t>(header.batches_count + 1) * sizeof(Acknowledgement))
    pthread_mutex_lock(&share_session.mutex)
    if 0 < share_session.count <= SHARE_PARTITIONS_MAX and asked != NULL:
        work = work_new(header, share_session.count, is_fetch)
        if work != NULL:
            begun = begin_in_session(reactor, work, share_session, header, asked)
    pthread_mutex_unlock(&share_session.mutex)
    free(asked)
    if work == NULL:
        share_session_release(share_session)
        return FORWARD
    work.session = share_session
    if not begun:
        share_free(work)
        return FORWARD
    made[0] = work
    return HANDLED


cdef int share_begin(Reactor* reactor, Request* request, ShareWork** made) noexcept nogil:
    cdef ShareHeader header
    cdef QuestionRoom room
    if request.connection.at_control > 0 or not read_header(request, &header):
        return FORWARD                  # a connection's requests stay in their order
    if header.batches_count > 0:
        room = question_room(reactor, request.api_key)
        if room == QUESTION_LATER:
            return question_hold_back(request.connection)
        if room != QUESTION_ALLOWED:
            return FORWARD
    return begin(reactor, request, &header, made)


# -- the end --

cdef void share_release_reads(ShareWork* work) noexcept nogil:
    cdef int32_t i
    for i in range(work.count):
        if work.items[i].read.segment != NULL:
            segment_release(work.items[i].read.segment)
            work.items[i].read.segment = NULL
        work.items[i].memory = NULL


cdef void share_give_back(ShareWork* work) noexcept nogil:
    cdef ShareItem* item
    cdef int32_t i
    share_release_reads(work)
    for i in range(work.count):
        item = &work.items[i]
        if item.acquired.count == 0:
            continue
        pthread_mutex_lock(&item.records.mutex)
        ranges_give_back(&item.records.ranges, work.session.member, work.session.member_size, &item.acquired)
        pthread_mutex_unlock(&item.records.mutex)
        rows_free(&item.acquired)
        partition_wake(item.records.partition)      # others may get them


cdef void share_free(ShareWork* work) noexcept nogil:
    cdef int32_t i
    if work.asking:
        connection_unhold(<Reactor*>work.parked.request.connection.reactor, work.parked.request.connection, True)
    cold_read_cancel(&work.cold)
    share_undo(work)
    share_release_reads(work)
    cold_kept_free(&work.cold)
    for i in range(work.count):
        rows_free(&work.items[i].acquired)
        records_release(work.items[i].records)
    share_session_release(work.session)
    free(work)
