#ifndef MARTLET_CTLS_H
#define MARTLET_CTLS_H
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

// Macros that Swift does not import, and calls that are one thing with them.

// No chain is judged here: what the peer has shown is taken out of the connection and judged outside before anything is believed.
static inline int martlet_tls_take_any_chain(X509_STORE_CTX *context, void *ignored) {
    (void)ignored;
    X509_STORE_CTX_set_error(context, X509_V_OK);
    return 1;
}

// A context without resumption, renegotiation, compression, and versions beyond those that are wanted. NULL where OpenSSL cannot have that.
static inline SSL_CTX *martlet_tls_context(int server, int least, int most, int asks_for_certificate) {
    SSL_CTX *context = SSL_CTX_new(server ? TLS_server_method() : TLS_client_method());
    if (context == NULL) return NULL;
    SSL_CTX_set_options(context, SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_CLEANSE_PLAINTEXT | SSL_OP_CIPHER_SERVER_PREFERENCE);
    // Nobody renegotiates here, so that a server that does not know how to do it safely has nothing to do wrong.
    if (!server) SSL_CTX_set_options(context, SSL_OP_LEGACY_SERVER_CONNECT);
    // Between two messages, which may be half a minute apart, a connection has no buffers.
    SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_cert_verify_callback(context, martlet_tls_take_any_chain, NULL);
    SSL_CTX_set_verify(context, !server || asks_for_certificate ? SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT : SSL_VERIFY_NONE, NULL);
    SSL_CTX_set_max_cert_list(context, 65536);
    // Forward secrecy in every suite: what certificates and passwords went through stays closed when the key is lost.
    if (SSL_CTX_set_num_tickets(context, 0) != 1 || SSL_CTX_set_min_proto_version(context, least) != 1 || SSL_CTX_set_max_proto_version(context, most) != 1 ||
        SSL_CTX_set_cipher_list(context, "ECDHE+AESGCM:ECDHE+CHACHA20:DHE+AESGCM:ECDHE+AES:DHE+AES:!aNULL") != 1 || SSL_CTX_set_dh_auto(context, 1) != 1) {
        SSL_CTX_free(context);
        return NULL;
    }
    return context;
}
static inline int martlet_tls_add_chain(SSL_CTX *context, X509 *certificate) { return SSL_CTX_add1_chain_cert(context, certificate) == 1; }
static inline int martlet_tls_server_name(SSL *ssl, const char *name) { return SSL_set_tlsext_host_name(ssl, name) == 1; }
// What is to go out: moved to `into`, at most `most` octets; or, how much there is.
static inline size_t martlet_tls_take(SSL *ssl, unsigned char *into, size_t most) {
    BIO *output = SSL_get_wbio(ssl);
    int count = output == NULL ? 0 : BIO_read(output, into, most > 65536 ? 65536 : (int)most);
    return count > 0 ? (size_t)count : 0;
}
static inline size_t martlet_tls_pending(SSL *ssl) {
    BIO *output = SSL_get_wbio(ssl);
    return output == NULL ? 0 : (size_t)BIO_ctrl_pending(output);
}
// What has come and was not looked at yet.
static inline size_t martlet_tls_unread(SSL *ssl) {
    BIO *input = SSL_get_rbio(ssl);
    return input == NULL ? 0 : (size_t)BIO_ctrl_pending(input);
}
static inline int martlet_tls_give(SSL *ssl, const unsigned char *bytes, size_t count) {
    BIO *input = SSL_get_rbio(ssl);
    return input != NULL && count <= 1 << 20 && BIO_write(input, bytes, (int)count) == (int)count;
}
static inline int martlet_tls_memory(SSL *ssl) {
    BIO *input = BIO_new(BIO_s_mem()), *output = BIO_new(BIO_s_mem());
    if (input == NULL || output == NULL) {
        BIO_free(input);
        BIO_free(output);
        return 0;
    }
    BIO_set_mem_eof_return(input, -1);
    BIO_set_mem_eof_return(output, -1);
    SSL_set_bio(ssl, input, output);
    return 1;
}
// The certificates that the other end has shown, its own first: the one of that number, DER, which the caller frees; 0 where there are no more.
static inline int martlet_tls_shown(SSL *ssl, int number, unsigned char **der) {
    X509 *own = SSL_get0_peer_certificate(ssl);
    *der = NULL;
    if (own == NULL) return 0;
    if (number == 0) return i2d_X509(own, der);
    STACK_OF(X509) *chain = SSL_get_peer_cert_chain(ssl);
    // The chain that a client sees begins with that certificate, and the one that a server sees does not.
    int skipped = sk_X509_num(chain) > 0 && X509_cmp(sk_X509_value(chain, 0), own) == 0 ? 0 : -1;
    int index = number + skipped;
    return index < 0 || index >= sk_X509_num(chain) ? 0 : i2d_X509(sk_X509_value(chain, index), der);
}
static inline void martlet_tls_free(void *memory) { OPENSSL_free(memory); }
static const int MARTLET_TLS_1_2 = TLS1_2_VERSION, MARTLET_TLS_1_3 = TLS1_3_VERSION;
#endif
