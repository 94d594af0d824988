"""Counts the connections of each client software.

The reactor writes. A reader copies an entry; its sequence number shows whether it changed during the copy. An entry
without connections is reused for the next new software.
"""
from libc.stdint cimport int32_t
from libc.string cimport memcmp, memcpy

from kafka_cy.base.atomics cimport atomic_fence, atomic_load_i32, atomic_load_relaxed_i64, atomic_store_i32, counter_add
from kafka_cy.network.connection cimport Connection
from kafka_cy.network.counters cimport (
    SOFTWARE_MAX, SOFTWARE_NAME_BYTES_MAX, SOFTWARE_VERSION_BYTES_MAX, ClientSoftware, Counters,
)

cdef enum:
    READ_TRIES = 3


cdef bint is_software(
    ClientSoftware* entry, int32_t listener, const char* name, int32_t name_size, const char* version, int32_t version_size
) noexcept nogil:
    return (
        entry.sequence > 0 and entry.listener == listener
        and entry.name_size == name_size and memcmp(entry.name, name, <size_t>name_size) == 0
        and entry.version_size == version_size and memcmp(entry.version, version, <size_t>version_size) == 0
    )


cdef void write_entry(
    ClientSoftware* entry, int32_t listener, const char* name, int32_t name_size, const char* version, int32_t version_size
) noexcept nogil:
    cdef int32_t sequence = entry.sequence if entry.sequence < 0x7ffffff0 else 0
    atomic_store_i32(&entry.sequence, sequence + 1)
    atomic_fence()
    entry.listener = listener
    entry.name_size = name_size
    entry.version_size = version_size
    memcpy(entry.name, name, <size_t>name_size)
    memcpy(entry.version, version, <size_t>version_size)
    atomic_store_i32(&entry.sequence, sequence + 2)


cdef void software_enter(
    Counters* counters, Connection* connection, const char* name, int32_t name_size, const char* version, int32_t version_size
) noexcept nogil:
    cdef ClientSoftware* entry
    cdef int32_t found = SOFTWARE_MAX - 1
    cdef int32_t i
    name_size = name_size if name_size < SOFTWARE_NAME_BYTES_MAX else SOFTWARE_NAME_BYTES_MAX
    version_size = version_size if version_size < SOFTWARE_VERSION_BYTES_MAX else SOFTWARE_VERSION_BYTES_MAX
    software_leave(counters, connection)
    for i in range(SOFTWARE_MAX - 1):
        entry = &counters.software[i]
        if is_software(entry, connection.listener, name, name_size, version, version_size):
            found = i
            break
        if entry.connections == 0 and found == SOFTWARE_MAX - 1:
            found = i
    entry = &counters.software[found]
    if found == SOFTWARE_MAX - 1:
        if entry.sequence == 0:
            write_entry(entry, -1, b"other", 5, b"", 0)
    elif not is_software(entry, connection.listener, name, name_size, version, version_size):
        write_entry(entry, connection.listener, name, name_size, version, version_size)
    counter_add(&entry.connections, 1)
    connection.software = found


cdef void software_leave(Counters* counters, Connection* connection) noexcept nogil:
    if connection.software >= 0:
        counter_add(&counters.software[connection.software].connections, -1)
        connection.software = -1


cdef bint software_read(Counters* counters, int32_t entry, ClientSoftware* copy) noexcept nogil:
    cdef ClientSoftware* source = &counters.software[entry]
    cdef int32_t sequence
    cdef int i
    for i in range(READ_TRIES):  # no-cython-lint
        sequence = atomic_load_i32(&source.sequence)
        if sequence == 0 or atomic_load_relaxed_i64(&source.connections) == 0:
            return False
        copy[0] = source[0]
        atomic_fence()
        if sequence & 1 == 0 and atomic_load_i32(&source.sequence) == sequence:
            return True
    return False
