"""Counters of one reactor. Writer: that reactor (`counter_add`); readers sum over reactors at any time."""
from libc.stdint cimport int64_t

cdef enum:
    API_KEYS_MAX = 128

cdef struct Counters:
    int64_t padding_before[8]       # no cache line is shared with another thread's data
    int64_t requests[API_KEYS_MAX]  # by API key
    int64_t bytes_in
    int64_t bytes_out
    int64_t accepted
    int64_t refused                 # over a connection limit
    int64_t closed
    int64_t closed_idle
    int64_t closed_bad              # malformed input
    int64_t connections             # gauge
    int64_t forwarded
    int64_t parked                  # gauge
    int64_t wakes
    int64_t loops
    int64_t busy_ns
    int64_t paused                  # times a socket was not read (memory, in flight, slow reader)
    int64_t padding_after[8]
