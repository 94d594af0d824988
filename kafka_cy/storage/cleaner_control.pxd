"""What the threads of a cleaner share: settings, bandwidth, the request to stop; behaviour in cleaner_control.pyx."""
from libc.stdint cimport int32_t, int64_t

from kafka_cy.base.posix cimport pthread_cond_t, pthread_mutex_t

# Broker configuration of the cleaner (log.cleaner.*).
cdef struct CleanerConfig:
    int32_t threads
    int64_t dedupe_buffer_bytes         # of all threads together, as the two that follow
    int32_t io_buffer_bytes             # half of it to read, half to write; grows to a batch that is larger
    double io_bytes_per_second          # read and written
    double load_max                     # how full the map of keys may be
    int64_t backoff_ms

# Purpose: what the threads of a cleaner share: configuration, bandwidth, the wish to stop.
# Locks: `mutex` guards all but the atomics, for nanoseconds.
cdef struct CleanerControl:
    pthread_mutex_t mutex
    pthread_cond_t changed              # by the monotonic clock
    int32_t stopping                    # (a)
    CleanerConfig config
    double bandwidth_free_ms            # monotonic: until then the bytes so far have used it up

cdef void control_init(CleanerControl* control) noexcept nogil
cdef void control_destroy(CleanerControl* control) noexcept nogil
cdef void control_wait(CleanerControl* control, int64_t wait_ms) noexcept nogil    # or until control_wake
cdef void control_wake(CleanerControl* control) noexcept nogil
cdef int64_t monotonic_ms() noexcept nogil
