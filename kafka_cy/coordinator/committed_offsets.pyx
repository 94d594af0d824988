"""Committed offsets of a group in C memory, so that a reactor can store a commit without the GIL.

Readers get copies: the C memory is copied under the mutex, Python objects are built after it is released. A commit is stored
in two steps: `offset_map_reserve` before the append to the log, which may fail, and `offset_map_put` after it, which may not.
"""
from collections.abc import ItemsView, Mapping, ValuesView
from functools import lru_cache
from uuid import UUID

from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.stdint cimport int32_t, uint32_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcmp, memcpy, memset

from kafka_cy.base.hash cimport hash_of_bytes, hash_of_number
from kafka_cy.base.hash_table cimport (
    hash_table_free, hash_table_insert, hash_table_next, hash_table_remove, hash_table_renumber, hash_table_reserve,
    hash_table_start,
)
from kafka_cy.base.posix cimport pthread_mutex_destroy, pthread_mutex_init, pthread_mutex_lock, pthread_mutex_unlock


TOPIC_IDS_KEPT = 4096       # as Python objects: the offsets of a topic have the same one


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


cdef StoredOffset* make_room(
    OffsetMap* map, const char* name, int32_t size, int32_t partition, int32_t metadata_size, TopicOffsets** of_topic
) noexcept nogil:
    """The partition's place, with room for the metadata. NULL without memory: no offset has changed."""
    cdef int32_t place
    cdef TopicOffsets* topic = find_topic(map, name, size, &place)
    cdef StoredOffset* stored
    cdef char* grown
    if topic == NULL:
        topic = add_topic(map, name, size)
        if topic == NULL:
            return NULL
    of_topic[0] = topic
    place = find_partition(topic, partition)
    stored = &topic.offsets[place] if place >= 0 else add_partition(topic, partition)
    if stored != NULL and stored.metadata_capacity < metadata_size:
        grown = <char*>realloc(<char*>stored.value.metadata, <size_t>metadata_size)
        if grown == NULL:
            return NULL
        stored.value.metadata = grown
        stored.metadata_capacity = metadata_size
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
    free(<char*>stored.value.metadata)
    topic.count -= 1
    if place != topic.count:
        hash_table_renumber(&topic.by_partition, hash_of_number(<uint32_t>last.partition), topic.count, place)
        stored[0] = last[0]


cdef void topic_free(TopicOffsets* topic) noexcept nogil:
    cdef int32_t i
    for i in range(topic.count):
        free(<char*>topic.offsets[i].value.metadata)
    free(topic.offsets)
    hash_table_free(&topic.by_partition)
    free(topic)


# -- with the mutex free --

cdef int offset_map_reserve(
    OffsetMap* map, const char* topic, int32_t topic_size, int32_t partition, int32_t metadata_size
) noexcept nogil:
    cdef TopicOffsets* of_topic = NULL
    cdef bint done
    pthread_mutex_lock(&map.offsets_mutex)
    done = make_room(map, topic, topic_size, partition, metadata_size, &of_topic) != NULL
    pthread_mutex_unlock(&map.offsets_mutex)
    return 0 if done else -1


cdef int offset_map_put(
    OffsetMap* map, const char* topic, int32_t topic_size, int32_t partition, const Committed* committed
) noexcept nogil:
    cdef TopicOffsets* of_topic = NULL
    cdef StoredOffset* stored
    cdef const char* own
    pthread_mutex_lock(&map.offsets_mutex)
    stored = make_room(map, topic, topic_size, partition, committed.metadata_size, &of_topic)
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


cdef int32_t offset_map_copy(
    OffsetMap* map, const char* name, int32_t size, const int32_t* wanted, int32_t wanted_count, StoredOffset** copies,
    char** metadata
) noexcept nogil:
    """Copy the topic's offsets, or, if `wanted` is not NULL, a row for each of those partitions. Returns the count, -1 without
    memory. The caller frees both. The copies' metadata point into `metadata`."""
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
    """Copy the names of the topics that have an offset, one after another. Returns the count, -1 without memory."""
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


# -- Python --

@lru_cache(TOPIC_IDS_KEPT)
def topic_id_of(bytes raw):
    return UUID(bytes=raw)


@lru_cache(1)
def committed_offset_class():
    """Loaded with the first offset that Python reads: reactors do without, and the module would cost start time."""
    from kafka_cy.coordinator.records import CommittedOffset

    return CommittedOffset


cdef object python_offset(const Committed* value):
    metadata = ""
    topic_id = None
    if value.metadata_size > 0:
        metadata = PyUnicode_DecodeUTF8(value.metadata, value.metadata_size, "strict")
    if value.has_topic_id:
        topic_id = topic_id_of(PyBytes_FromStringAndSize(<const char*>value.topic_id, 16))
    return committed_offset_class()(
        value.offset, value.leader_epoch, metadata, value.commit_timestamp_ms, value.expire_timestamp_ms, topic_id)


cdef class OffsetsCopy:
    cdef StoredOffset* rows
    cdef char* metadata
    cdef int32_t count

    def __dealloc__(self):
        free(self.rows)
        free(self.metadata)

    def __len__(self):
        return self.count

    def items(self):
        cdef int32_t i
        cdef StoredOffset* row
        found = []
        for i in range(self.count):
            row = &self.rows[i]
            found.append((row.partition, python_offset(&row.value) if row.present else None))
        return found


cdef class CommittedOffsets:
    # Owner: a group. Threads: any; the GIL is held, and `offsets_mutex` while the C memory is copied or changed.

    def __cinit__(self):
        memset(&self.map, 0, sizeof(OffsetMap))
        pthread_mutex_init(&self.map.offsets_mutex, NULL)

    def __dealloc__(self):
        cdef int32_t i
        for i in range(self.map.topics_count):
            topic_free(self.map.topics[i])
        free(self.map.topics)
        hash_table_free(&self.map.by_topic)
        pthread_mutex_destroy(&self.map.offsets_mutex)

    def find(self, str topic not None, partition):
        cdef int32_t index = partition
        return self.copy_of(topic, (index,)).items()[0][1]

    def put(self, str topic not None, partition, committed):
        cdef bytes name = topic.encode()
        cdef bytes metadata = committed.metadata.encode()
        cdef bytes raw_id
        cdef Committed value
        cdef int32_t index = partition
        memset(&value, 0, sizeof(Committed))
        value.offset = committed.offset
        value.leader_epoch = committed.leader_epoch
        value.commit_timestamp_ms = committed.commit_timestamp_ms
        value.expire_timestamp_ms = committed.expire_timestamp_ms
        value.metadata = metadata
        value.metadata_size = <int32_t>len(metadata)
        if committed.topic_id is not None:
            raw_id = committed.topic_id.bytes
            value.has_topic_id = True
            memcpy(value.topic_id, <const char*>raw_id, 16)
        if offset_map_put(&self.map, name, <int32_t>len(name), index, &value) < 0:
            raise MemoryError

    def remove(self, str topic not None, partition):
        cdef bytes name = topic.encode()
        cdef int32_t index = partition
        offset_map_remove(&self.map, name, <int32_t>len(name), index)

    def copy_of(self, str topic not None, partitions=None):
        cdef bytes name = topic.encode()
        cdef OffsetsCopy copy = OffsetsCopy()
        cdef int32_t wanted_count = 0
        cdef int32_t* wanted = NULL
        try:
            if partitions is not None:
                wanted_count = <int32_t>len(partitions)
                wanted = <int32_t*>malloc((<size_t>wanted_count + 1) * sizeof(int32_t))
                if wanted == NULL:
                    raise MemoryError
                for i in range(wanted_count):
                    wanted[i] = partitions[i]
            copy.count = offset_map_copy(
                &self.map, name, <int32_t>len(name), wanted, wanted_count, &copy.rows, &copy.metadata)
        finally:
            free(wanted)
        if copy.count < 0:
            copy.count = 0
            raise MemoryError
        return copy

    def partitions(self, str topic not None):
        return [partition for partition, _ in self.positions(topic)]

    def positions(self, str topic not None):
        cdef OffsetsCopy copy = self.copy_of(topic)
        cdef int32_t i
        return [(copy.rows[i].partition, copy.rows[i].value.offset) for i in range(copy.count)]

    @property
    def count(self):
        return self.map.present

    # -- as a mapping --

    def keys(self):
        """The topics that have an offset; a copy."""
        cdef list names = []
        cdef char* text = NULL
        cdef int32_t* sizes = NULL
        cdef size_t at = 0
        cdef int32_t count = offset_map_topics(&self.map, &text, &sizes)
        cdef int32_t i
        try:
            if count < 0:
                raise MemoryError
            for i in range(count):
                names.append(PyUnicode_DecodeUTF8(text + at, sizes[i], "strict"))
                at += <size_t>sizes[i]
            return names
        finally:
            free(text)
            free(sizes)

    def __len__(self):
        return self.map.topics_present

    def __iter__(self):
        return iter(self.keys())

    def __contains__(self, str topic not None):
        cdef bytes name = topic.encode()
        return offset_map_has_topic(&self.map, name, <int32_t>len(name))

    def __getitem__(self, topic):
        found = dict(self.copy_of(topic).items())
        if not found:
            raise KeyError(topic)
        return found

    def get(self, topic, default=None):
        return dict(self.copy_of(topic).items()) or default

    def items(self):
        return ItemsView(self)

    def values(self):
        return ValuesView(self)

    def __eq__(self, other):
        return isinstance(other, Mapping) and dict(self) == dict(other)

    __hash__ = None


Mapping.register(CommittedOffsets)
