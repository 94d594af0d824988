"""The partitions that a request names, each of them once.

A client may name a partition twice, in one entry of its topic or in several. Kafka turns what it reads into a map, so
that the last mention counts (Produce, Fetch), or refuses such partitions (ListOffsets). Both need to know before
anything is done. A request of one partition, by far the most usual one, costs no look-up.
"""
from libc.stdint cimport int32_t, uint8_t, uint32_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memset

from kafka_cy.api.leaders cimport TopicKey, hash_of_partition, hash_of_topic, same_topic
from kafka_cy.storage.partition cimport REACTORS_MAX

cdef enum:
    EMPTY = -1
    TOPIC = -2
    TABLE_SIZE_START = 32
    KEPT_PARTITIONS_MAX = 4096      # a larger array is given back before the next request

cdef NamedPartitions[REACTORS_MAX] of_reactors
memset(of_reactors, 0, sizeof(of_reactors))


cdef NamedPartitions* named_of(int32_t reactor_id) noexcept nogil:
    cdef NamedPartitions* named = &of_reactors[reactor_id]
    if named.partitions_capacity > KEPT_PARTITIONS_MAX or named.topics_capacity > KEPT_PARTITIONS_MAX:
        free(named.topics)
        free(named.partitions)
        free(named.table)
        memset(named, 0, sizeof(NamedPartitions))
    named.topics_count = 0
    named.partitions_count = 0
    return named


cdef void table_put(NamedPartitions* named, uint32_t hash, int32_t value) noexcept nogil:
    cdef uint32_t place = hash & (named.table_size - 1)
    while named.table[place] != EMPTY:
        place = (place + 1) & (named.table_size - 1)
    named.table[place] = value


cdef void table_fill(NamedPartitions* named) noexcept nogil:
    """All that is named so far into an empty table."""
    cdef NamedPartition* partition
    cdef int32_t i
    memset(named.table, 0xff, named.table_size * sizeof(int32_t))
    for i in range(named.topics_count):
        table_put(named, named.topics[i].hash, TOPIC - i)
    for i in range(named.partitions_count):
        partition = &named.partitions[i]
        table_put(named, hash_of_partition(named.topics[partition.topic].hash, partition.index), i)


cdef int table_grow(NamedPartitions* named, uint32_t size) noexcept nogil:
    cdef int32_t* table = <int32_t*>malloc(size * sizeof(int32_t))
    if table == NULL:
        return 1
    free(named.table)
    named.table = table
    named.table_size = size
    table_fill(named)
    return 0


cdef int make_room(NamedPartitions* named) noexcept nogil:
    """For one more topic and partition, the table at most half full; 1 without memory."""
    cdef void* grown
    cdef uint32_t wanted = named.table_size if named.table_size else TABLE_SIZE_START
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
    while <uint32_t>(named.topics_count + named.partitions_count + 2) * 2 > wanted:
        wanted *= 2
    if named.partitions_count and wanted > named.table_size:
        return table_grow(named, wanted)
    if named.partitions_count == 1:
        table_fill(named)           # the first one was noted without it
    return 0


cdef int32_t find_topic(NamedPartitions* named, TopicKey* key, uint32_t hash) noexcept nogil:
    cdef uint32_t place = hash & (named.table_size - 1)
    cdef int32_t found = named.table[place]
    while found != EMPTY:
        if found <= TOPIC and named.topics[TOPIC - found].hash == hash and same_topic(&named.topics[TOPIC - found].key, key):
            return TOPIC - found
        place = (place + 1) & (named.table_size - 1)
        found = named.table[place]
    return -1


cdef int32_t find_partition(NamedPartitions* named, int32_t topic, int32_t index) noexcept nogil:
    cdef uint32_t place = hash_of_partition(named.topics[topic].hash, index) & (named.table_size - 1)
    cdef int32_t found = named.table[place]
    while found != EMPTY:
        if found >= 0 and named.partitions[found].index == index and named.partitions[found].topic == topic:
            return found
        place = (place + 1) & (named.table_size - 1)
        found = named.table[place]
    return -1


cdef int32_t topic_of(NamedPartitions* named, TopicKey* key) noexcept nogil:
    """The number of the topic, noted when it is new. There is room for it."""
    cdef NamedTopic* last = &named.topics[named.topics_count - 1]
    cdef NamedTopic* topic = &named.topics[named.topics_count]
    cdef uint32_t hash
    cdef int32_t found
    if named.topics_count and (last.key.topic_id == key.topic_id if key.by_id else last.key.name == key.name):
        return named.topics_count - 1               # the next partition of the same mention
    hash = hash_of_topic(key)
    if named.partitions_count:
        found = find_topic(named, key, hash)
        if found >= 0:
            return found
        table_put(named, hash, TOPIC - named.topics_count)
    topic.key = key[0]
    topic.hash = hash
    topic.count = 0
    topic.first = -1
    topic.last = -1
    named.topics_count += 1
    return named.topics_count - 1


cdef int named_add(NamedPartitions* named, TopicKey* key, int32_t index, const uint8_t* at) noexcept nogil:
    cdef NamedPartition* partition
    cdef NamedTopic* topic
    cdef int32_t topic_number
    cdef int32_t number = named.partitions_count
    cdef int32_t found
    if make_room(named):
        return 1
    topic_number = topic_of(named, key)
    topic = &named.topics[topic_number]
    if number:
        found = find_partition(named, topic_number, index)
        if found >= 0:
            named.partitions[found].at = at
            named.partitions[found].times += 1
            return 0
        table_put(named, hash_of_partition(topic.hash, index), number)
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
