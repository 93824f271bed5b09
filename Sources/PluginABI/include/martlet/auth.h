/* martlet/auth.h: authentication methods that sign or verify an AUTH payload (RFC 7296 section 2.15).
 *
 * Threads: `sign` and `verify` are called on the job pool (those of a method with MARTLET_AUTH_QUICK on any thread of the host), at most `max_concurrency` at once over both (0: no limit). They may block
 * until `deadline_ns`, or return MARTLET_PENDING and complete later from any thread. Late and second completions are harmless.
 */
#ifndef MARTLET_AUTH_H
#define MARTLET_AUTH_H
#include "crypto.h"
#ifdef __cplusplus
extern "C" {
#endif
MARTLET_HEADER_BEGIN

/* An identity as in an ID payload: RFC 7296 section 3.5. */
struct martlet_identity {
    uint8_t type; /* IANA ID type */
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
    /* When signing: the hash algorithms (IANA "IKEv2 Hash Algorithms") that the peer takes, RFC 7427 section 4. None where it has named none. */
    const uint16_t *MARTLET_NULLABLE peer_hashes;
    size_t peer_hash_count;
};

#define MARTLET_AUTH_MAX 4096 /* the most that `sign` may write */

enum martlet_auth_flags {
    /* `sign` and `verify` compute for some microseconds, never wait, and never return MARTLET_PENDING: the host calls them where it is,
     * on any of its threads, `max_concurrency` or not. */
    MARTLET_AUTH_QUICK = 1
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
};

MARTLET_HEADER_END
#ifdef __cplusplus
}
#endif
#endif
