"""State that the cleaner threads share: settings, bandwidth, the stop request. See cleaner_control.pyx."""
from libc.stdint cimport int32_t, int64_t

from kafka_cy.base.posix cimport pthread_cond_t, pthread_mutex_t

# Broker configuration of the cleaner (log.cleaner.*).
cdef struct CleanerConfig:
    int32_t threads
    int64_t dedupe_buffer_bytes         # for all threads together, as the next two
    int32_t io_buffer_bytes             # half to read, half to write; grows to fit a larger batch
    double io_bytes_per_second          # bytes read and written
    double load_max                     # maximum load factor of the key map
    int64_t backoff_ms

# Purpose: state that the cleaner threads share: configuration, bandwidth, the stop request.
# Locks: `mutex` guards all but the atomics and is held for nanoseconds.
cdef struct CleanerControl:
    pthread_mutex_t mutex
    pthread_cond_t changed              # by the monotonic clock
    int32_t stopping                    # (a)
    CleanerConfig config
    double bandwidth_free_ms            # monotonic: when the bytes so far are paid for

cdef void control_init(CleanerControl* control) noexcept nogil
cdef void control_destroy(CleanerControl* control) noexcept nogil
cdef void control_wait(CleanerControl* control, int64_t wait_ms) noexcept nogil    # or until control_wake
cdef void control_wake(CleanerControl* control) noexcept nogil
cdef int64_t monotonic_ms() noexcept nogil
