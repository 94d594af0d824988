"""The immutable C image of cluster metadata that reactors read; published by swapping a pointer. See metadata_image.pyx."""
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t

from kafka_cy.authorizer.acl_index cimport AclIndex
from kafka_cy.base.hash_table cimport HashTable
from kafka_cy.storage.partition cimport Partition

cdef enum:
    TOPIC_NAME_BYTES_MAX = 249

cdef struct PartitionImage:
    int32_t index
    int32_t leader          # -1 none
    int32_t leader_epoch
    int32_t* replicas
    int32_t replicas_count
    int32_t* isr
    int32_t isr_count
    int32_t* offline
    int32_t offline_count
    Partition* partition    # one reference; NULL: not hosted here

# One topic; immutable, reference counted, shared between successive images.
cdef struct TopicImage:
    int32_t references
    uint32_t name_hash
    uint32_t id_hash
    uint8_t topic_id[16]
    int32_t name_size
    char name[TOPIC_NAME_BYTES_MAX + 1]
    bint internal
    int32_t partitions_count
    PartitionImage* partitions      # by index, dense

cdef struct BrokerImage:
    int32_t id
    int32_t rack_size               # -1 null
    char* rack
    int32_t listeners_count
    char** hosts                    # by listener index (same order on every broker); NULL: not on this listener
    int32_t* host_sizes
    int32_t* ports

cdef struct MetadataImage:
    char cluster_id[64]
    int32_t cluster_id_size
    int32_t broker_id               # ours
    int32_t controller_id
    int64_t version
    int32_t brokers_count
    BrokerImage* brokers
    int32_t topics_count
    TopicImage** topics             # sorted by name (bytewise)
    HashTable by_name               # positions in `topics`
    HashTable by_id
    AclIndex* acls                  # one reference; NULL: there is no authorizer, and everything is allowed
    int32_t* sharers                # how many images have these brokers, topics and tables, which differ in the ACLs only

cdef TopicImage* image_find_topic(MetadataImage* image, const char* name, int32_t size) noexcept nogil      # NULL unknown
cdef TopicImage* image_find_topic_id(MetadataImage* image, const uint8_t* topic_id) noexcept nogil          # NULL unknown
cdef inline PartitionImage* topic_partition(TopicImage* topic, int32_t index) noexcept nogil:
    if index < 0 or index >= topic.partitions_count:
        return NULL
    return &topic.partitions[index]

cdef MetadataImage* image_empty() noexcept nogil                # no brokers, no topics: used before the first publish
cdef void image_free(MetadataImage* image) noexcept nogil       # drops its references to topics
