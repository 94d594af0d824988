"""The counters of all reactors for Python; see counter_sums.pyx."""
from kafka_cy.network.reactor_state cimport NetworkState

# "requests" is a dict by API key, "reactor_connections" a list; the rest are ints with the names of counters.pxd.
cdef dict counter_sums(NetworkState* network)
