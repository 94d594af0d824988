"""The counters of all reactors, added up for Python. Reactors keep counting meanwhile."""
from libc.stdint cimport int64_t

from kafka_cy.base.atomics cimport atomic_load_pointer, atomic_load_relaxed_i64
from kafka_cy.network.counters cimport API_FETCH_FOLLOWER, API_ROWS, ApiCounters, Counters, requests_counted
from kafka_cy.network.reactor_state cimport NetworkState, ReactorState, ns_per_tick


cdef dict counter_sums(NetworkState* network):
    cdef Counters* each
    cdef ApiCounters* api
    cdef int i
    cdef int key
    cdef int row
    cdef double tick_ns = ns_per_tick(network)
    cdef dict requests = {}
    cdef dict sums = dict.fromkeys((
        "bytes_in", "bytes_out", "accepted", "refused", "closed", "closed_idle", "closed_excess", "closed_bad",
        "connections", "forwarded", "parked", "wakes", "loops", "busy_ns", "slow", "paused",
    ), 0)
    for i in range(network.reactors_count):
        each = &(<ReactorState*>network.reactors[i]).counters
        for row in range(API_ROWS):
            api = <ApiCounters*>atomic_load_pointer(<void**>&each.apis[row])
            if api != NULL:
                key = row if row != API_FETCH_FOLLOWER else 1
                requests[key] = requests.get(key, 0) + requests_counted(api)
        sums["bytes_in"] += atomic_load_relaxed_i64(&each.bytes_in)
        sums["bytes_out"] += atomic_load_relaxed_i64(&each.bytes_out)
        sums["accepted"] += atomic_load_relaxed_i64(&each.accepted)
        sums["refused"] += atomic_load_relaxed_i64(&each.refused)
        sums["closed"] += atomic_load_relaxed_i64(&each.closed)
        sums["closed_idle"] += atomic_load_relaxed_i64(&each.closed_idle)
        sums["closed_excess"] += atomic_load_relaxed_i64(&each.closed_excess)
        sums["closed_bad"] += atomic_load_relaxed_i64(&each.closed_bad)
        sums["connections"] += atomic_load_relaxed_i64(&each.connections)
        sums["forwarded"] += atomic_load_relaxed_i64(&each.forwarded)
        sums["parked"] += atomic_load_relaxed_i64(&each.parked)
        sums["wakes"] += atomic_load_relaxed_i64(&each.wakes)
        sums["loops"] += atomic_load_relaxed_i64(&each.loops)
        sums["busy_ns"] += <int64_t>(<double>atomic_load_relaxed_i64(&each.busy_ticks) * tick_ns)
        sums["slow"] += atomic_load_relaxed_i64(&each.slow)
        sums["paused"] += atomic_load_relaxed_i64(&each.paused)
    sums["requests"] = requests
    sums["queued_request_bytes"] = atomic_load_relaxed_i64(&network.queued_request_bytes)
    sums["parked_bytes"] = atomic_load_relaxed_i64(&network.parked_bytes)
    sums["queued_response_bytes"] = atomic_load_relaxed_i64(&network.queued_response_bytes)
    sums["reactor_connections"] = [
        atomic_load_relaxed_i64(&(<ReactorState*>network.reactors[i]).connections)
        for i in range(network.reactors_count)
    ]
    return sums
