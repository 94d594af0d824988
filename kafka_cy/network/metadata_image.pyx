"""The metadata that reactors read: built by the control plane, published by swapping one pointer.

Readers (reactors) announce the image they use in `ReactorState.hazard` and clear it before they sleep. The publisher
frees a retired image once no reactor announces it. A reader announces, then loads the pointer again; the publisher swaps
the pointer, then reads the announcements. All of this is sequentially consistent, so either the publisher sees the
announcement or the reader sees the swap. If malloc reuses a freed address, it is the current image and therefore protected.
Replacing or clearing an announcement is a release, so all reads of an image precede its free. `make races` tests this.

The ACLs are part of an image, so a reactor reads them without a reference of its own, and a request sees one state of both.

Topics are shared between successive images by reference count, so publishing costs a pointer copy per unchanged topic. An image
with other ACLs shares everything else with the one before, so that a change of ACLs costs the same with any number of topics.
Only the control thread builds, publishes and frees.
"""
from bisect import bisect_left, insort
from typing import NamedTuple

from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcmp, memcpy

from kafka_cy.authorizer.acl_image cimport AclImage
from kafka_cy.authorizer.acl_index cimport acl_index_acquire, acl_index_release
from kafka_cy.base.atomics cimport atomic_exchange_pointer, atomic_load_pointer
from kafka_cy.base.hash cimport hash_of_bytes
from kafka_cy.base.hash_table cimport hash_table_free, hash_table_insert, hash_table_next, hash_table_reserve, hash_table_start
from kafka_cy.network.reactor_state cimport NetworkState, ReactorState
from kafka_cy.network.server cimport Server
from kafka_cy.storage.hosted_partition cimport HostedPartition
from kafka_cy.storage.partition cimport partition_acquire, partition_release


cdef TopicImage* image_find_topic(MetadataImage* image, const char* name, int32_t size) noexcept nogil:
    cdef TopicImage* topic
    cdef uint32_t hash, place
    cdef int32_t found
    if size <= 0 or size > TOPIC_NAME_BYTES_MAX:
        return NULL                     # no topic has such a name: skip hashing
    hash = hash_of_bytes(name, <size_t>size)
    place = hash_table_start(&image.by_name, hash)
    found = hash_table_next(&image.by_name, hash, &place)
    while found >= 0:
        topic = image.topics[found]
        if topic.name_size == size and memcmp(topic.name, name, <size_t>size) == 0:
            return topic
        found = hash_table_next(&image.by_name, hash, &place)
    return NULL


cdef TopicImage* image_find_topic_id(MetadataImage* image, const uint8_t* topic_id) noexcept nogil:
    cdef uint32_t hash = hash_of_bytes(topic_id, 16)
    cdef uint32_t place = hash_table_start(&image.by_id, hash)
    cdef int32_t found = hash_table_next(&image.by_id, hash, &place)
    while found >= 0:
        if memcmp(image.topics[found].topic_id, topic_id, 16) == 0:
            return image.topics[found]
        found = hash_table_next(&image.by_id, hash, &place)
    return NULL


cdef bint image_index(MetadataImage* image) noexcept nogil:
    """Fill the hash tables; False if memory is short."""
    cdef uint32_t count = <uint32_t>image.topics_count
    cdef int32_t i
    if hash_table_reserve(&image.by_name, count) < 0 or hash_table_reserve(&image.by_id, count) < 0:
        return False
    for i in range(image.topics_count):
        hash_table_insert(&image.by_name, image.topics[i].name_hash, i)
        hash_table_insert(&image.by_id, image.topics[i].id_hash, i)
    return True


cdef MetadataImage* image_empty() noexcept nogil:
    cdef MetadataImage* image = <MetadataImage*>calloc(1, sizeof(MetadataImage))
    if image != NULL:
        image.broker_id = -1
        image.controller_id = -1
    return image


cdef void topic_release(TopicImage* topic) noexcept nogil:
    cdef int32_t i
    topic.references -= 1
    if topic.references:
        return
    for i in range(topic.partitions_count):
        if topic.partitions[i].partition != NULL:
            partition_release(topic.partitions[i].partition)
    free(topic.partitions)          # the replica lists share this allocation
    free(topic)


cdef void image_free(MetadataImage* image) noexcept nogil:
    cdef BrokerImage* broker
    cdef int32_t i
    cdef int32_t j
    if image == NULL:
        return
    acl_index_release(image.acls)
    if image.sharers != NULL:
        image.sharers[0] -= 1
        if image.sharers[0]:
            free(image)
            return
    for i in range(image.topics_count):
        topic_release(image.topics[i])
    for i in range(image.brokers_count):
        broker = &image.brokers[i]
        for j in range(broker.listeners_count):
            if broker.hosts != NULL:
                free(broker.hosts[j])
        free(broker.rack)
        free(broker.hosts)
        free(broker.host_sizes)
        free(broker.ports)
    hash_table_free(&image.by_name)
    hash_table_free(&image.by_id)
    free(image.sharers)
    free(image.brokers)
    free(image.topics)
    free(image)


class TopicMetadata(NamedTuple):
    """A topic as reactors see it.

    `partitions` holds (index, leader, leader_epoch, replicas, isr, offline, HostedPartition | None) per partition.
    """

    name: str
    topic_id: bytes
    internal: bool
    partitions: list


cdef char* copy_text(bytes text) except NULL:
    cdef char* copied = <char*>malloc(<size_t>len(text) + 1)
    if copied == NULL:
        raise MemoryError
    memcpy(copied, <const char*>text, <size_t>len(text) + 1)
    return copied


cdef int32_t* write_numbers(int32_t* at, list numbers, int32_t** start, int32_t* count):
    start[0] = at
    count[0] = <int32_t>len(numbers)
    for number in numbers:
        at[0] = number
        at += 1
    return at


cdef class TopicHandle:
    """One reference held by the publisher to a topic image."""

    cdef TopicImage* topic

    def __dealloc__(self):
        if self.topic != NULL:
            topic_release(self.topic)


cdef TopicHandle topic_build(topic_metadata):
    cdef TopicHandle handle = TopicHandle()
    cdef TopicImage* topic
    cdef PartitionImage* each
    cdef int32_t* numbers
    cdef Py_ssize_t numbers_count = 0
    cdef int32_t count = 0
    cdef int32_t i
    name, topic_id, internal, partitions = topic_metadata
    cdef bytes name_bytes = name.encode()
    cdef bytes id_bytes = getattr(topic_id, "bytes", topic_id)
    if not 0 < len(name_bytes) <= TOPIC_NAME_BYTES_MAX or len(id_bytes) != 16:
        raise ValueError(f"topic {name!r}: invalid name or id")
    for index, _, _, replicas, isr, offline, _ in partitions:
        count = max(count, <int32_t>index + 1)
        numbers_count += len(replicas) + len(isr) + len(offline)
    topic = <TopicImage*>calloc(1, sizeof(TopicImage))
    if topic == NULL:
        raise MemoryError
    topic.references = 1
    handle.topic = topic
    topic.name_size = <int32_t>len(name_bytes)
    memcpy(topic.name, <const char*>name_bytes, <size_t>len(name_bytes))
    memcpy(topic.topic_id, <const char*>id_bytes, 16)
    topic.name_hash = hash_of_bytes(topic.name, <size_t>topic.name_size)
    topic.id_hash = hash_of_bytes(topic.topic_id, 16)
    topic.internal = internal
    topic.partitions = <PartitionImage*>calloc(
        1, <size_t>count * sizeof(PartitionImage) + <size_t>numbers_count * sizeof(int32_t) + 1
    )
    if topic.partitions == NULL:
        raise MemoryError
    topic.partitions_count = count
    numbers = <int32_t*>(topic.partitions + count)
    for i in range(count):
        topic.partitions[i].index = i
        topic.partitions[i].leader = -1
        topic.partitions[i].replicas = numbers
        topic.partitions[i].isr = numbers
        topic.partitions[i].offline = numbers
    for index, leader, leader_epoch, replicas, isr, offline, hosted in partitions:
        if index < 0:
            raise ValueError(f"topic {name!r}: negative partition index")
        each = &topic.partitions[<int32_t>index]
        each.leader = leader
        each.leader_epoch = leader_epoch
        numbers = write_numbers(numbers, list(replicas), &each.replicas, &each.replicas_count)
        numbers = write_numbers(numbers, list(isr), &each.isr, &each.isr_count)
        numbers = write_numbers(numbers, list(offline), &each.offline, &each.offline_count)
        if hosted is not None:
            each.partition = partition_acquire((<HostedPartition?>hosted).partition)
    return handle


cdef class ImagePublisher:
    """Builds metadata images for a server's reactors. Owner: the control thread.

    `set_brokers`, `set_topics` and `set_acls` collect changes; `publish` makes them visible to all reactors at once. `publish_acls`
    makes ACLs visible without what is collected.
    """

    cdef Server server
    cdef dict topics            # name (bytes) -> TopicHandle
    cdef list names             # sorted
    cdef object brokers         # (cluster id, broker id, controller id, brokers)
    cdef AclImage acls          # None: there is no authorizer
    cdef list retired           # images (as int) that some reactor may still use
    cdef int64_t version

    def __init__(self, Server server not None):
        self.server = server
        self.topics = {}
        self.names = []
        self.brokers = ("", -1, -1, [])
        self.retired = []

    def set_brokers(self, cluster_id, int32_t broker_id, int32_t controller_id, brokers):
        """Set the brokers; each is (id, rack or None, [(host, port) or None per listener])."""
        self.brokers = (cluster_id, broker_id, controller_id, list(brokers))

    def set_topics(self, changed, removed):
        """Set topics: `changed` holds TopicMetadata of new and changed topics, `removed` holds names."""
        for name in removed:
            key = name.encode()
            if self.topics.pop(key, None) is not None:
                del self.names[bisect_left(self.names, key)]
        for topic in changed:
            key = topic[0].encode()
            if key not in self.topics:
                insort(self.names, key)
            self.topics[key] = topic_build(topic)

    def set_acls(self, AclImage acls):
        """Set the ACLs that decide about requests; None: there is no authorizer."""
        self.acls = acls

    def publish(self):
        """Make the collected changes visible; earlier images are freed once no reactor uses them."""
        self.show(self.build())

    def publish_acls(self, AclImage acls not None):
        """Make other ACLs visible. Brokers and topics are those of the last `publish`. After an exception nothing has changed."""
        cdef MetadataImage* last = <MetadataImage*>self.server.network.image
        cdef MetadataImage* image
        if last.sharers == NULL:            # nothing was published
            self.acls = acls
            self.publish()
            return
        image = <MetadataImage*>malloc(sizeof(MetadataImage))
        if image == NULL:
            raise MemoryError
        memcpy(image, last, sizeof(MetadataImage))
        image.sharers[0] += 1
        image.acls = acl_index_acquire(acls.index)
        self.version += 1
        image.version = self.version
        self.acls = acls
        self.show(image)

    cdef void show(self, MetadataImage* image):
        cdef void* old = atomic_exchange_pointer(&self.server.network.image, image)
        self.retired.append(<size_t>old)
        self.free_retired()

    def retired_count(self):
        """Return the number of retired images that a reactor still uses (for tests and metrics)."""
        self.free_retired()
        return len(self.retired)

    cdef MetadataImage* build(self) except NULL:
        cdef MetadataImage* image = image_empty()
        cdef TopicHandle handle
        cdef int32_t count = 0
        cdef bytes cluster_id = self.brokers[0].encode()
        if image == NULL:
            raise MemoryError
        try:
            if len(cluster_id) >= 64:
                raise ValueError("cluster id is too long")
            memcpy(image.cluster_id, <const char*>cluster_id, <size_t>len(cluster_id))
            image.cluster_id_size = <int32_t>len(cluster_id)
            image.broker_id = self.brokers[1]
            image.controller_id = self.brokers[2]
            self.version += 1
            image.version = self.version
            image.sharers = <int32_t*>malloc(sizeof(int32_t))
            if image.sharers == NULL:
                raise MemoryError
            image.sharers[0] = 1
            if self.acls is not None:
                image.acls = acl_index_acquire(self.acls.index)
            image.topics = <TopicImage**>calloc(<size_t>len(self.names) + 1, sizeof(void*))
            image.brokers = <BrokerImage*>calloc(<size_t>len(self.brokers[3]) + 1, sizeof(BrokerImage))
            if image.topics == NULL or image.brokers == NULL:
                raise MemoryError
            for name in self.names:
                handle = <TopicHandle>self.topics[name]
                handle.topic.references += 1
                image.topics[count] = handle.topic
                count += 1
                image.topics_count = count
            for broker in self.brokers[3]:
                image.brokers_count += 1
                broker_build(&image.brokers[image.brokers_count - 1], broker)
            if not image_index(image):
                raise MemoryError
        except BaseException:
            image_free(image)
            raise
        return image

    cdef void free_retired(self):
        cdef NetworkState* network = self.server.network
        cdef ReactorState* reactor
        cdef list kept = []
        cdef size_t image
        cdef int i
        in_use = set()
        for i in range(network.reactors_count):
            reactor = <ReactorState*>network.reactors[i]
            in_use.add(<size_t>atomic_load_pointer(&reactor.hazard))
        for image in self.retired:
            if image in in_use:
                kept.append(image)
            else:
                image_free(<MetadataImage*>image)
        self.retired = kept


cdef int broker_build(BrokerImage* image, broker) except -1:
    cdef bytes text
    cdef int i
    broker_id, rack, listeners = broker
    image.id = broker_id
    image.rack_size = -1
    if rack is not None:
        text = rack.encode()
        image.rack = copy_text(text)
        image.rack_size = <int32_t>len(text)
    image.hosts = <char**>calloc(<size_t>len(listeners) + 1, sizeof(char*))
    image.host_sizes = <int32_t*>calloc(<size_t>len(listeners) + 1, sizeof(int32_t))
    image.ports = <int32_t*>calloc(<size_t>len(listeners) + 1, sizeof(int32_t))
    if image.hosts == NULL or image.host_sizes == NULL or image.ports == NULL:
        raise MemoryError
    image.listeners_count = <int32_t>len(listeners)
    for i, listener in enumerate(listeners):
        if listener is not None:
            text = listener[0].encode()
            image.hosts[i] = copy_text(text)
            image.host_sizes[i] = <int32_t>len(text)
            image.ports[i] = listener[1]
    return 0
