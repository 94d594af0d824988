"""CRC32C (Castagnoli) without the GIL: the kernels are in crc32c.h; one is chosen at import."""
from libc.stdint cimport uint8_t, uint32_t

cdef extern from "crc32c.h":
    const char* crc32c_kernel_name
    void crc32c_tables_init() noexcept nogil
    int crc32c_choose(int kernel) noexcept nogil
    uint32_t crc32c_run(uint32_t crc, const uint8_t* data, size_t size) noexcept nogil


cdef uint32_t crc32c(const uint8_t* data, size_t size) noexcept nogil:
    """The CRC32C of `size` bytes."""
    return crc32c_run(0, data, size)


def checksum(const uint8_t[::1] data not None, uint32_t crc=0):
    """The CRC32C of `data`, continuing from `crc` (the checksum of what came before)."""
    cdef size_t size = <size_t>data.shape[0]
    if size == 0:
        return crc
    with nogil:
        crc = crc32c_run(crc, &data[0], size)
    return crc


def kernel_name():
    """The kernel in use: "slicing-by-8", "sse4.2" or "sse4.2 three lanes"."""
    return crc32c_kernel_name.decode()


def choose_kernel(int kernel):
    """For tests: 0 the best of this CPU, 1 slicing-by-8, 2 SSE4.2, 3 three lanes. False when this CPU lacks it."""
    return crc32c_choose(kernel) == 1


crc32c_tables_init()
crc32c_choose(0)
