"""The lag of each partition that a fetcher follows (FetcherLagMetrics): a line of text for each, written without the GIL."""
from libc.stdint cimport int64_t
from libc.stdlib cimport calloc, free

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE

from kafka_cy.base.atomics cimport atomic_load_i64
from kafka_cy.records.wire cimport Writer, writer_free, writer_init
from kafka_cy.storage.hosted_partition cimport HostedPartition
from kafka_cy.storage.partition cimport Partition
from kafka_cy.telemetry.text cimport TEXT_GAUGE, text_family, text_int, text_label_value, text_put, text_raw

cdef enum:
    TEXT_BYTES_MAX = 1073741824

cdef const char* NAME = b"kafka_server_fetcherlagmetrics_consumerlag"


cdef void write_line(Writer* w, const char* name, size_t name_size, Partition* partition) noexcept nogil:
    """The fetcher's name in both spellings of the label: rules differ."""
    text_put(w, NAME)
    text_put(w, b"{clientId=\"")
    text_label_value(w, name, name_size)
    text_put(w, b"\",clientid=\"")
    text_label_value(w, name, name_size)
    text_put(w, b"\",topic=\"")
    text_label_value(w, partition.topic, <size_t>partition.topic_size)
    text_put(w, b"\",partition=\"")
    text_int(w, partition.index)
    text_put(w, b"\"} ")
    text_int(w, atomic_load_i64(&partition.follower_lag))
    text_raw(w, b"\n", 1)


cdef int write_fetcher(Writer* w, bytes name, list followed) except -1:
    """The list holds the partitions while their lines are written."""
    cdef int64_t count = len(followed)
    cdef int64_t i
    cdef const char* raw_name = PyBytes_AS_STRING(name)
    cdef size_t name_size = <size_t>PyBytes_GET_SIZE(name)
    cdef Partition** partitions = <Partition**>calloc(<size_t>count + 1, sizeof(Partition*))
    if partitions == NULL:
        raise MemoryError
    try:
        for i in range(count):
            partitions[i] = (<HostedPartition?>followed[i]).partition
        with nogil:
            for i in range(count):
                write_line(w, raw_name, name_size, partitions[i])
    finally:
        free(partitions)
    return 0


def write(list fetchers not None, bint openmetrics):
    """The text; without fetchers there is none. `fetchers`: (name, its HostedPartitions); no list may change meanwhile.

    Raises MemoryError.
    """
    cdef Writer w
    if not fetchers:
        return b""
    writer_init(&w, TEXT_BYTES_MAX)
    try:
        text_family(&w, openmetrics, NAME, TEXT_GAUGE, b"Messages by which the partition is behind its leader; -1: not fetched yet")
        for name, followed in fetchers:
            write_fetcher(&w, name, followed)
        if w.error:
            raise MemoryError
        return PyBytes_FromStringAndSize(<char*>w.data, <Py_ssize_t>w.size)
    finally:
        writer_free(&w)
