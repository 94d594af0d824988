"""The coordinator's handle of a share session (session_data.pyx)."""
from libc.stdint cimport int32_t, uint8_t
from libc.string cimport memcmp, memcpy

from kafka_cy.base.posix cimport pthread_mutex_lock, pthread_mutex_unlock
from kafka_cy.share.in_flight cimport InFlight
from kafka_cy.share.session_data cimport (
    SessionData, SessionPlace, share_session_add, share_session_advance, share_session_close, share_session_new, share_session_open,
    share_session_place, share_session_release, share_session_remove, share_session_served, share_session_set,
)
from kafka_cy.share.shared_records cimport SharedRecords, records_release

import uuid

# A partition as Python names it: (topic id or None, index).
cdef struct PlaceKey:
    uint8_t topic_id[16]
    int32_t index


cdef PlaceKey key_of(partition) except *:
    cdef PlaceKey key
    cdef bytes topic_id = partition[0].bytes if partition[0] is not None else bytes(16)
    memcpy(key.topic_id, <const char*>topic_id, 16)
    key.index = partition[1]
    return key


cdef class ShareSession:
    """A member's session. Reactors find it until `end`. Owner: the coordinator's thread. Raises MemoryError.

    `connection_id`: when that connection closes, the session ends.
    """

    def __init__(self, key, long long connection_id):
        cdef bytes group = key.group_id.encode()
        cdef bytes member = key.member_id.encode()
        cdef const char* group_bytes = group
        cdef const char* member_bytes = member
        cdef int32_t group_size = <int32_t>len(group)
        cdef int32_t member_size = <int32_t>len(member)
        cdef bint added = False
        self.key, self.connection_id = key, connection_id
        with nogil:
            self.data = share_session_new(group_bytes, group_size, member_bytes, member_size)
            if self.data != NULL:
                added = share_session_open(self.data)
        if not added:
            raise MemoryError

    def __dealloc__(self):
        cdef SessionData* data = self.data
        if data != NULL:
            with nogil:
                share_session_close(data)
                share_session_release(data)

    @property
    def next_epoch(self):
        cdef SessionData* share_session = self.data
        cdef int32_t epoch
        with nogil:
            pthread_mutex_lock(&share_session.mutex)
            epoch = share_session.next_epoch
            pthread_mutex_unlock(&share_session.mutex)
        return epoch

    @next_epoch.setter
    def next_epoch(self, int32_t epoch):
        cdef SessionData* share_session = self.data
        with nogil:
            pthread_mutex_lock(&share_session.mutex)
            share_session.next_epoch = epoch
            pthread_mutex_unlock(&share_session.mutex)

    def advance(self, int32_t epoch):
        """Use up the epoch. False: another one is the next, and nothing happens."""
        cdef SessionData* share_session = self.data
        cdef bint right
        with nogil:
            pthread_mutex_lock(&share_session.mutex)
            right = epoch == share_session.next_epoch
            if right:
                share_session_advance(share_session)
            pthread_mutex_unlock(&share_session.mutex)
        return right

    @property
    def partitions(self):
        """(topic id, index) of its partitions; the one that was served longest ago comes first."""
        return list(self.walk())

    def walk(self):
        """`partitions` as they are at the first one. Each is made when it is asked for: there may be 100,000."""
        cdef SessionData* share_session = self.data
        cdef bytearray memory = bytearray((share_session.count + 1) * sizeof(SessionPlace))
        cdef SessionPlace* copies = <SessionPlace*><char*>memory
        cdef int32_t count = 0
        cdef int32_t number, i
        with nogil:
            pthread_mutex_lock(&share_session.mutex)
            number = share_session.first
            while number >= 0:
                copies[count] = share_session.places[number]
                count += 1
                number = share_session.places[number].next
            pthread_mutex_unlock(&share_session.mutex)
        topic = None
        for i in range(count):
            if i == 0 or memcmp(copies[i].topic_id, copies[i - 1].topic_id, 16) != 0:
                topic_id = (<char*>copies[i].topic_id)[:16]
                topic = uuid.UUID(bytes=topic_id) if any(topic_id) else None
            yield topic, copies[i].index

    def __len__(self):
        return self.data.count

    def __contains__(self, partition):
        cdef PlaceKey key = key_of(partition)
        cdef SessionData* share_session = self.data
        cdef bint known
        with nogil:
            pthread_mutex_lock(&share_session.mutex)
            known = share_session_place(share_session, key.topic_id, key.index) != NULL
            pthread_mutex_unlock(&share_session.mutex)
        return known

    def add(self, partition):
        """It is not in the session yet."""
        cdef PlaceKey key = key_of(partition)
        cdef SessionData* share_session = self.data
        cdef bint added
        with nogil:
            pthread_mutex_lock(&share_session.mutex)
            added = share_session_add(share_session, key.topic_id, key.index)
            pthread_mutex_unlock(&share_session.mutex)
        if not added:
            raise MemoryError

    def remove(self, partition):
        """Nothing happens if it is not in the session."""
        cdef PlaceKey key = key_of(partition)
        cdef SessionData* share_session = self.data
        cdef SessionPlace* place
        cdef SharedRecords* before = NULL
        with nogil:
            pthread_mutex_lock(&share_session.mutex)
            place = share_session_place(share_session, key.topic_id, key.index)
            if place != NULL:
                before = share_session_remove(share_session, place)
            pthread_mutex_unlock(&share_session.mutex)
            if before != NULL:
                records_release(before)

    def served(self, partition):
        """The partition got its turn: the others come first the next time."""
        cdef PlaceKey key = key_of(partition)
        cdef SessionData* share_session = self.data
        cdef SessionPlace* place
        with nogil:
            pthread_mutex_lock(&share_session.mutex)
            place = share_session_place(share_session, key.topic_id, key.index)
            if place != NULL:
                share_session_served(share_session, place)
            pthread_mutex_unlock(&share_session.mutex)

    def attach(self, partition, InFlight in_flight not None):
        """From now on reactors know the records of the partition."""
        cdef PlaceKey key = key_of(partition)
        cdef SessionData* share_session = self.data
        cdef SharedRecords* records = in_flight.records
        cdef SharedRecords* before = NULL
        cdef SessionPlace* place
        with nogil:
            pthread_mutex_lock(&share_session.mutex)
            place = share_session_place(share_session, key.topic_id, key.index)
            if place != NULL and place.records != records:
                before = share_session_set(place, records)
            pthread_mutex_unlock(&share_session.mutex)
            if before != NULL:
                records_release(before)

    def end(self):
        """No reactor acquires anything for it any more when this returns."""
        cdef SessionData* share_session = self.data
        with nogil:
            share_session_close(share_session)
            pthread_mutex_lock(&share_session.mutex)
            share_session.ended = True
            pthread_mutex_unlock(&share_session.mutex)
