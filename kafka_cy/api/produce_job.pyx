"""A job validates batches whose validation takes long: a few kilobytes may decompress to a gigabyte. While a disk
is slow (storage/slow_disk), a job appends the batch too. A compressed batch then needs two jobs: decompression has few threads
of low priority, and threads that wait for a disk must not do it.

The decompressed size of a batch is not known in advance. So the reactor starts with a small limit on the output. If that
is not enough, a job starts again from the beginning. All requests in one turn of the reactor share the limit. Recompression
counts too, weighted by the speed of the codec. While the job runs, the request is parked and its connection held. Then the
handler continues at the same partition, with the batch that the job produced. All other checks, and the append to a disk
that is not slow, happen on the reactor as usual.
"""
from libc.stdint cimport int32_t, int64_t, uint8_t
from libc.stdlib cimport calloc, free, malloc
from libc.stdio cimport snprintf
from libc.string cimport memcpy

from kafka_cy.api.named_partitions cimport named_bytes, named_copy, named_free
from kafka_cy.api.parking cimport parked_init
from kafka_cy.api.produce cimport ProduceJob, ProduceResume
from kafka_cy.api.produce_transaction cimport append_origin, transaction_ask, transaction_room
from kafka_cy.api.produce_waiting cimport waiting_free
from kafka_cy.api.topic_walk cimport read_again
from kafka_cy.base.atomics cimport atomic_load_pointer
from kafka_cy.base.clock cimport monotonic_ns
from kafka_cy.network.job_places cimport job_has_room, job_hold_back
from kafka_cy.network.jobs cimport (
    JOB_DECOMPRESS, JOB_WRITE, Job, connection_hold, connection_unhold, job_cancel, job_submit,
)
from kafka_cy.network.dispatch cimport CLOSE, HANDLED, Parked, park_cancel, park_start, reactor_log
from kafka_cy.network.log_events cimport LOG_INFO, LOG_MESSAGE_BYTES_MAX, LOG_WARNING
from kafka_cy.network.questions cimport QUESTION_LATER, question_hold_back
from kafka_cy.records.batch cimport (
    ATTRIBUTE_CODEC_MASK, ATTRIBUTE_TRANSACTIONAL, ATTRIBUTES_AT, BATCH_HEADER_SIZE, BATCH_OK, BATCH_UNPACKS_TOO_LARGE, MAGIC_AT,
)
from kafka_cy.records.batch_validation cimport batch_validate
from kafka_cy.records.compression cimport CODEC_GZIP, CODEC_LZ4, CODEC_NONE, CODEC_ZSTD, Codecs
from kafka_cy.records.wire cimport Reader, read_bytes, read_int32, writer_free, writer_init
from kafka_cy.storage.log cimport Log, STORAGE_OK
from kafka_cy.storage.log_folder cimport folder_name
from kafka_cy.storage.partition cimport (
    Partition, partition_acquire, partition_append, partition_check_leader, partition_release,
)
from kafka_cy.storage.slow_disk cimport (
    SLOW_APPEND_NS, disk_append_begins, disk_append_ends, disk_count_slow_append, disk_is_slow, disk_recovered,
)

cdef enum:
    PRODUCE_KEY = 0
    SCRATCH_BYTES_MAX = 1073741824
    RECHECK_NS = 3600000000000          # parking requires a timer, but the job always ends
    LZ4_FAST_LEVEL = 9                  # Kafka's default level means the fast compressor


cdef int compression_weight(int codec, int32_t level) noexcept nogil:
    """Roughly how much slower compression is than decompression."""
    if codec == CODEC_GZIP:
        return 24
    if codec == CODEC_ZSTD:
        return 4 if level <= 3 else 16 if level <= 8 else 96
    if codec == CODEC_LZ4:
        return 2 if level == LZ4_FAST_LEVEL else 24
    return 2


cdef int64_t budget_of_turn(Reactor* reactor) noexcept nogil:
    return min(max(reactor.unpack_bytes, <int64_t>REACTOR_BYTES_MIN), <int64_t>REACTOR_BYTES_MAX)


cdef int validate_in_budget(
    Reactor* reactor, Produce* produce, const ProduceRules* rules, uint8_t* records, int32_t size, ValidBatch* valid,
    int codec, int target,
) noexcept nogil:
    cdef int weight = 1
    cdef int64_t allowed, used
    cdef int error
    if target != codec and target != CODEC_NONE:
        weight += compression_weight(target, rules.compression_level)
    allowed = produce.budget // weight
    produce.job_rules = rules[0]
    if size > allowed:
        return NEEDS_JOB
    if allowed < produce.job_rules.unpacked_bytes_max:
        produce.job_rules.unpacked_bytes_max = allowed
    error = batch_validate(
        reactor.codecs, records, <size_t>size, &produce.job_rules, reactor.now_ms, produce.version, &reactor.scratch, valid
    )
    used = size if codec == CODEC_NONE else max(<int64_t>size, <int64_t>reactor.codecs.unpacked.size)
    produce.budget -= min(used * weight, produce.budget)
    reactor.unpack_bytes -= min(used * weight, reactor.unpack_bytes)
    if error == BATCH_UNPACKS_TOO_LARGE and produce.job_rules.unpacked_bytes_max < rules.unpacked_bytes_max:
        produce.job_rules = rules[0]
        return NEEDS_JOB
    return error


cdef bint is_compressed(const ProduceRules* rules, const uint8_t* records, int32_t size) noexcept nogil:
    """Whether the batch has to be decompressed, or compressed for the topic."""
    return size >= BATCH_HEADER_SIZE and (
        records[ATTRIBUTES_AT + 1] & ATTRIBUTE_CODEC_MASK != CODEC_NONE or rules.compression_type > CODEC_NONE
    )


cdef int validate_for_slow_disk(
    Produce* produce, Partition* partition, const ProduceRules* rules, const uint8_t* records, int32_t size
) noexcept nogil:
    """The job appends an uncompressed batch at once. For a compressed or a transactional one the handler continues between the
    validation and the append."""
    produce.job_rules = rules[0]
    if size >= BATCH_HEADER_SIZE and records[ATTRIBUTES_AT + 1] & ATTRIBUTE_TRANSACTIONAL:
        return NEEDS_JOB
    if not is_compressed(rules, records, size):
        produce.job_appends_to = partition
    return NEEDS_JOB


cdef int validate_here(
    Reactor* reactor, Produce* produce, const ProduceRules* rules, uint8_t* records, int32_t size, ValidBatch* valid
) noexcept nogil:
    cdef int codec = records[ATTRIBUTES_AT + 1] & ATTRIBUTE_CODEC_MASK if size >= BATCH_HEADER_SIZE else CODEC_NONE
    cdef int target = codec if rules.compression_type < 0 else rules.compression_type
    if (codec != CODEC_NONE or target != CODEC_NONE) and size >= BATCH_HEADER_SIZE and records[MAGIC_AT] == 2:
        return validate_in_budget(reactor, produce, rules, records, size, valid, codec, target)
    return batch_validate(
        reactor.codecs, records, <size_t>size, rules, reactor.now_ms, produce.version, &reactor.scratch, valid
    )


cdef void work_on_batch(Job* job, Codecs* codecs) noexcept nogil:
    """JobRun."""
    cdef ProduceJob* work = <ProduceJob*>job
    if work.validates:
        work.outcome.error = batch_validate(
            codecs, work.records, <size_t>work.size, &work.rules, work.now_ms, work.version, &work.scratch,
            &work.outcome.valid,
        )
    if work.partition != NULL and work.outcome.error == BATCH_OK:
        append(work)


cdef void append(ProduceJob* work) noexcept nogil:
    cdef Log* log = <Log*>atomic_load_pointer(<void**>&work.partition.log)
    cdef int64_t began_ns, now_ns
    cdef int place
    work.outcome.appended_to = work.partition
    # Without this check, a partition that is gone would be refused behind all appends that wait for its disk.
    work.outcome.append_error = partition_check_leader(work.partition, -1)
    if work.outcome.append_error != STORAGE_OK:
        return
    began_ns = monotonic_ns()
    place = disk_append_begins(log.disk, began_ns)
    work.outcome.append_error = partition_append(
        work.partition, &work.outcome.valid, -1, work.all_replicas, append_origin(work.version, &work.outcome.valid.header),
        work.now_ms, &work.outcome.result,
    )
    now_ns = monotonic_ns()
    if now_ns - began_ns >= SLOW_APPEND_NS:
        work.disk_became_slow = disk_count_slow_append(log.disk, now_ns, now_ns - began_ns)
    disk_append_ends(log.disk, place)


cdef void append_was_slow(Reactor* reactor, Partition* partition, int64_t ticks) noexcept nogil:
    cdef Log* log = <Log*>atomic_load_pointer(<void**>&partition.log)
    cdef int64_t took_ns = <int64_t>(
        <double>SLOW_APPEND_NS * <double>ticks / <double>reactor.slow_append_ticks
    )
    if disk_count_slow_append(log.disk, monotonic_ns(), took_ns):
        log_slow_disk(reactor, log)


cdef bint appends_need_job(Reactor* reactor, Log* log) noexcept nogil:
    if disk_is_slow(log.disk, reactor.now_ns):
        return True
    if disk_recovered(log.disk, reactor.now_ns):
        log_disk(reactor, log, LOG_INFO, b"the disk of %.100s is fast again: the reactors append to its log directory")
    return False


cdef void log_slow_disk(Reactor* reactor, Log* log) noexcept nogil:
    log_disk(reactor, log, LOG_WARNING, b"the disk of %.100s is slow: the appends to its log directory leave the reactors")


cdef void log_disk(Reactor* reactor, Log* log, int level, const char* words) noexcept nogil:
    cdef char[LOG_MESSAGE_BYTES_MAX] text
    snprintf(text, LOG_MESSAGE_BYTES_MAX, words, folder_name(&log.folder))
    reactor_log(reactor, level, PRODUCE_KEY, text)


cdef void batch_release(ProduceJob* work) noexcept nogil:
    """Forget the batch. Its memory may be as large as what it decompresses to, so it must not wait with the next one."""
    writer_free(&work.scratch)
    writer_init(&work.scratch, SCRATCH_BYTES_MAX)
    if work.partition != NULL:
        partition_release(work.partition)
        work.partition = NULL
    work.outcome.appended_to = NULL
    work.disk_became_slow = False


cdef void job_free(ProduceJob* work) noexcept nogil:
    batch_release(work)
    free(work.body)
    free(work)


cdef void batch_done(Reactor* reactor, Job* job) noexcept nogil:
    """JobDone."""
    cdef ProduceJob* work = <ProduceJob*>job
    cdef SuspendedProduce* suspended = work.owner
    cdef Request request
    work.running = False
    if work.disk_became_slow:
        log_slow_disk(reactor, <Log*>atomic_load_pointer(<void**>&work.partition.log))
    if suspended == NULL:
        job_free(work)
        return
    if suspended.parked.request.connection.dead:
        return                          # freed with its connection
    request = suspended.parked.request
    request.body = work.body
    request.body_size = work.body_size
    suspended.produce.outcome = &work.outcome
    suspended.produce.budget = budget_of_turn(reactor)
    suspended.resume(reactor, &request, suspended)


cdef int stay(Reactor* reactor, Parked* parked, bint expired) noexcept nogil:
    """ParkedCheck: only the job, or the answer of the coordinator, ends it."""
    return 0


cdef void suspended_free(Parked* parked) noexcept nogil:
    """ParkedFree; also when the connection closed."""
    cdef SuspendedProduce* suspended = <SuspendedProduce*>parked
    cdef Reactor* reactor = <Reactor*>parked.request.connection.reactor
    connection_unhold(reactor, parked.request.connection, suspended.produce.acks != 0)
    if suspended.produce.waiting != NULL:
        waiting_free(suspended.produce.waiting)
    writer_free(&suspended.w)
    named_free(&suspended.named)
    free(suspended.produce.answers)
    if suspended.job.running:
        suspended.job.owner = NULL
        job_cancel(reactor, &suspended.job.job)
    else:
        job_free(suspended.job)
    free(suspended)


cdef void suspended_end(Reactor* reactor, SuspendedProduce* suspended) noexcept nogil:
    park_cancel(reactor, &suspended.parked)


cdef void next_batch(Request* request, SuspendedProduce* suspended) noexcept nogil:
    """The job is to work on the batch at which the request stopped."""
    cdef ProduceJob* work = suspended.job
    cdef Reader r
    batch_release(work)
    read_again(&r, request, suspended.named.partitions[suspended.produce.partition_at].at)
    read_int32(&r)
    work.records = <uint8_t*>read_bytes(&r, suspended.produce.flexible, &work.size)
    work.rules = suspended.produce.job_rules


cdef void count_bytes(SuspendedProduce* suspended) noexcept nogil:
    """What the request holds while it waits: the body, and a batch that a job has rewritten."""
    cdef ProduceJob* work = suspended.job
    work.job.bytes = <int64_t>work.body_size + named_bytes(&suspended.named) + <int64_t>work.scratch.capacity


cdef int suspend_again(Reactor* reactor, Request* request, SuspendedProduce* suspended) noexcept nogil:
    if suspended.produce.asks:
        suspended.keeps_outcome = suspended.produce.outcome != NULL
        suspended.produce.outcome = NULL
        count_bytes(suspended)
        return transaction_ask(reactor, request, suspended)
    submit(reactor, request, suspended)
    return 0


cdef void submit(Reactor* reactor, Request* request, SuspendedProduce* suspended) noexcept nogil:
    cdef ProduceJob* work = suspended.job
    work.validates = suspended.produce.outcome == NULL
    if work.validates:
        next_batch(request, suspended)
    work.all_replicas = suspended.produce.acks == -1
    work.job.kind = job_kind(&suspended.produce)
    if suspended.produce.job_appends_to != NULL:
        if work.partition != NULL:          # an earlier job has tried before the coordinator was asked
            partition_release(work.partition)
        work.partition = partition_acquire(suspended.produce.job_appends_to)
        suspended.produce.job_appends_to = NULL
    suspended.produce.outcome = NULL
    count_bytes(suspended)
    work.now_ms = reactor.now_ms
    work.running = True
    job_submit(reactor, request.connection, &work.job)


cdef int job_kind(Produce* produce) noexcept nogil:
    cdef Log* log
    if produce.job_appends_to == NULL:
        return JOB_DECOMPRESS
    log = <Log*>atomic_load_pointer(<void**>&produce.job_appends_to.log)
    return JOB_WRITE + log.disk.write_queue


cdef SuspendedProduce* suspended_new(Request* request, NamedPartitions* named) noexcept nogil:
    """A suspended request with a copy of the body; NULL without memory."""
    cdef SuspendedProduce* suspended = <SuspendedProduce*>calloc(1, sizeof(SuspendedProduce))
    cdef ProduceJob* work = <ProduceJob*>calloc(1, sizeof(ProduceJob))
    cdef uint8_t* body = <uint8_t*>malloc(request.body_size + 1)
    cdef bint short_of_memory = suspended == NULL or work == NULL or body == NULL
    if not short_of_memory:
        memcpy(body, request.body, request.body_size)
        short_of_memory = named_copy(&suspended.named, named, request.body, body) != 0
    if short_of_memory:
        if suspended != NULL:
            named_free(&suspended.named)
        free(suspended)
        free(work)
        free(body)
        return NULL
    suspended.job = work
    work.owner = suspended
    work.body = body
    work.body_size = request.body_size
    work.job.run = work_on_batch
    work.job.done = batch_done
    writer_init(&work.scratch, SCRATCH_BYTES_MAX)
    return suspended


cdef bint nothing_done(Produce* produce, NamedPartitions* named) noexcept nogil:
    """Whether the request stopped at its first batch."""
    return produce.topic_at == 0 and produce.partition_at == named.topics[0].first


cdef bint has_room(Reactor* reactor, Request* request, Produce* produce) noexcept nogil:
    if produce.asks:
        return transaction_room(reactor) != QUESTION_LATER
    return job_has_room(reactor, request.connection, job_kind(produce))


cdef int hold_back(Request* request, Produce* produce) noexcept nogil:
    if produce.asks:
        return question_hold_back(request.connection)
    return job_hold_back(request.connection, job_kind(produce), produce.acks != 0)


cdef int suspend(
    Reactor* reactor, Request* request, Produce* produce, NamedPartitions* named, Writer* w, ProduceResume resume
) noexcept nogil:
    cdef SuspendedProduce* suspended
    cdef Request kept
    if nothing_done(produce, named) and not has_room(reactor, request, produce):
        writer_free(w)
        return hold_back(request, produce)
    suspended = suspended_new(request, named)
    if suspended == NULL:
        writer_free(w)
        if produce.waiting != NULL:
            waiting_free(produce.waiting)
        request.close_reason = b"out of memory"
        return CLOSE
    suspended.produce = produce[0]
    suspended.w = w[0]
    suspended.resume = resume
    suspended.job.version = produce.version
    parked_init(&suspended.parked, request, reactor.now_ns + RECHECK_NS, stay, suspended_free)
    connection_hold(request.connection, produce.acks != 0)
    if park_start(reactor, &suspended.parked):
        park_cancel(reactor, &suspended.parked)
        request.close_reason = b"out of memory"
        return CLOSE
    kept = request[0]
    kept.body = suspended.job.body
    if suspend_again(reactor, &kept, suspended):
        park_cancel(reactor, &suspended.parked)
        request.close_reason = b"out of memory"
        return CLOSE
    return HANDLED
