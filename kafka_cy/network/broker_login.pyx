"""SASL of connections to other brokers: tokens come from Python generators, on the thread that makes the connection.

Those threads wait for the network anyway, and log in once for each connection, so they may take the GIL for it.
"""
from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.pycapsule cimport PyCapsule_GetPointer, PyCapsule_New
from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.stdint cimport uint8_t
from libc.stdio cimport snprintf
from libc.string cimport memcpy

from kafka_cy.network.client_transport cimport (
    LOGIN_COMPLETE, LOGIN_FAILED, LOGIN_FAILURE_BYTES_MAX, LOGIN_TOKEN, LOGIN_TOKEN_BYTES_MAX, LOGIN_WAITS, MECHANISM_BYTES_MAX,
    ClientLogin, ClientTransport, client_transport_capsule_name,
)


cdef class BrokerLogin:
    """Logs connections in with `mechanism`. `begin(host)` makes a generator that yields tokens, gets the broker's answers, and
    returns when it is content; its ValueError ends the connection, and its text, which has no secret, is told. It never waits for a
    network: it yields None until it has what it needs, and is asked again every few milliseconds.

    `encryption`: a capsule of a client transport; None: plaintext. Immutable; it must outlive the connections.
    """

    cdef ClientTransport to_connections
    cdef ClientLogin login
    cdef object begin
    cdef object encryption

    def __cinit__(self, str mechanism not None, begin not None, encryption=None):
        cdef bytes name = mechanism.encode()
        snprintf(self.login.mechanism, MECHANISM_BYTES_MAX, "%s", <const char*>name)
        self.begin, self.encryption = begin, encryption
        self.login.step = login_step
        self.login.forget = login_forget
        self.login.owner = <void*>self
        self.to_connections.login = &self.login
        if encryption is not None:
            self.to_connections.encryption = <ClientTransport*>PyCapsule_GetPointer(encryption, client_transport_capsule_name())

    @property
    def transport(self):
        """A capsule for BrokerConnection and ReplicaFetcher."""
        return PyCapsule_New(&self.to_connections, client_transport_capsule_name(), NULL)


cdef int login_step(
    ClientLogin* login, const char* host, void** conversation, const uint8_t* challenge, size_t size, uint8_t* token,
    size_t* token_size, char* failure,
) noexcept with gil:
    cdef BrokerLogin owner = <BrokerLogin>login.owner
    cdef bytes text
    try:
        if conversation[0] == NULL:
            steps = owner.begin((<bytes>host).decode())
            Py_INCREF(steps)
            conversation[0] = <void*>steps
            made = next(steps)
        else:
            steps = <object>conversation[0]
            made = steps.send(PyBytes_FromStringAndSize(<const char*>challenge, <Py_ssize_t>size))
        if made is None:
            return LOGIN_WAITS
        if len(made) > LOGIN_TOKEN_BYTES_MAX:
            raise ValueError("the message of this broker is too long")
        memcpy(token, <const char*><bytes>made, <size_t>len(made))
        token_size[0] = <size_t>len(made)
        return LOGIN_TOKEN
    except StopIteration:
        return LOGIN_COMPLETE
    except ValueError as error:
        text = str(error).encode()
    except BaseException as error:
        text = type(error).__name__.encode()    # its text may hold a secret
    snprintf(failure, LOGIN_FAILURE_BYTES_MAX, "%s", <const char*>text)
    return LOGIN_FAILED


cdef void login_forget(void** conversation) noexcept with gil:
    if conversation[0] != NULL:
        Py_DECREF(<object>conversation[0])
        conversation[0] = NULL
