"""What the ACLs allow the client of a connection, decided on its reactor; see authorization.pyx."""
from libc.stdint cimport int32_t, int64_t, uint32_t

from kafka_cy.authorizer.acl_index cimport AclWho
from kafka_cy.network.connection cimport Connection
from kafka_cy.network.denials cimport HOST_BYTES_MAX
from kafka_cy.network.metadata_image cimport TopicImage
from kafka_cy.network.request cimport Reactor, Request

cdef enum:
    VERDICTS_MIN = 8            # places in a connection's table, a quarter of which are used
    VERDICTS_MAX = 2048
    PROBES_MAX = 8              # places where a topic may be

cdef enum AclType:              # ResourceType of kafka_cy/authorizer/acls.py
    ACL_TOPIC = 2
    ACL_GROUP = 3
    ACL_CLUSTER = 4
    ACL_TRANSACTIONAL_ID = 5

cdef enum AclOperation:         # Operation there
    ACL_READ = 3
    ACL_WRITE = 4
    ACL_DESCRIBE = 8
    ACL_CLUSTER_ACTION = 9

# What the ACLs say of one topic.
cdef struct TopicVerdict:
    const TopicImage* topic     # NULL: none
    uint32_t allowed            # bits by operation
    uint32_t told               # of those that were denied and told

# Purpose: whom the ACLs are asked about, and what they said of the topics that this client uses. Owner: the reactor of its
# connection. Lifetime: from the first question until the connection ends, or its principal changes. Limit: VERDICTS_MAX
# places, 32 KiB. The verdicts hold for one image, and so for one state of the ACLs.
cdef struct ClientRights:
    AclWho who
    char[HOST_BYTES_MAX] host   # as host_text of kafka_cy/authorizer/acls.py writes it
    int64_t image_version
    uint32_t name_told          # hash of the last other resource whose denial was told
    int32_t topics_count
    uint32_t topics_mask        # the size of the table, less one
    TopicVerdict* topics        # a hash table

# Whether there is an authorizer. Without one everything is allowed, and nothing below needs to be called.
cdef inline bint has_authorizer(Reactor* reactor) noexcept nogil:
    return reactor.image.acls != NULL

# The state of the ACLs that a request sees; 0: there is no authorizer.
cdef inline int64_t acls_generation(Reactor* reactor) noexcept nogil:
    return reactor.image.acls.generation if reactor.image.acls != NULL else 0

# Whether the client may do that with a resource. Without memory nothing is allowed. A denial is told to the audit, unless `quiet`.
cdef bint request_allows(
    Reactor* reactor, Request* request, AclType kind, const char* name, int32_t size, AclOperation operation, bint quiet
) noexcept nogil
cdef bint request_allows_topic_now(
    Reactor* reactor, Request* request, const TopicImage* topic, AclOperation operation, bint quiet
) noexcept nogil


# The same for a topic that exists: the verdict is kept. With an authorizer.
cdef inline bint request_allows_topic(
    Reactor* reactor, Request* request, const TopicImage* topic, AclOperation operation, bint quiet
) noexcept nogil:
    cdef const ClientRights* rights = <const ClientRights*>request.connection.rights
    cdef const TopicVerdict* verdict
    if rights != NULL and rights.image_version == reactor.image.version:
        verdict = &rights.topics[topic.name_hash & rights.topics_mask]
        if verdict.topic == topic and verdict.allowed >> operation & 1:
            return True
    return request_allows_topic_now(reactor, request, topic, operation, quiet)


# Whether a client may use a group, as a member of it and for its offsets, as far as a reactor decides about it: what is denied
# is the control plane's, which tells it.
cdef inline bint request_allows_group(Reactor* reactor, Request* request, const char* group, int32_t size) noexcept nogil:
    return not has_authorizer(reactor) or request_allows(reactor, request, ACL_GROUP, group, size, ACL_READ, True)


# CLUSTER_ACTION on the cluster: the client is a broker.
cdef bint request_is_of_broker(Reactor* reactor, Request* request, bint quiet) noexcept nogil

# -- internal to the network layer --
# The connection ends, or its principal does.
cdef void rights_free(Connection* connection) noexcept nogil
