// Prints what sealing and opening one packet costs in each plugin given: packets FILE.so ...
// A host of the plugin contract with just what a crypto provider needs. Each figure is CPU time, the best of several rounds, on one thread, with
// a context that is keyed once, as on the data path.
#define _GNU_SOURCE
#include "martlet/crypto.h"
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static uint64_t nanoseconds(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

// Of this thread, so that what else runs on the machine does not count.
static uint64_t cpu_time(void) {
    struct timespec time;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static const struct martlet_crypto_provider *provider;

static martlet_status provide(const struct martlet_host *host, uint32_t kind, const char *name, const void *table) {
    (void)host, (void)name;
    if (kind == MARTLET_CLASS_CRYPTO) provider = table;
    return MARTLET_OK;
}
static const void *look_up(const struct martlet_host *host, uint32_t kind, const char *name) { return (void)host, (void)kind, (void)name, NULL; }
static const void *algorithm(const struct martlet_host *host, const char *name, uint32_t kind, uint16_t id, uint16_t bits) {
    return (void)host, (void)name, (void)kind, (void)id, (void)bits, NULL;
}
static void log_line(const struct martlet_host *host, int32_t level, const char *message) {
    (void)host;
    if (level <= MARTLET_LOG_WARNING) fprintf(stderr, "%s\n", message);
}
static const char *setting(const struct martlet_host *host, const char *key) { return (void)host, (void)key, NULL; }
static uint64_t now(const struct martlet_host *host) { return (void)host, nanoseconds(); }
static martlet_handle arm_timer(const struct martlet_host *host, uint64_t after, void (*fire)(void *), void *context) {
    return (void)host, (void)after, (void)fire, (void)context, 0;
}
static martlet_handle watch(const struct martlet_host *host, int32_t fd, uint32_t events, void (*ready)(void *, uint32_t), void *context) {
    return (void)host, (void)fd, (void)events, (void)ready, (void)context, 0;
}
static void cancel(const struct martlet_host *host, martlet_handle handle) { (void)host, (void)handle; }
static void *secret_allocate(const struct martlet_host *host, size_t size) { return (void)host, calloc(1, size); }
static void wipe(void *memory, size_t size) { explicit_bzero(memory, size); }
static void secret_free(const struct martlet_host *host, void *memory, size_t size) {
    (void)host;
    if (memory) wipe(memory, size);
    free(memory);
}
static const struct martlet_host host = {
    .struct_size = sizeof host, .abi_major = MARTLET_ABI_MAJOR, .abi_minor = MARTLET_ABI_MINOR, .version = "benchmark", .provide = provide, .look_up = look_up,
    .algorithm = algorithm, .log = log_line, .setting = setting, .now = now, .arm_timer = arm_timer, .watch = watch, .cancel = cancel,
    .secret_allocate = secret_allocate, .secret_free = secret_free, .wipe = wipe};

enum { rounds = 9, packets = 4000 };

// Nanoseconds for one packet of `size` bytes, negative where the algorithm failed. Opening is timed on packets sealed beforehand.
static double measure(const struct martlet_aead *aead, size_t size, int sealing) {
    static uint8_t key[64], nonce[16], aad[8], text[packets][1408], tags[packets][16];
    void *seal = NULL, *open = NULL;
    if (size > sizeof text[0] || aead->tag_size > 16 || aead->create(aead, key, 1, &seal) != MARTLET_OK || aead->create(aead, key, 0, &open) != MARTLET_OK) return -1;
    double best = -1;
    for (int round = 0; round < rounds; round++) {
        martlet_status failed = 0;
        uint64_t begun = 0;
        for (int pass = 0; pass < (sealing ? 1 : 2); pass++) {
            begun = cpu_time();
            for (uint32_t n = 0; n < packets; n++) {
                memcpy(nonce + aead->salt_size, &n, sizeof n);
                failed |= pass == 0 ? aead->seal(seal, nonce, aad, sizeof aad, text[n], size, tags[n]) : aead->open(open, nonce, aad, sizeof aad, text[n], size, tags[n]);
            }
        }
        double each = (double)(cpu_time() - begun) / packets;
        if (failed) {
            best = -1;
            break;
        }
        if (best < 0 || each < best) best = each;
    }
    aead->destroy(seal);
    aead->destroy(open);
    return best;
}

int main(int count, char **files) {
    for (int index = 1; index < count; index++) {
        void *library = dlopen(files[index], RTLD_NOW | RTLD_LOCAL);
        martlet_plugin_query_fn query = library ? (martlet_plugin_query_fn)dlsym(library, MARTLET_PLUGIN_SYMBOL) : NULL;
        const struct martlet_plugin *plugin = query ? query() : NULL;
        provider = NULL;
        if (!plugin || plugin->abi_major != MARTLET_ABI_MAJOR || plugin->abi_minor != MARTLET_ABI_MINOR || plugin->init(&host) != MARTLET_OK || !provider) {
            fprintf(stderr, "%s: %s\n", files[index], library ? "no crypto provider" : dlerror());
            return 1;
        }
        for (size_t n = 0; n < provider->algorithm_count; n++) {
            const struct martlet_aead *aead = (const struct martlet_aead *)provider->algorithms[n];
            if (aead->head.kind != MARTLET_AEAD) continue;
            printf("%s from %s: seal %.0f ns, open %.0f ns for 64 bytes; seal %.0f ns, open %.0f ns for 1400\n", aead->head.name, plugin->name,
                   measure(aead, 64, 1), measure(aead, 64, 0), measure(aead, 1400, 1), measure(aead, 1400, 0));
        }
    }
    return 0;
}
