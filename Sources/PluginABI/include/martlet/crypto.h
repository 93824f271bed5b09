/* martlet/crypto.h: cipher backends.
 *
 * A provider hands over one array of algorithms. Each algorithm is a struct that begins with struct martlet_algorithm and whose rest
 * depends on its kind. The host runs known-answer tests of its own on each before it offers it to a peer.
 *
 * Threads: the functions that take an algorithm are called on any thread. A context or a private key is used by one thread at a time,
 * not always the same one. None of these functions may block; those of a key exchange may take milliseconds and run on the job pool.
 * Functions on the data path (seal, open, process, and compute of a MAC) allocate nothing.
 *
 * Ownership: keys are copied before `create` returns. What `create` and `generate` hand over is the host's, which ends it with
 * `destroy`, once, on any thread. Where they fail they hand over nothing.
 */
#ifndef MARTLET_CRYPTO_H
#define MARTLET_CRYPTO_H
#include "plugin.h"
#ifdef __cplusplus
extern "C" {
#endif
MARTLET_HEADER_BEGIN

enum martlet_algorithm_kind {
    MARTLET_AEAD = 1,         /* struct martlet_aead */
    MARTLET_CIPHER = 2,       /* struct martlet_cipher */
    MARTLET_MAC = 3,          /* struct martlet_mac: an integrity transform */
    MARTLET_PRF = 4,          /* struct martlet_prf */
    MARTLET_KEY_EXCHANGE = 5, /* struct martlet_key_exchange */
    MARTLET_RANDOM = 6        /* struct martlet_random */
};

/* The head of every algorithm. */
struct martlet_algorithm {
    uint32_t struct_size; /* of the whole struct that begins here */
    uint32_t kind;        /* enum martlet_algorithm_kind */
    uint16_t transform_id; /* IANA: ENCR, INTEG, PRF or key exchange method, after the kind; 0 for random */
    uint16_t key_bits;     /* the Key Length attribute, 0 for none */
    uint32_t flags;       /* 0 */
    const char *name;     /* for people, e.g. "AES-GCM-16-256" */
};

/* Authenticated encryption, RFC 5116: AES-GCM with a 16-byte ICV (ENCR 20), ChaCha20-Poly1305 (ENCR 28). */
struct martlet_aead {
    struct martlet_algorithm head;
    uint32_t key_size;   /* bytes, without the salt */
    uint32_t nonce_size; /* bytes the algorithm takes: 12 */
    uint32_t salt_size;  /* implicit part, from the keying material: 4 */
    uint32_t iv_size;    /* explicit part, on the wire: 8 */
    uint32_t tag_size;   /* 16 */
    uint32_t reserved;   /* 0 */
    /* A context for one key, to seal (`sealing` 1) or to open (0). `key` has `key_size` bytes. */
    martlet_status (*create)(const struct martlet_aead *self, const uint8_t *key, int32_t sealing, void *MARTLET_NULLABLE *MARTLET_NONNULL context);
    /* Wipes and frees a context. */
    void (*destroy)(void *context);
    /* Encrypts `text` in place and writes `tag_size` bytes to `tag`. `nonce` has `nonce_size` bytes. */
    martlet_status (*seal)(void *context, const uint8_t *nonce, const uint8_t *MARTLET_NULLABLE aad, size_t aad_size, uint8_t *text, size_t text_size, uint8_t *tag);
    /* Decrypts `text` in place. MARTLET_E_REJECTED where the tag is wrong; `text` then holds nothing that may be used. */
    martlet_status (*open)(void *context, const uint8_t *nonce, const uint8_t *MARTLET_NULLABLE aad, size_t aad_size, uint8_t *text, size_t text_size, const uint8_t *tag);
};

/* A block cipher in CBC mode (ENCR 12). */
struct martlet_cipher {
    struct martlet_algorithm head;
    uint32_t key_size;
    uint32_t block_size; /* 16: also the size of the IV */
    /* A context for one key, to encrypt (`encrypting` 1) or to decrypt (0). */
    martlet_status (*create)(const struct martlet_cipher *self, const uint8_t *key, int32_t encrypting, void *MARTLET_NULLABLE *MARTLET_NONNULL context);
    void (*destroy)(void *context);
    /* Transforms `text` in place; `text_size` is a multiple of `block_size`. No padding is added or taken away. */
    martlet_status (*process)(void *context, const uint8_t *iv, uint8_t *text, size_t text_size);
};

/* An integrity transform: HMAC-SHA2 with a truncated output (RFC 4868). */
struct martlet_mac {
    struct martlet_algorithm head;
    uint32_t key_size;
    uint32_t tag_size; /* bytes on the wire, after truncation */
    martlet_status (*create)(const struct martlet_mac *self, const uint8_t *key, void *MARTLET_NULLABLE *MARTLET_NONNULL context);
    void (*destroy)(void *context);
    /* The MAC over `parts`, one after the other; writes `tag_size` bytes. The host compares. */
    martlet_status (*compute)(void *context, const struct martlet_bytes *parts, size_t part_count, uint8_t *tag);
};

/* A pseudo-random function (RFC 7296 section 2.13): keys of any size, HMAC here. */
struct martlet_prf {
    struct martlet_algorithm head;
    uint32_t key_size;    /* the preferred size, bytes */
    uint32_t output_size; /* bytes */
    /* One computation over `parts`, one after the other; writes `output_size` bytes. */
    martlet_status (*compute)(const struct martlet_prf *self, const uint8_t *MARTLET_NULLABLE key, size_t key_size, const struct martlet_bytes *parts, size_t part_count, uint8_t *output);
};

/* A key exchange method: a Diffie-Hellman group (RFC 7296 section 3.4, RFC 5903, RFC 8031). */
struct martlet_key_exchange {
    struct martlet_algorithm head;
    uint32_t public_size; /* bytes in the KE payload: MODP padded to the modulus, ECP x|y without a prefix, x25519 32 */
    uint32_t shared_size; /* bytes of the shared secret: MODP padded to the modulus, ECP the x coordinate, x25519 32 */
    /* A fresh key pair; writes `public_size` bytes. */
    martlet_status (*generate)(const struct martlet_key_exchange *self, void *MARTLET_NULLABLE *MARTLET_NONNULL private_key, uint8_t *public_value);
    /* The shared secret with a peer's public value. MARTLET_E_INVALID where the value fails the checks of RFC 6989 (size, range,
     * on the curve) or the result is all zero (RFC 8031). Writes `shared_size` bytes. */
    martlet_status (*agree)(const struct martlet_key_exchange *self, void *private_key, const uint8_t *peer_value, size_t peer_size, uint8_t *shared);
    /* Wipes and frees a private key. */
    void (*destroy)(void *private_key);
    /* For known-answer tests: a private key from its bytes (MODP and ECP big-endian, x25519 as RFC 7748 writes it). May be null;
     * the test then falls back to an agreement between two fresh keys. */
    martlet_status (*MARTLET_NULLABLE import_private)(const struct martlet_key_exchange *self, const uint8_t *bytes, size_t size, void *MARTLET_NULLABLE *MARTLET_NONNULL private_key);
};

/* Random bytes fit for keys. */
struct martlet_random {
    struct martlet_algorithm head;
    martlet_status (*fill)(const struct martlet_random *self, uint8_t *bytes, size_t size);
};

/* What a plugin registers under MARTLET_CLASS_CRYPTO. */
struct martlet_crypto_provider {
    uint32_t struct_size;
    uint32_t reserved;           /* 0 */
    const char *name;            /* "openssl" */
    const char *library_version; /* "OpenSSL 3.0.17" */
    const struct martlet_algorithm *const MARTLET_NULLABLE *MARTLET_NULLABLE algorithms; /* no element is null */
    size_t algorithm_count;
};

MARTLET_HEADER_END
#ifdef __cplusplus
}
#endif
#endif
