"""The cache of fetch sessions. Each returned session carries a reference, which session_release gives back."""
from libc.stdint cimport int32_t, int64_t

from kafka_cy.api.fetch_session cimport FetchSession

cdef FetchSession* session_acquire(int32_t session_id) noexcept nogil       # NULL: unknown
# A new, empty session in the cache (epoch 1) or NULL: no slot to be had, or no memory. `size` is what it will hold.
cdef FetchSession* session_create(bint by_id, int32_t size, int64_t now_ms) noexcept nogil
cdef void session_remove(FetchSession* session) noexcept nogil      # from the cache; the session's lock must not be held
