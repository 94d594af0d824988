"""A fetcher: follows the partitions of one leader broker over one connection (Kafka: ReplicaFetcherThread).

Its thread fetches, checks, appends and fetches again, without the GIL. What needs a decision (truncation, a leader's range, a
failed disk) is Python's: the partition is held, an event is posted, and a command resumes it from the end of its log. A role that
changes while records are on their way is no danger: the append compares the leader epoch with the partition's under its append
mutex.

A request costs what changed since the one before: partitions whose fetch position moved. Idle ones stay in the leader's session.
"""
from libc.stdint cimport int16_t, int32_t, int64_t
from libc.stdio cimport snprintf
from libc.stdlib cimport free, realloc
from libc.string cimport memcpy, strcmp

from kafka_cy.base.atomics cimport atomic_load_i32, atomic_load_i64, atomic_store_i64, counter_add, counter_set
from kafka_cy.base.clock cimport monotonic_ns, wall_clock_ms
from kafka_cy.base.posix cimport (
    block_all_signals, cond_wait_until, pthread_cond_signal, pthread_mutex_lock, pthread_mutex_unlock,
)
from kafka_cy.base.thread_name cimport name_this_thread
from kafka_cy.network.broker_client cimport (
    CLIENT_CONFUSED, CLIENT_FAILURE_BYTES_MAX, CLIENT_STOPPED, client_begin, client_call, client_disconnect, client_retry_ns,
)
from kafka_cy.records.wire cimport Reader, Writer, writer_free, writer_init
from kafka_cy.replication.fetch_wire cimport (
    FETCH_API_KEY, FetchedPartition, FetchOutcome, read_fetched, write_fetch,
)
from kafka_cy.replication.fetcher_events cimport (
    EVENT_BEGIN, EVENT_BELOW_START, EVENT_CONNECTED, EVENT_CORRUPT, EVENT_DELAYED, EVENT_DISCONNECTED, EVENT_DIVERGED, EVENT_FAILED,
    EVENT_FENCED, EVENT_OUT_OF_RANGE, FetchEvent, FetchEventKind, fetch_event_add,
)
from kafka_cy.replication.followed cimport (
    DELAYS, FOLLOW_FETCHING, Followed, followed_begin, followed_changed, followed_delay, followed_had_turn,
    followed_hold, table_clear,
    table_find, table_find_partition, table_forget_session, table_put, table_release_delayed, table_remove,
)
from kafka_cy.replication.follower_throttle cimport count_appended, throttle_followed
from kafka_cy.storage.log_follow cimport Received, received_check
from kafka_cy.storage.log_struct cimport Log, log_end_offset, log_start_offset
from kafka_cy.storage.partition cimport PARTITION_FOLLOWER, partition_acquire, partition_log, partition_release
from kafka_cy.storage.partition_follower cimport LeaderOffsets, partition_append_received, partition_begin_below
from kafka_cy.storage.storage_error cimport STORAGE_NOT_LEADER, STORAGE_OFFSET_OUT_OF_RANGE

cdef enum:
    REQUEST_BYTES_MAX = 1 << 30
    OFFSET_OUT_OF_RANGE = 1         # Kafka's errors, as far as they are told apart
    UNKNOWN_TOPIC_OR_PARTITION = 3
    NOT_LEADER_OR_FOLLOWER = 6
    FENCED_LEADER_EPOCH = 74
    UNKNOWN_LEADER_EPOCH = 75
    UNKNOWN_TOPIC_ID = 100
    SESSION_ID_NOT_FOUND = 70


cdef int64_t FOREVER_NS = <int64_t>3600 * 1000000000
#: The first wait after an error that passes soon; each further one is twice as long, until replica.fetch.backoff.ms.
cdef int64_t FIRST_DELAY_NS = 20000000


# -- commands --

cdef bint fetcher_command(Fetcher* fetcher, const FetcherCommand* command) noexcept nogil:
    cdef FetcherCommand* grown
    cdef int64_t wanted
    cdef bint added = True
    pthread_mutex_lock(&fetcher.commands_mutex)
    if fetcher.commands_count == fetcher.commands_capacity:
        wanted = fetcher.commands_capacity * 2 + 16
        grown = <FetcherCommand*>realloc(fetcher.commands, <size_t>wanted * sizeof(FetcherCommand))
        if grown == NULL:
            added = False
        else:
            fetcher.commands = grown
            fetcher.commands_capacity = wanted
    if added:
        fetcher.commands[fetcher.commands_count] = command[0]
        fetcher.commands_count += 1
        pthread_cond_signal(&fetcher.commanded)
    pthread_mutex_unlock(&fetcher.commands_mutex)
    return added


cdef int64_t take_commands(Fetcher* fetcher, int64_t until_ns, FetcherCommand** commands) noexcept nogil:
    """All commands; waits for one until `until_ns`. How many; the caller frees them."""
    cdef int64_t count
    pthread_mutex_lock(&fetcher.commands_mutex)
    while fetcher.commands_count == 0 and not atomic_load_i32(&fetcher.stopping) and monotonic_ns() < until_ns:
        cond_wait_until(&fetcher.commanded, &fetcher.commands_mutex, until_ns)
    count = fetcher.commands_count
    commands[0] = fetcher.commands
    fetcher.commands = NULL
    fetcher.commands_count = 0
    fetcher.commands_capacity = 0
    pthread_mutex_unlock(&fetcher.commands_mutex)
    return count


cdef void obey(Fetcher* fetcher, const FetcherCommand* command) noexcept nogil:
    cdef Followed* followed = table_find_partition(&fetcher.table, command.partition)
    cdef bint known = followed != NULL
    if command.kind == COMMAND_LEAVE:
        if known and followed.partition == command.partition:
            table_remove(&fetcher.table, followed)
        return
    followed = table_put(&fetcher.table, command.partition)
    if followed == NULL:
        tell_of(fetcher, EVENT_FAILED, command.partition, command.leader_epoch, 0, -1, -1)
        return
    if fetcher.truncates_first and (not known or followed.position.leader_epoch != command.leader_epoch):
        followed_begin(&fetcher.table, followed, command.leader_epoch)
        hold(fetcher, followed, EVENT_BEGIN, 0, followed.position.last_epoch, -1)
        return
    followed_begin(&fetcher.table, followed, command.leader_epoch)


cdef void run_commands(Fetcher* fetcher, int64_t until_ns) noexcept nogil:
    cdef FetcherCommand* commands = NULL
    cdef int64_t count = take_commands(fetcher, until_ns, &commands)
    cdef int64_t i
    for i in range(count):
        obey(fetcher, &commands[i])
        partition_release(commands[i].partition)
    free(commands)
    counter_set(&fetcher.followed, fetcher.table.count)


# -- events --

cdef bint tell_of(
    Fetcher* fetcher, FetchEventKind kind, Partition* partition, int32_t leader_epoch, int32_t code, int32_t epoch, int64_t offset
) noexcept nogil:
    cdef FetchEvent event
    event.kind = kind
    event.fetcher = fetcher.number
    event.partition = partition_acquire(partition) if partition != NULL else NULL
    event.leader_epoch = leader_epoch
    event.code = code
    event.epoch = epoch
    event.offset = offset
    if fetch_event_add(fetcher.events, &event):
        return True
    if partition != NULL:
        partition_release(partition)
    return False


cdef void hold(
    Fetcher* fetcher, Followed* followed, FetchEventKind kind, int32_t code, int32_t epoch, int64_t offset
) noexcept nogil:
    """Python decides. Without memory for the event the leader is asked once more, later."""
    followed_hold(&fetcher.table, followed)
    if not tell_of(fetcher, kind, followed.partition, followed.position.leader_epoch, code, epoch, offset) and (
        kind == EVENT_DIVERGED or kind == EVENT_OUT_OF_RANGE
    ):
        wait(fetcher, followed, DELAYS - 1)


cdef void wait(Fetcher* fetcher, Followed* followed, int32_t delay) noexcept nogil:
    """The last delay is replica.fetch.backoff.ms."""
    cdef int64_t wait_ns = fetcher.error_backoff_ns
    if delay < DELAYS - 1:
        wait_ns = min(wait_ns, FIRST_DELAY_NS << delay)
    followed_delay(&fetcher.table, followed, delay, monotonic_ns() + wait_ns)


cdef void delay(Fetcher* fetcher, Followed* followed, FetchEventKind kind, int16_t code, int64_t offset) noexcept nogil:
    """Fetched again later. The same error is told once, until it fetches again."""
    wait(fetcher, followed, followed.delays if passes_soon(code) else DELAYS - 1)
    followed.delays = min(followed.delays + 1, DELAYS - 1)
    if followed.last_error != code:
        followed.last_error = code
        tell_of(fetcher, kind, followed.partition, followed.position.leader_epoch, code, -1, offset)


cdef inline bint passes_soon(int16_t code) noexcept nogil:
    """The controller tells the leader at the same time as its followers: it may hear of its role a moment after them."""
    return code in (UNKNOWN_TOPIC_OR_PARTITION, NOT_LEADER_OR_FOLLOWER, UNKNOWN_LEADER_EPOCH, UNKNOWN_TOPIC_ID)


# -- responses --

cdef void on_fetched(void* context, const FetchedPartition* fetched) noexcept nogil:
    cdef Fetcher* fetcher = <Fetcher*>context
    cdef Followed* followed = table_find(&fetcher.table, fetched.topic, fetched.topic_size, fetched.index)
    if followed == NULL or followed.state != FOLLOW_FETCHING or not followed.in_session:
        return                                      # not followed any more, or not asked for with this request
    if fetched.error == 0 and fetched.diverging:
        hold(fetcher, followed, EVENT_DIVERGED, 0, fetched.diverging_epoch, fetched.diverging_end_offset)
    elif fetched.error == 0:
        append(fetcher, followed, fetched)
    elif fetched.error == OFFSET_OUT_OF_RANGE:
        hold(fetcher, followed, EVENT_OUT_OF_RANGE, fetched.error, -1, followed.position.offset)
    elif fetched.error == FENCED_LEADER_EPOCH:
        hold(fetcher, followed, EVENT_FENCED, fetched.error, -1, -1)
    else:
        delay(fetcher, followed, EVENT_DELAYED, fetched.error, -1)


cdef void append(Fetcher* fetcher, Followed* followed, const FetchedPartition* fetched) noexcept nogil:
    cdef Log* log = partition_log(followed.partition)
    cdef Received received
    cdef LeaderOffsets leader
    cdef size_t size = <size_t>max(fetched.records_size, 0)
    cdef int error = received_check(fetched.records, size, &received)
    if error:
        delay(fetcher, followed, EVENT_CORRUPT, 2, received.bad_offset)
        return
    leader.high_watermark = fetched.high_watermark
    leader.start_offset = fetched.start_offset
    error = partition_append_received(
        followed.partition, followed.position.leader_epoch, followed.position.offset, fetched.records, &received, &leader,
        fetcher.now_ms)
    if error == STORAGE_OFFSET_OUT_OF_RANGE and log_end_offset(log) != followed.position.offset:
        go_on_from_end(fetcher, followed, &received, &leader)
        return
    if error == STORAGE_OFFSET_OUT_OF_RANGE and received.first_last_offset >= log_start_offset(log):
        error = begin_below(fetcher, followed, fetched, &received, &leader)
    if error == STORAGE_NOT_LEADER and still_follows(followed):
        wait(fetcher, followed, 0)                  # its log is sealed for a few milliseconds: it moves to another directory
    elif error == STORAGE_NOT_LEADER:
        followed_hold(&fetcher.table, followed)  # its role has changed; a command follows
    elif error:
        hold(fetcher, followed, EVENT_FAILED, error, -1, received.first_offset)
    else:
        appended(fetcher, followed, &received, &leader)


cdef void go_on_from_end(
    Fetcher* fetcher, Followed* followed, Received* received, const LeaderOffsets* leader
) noexcept nogil:
    """The log ends elsewhere than when it was asked for: it was cut; or the fetcher that followed it before has appended what it
    had in its hands (num.replica.fetchers, or the leader's address, has changed). Then the leader's offsets count all the same:
    its session does not send them again."""
    if log_end_offset(partition_log(followed.partition)) > followed.position.offset:
        received.batches = 0
        partition_append_received(
            followed.partition, followed.position.leader_epoch, -1, NULL, received, leader, fetcher.now_ms)
    followed_begin(&fetcher.table, followed, followed.position.leader_epoch)


cdef bint still_follows(Followed* followed) noexcept nogil:
    return atomic_load_i32(&followed.partition.state) == PARTITION_FOLLOWER and (
        atomic_load_i32(&followed.partition.leader_epoch) == followed.position.leader_epoch)


cdef int begin_below(
    Fetcher* fetcher, Followed* followed, const FetchedPartition* fetched, Received* received, const LeaderOffsets* leader
) noexcept nogil:
    """The leader's start is inside its first batch (DeleteRecords): an empty log that begins there begins with the whole batch."""
    cdef int32_t epoch = followed.position.leader_epoch
    cdef int error = partition_begin_below(followed.partition, epoch, received.first_offset)
    if error:
        return error
    tell_of(fetcher, EVENT_BELOW_START, followed.partition, epoch, 0, -1, received.first_offset)
    return partition_append_received(
        followed.partition, epoch, received.first_offset, fetched.records, received, leader, fetcher.now_ms)


cdef void appended(Fetcher* fetcher, Followed* followed, const Received* received, const LeaderOffsets* leader) noexcept nogil:
    cdef Log* log = partition_log(followed.partition)
    if received.batches > 0:
        followed.position.offset = received.end_offset
        if received.last_epoch >= 0:
            followed.position.last_epoch = received.last_epoch
        counter_add(&fetcher.bytes_in, <int64_t>received.size)
        count_appended(followed.partition, <int64_t>received.size)
        followed_had_turn(&fetcher.table, followed)
    followed.last_error = 0
    followed.delays = 0
    followed.in_sync = followed.position.offset >= leader.high_watermark
    followed.position.start_offset = log_start_offset(log)
    atomic_store_i64(&followed.partition.follower_lag, max(leader.high_watermark - followed.position.offset, <int64_t>0))
    followed_changed(&fetcher.table, followed)


# -- rounds --

cdef void reset_session(Fetcher* fetcher) noexcept nogil:
    fetcher.settings.session_id = 0
    fetcher.settings.session_epoch = 0
    table_forget_session(&fetcher.table)


cdef void take_outcome(Fetcher* fetcher, const FetchOutcome* outcome) noexcept nogil:
    """Continue the session, or begin anew."""
    if outcome.error or outcome.session_id == 0:
        reset_session(fetcher)
        return
    fetcher.settings.session_id = outcome.session_id
    fetcher.settings.session_epoch = 1 if fetcher.settings.session_epoch == 0x7fffffff else fetcher.settings.session_epoch + 1


cdef int fetch_once(Fetcher* fetcher, FetchOutcome* outcome) noexcept nogil:
    """One request and its response: a ClientError."""
    cdef bint flexible = fetcher.settings.version >= 12
    cdef Writer w
    cdef Reader r
    cdef int error
    fetcher.settings.broker_epoch = atomic_load_i64(&fetcher.broker_epoch)
    writer_init(&w, REQUEST_BYTES_MAX)
    client_begin(&fetcher.client, &w, FETCH_API_KEY, fetcher.settings.version, flexible)
    write_fetch(&w, &fetcher.settings, &fetcher.table)
    error = client_call(&fetcher.client, &w, flexible, &r)
    writer_free(&w)
    counter_add(&fetcher.requests, 1)
    if error:
        return error
    fetcher.now_ms = wall_clock_ms()
    outcome.error = 0
    outcome.session_id = 0
    read_fetched(&r, fetcher.settings.version, outcome, on_fetched, fetcher)
    if r.error:
        client_disconnect(&fetcher.client)
        snprintf(fetcher.client.failure, CLIENT_FAILURE_BYTES_MAX, "its response is malformed")
        return CLIENT_CONFUSED
    return 0


cdef void note_connection(Fetcher* fetcher, int error) noexcept nogil:
    """Each change is told once, also of the reason."""
    if error and not (fetcher.disconnected and strcmp(fetcher.told_failure, fetcher.client.failure) == 0):
        pthread_mutex_lock(&fetcher.commands_mutex)
        memcpy(fetcher.told_failure, fetcher.client.failure, CLIENT_FAILURE_BYTES_MAX)
        pthread_mutex_unlock(&fetcher.commands_mutex)
        tell_of(fetcher, EVENT_DISCONNECTED, NULL, -1, error, -1, -1)
    elif not error and fetcher.disconnected:
        tell_of(fetcher, EVENT_CONNECTED, NULL, -1, 0, -1, -1)
    fetcher.disconnected = error != 0


cdef int64_t fetch_round(Fetcher* fetcher, int64_t due_ns) noexcept nogil:
    """Fetch once; the leader waits no longer than until `due_ns` (0: none), when others are to be fetched again.

    Returns when to fetch again at the earliest, 0: at once.
    """
    cdef FetchOutcome outcome
    cdef int error
    cdef int64_t now_ns = monotonic_ns()
    fetcher.settings.wait_max_ms = fetcher.wait_max_ms
    if due_ns:
        fetcher.settings.wait_max_ms = <int32_t>min(<int64_t>fetcher.wait_max_ms, max(due_ns - now_ns, <int64_t>0) // 1000000 + 1)
    error = fetch_once(fetcher, &outcome)
    now_ns = monotonic_ns()
    if error == CLIENT_STOPPED:
        return 0
    note_connection(fetcher, error)
    if error:
        counter_add(&fetcher.failed_requests, 1)
        reset_session(fetcher)
        return max(client_retry_ns(&fetcher.client), now_ns + fetcher.error_backoff_ns)
    take_outcome(fetcher, &outcome)
    if outcome.error and outcome.error != SESSION_ID_NOT_FOUND and outcome.error != SESSION_ID_NOT_FOUND + 1:
        tell_of(fetcher, EVENT_DELAYED, NULL, -1, outcome.error, -1, -1)
        return now_ns + fetcher.error_backoff_ns
    return 0


cdef inline int64_t earlier(int64_t a_ns, int64_t b_ns) noexcept nogil:
    """0: never."""
    return min(a_ns, b_ns) if a_ns and b_ns else a_ns + b_ns


cdef void* fetcher_run(void* context) noexcept nogil:
    cdef Fetcher* fetcher = <Fetcher*>context
    cdef int64_t again_ns = 0           # until then it sleeps, if no command comes
    cdef int64_t retry_ns = 0           # until then a broker that cannot be reached is left alone
    cdef int64_t due_ns
    block_all_signals()
    name_this_thread(b"fetcher", fetcher.number)
    while not atomic_load_i32(&fetcher.stopping):
        run_commands(fetcher, again_ns)
        due_ns = earlier(
            table_release_delayed(&fetcher.table, monotonic_ns()), throttle_followed(&fetcher.table, monotonic_ns()))
        if fetcher.table.fetching == 0:
            again_ns = due_ns if due_ns else monotonic_ns() + FOREVER_NS
            continue
        if retry_ns > monotonic_ns() and fetcher.disconnected:
            again_ns = retry_ns                     # a command came while the broker is left alone
            continue
        again_ns = retry_ns = fetch_round(fetcher, due_ns)
    client_disconnect(&fetcher.client)
    return NULL


cdef void fetcher_discard(Fetcher* fetcher) noexcept nogil:
    cdef int64_t i
    for i in range(fetcher.commands_count):
        partition_release(fetcher.commands[i].partition)
    free(fetcher.commands)
    fetcher.commands = NULL
    fetcher.commands_count = 0
    table_clear(&fetcher.table)
