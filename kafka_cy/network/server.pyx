"""The network layer's Python interface: listeners, reactors, and requests for the control plane.

`Server` starts one native thread per reactor; none of them ever takes the GIL. `take_requests` returns requests that no
hot handler answers as `ControlRequest`; answer them with `respond` or `close` at any later time.
"""
import socket
from typing import NamedTuple

cimport cython
from cpython.pycapsule cimport PyCapsule_GetPointer
from libc.stdint cimport int32_t, int64_t, uint8_t
from libc.stdlib cimport calloc, free

from kafka_cy.base.atomics cimport atomic_load_i32, atomic_store_i32, atomic_sub_i64, counter_add, counter_set
from kafka_cy.base.cut_text import cut_mark
from kafka_cy.network.jobs cimport JOB_HANDSHAKE, jobs_begin
from kafka_cy.network.wakes cimport network_activate, network_deactivate
from kafka_cy.base.clock cimport monotonic_ns, ticks_now
from kafka_cy.base.posix cimport pthread_create, pthread_join, pthread_mutex_init, pthread_mutex_lock, pthread_mutex_unlock
from kafka_cy.network.address_counts cimport address_counts_free, address_counts_init, address_limits_set
from kafka_cy.network.connection cimport KIND_LISTENER, ClosedConnection
from kafka_cy.network.connection_quotas cimport excess_announce
from kafka_cy.network.connection_rate cimport CREATION_RATE_NO_LIMIT
from kafka_cy.network.control_queue cimport (
    CONTROL_QUEUES, ControlMessage, ControlQueue, closed_connections_free, control_queue_free, control_queue_init,
    control_queue_take, control_queue_wake,
)
from kafka_cy.network.control_request cimport request_of
from kafka_cy.network.counter_sums cimport counter_sums
from kafka_cy.network.counters cimport API_KEYS_MAX, API_ROWS, LISTENERS_MAX
from kafka_cy.network.listening import listening_socket
from kafka_cy.network.denials cimport (
    DENIAL_DIGEST_BYTES, DENIAL_TEXT_BYTES_MAX, DENIALS_MAX, Denial, Denials, denials_free, denials_init, denials_take,
)
from kafka_cy.network.log_events cimport (
    LOG_EVENTS_MAX, LOG_WARNING, LogEventData, LogEvents, log_events_free, log_events_init, log_events_take,
)
from kafka_cy.network.reactor cimport reactor_discard_mail, reactor_new, reactor_run
from kafka_cy.network.mailbox cimport MailedResponse, mailbox_post_response, mailbox_ring
from kafka_cy.network.metadata_image cimport MetadataImage, image_empty, image_free
from kafka_cy.network.reactor_state cimport ApiRange, NetworkState, ReactorState
from kafka_cy.network.trace_events cimport TraceEvent, tracer_take
from kafka_cy.network.tracing cimport trace_free
from kafka_cy.network.transport cimport Transport, transport_capsule_name
from kafka_cy.quota.table cimport Quotas, quotas_free, quotas_init
from kafka_cy.storage.partition cimport REACTORS_MAX

cdef enum:
    RESPONSES_PER_CONNECTION_BYTES_MAX = 8388608
    AUTHENTICATION_TIMEOUT_NS = 30000000000
    NEVER_FLEXIBLE = 32767
    CONNECTIONS_NO_LIMIT = 0x7fffffff

MOST_REACTORS = REACTORS_MAX        # for Python


class LogEvent(NamedTuple):
    """A log event of a reactor: `logging` level, client ("host:port"), API (None: none), message, number of events."""

    level: int
    peer: str
    api_key: int | None
    message: str
    events: int = 1


class ReactorDenial(NamedTuple):
    """What a reactor has denied. `operation`, `resource_type`: Operation and ResourceType of kafka_cy/authorizer/acls.py."""

    user: str
    host: str
    client_id: str | None
    api_key: int
    operation: int
    resource_type: int
    name: str
    acls_generation: int        # of the ACLs that decided
    cut: bool                   # the user or the name is longer, and ends with a mark


cdef str shown(const char* text, int32_t size, const uint8_t* digest):
    """A name in a denial. One that was cut has a mark, so that it does not look like another one."""
    cdef str found = text[:min(size, <int32_t>DENIAL_TEXT_BYTES_MAX)].decode("utf-8", "replace")
    return found + cut_mark(digest[:DENIAL_DIGEST_BYTES]) if size > DENIAL_TEXT_BYTES_MAX else found


@cython.no_gc_clear     # until __dealloc__ stops the reactors, they need its transports, and stop needs its sockets
cdef class Server:
    """Listeners and reactors of one broker.

    Limits are in bytes, milliseconds and counts. -1 or 0 for queued_request_bytes_max and idle_timeout_ms means no limit.
    A negative send_buffer_bytes or receive_buffer_bytes leaves a socket's buffer to the system.
    Threads: any Python thread may call; `listen` and `set_api_versions` come before `start`.
    """

    def __cinit__(self):
        cdef int i
        self.network = <NetworkState*>calloc(1, sizeof(NetworkState))
        if self.network == NULL:
            raise MemoryError
        self.network.reactors = <void**>calloc(REACTORS_MAX, sizeof(void*))
        self.network.log_ring = <LogEventData*>calloc(LOG_EVENTS_MAX, sizeof(LogEventData))
        self.network.denials_ring = <Denial*>calloc(DENIALS_MAX, sizeof(Denial))
        self.network.image = image_empty()
        if self.network.reactors == NULL or self.network.log_ring == NULL or self.network.image == NULL:
            raise MemoryError
        self.network.quotas = calloc(1, sizeof(Quotas))
        if self.network.denials_ring == NULL or self.network.quotas == NULL:
            raise MemoryError
        for i in range(CONTROL_QUEUES):
            control_queue_init(&self.network.controls[i])
        log_events_init(&self.network.log, self.network.log_ring)
        denials_init(&self.network.denials, self.network.denials_ring)
        address_counts_init(&self.network.addresses)
        quotas_init(<Quotas*>self.network.quotas)
        pthread_mutex_init(&self.network.transports_mutex, NULL)
        self.closed = [[] for _ in range(CONTROL_QUEUES)]
        self.sockets = []
        self.transports = {}

    def __init__(
        self, int reactors, *, int64_t request_max_bytes=104857600, int64_t queued_request_bytes_max=-1,
        int64_t queued_response_bytes_max=268435456, int64_t connections_max=2147483647,
        int64_t connections_per_ip_max=2147483647, int64_t idle_timeout_ms=600000, int in_flight_max=1024,
        int send_buffer_bytes=-1, int receive_buffer_bytes=-1, int backlog=1024, int64_t queued_requests_max=500,
        int control_requests_per_connection_max=1024, int64_t control_request_bytes_max=16777216,
        int retry_ms=5,
    ):
        cdef NetworkState* network = self.network
        cdef int i
        if not 1 <= reactors <= REACTORS_MAX:
            raise ValueError(f"reactors={reactors}: must be 1 to {REACTORS_MAX}")
        self.send_buffer_bytes = send_buffer_bytes
        self.receive_buffer_bytes = receive_buffer_bytes
        self.backlog = backlog
        network.request_bytes_max = min(request_max_bytes, 2147483647)
        network.queued_request_bytes_max = queued_request_bytes_max if queued_request_bytes_max > 0 else 1 << 62
        network.queued_response_bytes_max = queued_response_bytes_max if queued_response_bytes_max > 0 else 1 << 62
        network.connection_response_bytes_max = min(
            RESPONSES_PER_CONNECTION_BYTES_MAX, max(65536, network.queued_response_bytes_max // 4)
        )
        network.retry_ms = retry_ms
        network.authentication_timeout_ns = AUTHENTICATION_TIMEOUT_NS
        network.unauthenticated_max = connections_max
        network.connections_max = connections_max
        network.connections_per_ip_max = connections_per_ip_max
        network.connection_rate.per_second = CREATION_RATE_NO_LIMIT
        for i in range(LISTENERS_MAX):
            network.listeners[i].connections_max = CONNECTIONS_NO_LIMIT
            network.listeners[i].connection_rate.per_second = CREATION_RATE_NO_LIMIT
        network.idle_timeout_ns = idle_timeout_ms * 1000000 if idle_timeout_ms > 0 else 0
        network.in_flight_max = max(in_flight_max, 1)
        network.queued_requests_max = max(queued_requests_max, 1)
        network.control_requests_per_connection_max = max(control_requests_per_connection_max, 1)
        network.control_request_bytes_max = control_request_bytes_max
        for i in range(API_KEYS_MAX):
            network.apis[i].flexible_from = NEVER_FLEXIBLE
        for i in range(reactors):
            network.reactors[i] = reactor_new(network, i)
            if network.reactors[i] == NULL:
                raise OSError("not enough memory or file descriptors for a reactor")
            network.reactors_count = i + 1

    def listen(self, int listener_index, str name, str host, int port, *, bint is_protected=False):
        """Open a listener (see listening_socket) and return its port. Raises OSError if the address is taken. `is_protected`:
        brokers connect to it, and the limits of all connections together do not refuse or delay those."""
        cdef NetworkState* network = self.network
        if self.started or network.listeners_count == LISTENERS_MAX:
            raise RuntimeError(f"listener {name}: the server has already been started, or has {LISTENERS_MAX} listeners")
        if listener_index != network.listeners_count:
            raise ValueError(f"listener {name}: its index is {network.listeners_count}, not {listener_index}")
        opened = listening_socket(host, port, self.backlog)
        opened.setblocking(False)
        for option, size in ((socket.SO_SNDBUF, self.send_buffer_bytes), (socket.SO_RCVBUF, self.receive_buffer_bytes)):
            if size >= 0:
                opened.setsockopt(socket.SOL_SOCKET, option, size)  # accepted sockets inherit it
        self.sockets.append(opened)
        network.listeners[network.listeners_count].kind = KIND_LISTENER
        network.listeners[network.listeners_count].fd = opened.fileno()
        network.listeners[network.listeners_count].index = listener_index
        network.listeners[network.listeners_count].is_protected = is_protected
        network.listeners_count += 1
        return opened.getsockname()[1]

    def set_transport(self, int listener_index, transport):
        """Encrypt the listener's new connections; open ones do not change. May be called at any time.

        `transport.transport` is a Transport capsule (see TlsContext). Raises OSError if no thread can be started for handshakes.
        """
        cdef Transport* made = <Transport*>PyCapsule_GetPointer(transport.transport, transport_capsule_name())
        cdef int error
        if not 0 <= listener_index < self.network.listeners_count:
            raise ValueError(f"unknown listener {listener_index}")
        with nogil:
            error = jobs_begin(JOB_HANDSHAKE)
        if error != 0:
            raise OSError(error, "no thread for TLS handshakes can be started")
        with nogil:
            pthread_mutex_lock(&self.network.transports_mutex)
            self.network.listeners[listener_index].transport = made
            pthread_mutex_unlock(&self.network.transports_mutex)
        self.transports[listener_index] = transport     # the previous one may be freed now

    def set_authentication(self, int listener_index, int64_t token_bytes_max):
        """Ask the clients of the listener for SASL; a frame before that has at most so many bytes. Call it before start."""
        if not 0 <= listener_index < self.network.listeners_count or token_bytes_max <= 0:
            raise ValueError(f"unknown listener {listener_index}, or token_bytes_max={token_bytes_max}")
        self.network.listeners[listener_index].token_bytes_max = token_bytes_max

    def set_certificate_principals(self, int listener_index):
        """Ask queue AUTHENTICATION_QUEUE who the clients of the listener with certificates are. Call it before start."""
        if not 0 <= listener_index < self.network.listeners_count:
            raise ValueError(f"unknown listener {listener_index}")
        self.network.listeners[listener_index].names_certificates = True

    def set_authentication_limits(self, int64_t timeout_ms, int64_t connections_max):
        """How long a connection may take to authenticate, and how many may be about it. Call it before start."""
        self.network.authentication_timeout_ns = timeout_ms * 1000000
        self.network.unauthenticated_max = connections_max

    def set_connections_max(self, int64_t connections_max):
        """Change the limit of all connections. Too many ones are closed (connection_quotas.pyx). Safe at any time."""
        counter_set(&self.network.connections_max, connections_max)
        excess_announce(self.network)

    def set_listener_limits(self, int listener_index, int64_t connections_max, int64_t creations_per_second):
        """Change how many connections one listener may have, and how many it accepts per second (see
        set_connection_creation_rate). Safe at any time, also before `listen`; open ones stay."""
        if not 0 <= listener_index < LISTENERS_MAX:
            raise ValueError(f"unknown listener {listener_index}")
        counter_set(&self.network.listeners[listener_index].connections_max, connections_max)
        counter_set(&self.network.listeners[listener_index].connection_rate.per_second, creations_per_second)

    def set_connections_per_ip_max(self, int64_t connections_per_ip_max):
        """Change the limit of connections per address; 0 refuses all new ones. Safe at any time; open ones stay."""
        counter_set(&self.network.connections_per_ip_max, connections_per_ip_max)

    def set_connections_per_ip_overrides(self, dict limits):
        """Replace the per-address limits: 4 or 16 address bytes -> number of connections. Safe at any time."""
        address_limits_set(&self.network.addresses, limits)

    def set_connection_creation_rate(self, int64_t per_second):
        """Change how many connections are accepted per second; 0x7fffffff: no limit. Safe at any time."""
        counter_set(&self.network.connection_rate.per_second, per_second)

    def set_slow_request_threshold_ms(self, int64_t threshold_ms):
        """Log requests that take this long, starting within a second; below 0: none. Safe at any time."""
        counter_set(&self.network.slow_ns, max(threshold_ms, 1) * 1000000 if threshold_ms >= 0 else 0)

    def set_api_versions(self, versions):
        """Set the served APIs: (api key, min, max, first flexible version or None, control queue, first version whose response
        has throttle_time_ms, whether the request quota applies, where throttle_time_ms is: its first byte after the header, or
        below 0 from the end before the tags) each. The last four may be missing: 0, none, no, 0.

        A request for anything else closes its connection.
        """
        cdef ApiRange* api
        for key, version_min, version_max, flexible_from, *more in versions:
            if not 0 <= key < API_KEYS_MAX:
                raise ValueError(f"API key {key} is out of range")
            api = &self.network.apis[<int>key]
            api.version_min = version_min
            api.version_max = version_max
            api.flexible_from = NEVER_FLEXIBLE if flexible_from is None or flexible_from < 0 else flexible_from
            api.queue = more[0] if more else 0
            api.throttle_from = more[1] if len(more) > 1 else NEVER_FLEXIBLE
            api.throttled = len(more) > 2 and more[2]
            api.throttle_at = more[3] if len(more) > 3 else 0
            self.queue_of(api.queue)
            api.known = True

    def watch_closes(self, int api_key):
        """Let take_closed of the API's queue tell when a connection closes on which a request of this API came.

        A connection is told to one queue only. Call it after set_api_versions and before start.
        """
        if not (0 <= api_key < API_KEYS_MAX and self.network.apis[api_key].known):
            raise ValueError(f"unknown API key {api_key}")
        self.network.apis[api_key].watched = True

    def start(self):
        """Start the reactors."""
        cdef ReactorState* reactor
        cdef int i
        if self.started:
            raise RuntimeError("the server has already been started")
        self.started = True
        self.network.started_ns = monotonic_ns()
        self.network.started_ticks = ticks_now()
        network_activate(self.network)
        for i in range(self.network.reactors_count):
            reactor = <ReactorState*>self.network.reactors[i]
            atomic_store_i32(&reactor.running, 1)
            if pthread_create(&reactor.thread, NULL, reactor_run, reactor) != 0:
                atomic_store_i32(&reactor.running, 0)
                self.stop(0.0)
                raise OSError("cannot start the thread of a reactor")

    def stop(self, double drain_timeout_s=1.0):
        """Stop accepting and reading, answer requests in flight, close. Blocks (without the GIL) for at most the timeout."""
        cdef NetworkState* network = self.network
        cdef ReactorState* reactor
        cdef ControlMessage* message
        cdef ClosedConnection* closed = NULL
        cdef ControlMessage* following
        cdef int i
        if not self.started or self.stopped:
            self.close_listeners()
            return
        self.stopped = True
        network.drain_deadline_ns = monotonic_ns() + <int64_t>(drain_timeout_s * 1e9)
        atomic_store_i32(&network.stopping, 1)  # first, so that reactors do not treat the shut listeners as failed
        self.close_listeners(shut_only=True)
        with nogil:
            for i in range(network.reactors_count):
                mailbox_ring(&(<ReactorState*>network.reactors[i]).mailbox)
            for i in range(network.reactors_count):
                reactor = <ReactorState*>network.reactors[i]
                if reactor.running:
                    pthread_join(reactor.thread, NULL)
                    atomic_store_i32(&reactor.running, 0)
        network_deactivate(network)
        self.close_listeners()
        for i in range(CONTROL_QUEUES):
            message = control_queue_take(&network.controls[i], 0, &closed)
            closed_connections_free(closed)
            while message != NULL:
                following = message.next
                self.post_back(message)
                message = following
        for i in range(network.reactors_count):
            reactor_discard_mail(<ReactorState*>network.reactors[i])

    def close_listeners(self, *, bint shut_only=False):
        """Close the listeners: new clients are refused from now on."""
        for each in self.sockets:
            if shut_only:
                try:
                    each.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass
            else:
                each.close()

    cdef void post_back(self, ControlMessage* message):
        """Return a request to its reactor (or drop it if the reactor has ended)."""
        cdef ReactorState* reactor = <ReactorState*>self.network.reactors[message.reactor]
        message.answered = ticks_now()
        if message.begun == 0:
            message.begun = message.answered
            atomic_sub_i64(&self.network.controls[message.queue].count, 1)
        if message.handled == 0:
            message.handled = message.answered
        mailbox_post_response(&reactor.mailbox, <MailedResponse*>message)
        if self.stopped and not atomic_load_i32(&reactor.running):
            reactor_discard_mail(reactor)

    def take_requests(self, double timeout_s, int queue=0):
        """Return all ControlRequests waiting in a loop's queue (see set_api_versions), oldest first.

        Blocks without the GIL until requests arrive, `wake` is called, or the timeout passes. One thread per queue.
        """
        cdef ControlQueue* control = self.queue_of(queue)
        cdef int64_t deadline_ns = monotonic_ns() + <int64_t>(timeout_s * 1e9)
        cdef ControlMessage* message
        cdef ControlMessage* following
        cdef ClosedConnection* closed = NULL
        cdef ClosedConnection* each
        cdef list requests = []
        cdef list closed_ids
        cdef int64_t begun_ns = monotonic_ns()
        cdef int64_t ended_ns
        counter_set(&control.busy_since_ns, 0)
        with nogil:
            message = control_queue_take(control, deadline_ns, &closed)
        ended_ns = monotonic_ns()
        counter_add(&control.idle_ns, ended_ns - begun_ns)
        counter_set(&control.busy_since_ns, ended_ns)
        while message != NULL:
            following = message.next
            requests.append(request_of(self, message))
            message = following
        if closed != NULL:
            closed_ids = self.closed[queue]
            each = closed
            while each != NULL:
                closed_ids.append(each.id)
                each = each.next
            closed_connections_free(closed)
        return requests

    def take_closed(self, int queue=0):
        """Return the ids of watched connections that closed before the last take_requests (see watch_closes).

        All of their requests were returned by then. Call it from the queue's thread when these were handled.
        """
        cdef list taken = self.closed[queue]
        if taken:
            self.closed[queue] = []
        return taken

    def wake(self, int queue=0):
        """Make take_requests of this queue return now. Any thread."""
        cdef ControlQueue* control = self.queue_of(queue)
        with nogil:
            control_queue_wake(control)

    cdef ControlQueue* queue_of(self, int queue) except NULL:
        if not 0 <= queue < CONTROL_QUEUES:
            raise ValueError(f"unknown control queue {queue}")
        return &self.network.controls[queue]

    def take_log_events(self):
        """Return the reactors' log events since the last call, oldest first."""
        cdef LogEvents* log = &self.network.log
        cdef LogEventData event
        cdef list events = []
        cdef int64_t suppressed = 0
        cdef bint taken = log_events_take(log, &event, &suppressed)
        while taken:
            events.append(LogEvent(
                event.level, event.peer.decode(), event.api_key if event.api_key >= 0 else None,
                event.message.decode("utf-8", "replace"),
            ))
            taken = log_events_take(log, &event, &suppressed)
        if suppressed:
            events.append(LogEvent(LOG_WARNING, "", None, "more such lines were suppressed", suppressed))
        return events

    def take_denials(self, int at_most):
        """Return what reactors have denied, oldest first, and how many denials found no room since the last call."""
        cdef Denials* denials = &self.network.denials
        cdef Denial denial
        cdef list taken = []
        cdef int64_t dropped = 0
        while len(taken) < at_most and denials_take(denials, &denial, &dropped):
            taken.append(ReactorDenial(
                shown(denial.user, denial.user_size, denial.user_digest), denial.host.decode(),
                denial.client_id[:denial.client_id_size].decode("utf-8", "replace") if denial.client_id_size >= 0 else None,
                denial.api_key, denial.operation, denial.resource_type,
                shown(denial.name, denial.name_size, denial.name_digest), denial.acls_generation,
                denial.user_size > DENIAL_TEXT_BYTES_MAX or denial.name_size > DENIAL_TEXT_BYTES_MAX,
            ))
        return taken, dropped

    def counters(self):
        """Return sums over the reactors; "requests" is a dict by API key, the rest are ints (names as in counters.pxd)."""
        return counter_sums(self.network)

    cdef void free_tracer(self):
        cdef TraceEvent* event
        if self.tracer == NULL:
            return
        event = tracer_take(self.tracer)
        while event != NULL:
            trace_free(event)
            event = tracer_take(self.tracer)
        free(self.tracer)

    def __dealloc__(self):
        cdef ReactorState* reactor
        cdef int i
        cdef int row
        if self.started and not self.stopped:
            Server.stop(self, 0.0)
        if not self.started:
            for i in range(self.network.reactors_count):
                reactor_discard_mail(<ReactorState*>self.network.reactors[i])
        for i in range(self.network.reactors_count):
            reactor = <ReactorState*>self.network.reactors[i]
            for row in range(API_ROWS):
                free(reactor.counters.apis[row])
                reactor.counters.apis[row] = NULL
            if not self.started:
                free(reactor)
        self.free_tracer()
        image_free(<MetadataImage*>self.network.image)
        self.network.image = NULL
        address_counts_free(&self.network.addresses)
        if self.network.quotas != NULL:
            quotas_free(<Quotas*>self.network.quotas)
        free(self.network.quotas)
        self.network.quotas = NULL
        if not self.started:
            for i in range(CONTROL_QUEUES):
                control_queue_free(&self.network.controls[i])
            log_events_free(&self.network.log)
            free(self.network.log_ring)
            denials_free(&self.network.denials)
            free(self.network.denials_ring)
            free(self.network.reactors)
            free(self.network)
        # A started server's few kilobytes are never freed: a partition's late wake may still read a reactor.
