"""Asks the ACLs of the metadata image about the requests that reactors answer themselves.

All functions run on the connection's reactor. They take no locks, except that of the denials
(denials.pxd) to tell one. The other requests of a broker
with an authorizer go to the control plane, which asks the same ACLs (dispatch.pyx).

A look-up costs some 850 instructions, a fifth of the smallest Fetch. So what the ACLs say about a topic is kept with the
connection, for all operations, until the next image: the ACLs are a part of the image, so a right that is revoked is gone from the
first request that sees the image without it. What finds no room is looked up again each time.
"""
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t
from libc.stdio cimport snprintf
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset, strlen

from kafka_cy.authorizer.acl_index cimport AclIndex, acl_allowed, acl_allows, acl_who_init
from kafka_cy.base.atomics cimport atomic_add_relaxed_i64, atomic_load_relaxed_i64
from kafka_cy.base.hash cimport hash_of_bytes, hash_of_pair
from kafka_cy.base.posix cimport AF_INET6
from kafka_cy.network.connection cimport connection_host
from kafka_cy.network.denials cimport (
    DENIAL_CLIENT_ID_BYTES_MAX, DENIAL_TEXT_BYTES_MAX, Denial, denials_add, denials_has_room,
)
from kafka_cy.network.openssl cimport SHA256
from kafka_cy.network.reactor_state cimport ReactorState

cdef const char* CLUSTER_NAME = b"kafka-cluster"
cdef const char* ANONYMOUS = b"ANONYMOUS"

cdef int64_t looks = 0              # (a) at the index of ACLs, by all reactors


# -- who asks --

cdef void write_host(Connection* connection, char* text) noexcept nogil:
    """The address as Java's InetAddress.getHostAddress writes it: all eight groups of an IPv6 address, without leading zeros.

    An IPv4 client of a dual-stack listener is an IPv4 client (accept.pyx).
    """
    cdef uint8_t* at = connection.address
    if connection.family != AF_INET6:
        connection_host(connection, text, HOST_BYTES_MAX)
        return
    snprintf(
        text, HOST_BYTES_MAX, "%x:%x:%x:%x:%x:%x:%x:%x", at[0] << 8 | at[1], at[2] << 8 | at[3], at[4] << 8 | at[5],
        at[6] << 8 | at[7], at[8] << 8 | at[9], at[10] << 8 | at[11], at[12] << 8 | at[13], at[14] << 8 | at[15],
    )


cdef ClientRights* rights_begin(Connection* connection) noexcept nogil:
    """NULL without memory."""
    cdef ClientRights* rights = <ClientRights*>calloc(1, sizeof(ClientRights))
    cdef const char* user = ANONYMOUS
    cdef int32_t user_size = <int32_t>strlen(ANONYMOUS)
    if rights == NULL:
        return NULL
    rights.topics_mask = VERDICTS_MIN - 1
    rights.topics = <TopicVerdict*>calloc(VERDICTS_MIN, sizeof(TopicVerdict))
    if rights.topics == NULL:
        free(rights)
        return NULL
    write_host(connection, rights.host)
    if connection.principal != NULL:
        user = connection.principal.name
        user_size = connection.principal.size
    acl_who_init(&rights.who, user, user_size, rights.host, <int32_t>strlen(rights.host))
    connection.rights = rights
    return rights


cdef ClientRights* rights_of(Reactor* reactor, Connection* connection) noexcept nogil:
    """With verdicts of the present image only. NULL without memory."""
    cdef ClientRights* rights = <ClientRights*>connection.rights
    if rights == NULL:
        rights = rights_begin(connection)
        if rights == NULL:
            return NULL
    if rights.image_version != reactor.image.version:
        if rights.topics_count:
            memset(rights.topics, 0, (<size_t>rights.topics_mask + 1) * sizeof(TopicVerdict))
        rights.topics_count = 0
        rights.name_told = 0
        rights.image_version = reactor.image.version
    return rights


cdef void rights_free(Connection* connection) noexcept nogil:
    cdef ClientRights* rights = <ClientRights*>connection.rights
    connection.rights = NULL
    if rights != NULL:
        free(rights.topics)
        free(rights)


# -- what the audit is told --

cdef void keep_text(const char* text, int32_t size, char* kept, uint8_t* digest) noexcept nogil:
    """Its beginning, and of a longer one the digest of all of it: a user chooses the end, and must not look like another one."""
    memcpy(kept, text, <size_t>min(size, <int32_t>DENIAL_TEXT_BYTES_MAX))
    if size > DENIAL_TEXT_BYTES_MAX:
        SHA256(<const uint8_t*>text, <size_t>size, digest)


cdef void tell_denial(
    ReactorState* state, Request* request, ClientRights* rights, AclType kind, const char* name, int32_t size,
    AclOperation operation
) noexcept nogil:
    cdef Denial denial
    cdef const char* client_id = request.client_id
    cdef int32_t client_id_size = request.client_id_size
    if client_id == NULL:               # A request that has waited keeps only its size.
        client_id = request.connection.client_id
        client_id_size = request.connection.client_id_size
    if not denials_has_room(&state.network.denials, rights.who.user_hash):
        return
    memset(&denial, 0, sizeof(Denial))
    denial.acls_generation = state.shared.image.acls.generation
    denial.user_hash = rights.who.user_hash
    denial.api_key = request.api_key
    denial.operation = operation
    denial.resource_type = kind
    denial.user_size = rights.who.user_size
    denial.name_size = size
    denial.client_id_size = min(client_id_size, <int32_t>DENIAL_CLIENT_ID_BYTES_MAX)
    memcpy(denial.host, rights.host, sizeof(rights.host))
    keep_text(rights.who.user, rights.who.user_size, denial.user, denial.user_digest)
    keep_text(name, size, denial.name, denial.name_digest)
    if denial.client_id_size > 0:
        memcpy(denial.client_id, client_id, <size_t>denial.client_id_size)
    denials_add(&state.network.denials, &denial)


# -- verdicts --

cdef bint request_allows(
    Reactor* reactor, Request* request, AclType kind, const char* name, int32_t size, AclOperation operation, bint quiet
) noexcept nogil:
    cdef const AclIndex* acls = reactor.image.acls
    cdef ClientRights* rights
    cdef uint32_t told
    if acls == NULL:
        return True
    rights = rights_of(reactor, request.connection)
    if rights == NULL:
        return False
    atomic_add_relaxed_i64(&looks, 1)
    if acl_allows(acls, &rights.who, kind, name, size, operation):
        return True
    if not quiet:
        told = hash_of_pair(hash_of_bytes(name, <size_t>size), <uint32_t>(kind << 8 | operation))
        if told != rights.name_told:
            rights.name_told = told
            tell_denial(<ReactorState*>reactor.private_state, request, rights, kind, name, size, operation)
    return False


cdef bint request_is_of_broker(Reactor* reactor, Request* request, bint quiet) noexcept nogil:
    return request_allows(
        reactor, request, ACL_CLUSTER, CLUSTER_NAME, <int32_t>strlen(CLUSTER_NAME), ACL_CLUSTER_ACTION, quiet
    )


cdef TopicVerdict* place_of(ClientRights* rights, const TopicImage* topic) noexcept nogil:
    """Where the topic's verdict is to be kept: a free place, or one that another topic loses."""
    cdef uint32_t place = topic.name_hash
    cdef int i
    for i in range(PROBES_MAX):  # no-cython-lint
        if rights.topics[place & rights.topics_mask].topic == NULL:
            rights.topics_count += 1
            return &rights.topics[place & rights.topics_mask]
        place += 1
    return &rights.topics[topic.name_hash & rights.topics_mask]


cdef void make_room(ClientRights* rights) noexcept nogil:
    """Room for one topic more, if the limit and the memory allow it."""
    cdef uint32_t size = rights.topics_mask + 1
    cdef TopicVerdict* old = rights.topics
    cdef TopicVerdict* larger
    cdef uint32_t i
    if 4 * <uint32_t>(rights.topics_count + 1) <= size or 2 * size > VERDICTS_MAX:
        return
    larger = <TopicVerdict*>calloc(2 * size, sizeof(TopicVerdict))
    if larger == NULL:
        return
    rights.topics = larger
    rights.topics_mask = 2 * size - 1
    rights.topics_count = 0
    for i in range(size):
        if old[i].topic != NULL:
            place_of(rights, old[i].topic)[0] = old[i]
    free(old)


cdef TopicVerdict* look_up_topic(const AclIndex* acls, ClientRights* rights, const TopicImage* topic) noexcept nogil:
    cdef TopicVerdict* verdict
    atomic_add_relaxed_i64(&looks, 1)
    make_room(rights)
    verdict = place_of(rights, topic)
    verdict.topic = topic
    verdict.allowed = acl_allowed(acls, &rights.who, ACL_TOPIC, topic.name, topic.name_size)
    verdict.told = 0
    return verdict


cdef TopicVerdict* topic_verdict(const AclIndex* acls, ClientRights* rights, const TopicImage* topic) noexcept nogil:
    cdef uint32_t place = topic.name_hash
    cdef TopicVerdict* verdict
    cdef int i
    for i in range(PROBES_MAX):  # no-cython-lint
        verdict = &rights.topics[place & rights.topics_mask]
        if verdict.topic == topic:
            return verdict
        if verdict.topic == NULL:
            break
        place += 1
    return look_up_topic(acls, rights, topic)


cdef bint request_allows_topic_now(
    Reactor* reactor, Request* request, const TopicImage* topic, AclOperation operation, bint quiet
) noexcept nogil:
    cdef ClientRights* rights = rights_of(reactor, request.connection)
    cdef TopicVerdict* verdict
    if rights == NULL:
        return False
    verdict = topic_verdict(reactor.image.acls, rights, topic)
    if verdict.allowed >> operation & 1:
        return True
    if not quiet and not verdict.told >> operation & 1:
        verdict.told |= <uint32_t>1 << operation
        tell_denial(
            <ReactorState*>reactor.private_state, request, rights, ACL_TOPIC, topic.name, topic.name_size, operation
        )
    return False


def look_ups() -> int:
    """How often reactors have looked something up in ACLs since the start of the process."""
    return atomic_load_relaxed_i64(&looks)
