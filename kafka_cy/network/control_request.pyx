"""A request for the control plane, as Python sees it."""
from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t
from libc.stdlib cimport malloc, realloc
from libc.string cimport memcpy, strncpy

from kafka_cy.base.atomics cimport atomic_load_i32, atomic_sub_i64
from kafka_cy.base.clock cimport ticks_now
from kafka_cy.network.authentication cimport STEP_NONE, STEP_RAW_TOKEN
from kafka_cy.network.client_software cimport software_read
from kafka_cy.network.control_queue cimport CONTROL_ERRORS_MAX, ControlMessage
from kafka_cy.network.counters cimport ClientSoftware, Counters
from kafka_cy.network.dispatch cimport response_header_size, response_header_write
from kafka_cy.network.principal cimport principal_new
from kafka_cy.network.reactor_state cimport ReactorState
from kafka_cy.network.server cimport Server
from kafka_cy.records.wire cimport store_be32


cdef class ControlRequest:
    """A request for the control plane, or a question (network/questions). Answer it once; if dropped unanswered, it closes."""

    def begin(self):
        """Note that the handler starts: the queue time ends here."""
        if self.message != NULL and self.message.begun == 0:
            self.message.begun = ticks_now()
            atomic_sub_i64(&self.server.network.controls[self.message.queue].count, 1)

    def handled(self):
        """Note that the handler returned: time from now until the response counts as remote time, not as work."""
        if self.message != NULL:
            self.message.handled = ticks_now()

    def respond(self, bytes payload, errors=None):
        """Send the response body `payload`; size and header are added here. RuntimeError if already answered.

        None: nothing is sent, which only a bare SASL token may have.
        `errors` holds how often each error code (0: success) occurs in the body, for the metrics.
        """
        cdef ControlMessage* message = self.message
        cdef bint flexible = False
        cdef size_t header_size = 0
        if message == NULL:
            raise RuntimeError("the request has already been answered")
        if payload is None:
            if message.authentication_step != STEP_RAW_TOKEN:
                raise TypeError("a request has a response")
            payload = b""
        elif message.authentication_step == STEP_RAW_TOKEN:
            header_size = 4
        elif not self.is_question:
            flexible = self.api_version >= self.server.network.apis[self.api_key].flexible_from
            header_size = <size_t>response_header_size(<int16_t>self.api_key, flexible)
        message.response_size = header_size + <size_t>len(payload)
        message.response = <uint8_t*>malloc(max(message.response_size, <size_t>1))
        if message.response == NULL:
            raise MemoryError
        if header_size == 4 and message.authentication_step == STEP_RAW_TOKEN:
            store_be32(message.response, <unsigned int>len(payload))
        elif header_size and not self.is_question:
            response_header_write(
                message.response, <int16_t>self.api_key, flexible, self.correlation_id, message.response_size)
        memcpy(message.response + header_size, <const char*>payload, <size_t>len(payload))
        if errors:
            for code, times in errors.items():
                if message.errors_count < CONTROL_ERRORS_MAX:
                    message.error_codes[message.errors_count] = code
                    message.error_times[message.errors_count] = times
                    message.errors_count += 1
        self.message = NULL
        self.server.post_back(message)

    def throttle(self, int throttle_ms):
        """The connection will not be read for this time, in ms, and the response will say so. Call it before respond."""
        if self.message != NULL:
            self.message.throttle_ms = max(self.message.throttle_ms, throttle_ms)

    def authenticate(self, int state, str name=None, int64_t expires_ns=0, int mechanism=0, bint token_authenticated=False):
        """Decide how the connection goes on, before `respond`: one of the states of network/authentication.

        With `name`, the client is this user from now on, until `expires_ns` (monotonic; 0: without an end). `mechanism` is a
        number that `authentication` returns later. `token_authenticated`: the client has a delegation token of the user.
        """
        cdef ControlMessage* message = self.message
        cdef bytes text
        if message == NULL:
            raise RuntimeError("the request has already been answered")
        message.authentication_state = state
        if name is not None:
            text = name.encode()
            message.new_principal = principal_new(text, <int32_t>len(text), token_authenticated)
            if message.new_principal == NULL:
                raise MemoryError
            message.authenticates = True
            message.expires_ns = expires_ns
            message.mechanism = mechanism

    @property
    def principal(self):
        """The name of the user that the client has authenticated as; None: anonymous, or already answered."""
        if self.message == NULL or self.message.principal == NULL:
            return None
        return self.message.principal.name[:self.message.principal.size].decode()

    @property
    def token_authenticated(self):
        """Whether the client has authenticated with a delegation token of its user; False if already answered."""
        return self.message != NULL and self.message.principal != NULL and bool(self.message.principal.token_authenticated)

    @property
    def authentication(self):
        """(step, state, when the client authenticated last, with which mechanism) of network/authentication.

        The time is monotonic, in ns; 0: never.
        """
        cdef ControlMessage* message = self.message
        if message == NULL:
            return STEP_NONE, 0, 0, 0
        return message.authentication_step, message.authentication_state, message.authenticated_ns, message.mechanism

    def close(self, str reason not None):
        """Close the client's connection after its earlier requests are answered; `reason` is logged."""
        cdef ControlMessage* message = self.message
        cdef bytes text = reason.encode()
        if message == NULL:
            raise RuntimeError("the request has already been answered")
        strncpy(message.close_reason, text, sizeof(message.close_reason) - 1)
        self.message = NULL
        self.server.post_back(message)

    @property
    def body(self):
        """The request's bytes after its header, copied at each use; b"" after release_body."""
        cdef Py_ssize_t id_size
        if self.message == NULL:
            raise RuntimeError("the request has already been answered")
        id_size = self.message.client_id_size if self.message.client_id_size > 0 else 0
        return (<char*>self.message.data + id_size)[:self.message.body_size]

    def release_body(self):
        """Free the decoded body's memory and its part of the request budget."""
        cdef ControlMessage* smaller
        if self.message == NULL:
            return
        atomic_sub_i64(&self.server.network.queued_request_bytes, self.message.reserved)
        atomic_sub_i64(&self.server.network.controls[self.message.queue].bytes, self.message.reserved)
        self.message.reserved = 0
        self.message.body_size = 0
        self.message.client_id_size = -1
        smaller = <ControlMessage*>realloc(self.message, sizeof(ControlMessage))
        if smaller != NULL:
            self.message = smaller

    @property
    def client_software(self):
        """(name, version) from the client's ApiVersions (KIP-511); "unknown" if not given, or if already answered."""
        cdef ClientSoftware copy
        cdef Counters* counters
        if self.message != NULL and self.message.software >= 0:
            counters = &(<ReactorState*>self.server.network.reactors[self.message.reactor]).counters
            if software_read(counters, self.message.software, &copy):
                return copy.name[:copy.name_size].decode(), copy.version[:copy.version_size].decode()
        return "unknown", "unknown"

    @property
    def connection_closed(self):
        """Whether the connection has closed; False if already answered.

        A connection that closes later is told by Server.take_closed, if it is watched: a request that is handled late, because it
        was long for example, may come after that notice.
        """
        return self.message != NULL and atomic_load_i32(&self.message.connection.dead) != 0

    @property
    def answered(self):
        """Whether respond or close was called."""
        return self.message == NULL

    def __dealloc__(self):
        if self.message != NULL:
            strncpy(self.message.close_reason, "the broker gave no response", sizeof(self.message.close_reason) - 1)
            self.server.post_back(self.message)

    def __repr__(self):
        return f"<ControlRequest api {self.api_key} v{self.api_version} from {self.client_host}:{self.client_port}>"


cdef ControlRequest request_of(Server server, ControlMessage* message):
    cdef ControlRequest request = ControlRequest.__new__(ControlRequest)
    cdef Py_ssize_t id_size = message.client_id_size if message.client_id_size > 0 else 0
    request.server = server
    request.message = message
    request.api_key = message.api_key
    request.api_version = message.api_version
    request.correlation_id = message.correlation_id
    request.client_host = message.client_host.decode()
    request.client_port = message.client_port
    request.listener_index = message.listener
    request.connection_id = message.connection_id
    request.received_ns = message.received_ns
    request.is_question = message.answered_question != NULL
    if message.client_id_size >= 0:
        request.client_id = (<char*>message.data)[:id_size].decode("utf-8", "replace")
    return request
