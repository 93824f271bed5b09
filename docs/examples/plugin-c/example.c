/* A plugin for Martlet in plain C, built without Martlet's source tree:
 *
 *     cc -std=c11 -Wall -Wextra -O2 -fPIC -shared -fvisibility=hidden -I /usr/include -o martlet-example.so example.c
 *
 * It provides one crypto provider, "example", with HMAC-SHA2-256 as an integrity transform and as a pseudo-random function, and
 * random bytes from the kernel. The host tests both against known answers before it offers them. Written to be read: a real
 * provider calls a library.
 */
#define _DEFAULT_SOURCE
#include <errno.h>
#include <martlet/crypto.h>
#include <martlet/plugin.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

/* SHA-256, FIPS 180-4. */

struct sha256 {
    uint32_t state[8];
    uint64_t size; /* bytes so far */
    uint8_t block[64];
};

static const uint32_t round_constants[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5, 0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74,
    0x80deb1fe, 0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d,
    0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967, 0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e,
    0x92722c85, 0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5,
    0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3, 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

static uint32_t rotated(uint32_t word, unsigned count) { return word >> count | word << (32 - count); }

static void sha256_start(struct sha256 *hash) {
    static const uint32_t initial[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    memcpy(hash->state, initial, sizeof initial);
    hash->size = 0;
}

static void sha256_block(struct sha256 *hash) {
    uint32_t schedule[64], working[8];
    for (unsigned i = 0; i < 16; i++) {
        const uint8_t *p = hash->block + 4 * i;
        schedule[i] = (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
    }
    for (unsigned i = 16; i < 64; i++) {
        uint32_t a = schedule[i - 15], b = schedule[i - 2];
        schedule[i] = schedule[i - 16] + (rotated(a, 7) ^ rotated(a, 18) ^ a >> 3) + schedule[i - 7] + (rotated(b, 17) ^ rotated(b, 19) ^ b >> 10);
    }
    memcpy(working, hash->state, sizeof working);
    for (unsigned i = 0; i < 64; i++) {
        uint32_t a = working[0], e = working[4];
        uint32_t first = working[7] + (rotated(e, 6) ^ rotated(e, 11) ^ rotated(e, 25)) + ((e & working[5]) ^ (~e & working[6])) + round_constants[i] + schedule[i];
        uint32_t second = (rotated(a, 2) ^ rotated(a, 13) ^ rotated(a, 22)) + ((a & working[1]) ^ (a & working[2]) ^ (working[1] & working[2]));
        memmove(working + 1, working, 7 * sizeof working[0]);
        working[4] += first;
        working[0] = first + second;
    }
    for (unsigned i = 0; i < 8; i++) hash->state[i] += working[i];
}

static void sha256_add(struct sha256 *hash, const uint8_t *bytes, size_t size) {
    for (size_t i = 0; i < size; i++) {
        hash->block[hash->size++ % 64] = bytes[i];
        if (hash->size % 64 == 0) sha256_block(hash);
    }
}

static void sha256_end(struct sha256 *hash, uint8_t *digest) {
    uint64_t bits = hash->size * 8;
    uint8_t one = 0x80, zero = 0, length[8];
    for (unsigned i = 0; i < 8; i++) length[i] = (uint8_t)(bits >> (56 - 8 * i));
    sha256_add(hash, &one, 1);
    while (hash->size % 64 != 56) sha256_add(hash, &zero, 1);
    sha256_add(hash, length, 8);
    for (unsigned i = 0; i < 32; i++) digest[i] = (uint8_t)(hash->state[i / 4] >> (24 - i % 4 * 8));
}

/* HMAC, RFC 2104: the two hashes after their first block, which is all that the key is needed for. */

struct hmac {
    struct sha256 inner, outer;
};

static void hmac_start(struct hmac *hmac, const uint8_t *key, size_t key_size) {
    uint8_t block[64] = {0}, pad[64];
    if (key_size > 64) {
        struct sha256 hash;
        sha256_start(&hash);
        sha256_add(&hash, key, key_size);
        sha256_end(&hash, block);
    } else if (key_size > 0) {
        memcpy(block, key, key_size);
    }
    for (unsigned i = 0; i < 64; i++) pad[i] = block[i] ^ 0x36;
    sha256_start(&hmac->inner);
    sha256_add(&hmac->inner, pad, 64);
    for (unsigned i = 0; i < 64; i++) pad[i] = block[i] ^ 0x5c;
    sha256_start(&hmac->outer);
    sha256_add(&hmac->outer, pad, 64);
    explicit_bzero(block, sizeof block);
    explicit_bzero(pad, sizeof pad);
}

/* Leaves `keyed` as it was, ready for the next message. */
static void hmac_compute(const struct hmac *keyed, const struct martlet_bytes *parts, size_t part_count, uint8_t *output, size_t output_size) {
    struct hmac message = *keyed;
    uint8_t digest[32];
    for (size_t i = 0; i < part_count; i++) sha256_add(&message.inner, parts[i].data, parts[i].size);
    sha256_end(&message.inner, digest);
    sha256_add(&message.outer, digest, sizeof digest);
    sha256_end(&message.outer, digest);
    memcpy(output, digest, output_size);
    explicit_bzero(&message, sizeof message);
    explicit_bzero(digest, sizeof digest);
}

/* The contract's functions. */

static martlet_status mac_create(const struct martlet_mac *self, const uint8_t *key, void **context) {
    struct hmac *hmac = malloc(sizeof *hmac);
    if (!hmac) return MARTLET_E_MEMORY;
    hmac_start(hmac, key, self->key_size);
    *context = hmac;
    return MARTLET_OK;
}

static void mac_destroy(void *context) {
    explicit_bzero(context, sizeof(struct hmac));
    free(context);
}

static martlet_status mac_compute(void *context, const struct martlet_bytes *parts, size_t part_count, uint8_t *tag) {
    hmac_compute(context, parts, part_count, tag, 16);
    return MARTLET_OK;
}

static martlet_status prf_compute(const struct martlet_prf *self, const uint8_t *key, size_t key_size, const struct martlet_bytes *parts, size_t part_count, uint8_t *output) {
    struct hmac hmac;
    hmac_start(&hmac, key, key_size);
    hmac_compute(&hmac, parts, part_count, output, self->output_size);
    explicit_bzero(&hmac, sizeof hmac);
    return MARTLET_OK;
}

static martlet_status random_fill(const struct martlet_random *self, uint8_t *bytes, size_t size) {
    (void)self;
    while (size > 0) {
        ssize_t count = getrandom(bytes, size, 0);
        if (count < 0 && errno == EINTR) continue;
        if (count <= 0) return MARTLET_E_SYSTEM;
        bytes += count;
        size -= (size_t)count;
    }
    return MARTLET_OK;
}

static const struct martlet_mac mac = {
    .head = {.struct_size = sizeof mac, .kind = MARTLET_MAC, .transform_id = 12, .name = "HMAC-SHA2-256-128 (example)"},
    .key_size = 32,
    .tag_size = 16,
    .create = mac_create,
    .destroy = mac_destroy,
    .compute = mac_compute,
};

static const struct martlet_prf prf = {
    .head = {.struct_size = sizeof prf, .kind = MARTLET_PRF, .transform_id = 5, .name = "PRF-HMAC-SHA2-256 (example)"},
    .key_size = 32,
    .output_size = 32,
    .compute = prf_compute,
};

static const struct martlet_random kernel_random = {
    .head = {.struct_size = sizeof kernel_random, .kind = MARTLET_RANDOM, .name = "getrandom(2)"},
    .fill = random_fill,
};

static const struct martlet_algorithm *const algorithms[] = {&mac.head, &prf.head, &kernel_random.head};

static const struct martlet_crypto_provider provider = {
    .struct_size = sizeof provider,
    .name = "example",
    .library_version = "none",
    .algorithms = algorithms,
    .algorithm_count = sizeof algorithms / sizeof algorithms[0],
};

static martlet_status init(const struct martlet_host *host) {
    const char *greeting = host->setting(host, "greeting");
    if (greeting) host->log(host, MARTLET_LOG_NOTICE, greeting);
    return host->provide(host, MARTLET_CLASS_CRYPTO, "example", &provider);
}

static const struct martlet_provision provides[] = {{.struct_size = sizeof(struct martlet_provision), .kind = MARTLET_CLASS_CRYPTO, .name = "example"}};

static const struct martlet_plugin plugin = {
    .magic = MARTLET_PLUGIN_MAGIC,
    .abi_major = MARTLET_ABI_MAJOR,
    .abi_minor = MARTLET_ABI_MINOR,
    .struct_size = sizeof plugin,
    .name = "example",
    .version = "1.0",
    .vendor = "Example",
    .licence = "Apache-2.0",
    .provides = provides,
    .provides_count = 1,
    .init = init,
};

MARTLET_EXPORT_PLUGIN(plugin)
