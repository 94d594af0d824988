"""The log of slow requests (kafkacy.slow.request.log.threshold.ms); see slow_requests.pyx."""
from libc.stdint cimport int64_t

from kafka_cy.network.connection cimport Connection, ResponseSlot, SentGroup
from kafka_cy.network.reactor_state cimport ReactorState

cdef void slow_request(Connection* connection, ResponseSlot* slot, SentGroup* group, int64_t now) noexcept nogil
cdef void slow_threshold_refresh(ReactorState* reactor) noexcept nogil      # once a second: the threshold in ticks
