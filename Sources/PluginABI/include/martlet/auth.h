/* martlet/auth.h: authentication methods that sign or verify an AUTH payload (RFC 7296 section 2.15).
 *
 * Threads: `sign` and `verify` are called on the job pool (those of a method with MARTLET_AUTH_QUICK on any thread of the host), at most `max_concurrency` at once over both (0: no limit). They may block
 * until `deadline_ns`, or return MARTLET_PENDING and complete later from any thread. Late and second completions are harmless.
 */
#ifndef MARTLET_AUTH_H
#define MARTLET_AUTH_H
#include "credentials.h"
#include "crypto.h"
#ifdef __cplusplus
extern "C" {
#endif
MARTLET_HEADER_BEGIN

/* What `local { }` or `remote { }` of a connection says of certificates. DER throughout: certificates of a configuration are in the snapshot too. */
struct martlet_auth_side {
    uint32_t struct_size;
    uint8_t revocation; /* enum martlet_revocation; of the remote side */
    uint8_t reserved[3]; /* 0 */
    const char *auth; /* the configured value: "pubkey", or with what it asks for beside that, "pubkey-ecdsa-256-sha384" */
    /* Local: those to prove ourselves with, the preferred one first. Remote: the peer must show one of these. None: any. */
    const struct martlet_bytes *MARTLET_NULLABLE certificates;
    size_t certificate_count;
    /* Remote: a path must contain one of these authorities. None: any that is trusted. */
    const struct martlet_bytes *MARTLET_NULLABLE authorities;
    size_t authority_count;
    /* SubjectPublicKeyInfo. Local: our raw keys. Remote: the peer must prove that it has one of these keys, and needs no certificate. */
    const struct martlet_bytes *MARTLET_NULLABLE public_keys;
    size_t public_key_count;
    /* Remote: the certificate policies (dotted OIDs) that the path must be valid for, all of them. RFC 5280 section 4.2.1.4. */
    const char *MARTLET_NULLABLE const *MARTLET_NULLABLE policies;
    size_t policy_count;
    /* Remote: the identity of which an authority in the path must be. Type 0: any. */
    struct martlet_identity authority_identity;
};

enum martlet_revocation {
    MARTLET_REVOCATION_RELAXED = 0, /* a certificate is refused when it is known to be revoked */
    MARTLET_REVOCATION_IFURI = 1,   /* as well as when it names a place to ask, and that gives no answer */
    MARTLET_REVOCATION_STRICT = 2   /* as well as when nobody says that it is good */
};

/* A CERT or CERTREQ payload: RFC 7296 sections 3.6 and 3.7. */
struct martlet_certificate_payload {
    uint8_t encoding; /* IANA "IKEv2 Certificate Encodings" */
    uint8_t reserved[7]; /* 0 */
    struct martlet_bytes data;
};

/* One AUTH calculation. Everything is borrowed until the call returns or, after MARTLET_PENDING, until `complete` was called. */
struct martlet_auth_request {
    uint32_t struct_size;
    uint16_t method; /* the AUTH payload's method: what to make, or what came */
    uint16_t reserved; /* 0 */
    const char *connection;
    struct martlet_identity local, remote; /* ours and the peer's, whichever end signs */
    const struct martlet_prf *prf; /* of this IKE SA */
    /* The octets that are signed are message | nonce | maced_identity: the signer's first message, the other end's nonce, and
     * prf(SK_px, the body of the signer's ID payload). */
    struct martlet_bytes message, nonce, maced_identity;
    /* When verifying: the data of the peer's AUTH payload. Else empty. */
    struct martlet_bytes auth_data;
    uint64_t deadline_ns; /* on host->now */
    /* Calls `use` with the shared secret configured for these identities, the best match, on this thread before it returns. The
     * bytes are valid inside `use` alone. MARTLET_E_NOT_FOUND where no secret matches. */
    martlet_status (*with_secret)(const struct martlet_auth_request *request, void (*MARTLET_NONNULL use)(void *MARTLET_NULLABLE context, struct martlet_bytes secret), void *MARTLET_NULLABLE context);
    void *opaque; /* the host's own */
    /* Ends a request that returned MARTLET_PENDING. `auth_data` as `sign` returns it, empty for `verify`; copied before it returns. */
    void (*complete)(uint64_t token, martlet_status status, struct martlet_bytes auth_data);
    uint64_t token;
    /* The hash algorithms (IANA "IKEv2 Hash Algorithms") that the peer takes, RFC 7427 section 4. None where it has named none. */
    const uint16_t *MARTLET_NULLABLE peer_hashes;
    size_t peer_hash_count;
    /* Which certificates and keys there are, and what the connection says of them, for each end. */
    const struct martlet_credentials *credentials;
    const struct martlet_auth_side *local_side, *remote_side;
    /* The peer's CERT payloads, in their order: when verifying. Its CERTREQ payloads: when signing. */
    const struct martlet_certificate_payload *MARTLET_NULLABLE peer_certificates;
    size_t peer_certificate_count;
    const struct martlet_certificate_payload *MARTLET_NULLABLE peer_requests;
    size_t peer_request_count;
    /* What a method says beside its status, before `sign` or `verify` returns, or before `complete`; from any thread, not concurrently for
     * one request. Copied before they return. */
    /* When signing: the AUTH method made, where that is not `method`, and a CERT payload to send, in the order in which they go out. */
    void (*made)(const struct martlet_auth_request *request, uint16_t method);
    void (*add_certificate)(const struct martlet_auth_request *request, uint8_t encoding, struct martlet_bytes data);
    /* When signing or verifying fails: the reason, for the log of this end alone. UTF-8, one line; no secret. A second one adds evidence. */
    void (*explain)(const struct martlet_auth_request *request, const char *text);
    uint32_t send_certificate; /* when signing: enum martlet_send_certificate, `send_cert` of the connection */
    uint32_t flags; /* enum martlet_auth_request_flags */
};

enum martlet_auth_request_flags {
    MARTLET_AUTH_WE_BEGAN = 1 /* this end is the initiator of the IKE SA */
};

enum martlet_send_certificate {
    MARTLET_SEND_IF_ASKED = 0, /* where the peer has sent a CERTREQ, or is a client that never does */
    MARTLET_SEND_ALWAYS = 1,
    MARTLET_SEND_NEVER = 2
};

#define MARTLET_AUTH_MAX 4096 /* the most that `sign` may write */

enum martlet_auth_flags {
    /* `sign` and `verify` compute for some microseconds, never wait, and never return MARTLET_PENDING: the host calls them where it is,
     * on any of its threads, `max_concurrency` or not. */
    MARTLET_AUTH_QUICK = 1
};

/* What a certificate is shown for beside an AUTH payload. */
enum martlet_certificate_use {
    MARTLET_CERTIFICATE_TLS_SERVER = 1, /* by a server of TLS to us: RFC 5280 section 4.2.1.12, serverAuth */
    MARTLET_CERTIFICATE_TLS_CLIENT = 2  /* by a client of TLS: clientAuth. The common name and a user principal name are names of a user too */
};

/* A question whether a certificate is believed, by the same rules as one of IKE. That the peer has its private key has been shown elsewhere, by
 * TLS. Everything is borrowed until the call returns or, after MARTLET_PENDING, until `complete` was called. */
struct martlet_certificate_check {
    uint32_t struct_size;
    uint32_t use; /* enum martlet_certificate_use */
    const char *connection;
    const struct martlet_identity *MARTLET_NULLABLE identities; /* the certificate has to be of one of them */
    size_t identity_count;
    const struct martlet_bytes *MARTLET_NULLABLE certificates; /* DER: the one in question first, then whatever else the peer has sent. Nothing in them is proven */
    size_t certificate_count;
    const struct martlet_credentials *credentials;
    const struct martlet_auth_side *side; /* what the connection says of the peer's certificates */
    uint64_t deadline_ns; /* on host->now */
    /* The reason of a refusal, as that of a request for AUTH. */
    void (*explain)(const struct martlet_certificate_check *check, const char *text);
    void *opaque; /* the host's own */
    /* Ends a check that returned MARTLET_PENDING, by the deadline; from any thread. Late and second completions are harmless. */
    void (*complete)(uint64_t token, martlet_status status);
    uint64_t token;
};

/* What a plugin registers under MARTLET_CLASS_AUTH. */
struct martlet_auth_method {
    uint32_t struct_size;
    uint32_t max_concurrency; /* calls of `sign` and `verify` under way at once, 0 for what the host finds right */
    const char *name;         /* the value of `auth` in a configuration: "psk" */
    const uint16_t *methods;  /* the AUTH methods that it makes and takes */
    size_t method_count;
    /* Writes our AUTH data, at most MARTLET_AUTH_MAX bytes, and its size. MARTLET_E_NOT_FOUND: no secret for these identities. */
    martlet_status (*sign)(const struct martlet_auth_request *request, uint8_t *auth_data, size_t *auth_size);
    /* MARTLET_OK: proven. MARTLET_E_REJECTED: the data is wrong. MARTLET_E_NOT_FOUND: no secret for these identities. Compared in
     * constant time. */
    martlet_status (*verify)(const struct martlet_auth_request *request);
    /* Asks a pending request to end early. It is completed all the same: what it was lent is kept until then. May be null. */
    void (*MARTLET_NULLABLE cancel)(uint64_t token);
    /* The hash algorithms (IANA "IKEv2 Hash Algorithms") of its signatures, the preferred one first, at most 32; the gateway tells peers. A method that
     * does not sign has none. */
    const uint16_t *MARTLET_NULLABLE hashes;
    size_t hash_count;
    uint32_t flags; /* enum martlet_auth_flags */
    uint32_t reserved; /* 0 */
    /* MARTLET_OK: believed. MARTLET_E_REJECTED: not. MARTLET_PENDING: it will be completed. Called on the job pool, concurrently; it waits for nobody. Null where the
     * method knows no certificates. */
    martlet_status (*MARTLET_NULLABLE check_certificate)(const struct martlet_certificate_check *check);
};

MARTLET_HEADER_END
#ifdef __cplusplus
}
#endif
#endif
