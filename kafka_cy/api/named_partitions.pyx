"""The partitions that a request names, each of them once.

A client may name a partition twice, in one entry of its topic or in several. Kafka reads the request into a map: the
last mention counts (Produce, Fetch), or such partitions are refused (ListOffsets). Both must be known before anything is
done. A request of one partition, by far the most frequent one, needs no hash and no look-up.
"""
from libc.stdint cimport int32_t, uint8_t, uint32_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcpy, memset

from kafka_cy.api.topic_key cimport TopicKey, hash_of_topic, same_topic
from kafka_cy.base.hash cimport hash_of_pair
from kafka_cy.base.hash_table cimport (
    hash_table_clear, hash_table_free, hash_table_insert, hash_table_next, hash_table_reserve, hash_table_start,
)
from kafka_cy.storage.partition cimport REACTORS_MAX

cdef enum:
    KEPT_PARTITIONS_MAX = 4096      # larger arrays are given back before the next request

cdef NamedPartitions[REACTORS_MAX] of_reactors
memset(of_reactors, 0, sizeof(of_reactors))


cdef NamedPartitions* named_of(int32_t reactor_id) noexcept nogil:
    cdef NamedPartitions* named = &of_reactors[reactor_id]
    if named.partitions_capacity > KEPT_PARTITIONS_MAX or named.topics_capacity > KEPT_PARTITIONS_MAX:
        free(named.topics)
        free(named.partitions)
        hash_table_free(&named.topics_table)
        hash_table_free(&named.partitions_table)
        memset(named, 0, sizeof(NamedPartitions))
    named.mention = NULL
    named.tables_used = False
    named.topics_count = 0
    named.partitions_count = 0
    return named


cdef int make_room(NamedPartitions* named) noexcept nogil:
    """For one more topic and partition in the arrays; 1 without memory."""
    cdef void* grown
    if named.topics_count == named.topics_capacity:
        grown = realloc(named.topics, (2 * <size_t>named.topics_capacity + 4) * sizeof(NamedTopic))
        if grown == NULL:
            return 1
        named.topics = <NamedTopic*>grown
        named.topics_capacity = 2 * named.topics_capacity + 4
    if named.partitions_count == named.partitions_capacity:
        grown = realloc(named.partitions, (2 * <size_t>named.partitions_capacity + 8) * sizeof(NamedPartition))
        if grown == NULL:
            return 1
        named.partitions = <NamedPartition*>grown
        named.partitions_capacity = 2 * named.partitions_capacity + 8
    return 0


cdef int make_room_in_tables(NamedPartitions* named) noexcept nogil:
    """The same for the tables. With the second mention of the request they come into use; 1 without memory."""
    cdef bint first_use = not named.tables_used
    cdef uint32_t topics_count = <uint32_t>named.topics_count + 1
    cdef uint32_t partitions_count = <uint32_t>named.partitions_count + 1
    if first_use:
        hash_table_clear(&named.topics_table)
        hash_table_clear(&named.partitions_table)
    if (hash_table_reserve(&named.topics_table, topics_count) < 0
            or hash_table_reserve(&named.partitions_table, partitions_count) < 0):
        return 1
    if first_use:
        named.tables_used = True
        named.topics[0].hash = hash_of_topic(&named.topics[0].key)
        hash_table_insert(&named.topics_table, named.topics[0].hash, 0)
        hash_table_insert(
            &named.partitions_table, hash_of_pair(named.topics[0].hash, <uint32_t>named.partitions[0].index), 0
        )
    return 0


cdef int32_t find_topic(NamedPartitions* named, TopicKey* key, uint32_t hash) noexcept nogil:
    cdef uint32_t place = hash_table_start(&named.topics_table, hash)
    cdef int32_t found = hash_table_next(&named.topics_table, hash, &place)
    while found >= 0 and not same_topic(&named.topics[found].key, key):
        found = hash_table_next(&named.topics_table, hash, &place)
    return found


cdef int32_t find_partition(NamedPartitions* named, uint32_t hash, int32_t topic, int32_t index) noexcept nogil:
    cdef uint32_t place = hash_table_start(&named.partitions_table, hash)
    cdef int32_t found = hash_table_next(&named.partitions_table, hash, &place)
    while found >= 0 and (named.partitions[found].index != index or named.partitions[found].topic != topic):
        found = hash_table_next(&named.partitions_table, hash, &place)
    return found


cdef int32_t topic_of(NamedPartitions* named, TopicKey* key) noexcept nogil:
    """The number of the topic, noted when it is new. There is room for it."""
    cdef const void* mention = key.topic_id if key.by_id else <const uint8_t*>key.name
    cdef NamedTopic* topic = &named.topics[named.topics_count]
    cdef int32_t number = named.topics_count
    if named.mention == mention:
        return named.mention_topic      # the next partition of the same mention: the name is not read again
    named.mention = mention
    topic.hash = 0
    if number:
        topic.hash = hash_of_topic(key)
        number = find_topic(named, key, topic.hash)
        if number >= 0:
            named.mention_topic = number
            return number
        number = named.topics_count
        hash_table_insert(&named.topics_table, topic.hash, number)
    named.mention_topic = number
    topic.key = key[0]
    topic.count = 0
    topic.first = -1
    topic.last = -1
    named.topics_count += 1
    return number


cdef int named_add(NamedPartitions* named, TopicKey* key, int32_t index, const uint8_t* at) noexcept nogil:
    cdef NamedPartition* partition
    cdef NamedTopic* topic
    cdef int32_t topic_number
    cdef int32_t number = named.partitions_count
    cdef int32_t found
    cdef uint32_t hash
    if make_room(named) or (number and make_room_in_tables(named)):
        return 1
    topic_number = topic_of(named, key)
    topic = &named.topics[topic_number]
    if number:
        hash = hash_of_pair(topic.hash, <uint32_t>index)
        found = find_partition(named, hash, topic_number, index)
        if found >= 0:
            named.partitions[found].at = at
            named.partitions[found].times += 1
            return 0
        hash_table_insert(&named.partitions_table, hash, number)
    partition = &named.partitions[number]
    partition.at = at
    partition.topic = topic_number
    partition.index = index
    partition.times = 1
    partition.next = -1
    if topic.first < 0:
        topic.first = number
    else:
        named.partitions[topic.last].next = number
    topic.last = number
    topic.count += 1
    named.partitions_count += 1
    return 0


def probes(reactor: int) -> tuple[int, int]:
    """How many partitions the last request named that a reactor worked on, and how many slots of the tables it looked at
    to note them. For tests, while the reactor has nothing to do; a request of one partition uses no table.
    """
    cdef NamedPartitions* named = &of_reactors[reactor]
    return named.partitions_count, named.topics_table.probes + named.partitions_table.probes


cdef int named_copy(
    NamedPartitions* copy, NamedPartitions* named, const uint8_t* body, const uint8_t* kept
) noexcept nogil:
    cdef size_t topics_size = <size_t>named.topics_count * sizeof(NamedTopic)
    cdef size_t partitions_size = <size_t>named.partitions_count * sizeof(NamedPartition)
    cdef TopicKey* key
    cdef int32_t i
    memset(copy, 0, sizeof(NamedPartitions))
    copy.topics = <NamedTopic*>malloc(topics_size + 1)
    copy.partitions = <NamedPartition*>malloc(partitions_size + 1)
    if copy.topics == NULL or copy.partitions == NULL:
        return 1
    memcpy(copy.topics, named.topics, topics_size)
    memcpy(copy.partitions, named.partitions, partitions_size)
    copy.topics_count = named.topics_count
    copy.partitions_count = named.partitions_count
    for i in range(copy.topics_count):
        key = &copy.topics[i].key
        if key.by_id:
            key.topic_id = kept + (key.topic_id - body)
        else:
            key.name = <const char*>kept + (<const uint8_t*>key.name - body)
    for i in range(copy.partitions_count):
        copy.partitions[i].at = kept + (copy.partitions[i].at - body)
    return 0


cdef void named_free(NamedPartitions* named) noexcept nogil:
    free(named.topics)
    free(named.partitions)
