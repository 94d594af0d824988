"""C11-style atomics on plain fixed-width integers (gcc/clang builtins), usable without the GIL.

Plain struct fields are used with these macros, so a `.pxd` struct stays readable. `load`/`store` are
acquire/release; `exchange`, `add`, `or` and `compare_exchange` are sequentially consistent.
"""

from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t

cdef extern from *:
    """
    #ifndef KAFKA_CY_ATOMICS
    #define KAFKA_CY_ATOMICS
    #include <stdint.h>
    #define atomic_load_acquire(p) __atomic_load_n((p), __ATOMIC_ACQUIRE)
    #define atomic_load_relaxed(p) __atomic_load_n((p), __ATOMIC_RELAXED)
    #define atomic_load_seq(p) __atomic_load_n((p), __ATOMIC_SEQ_CST)
    #define atomic_store_release(p, v) __atomic_store_n((p), (v), __ATOMIC_RELEASE)
    #define atomic_store_relaxed(p, v) __atomic_store_n((p), (v), __ATOMIC_RELAXED)
    #define atomic_store_seq(p, v) __atomic_store_n((p), (v), __ATOMIC_SEQ_CST)
    #define atomic_add(p, v) __atomic_add_fetch((p), (v), __ATOMIC_SEQ_CST)
    #define atomic_sub(p, v) __atomic_sub_fetch((p), (v), __ATOMIC_SEQ_CST)
    #define atomic_add_relaxed(p, v) __atomic_add_fetch((p), (v), __ATOMIC_RELAXED)
    static inline void counter_add(int64_t *p, int64_t v)
        { __atomic_store_n(p, __atomic_load_n(p, __ATOMIC_RELAXED) + v, __ATOMIC_RELAXED); }
    #define counter_set(p, v) __atomic_store_n((p), (v), __ATOMIC_RELAXED)
    #define atomic_fence() __atomic_thread_fence(__ATOMIC_SEQ_CST)
    static inline uint64_t atomic_exchange_u64(uint64_t *p, uint64_t v)
        { return __atomic_exchange_n(p, v, __ATOMIC_SEQ_CST); }
    static inline uint64_t atomic_or_u64(uint64_t *p, uint64_t v)
        { return __atomic_or_fetch(p, v, __ATOMIC_SEQ_CST); }
    static inline int atomic_cas_i32(int32_t *p, int32_t expected, int32_t desired)
        { return __atomic_compare_exchange_n(p, &expected, desired, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST); }
    static inline int atomic_cas_i64(int64_t *p, int64_t expected, int64_t desired)
        { return __atomic_compare_exchange_n(p, &expected, desired, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST); }
    static inline void *atomic_exchange_pointer(void **p, void *v)
        { return __atomic_exchange_n(p, v, __ATOMIC_SEQ_CST); }
    #endif
    """
    int32_t atomic_load_i32 "atomic_load_acquire"(int32_t *p) noexcept nogil
    int64_t atomic_load_i64 "atomic_load_acquire"(int64_t *p) noexcept nogil
    void *atomic_load_pointer "atomic_load_seq"(void **p) noexcept nogil
    int64_t atomic_load_relaxed_i64 "atomic_load_relaxed"(int64_t *p) noexcept nogil
    int64_t atomic_load_seq_i64 "atomic_load_seq"(int64_t *p) noexcept nogil
    void atomic_store_i32 "atomic_store_release"(int32_t *p, int32_t v) noexcept nogil
    void atomic_store_i64 "atomic_store_release"(int64_t *p, int64_t v) noexcept nogil
    void atomic_store_pointer "atomic_store_seq"(void **p, void *v) noexcept nogil
    void atomic_store_seq_i32 "atomic_store_seq"(int32_t *p, int32_t v) noexcept nogil
    int32_t atomic_add_i32 "atomic_add"(int32_t *p, int32_t v) noexcept nogil
    int32_t atomic_sub_i32 "atomic_sub"(int32_t *p, int32_t v) noexcept nogil
    int64_t atomic_add_i64 "atomic_add"(int64_t *p, int64_t v) noexcept nogil
    int64_t atomic_sub_i64 "atomic_sub"(int64_t *p, int64_t v) noexcept nogil
    int64_t atomic_add_relaxed_i64 "atomic_add_relaxed"(int64_t *p, int64_t v) noexcept nogil
    uint64_t atomic_exchange_u64(uint64_t *p, uint64_t v) noexcept nogil
    uint64_t atomic_or_u64(uint64_t *p, uint64_t v) noexcept nogil
    int atomic_cas_i32(int32_t *p, int32_t expected, int32_t desired) noexcept nogil
    int atomic_cas_i64(int64_t *p, int64_t expected, int64_t desired) noexcept nogil
    void *atomic_exchange_pointer(void **p, void *v) noexcept nogil
    void atomic_fence() noexcept nogil
    void counter_add(int64_t *p, int64_t v) noexcept nogil      # one writer at a time, any readers: no locked instruction
    void counter_set(int64_t *p, int64_t v) noexcept nogil      # the same, for a gauge
