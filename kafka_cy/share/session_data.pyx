"""One share session, and the table in which reactors find it. The coordinator's handle: share_session.pyx."""
from libc.stdint cimport int32_t, uint8_t, uint32_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcmp, memcpy, memset

from kafka_cy.base.atomics cimport atomic_add_i32, atomic_sub_i32
from kafka_cy.base.hash cimport hash_of_bytes, hash_of_pair
from kafka_cy.base.hash_table cimport (
    hash_table_free, hash_table_insert, hash_table_next, hash_table_remove, hash_table_renumber, hash_table_reserve,
    hash_table_start,
)
from kafka_cy.base.posix cimport (
    pthread_mutex_destroy, pthread_mutex_init, pthread_mutex_lock, pthread_mutex_t, pthread_mutex_unlock,
)
from kafka_cy.share.shared_records cimport SharedRecords, records_acquire, records_release

# All open sessions. Locks: `mutex`, held for a look-up or a change of one session.
cdef struct ShareTable:
    pthread_mutex_t mutex
    HashTable table             # places in `sessions`
    SessionData** sessions      # dense, in no order
    int32_t count
    int32_t capacity

cdef ShareTable share_table


cdef uint32_t hash_of_names(const char* group, int32_t group_size, const char* member, int32_t member_size) noexcept nogil:
    return hash_of_pair(hash_of_bytes(group, <size_t>group_size), hash_of_bytes(member, <size_t>member_size))


# -- one session --

cdef SessionData* share_session_new(const char* group, int32_t group_size, const char* member, int32_t member_size) noexcept nogil:
    cdef SessionData* data = <SessionData*>malloc(sizeof(SessionData) + <size_t>group_size + <size_t>member_size)
    if data == NULL:
        return NULL
    memset(data, 0, sizeof(SessionData))
    data.references = 1
    data.hash = hash_of_names(group, group_size, member, member_size)
    data.next_epoch = 1
    data.first = data.last = data.first_free = -1
    data.group_size = group_size
    data.member_size = member_size
    data.group = <char*>(data + 1)
    data.member = data.group + group_size
    memcpy(data.group, group, <size_t>group_size)
    memcpy(data.member, member, <size_t>member_size)
    pthread_mutex_init(&data.mutex, NULL)
    return data


cdef void share_session_release(SessionData* share_session) noexcept nogil:
    cdef int32_t i
    if atomic_sub_i32(&share_session.references, 1) > 0:
        return
    i = share_session.first
    while i >= 0:
        if share_session.places[i].records != NULL:
            records_release(share_session.places[i].records)
        i = share_session.places[i].next
    hash_table_free(&share_session.table)
    free(share_session.places)
    pthread_mutex_destroy(&share_session.mutex)
    free(share_session)


cdef void share_session_advance(SessionData* share_session) noexcept nogil:
    share_session.next_epoch = 1 if share_session.next_epoch == SESSION_EPOCH_MAX else share_session.next_epoch + 1


# -- its partitions --

cdef inline uint32_t hash_of_place(const uint8_t* topic_id, int32_t index) noexcept nogil:
    return hash_of_pair(hash_of_bytes(topic_id, 16), <uint32_t>index)


cdef SessionPlace* share_session_place(SessionData* share_session, const uint8_t* topic_id, int32_t index) noexcept nogil:
    cdef uint32_t hash = hash_of_place(topic_id, index)
    cdef uint32_t at = hash_table_start(&share_session.table, hash)
    cdef int32_t found = hash_table_next(&share_session.table, hash, &at)
    cdef SessionPlace* place
    while found >= 0:
        place = &share_session.places[found]
        if place.index == index and memcmp(place.topic_id, topic_id, 16) == 0:
            return place
        found = hash_table_next(&share_session.table, hash, &at)
    return NULL


cdef void place_link(SessionData* data, int32_t number) noexcept nogil:
    """At the end of the order."""
    data.places[number].next = -1
    data.places[number].previous = data.last
    if data.last >= 0:
        data.places[data.last].next = number
    else:
        data.first = number
    data.last = number


cdef void place_unlink(SessionData* data, int32_t number) noexcept nogil:
    cdef SessionPlace* place = &data.places[number]
    if place.previous >= 0:
        data.places[place.previous].next = place.next
    else:
        data.first = place.next
    if place.next >= 0:
        data.places[place.next].previous = place.previous
    else:
        data.last = place.previous


cdef void share_session_served(SessionData* share_session, SessionPlace* place) noexcept nogil:
    cdef int32_t number = <int32_t>(place - share_session.places)
    place_unlink(share_session, number)
    place_link(share_session, number)


cdef bint place_reserve(SessionData* data) noexcept nogil:
    """A free place. False: no memory."""
    cdef int32_t capacity = 2 * data.capacity if data.capacity else 4
    cdef SessionPlace* grown
    cdef int32_t i
    if hash_table_reserve(&data.table, <uint32_t>data.count + 1) < 0:
        return False
    if data.first_free >= 0:
        return True
    grown = <SessionPlace*>realloc(data.places, <size_t>capacity * sizeof(SessionPlace))
    if grown == NULL:
        return False
    data.places = grown
    for i in range(data.capacity, capacity):
        grown[i].next = data.first_free
        data.first_free = i
    data.capacity = capacity
    return True


cdef bint share_session_add(SessionData* data, const uint8_t* topic_id, int32_t index) noexcept nogil:
    """False: no memory."""
    cdef SessionPlace* place
    cdef int32_t number
    if not place_reserve(data):
        return False
    number = data.first_free
    place = &data.places[number]
    data.first_free = place.next
    memcpy(place.topic_id, topic_id, 16)
    place.index = index
    place.item = -1
    place.hash = hash_of_place(topic_id, index)
    place.records = NULL
    place_link(data, number)
    hash_table_insert(&data.table, place.hash, number)
    data.count += 1
    return True


cdef SharedRecords* share_session_set(SessionPlace* place, SharedRecords* records) noexcept nogil:
    cdef SharedRecords* before = place.records
    place.records = records_acquire(records) if records != NULL else NULL
    return before


cdef SharedRecords* share_session_remove(SessionData* data, SessionPlace* place) noexcept nogil:
    cdef int32_t number = <int32_t>(place - data.places)
    cdef SharedRecords* before = share_session_set(place, NULL)
    hash_table_remove(&data.table, place.hash, number)
    place_unlink(data, number)
    place.next = data.first_free
    data.first_free = number
    data.count -= 1
    return before


# -- the table --

cdef SessionData* share_session_find(
    const char* group, int32_t group_size, const char* member, int32_t member_size
) noexcept nogil:
    cdef uint32_t hash = hash_of_names(group, group_size, member, member_size)
    cdef SessionData* found = NULL
    cdef SessionData* each
    cdef uint32_t at
    cdef int32_t number
    pthread_mutex_lock(&share_table.mutex)
    at = hash_table_start(&share_table.table, hash)
    number = hash_table_next(&share_table.table, hash, &at)
    while number >= 0 and found == NULL:
        each = share_table.sessions[number]
        if each.group_size == group_size and each.member_size == member_size and (
            memcmp(each.group, group, <size_t>group_size) == 0 and memcmp(each.member, member, <size_t>member_size) == 0
        ):
            atomic_add_i32(&each.references, 1)
            found = each
        number = hash_table_next(&share_table.table, hash, &at)
    pthread_mutex_unlock(&share_table.mutex)
    return found


cdef bint table_reserve() noexcept nogil:
    """Room for one more. False: no memory."""
    cdef int32_t capacity = 2 * share_table.capacity if share_table.capacity else 16
    cdef SessionData** grown
    if hash_table_reserve(&share_table.table, <uint32_t>share_table.count + 1) < 0:
        return False
    if share_table.count < share_table.capacity:
        return True
    grown = <SessionData**>realloc(share_table.sessions, <size_t>capacity * sizeof(SessionData*))
    if grown == NULL:
        return False
    share_table.sessions = grown
    share_table.capacity = capacity
    return True


cdef bint share_session_open(SessionData* data) noexcept nogil:
    cdef bint added
    pthread_mutex_lock(&share_table.mutex)
    added = table_reserve()
    if added:
        share_table.sessions[share_table.count] = data
        hash_table_insert(&share_table.table, data.hash, share_table.count)
        share_table.count += 1
    pthread_mutex_unlock(&share_table.mutex)
    return added


cdef void share_session_close(SessionData* data) noexcept nogil:
    """The last session takes its place. Nothing happens if it is not in the table."""
    cdef SessionData* last
    cdef uint32_t at
    cdef int32_t number
    pthread_mutex_lock(&share_table.mutex)
    at = hash_table_start(&share_table.table, data.hash)
    number = hash_table_next(&share_table.table, data.hash, &at)
    while number >= 0 and share_table.sessions[number] != data:
        number = hash_table_next(&share_table.table, data.hash, &at)
    if number >= 0:
        share_table.count -= 1
        last = share_table.sessions[share_table.count]
        hash_table_remove(&share_table.table, data.hash, number)
        if last != data:
            hash_table_renumber(&share_table.table, last.hash, share_table.count, number)
            share_table.sessions[number] = last
    pthread_mutex_unlock(&share_table.mutex)


memset(&share_table, 0, sizeof(ShareTable))
pthread_mutex_init(&share_table.mutex, NULL)
