"""A thread that follows the partitions of one leader broker. See fetcher.pyx."""
from libc.stdint cimport int16_t, int32_t, int64_t

from kafka_cy.base.posix cimport pthread_cond_t, pthread_mutex_t, pthread_t
from kafka_cy.network.broker_client cimport CLIENT_FAILURE_BYTES_MAX, BrokerClient
from kafka_cy.replication.fetch_wire cimport FetchSettings
from kafka_cy.replication.fetcher_events cimport FetchEvents
from kafka_cy.replication.followed cimport FollowedTable
from kafka_cy.storage.partition cimport Partition

cdef enum FetcherCommandKind:
    COMMAND_FOLLOW = 1          # from the log's end, with this epoch; also a held partition again
    COMMAND_LEAVE = 2

cdef struct FetcherCommand:
    int32_t kind
    Partition* partition        # one reference
    int32_t leader_epoch

# Purpose: one connection to one leader, and the partitions that are fetched over it.
# Owner: its thread, but for the commands (commands_mutex) and the atomics (a).
# Lifetime: from fetcher_start until its thread has ended and Python's handle is gone.
# Limits: FOLLOWED_MAX partitions; one request in flight with a response of replica.fetch.response.max.bytes and one batch.
cdef struct Fetcher:
    int32_t number
    pthread_t thread
    int32_t stopping            # (a)
    pthread_mutex_t commands_mutex
    pthread_cond_t commanded
    FetcherCommand* commands
    int64_t commands_count
    int64_t commands_capacity
    char told_failure[CLIENT_FAILURE_BYTES_MAX]     # why it was disconnected last; others read it under commands_mutex
    FetchEvents* events
    BrokerClient client
    FetchSettings settings
    FollowedTable table
    int64_t error_backoff_ns    # replica.fetch.backoff.ms
    int32_t wait_max_ms         # replica.fetch.wait.max.ms
    bint truncates_first        # IBP below 2.7
    bint disconnected           # an event has told so
    int64_t now_ms              # when the response was read
    int64_t broker_epoch        # (a) of the next requests
    int64_t followed            # (a) counters for telemetry
    int64_t requests            # (a)
    int64_t failed_requests     # (a)
    int64_t bytes_in            # (a)

cdef void* fetcher_run(void* fetcher) noexcept nogil           # body of its thread
cdef void fetcher_discard(Fetcher* fetcher) noexcept nogil     # what it holds, when it has no thread
# Add a command; takes its reference. False: no memory.
cdef bint fetcher_command(Fetcher* fetcher, const FetcherCommand* command) noexcept nogil
