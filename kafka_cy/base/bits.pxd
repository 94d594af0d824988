"""Positions of bits in whole numbers."""
from libc.stdint cimport int64_t, uint64_t

cdef extern from *:
    """
    #ifndef KAFKA_CY_BITS
    #define KAFKA_CY_BITS
    #include <stdint.h>
    static inline int first_bit(uint64_t v) { return v ? __builtin_ctzll(v) : 64; }
    static inline int highest_bit(int64_t v) { return 63 - __builtin_clzll((unsigned long long)v); }
    #endif
    """
    int first_bit(uint64_t value) noexcept nogil        # the lowest bit that is set; 64 for 0
    int highest_bit(int64_t value) noexcept nogil       # the highest bit that is set; `value` must be above 0
