"""Metrics by topic and partition: BrokerTopicMetrics, kafka.log, kafka.cluster.

The numbers are read from C memory and written as text without the GIL, about 100 ns a line. An idle partition costs no
more than its lines, so nothing is cached. The GIL is held only for one pass over the list of partitions.
"""
from libc.stdint cimport int32_t, int64_t
from libc.stdio cimport snprintf
from libc.stdlib cimport calloc, free, qsort
from libc.string cimport memcmp

from cpython.bytes cimport PyBytes_FromStringAndSize

from kafka_cy.base.atomics cimport atomic_load_i32, atomic_load_i64, atomic_load_pointer
from kafka_cy.base.posix cimport pthread_mutex_trylock, pthread_mutex_unlock
from kafka_cy.records.wire cimport Writer, writer_free, writer_init
from kafka_cy.storage.hosted_partition cimport HostedPartition
from kafka_cy.storage.log cimport (
    Log, LogConfig, log_config, log_end_offset, log_size_bytes, log_start_offset,
)
from kafka_cy.storage.log_struct cimport log_first_unstable_offset
from kafka_cy.storage.partition cimport (
    PARTITION_COUNTS, PARTITION_OFFLINE, PARTITION_ONLINE, TOPIC_COUNTS, Partition, partition_acquire,
    partition_counts, partition_last_stable_offset, partition_release,
)
from kafka_cy.storage.replicated_bytes cimport REPLICATED_COUNTS, ReplicatedBytes, replicated
from kafka_cy.telemetry.text cimport (
    TEXT_COUNTER, TEXT_GAUGE, TEXT_UNKNOWN, text_family, text_int, text_label_value, text_put, text_raw,
)

cdef enum:
    TEXT_BYTES_MAX = 1073741824
    VALUE_SIZE = 0
    VALUE_START = 1
    VALUE_END = 2
    VALUE_SEGMENTS = 3
    VALUE_UNDER_REPLICATED = 4
    VALUE_IN_SYNC = 5
    VALUE_UNDER_MIN_ISR = 6
    VALUE_AT_MIN_ISR = 7
    VALUE_REPLICAS = 8
    VALUE_STABLE_LAG = 9
    VALUES_COUNT = 10
    ZEROS = 3
    LOG_VALUES = 4              # the first values: for every replica whose log can be read
    TRIES = 1000                # to take an append mutex; about as long as two appends

# A partition while its metrics are written. Holds a reference to the partition.
cdef struct Row:
    Partition* partition
    bint readable
    size_t labels_at            # offset of its labels in the label text
    size_t labels_size
    int64_t values[VALUES_COUNT]

cdef struct Totals:
    int64_t leaders
    int64_t offline
    int64_t under_replicated
    int64_t under_min_isr
    int64_t at_min_isr
    int64_t producer_ids
    int64_t late_transactions   # partitions with one
    int64_t log_bytes

cdef const char* value_names[VALUES_COUNT]
value_names[:] = [
    b"kafka_log_log_size", b"kafka_log_log_logstartoffset", b"kafka_log_log_logendoffset", b"kafka_log_log_numlogsegments",
    b"kafka_cluster_partition_underreplicated", b"kafka_cluster_partition_insyncreplicascount",
    b"kafka_cluster_partition_underminisr", b"kafka_cluster_partition_atminisr",
    b"kafka_cluster_partition_replicascount", b"kafka_cluster_partition_laststableoffsetlag",
]
cdef const char* value_helps[VALUES_COUNT]
value_helps[:] = [
    b"Bytes of the log's segments", b"First offset of the log", b"Offset of the next record", b"Segments of the log",
    b"1: a replica is not in sync (0 on followers)", b"Replicas in sync (0 on followers)",
    b"1: fewer replicas are in sync than min.insync.replicas", b"1: as many replicas are in sync as min.insync.replicas",
    b"Replicas of the partition (0 on followers)", b"Records that read_committed consumers do not see yet",
]
cdef const char* count_names[PARTITION_COUNTS]      # in the order of COUNT_MESSAGES_IN ...
count_names[:] = [
    b"messagesin", b"bytesin", b"bytesout", b"bytesrejected", b"totalproducerequests", b"failedproducerequests",
    b"totalfetchrequests", b"failedfetchrequests", b"nokeycompactedtopicrecords", b"invalidmessagecrcrecords",
    b"invalidoffsetorsequencerecords",
]
cdef const char* count_helps[PARTITION_COUNTS]
count_helps[:] = [
    b"Records appended", b"Bytes of record batches appended", b"Bytes of record batches sent to consumers",
    b"Bytes of batches larger than max.message.bytes", b"Produce requests, one for each partition",
    b"Produce requests that failed unexpectedly, one for each partition", b"Fetch requests, one for each partition",
    b"Fetch requests that failed unexpectedly, one for each partition",
    b"Records without a key for compacted topics", b"Batches with a wrong checksum",
    b"Batches with wrong offsets or sequences",
]
cdef const char* total_suffix = b"_total"
cdef const char* persec_suffix = b"persec"                    # of Confluent's and Grafana's rules
cdef const char* persec_total_suffix = b"persec_total"        # of Strimzi's Metrics Reporter
cdef const char* no_suffix = b""
# This broker does not convert messages, and it refuses older formats before a partition is involved.
cdef const char* zero_names[ZEROS]
zero_names[:] = [
    b"producemessageconversions", b"fetchmessageconversions", b"invalidmagicnumberrecords",
]
cdef const char* replicated_names[REPLICATED_COUNTS]     # in the order of ReplicatedBytes
replicated_names[:] = [b"replicationbytesin", b"replicationbytesout", b"reassignmentbytesin", b"reassignmentbytesout"]
cdef const char* replicated_helps[REPLICATED_COUNTS]
replicated_helps[:] = [
    b"Bytes of batches appended as a follower", b"Bytes of batches sent to followers",
    b"Bytes of batches appended to replicas that a reassignment adds",
    b"Bytes of batches sent to replicas that a reassignment adds",
]
cdef const char* zero_helps[ZEROS]
zero_helps[:] = [
    b"Always 0: messages are never converted", b"Always 0: messages are never converted",
    b"Always 0: older formats are refused before a partition is asked",
]


cdef int compare_rows(const void* a, const void* b) noexcept nogil:
    cdef Partition* p = (<const Row*>a).partition
    cdef Partition* q = (<const Row*>b).partition
    cdef int32_t shorter = p.topic_size if p.topic_size < q.topic_size else q.topic_size
    cdef int order = memcmp(p.topic, q.topic, <size_t>shorter)
    if order == 0:
        order = p.topic_size - q.topic_size
    return order if order != 0 else p.index - q.index


cdef bint same_topic(Partition* p, Partition* q) noexcept nogil:
    return p.topic_size == q.topic_size and memcmp(p.topic, q.topic, <size_t>p.topic_size) == 0


cdef bint has_late_transaction(Log* log, int64_t before_ms) noexcept nogil:
    """Whether the oldest open transaction has written nothing since `before_ms`, by its last batch's timestamp (Kafka:
    ProducerStateManager.hasLateTransaction). The mutex is not waited for: the metrics are needed while a disk hangs."""
    cdef int64_t last_ms
    cdef int32_t oldest
    cdef int _tries
    if log_first_unstable_offset(log) < 0:
        return False
    for _tries in range(TRIES):
        if pthread_mutex_trylock(&log.append_mutex):
            continue
        oldest = log.producers.oldest_open
        last_ms = log.producers.entries[oldest].last_timestamp_ms if oldest >= 0 else 0
        pthread_mutex_unlock(&log.append_mutex)
        return 0 < last_ms < before_ms
    return False


cdef void read_row(Row* row, Totals* totals, int64_t late_before_ms) noexcept nogil:
    cdef Partition* partition = row.partition
    cdef Log* log = <Log*>atomic_load_pointer(<void**>&partition.log)
    cdef LogConfig config = log_config(log)
    cdef int32_t state = atomic_load_i32(&partition.state)
    cdef bint leader = state == PARTITION_ONLINE
    cdef int32_t replicas = atomic_load_i32(&partition.replicas.count) + 1
    cdef int32_t in_sync = atomic_load_i32(&partition.replicas.isr_count)
    cdef int32_t min_isr = config.min_insync_replicas if config.min_insync_replicas < replicas else replicas
    row.readable = state != PARTITION_OFFLINE
    if row.readable:
        row.values[VALUE_SIZE] = log_size_bytes(log)
        row.values[VALUE_START] = log_start_offset(log)
        row.values[VALUE_END] = log_end_offset(log)
        row.values[VALUE_SEGMENTS] = log.segments_count
        totals.log_bytes += row.values[VALUE_SIZE]
        totals.producer_ids += log.producers.count
    if leader:
        row.values[VALUE_UNDER_REPLICATED] = in_sync < replicas
        row.values[VALUE_IN_SYNC] = in_sync
        row.values[VALUE_UNDER_MIN_ISR] = in_sync < min_isr
        row.values[VALUE_AT_MIN_ISR] = in_sync == min_isr
        row.values[VALUE_REPLICAS] = replicas
        row.values[VALUE_STABLE_LAG] = (
            atomic_load_i64(&partition.high_watermark) - partition_last_stable_offset(partition)
        )
        totals.late_transactions += has_late_transaction(log, late_before_ms)
    totals.leaders += leader
    totals.offline += state == PARTITION_OFFLINE
    totals.under_replicated += row.values[VALUE_UNDER_REPLICATED]
    totals.under_min_isr += row.values[VALUE_UNDER_MIN_ISR]
    totals.at_min_isr += row.values[VALUE_AT_MIN_ISR]


cdef void write_partitions(
    Writer* w, bint openmetrics, Row* rows, int64_t count, int64_t late_before_ms, Totals* totals
) noexcept nogil:
    cdef Writer labels
    cdef int64_t i
    cdef int value
    writer_init(&labels, TEXT_BYTES_MAX)
    for i in range(count):
        read_row(&rows[i], totals, late_before_ms)
        rows[i].labels_at = labels.size
        text_put(&labels, b"{topic=\"")
        text_label_value(&labels, rows[i].partition.topic, <size_t>rows[i].partition.topic_size)
        text_put(&labels, b"\",partition=\"")
        text_int(&labels, rows[i].partition.index)
        text_put(&labels, b"\"} ")
        rows[i].labels_size = labels.size - rows[i].labels_at
    if labels.error:
        w.error = labels.error
    for value in range(VALUES_COUNT):
        if w.error:
            break
        text_family(w, openmetrics, value_names[value], TEXT_GAUGE, value_helps[value])
        for i in range(count):
            if value < LOG_VALUES and not rows[i].readable:
                continue
            text_put(w, value_names[value])
            text_raw(w, <const char*>labels.data + rows[i].labels_at, rows[i].labels_size)
            text_int(w, rows[i].values[value])
            text_raw(w, b"\n", 1)
    writer_free(&labels)


# -- by topic --

cdef int64_t sum_topics(Row* rows, int64_t count, int64_t* sums, int64_t* firsts) noexcept nogil:
    """Write PARTITION_COUNTS numbers per topic to `sums` and its first row to `firsts`; returns the number of topics."""
    cdef int64_t[PARTITION_COUNTS] counts
    cdef int64_t topics = 0
    cdef int64_t i
    cdef int each
    for i in range(count):
        if i == 0 or not same_topic(rows[i - 1].partition, rows[i].partition):
            firsts[topics] = i
            topics += 1
        partition_counts(rows[i].partition, counts)
        for each in range(PARTITION_COUNTS):
            sums[(topics - 1) * PARTITION_COUNTS + each] += counts[each]
    return topics


cdef void topic_family(Writer* w, bint openmetrics, const char* name, const char* suffix, const char* help) noexcept nogil:
    """Only `_total` is a counter for OpenMetrics: a counter named persec would be the family of the persec names too."""
    cdef char[96] full
    cdef bint is_counter = suffix == total_suffix
    snprintf(full, 96, b"kafka_server_brokertopicmetrics_%s%s", name, no_suffix if is_counter else suffix)
    text_family(w, openmetrics, full, TEXT_COUNTER if is_counter else TEXT_UNKNOWN, help)


cdef void topic_name(Writer* w, const char* name, const char* suffix) noexcept nogil:
    text_put(w, b"kafka_server_brokertopicmetrics_")
    text_put(w, name)
    text_put(w, suffix)


cdef void write_counts(
    Writer* w, bint openmetrics, const char* suffix, Row* rows, int64_t topics, int64_t* sums, int64_t* firsts, int64_t* all
) noexcept nogil:
    """One family per count: first the sum of all topics (no label), then by topic. Names end in `suffix`."""
    cdef Partition* partition
    cdef int64_t topic
    cdef int each
    for each in range(PARTITION_COUNTS):
        topic_family(w, openmetrics, count_names[each], suffix, count_helps[each])
        topic_name(w, count_names[each], suffix)
        text_raw(w, b" ", 1)
        text_int(w, all[each])
        for topic in range(topics if each < TOPIC_COUNTS else 0):
            partition = rows[firsts[topic]].partition
            text_raw(w, b"\n", 1)
            topic_name(w, count_names[each], suffix)
            text_put(w, b"{topic=\"")
            text_label_value(w, partition.topic, <size_t>partition.topic_size)
            text_put(w, b"\"} ")
            text_int(w, sums[topic * PARTITION_COUNTS + each])
        text_raw(w, b"\n", 1)
    for each in range(<int>REPLICATED_COUNTS):
        topic_family(w, openmetrics, replicated_names[each], suffix, replicated_helps[each])
        topic_name(w, replicated_names[each], suffix)
        text_raw(w, b" ", 1)
        text_int(w, replicated(<ReplicatedBytes>each))
        text_raw(w, b"\n", 1)
    for each in range(ZEROS):
        topic_family(w, openmetrics, zero_names[each], suffix, zero_helps[each])
        topic_name(w, zero_names[each], suffix)
        text_put(w, b" 0\n")


def write(
    list hosted not None, list deleted_counts not None, bint openmetrics, bint persec, int64_t late_before_ms=0,
    bint persec_total=False,
):
    """(text as bytes, totals as dict) of the HostedPartitions. `deleted_counts`: counters of deleted ones, or [].

    A transaction is late when it has written nothing since `late_before_ms` (wall clock).

    Raises MemoryError.
    """
    cdef int64_t count = len(hosted)
    cdef Row* rows = <Row*>calloc(<size_t>count + 1, sizeof(Row))
    cdef int64_t* sums = <int64_t*>calloc(<size_t>(count + 1) * PARTITION_COUNTS, sizeof(int64_t))
    cdef int64_t* firsts = <int64_t*>calloc(<size_t>count + 1, sizeof(int64_t))
    cdef int64_t[PARTITION_COUNTS] all
    cdef int64_t topics
    cdef int64_t i
    cdef int each
    cdef Totals totals = Totals(0, 0, 0, 0, 0, 0, 0, 0)
    cdef Writer w
    if rows == NULL or sums == NULL or firsts == NULL:
        free(rows)
        free(sums)
        free(firsts)
        raise MemoryError
    for each in range(PARTITION_COUNTS):
        all[each] = deleted_counts[each] if deleted_counts else 0
    for i in range(count):
        rows[i].partition = partition_acquire((<HostedPartition?>hosted[i]).partition)
    writer_init(&w, TEXT_BYTES_MAX)
    with nogil:
        qsort(rows, <size_t>count, sizeof(Row), compare_rows)
        topics = sum_topics(rows, count, sums, firsts)
        for i in range(topics):
            for each in range(PARTITION_COUNTS):
                all[each] += sums[i * PARTITION_COUNTS + each]
        write_counts(&w, openmetrics, total_suffix, rows, topics, sums, firsts, all)
        if persec:
            write_counts(&w, openmetrics, persec_suffix, rows, topics, sums, firsts, all)
        if persec_total:
            write_counts(&w, openmetrics, persec_total_suffix, rows, topics, sums, firsts, all)
        write_partitions(&w, openmetrics, rows, count, late_before_ms, &totals)
        for i in range(count):
            partition_release(rows[i].partition)
        free(rows)
        free(sums)
        free(firsts)
    try:
        if w.error:
            raise MemoryError
        return PyBytes_FromStringAndSize(<char*>w.data, <Py_ssize_t>w.size), totals
    finally:
        writer_free(&w)


def label_value(bytes value not None):
    """A label's value as written between the quotes: escaped, with U+FFFD for invalid UTF-8."""
    cdef Writer w
    writer_init(&w, TEXT_BYTES_MAX)
    text_label_value(&w, <const char*>value, <size_t>len(value))
    try:
        if w.error:
            raise MemoryError
        return (<char*>w.data)[:w.size] if w.size else b""
    finally:
        writer_free(&w)
