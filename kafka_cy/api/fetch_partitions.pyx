"""Lists the partitions that a fetch reads.

A full fetch reads the partitions that the request names. An incremental fetch (KIP-227) changes its session by what the
request names, and reads all partitions of the session.

With an authorizer, each fetch asks the ACLs about all topics that it reads, those of its session, too. What is denied is like a
partition that is not here: it is never read.

A session does not store names that no topic can have. They get UNKNOWN_TOPIC_OR_PARTITION in the response to the request
that names them. (Apache Kafka stores them and repeats the error in every response.)

A session is its principal's: for others it does not exist. (In Apache Kafka whoever knows its id can use and remove it.)

Two requests that use a session at the same time: the later one gets INVALID_FETCH_SESSION_EPOCH. In Apache Kafka it waits
for the session's lock, and then one of the two gets this error, because both carry the same epoch, or the first one's
epoch has passed when its response is made. So no reactor waits for another one.
"""
from libc.stdint cimport int32_t, int64_t, uint8_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

from kafka_cy.api.topic_authorization cimport topic_is_allowed
from kafka_cy.api.error_codes cimport (
    ERROR_FETCH_SESSION_ID_NOT_FOUND, ERROR_FETCH_SESSION_TOPIC_ID_ERROR, ERROR_INVALID_FETCH_SESSION_EPOCH,
    ERROR_NOT_LEADER_OR_FOLLOWER, ERROR_TOPIC_AUTHORIZATION_FAILED, ERROR_UNKNOWN_TOPIC_ID, ERROR_UNKNOWN_TOPIC_OR_PARTITION,
)
from kafka_cy.api.fetch cimport FetchItem
from kafka_cy.api.fetch_request cimport AskedPartition, read_asked_partition, walk_asked, walk_forgotten
from kafka_cy.api.fetch_session cimport (
    SESSION_ENDED, FetchSession, SessionPartition, SessionTopic, session_epoch, session_find_topic, session_forget,
    session_next_epoch, session_put, session_release, session_set, session_set_epoch, session_topic, session_trylock,
    session_unlock,
)
from kafka_cy.api.fetch_session_cache cimport cache_refuse, session_acquire, session_remove
from kafka_cy.api.topic_key cimport TopicKey, find_topic
from kafka_cy.api.topic_name cimport topic_name_is_legal
from kafka_cy.api.named_partitions cimport NamedPartition, NamedPartitions, named_add, named_of
from kafka_cy.api.topic_walk cimport TopicWalk, read_again, walk_next
from kafka_cy.base.atomics cimport atomic_add_i32, atomic_store_i64
from kafka_cy.network.authorization cimport ACL_READ, acls_generation, has_authorizer, request_is_of_broker
from kafka_cy.network.metadata_image cimport PartitionImage, TopicImage, topic_partition
from kafka_cy.network.principal cimport principal_is
from kafka_cy.network.throttle cimport throttle_fetch_max
from kafka_cy.records.wire cimport Reader, read_int32
from kafka_cy.storage.partition_leader cimport FETCHED_UNKNOWN


cdef TopicImage denied_topic            # instead of a topic that the ACLs deny: it has no partitions
memset(&denied_topic, 0, sizeof(denied_topic))


cdef void begin_authorized(Reactor* reactor, Request* request, Fetch* fetch) noexcept nogil:
    fetch.acls_generation = acls_generation(reactor)
    fetch.broker_denied = fetch.replica_id >= 0 and not request_is_of_broker(reactor, request, False)


cdef TopicImage* authorized(
    Reactor* reactor, Request* request, Fetch* fetch, TopicKey* key, TopicImage* topic
) noexcept nogil:
    """The topic, or `denied_topic`. A broker needs CLUSTER_ACTION, or all is denied (KafkaApis.handleFetchRequest)."""
    cdef bint denied
    if fetch.replica_id >= 0:
        denied = fetch.broker_denied
    else:
        denied = not topic_is_allowed(reactor, request, key, topic, ACL_READ)
    return &denied_topic if denied else topic


cdef void find_partition(FetchItem* item, TopicImage* topic) noexcept nogil:
    """Notes what the metadata says of the partition; `topic` is its topic, NULL: unknown."""
    cdef PartitionImage* known = topic_partition(topic, item.index) if topic != NULL else NULL
    item.partition = NULL
    item.leader = -1
    item.leader_epoch = -1
    item.missing_error = ERROR_UNKNOWN_TOPIC_OR_PARTITION
    if topic == NULL and item.key.by_id:
        item.missing_error = ERROR_UNKNOWN_TOPIC_ID
    if known == NULL:
        if topic == &denied_topic:
            item.missing_error = ERROR_TOPIC_AUTHORIZATION_FAILED
        return
    item.leader = known.leader
    item.leader_epoch = known.leader_epoch
    item.partition = known.partition
    item.missing_error = ERROR_NOT_LEADER_OR_FOLLOWER


cdef FetchItem* add_item(Fetch* fetch, TopicKey* key, AskedPartition* asked) noexcept nogil:
    cdef FetchItem* item = &fetch.items[fetch.count]
    memset(item, 0, sizeof(FetchItem))
    item.key = key[0]
    if key.by_id:
        memcpy(item.topic_id, key.topic_id, 16)
        item.key.topic_id = item.topic_id
    item.index = asked.index
    item.session_entry = -1
    item.found = FETCHED_UNKNOWN
    item.current_leader_epoch = asked.current_leader_epoch
    item.last_fetched_epoch = asked.last_fetched_epoch
    item.fetch_offset = asked.fetch_offset
    item.max_bytes = asked.max_bytes
    item.start_offset = asked.start_offset
    fetch.count += 1
    if fetch.last == NULL:
        fetch.first = item
    else:
        fetch.last.next = item
    fetch.last = item
    return item


cdef int items_of_request(Reactor* reactor, Request* request, FetchHeader* header, Fetch* fetch) noexcept nogil:
    """Full fetch: lists the partitions that the request names. Of two mentions the later one counts. 1: no memory."""
    cdef Reader r
    cdef TopicWalk walk
    cdef AskedPartition asked
    cdef NamedPartitions* named = named_of(reactor.id)
    cdef const uint8_t* at
    read_again(&r, request, header.topics)
    walk_asked(&walk, &r, fetch.version)
    while walk_next(&walk):
        at = walk.r.position
        read_asked_partition(&walk.r, fetch.version, &asked)
        if named_add(named, &walk.key, asked.index, at):
            return 1
    items_of_named(reactor, request, fetch, named)
    return 0


cdef inline void items_of_named(Reactor* reactor, Request* request, Fetch* fetch, NamedPartitions* named) noexcept nogil:
    """Lists the named partitions."""
    cdef Reader r
    cdef AskedPartition asked
    cdef NamedPartition* partition = named.partitions
    cdef NamedPartition* end = partition + named.partitions_count
    cdef TopicKey* key = NULL
    cdef TopicImage* topic = NULL
    cdef int32_t topic_number = -1
    while partition != end:
        read_again(&r, request, partition.at)
        read_asked_partition(&r, fetch.version, &asked)
        if partition.topic != topic_number:         # neighbours are mostly of one topic
            topic_number = partition.topic
            key = &named.topics[topic_number].key
            topic = find_topic(reactor.image, key)
            if has_authorizer(reactor):
                topic = authorized(reactor, request, fetch, key, topic)
        find_partition(add_item(fetch, key, &asked), topic)
        partition += 1


cdef int update_topic(FetchSession* session, TopicKey* key, SessionTopic** topic) noexcept nogil:
    """Finds or adds a topic; NULL: no topic can have this name. 1: beyond a limit, or no memory."""
    topic[0] = session_find_topic(session, key)
    if topic[0] != NULL or not (key.by_id or topic_name_is_legal(key.name, key.name_size)):
        return 0
    topic[0] = session_topic(session, key)
    return topic[0] == NULL


cdef int update_session(
    Reactor* reactor, Request* request, FetchHeader* header, Fetch* fetch, FetchSession* session, NamedPartitions** illegal
) noexcept nogil:
    """Notes in the session what changed since the last fetch. The session's lock is held.

    `illegal` gets the partitions that have an illegal name; NULL: none. 1: beyond a limit, or no memory.
    """
    cdef Reader r
    cdef TopicWalk walk
    cdef AskedPartition asked
    cdef SessionPartition* partition
    cdef SessionTopic* topic = NULL
    cdef const uint8_t* at
    cdef int32_t index
    cdef int32_t count = session.count
    illegal[0] = NULL
    read_again(&r, request, header.topics)
    walk_asked(&walk, &r, fetch.version)
    while walk_next(&walk):
        at = walk.r.position
        read_asked_partition(&walk.r, fetch.version, &asked)
        if walk.first_of_topic and update_topic(session, &walk.key, &topic):
            return 1
        if topic == NULL:
            if illegal[0] == NULL:
                illegal[0] = named_of(reactor.id)
            if named_add(illegal[0], &walk.key, asked.index, at):
                return 1
            continue
        partition = session_put(session, topic, asked.index)
        if partition == NULL:
            return 1
        session_set(partition, &asked)
    fetch.session_changed = session.count != count
    read_again(&r, request, header.forgotten)
    walk_forgotten(&walk, &r, fetch.version)
    while walk_next(&walk):
        fetch.session_changed = True
        if walk.first_of_topic:
            topic = session_find_topic(session, &walk.key)
        index = read_int32(&walk.r)
        if topic != NULL and session_forget(session, topic, index):
            topic = NULL
    return 0


cdef void items_of_session(Reactor* reactor, Request* request, Fetch* fetch, FetchSession* session) noexcept nogil:
    """Lists all partitions of the session, in its order. The session's lock is held."""
    cdef SessionPartition* partition
    cdef AskedPartition asked
    cdef TopicKey key
    cdef SessionTopic* current = NULL
    cdef TopicImage* topic = NULL
    cdef FetchItem* item
    cdef int32_t entry = session.first
    while entry != -1:
        partition = &session.partitions[entry]
        if partition.topic != current:                # neighbours are mostly of one topic
            current = partition.topic
            key.by_id = current.by_id
            key.topic_id = current.topic_id
            key.name = current.name
            key.name_size = current.name_size
            topic = find_topic(reactor.image, &key)
            if has_authorizer(reactor):
                topic = authorized(reactor, request, fetch, &key, topic)
        asked.index = partition.index
        asked.current_leader_epoch = partition.current_leader_epoch
        asked.last_fetched_epoch = partition.last_fetched_epoch
        asked.fetch_offset = partition.fetch_offset
        asked.max_bytes = partition.max_bytes
        asked.start_offset = partition.start_offset
        item = add_item(fetch, &key, &asked)
        item.session_entry = entry
        find_partition(item, topic)
        if item.partition != NULL and not key.by_id:
            item.key.name = item.partition.topic
        elif not key.by_id:
            item.session_topic = current          # another request may change the session meanwhile
            atomic_add_i32(&item.session_topic.references, 1)
        entry = partition.next


cdef int make_room(Fetch** made, int32_t count) noexcept nogil:
    """Makes room for `count` partitions in a fetch that has none yet. 1: no memory."""
    cdef Fetch* larger
    if count <= made[0].capacity:
        return 0
    larger = <Fetch*>malloc(sizeof(Fetch) + sizeof(FetchItem) * <size_t>count)
    if larger == NULL:
        return 1
    memcpy(larger, made[0], sizeof(Fetch))
    larger.capacity = count
    larger.items = <FetchItem*>(larger + 1)
    free(made[0])
    made[0] = larger
    return 0


cdef bint continue_session(
    Reactor* reactor, Request* request, FetchHeader* header, Fetch** made, FetchSession* session
) noexcept nogil:
    """Updates the session and lists its partitions. The session's lock is held.

    Returns whether the session ends: it contains nothing any more, or what it should contain exceeds a limit. Then other
    requests that wait with it get INVALID_FETCH_SESSION_EPOCH.
    """
    cdef NamedPartitions* illegal = NULL
    cdef int failed
    if session_epoch(session) != header.session_epoch:
        made[0].error = ERROR_INVALID_FETCH_SESSION_EPOCH
        return False
    if session.by_id != made[0].by_id:
        made[0].error = ERROR_FETCH_SESSION_TOPIC_ID_ERROR
        return False
    session.standing = 0                # another fetch than the standing one works with it
    failed = update_session(reactor, request, header, made[0], session, &illegal)
    if failed or make_room(made, session.count + (illegal.partitions_count if illegal != NULL else 0)):
        made[0].error = ERROR_FETCH_SESSION_ID_NOT_FOUND
        session_set_epoch(session, SESSION_ENDED)
        return True
    if session.count > 0:
        session_set_epoch(session, session_next_epoch(session.epoch))
        atomic_store_i64(&session.used_ms, reactor.now_ms)
        atomic_add_i32(&session.references, 1)
        made[0].session = session
        made[0].session_epoch_next = session.epoch
        items_of_session(reactor, request, made[0], session)
    else:
        session_set_epoch(session, SESSION_ENDED)
    if illegal != NULL:
        items_of_named(reactor, request, made[0], illegal)
    return session.count == 0


cdef FetchSession* own_session(Request* request, int32_t session_id) noexcept nogil:
    """The session, with a reference; NULL: unknown, or another principal's: who guesses its id neither sees nor changes it."""
    cdef FetchSession* session = session_acquire(session_id)
    if session != NULL and not principal_is(session.principal, request.connection.principal):
        session_release(session)
        return NULL
    return session


cdef void begin_incremental(Reactor* reactor, Request* request, FetchHeader* header, Fetch** made) noexcept nogil:
    """Finds the session, updates it, and lists its partitions."""
    cdef FetchSession* session = own_session(request, header.session_id)
    cdef bint ends = False
    if session == NULL:
        made[0].error = ERROR_FETCH_SESSION_ID_NOT_FOUND
        return
    # Only a request with the right epoch takes the lock, so that others cannot keep it from one that responds.
    if session_epoch(session) != header.session_epoch:
        made[0].error = ERROR_INVALID_FETCH_SESSION_EPOCH
    elif session_trylock(session):
        ends = continue_session(reactor, request, header, made, session)
        session_unlock(session)
    else:
        made[0].error = ERROR_INVALID_FETCH_SESSION_EPOCH
    if ends:
        session_remove(session)
    session_release(session)
    if ends and made[0].error:
        cache_refuse(reactor.now_ms)


cdef int fetch_begin(
    Reactor* reactor, Request* request, FetchHeader* header, int32_t response_bytes_max, Fetch** made
) noexcept nogil:
    cdef Fetch* fetch = made[0]
    cdef FetchSession* session
    fetch_set(reactor, request, header, response_bytes_max, fetch)
    if has_authorizer(reactor):
        begin_authorized(reactor, request, fetch)
    if header.session_epoch > 0 or header.session_epoch < -1:
        begin_incremental(reactor, request, header, made)
        return 0
    if header.session_id != 0:
        session = own_session(request, header.session_id)
        if session != NULL:
            session_remove(session)
            session_release(session)
    fetch.create_session = header.session_epoch == 0
    return items_of_request(reactor, request, header, fetch)


cdef void fetch_set(
    Reactor* reactor, Request* request, FetchHeader* header, int32_t response_bytes_max, Fetch* fetch
) noexcept nogil:
    fetch.version = request.api_version
    fetch.flexible = request.api_version >= 12
    fetch.by_id = request.api_version >= 13
    fetch.replica_id = header.replica_id
    fetch.replica_epoch = header.replica_epoch
    fetch.max_wait_ms = header.max_wait_ms
    fetch.max_bytes = header.max_bytes if header.max_bytes < response_bytes_max else response_bytes_max
    if header.replica_id < 0:
        fetch.max_bytes = <int32_t>min(<int64_t>fetch.max_bytes, throttle_fetch_max(reactor, request))
    fetch.min_bytes = header.min_bytes if header.min_bytes < fetch.max_bytes else fetch.max_bytes
    fetch.isolation_level = header.isolation_level
    fetch.session_id = header.session_id
    fetch.session_epoch = header.session_epoch
