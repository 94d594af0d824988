"""The cache of fetch sessions. Each returned session carries a reference, which session_release gives back."""
from libc.stdint cimport int32_t, int64_t

from kafka_cy.api.fetch_session cimport FetchSession

cdef FetchSession* session_acquire(int32_t session_id) noexcept nogil       # NULL: unknown
# Whether a new session of `size` partitions would get a slot now, perhaps that of another session. Changes nothing.
cdef bint cache_has_room(int32_t size, int64_t now_ms) noexcept nogil
# Gives a new session an id and a slot; the cache takes a reference. False: no slot is to be had.
cdef bint cache_add(FetchSession* session) noexcept nogil
# Notes that a limit did not allow a session, or a larger one. Idle sessions are evicted, so that a later one may fit.
cdef void cache_refuse(int64_t now_ms) noexcept nogil
cdef void session_remove(FetchSession* session) noexcept nogil      # from the cache; the session's lock must not be held
