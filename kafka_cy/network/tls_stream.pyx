"""A connected socket with TLS over a ClientTransport, as far as kazoo (ZooKeeper) uses sockets. For one Python thread at a time."""
cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.pycapsule cimport PyCapsule_GetPointer
from libc.stdint cimport int64_t, uint8_t

from kafka_cy.base.clock cimport monotonic_ns
from kafka_cy.base.posix_connect cimport POLLIN, POLLOUT, wait_for_socket
from kafka_cy.network.client_transport cimport (
    CLIENT_WANTS_NOTHING, CLIENT_WANTS_READ, CLIENT_WANTS_WRITE, ClientSession, ClientTransport, client_transport_capsule_name,
)

import os
import ssl


@cython.no_gc_clear     # the socket is open until __dealloc__: its descriptor may not be another one's by then
cdef class TlsStream:
    """`socket` is connected; it is this object's from now on, and does not block. `transport`: see BrokerConnection."""

    cdef ClientSession* session
    cdef object socket
    cdef object transport
    cdef int fd

    def __cinit__(self, socket, transport not None, str host not None):
        cdef ClientTransport* raw = <ClientTransport*>PyCapsule_GetPointer(transport, client_transport_capsule_name())
        cdef bytes raw_host = host.encode("idna" if not host.isascii() else "ascii")
        cdef const char* name = raw_host
        self.socket, self.transport = socket, transport
        self.fd = socket.fileno()
        socket.setblocking(False)
        self.session = raw.open(raw, self.fd, name)
        if self.session == NULL:
            raise MemoryError

    def __dealloc__(self):
        if self.session != NULL:
            self.session.close(self.session)

    def shake_hands(self, double timeout_s):
        """Complete the handshake. Raises OSError: why not."""
        cdef int64_t deadline_ns = monotonic_ns() + <int64_t>(timeout_s * 1e9)
        cdef int failed = 0
        cdef bint finished = False
        with nogil:
            while not failed and not finished:
                finished = self.session.shake_hands(self.session)
                if not finished and not CLIENT_WANTS_READ <= self.session.wants <= CLIENT_WANTS_WRITE:
                    break
                if not finished:
                    failed = wait_for_socket(
                        self.fd, POLLOUT if self.session.wants == CLIENT_WANTS_WRITE else POLLIN, -1, deadline_ns)
        if failed:
            raise OSError(failed, os.strerror(failed))
        if not finished:
            raise ConnectionError(self._reason())

    def _reason(self):
        return (<bytes>self.session.failure).decode(errors="replace") or "the connection was closed during the TLS handshake"

    cdef int _check_open(self) except -1:
        if self.session == NULL:
            raise ConnectionError("the connection is closed")
        return 0

    def recv(self, Py_ssize_t size):
        """Some bytes; b"" at the end. Raises ssl.SSLError as the sockets of `ssl` do if there are none yet, OSError."""
        cdef bytes data = PyBytes_FromStringAndSize(NULL, size)
        cdef uint8_t* room = <uint8_t*>PyBytes_AS_STRING(data)
        cdef ssize_t got
        self._check_open()
        with nogil:
            got = self.session.receive(self.session, room, <size_t>size)
        if got > 0:
            return data[:got]
        if self.session.wants == CLIENT_WANTS_NOTHING:
            return b""
        self._fail()

    def send(self, data):
        """Send bytes, perhaps not all: how many. Raises as recv() does."""
        cdef Py_buffer view
        cdef ssize_t sent
        self._check_open()
        PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
        with nogil:
            sent = self.session.send(self.session, <const uint8_t*>view.buf, <size_t>view.len)
        PyBuffer_Release(&view)
        if sent > 0:
            return sent
        self._fail()

    def _fail(self):
        if CLIENT_WANTS_READ <= self.session.wants <= CLIENT_WANTS_WRITE:
            code = ssl.SSL_ERROR_WANT_READ if self.session.wants == CLIENT_WANTS_READ else ssl.SSL_ERROR_WANT_WRITE
            raise ssl.SSLError(code, "not now")
        raise ConnectionError((<bytes>self.session.failure).decode(errors="replace") or "the connection is broken")

    def pending(self):
        """How many bytes are decrypted and not received: no poll sees them."""
        return self.session.pending(self.session) if self.session != NULL else 0

    def fileno(self):
        """The socket's descriptor."""
        return self.socket.fileno()

    def setblocking(self, flag):
        """It never blocks."""

    def close(self):
        """Tell the peer, and close the socket."""
        if self.session != NULL:
            self.session.close(self.session)
            self.session = NULL
        self.socket.close()
