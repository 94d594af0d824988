"""Accepting connections; see accept.pyx."""
from libc.stdint cimport int64_t

from kafka_cy.network.reactor_state cimport Listener, ReactorState

cdef enum:
    LOGINS_RETRY_NS = 10000000      # the pause while as many as may wait for the broker do

cdef void accept_some(ReactorState* reactor, Listener* listener) noexcept nogil
cdef void listeners_watch(ReactorState* reactor, bint on) noexcept nogil
cdef void accept_later(ReactorState* reactor, int64_t wait_ns) noexcept nogil
cdef void accept_again(ReactorState* reactor) noexcept nogil       # where the time is over
