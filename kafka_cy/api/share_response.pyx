"""Writes the responses of ShareFetch and ShareAcknowledge: the partitions that have records, an error or acknowledgements.

A fetch whose client is throttled gets no records, as in Kafka. Kafka has locked them all the same until their locks expire; here
they are available again at once, and count as not delivered. A fetch takes no more than the quota can ever allow at once,
except for a first batch that is larger: that counts as so much, and no more, or it would never be sent.
"""
from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t, uint32_t
from libc.string cimport memcmp, memset

from kafka_cy.api.error_codes cimport ERROR_KAFKA_STORAGE_ERROR, ERROR_NONE, ERROR_NOT_LEADER_OR_FOLLOWER
from kafka_cy.api.share_request cimport SHARE_PARTITIONS_MAX, ShareItem, share_give_back
from kafka_cy.base.atomics cimport atomic_add_relaxed_i64
from kafka_cy.base.hash cimport hash_of_bytes
from kafka_cy.base.posix cimport pthread_mutex_lock, pthread_mutex_unlock
from kafka_cy.network.dispatch cimport (
    request_error, response_add_file, response_begin, response_send, response_throttle_time,
)
from kafka_cy.network.metadata_image cimport MetadataImage, PartitionImage, TopicImage, image_find_topic_id, topic_partition
from kafka_cy.network.throttle cimport throttle_fetch, throttle_fetch_max
from kafka_cy.records.wire cimport (
    Writer, write_array_length, write_int16, write_int32, write_int64, write_no_tags, write_raw, write_string, write_uvarint,
    writer_reserve,
)
from kafka_cy.share.in_flight_acquire cimport ranges_give_back, rows_free
from kafka_cy.storage.log cimport segment_read

cdef enum:
    COPIED_BYTES_MAX = 16384        # for larger pieces, sendfile costs less than the copy
    TOPIC_SLOTS = 2 * SHARE_PARTITIONS_MAX


cdef bint is_sent(const ShareItem* item) noexcept nogil:
    return item.acknowledges or item.error != ERROR_NONE or item.acquired.count > 0


cdef inline int64_t records_size(const ShareItem* item) noexcept nogil:
    return item.read.size if item.read.segment != NULL or item.memory != NULL else 0


# The topics that are sent, in the order of their first partitions. Limit: SHARE_PARTITIONS_MAX, as many as there are items.
cdef struct Topics:
    int32_t count
    int32_t[SHARE_PARTITIONS_MAX] first         # items
    int32_t[SHARE_PARTITIONS_MAX] last
    int32_t[SHARE_PARTITIONS_MAX] partitions
    int16_t[TOPIC_SLOTS] slots                  # by the hash of the topic id: one more than the number of the topic; 0: free


cdef int32_t topic_slot(const Topics* topics, const ShareWork* work, const uint8_t* topic_id) noexcept nogil:
    """Where the topic is, or where it belongs. At most half of the slots are taken."""
    cdef uint32_t slot = hash_of_bytes(topic_id, 16) % TOPIC_SLOTS
    while topics.slots[slot] and memcmp(work.items[topics.first[topics.slots[slot] - 1]].topic_id, topic_id, 16) != 0:
        slot = (slot + 1) % TOPIC_SLOTS
    return <int32_t>slot


cdef void find_topics(Topics* topics, ShareWork* work) noexcept nogil:
    """Links the items that are sent by topic, in one pass: the partitions of a session come in any order."""
    cdef int32_t i, slot, number
    memset(topics, 0, sizeof(Topics))
    for i in range(work.count):
        if not is_sent(&work.items[i]):
            continue
        work.items[i].topic_next = -1
        slot = topic_slot(topics, work, work.items[i].topic_id)
        number = topics.slots[slot] - 1
        if number < 0:
            number = topics.count
            topics.count += 1
            topics.slots[slot] = <int16_t>topics.count
            topics.first[number] = i
        else:
            work.items[topics.last[number]].topic_next = i
        topics.last[number] = i
        topics.partitions[number] += 1


cdef void write_leader(Writer* w, MetadataImage* image, const ShareItem* item, int16_t error) noexcept nogil:
    """Leader and epoch for a client that asked the wrong broker."""
    cdef TopicImage* topic = NULL
    cdef PartitionImage* partition = NULL
    if error == ERROR_NOT_LEADER_OR_FOLLOWER and image != NULL:
        topic = image_find_topic_id(image, item.topic_id)
    if topic != NULL:
        partition = topic_partition(topic, item.index)
    write_int32(w, partition.leader if partition != NULL else 0)
    write_int32(w, partition.leader_epoch if partition != NULL else 0)
    write_no_tags(w, True)


# -- a fetch --

cdef void write_head(Writer* w, MetadataImage* image, const ShareItem* item) noexcept nogil:
    """Everything of a partition that precedes its records."""
    write_int32(w, item.index)
    write_int16(w, item.error)
    write_string(w, True, NULL, -1)
    write_int16(w, item.acknowledge_error)
    write_string(w, True, NULL, -1)
    write_leader(w, image, item, item.error)
    write_uvarint(w, <unsigned int>(records_size(item) + 1))


cdef bint copy_records(ShareItem* item, Writer* w) noexcept nogil:
    """Reads the records into the response. False: they could not be read."""
    cdef size_t size = <size_t>item.read.size
    cdef uint8_t* place = writer_reserve(w, size)
    if place == NULL:
        return True                                 # the error of the Writer closes the connection
    if segment_read(item.read.segment, item.read.position, place, size):
        return False
    w.size += size
    return True


cdef void write_records(Request* request, ShareWork* work, ShareItem* item, Writer* w, MetadataImage* image) noexcept nogil:
    cdef size_t start = w.size
    cdef int64_t size = records_size(item)
    write_head(w, image, item)
    if item.memory != NULL:
        write_raw(w, item.memory, <size_t>size)
    elif size > COPIED_BYTES_MAX:
        response_add_file(request, w, item.read.segment, item.read.fd, item.read.position, size)
        item.read.segment = NULL                    # the response holds it now
    elif size > 0 and not copy_records(item, w):
        size = 0
        item.error = ERROR_KAFKA_STORAGE_ERROR
        give_back_one(work, item)
        w.size = start
        write_head(w, image, item)
    if size > 0:
        atomic_add_relaxed_i64(&item.records.partition.bytes_out, size)


cdef void give_back_one(ShareWork* work, ShareItem* item) noexcept nogil:
    """Its records cannot be read. The segment is released with the request."""
    item.read.size = 0
    pthread_mutex_lock(&item.records.mutex)
    ranges_give_back(&item.records.ranges, work.session.member, work.session.member_size, &item.acquired)
    pthread_mutex_unlock(&item.records.mutex)
    rows_free(&item.acquired)


cdef void write_fetched(Request* request, ShareWork* work, ShareItem* item, Writer* w, MetadataImage* image) noexcept nogil:
    cdef int32_t i
    write_records(request, work, item, w, image)
    write_array_length(w, True, item.acquired.count)
    for i in range(item.acquired.count):
        write_int64(w, item.acquired.rows[i].first_offset)
        write_int64(w, item.acquired.rows[i].last_offset)
        write_int16(w, <int16_t>item.acquired.rows[i].delivery_count)
        write_no_tags(w, True)
    write_no_tags(w, True)
    request_error(request, item.error, 1)


cdef void write_acknowledged(Request* request, ShareItem* item, Writer* w, MetadataImage* image) noexcept nogil:
    write_int32(w, item.index)
    write_int16(w, item.acknowledge_error)
    write_string(w, True, NULL, -1)
    write_leader(w, image, item, item.acknowledge_error)
    write_no_tags(w, True)
    request_error(request, item.acknowledge_error, 1)


cdef void write_topics(Request* request, ShareWork* work, Writer* w, MetadataImage* image) noexcept nogil:
    cdef Topics topics
    cdef int32_t number, i
    find_topics(&topics, work)
    write_array_length(w, True, topics.count)
    for number in range(topics.count):
        i = topics.first[number]
        write_raw(w, work.items[i].topic_id, 16)
        write_array_length(w, True, topics.partitions[number])
        while i >= 0:
            if work.is_fetch:
                write_fetched(request, work, &work.items[i], w, image)
            else:
                write_acknowledged(request, &work.items[i], w, image)
            i = work.items[i].topic_next
        write_no_tags(w, True)


cdef int64_t bytes_of(const ShareWork* work) noexcept nogil:
    cdef int64_t bytes = 0
    cdef int32_t i
    for i in range(work.count):
        bytes += records_size(&work.items[i])
    return bytes


cdef void share_fetch_respond(Reactor* reactor, Request* request, ShareWork* work) noexcept nogil:
    cdef Writer w
    cdef int32_t throttle_ms = throttle_fetch(reactor, request, min(bytes_of(work), throttle_fetch_max(reactor, request)))
    if throttle_ms > 0:
        share_give_back(work)
    request_error(request, ERROR_NONE, 1)
    response_begin(request, &w)
    write_int32(&w, throttle_ms)
    write_int16(&w, ERROR_NONE)
    write_string(&w, True, NULL, -1)
    write_int32(&w, work.lock_ms if throttle_ms == 0 else 0)
    write_topics(request, work, &w, reactor.image)
    write_array_length(&w, True, 0)     # node endpoints
    write_no_tags(&w, True)
    response_send(reactor, request, &w)


cdef void share_acknowledge_respond(Reactor* reactor, Request* request, ShareWork* work) noexcept nogil:
    cdef Writer w
    request_error(request, ERROR_NONE, 1)
    response_begin(request, &w)
    response_throttle_time(request, &w)
    write_int16(&w, ERROR_NONE)
    write_string(&w, True, NULL, -1)
    if request.api_version >= 2:
        write_int32(&w, work.lock_ms)
    write_topics(request, work, &w, reactor.image)
    write_array_length(&w, True, 0)     # node endpoints
    write_no_tags(&w, True)
    response_send(reactor, request, &w)
