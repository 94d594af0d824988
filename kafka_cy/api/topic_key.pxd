"""How requests name topics: by name, or by id from some version on."""
from libc.stdint cimport int32_t, uint8_t, uint32_t
from libc.string cimport memcmp

from kafka_cy.base.hash cimport hash_of_bytes
from kafka_cy.network.metadata_image cimport MetadataImage, TopicImage, image_find_topic, image_find_topic_id
from kafka_cy.records.wire cimport Reader, Writer, read_raw, read_string, write_raw, write_string


# A topic's name or id. Borrows the request body.
cdef struct TopicKey:
    bint by_id
    const char* name            # NULL when by_id
    int32_t name_size
    const uint8_t* topic_id     # NULL when not by_id


cdef inline void read_topic_key(Reader* r, bint by_id, bint flexible, TopicKey* key) noexcept nogil:
    """A topic's name or id. A null name is left NULL with size -1 (the caller decides)."""
    key.by_id = by_id
    key.name = NULL
    key.name_size = 0
    key.topic_id = NULL
    if by_id:
        key.topic_id = read_raw(r, 16)
    else:
        key.name = read_string(r, flexible, &key.name_size)


cdef inline bint same_topic(TopicKey* a, TopicKey* b) noexcept nogil:
    """Both by id or both by name. Two keys that borrow the same bytes are not compared byte by byte."""
    if a.by_id:
        return a.topic_id == b.topic_id or memcmp(a.topic_id, b.topic_id, 16) == 0
    if a.name_size != b.name_size:
        return False
    return a.name == b.name or memcmp(a.name, b.name, <size_t>a.name_size) == 0


cdef inline uint32_t hash_of_topic(TopicKey* key) noexcept nogil:
    if key.by_id:
        return hash_of_bytes(key.topic_id, 16)
    return hash_of_bytes(key.name, <size_t>key.name_size)


cdef inline TopicImage* find_topic(MetadataImage* image, TopicKey* key) noexcept nogil:
    if image == NULL:
        return NULL
    if key.by_id:
        return image_find_topic_id(image, key.topic_id)
    if key.name == NULL:
        return NULL
    return image_find_topic(image, key.name, key.name_size)


cdef inline void write_topic_key(Writer* w, TopicKey* key, bint flexible) noexcept nogil:
    if key.by_id:
        write_raw(w, key.topic_id, 16)
    else:
        write_string(w, flexible, key.name, key.name_size)


cdef inline bint topic_id_is_zero(const uint8_t* topic_id) noexcept nogil:
    cdef int i
    for i in range(16):
        if topic_id[i]:
            return False
    return True
