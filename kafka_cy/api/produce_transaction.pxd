"""Transactional batches of a Produce request; see produce_transaction.pyx."""
from libc.stdint cimport int16_t

from kafka_cy.api.named_partitions cimport NamedPartitions
from kafka_cy.api.produce cimport Produce, SuspendedProduce
from kafka_cy.network.dispatch cimport Reactor, Request
from kafka_cy.network.questions cimport QuestionRoom
from kafka_cy.records.batch cimport ATTRIBUTE_TRANSACTIONAL, BatchHeader
from kafka_cy.storage.log cimport ORIGIN_CLIENT, AppendOrigin

# Answers of the coordinator for one partition of the request, besides an error code of Kafka.
cdef enum:
    NOT_ASKED = -32768
    ASKED = -32767                  # the answer has not come yet
    GONE = -32766                   # confirmed, but no longer in the table: to be asked again

cdef AppendOrigin transaction_origin(int16_t version) noexcept nogil
# With an authorizer: whether the request has transactional batches, and its client no right to write with its transactional id.
cdef bint transaction_is_denied(
    Reactor* reactor, Request* request, Produce* produce, NamedPartitions* named
) noexcept nogil
# Kafka's error code when the batch must not be appended, with its message (NULL: none). Called before the append of each
# transactional batch.
cdef int16_t transaction_refused(Produce* produce, const BatchHeader* header, const char** message) noexcept nogil
# The append returned STORAGE_NOT_IN_TRANSACTION. True: the coordinator is to be asked (produce.asks); False: it was asked twice.
cdef bint transaction_must_ask(Produce* produce) noexcept nogil
cdef QuestionRoom transaction_room(Reactor* reactor) noexcept nogil
# Ask the coordinator about the partitions of the request that are not in the transaction. 0, or -1 without memory.
cdef int transaction_ask(Reactor* reactor, Request* request, SuspendedProduce* suspended) noexcept nogil


cdef inline bint is_transactional(const BatchHeader* header) noexcept nogil:
    return header.attributes & ATTRIBUTE_TRANSACTIONAL and header.producer_id >= 0


cdef inline AppendOrigin append_origin(int16_t version, const BatchHeader* header) noexcept nogil:
    return transaction_origin(version) if is_transactional(header) else ORIGIN_CLIENT
