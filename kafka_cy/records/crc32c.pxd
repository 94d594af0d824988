"""CRC32C (Castagnoli) without the GIL; kernel chosen at import by CPU."""
from libc.stdint cimport uint8_t, uint32_t

cdef uint32_t crc32c(const uint8_t* data, size_t size) noexcept nogil
