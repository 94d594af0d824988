"""Accepting connections; see accept.pyx."""
from kafka_cy.network.reactor_state cimport Listener, ReactorState

cdef void accept_some(ReactorState* reactor, Listener* listener) noexcept nogil
cdef void listeners_watch(ReactorState* reactor, bint on) noexcept nogil
cdef void accept_again(ReactorState* reactor) noexcept nogil       # on listeners whose pause is over
