"""Committed offsets of a group as Python sees them; they are in C memory, so that a reactor can store a commit without the GIL.

Readers get copies: the C memory is copied under the mutex, Python objects are built after it is released.
"""
from collections.abc import ItemsView, Mapping, ValuesView
from functools import lru_cache
from uuid import UUID

from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.stdint cimport int32_t, int64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

from kafka_cy.coordinator.offset_map cimport (
    Committed, StoredOffset, maps_are_full, maps_held_bytes, maps_set_bytes_max, offset_map_copy, offset_map_free,
    offset_map_has_room, offset_map_has_topic, offset_map_init, offset_map_put, offset_map_remove, offset_map_topics,
)

TOPIC_IDS_KEPT = 4096       # as Python objects: the offsets of a topic have the same one


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
        offset_map_init(&self.map)

    def __dealloc__(self):
        offset_map_free(&self.map)

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

    def has_room(self, str topic not None, partition, str metadata):
        cdef bytes name = topic.encode()
        cdef int32_t index = partition
        cdef int32_t metadata_size = <int32_t>len(metadata.encode()) if metadata is not None else 0
        return offset_map_has_room(&self.map, name, <int32_t>len(name), index, metadata_size)

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


def held_bytes():
    return maps_held_bytes()


def are_full():
    return maps_are_full()


def set_bytes_max(int64_t bytes_max):
    maps_set_bytes_max(bytes_max)
