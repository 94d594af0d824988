"""TLS for a listener, using OpenSSL: `TlsContext` holds key, certificates and rules; its sessions are in tls_session.pyx.

Renegotiation is disabled; a resumed session needs no full handshake.
"""
from cpython.pycapsule cimport PyCapsule_New
from libc.stdint cimport uint8_t

from kafka_cy.network.openssl cimport (
    BIO, BIO_free, BIO_new_mem_buf, ERR_clear_error, ERR_get_error, ERR_reason_error_string, EVP_PKEY, EVP_PKEY_free,
    GENERAL_NAMES, GENERAL_NAMES_free, NID_subject_alt_name, OPENSSL_cipher_name, OPENSSL_free, PEM_read_bio_PrivateKey,
    PEM_read_bio_X509, PKCS12, PKCS12_free, PKCS12_parse, SSL_CTX, SSL_CTX_add1_chain_cert, SSL_CTX_add_client_CA,
    SSL_CTX_check_private_key, SSL_CTX_clear_mode, SSL_CTX_free, SSL_CTX_get0_certificate, SSL_CTX_get_cert_store,
    SSL_CTX_get_max_proto_version, SSL_CTX_get_min_proto_version, SSL_CTX_new, SSL_CTX_set_cipher_list,
    SSL_CTX_set_ciphersuites, SSL_CTX_set_default_verify_paths, SSL_CTX_set_dh_auto, SSL_CTX_set_max_proto_version,
    SSL_CTX_set_min_proto_version, SSL_CTX_set_mode, SSL_CTX_set_options, SSL_CTX_set_session_cache_mode,
    SSL_CTX_set_session_id_context, SSL_CTX_set_verify, SSL_CTX_use_PrivateKey, SSL_CTX_use_certificate,
    SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER, SSL_MODE_AUTO_RETRY, SSL_MODE_ENABLE_PARTIAL_WRITE, SSL_MODE_RELEASE_BUFFERS,
    SSL_OP_CIPHER_SERVER_PREFERENCE, SSL_OP_IGNORE_UNEXPECTED_EOF, SSL_OP_NO_RENEGOTIATION, SSL_SESS_CACHE_OFF,
    SSL_VERIFY_FAIL_IF_NO_PEER_CERT, SSL_VERIFY_PEER, TLS1_2_VERSION, TLS1_3_VERSION, TLS_server_method, X509, X509_STACK,
    X509_STORE_add_cert, X509_STORE_set_flags, X509_V_FLAG_PARTIAL_CHAIN, X509_free, X509_get_ext_d2i,
    X509_get_subject_name, d2i_PKCS12_bio, i2d_GENERAL_NAME, i2d_X509_NAME, sk_GENERAL_NAME_num, sk_GENERAL_NAME_value,
    sk_X509_free, sk_X509_insert, sk_X509_new_null, sk_X509_num, sk_X509_push, sk_X509_value,
)
from kafka_cy.network.tls_session cimport tls_open
from kafka_cy.network.transport cimport transport_capsule_name

cdef extern from "<openssl/ssl.h>" nogil:
    EVP_PKEY* SSL_CTX_get0_privatekey(const SSL_CTX* context)
    int SSL_CTX_get0_chain_certs(SSL_CTX* context, X509_STACK** certificates)
    int SSL_CTX_set1_chain(SSL_CTX* context, X509_STACK* certificates)

PROTOCOLS = {"TLSv1.2": TLS1_2_VERSION, "TLSv1.3": TLS1_3_VERSION}


class TlsError(ValueError):
    """Keys, certificates or rules are unusable; the message is one sentence with the reason."""


cdef str openssl_reason():
    """Return OpenSSL's reason for its last failure and empty its error queue."""
    cdef const char* reason = ERR_reason_error_string(ERR_get_error())
    ERR_clear_error()
    return reason.decode() if reason != NULL else "not readable"


cdef BIO* reader_of(bytes content) except NULL:
    cdef BIO* bio = BIO_new_mem_buf(<const char*>content, <int>len(content))
    if bio == NULL:
        raise MemoryError
    return bio


cdef class TlsContext:
    """Key, certificates and rules of one listener.

    Every method raises TlsError for unusable input. Threads: any Python thread, one at a time. Do not change a context
    after passing it to a server.
    """

    def __cinit__(self):
        ERR_clear_error()
        self.context = SSL_CTX_new(TLS_server_method())
        if self.context == NULL:
            raise MemoryError
        SSL_CTX_set_options(
            self.context, SSL_OP_NO_RENEGOTIATION | SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_IGNORE_UNEXPECTED_EOF
        )
        SSL_CTX_set_mode(
            self.context,
            SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS,
        )
        SSL_CTX_clear_mode(self.context, SSL_MODE_AUTO_RETRY)   # otherwise a flood of KeyUpdates would keep SSL_read busy forever
        SSL_CTX_set_session_cache_mode(self.context, SSL_SESS_CACHE_OFF)    # clients keep their sessions in tickets
        # As in Java, any trusted certificate ends a chain, including a client's own.
        X509_STORE_set_flags(SSL_CTX_get_cert_store(self.context), X509_V_FLAG_PARTIAL_CHAIN)
        self.set_protocols(PROTOCOLS)
        SSL_CTX_set_dh_auto(self.context, 1)
        SSL_CTX_set_session_id_context(self.context, b"kafka-cy", 8)
        self.to_sessions.open = tls_open
        self.to_sessions.context = self.context

    def __dealloc__(self):
        SSL_CTX_free(self.context)

    @property
    def transport(self):
        """Return a capsule for `Server.set_transport`; this object must outlive its use."""
        return PyCapsule_New(&self.to_sessions, transport_capsule_name(), NULL)

    def set_protocols(self, names):
        """Allow only these versions: "TLSv1.2", "TLSv1.3" or both."""
        unknown = [name for name in names if name not in PROTOCOLS]
        if unknown or not names:
            raise TlsError(f"{', '.join(unknown) or 'no version'}: only {' and '.join(PROTOCOLS)} are spoken")
        versions = [PROTOCOLS[name] for name in names]
        SSL_CTX_set_min_proto_version(self.context, min(versions))
        SSL_CTX_set_max_proto_version(self.context, max(versions))

    def set_cipher_suites(self, names):
        """Allow only these cipher suites, by their standard names (as in Java). Call it after `set_protocols`.

        A TLS version with none of them is disabled.
        """
        cdef bytes text
        newer = []      # TLS 1.3 has its own suites
        older = []
        for name in names:
            if "_WITH_" not in name:
                newer.append(name)
                continue
            text = name.encode()
            known = OPENSSL_cipher_name(text).decode()
            if known == "(NONE)":
                raise TlsError(f"{name}: unknown cipher suite")
            older.append(known)
        text = ":".join(newer).encode()
        if SSL_CTX_set_ciphersuites(self.context, text) != 1:
            raise TlsError(f"{', '.join(newer)}: {openssl_reason()}")
        text = ":".join(older).encode()
        if older and SSL_CTX_set_cipher_list(self.context, text) != 1:
            raise TlsError(f"{', '.join(older)}: {openssl_reason()}")
        if not newer:
            SSL_CTX_set_max_proto_version(self.context, TLS1_2_VERSION)
        if not older:
            SSL_CTX_set_min_proto_version(self.context, TLS1_3_VERSION)
        if SSL_CTX_get_min_proto_version(self.context) > SSL_CTX_get_max_proto_version(self.context):
            raise TlsError(f"{', '.join(names)}: not available in any enabled version of TLS")

    def use_pem(self, bytes key not None, bytes chain not None, bytes password=b""):
        """Present the certificates of `chain`, starting with the broker's own; the first private key in `key` is used.

        PKCS#8 (also encrypted) and older PEM forms are accepted. `password` decrypts an encrypted key.
        """
        cdef BIO* bio = reader_of(key)
        cdef char* secret = password
        cdef EVP_PKEY* private_key = PEM_read_bio_PrivateKey(bio, NULL, NULL, secret)   # NULL would prompt on the terminal
        cdef X509_STACK* certificates
        BIO_free(bio)
        if private_key == NULL:
            raise TlsError(f"the private key cannot be read: {openssl_reason()}")
        try:
            certificates = read_pem(chain)
            try:
                self.show(private_key, certificates)
            finally:
                stack_free(certificates)
        finally:
            EVP_PKEY_free(private_key)

    def use_pkcs12(self, bytes store not None, bytes password not None):
        """Present the certificates of a PKCS#12 file, with its key."""
        cdef EVP_PKEY* private_key = NULL
        cdef X509_STACK* certificates = read_pkcs12(store, password, &private_key)
        try:
            if private_key == NULL:
                raise TlsError("it contains no private key with its certificate")
            self.show(private_key, certificates)
        finally:
            EVP_PKEY_free(private_key)
            stack_free(certificates)

    def present_as(self, TlsContext other not None):
        """Present the same certificates as `other`, with its key. Nothing is decrypted again."""
        cdef X509_STACK* chain = NULL
        if SSL_CTX_use_certificate(self.context, SSL_CTX_get0_certificate(other.context)) != 1:
            raise TlsError(f"the certificate cannot be used: {openssl_reason()}")
        if SSL_CTX_use_PrivateKey(self.context, SSL_CTX_get0_privatekey(other.context)) != 1:
            raise TlsError(f"the private key cannot be used: {openssl_reason()}")
        SSL_CTX_get0_chain_certs(other.context, &chain)
        if SSL_CTX_set1_chain(self.context, chain) != 1:
            raise TlsError(f"a certificate of the chain cannot be used: {openssl_reason()}")

    def trust_pem(self, bytes certificates not None):
        """Accept clients whose certificates were signed by these."""
        self.trust(read_pem(certificates))

    def trust_pkcs12(self, bytes store not None, bytes password not None):
        """The same, with the certificates of a PKCS#12 file."""
        cdef EVP_PKEY* private_key = NULL
        cdef X509_STACK* certificates = read_pkcs12(store, password, &private_key)
        EVP_PKEY_free(private_key)
        self.trust(certificates)

    def trust_system(self):
        """Accept clients whose certificates were signed by this machine's authorities."""
        SSL_CTX_set_default_verify_paths(self.context)

    def ask_clients(self, bint required):
        """Request client certificates. A bad one is always refused; a missing one is refused if `required`."""
        cdef int mode = SSL_VERIFY_PEER
        if required:
            mode |= SSL_VERIFY_FAIL_IF_NO_PEER_CERT
        SSL_CTX_set_verify(self.context, mode, NULL)

    @property
    def subject(self):
        """Return the distinguished name of the broker's own certificate, as DER; empty if there is none."""
        cdef X509* certificate = SSL_CTX_get0_certificate(self.context)
        cdef uint8_t* der = NULL
        cdef int size
        if certificate == NULL:
            return b""
        size = i2d_X509_NAME(X509_get_subject_name(certificate), &der)
        name = (<const char*>der)[:size] if size > 0 else b""
        OPENSSL_free(der)
        return name

    @property
    def alternative_names(self):
        """Return the alternative names of the broker's own certificate, each as DER."""
        cdef X509* certificate = SSL_CTX_get0_certificate(self.context)
        cdef GENERAL_NAMES* names = NULL
        cdef uint8_t* der = NULL
        cdef int size
        cdef int i
        if certificate != NULL:
            names = <GENERAL_NAMES*>X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL)
        if names == NULL:
            return frozenset()
        found = []
        for i in range(sk_GENERAL_NAME_num(names)):
            der = NULL
            size = i2d_GENERAL_NAME(sk_GENERAL_NAME_value(names, i), &der)
            found.append((<const char*>der)[:size] if size > 0 else b"")
            OPENSSL_free(der)
        GENERAL_NAMES_free(names)
        return frozenset(found)

    cdef int show(self, EVP_PKEY* private_key, X509_STACK* certificates) except -1:
        cdef int i
        if SSL_CTX_use_certificate(self.context, sk_X509_value(certificates, 0)) != 1:
            raise TlsError(f"the certificate cannot be used: {openssl_reason()}")
        if SSL_CTX_use_PrivateKey(self.context, private_key) != 1 or SSL_CTX_check_private_key(self.context) != 1:
            raise TlsError(f"the private key does not match the certificate: {openssl_reason()}")
        for i in range(1, sk_X509_num(certificates)):
            if SSL_CTX_add1_chain_cert(self.context, sk_X509_value(certificates, i)) != 1:
                raise TlsError(f"a certificate of the chain cannot be used: {openssl_reason()}")
        return 0

    cdef int trust(self, X509_STACK* certificates) except -1:
        """Trust these certificates; takes ownership of the list."""
        cdef int i
        try:
            for i in range(sk_X509_num(certificates)):
                if X509_STORE_add_cert(SSL_CTX_get_cert_store(self.context), sk_X509_value(certificates, i)) != 1:
                    raise TlsError(f"a trusted certificate cannot be used: {openssl_reason()}")
                SSL_CTX_add_client_CA(self.context, sk_X509_value(certificates, i))     # helps clients choose a certificate
        finally:
            stack_free(certificates)
        return 0


# -- files --

cdef X509_STACK* read_pem(bytes content) except NULL:
    """Return the certificates of a PEM text, at least one; other content is skipped."""
    cdef BIO* bio = reader_of(content)
    cdef X509_STACK* certificates = sk_X509_new_null()
    cdef X509* certificate = PEM_read_bio_X509(bio, NULL, NULL, b"")
    while certificate != NULL:
        sk_X509_push(certificates, certificate)
        certificate = PEM_read_bio_X509(bio, NULL, NULL, b"")
    BIO_free(bio)
    reason = openssl_reason()
    if sk_X509_num(certificates) == 0 or reason != "no start line":     # OpenSSL's reason at the end of the text
        stack_free(certificates)
        raise TlsError(f"a certificate cannot be read: {reason}")
    return certificates


cdef X509_STACK* read_pkcs12(bytes content, bytes password, EVP_PKEY** private_key) except NULL:
    """Return the certificates of a PKCS#12 file, at least one; the private key's (NULL: no key) comes first."""
    cdef BIO* bio = reader_of(content)
    cdef PKCS12* store = d2i_PKCS12_bio(bio, NULL)
    cdef X509* certificate = NULL
    cdef X509_STACK* certificates = NULL
    cdef const char* secret = password
    cdef int parsed
    BIO_free(bio)
    if store == NULL:
        raise TlsError(f"it is not a PKCS#12 file: {openssl_reason()}")
    with nogil:     # it derives a key from the password, in some 50 ms
        parsed = PKCS12_parse(store, secret, private_key, &certificate, &certificates)
        PKCS12_free(store)
    if parsed != 1:
        reason = openssl_reason()
        if reason == "unsupported":
            raise TlsError("OpenSSL dropped its encryption (RC2, of Java before 16): copy it with a newer keytool -importkeystore")
        raise TlsError(f"the password is wrong or the file is damaged: {reason}")
    if certificates == NULL:
        certificates = sk_X509_new_null()
    if certificate != NULL:
        sk_X509_insert(certificates, certificate, 0)
    if sk_X509_num(certificates) == 0:
        stack_free(certificates)
        EVP_PKEY_free(private_key[0])
        raise TlsError("it contains no certificate")
    return certificates


cdef void stack_free(X509_STACK* certificates) noexcept:
    cdef int i
    for i in range(sk_X509_num(certificates)):
        X509_free(sk_X509_value(certificates, i))
    sk_X509_free(certificates)
