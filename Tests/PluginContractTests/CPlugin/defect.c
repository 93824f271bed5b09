/* A plugin with one thing wrong with it, chosen by -D. Without one it is right, and provides nothing. */
#include <martlet/crypto.h>
#include <martlet/plugin.h>
#include <string.h>

#ifndef NAME
#define NAME "defect"
#endif

#if defined(WRONG_TAG) || defined(NULL_FUNCTION) || defined(SHORT_TABLE) || defined(UNKNOWN_TRANSFORM) || defined(SHORT_PROVIDER) || defined(NOT_PROVIDED) || defined(WRONG_GROUP)
#define PROVIDES
static martlet_status create(const struct martlet_mac *self, const uint8_t *key, void **context) {
    static int something;
    (void)self, (void)key;
    *context = &something;
    return MARTLET_OK;
}
static void destroy(void *context) { (void)context; }
static martlet_status compute(void *context, const struct martlet_bytes *parts, size_t part_count, uint8_t *tag) {
    (void)context, (void)parts, (void)part_count;
    memset(tag, 0, 16);
    return MARTLET_OK;
}
static const struct martlet_mac mac = {
#ifdef SHORT_TABLE
    .head = {.struct_size = sizeof mac - 8, .kind = MARTLET_MAC, .transform_id = 12, .name = "broken"},
#elif defined(UNKNOWN_TRANSFORM)
    .head = {.struct_size = sizeof mac, .kind = MARTLET_MAC, .transform_id = 999, .name = "broken"},
#else
    .head = {.struct_size = sizeof mac, .kind = MARTLET_MAC, .transform_id = 12, .name = "broken"},
#endif
    .key_size = 32,
    .tag_size = 16,
#ifndef NULL_FUNCTION
    .create = create,
#endif
    .destroy = destroy,
    .compute = compute,
};
#ifdef WRONG_GROUP
/* ECP-256 that hands out zeroes, and random bytes that look alive. */
static martlet_status generate(const struct martlet_key_exchange *self, void **private_key, uint8_t *public_value) {
    static int something;
    *private_key = &something;
    memset(public_value, 0, self->public_size);
    return MARTLET_OK;
}
static martlet_status agree(const struct martlet_key_exchange *self, void *private_key, const uint8_t *peer, size_t peer_size, uint8_t *shared) {
    (void)private_key, (void)peer, (void)peer_size;
    memset(shared, 0, self->shared_size);
    return MARTLET_OK;
}
static const struct martlet_key_exchange group = {
    .head = {.struct_size = sizeof group, .kind = MARTLET_KEY_EXCHANGE, .transform_id = 19, .name = "broken group"},
    .public_size = 64,
    .shared_size = 32,
    .generate = generate,
    .agree = agree,
    .destroy = destroy,
};
static martlet_status fill(const struct martlet_random *self, uint8_t *bytes, size_t size) {
    static uint8_t counter;
    (void)self;
    while (size--) *bytes++ = ++counter * 7 % 251;
    return MARTLET_OK;
}
static const struct martlet_random numbers = {.head = {.struct_size = sizeof numbers, .kind = MARTLET_RANDOM, .name = "numbers"}, .fill = fill};
static const struct martlet_algorithm *const algorithms[] = {&group.head, &numbers.head};
#define COUNT 2
#else
static const struct martlet_algorithm *const algorithms[] = {&mac.head};
#define COUNT 1
#endif
static const struct martlet_crypto_provider provider = {
#ifdef SHORT_PROVIDER
    .struct_size = 8,
#else
    .struct_size = sizeof provider,
#endif
    .name = NAME,
    .library_version = "none",
    .algorithms = algorithms,
    .algorithm_count = COUNT,
};
static const struct martlet_provision provides[] = {{sizeof(struct martlet_provision), MARTLET_CLASS_CRYPTO, NAME}};
#endif

#ifdef DEPENDS
static const struct martlet_provision depends[] = {{sizeof(struct martlet_provision), MARTLET_CLASS_AUTH, "nobody"}};
#endif

static martlet_status init(const struct martlet_host *host) {
#ifdef INIT_FAILS
    (void)host;
    return MARTLET_E_SYSTEM;
#elif defined(PROVIDES) && !defined(NOT_PROVIDED)
    (void)create, (void)mac;
    return host->provide(host, MARTLET_CLASS_CRYPTO, NAME, &provider);
#else
    (void)host;
    return MARTLET_OK;
#endif
}

#ifndef MAGIC
#define MAGIC MARTLET_PLUGIN_MAGIC
#endif
#ifndef MAJOR
#define MAJOR MARTLET_ABI_MAJOR
#endif
#ifndef MINOR
#define MINOR MARTLET_ABI_MINOR
#endif
#ifndef SIZE
#define SIZE sizeof(struct martlet_plugin)
#endif

static const struct martlet_plugin plugin = {
    .magic = MAGIC,
    .abi_major = MAJOR,
    .abi_minor = MINOR,
    .struct_size = SIZE,
    .name = NAME,
#ifndef NO_VERSION
    .version = "1",
#endif
    .vendor = "Test",
    .licence = "Apache-2.0",
#ifdef PROVIDES
    .provides = provides,
    .provides_count = 1,
#endif
#ifdef DEPENDS
    .depends = depends,
    .depends_count = 1,
#endif
    .init = init,
};

#ifdef NO_DESCRIPTOR
MARTLET_EXTERN_C __attribute__((visibility("default"))) const struct martlet_plugin *martlet_plugin_query(void);
const struct martlet_plugin *martlet_plugin_query(void) { return (void)plugin, (const struct martlet_plugin *)0; }
#elif defined(NO_SYMBOL)
__attribute__((visibility("default"))) const struct martlet_plugin *something_else(void);
const struct martlet_plugin *something_else(void) { return &plugin; }
#else
MARTLET_EXPORT_PLUGIN(plugin)
#endif

#ifdef SWIFT_NOTE
/* What a plugin built by another Swift compiler carries. */
struct note {
    uint32_t name_size, description_size, type;
    char name[8], description[8];
};
__attribute__((section(".note.martlet.swift"), used, aligned(4))) static const struct note note = {8, 6, 1, "Martlet", "5.9.2"};
#endif

#ifdef UNDEFINED
extern int nobody_has_this(void);
__attribute__((visibility("default"), used)) int calls_it(void);
int calls_it(void) { return nobody_has_this(); }
#endif
