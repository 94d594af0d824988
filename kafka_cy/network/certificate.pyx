"""Who a client with a certificate is, on a listener without SASL (DefaultKafkaPrincipalBuilder).

Rules with regular expressions decide (ssl.principal.mapping.rules), so the first request of such a connection waits while the
authentication loop (server/certificate_principals) is asked with the DER of the subject's name. A client without a certificate is
User:ANONYMOUS. All functions run on the connection's reactor, without the GIL.
Limits: SUBJECT_BYTES_MAX for the name, one question for each connection, and queued.max.requests questions at the loop.
"""
from libc.stdint cimport int32_t, uint8_t

from kafka_cy.base.atomics cimport atomic_load_relaxed_i64, counter_add
from kafka_cy.network.authorization cimport rights_free
from kafka_cy.network.connection cimport (
    CERTIFICATE_ASKED, CERTIFICATE_NONE, CERTIFICATE_SHOWN, PAUSE_AUTHENTICATION, PAUSE_MEMORY, Connection,
)
from kafka_cy.network.control_queue cimport AUTHENTICATION_QUEUE
from kafka_cy.network.principal cimport principal_new, principal_unref
from kafka_cy.network.questions cimport question_ask_queue
from kafka_cy.network.reactor_state cimport connection_fail, connection_mark_dead, connection_mark_dirty
from kafka_cy.network.request cimport Reactor

cdef enum:
    NO_API_KEY = -1
    SUBJECT_BYTES_MAX = 4096        # RFC 5280 allows 64 characters for most attributes


cdef void certificate_begin(ReactorState* reactor, Connection* connection) noexcept nogil:
    if connection.session.certified and reactor.network.listeners[connection.listener].names_certificates:
        connection.certificate = CERTIFICATE_SHOWN
    else:
        counter_add(&reactor.counters.authenticated_by_listener[connection.listener], 1)


cdef void certificate_ask(ReactorState* reactor, Connection* connection) noexcept nogil:
    cdef uint8_t[SUBJECT_BYTES_MAX] subject
    cdef size_t size
    if atomic_load_relaxed_i64(&reactor.network.controls[AUTHENTICATION_QUEUE].count) >= reactor.network.queued_requests_max:
        connection.pauses |= PAUSE_MEMORY
        return
    size = connection.session.subject(connection.session, subject, SUBJECT_BYTES_MAX)
    if not size:
        counter_add(&reactor.counters.authentication_failed_by_listener[connection.listener], 1)
        connection_fail(reactor, connection, -1, "closed: the subject of its certificate has more than 4096 bytes")
    elif question_ask_queue(
        &reactor.shared, connection, AUTHENTICATION_QUEUE, NO_API_KEY, 0, subject, size, 0, certificate_named, connection
    ) != 0:
        connection_fail(reactor, connection, -1, "out of memory")
    else:
        connection.certificate = CERTIFICATE_ASKED
        connection.pauses |= PAUSE_AUTHENTICATION


cdef void certificate_named(Reactor* shared, void* context, const uint8_t* name, size_t size) noexcept nogil:
    """The name of the user came back; NULL: no rule names one, and the loop has logged it."""
    cdef ReactorState* reactor = <ReactorState*>shared.private_state
    cdef Connection* connection = <Connection*>context
    connection.certificate = CERTIFICATE_NONE
    if name == NULL:
        counter_add(&reactor.counters.authentication_failed_by_listener[connection.listener], 1)
        counter_add(&reactor.counters.closed_bad, 1)
        connection_mark_dead(reactor, connection)
        return
    rights_free(connection)                 # they borrow the name
    principal_unref(connection.principal)
    connection.principal = principal_new(<const char*>name, <int32_t>size, False)
    if connection.principal == NULL:
        connection_fail(reactor, connection, -1, "out of memory")
        return
    counter_add(&reactor.counters.authenticated_by_listener[connection.listener], 1)
    connection_mark_dirty(reactor, connection)
