"""A connection to another broker for Python threads: a BrokerClient whose calls block without the GIL."""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.pycapsule cimport PyCapsule_GetPointer
from libc.stdint cimport int16_t, int32_t, int64_t, uint64_t
from libc.string cimport memcpy

from kafka_cy.base.posix cimport EFD_CLOEXEC, EFD_NONBLOCK, close, eventfd, write
from kafka_cy.network.broker_client cimport (
    CLIENT_BACKING_OFF, CLIENT_CLOSED, CLIENT_CONFUSED, CLIENT_NO_MEMORY, CLIENT_NOT_LOGGED_IN, CLIENT_STOPPED, CLIENT_TIMED_OUT,
    CLIENT_UNREACHABLE, REQUEST_BYTES_MAX, BrokerClient, client_begin, client_call, client_disconnect, client_free, client_init,
    client_logins_failed,
)
from kafka_cy.network.client_transport cimport ClientTransport, client_transport_capsule_name
from kafka_cy.records.wire cimport Reader, Writer, write_raw, writer_free, writer_init


class BrokerConnectionError(ConnectionError):
    """A request got no response. `kind` is a name of KINDS."""

    def __init__(self, message, kind):
        super().__init__(message)
        self.kind = kind


def logins_failed_so_far():
    """How many logins of this broker to others have failed."""
    return client_logins_failed()


KINDS = {
    CLIENT_UNREACHABLE: "unreachable", CLIENT_BACKING_OFF: "backing off", CLIENT_TIMED_OUT: "timed out", CLIENT_CLOSED: "closed",
    CLIENT_CONFUSED: "confused", CLIENT_NO_MEMORY: "no memory", CLIENT_STOPPED: "stopped",
    CLIENT_NOT_LOGGED_IN: "not logged in",
}


cdef class BrokerConnection:
    """A connection to another broker for one Python thread at a time, which blocks without the GIL.

    It connects with the first request. `transport`: a capsule of a client transport, None for plaintext; its owner must outlive
    this.
    """

    cdef BrokerClient client
    cdef object transport

    def __cinit__(
        self, str host not None, int32_t port, str client_id not None, transport=None, *, int64_t timeout_ms=30000,
        int64_t backoff_min_ms=50, int64_t backoff_max_ms=1000, size_t response_bytes_max=REQUEST_BYTES_MAX
    ):
        cdef bytes raw_host = host.encode("idna" if not host.isascii() else "ascii")
        cdef bytes raw_id = client_id.encode()
        cdef ClientTransport* raw_transport = NULL
        cdef int stop_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)
        if transport is not None:
            raw_transport = <ClientTransport*>PyCapsule_GetPointer(transport, client_transport_capsule_name())
        self.transport = transport
        client_init(&self.client, raw_host, port, raw_id, raw_transport, stop_fd)
        if stop_fd < 0:
            raise OSError("no descriptor for an eventfd")
        self.client.timeout_ns = timeout_ms * 1000000
        self.client.backoff_min_ns = backoff_min_ms * 1000000
        self.client.backoff_max_ns = backoff_max_ms * 1000000
        self.client.response_bytes_max = response_bytes_max

    def __dealloc__(self):
        client_free(&self.client)
        if self.client.stop_fd >= 0:
            close(self.client.stop_fd)

    def request(self, int16_t api_key, int16_t version, bytes body not None, *, bint flexible, bint flexible_response):
        """Send a request and return the body of its response. `flexible`: header version 2 of the request, 1 of the response.

        Raises BrokerConnectionError; the next request connects anew.
        """
        cdef Writer w
        cdef Reader r
        cdef const char* raw = body
        cdef size_t size = <size_t>len(body)
        cdef bytes found
        cdef int error
        with nogil:
            writer_init(&w, REQUEST_BYTES_MAX)
            client_begin(&self.client, &w, api_key, version, flexible)
            write_raw(&w, raw, size)
            error = client_call(&self.client, &w, flexible_response, &r)
            writer_free(&w)
        if error:
            text = (<bytes>self.client.failure).decode(errors="replace")
            raise BrokerConnectionError(f"{self.address}: {text}", KINDS[error])
        found = PyBytes_FromStringAndSize(NULL, r.end - r.position)
        memcpy(PyBytes_AS_STRING(found), r.position, <size_t>(r.end - r.position))
        return found

    def interrupt(self):
        """End the request in progress and all later ones ("stopped"). Any thread may call it."""
        cdef uint64_t one = 1
        write(self.client.stop_fd, &one, sizeof(one))

    def close(self):
        """Close the connection; a later request would open another one. Only the thread that makes requests may call it."""
        with nogil:
            client_disconnect(&self.client)

    @property
    def address(self):
        """host:port"""
        host = (<bytes>self.client.host).decode()
        return f"[{host}]:{self.client.port}" if ":" in host else f"{host}:{self.client.port}"
