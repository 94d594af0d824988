"""A fetch session with many partitions costs what changed, not what exists.

Otherwise each fetch of a session would look at all its partitions, set watches on them when it waits, look at all again when one of
them advances, and remove the watches. A standing fetch keeps its partitions and watches when it is answered. It reads those that it
has listed:

- what the client named in its request;
- what advanced (watch_set): records, high watermark, last stable offset, log start, leadership. Whatever a reading depends on
  wakes the partition's waiters when it changes;
- what was read before, and was not settled: it had records, perhaps more than fitted; or it had an error; or its follower is no
  member of the ISR.

What is not listed would give nothing if it were read: no records, no error, and the offsets that the session has sent already.

A follower that does not name a partition says that its log still ends where it ended. One that had everything counts as caught up
while nothing is appended (replica_is_caught_up). But the times of its last fetch and of having caught up must not become old, or it
would be out of the ISR soon after the next record. So a few more partitions are listed with each request, all in LOOK_NS or a
quarter of replica.lag.time.max.ms. The counters of fetch requests follow with them.

A request that changes which partitions the session has gets no standing fetch. One that comes after a change of the metadata
begins anew: that costs what exists, once. So does one from another connection: a session knows the one standing fetch that has
heard of all its requests.

One difference from looking at everything: a consumer is sent to a follower in its rack (KIP-392) when its partition is read. If
the follower was not known to have the offset then, that is when the partition is read again, at the latest after LOOK_NS.
"""
from libc.stdint cimport int32_t, int64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

from kafka_cy.api.error_codes cimport ERROR_NONE
from kafka_cy.api.fetch cimport FetchItem
from kafka_cy.api.fetch_cold cimport cold_read_cancel
from kafka_cy.api.fetch_lifetime cimport fetch_clear, fetch_release_reads
from kafka_cy.api.fetch_partitions cimport fetch_set
from kafka_cy.api.fetch_request cimport AskedPartition, read_asked_partition, walk_asked, walk_forgotten
from kafka_cy.api.fetch_session cimport (
    FetchSession, SessionPartition, SessionTopic, session_epoch, session_find, session_find_topic, session_next_epoch,
    session_release, session_set, session_set_epoch, session_trylock, session_unlock, standing_charge, standing_uncharge,
)
from kafka_cy.api.fetch_session_cache cimport session_acquire
from kafka_cy.api.topic_walk cimport TopicWalk, read_again, walk_next
from kafka_cy.base.atomics cimport (
    atomic_add_i64, atomic_add_relaxed_i64, atomic_cas_i64, atomic_load_i64, atomic_load_relaxed_i64, atomic_store_i64,
    atomic_sub_i64,
)
from kafka_cy.network.dispatch cimport reactor_log
from kafka_cy.network.log_events cimport LOG_WARNING
from kafka_cy.network.parked cimport SetWatch, WatchSet
from kafka_cy.network.watch_set cimport (
    watch_set_add, watch_set_arm, watch_set_hear, watch_set_init, watch_set_remove, watch_set_rest, watch_set_use,
)
from kafka_cy.records.wire cimport Reader
from kafka_cy.storage.partition cimport partition_acquire, replica_lag_max_ms
from kafka_cy.storage.partition_leader cimport FETCHED_IN_SYNC, FETCHED_UNKNOWN

cdef enum:
    FETCH_KEY = 1
    SORT_RUNS = 40
    LOOK_MAX = 16384                # partitions that one request looks at only because of the time

cdef int64_t REST_NS = <int64_t>10 * 1000000000     # a standing fetch without requests is dropped after that
cdef int64_t LOOK_NS = <int64_t>5 * 1000000000
cdef int64_t TELL_NS = <int64_t>60 * 1000000000     # between two lines of the log: each request of a session is refused again


# For all connections. Threads: (a) atomics.
cdef struct StandingTotals:
    int64_t partitions_min          # (a) of a session; those with fewer gain little
    int64_t look_ns                 # (a) LOOK_NS; 0: never
    int64_t last_id                 # (a)
    int64_t built                   # (a) counters
    int64_t taken                   # (a)
    int64_t listed                  # (a) partitions, at the beginning of requests that were taken
    int64_t refused                 # (a) for lack of memory; the session's next request tries again
    int64_t bytes                   # (a) that standing fetches hold, of those of sessions
    int64_t told_ns                 # (a) when the log was told of the last refusal; 0: never


cdef StandingTotals totals
memset(&totals, 0, sizeof(totals))
totals.partitions_min = 32
totals.look_ns = LOOK_NS


# -- the list of what is read --

cdef void list_item(StandingFetch* standing, FetchItem* item) noexcept nogil:
    cdef Fetch* fetch = standing.fetch
    if item.listed:
        return
    item.listed = True
    item.next = NULL
    forget_report(item)
    if fetch.last == NULL:
        fetch.first = item
    else:
        standing.unsorted = standing.unsorted or item.place < fetch.last.place
        fetch.last.next = item
    fetch.last = item


cdef inline void forget_report(FetchItem* item) noexcept nogil:
    item.noted = False
    item.found = FETCHED_UNKNOWN
    item.again = False


cdef void gather(StandingFetch* standing) noexcept nogil:
    """Lists what advanced, as far as the reactor has heard of it.

    A check of a request that waits takes over no mail: while other threads append, there would be no end of checks in this turn.
    """
    cdef SetWatch* watch
    cdef SetWatch* following
    cdef FetchItem* item
    watch = standing.watches.woken
    standing.watches.woken = NULL
    while watch != NULL:
        following = watch.woken_next
        watch_set_arm(standing.reactor, watch)
        item = &standing.fetch.items[watch - standing.each]
        item.again = item.listed
        list_item(standing, item)
        watch = following


cdef FetchItem* merged(FetchItem* a, FetchItem* b) noexcept nogil:
    cdef FetchItem* first = NULL
    cdef FetchItem** end = &first
    while a != NULL and b != NULL:
        if a.place < b.place:
            end[0] = a
            a = a.next
        else:
            end[0] = b
            b = b.next
        end = &end[0].next
    end[0] = a if a != NULL else b
    return first


cdef FetchItem* ascending(FetchItem** rest) noexcept nogil:
    """Cut off the ascending beginning of a list."""
    cdef FetchItem* first = rest[0]
    cdef FetchItem* last = first
    while last.next != NULL and last.place < last.next.place:
        last = last.next
    rest[0] = last.next
    last.next = NULL
    return first


cdef void sort(StandingFetch* standing) noexcept nogil:
    """Merges ascending runs, of about equal length."""
    cdef FetchItem* runs[SORT_RUNS]
    cdef FetchItem* rest = standing.fetch.first
    cdef FetchItem* run = NULL
    cdef int i
    memset(runs, 0, sizeof(runs))
    while rest != NULL:
        run = ascending(&rest)
        i = 0
        while runs[i] != NULL:
            run = merged(runs[i], run)
            runs[i] = NULL
            i += 1
        runs[i] = run
    run = NULL
    for i in range(SORT_RUNS):  # no-cython-lint
        run = merged(runs[i], run)
    standing.fetch.first = run
    while run != NULL:
        standing.fetch.last = run
        run = run.next
    standing.unsorted = False


cdef void standing_collect(StandingFetch* standing) noexcept nogil:
    gather(standing)
    if standing.unsorted:
        sort(standing)


cdef bint is_settled(const Fetch* fetch, const FetchItem* item, const SetWatch* watch) noexcept nogil:
    """Whether another reading would give nothing, unless the watch is woken."""
    if watch.watch.partition == NULL or item.error or item.diverging or item.cold or item.moved or item.throttled:
        return False
    if item.read.size > 0 or item.preferred >= 0 or item.fetch_offset < item.read_limit:     # the last: it had no room
        return False
    return fetch.replica_id < 0 or (item.noted and item.found & FETCHED_IN_SYNC and not item.again)


cdef void settle(StandingFetch* standing) noexcept nogil:
    """After a response: what is settled leaves the list; what was sent with records goes to its end, as in the session."""
    cdef Fetch* fetch = standing.fetch
    cdef FetchItem* item = fetch.first
    cdef FetchItem* following
    cdef FetchItem* kept = NULL
    cdef FetchItem** kept_end = &kept
    cdef FetchItem* moved = NULL
    cdef FetchItem** moved_end = &moved
    fetch.last = NULL
    while item != NULL:
        following = item.next
        item.next = NULL
        if is_settled(fetch, item, &standing.each[item - fetch.items]):
            item.listed = False
            standing.each[item - fetch.items].muted = False
        elif item.moved:
            standing.places += 1
            item.place = standing.places
            moved_end[0] = item
            moved_end = &item.next
        else:
            kept_end[0] = item
            kept_end = &item.next
            fetch.last = item
        item = following
    kept_end[0] = moved
    fetch.first = kept
    item = moved
    while item != NULL:
        item.moved = False
        fetch.last = item
        item = item.next


# -- a request --

cdef void look_at_some(StandingFetch* standing) noexcept nogil:
    """Lists some partitions because of the time. Their watches are armed, even if one was not for lack of memory."""
    cdef int64_t period = min(atomic_load_i64(&totals.look_ns), replica_lag_max_ms() * 250000)
    cdef int64_t now = standing.reactor.now_ns
    cdef int64_t count = standing.fetch.count
    cdef int64_t due
    cdef SetWatch* watch
    if period <= 0:
        return
    standing.looked_ns = max(standing.looked_ns, now - period)
    due = min((now - standing.looked_ns) * count // period, <int64_t>LOOK_MAX)
    standing.looked_ns += due * period // count
    while due > 0:
        watch = &standing.each[standing.looked_at]
        if watch.watch.partition != NULL and not watch.woken:
            watch_set_arm(standing.reactor, watch)
        list_item(standing, &standing.fetch.items[standing.looked_at])
        standing.looked_at = (standing.looked_at + 1) % standing.fetch.count
        due -= 1


cdef bint forgets(Request* request, FetchHeader* header) noexcept nogil:
    cdef Reader r
    cdef TopicWalk walk
    if header.forgotten == NULL:
        return False
    read_again(&r, request, header.forgotten)
    walk_forgotten(&walk, &r, request.api_version)
    return walk_next(&walk)


cdef bint fits(StandingFetch* standing, Reactor* reactor, Request* request, FetchHeader* header) noexcept nogil:
    """Whether the request asks for the same as those before, except for positions in partitions."""
    cdef Fetch* fetch = standing.fetch
    return (
        header.session_epoch > 0 and header.session_id == fetch.session.id and reactor.image.version == standing.image_version
        and fetch.version == request.api_version and header.replica_id == fetch.replica_id
        and header.replica_epoch == fetch.replica_epoch and header.isolation_level == fetch.isolation_level
        and not forgets(request, header)
    )


cdef bint name(StandingFetch* standing, Request* request, FetchHeader* header) noexcept nogil:
    """Takes over what the request says of partitions. False: it names another one. The session's lock is held."""
    cdef Fetch* fetch = standing.fetch
    cdef FetchSession* session = fetch.session
    cdef SessionPartition* partition
    cdef SessionTopic* topic = NULL
    cdef AskedPartition asked
    cdef TopicWalk walk
    cdef FetchItem* item
    cdef Reader r
    read_again(&r, request, header.topics)
    walk_asked(&walk, &r, request.api_version)
    while walk_next(&walk):
        read_asked_partition(&walk.r, request.api_version, &asked)
        if walk.first_of_topic:
            topic = session_find_topic(session, &walk.key)
        partition = session_find(session, topic, asked.index) if topic != NULL else NULL
        if partition == NULL:
            return False
        session_set(partition, &asked)
        item = &fetch.items[partition.item]
        item.current_leader_epoch = asked.current_leader_epoch
        item.last_fetched_epoch = asked.last_fetched_epoch
        item.fetch_offset = asked.fetch_offset
        item.max_bytes = asked.max_bytes
        item.start_offset = asked.start_offset
        list_item(standing, item)
    return True


cdef bint advance(StandingFetch* standing, Reactor* reactor, Request* request, FetchHeader* header) noexcept nogil:
    """The session's next epoch begins, if it knows this standing fetch."""
    cdef FetchSession* session = standing.fetch.session
    cdef bint known = session.standing == standing.id and session_epoch(session) == header.session_epoch
    if not known or not name(standing, request, header):
        return False
    session_set_epoch(session, session_next_epoch(session.epoch))
    atomic_store_i64(&session.used_ms, reactor.now_ms)
    standing.fetch.session_epoch_next = session.epoch
    return True


cdef bint go_on(StandingFetch* standing, Reactor* reactor, Request* request, FetchHeader* header) noexcept nogil:
    """Look the session up in the cache, which may have evicted it, and change it."""
    cdef FetchSession* session = session_acquire(header.session_id)
    cdef bint done = False
    if session != NULL:
        if session == standing.fetch.session and session_trylock(session):
            done = advance(standing, reactor, request, header)
            session_unlock(session)
        session_release(session)
    return done


cdef Fetch* standing_take(Reactor* reactor, Request* request, FetchHeader* header, int32_t response_bytes_max) noexcept nogil:
    cdef StandingFetch* standing = <StandingFetch*>request.connection.standing
    cdef Fetch* fetch
    cdef FetchItem* item
    cdef int64_t listed = 0
    if standing == NULL or standing.busy:
        return NULL
    if not fits(standing, reactor, request, header) or not go_on(standing, reactor, request, header):
        drop(reactor, &standing.watches)
        return NULL
    fetch = standing.fetch
    watch_set_use(reactor, &standing.watches)
    standing.busy = True
    standing.requests += 1
    watch_set_hear(reactor)
    gather(standing)
    look_at_some(standing)
    item = fetch.first
    while item != NULL:
        forget_report(item)
        standing.each[item - fetch.items].muted = False
        listed += 1
        item = item.next
    fetch_set(reactor, request, header, response_bytes_max, fetch)
    fetch.error = ERROR_NONE
    fetch.waited = fetch.withholds = False
    fetch.chosen = False
    fetch.leaders.count = 0
    memset(&fetch.cold_wait, 0, sizeof(fetch.cold_wait))
    atomic_add_relaxed_i64(&totals.taken, 1)
    atomic_add_relaxed_i64(&totals.listed, listed)
    return fetch


cdef void standing_mute(StandingFetch* standing) noexcept nogil:
    cdef Fetch* fetch = standing.fetch
    cdef FetchItem* item = fetch.first
    while item != NULL:
        standing.each[item - fetch.items].muted = item.throttled
        item = item.next


cdef void standing_rest(StandingFetch* standing) noexcept nogil:
    cdef Fetch* fetch = standing.fetch
    cold_read_cancel(&fetch.cold_wait)
    fetch_release_reads(fetch)
    if fetch.chosen:
        settle(standing)
    standing.busy = False
    watch_set_rest(standing.reactor, &standing.watches, standing.reactor.now_ns + REST_NS)


# -- beginning and end --

cdef bint enter_session(StandingFetch* standing, Fetch* fetch) noexcept nogil:
    """The session knows the standing fetch, and each of its partitions its item."""
    cdef FetchSession* session = fetch.session
    cdef bint same = False
    cdef int32_t i
    if session_trylock(session):
        same = session_epoch(session) == fetch.session_epoch_next and session.count == fetch.count
        for i in range(fetch.count):
            same = same and fetch.items[i].session_entry >= 0
        if same:
            session.standing = standing.id
            for i in range(fetch.count):
                session.partitions[fetch.items[i].session_entry].item = i
        session_unlock(session)
    return same


cdef void watch_all(StandingFetch* standing) noexcept nogil:
    """What cannot be watched is read each time."""
    cdef Fetch* fetch = standing.fetch
    cdef FetchItem* item
    cdef int32_t i
    fetch.holds_partitions = True
    for i in range(fetch.count):
        item = &fetch.items[i]
        item.listed = True
        item.place = i
        if item.partition != NULL:
            partition_acquire(item.partition)
            watch_set_add(standing.reactor, &standing.watches, &standing.each[i], item.partition)


cdef void refuse(Reactor* reactor) noexcept nogil:
    cdef int64_t told = atomic_load_i64(&totals.told_ns)
    atomic_add_relaxed_i64(&totals.refused, 1)
    if (told == 0 or reactor.now_ns - told >= TELL_NS) and atomic_cas_i64(&totals.told_ns, told, reactor.now_ns):
        reactor_log(
            reactor, LOG_WARNING, FETCH_KEY,
            "no memory for a standing fetch (kafkacy.fetch.session.cache.max.bytes): its session looks at every partition")


cdef void standing_build(Reactor* reactor, Request* request, Fetch* fetch) noexcept nogil:
    cdef StandingFetch* standing
    cdef int64_t bytes = (
        <int64_t>(sizeof(StandingFetch) + sizeof(Fetch)) + fetch.capacity * <int64_t>sizeof(FetchItem)
        + fetch.count * <int64_t>sizeof(SetWatch)
    )
    if fetch.session == NULL or fetch.error or fetch.session_changed or request.connection.standing != NULL or (
        fetch.count < atomic_load_relaxed_i64(&totals.partitions_min)
    ):
        return
    if not standing_charge(bytes):
        refuse(reactor)
        return
    standing = <StandingFetch*>calloc(1, sizeof(StandingFetch))
    if standing != NULL:
        standing.id = atomic_add_i64(&totals.last_id, 1)
        standing.each = <SetWatch*>calloc(<size_t>fetch.count, sizeof(SetWatch))
    if standing == NULL or standing.each == NULL or not enter_session(standing, fetch):
        if standing == NULL or standing.each == NULL:
            refuse(reactor)
        if standing != NULL:
            free(standing.each)
        free(standing)
        standing_uncharge(bytes)
        return
    watch_set_init(&standing.watches, drop)
    standing.reactor = reactor
    standing.connection = request.connection
    standing.fetch = fetch
    standing.image_version = reactor.image.version
    standing.bytes = bytes
    standing.busy = True
    standing.places = fetch.count
    standing.requests = 1
    standing.looked_ns = reactor.now_ns
    watch_all(standing)
    fetch.standing = standing
    request.connection.standing = standing
    atomic_add_relaxed_i64(&totals.built, 1)
    atomic_add_i64(&totals.bytes, bytes)


cdef void drop(Reactor* reactor, WatchSet* watches) noexcept nogil:
    """WatchSetDrop. No request uses it."""
    cdef StandingFetch* standing = <StandingFetch*>watches
    cdef Fetch* fetch = standing.fetch
    cdef FetchItem* item
    cdef int32_t i
    watch_set_use(reactor, watches)
    for i in range(fetch.count):
        item = &fetch.items[i]
        watch_set_remove(reactor, &standing.each[i])
        if item.partition != NULL:
            atomic_add_relaxed_i64(&item.partition.fetch_requests, standing.requests - item.counted)
    standing.connection.standing = NULL
    fetch_clear(fetch)
    free(fetch)
    free(standing.each)
    standing_uncharge(standing.bytes)
    atomic_sub_i64(&totals.bytes, standing.bytes)
    free(standing)


def set_limits(*, partitions_min: int = 32, look_ms: int = LOOK_NS // 1000000) -> None:
    """For tests: from how many partitions on a session gets a standing fetch, and in which time it looks at all of them (0:
    never). The log is told of the next refusal.
    """
    atomic_store_i64(&totals.told_ns, 0)
    atomic_store_i64(&totals.partitions_min, partitions_min)
    atomic_store_i64(&totals.look_ns, <int64_t>look_ms * 1000000)


def counters() -> dict[str, int]:
    """Built, requests answered by one that was there, partitions listed for these, refused for lack of memory, memory now."""
    return {
        "built": atomic_load_i64(&totals.built), "taken": atomic_load_i64(&totals.taken), "listed": atomic_load_i64(&totals.listed),
        "refused": atomic_load_i64(&totals.refused), "bytes": atomic_load_i64(&totals.bytes),
    }
