/* martlet/credentials.h: certificates, keys, authorities and CRLs: what the host hands to plugins, and the plugin that reads them for the host.
 *
 * The host keeps credentials as DER, in snapshots that never change: a reload, a client of the control socket or a renewed file makes a
 * new one with another generation. A plugin may keep what it made of a snapshot under its generation; generations are never used twice.
 *
 * Threads: everything here is read-only and may be used on any thread as long as what lent it lives. Functions of a reader are called on
 * any thread, concurrently; they never wait.
 */
#ifndef MARTLET_CREDENTIALS_H
#define MARTLET_CREDENTIALS_H
#include "plugin.h"
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

enum martlet_credential_kind {
    MARTLET_CREDENTIAL_CERTIFICATE = 1, /* X.509, DER: RFC 5280 section 4.1 */
    MARTLET_CREDENTIAL_CRL = 2,         /* X.509 CRL, DER: RFC 5280 section 5.1 */
    MARTLET_CREDENTIAL_PRIVATE_KEY = 3, /* PrivateKeyInfo, DER, not encrypted: RFC 5958. A secret */
    MARTLET_CREDENTIAL_PUBLIC_KEY = 4   /* SubjectPublicKeyInfo, DER: RFC 5280 section 4.1.2.7 */
};

enum martlet_credential_flags {
    MARTLET_CREDENTIAL_TRUSTED = 1, /* a certificate of an authority that the configuration trusts: a path may end in it */
    MARTLET_CREDENTIAL_CA = 2       /* found: the certificate is one of an authority (basic constraints) */
};

struct martlet_credential {
    uint32_t struct_size;
    uint16_t kind;  /* enum martlet_credential_kind */
    uint16_t flags; /* enum martlet_credential_flags */
    struct martlet_bytes der;
    const char *origin; /* where it comes from, for log lines: a file's path, "vici" */
};

/* A section of `authorities`: what is known of an authority beside its certificate. */
struct martlet_authority {
    uint32_t struct_size;
    uint32_t reserved; /* 0 */
    const char *name;
    struct martlet_bytes certificate; /* DER */
    const char *MARTLET_NULLABLE const *MARTLET_NULLABLE crl_uris; /* tried in this order, before those of certificates */
    size_t crl_uri_count;
    const char *MARTLET_NULLABLE const *MARTLET_NULLABLE ocsp_uris;
    size_t ocsp_uri_count;
};

/* A snapshot: everything that is configured or loaded. A certificate stands in it once. */
struct martlet_credentials {
    uint32_t struct_size;
    uint32_t reserved; /* 0 */
    uint64_t generation;
    const struct martlet_credential *MARTLET_NULLABLE items;
    size_t count;
    const struct martlet_authority *MARTLET_NULLABLE authorities;
    size_t authority_count;
};

/* What a reader found in a file. Lent until `found` returns. */
struct martlet_found_credential {
    uint32_t struct_size;
    uint16_t kind;
    uint16_t flags; /* MARTLET_CREDENTIAL_CA */
    struct martlet_bytes der;
    /* SHA-1 over the subjectPublicKey of the key or certificate, and over its whole SubjectPublicKeyInfo: what clients call a key's
     * identifier, and what a CERTREQ names an authority by (RFC 7296 section 3.7). Zero for a CRL. */
    uint8_t key_id[20], key_info_id[20];
    /* A certificate's or CRL's, DER. */
    struct martlet_bytes subject, issuer;
    struct martlet_bytes serial; /* a certificate's, the content of its INTEGER */
    int64_t not_before, not_after; /* seconds of 1970; a CRL's thisUpdate and nextUpdate, 0 where it has none */
    const char *key_type; /* "RSA", "ECDSA", "ED25519", "ED448"; "" for a CRL */
    uint32_t key_bits;
    uint32_t reserved; /* 0 */
    /* What is wrong with the certificate as a gateway's, in the eyes of common clients, one sentence each; none where it is one of an authority. */
    const char *MARTLET_NULLABLE const *MARTLET_NULLABLE remarks;
    size_t remark_count;
    /* The identities that the certificate proves beside its subject (subjectAltName). */
    const struct martlet_identity *MARTLET_NULLABLE names;
    size_t name_count;
};

/* What a plugin may keep of what it has asked authorities for. */
enum martlet_fetched {
    MARTLET_FETCHED_CRLS = 1,
    MARTLET_FETCHED_OCSP = 2 /* answers of OCSP: RFC 6960 */
};

/* What a plugin registers under MARTLET_CLASS_CREDENTIALS: reads files of certificates and keys. */
struct martlet_credential_reader {
    uint32_t struct_size;
    uint32_t reserved; /* 0 */
    const char *name;
    /* Takes a file apart, PEM (several in one too), DER or PKCS#12, and calls `found` for each piece, in their order in the file.
     * MARTLET_E_INVALID: it is none of these, or damaged. MARTLET_E_REJECTED: the passphrase does not open it, or there is none and it
     * needs one. `explain` is called at most once, before a failure is returned, with the reason; it holds no secret. */
    martlet_status (*read)(
        struct martlet_bytes file, struct martlet_bytes passphrase, void (*MARTLET_NONNULL found)(void *MARTLET_NULLABLE context, const struct martlet_found_credential *found),
        void (*MARTLET_NONNULL explain)(void *MARTLET_NULLABLE context, const char *text), void *MARTLET_NULLABLE context);
    /* Tells of a new snapshot, lent for the call, after every change; on any thread. What was made of earlier ones is to be let go: keys that
     * were unloaded are in it. Requests under way still bring the one that they began with. May be null. */
    void (*MARTLET_NULLABLE changed)(const struct martlet_credentials *credentials);
    /* Forgets what was fetched, of these kinds (enum martlet_fetched, added up), on disk too, and who did not answer: whatever is asked after the call
     * knows nothing of it. Never waits; on any thread. May be null. */
    void (*MARTLET_NULLABLE forget)(uint32_t kinds);
};

MARTLET_HEADER_END
#ifdef __cplusplus
}
#endif
#endif
