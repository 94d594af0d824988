"""The part of OpenSSL that the TLS modules use (libssl and libcrypto, 3.0 or newer)."""
from libc.stdint cimport uint8_t, uint64_t

cdef extern from "<openssl/bio.h>" nogil:
    enum:
        BIO_NOCLOSE
    ctypedef struct BIO
    BIO* BIO_new_mem_buf(const void* data, int size)
    BIO* BIO_new_socket(int fd, int close)
    int BIO_free(BIO* bio)
    int BIO_pending(BIO* bio)
    uint64_t BIO_number_written(BIO* bio)
    long BIO_set_mem_eof_return(BIO* bio, int value)

cdef extern from "<openssl/sha.h>" nogil:
    uint8_t* SHA256(const uint8_t* data, size_t size, uint8_t* digest)

cdef extern from "<openssl/ssl.h>" nogil:
    enum:
        SSL_ERROR_WANT_READ
        SSL_ERROR_WANT_WRITE
        SSL_ERROR_ZERO_RETURN
        SSL_ERROR_SYSCALL
        SSL_ERROR_SSL
        SSL_VERIFY_PEER
        SSL_VERIFY_FAIL_IF_NO_PEER_CERT
        TLS1_2_VERSION
        TLS1_3_VERSION
    const uint64_t SSL_OP_NO_RENEGOTIATION
    const uint64_t SSL_OP_CIPHER_SERVER_PREFERENCE
    const uint64_t SSL_OP_IGNORE_UNEXPECTED_EOF
    const long SSL_MODE_ENABLE_PARTIAL_WRITE
    const long SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER
    const long SSL_MODE_RELEASE_BUFFERS
    const long SSL_MODE_AUTO_RETRY
    const long SSL_SESS_CACHE_OFF
    ctypedef struct SSL
    ctypedef struct SSL_CTX
    ctypedef struct SSL_METHOD
    const SSL_METHOD* TLS_server_method()
    SSL_CTX* SSL_CTX_new(const SSL_METHOD* method)
    void SSL_CTX_free(SSL_CTX* context)
    int SSL_CTX_up_ref(SSL_CTX* context)
    uint64_t SSL_CTX_set_options(SSL_CTX* context, uint64_t options)
    long SSL_CTX_set_mode(SSL_CTX* context, long mode)
    long SSL_CTX_clear_mode(SSL_CTX* context, long mode)
    long SSL_CTX_set_session_cache_mode(SSL_CTX* context, long mode)
    int SSL_CTX_set_min_proto_version(SSL_CTX* context, int version)
    int SSL_CTX_set_max_proto_version(SSL_CTX* context, int version)
    int SSL_CTX_get_min_proto_version(SSL_CTX* context)
    int SSL_CTX_get_max_proto_version(SSL_CTX* context)
    int SSL_CTX_set_cipher_list(SSL_CTX* context, const char* ciphers)
    int SSL_CTX_set_ciphersuites(SSL_CTX* context, const char* ciphers)
    int SSL_CTX_set_dh_auto(SSL_CTX* context, int on)
    int SSL_CTX_set_session_id_context(SSL_CTX* context, const uint8_t* id, unsigned int size)
    int SSL_CTX_use_certificate(SSL_CTX* context, X509* certificate)
    int SSL_CTX_use_PrivateKey(SSL_CTX* context, EVP_PKEY* key)
    int SSL_CTX_check_private_key(SSL_CTX* context)
    int SSL_CTX_add1_chain_cert(SSL_CTX* context, X509* certificate)
    X509* SSL_CTX_get0_certificate(SSL_CTX* context)
    X509_STORE* SSL_CTX_get_cert_store(SSL_CTX* context)
    int SSL_CTX_set_default_verify_paths(SSL_CTX* context)
    int SSL_CTX_add_client_CA(SSL_CTX* context, X509* certificate)
    void SSL_CTX_set_verify(SSL_CTX* context, int mode, void* callback)
    const char* OPENSSL_cipher_name(const char* standard_name)
    SSL* SSL_new(SSL_CTX* context)
    void SSL_free(SSL* ssl)
    void SSL_set0_rbio(SSL* ssl, BIO* bio)
    void SSL_set0_wbio(SSL* ssl, BIO* bio)
    BIO* SSL_get_rbio(SSL* ssl)
    BIO* SSL_get_wbio(SSL* ssl)
    void SSL_set_accept_state(SSL* ssl)
    int SSL_do_handshake(SSL* ssl)
    int SSL_is_init_finished(SSL* ssl)
    int SSL_read(SSL* ssl, void* data, int size)
    int SSL_write(SSL* ssl, const void* data, int size)
    int SSL_shutdown(SSL* ssl)
    int SSL_get_error(SSL* ssl, int result)
    long SSL_get_verify_result(SSL* ssl)
    X509* SSL_get0_peer_certificate(const SSL* ssl)

cdef extern from "<openssl/x509.h>" nogil:
    enum:
        X509_V_OK
        X509_V_FLAG_PARTIAL_CHAIN
    ctypedef struct X509
    ctypedef struct X509_NAME
    ctypedef struct X509_STORE
    ctypedef struct ASN1_TIME
    void X509_free(X509* certificate)
    const ASN1_TIME* X509_get0_notAfter(const X509* certificate)
    int X509_cmp_current_time(const ASN1_TIME* time)    # positive: in the future
    X509_NAME* X509_get_subject_name(X509* certificate)
    int i2d_X509_NAME(X509_NAME* name, uint8_t** out)
    int X509_STORE_set_flags(X509_STORE* store, unsigned long flags)
    int X509_STORE_add_cert(X509_STORE* store, X509* certificate)
    const char* X509_verify_cert_error_string(long code)

cdef extern from "<openssl/x509v3.h>" nogil:
    enum:
        NID_subject_alt_name
    ctypedef struct GENERAL_NAME
    ctypedef struct GENERAL_NAMES
    void* X509_get_ext_d2i(X509* certificate, int nid, int* critical, int* index)
    int sk_GENERAL_NAME_num(const GENERAL_NAMES* names)
    GENERAL_NAME* sk_GENERAL_NAME_value(const GENERAL_NAMES* names, int index)
    int i2d_GENERAL_NAME(GENERAL_NAME* name, uint8_t** out)
    void GENERAL_NAMES_free(GENERAL_NAMES* names)

cdef extern from "<openssl/crypto.h>" nogil:
    void OPENSSL_free(void* data)

cdef extern from "<openssl/evp.h>" nogil:
    ctypedef struct EVP_PKEY
    void EVP_PKEY_free(EVP_PKEY* key)

cdef extern from "<openssl/pem.h>" nogil:
    X509* PEM_read_bio_X509(BIO* bio, X509** out, void* callback, void* password)
    EVP_PKEY* PEM_read_bio_PrivateKey(BIO* bio, EVP_PKEY** out, void* callback, void* password)

cdef extern from "<openssl/pkcs12.h>" nogil:
    ctypedef struct PKCS12
    ctypedef struct X509_STACK "STACK_OF(X509)"
    PKCS12* d2i_PKCS12_bio(BIO* bio, PKCS12** out)
    void PKCS12_free(PKCS12* store)
    int PKCS12_parse(PKCS12* store, const char* password, EVP_PKEY** key, X509** certificate, X509_STACK** others)
    int sk_X509_num(const X509_STACK* stack)
    X509* sk_X509_value(const X509_STACK* stack, int index)
    X509_STACK* sk_X509_new_null()
    int sk_X509_push(X509_STACK* stack, X509* certificate)
    int sk_X509_insert(X509_STACK* stack, X509* certificate, int index)
    void sk_X509_free(X509_STACK* stack)

cdef extern from "<openssl/err.h>" nogil:
    enum:
        SSL_R_HTTP_REQUEST
        SSL_R_WRONG_VERSION_NUMBER
    void ERR_clear_error()
    int ERR_GET_REASON(unsigned long error)
    unsigned long ERR_get_error()
    const char* ERR_reason_error_string(unsigned long error)
