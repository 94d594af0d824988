"""The C map of what one group has committed, and the memory of all maps.

A commit is stored in two steps: `offset_map_reserve` before the append to the log, which may fail, and `offset_map_put` after it,
which may not.
"""
from libc.stdint cimport INT64_MAX, int32_t, int64_t, uint32_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcmp, memcpy, memset

from kafka_cy.base.atomics cimport atomic_add_relaxed_i64, atomic_load_relaxed_i64, atomic_store_i64
from kafka_cy.base.hash cimport hash_of_bytes, hash_of_number
from kafka_cy.base.hash_table cimport (
    HashSlot, HashTable, hash_table_free, hash_table_insert, hash_table_next, hash_table_remove, hash_table_renumber,
    hash_table_reserve, hash_table_start,
)
from kafka_cy.base.posix cimport pthread_mutex_destroy, pthread_mutex_init, pthread_mutex_lock, pthread_mutex_unlock

cdef enum:
    ALLOCATION_BYTES = 32       # that a piece of memory takes beside its size: of malloc, by rounding, and gaps

cdef int64_t held = 0                   # (a) the bytes of all maps
cdef int64_t held_max = INT64_MAX       # (a) kafkacy.committed.offsets.max.bytes


# -- the memory of all maps: only what allocates or frees counts, so that a commit for a known partition does not --

cdef inline void count_held(int64_t change) noexcept nogil:
    if change != 0:
        atomic_add_relaxed_i64(&held, change)


cdef int64_t maps_held_bytes() noexcept nogil:
    return atomic_load_relaxed_i64(&held)


cdef bint maps_are_full() noexcept nogil:
    return atomic_load_relaxed_i64(&held) >= atomic_load_relaxed_i64(&held_max)


cdef void maps_set_bytes_max(int64_t bytes_max) noexcept nogil:
    atomic_store_i64(&held_max, bytes_max)


cdef inline int64_t table_bytes(const HashTable* table) noexcept nogil:
    if table.slots == NULL:
        return 0
    return (<int64_t>table.mask + 1) * <int64_t>sizeof(HashSlot) + ALLOCATION_BYTES


cdef inline int64_t map_bytes(const OffsetMap* map) noexcept nogil:
    """Of the map itself, without its topics."""
    return map.topics_capacity * <int64_t>sizeof(TopicOffsets*) + table_bytes(&map.by_topic)


cdef inline int64_t topic_bytes(const TopicOffsets* topic) noexcept nogil:
    """Of the topic, without the metadata of its partitions."""
    cdef int64_t own = <int64_t>sizeof(TopicOffsets) + topic.name_size + 2 * ALLOCATION_BYTES
    return own + topic.capacity * <int64_t>sizeof(StoredOffset) + table_bytes(&topic.by_partition)


cdef inline int64_t metadata_bytes(int32_t capacity) noexcept nogil:
    return capacity + ALLOCATION_BYTES if capacity > 0 else 0


# -- with the mutex held, unless the map is private --

cdef TopicOffsets* find_topic(OffsetMap* map, const char* name, int32_t size, int32_t* found) noexcept nogil:
    """The topic, and its place in `topics`; NULL when it is unknown."""
    cdef uint32_t hash = hash_of_bytes(name, <size_t>size)
    cdef uint32_t place = hash_table_start(&map.by_topic, hash)
    cdef TopicOffsets* topic
    found[0] = hash_table_next(&map.by_topic, hash, &place)
    while found[0] >= 0:
        topic = map.topics[found[0]]
        if topic.name_size == size and memcmp(topic.name, name, <size_t>size) == 0:
            return topic
        found[0] = hash_table_next(&map.by_topic, hash, &place)
    return NULL


cdef int32_t find_partition(TopicOffsets* topic, int32_t partition) noexcept nogil:
    """The partition's place in `offsets`, or -1."""
    cdef uint32_t hash = hash_of_number(<uint32_t>partition)
    cdef uint32_t place = hash_table_start(&topic.by_partition, hash)
    cdef int32_t found = hash_table_next(&topic.by_partition, hash, &place)
    while found >= 0 and topic.offsets[found].partition != partition:
        found = hash_table_next(&topic.by_partition, hash, &place)
    return found


cdef TopicOffsets* add_topic(OffsetMap* map, const char* name, int32_t size) noexcept nogil:
    """NULL without memory."""
    cdef int32_t capacity
    cdef TopicOffsets** grown
    cdef TopicOffsets* topic
    if map.topics_count == map.topics_capacity:
        capacity = 2 * map.topics_capacity + 1
        grown = <TopicOffsets**>realloc(map.topics, <size_t>capacity * sizeof(TopicOffsets*))
        if grown == NULL:
            return NULL
        map.topics = grown
        map.topics_capacity = capacity
    if hash_table_reserve(&map.by_topic, <uint32_t>map.topics_count + 1) < 0:
        return NULL
    topic = <TopicOffsets*>calloc(1, sizeof(TopicOffsets) + <size_t>size)
    if topic == NULL:
        return NULL
    topic.hash = hash_of_bytes(name, <size_t>size)
    topic.name_size = size
    memcpy(topic.name, name, <size_t>size)
    map.topics[map.topics_count] = topic
    hash_table_insert(&map.by_topic, topic.hash, map.topics_count)
    map.topics_count += 1
    return topic


cdef StoredOffset* add_partition(TopicOffsets* topic, int32_t partition) noexcept nogil:
    """NULL without memory."""
    cdef int32_t capacity
    cdef StoredOffset* stored
    if topic.count == topic.capacity:
        capacity = 2 * topic.capacity + 1
        stored = <StoredOffset*>realloc(topic.offsets, <size_t>capacity * sizeof(StoredOffset))
        if stored == NULL:
            return NULL
        topic.offsets = stored
        topic.capacity = capacity
    if hash_table_reserve(&topic.by_partition, <uint32_t>topic.count + 1) < 0:
        return NULL
    stored = &topic.offsets[topic.count]
    memset(stored, 0, sizeof(StoredOffset))
    stored.partition = partition
    hash_table_insert(&topic.by_partition, hash_of_number(<uint32_t>partition), topic.count)
    topic.count += 1
    return stored


cdef StoredOffset* grow(
    OffsetMap* map, TopicOffsets** of_topic, const char* name, int32_t size, int32_t partition, int32_t metadata_size
) noexcept nogil:
    """The partition's place, with room for the metadata. `of_topic` is its topic, NULL if it is new."""
    cdef StoredOffset* stored
    cdef char* grown
    cdef int32_t place
    if of_topic[0] == NULL:
        of_topic[0] = add_topic(map, name, size)
        if of_topic[0] == NULL:
            return NULL
    place = find_partition(of_topic[0], partition)
    stored = &of_topic[0].offsets[place] if place >= 0 else add_partition(of_topic[0], partition)
    if stored != NULL and stored.metadata_capacity < metadata_size:
        grown = <char*>realloc(<char*>stored.value.metadata, <size_t>metadata_size)
        if grown == NULL:
            return NULL
        count_held(metadata_bytes(metadata_size) - metadata_bytes(stored.metadata_capacity))
        stored.value.metadata = grown
        stored.metadata_capacity = metadata_size
    return stored


cdef StoredOffset* make_room(
    OffsetMap* map, const char* name, int32_t size, int32_t partition, int32_t metadata_size, TopicOffsets** of_topic,
    bint limited
) noexcept nogil:
    """The partition's place, with room for the metadata. NULL without memory, or, if `limited`, when more of it is needed and the
    maps are full: no offset has changed."""
    cdef int32_t place
    cdef TopicOffsets* topic = find_topic(map, name, size, &place)
    cdef StoredOffset* stored
    cdef int64_t before
    of_topic[0] = topic
    place = find_partition(topic, partition) if topic != NULL else -1
    if place >= 0 and topic.offsets[place].metadata_capacity >= metadata_size:
        return &topic.offsets[place]
    if limited and maps_are_full():
        return NULL
    before = map_bytes(map) + (topic_bytes(topic) if topic != NULL else 0)
    stored = grow(map, of_topic, name, size, partition, metadata_size)
    topic = of_topic[0]
    count_held(map_bytes(map) + (topic_bytes(topic) if topic != NULL else 0) - before)
    return stored


cdef void remove_topic(OffsetMap* map, TopicOffsets* topic, int32_t place) noexcept nogil:
    """The last topic takes the place of the one that goes."""
    cdef TopicOffsets* last = map.topics[map.topics_count - 1]
    hash_table_remove(&map.by_topic, topic.hash, place)
    map.topics_count -= 1
    if place != map.topics_count:
        hash_table_renumber(&map.by_topic, last.hash, map.topics_count, place)
        map.topics[place] = last
    topic_free(topic)


cdef void remove_partition(TopicOffsets* topic, int32_t place) noexcept nogil:
    """The last partition takes the place of the one that goes."""
    cdef StoredOffset* stored = &topic.offsets[place]
    cdef StoredOffset* last = &topic.offsets[topic.count - 1]
    hash_table_remove(&topic.by_partition, hash_of_number(<uint32_t>stored.partition), place)
    count_held(-metadata_bytes(stored.metadata_capacity))
    free(<char*>stored.value.metadata)
    topic.count -= 1
    if place != topic.count:
        hash_table_renumber(&topic.by_partition, hash_of_number(<uint32_t>last.partition), topic.count, place)
        stored[0] = last[0]


cdef void topic_free(TopicOffsets* topic) noexcept nogil:
    cdef int64_t bytes = topic_bytes(topic)
    cdef int32_t i
    for i in range(topic.count):
        bytes += metadata_bytes(topic.offsets[i].metadata_capacity)
        free(<char*>topic.offsets[i].value.metadata)
    count_held(-bytes)
    free(topic.offsets)
    hash_table_free(&topic.by_partition)
    free(topic)


# -- with the mutex free --

cdef void offset_map_init(OffsetMap* map) noexcept nogil:
    memset(map, 0, sizeof(OffsetMap))
    pthread_mutex_init(&map.offsets_mutex, NULL)


cdef void offset_map_free(OffsetMap* map) noexcept nogil:
    cdef int32_t i
    for i in range(map.topics_count):
        topic_free(map.topics[i])
    count_held(-map_bytes(map))
    free(map.topics)
    hash_table_free(&map.by_topic)
    pthread_mutex_destroy(&map.offsets_mutex)


cdef int offset_map_reserve(
    OffsetMap* map, const char* topic, int32_t topic_size, int32_t partition, int32_t metadata_size
) noexcept nogil:
    cdef TopicOffsets* of_topic = NULL
    cdef bint done
    pthread_mutex_lock(&map.offsets_mutex)
    done = make_room(map, topic, topic_size, partition, metadata_size, &of_topic, True) != NULL
    pthread_mutex_unlock(&map.offsets_mutex)
    return 0 if done else -1


cdef int offset_map_put(
    OffsetMap* map, const char* topic, int32_t topic_size, int32_t partition, const Committed* committed
) noexcept nogil:
    cdef TopicOffsets* of_topic = NULL
    cdef StoredOffset* stored
    cdef const char* own
    pthread_mutex_lock(&map.offsets_mutex)
    stored = make_room(map, topic, topic_size, partition, committed.metadata_size, &of_topic, False)
    if stored != NULL:
        own = stored.value.metadata
        stored.value = committed[0]
        stored.value.metadata = own
        if committed.metadata_size > 0:
            memcpy(<char*>own, committed.metadata, <size_t>committed.metadata_size)
        if not stored.present:
            stored.present = True
            of_topic.present += 1
            map.present += 1
            map.topics_present += of_topic.present == 1
    pthread_mutex_unlock(&map.offsets_mutex)
    return 0 if stored != NULL else -1


cdef void offset_map_remove(OffsetMap* map, const char* name, int32_t size, int32_t partition) noexcept nogil:
    cdef TopicOffsets* topic
    cdef int32_t topic_place, place
    pthread_mutex_lock(&map.offsets_mutex)
    topic = find_topic(map, name, size, &topic_place)
    place = find_partition(topic, partition) if topic != NULL else -1
    if place >= 0:
        if topic.offsets[place].present:
            topic.present -= 1
            map.present -= 1
            map.topics_present -= topic.present == 0
        remove_partition(topic, place)
        if topic.count == 0:
            remove_topic(map, topic, topic_place)
    pthread_mutex_unlock(&map.offsets_mutex)


cdef bint offset_map_has_room(
    OffsetMap* map, const char* name, int32_t size, int32_t partition, int32_t metadata_size
) noexcept nogil:
    cdef TopicOffsets* topic
    cdef int32_t place
    cdef bint found
    pthread_mutex_lock(&map.offsets_mutex)
    topic = find_topic(map, name, size, &place)
    place = find_partition(topic, partition) if topic != NULL else -1
    found = place >= 0 and topic.offsets[place].metadata_capacity >= metadata_size
    pthread_mutex_unlock(&map.offsets_mutex)
    return found


cdef int32_t offset_map_copy(
    OffsetMap* map, const char* name, int32_t size, const int32_t* wanted, int32_t wanted_count, StoredOffset** copies,
    char** metadata
) noexcept nogil:
    cdef TopicOffsets* topic
    cdef int32_t place, i, rows
    cdef int32_t count = 0
    cdef size_t metadata_bytes = 0
    cdef StoredOffset* row
    copies[0] = NULL
    metadata[0] = NULL
    pthread_mutex_lock(&map.offsets_mutex)
    topic = find_topic(map, name, size, &place)
    rows = wanted_count if wanted != NULL else (topic.count if topic != NULL else 0)
    copies[0] = <StoredOffset*>malloc((<size_t>rows + 1) * sizeof(StoredOffset))
    for i in range(rows if copies[0] != NULL else 0):
        place = i if wanted == NULL else (find_partition(topic, wanted[i]) if topic != NULL else -1)
        row = &copies[0][count]
        row.present = place >= 0 and topic.offsets[place].present
        if row.present:
            row[0] = topic.offsets[place]
            metadata_bytes += <size_t>row.value.metadata_size
        elif wanted == NULL:
            continue
        else:
            row.partition = wanted[i]
        count += 1
    if metadata_bytes > 0:
        metadata[0] = <char*>malloc(metadata_bytes)
    if copies[0] == NULL or (metadata_bytes > 0 and metadata[0] == NULL):
        count = -1
    elif metadata_bytes > 0:
        copy_metadata(copies[0], count, metadata[0])
    pthread_mutex_unlock(&map.offsets_mutex)
    return count


cdef void copy_metadata(StoredOffset* copies, int32_t count, char* to) noexcept nogil:
    cdef int32_t i
    for i in range(count):
        if copies[i].present and copies[i].value.metadata_size > 0:
            memcpy(to, copies[i].value.metadata, <size_t>copies[i].value.metadata_size)
            copies[i].value.metadata = to
            to += copies[i].value.metadata_size


cdef bint offset_map_has_topic(OffsetMap* map, const char* name, int32_t size) noexcept nogil:
    cdef TopicOffsets* topic
    cdef int32_t place
    cdef bint known
    pthread_mutex_lock(&map.offsets_mutex)
    topic = find_topic(map, name, size, &place)
    known = topic != NULL and topic.present > 0
    pthread_mutex_unlock(&map.offsets_mutex)
    return known


cdef int32_t offset_map_topics(OffsetMap* map, char** text, int32_t** sizes) noexcept nogil:
    cdef TopicOffsets* topic
    cdef size_t size = 0
    cdef int32_t count = 0
    cdef int32_t i
    pthread_mutex_lock(&map.offsets_mutex)
    for i in range(map.topics_count):
        size += <size_t>map.topics[i].name_size
    text[0] = <char*>malloc(size + 1)
    sizes[0] = <int32_t*>malloc((<size_t>map.topics_count + 1) * sizeof(int32_t))
    if text[0] == NULL or sizes[0] == NULL:
        count = -1
    size = 0
    for i in range(map.topics_count if count == 0 else 0):
        topic = map.topics[i]
        if topic.present > 0:
            memcpy(text[0] + size, topic.name, <size_t>topic.name_size)
            size += <size_t>topic.name_size
            sizes[0][count] = topic.name_size
            count += 1
    pthread_mutex_unlock(&map.offsets_mutex)
    return count
