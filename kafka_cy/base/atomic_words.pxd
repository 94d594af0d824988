"""Copies of a struct that another thread may write meanwhile, word by word. The copy may be torn, but the access is no data race.

The struct is aligned to 8 bytes, and its size is a multiple of 8. Each word is loaded with acquire and stored with release: a
reader that sees one new word also sees what its writer stored before it.
"""

cdef extern from *:
    """
    #ifndef KAFKA_CY_ATOMIC_WORDS
    #define KAFKA_CY_ATOMIC_WORDS
    #include <stddef.h>
    #include <stdint.h>
    typedef uint64_t __attribute__((may_alias)) atomic_word;
    static inline void load_words(void *to, const void *from, size_t size)
    {
        for (size_t i = 0; i < size / sizeof(atomic_word); i++)
            ((atomic_word *)to)[i] = __atomic_load_n((const atomic_word *)from + i, __ATOMIC_ACQUIRE);
    }
    static inline void store_words(void *to, const void *from, size_t size)
    {
        for (size_t i = 0; i < size / sizeof(atomic_word); i++)
            __atomic_store_n((atomic_word *)to + i, ((const atomic_word *)from)[i], __ATOMIC_RELEASE);
    }
    #endif
    """
    void load_words(void *to, const void *from_, size_t size) noexcept nogil
    void store_words(void *to, const void *from_, size_t size) noexcept nogil
