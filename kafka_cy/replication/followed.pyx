"""The partitions that one fetcher follows: found by topic and index; a list of those whose fetch position has changed since the
leader heard of it, so that a request costs what changed; lists of those that wait after an error; whose turn it is to get
records."""
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memcmp, memset

from kafka_cy.base.hash cimport hash_of_bytes, hash_of_pair
from kafka_cy.base.hash_table cimport (
    hash_table_free, hash_table_init, hash_table_insert, hash_table_next, hash_table_remove, hash_table_renumber,
    hash_table_reserve, hash_table_start,
)
from kafka_cy.storage.log_epochs cimport log_latest_epoch
from kafka_cy.storage.log_struct cimport Log, log_end_offset, log_start_offset
from kafka_cy.storage.partition cimport partition_acquire, partition_log, partition_release


cdef void table_init(FollowedTable* table, bint by_id) noexcept nogil:
    memset(table, 0, sizeof(FollowedTable))
    hash_table_init(&table.by_key)
    table.by_id = by_id


cdef void table_clear(FollowedTable* table) noexcept nogil:
    cdef int32_t i
    for i in range(table.count):
        partition_release(table.all[i].partition)
        free(table.all[i])
    for i in range(table.forgotten_count):
        partition_release(table.forgotten[i])
    free(table.all)
    free(table.forgotten)
    hash_table_free(&table.by_key)
    table_init(table, table.by_id)


# -- finding --

cdef inline uint32_t hash_of_key(const uint8_t* topic, int32_t topic_size, int32_t index) noexcept nogil:
    return hash_of_pair(hash_of_bytes(topic, <size_t>topic_size), <uint32_t>index)


cdef inline const uint8_t* topic_of(const FollowedTable* table, Partition* partition, int32_t* size) noexcept nogil:
    if table.by_id:
        size[0] = 16
        return partition.topic_id
    size[0] = partition.topic_size
    return <const uint8_t*>partition.topic


cdef Followed* table_find(FollowedTable* table, const uint8_t* topic, int32_t topic_size, int32_t index) noexcept nogil:
    cdef uint32_t hash = hash_of_key(topic, topic_size, index)
    cdef uint32_t place = hash_table_start(&table.by_key, hash)
    cdef int32_t found = hash_table_next(&table.by_key, hash, &place)
    cdef const uint8_t* its_topic
    cdef int32_t its_size
    while found >= 0:
        its_topic = topic_of(table, table.all[found].partition, &its_size)
        if (
            table.all[found].partition.index == index and its_size == topic_size
            and memcmp(its_topic, topic, <size_t>topic_size) == 0
        ):
            return table.all[found]
        found = hash_table_next(&table.by_key, hash, &place)
    return NULL


cdef Followed* table_find_partition(FollowedTable* table, Partition* partition) noexcept nogil:
    cdef int32_t size
    cdef const uint8_t* topic = topic_of(table, partition, &size)
    return table_find(table, topic, size, partition.index)


cdef Followed* table_put(FollowedTable* table, Partition* partition) noexcept nogil:
    cdef Followed* followed = table_find_partition(table, partition)
    cdef Followed** grown
    cdef const uint8_t* topic
    cdef int32_t size
    cdef int32_t wanted = table.capacity + table.capacity // 2 + 16
    if followed != NULL:
        if followed.partition != partition:     # the same topic and index, hosted anew
            partition_release(followed.partition)
            followed.partition = partition_acquire(partition)
        return followed
    if table.count == FOLLOWED_MAX or hash_table_reserve(&table.by_key, <uint32_t>table.count + 1) < 0:
        return NULL
    if table.count == table.capacity:
        grown = <Followed**>realloc(table.all, <size_t>wanted * sizeof(Followed*))
        if grown == NULL:
            return NULL
        table.all = grown
        table.capacity = wanted
    followed = <Followed*>calloc(1, sizeof(Followed))
    if followed == NULL:
        return NULL
    topic = topic_of(table, partition, &size)
    followed.partition = partition_acquire(partition)
    followed.hash = hash_of_key(topic, size, partition.index)
    followed.place = table.count
    followed.state = FOLLOW_HELD
    hash_table_insert(&table.by_key, followed.hash, followed.place)
    table.all[table.count] = followed
    table.count += 1
    turn_append(table, followed)
    return followed


cdef void table_remove(FollowedTable* table, Followed* followed) noexcept nogil:
    """The last entry moves to its place."""
    cdef Followed* last = table.all[table.count - 1]
    followed_hold(table, followed)
    turn_remove(table, followed)
    hash_table_remove(&table.by_key, followed.hash, followed.place)
    table.count -= 1
    if last != followed:
        hash_table_renumber(&table.by_key, last.hash, last.place, followed.place)
        table.all[followed.place] = last
        last.place = followed.place
    partition_release(followed.partition)
    free(followed)


# -- lists --

cdef inline Followeds* list_of(FollowedTable* table, int32_t which) noexcept nogil:
    if which == IN_DIRTY:
        return &table.dirty
    return &table.throttled if which == IN_THROTTLED else &table.delayed[which - IN_DELAYED]


cdef void list_remove(FollowedTable* table, Followed* followed) noexcept nogil:
    cdef Followeds* list
    if followed.list == IN_NO_LIST:
        return
    list = list_of(table, followed.list)
    if followed.previous != NULL:
        followed.previous.next = followed.next
    else:
        list.first = followed.next
    if followed.next != NULL:
        followed.next.previous = followed.previous
    else:
        list.last = followed.previous
    followed.next = NULL
    followed.previous = NULL
    followed.list = IN_NO_LIST


cdef void list_append(FollowedTable* table, Followed* followed, int32_t which) noexcept nogil:
    cdef Followeds* list = list_of(table, which)
    list_remove(table, followed)
    followed.list = which
    followed.previous = list.last
    if list.last != NULL:
        list.last.next = followed
    else:
        list.first = followed
    list.last = followed


cdef void turn_append(FollowedTable* table, Followed* followed) noexcept nogil:
    followed.later = NULL
    followed.earlier = table.turns.last
    if table.turns.last != NULL:
        table.turns.last.later = followed
    else:
        table.turns.first = followed
    table.turns.last = followed


cdef void turn_remove(FollowedTable* table, Followed* followed) noexcept nogil:
    if followed.earlier != NULL:
        followed.earlier.later = followed.later
    else:
        table.turns.first = followed.later
    if followed.later != NULL:
        followed.later.earlier = followed.earlier
    else:
        table.turns.last = followed.earlier


cdef void followed_had_turn(FollowedTable* table, Followed* followed) noexcept nogil:
    if followed.later != NULL:
        turn_remove(table, followed)
        turn_append(table, followed)


# -- states --

cdef inline void set_state(FollowedTable* table, Followed* followed, FollowState state) noexcept nogil:
    table.fetching += (state == FOLLOW_FETCHING) - (followed.state == FOLLOW_FETCHING)
    followed.state = state


cdef void followed_begin(FollowedTable* table, Followed* followed, int32_t leader_epoch) noexcept nogil:
    cdef Log* log = partition_log(followed.partition)
    list_remove(table, followed)
    set_state(table, followed, FOLLOW_FETCHING)
    followed.position.leader_epoch = leader_epoch
    followed.position.offset = log_end_offset(log)
    followed.position.start_offset = log_start_offset(log)
    followed.position.last_epoch = log_latest_epoch(log)
    followed.in_sync = False
    followed.last_error = 0
    followed.delays = 0
    followed_changed(table, followed)


cdef void followed_changed(FollowedTable* table, Followed* followed) noexcept nogil:
    cdef FetchPosition* now = &followed.position
    cdef FetchPosition* sent = &followed.sent
    if followed.list == IN_DIRTY:
        return
    if not followed.in_session or now.offset != sent.offset or now.start_offset != sent.start_offset or (
        now.last_epoch != sent.last_epoch or now.leader_epoch != sent.leader_epoch
    ):
        list_append(table, followed, IN_DIRTY)


cdef void stop_fetching(FollowedTable* table, Followed* followed, FollowState state) noexcept nogil:
    list_remove(table, followed)
    set_state(table, followed, state)
    if followed.in_session:
        followed.in_session = False
        forget_later(table, followed.partition)


cdef void followed_hold(FollowedTable* table, Followed* followed) noexcept nogil:
    stop_fetching(table, followed, FOLLOW_HELD)


cdef void followed_delay(FollowedTable* table, Followed* followed, int32_t delay, int64_t due_ns) noexcept nogil:
    stop_fetching(table, followed, FOLLOW_DELAYED)
    followed.due_ns = due_ns
    list_append(table, followed, IN_DELAYED + delay)


cdef void followed_throttle(FollowedTable* table, Followed* followed) noexcept nogil:
    stop_fetching(table, followed, FOLLOW_THROTTLED)
    list_append(table, followed, IN_THROTTLED)


cdef void followed_unthrottle(FollowedTable* table, Followed* followed) noexcept nogil:
    list_remove(table, followed)
    set_state(table, followed, FOLLOW_FETCHING)
    followed_changed(table, followed)


cdef void forget_later(FollowedTable* table, Partition* partition) noexcept nogil:
    """Without memory it stays in the leader's session; what comes for it is not used."""
    cdef Partition** grown
    cdef int32_t wanted = table.forgotten_capacity * 2 + 16
    if table.forgotten_count == table.forgotten_capacity:
        grown = <Partition**>realloc(table.forgotten, <size_t>wanted * sizeof(Partition*))
        if grown == NULL:
            return
        table.forgotten = grown
        table.forgotten_capacity = wanted
    table.forgotten[table.forgotten_count] = partition_acquire(partition)
    table.forgotten_count += 1


cdef int64_t table_release_delayed(FollowedTable* table, int64_t now_ns) noexcept nogil:
    cdef Followed* followed
    cdef int64_t due_ns = 0
    cdef int32_t i
    for i in range(DELAYS):
        followed = table.delayed[i].first
        while followed != NULL and followed.due_ns <= now_ns:
            list_remove(table, followed)
            set_state(table, followed, FOLLOW_FETCHING)
            followed_changed(table, followed)
            followed = table.delayed[i].first
        if followed != NULL and (due_ns == 0 or followed.due_ns < due_ns):
            due_ns = followed.due_ns
    return due_ns


cdef void table_forget_session(FollowedTable* table) noexcept nogil:
    cdef int32_t i
    for i in range(table.count):
        table.all[i].in_session = False
        if table.all[i].state == FOLLOW_FETCHING:
            followed_changed(table, table.all[i])
    for i in range(table.forgotten_count):
        partition_release(table.forgotten[i])
    table.forgotten_count = 0
