"""Python's handle of a fetcher: starts and stops its thread, tells it what to follow."""
cimport cython
from cpython.pycapsule cimport PyCapsule_GetPointer
from libc.stdint cimport int16_t, int32_t, int64_t, uint64_t
from libc.string cimport memcpy, memset

from kafka_cy.base.atomics cimport atomic_load_i64, atomic_store_i32, atomic_store_i64
from kafka_cy.base.posix cimport (
    EFD_CLOEXEC, EFD_NONBLOCK, close, cond_init_monotonic, eventfd, pthread_cond_destroy, pthread_cond_signal, pthread_create,
    pthread_join, pthread_mutex_destroy, pthread_mutex_init, pthread_mutex_lock, pthread_mutex_unlock, write,
)
from kafka_cy.network.broker_client cimport CLIENT_FAILURE_BYTES_MAX, client_free, client_init
from kafka_cy.network.client_transport cimport ClientTransport, client_transport_capsule_name
from kafka_cy.replication.fetch_wire cimport FETCH_VERSION_MAX, FETCH_VERSION_MIN
from kafka_cy.replication.fetcher cimport (
    COMMAND_FOLLOW, COMMAND_LEAVE, Fetcher, FetcherCommand, fetcher_command, fetcher_discard, fetcher_run,
)
from kafka_cy.replication.fetcher_events cimport FetcherEvents
from kafka_cy.replication.followed cimport table_init
from kafka_cy.storage.hosted_partition cimport HostedPartition
from kafka_cy.storage.partition cimport partition_acquire, partition_release

cdef enum:
    NS_PER_MS = 1000000
    RESPONSE_ROOM_BYTES = 100 << 20     # a first batch may be larger than replica.fetch.response.max.bytes
    TRUNCATES_ON_FETCH_FROM = 12        # IBP 2.7: lastFetchedEpoch


@cython.no_gc_clear     # until __dealloc__ ends the thread, it needs what `events` and `transport` own
cdef class ReplicaFetcher:
    """Fetches from one leader broker on a thread of its own, from start() to stop(). `number`: for its name and its events.

    `version`: of Fetch, 11 to 17, by inter.broker.protocol.version. `transport`: see BrokerConnection. Times in ms, sizes in bytes,
    with Kafka's defaults (replica.fetch.*, replica.socket.timeout.ms). Raises ValueError for another version.
    """

    cdef Fetcher fetcher
    cdef FetcherEvents events
    cdef object transport
    cdef bint running

    def __cinit__(
        self, FetcherEvents events not None, int32_t number, str host not None, int32_t port, *, str client_id not None,
        int32_t broker_id, int64_t broker_epoch=-1, int16_t version=FETCH_VERSION_MAX, transport=None, int32_t wait_max_ms=500,
        int32_t bytes_min=1, int32_t response_bytes_max=10485760, int32_t partition_bytes_max=1048576, int64_t backoff_ms=1000,
        int64_t timeout_ms=30000
    ):
        cdef bytes raw_host = host.encode("idna" if not host.isascii() else "ascii")
        cdef bytes raw_id = client_id.encode()
        cdef ClientTransport* raw_transport = NULL
        cdef int stop_fd = -1
        memset(&self.fetcher, 0, sizeof(Fetcher))
        pthread_mutex_init(&self.fetcher.commands_mutex, NULL)
        cond_init_monotonic(&self.fetcher.commanded)
        table_init(&self.fetcher.table, version >= 13)
        if transport is not None:
            raw_transport = <ClientTransport*>PyCapsule_GetPointer(transport, client_transport_capsule_name())
        stop_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)
        client_init(&self.fetcher.client, raw_host, port, raw_id, raw_transport, stop_fd)
        if not FETCH_VERSION_MIN <= version <= FETCH_VERSION_MAX:
            raise ValueError(f"Fetch {version}: only {FETCH_VERSION_MIN} to {FETCH_VERSION_MAX} are sent")
        if stop_fd < 0:
            raise OSError("no descriptor for an eventfd")
        self.events = events
        self.transport = transport
        self.fetcher.number = number
        self.fetcher.events = &events.events
        self.fetcher.client.timeout_ns = timeout_ms * NS_PER_MS
        self.fetcher.client.response_bytes_max = <size_t>response_bytes_max + RESPONSE_ROOM_BYTES
        self.fetcher.error_backoff_ns = backoff_ms * NS_PER_MS
        self.fetcher.truncates_first = version < TRUNCATES_ON_FETCH_FROM
        self.fetcher.settings.version = version
        self.fetcher.settings.broker_id = broker_id
        self.fetcher.wait_max_ms = wait_max_ms
        self.fetcher.settings.bytes_min = bytes_min
        self.fetcher.settings.response_bytes_max = response_bytes_max
        self.fetcher.settings.partition_bytes_max = partition_bytes_max
        atomic_store_i64(&self.fetcher.broker_epoch, broker_epoch)

    def __dealloc__(self):
        if self.running:
            stop_thread(&self.fetcher)
        with nogil:
            fetcher_discard(&self.fetcher)
            client_free(&self.fetcher.client)
        if self.fetcher.client.stop_fd >= 0:
            close(self.fetcher.client.stop_fd)
        pthread_mutex_destroy(&self.fetcher.commands_mutex)
        pthread_cond_destroy(&self.fetcher.commanded)

    def start(self):
        """Start the thread. Raises OSError."""
        if not self.running:
            failed = pthread_create(&self.fetcher.thread, NULL, fetcher_run, &self.fetcher)
            if failed:
                raise OSError(failed, "a fetcher's thread cannot be created")
            self.running = True

    def stop(self):
        """End the thread; an append in progress is complete then. Waits for it. It cannot be started again."""
        if self.running:
            self.running = False
            stop_thread(&self.fetcher)

    def follow(self, HostedPartition partition not None, int32_t leader_epoch):
        """Fetch it from its log's end with this epoch; also a held partition again. Raises MemoryError."""
        self._command(COMMAND_FOLLOW, partition, leader_epoch)

    def leave(self, HostedPartition partition not None):
        """Fetch it no more. What is being fetched may still be appended, unless the partition's role or epoch changes first. Raises
        MemoryError."""
        self._command(COMMAND_LEAVE, partition, -1)

    def _command(self, int32_t kind, HostedPartition partition, int32_t leader_epoch):
        cdef FetcherCommand command
        cdef bint added
        command.kind = kind
        command.partition = partition_acquire(partition.partition)
        command.leader_epoch = leader_epoch
        with nogil:
            added = fetcher_command(&self.fetcher, &command)
        if not added:
            with nogil:
                partition_release(command.partition)
            raise MemoryError

    def set_broker_epoch(self, int64_t broker_epoch):
        """After a new registration of this broker: its epoch in the next requests."""
        atomic_store_i64(&self.fetcher.broker_epoch, broker_epoch)

    @property
    def failure(self):
        """Why it was disconnected last; "" if it never was."""
        cdef char[CLIENT_FAILURE_BYTES_MAX] text
        with nogil:
            pthread_mutex_lock(&self.fetcher.commands_mutex)
            memcpy(text, self.fetcher.told_failure, CLIENT_FAILURE_BYTES_MAX)
            pthread_mutex_unlock(&self.fetcher.commands_mutex)
        return (<bytes>text).decode(errors="replace")

    def counts(self):
        """(partitions followed, requests, failed requests, bytes appended), since the start."""
        return (
            atomic_load_i64(&self.fetcher.followed), atomic_load_i64(&self.fetcher.requests),
            atomic_load_i64(&self.fetcher.failed_requests), atomic_load_i64(&self.fetcher.bytes_in),
        )


cdef int stop_thread(Fetcher* fetcher) except -1:
    cdef uint64_t one = 1
    atomic_store_i32(&fetcher.stopping, 1)
    write(fetcher.client.stop_fd, &one, sizeof(one))
    with nogil:
        pthread_mutex_lock(&fetcher.commands_mutex)
        pthread_cond_signal(&fetcher.commanded)
        pthread_mutex_unlock(&fetcher.commands_mutex)
        pthread_join(fetcher.thread, NULL)
    return 0
