"""Whether the client of a request may do something with a topic that it names. See network/authorization.pxd."""
from kafka_cy.api.topic_key cimport TopicKey
from kafka_cy.network.authorization cimport AclOperation, has_authorizer, request_allows, request_allows_topic
from kafka_cy.network.authorization cimport ACL_TOPIC
from kafka_cy.network.metadata_image cimport TopicImage
from kafka_cy.network.request cimport Reactor, Request


cdef inline bint topic_is_allowed(
    Reactor* reactor, Request* request, TopicKey* key, TopicImage* topic, AclOperation operation
) noexcept nogil:
    """`topic`: what the key means, NULL if it is unknown. An unknown name is asked about, too: what is denied and what is unknown
    look alike. An unknown id is no topic of which anything could be denied (UNKNOWN_TOPIC_ID in Kafka, too).
    """
    if not has_authorizer(reactor):
        return True
    if topic != NULL:
        return request_allows_topic(reactor, request, topic, operation, False)
    return key.by_id or request_allows(reactor, request, ACL_TOPIC, key.name, key.name_size, operation, False)
