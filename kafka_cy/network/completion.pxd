"""Responses that come back from the control plane; see completion.pyx."""
from kafka_cy.network.reactor_state cimport ReactorState

# Completes the requests whose responses are in the reactor's mailbox, and passes answers to the questions of hot handlers.
cdef void complete_all(ReactorState* reactor) noexcept nogil
