// A host for a data plane, driven by lines on standard input: just enough of the contract to try a plane alone, with algorithms from
// libcrypto and keys that the test chooses. One answer line for each command: "ok ...", "error STATUS" or data; events and log lines
// go to standard error.
//
//   start WORKERS PORT MARK        opens the sockets and starts the plane
//   sa KEY=VALUE ...               adds an SA; see `add_sa`
//   activate CHILD | remove SPI DIRECTION CHILD | update CHILD LOCAL REMOTE ENCAPSULATION
//   lend ADDRESS | unlend ADDRESS  an inner address that this host gets and loses
//   counters SPI DIRECTION CHILD | drops | events | allocations | stop | quit
//   record INTERFACE udp|esp       the next ESP packet (from the SPI on) that arrives on an interface, in hex
//   inject udp|esp FROM TO HEX     sends one; addresses with port for udp
#define _GNU_SOURCE
#include "martlet/plane.h"
#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

// ---- allocations: every one of this process that goes through malloc is counted

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *memory, size_t size);
void *__libc_memalign(size_t alignment, size_t size);
static _Atomic unsigned long allocations;
void *malloc(size_t size) { return atomic_fetch_add(&allocations, 1), __libc_malloc(size); }
void *calloc(size_t count, size_t size) { return atomic_fetch_add(&allocations, 1), __libc_calloc(count, size); }
void *realloc(void *memory, size_t size) { return atomic_fetch_add(&allocations, 1), __libc_realloc(memory, size); }
void *aligned_alloc(size_t alignment, size_t size) { return atomic_fetch_add(&allocations, 1), __libc_memalign(alignment, size); }
int posix_memalign(void **memory, size_t alignment, size_t size) {
    atomic_fetch_add(&allocations, 1);
    *memory = __libc_memalign(alignment, size);
    return *memory ? 0 : ENOMEM;
}

// ---- algorithms

static martlet_status aead_create(const struct martlet_aead *self, const uint8_t *key, int32_t sealing, void **context) {
    const EVP_CIPHER *cipher = self->head.transform_id == 28 ? EVP_chacha20_poly1305()
                               : self->head.key_bits == 128  ? EVP_aes_128_gcm()
                                                             : EVP_aes_256_gcm();
    EVP_CIPHER_CTX *made = EVP_CIPHER_CTX_new();
    if (!made || EVP_CipherInit_ex(made, cipher, NULL, key, NULL, sealing) != 1) return MARTLET_E_FAILED;
    *context = made;
    return MARTLET_OK;
}
static void cipher_destroy(void *context) { EVP_CIPHER_CTX_free(context); }
static martlet_status aead_seal(void *context, const uint8_t *nonce, const uint8_t *aad, size_t aad_size, uint8_t *text, size_t size, uint8_t *tag) {
    int length;
    if (EVP_CipherInit_ex(context, NULL, NULL, NULL, nonce, -1) != 1 || EVP_CipherUpdate(context, NULL, &length, aad, (int)aad_size) != 1 ||
        EVP_CipherUpdate(context, text, &length, text, (int)size) != 1 || EVP_CipherFinal_ex(context, text + length, &length) != 1 ||
        EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, 16, tag) != 1)
        return MARTLET_E_FAILED;
    return MARTLET_OK;
}
static martlet_status aead_open(void *context, const uint8_t *nonce, const uint8_t *aad, size_t aad_size, uint8_t *text, size_t size, const uint8_t *tag) {
    int length;
    if (EVP_CipherInit_ex(context, NULL, NULL, NULL, nonce, -1) != 1 || EVP_CipherUpdate(context, NULL, &length, aad, (int)aad_size) != 1 ||
        EVP_CipherUpdate(context, text, &length, text, (int)size) != 1 ||
        EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_TAG, 16, (void *)tag) != 1)
        return MARTLET_E_FAILED;
    return EVP_CipherFinal_ex(context, text + length, &length) == 1 ? MARTLET_OK : MARTLET_E_REJECTED;
}

static martlet_status cbc_create(const struct martlet_cipher *self, const uint8_t *key, int32_t encrypting, void **context) {
    EVP_CIPHER_CTX *made = EVP_CIPHER_CTX_new();
    if (!made || EVP_CipherInit_ex(made, self->head.key_bits == 128 ? EVP_aes_128_cbc() : EVP_aes_256_cbc(), NULL, key, NULL, encrypting) != 1)
        return MARTLET_E_FAILED;
    *context = made;
    return MARTLET_OK;
}
static martlet_status cbc_process(void *context, const uint8_t *iv, uint8_t *text, size_t size) {
    int length;
    if (EVP_CipherInit_ex(context, NULL, NULL, NULL, iv, -1) != 1) return MARTLET_E_FAILED;
    EVP_CIPHER_CTX_set_padding(context, 0);
    return EVP_CipherUpdate(context, text, &length, text, (int)size) == 1 ? MARTLET_OK : MARTLET_E_FAILED;
}

static martlet_status mac_create(const struct martlet_mac *self, const uint8_t *key, void **context) {
    EVP_MAC *mac = EVP_MAC_fetch(NULL, "HMAC", NULL);
    EVP_MAC_CTX *made = EVP_MAC_CTX_new(mac);
    EVP_MAC_free(mac);
    OSSL_PARAM parameters[] = {OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, "SHA256", 0), OSSL_PARAM_construct_end()};
    if (EVP_MAC_init(made, key, self->key_size, parameters) != 1) return MARTLET_E_FAILED;
    *context = made;
    return MARTLET_OK;
}
static void mac_destroy(void *context) { EVP_MAC_CTX_free(context); }
static martlet_status mac_compute(void *context, const struct martlet_bytes *parts, size_t count, uint8_t *tag) {
    uint8_t full[64];
    size_t length;
    if (EVP_MAC_init(context, NULL, 0, NULL) != 1) return MARTLET_E_FAILED;
    for (size_t i = 0; i < count; i++)
        if (parts[i].size && EVP_MAC_update(context, parts[i].data, parts[i].size) != 1) return MARTLET_E_FAILED;
    if (EVP_MAC_final(context, full, &length, sizeof full) != 1) return MARTLET_E_FAILED;
    memcpy(tag, full, 16);
    return MARTLET_OK;
}
static martlet_status random_fill(const struct martlet_random *self, uint8_t *bytes, size_t size) {
    (void)self;
    return RAND_bytes(bytes, (int)size) == 1 ? MARTLET_OK : MARTLET_E_FAILED;
}

#define AEAD(id, bits, key)                                                                                                         \
    {.head = {sizeof(struct martlet_aead), MARTLET_AEAD, id, bits, 0, "test aead"}, .key_size = key, .nonce_size = 12, .salt_size = 4, \
     .iv_size = 8, .tag_size = 16, .create = aead_create, .destroy = cipher_destroy, .seal = aead_seal, .open = aead_open}
static const struct martlet_aead aeads[] = {AEAD(20, 128, 16), AEAD(20, 256, 32), AEAD(28, 0, 32)};
#define CBC(bits, key)                                                                                                               \
    {.head = {sizeof(struct martlet_cipher), MARTLET_CIPHER, 12, bits, 0, "test cbc"}, .key_size = key, .block_size = 16,           \
     .create = cbc_create, .destroy = cipher_destroy, .process = cbc_process}
static const struct martlet_cipher ciphers[] = {CBC(128, 16), CBC(256, 32)};
static const struct martlet_mac hmac = {
    .head = {sizeof(struct martlet_mac), MARTLET_MAC, 12, 0, 0, "test hmac"}, .key_size = 32, .tag_size = 16, .create = mac_create,
    .destroy = mac_destroy, .compute = mac_compute};
static const struct martlet_random random_source = {
    .head = {sizeof(struct martlet_random), MARTLET_RANDOM, 0, 0, 0, "test random"}, .fill = random_fill};

// ---- host table

static const struct martlet_plane *plane;
static char settings[16][2][64];
static int setting_count;

static martlet_status host_provide(const struct martlet_host *host, uint32_t kind, const char *name, const void *table) {
    (void)host, (void)name;
    if (kind != MARTLET_CLASS_PLANE) return MARTLET_E_INVALID;
    plane = table;
    return MARTLET_OK;
}
static const void *host_look_up(const struct martlet_host *host, uint32_t kind, const char *name) {
    (void)host, (void)kind, (void)name;
    return NULL;
}
static const void *host_algorithm(const struct martlet_host *host, const char *provider, uint32_t kind, uint16_t id, uint16_t bits) {
    (void)host, (void)provider;
    if (kind == MARTLET_AEAD)
        for (size_t i = 0; i < 3; i++)
            if (aeads[i].head.transform_id == id && aeads[i].head.key_bits == bits) return &aeads[i];
    if (kind == MARTLET_CIPHER)
        for (size_t i = 0; i < 2; i++)
            if (id == 12 && ciphers[i].head.key_bits == bits) return &ciphers[i];
    if (kind == MARTLET_MAC && id == 12) return &hmac;
    if (kind == MARTLET_RANDOM) return &random_source;
    return NULL;
}
static void host_log(const struct martlet_host *host, int32_t level, const char *message) {
    (void)host;
    fprintf(stderr, "log %d %s\n", level, message);
}
static const char *host_setting(const struct martlet_host *host, const char *key) {
    (void)host;
    for (int i = 0; i < setting_count; i++)
        if (strcmp(settings[i][0], key) == 0) return settings[i][1];
    return NULL;
}
static uint64_t host_now(const struct martlet_host *host) {
    (void)host;
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}
// A thread for each timer and watch, which call one after the other as the host's service thread does.
struct service {
    uint64_t after;
    int32_t fd;
    uint32_t events;
    void (*fire)(void *);
    void (*ready)(void *, uint32_t);
    void *context;
    _Atomic bool cancelled;
};
static pthread_mutex_t service_lock = PTHREAD_MUTEX_INITIALIZER;
static void *serve(void *argument) {
    struct service *service = argument;
    if (service->fire) {
        struct timespec time = {(time_t)(service->after / 1000000000u), (long)(service->after % 1000000000u)};
        nanosleep(&time, NULL);
        pthread_mutex_lock(&service_lock);
        if (!atomic_load(&service->cancelled)) service->fire(service->context);
        pthread_mutex_unlock(&service_lock);
        return NULL;
    }
    while (!atomic_load(&service->cancelled)) {
        struct pollfd poller = {.fd = service->fd, .events = (short)service->events};
        if (poll(&poller, 1, 100) <= 0) continue;
        pthread_mutex_lock(&service_lock);
        if (!atomic_load(&service->cancelled)) service->ready(service->context, (uint32_t)poller.revents);
        pthread_mutex_unlock(&service_lock);
    }
    return NULL;
}
static martlet_handle begin_service(struct service service) {
    struct service *made = __libc_malloc(sizeof *made);
    pthread_t thread;
    if (!made) return 0;
    *made = service;
    if (pthread_create(&thread, NULL, serve, made)) return 0;
    pthread_detach(thread);
    return (martlet_handle)(uintptr_t)made;
}
static _Atomic unsigned long timers;
static martlet_handle host_timer(const struct martlet_host *host, uint64_t after, void (*fire)(void *), void *context) {
    (void)host;
    atomic_fetch_add(&timers, 1);
    return begin_service((struct service){.after = after, .fire = fire, .context = context});
}
static martlet_handle host_watch(const struct martlet_host *host, int32_t fd, uint32_t events, void (*ready)(void *, uint32_t), void *context) {
    (void)host;
    return begin_service((struct service){.fd = fd, .events = events, .ready = ready, .context = context});
}
static void host_cancel(const struct martlet_host *host, martlet_handle handle) {
    (void)host;
    if (handle) atomic_store(&((struct service *)(uintptr_t)handle)->cancelled, true);
}
static void *host_allocate(const struct martlet_host *host, size_t size) { return (void)host, calloc(1, size); }
static void host_free(const struct martlet_host *host, void *memory, size_t size) { (void)host, (void)size, free(memory); }
static void host_wipe(void *memory, size_t size) { explicit_bzero(memory, size); }

static const struct martlet_host host = {
    .struct_size = sizeof host, .abi_major = MARTLET_ABI_MAJOR, .abi_minor = MARTLET_ABI_MINOR, .version = "test", .opaque = (void *)1,
    .provide = host_provide, .look_up = host_look_up, .algorithm = host_algorithm, .log = host_log, .setting = host_setting,
    .now = host_now, .arm_timer = host_timer, .watch = host_watch, .cancel = host_cancel, .secret_allocate = host_allocate,
    .secret_free = host_free, .wipe = host_wipe};

// ---- events

static pthread_mutex_t event_lock = PTHREAD_MUTEX_INITIALIZER;
static char event_text[65536];

static void add_event(const char *text) {
    pthread_mutex_lock(&event_lock);
    if (strlen(event_text) + strlen(text) + 2 < sizeof event_text) {
        strcat(event_text, text);
        strcat(event_text, ";");
    }
    pthread_mutex_unlock(&event_lock);
}
static void on_expired(void *opaque, uint64_t child, uint32_t spi, uint8_t direction, int32_t hard) {
    (void)opaque;
    char text[128];
    snprintf(text, sizeof text, "expired child=%llu spi=%08x direction=%u hard=%d", (unsigned long long)child, spi, direction, hard);
    add_event(text);
}
static void on_acquire(void *opaque, uint64_t policy, const struct martlet_selector *source, const struct martlet_selector *destination) {
    (void)opaque;
    char text[256], from[64], to[64];
    int family = source->family == 4 ? AF_INET : AF_INET6;
    inet_ntop(family, source->start, from, sizeof from);
    inet_ntop(family, destination->start, to, sizeof to);
    int single = memcmp(source->start, source->end, 16) == 0 && memcmp(destination->start, destination->end, 16) == 0;
    snprintf(text, sizeof text, "acquire policy=%llu %s%s>%s proto=%u ports=%u-%u", (unsigned long long)(policy & ~(1ull << 63)), single ? "" : "ranges ", from, to,
             destination->protocol, destination->start_port, destination->end_port);
    add_event(text);
}
static void on_moved(void *opaque, uint64_t child, uint32_t spi, const struct martlet_address *remote) {
    (void)opaque;
    char text[192], address[64];
    inet_ntop(remote->family == 4 ? AF_INET : AF_INET6, remote->bytes, address, sizeof address);
    snprintf(text, sizeof text, "moved child=%llu spi=%08x remote=%s port=%u", (unsigned long long)child, spi, address, remote->port);
    add_event(text);
}
static void on_stray(void *opaque, uint32_t spi, uint32_t length, uint8_t encapsulation, const struct martlet_address *local, const struct martlet_address *remote) {
    (void)opaque;
    char text[256], here[64], there[64];
    inet_ntop(local->family == 4 ? AF_INET : AF_INET6, local->bytes, here, sizeof here);
    inet_ntop(remote->family == 4 ? AF_INET : AF_INET6, remote->bytes, there, sizeof there);
    snprintf(text, sizeof text, "stray spi=%08x length=%u udp=%u local=%s@%u remote=%s@%u", spi, length, encapsulation, here, local->port, there, remote->port);
    add_event(text);
}
static const struct martlet_plane_events events = {
    .struct_size = sizeof events, .opaque = (void *)1, .expired = on_expired, .acquire = on_acquire, .moved = on_moved, .stray = on_stray};

// ---- commands

static struct martlet_socket sockets[64];
static size_t socket_count;
static uint32_t worker_count;

static void add_socket(int kind, int family, uint32_t worker, uint16_t port, uint32_t mark) {
    int fd = kind == MARTLET_SOCKET_UDP_ENCAP ? socket(family, SOCK_DGRAM | SOCK_CLOEXEC, 0)
                                              : socket(family, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_ESP);
    if (fd < 0) {
        fprintf(stderr, "socket of kind %d family %d: %s\n", kind, family, strerror(errno));
        return;
    }
    int on = 1;
    if (mark) setsockopt(fd, SOL_SOCKET, SO_MARK, &mark, sizeof mark);
    if (family == AF_INET6) setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
    if (kind == MARTLET_SOCKET_UDP_ENCAP) {
        setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on);
        struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
        struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(port)};
        if (bind(fd, family == AF_INET ? (void *)&v4 : (void *)&v6, family == AF_INET ? sizeof v4 : sizeof v6) < 0) {
            fprintf(stderr, "bind: %s\n", strerror(errno));
            close(fd);
            return;
        }
    }
    sockets[socket_count++] = (struct martlet_socket){.fd = fd, .kind = (uint32_t)kind, .worker = worker, .family = (uint16_t)family, .port = port};
}

static void attach_filter(int fd) {
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0), BPF_STMT(BPF_ALU | BPF_MOD | BPF_K, worker_count), BPF_STMT(BPF_RET | BPF_A, 0)};
    struct sock_fprog program = {.len = 3, .filter = code};
    if (setsockopt(fd, SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, &program, sizeof program) < 0) fprintf(stderr, "filter: %s\n", strerror(errno));
}

static void answer(martlet_status status) {
    if (status == MARTLET_OK)
        printf("ok\n");
    else
        printf("error %d\n", status);
}

static void command_start(uint32_t workers, uint16_t port, uint32_t mark) {
    worker_count = workers;
    for (int family = 0; family < 2; family++) {
        int af = family ? AF_INET6 : AF_INET;
        size_t first = socket_count;
        for (uint32_t w = 0; w < workers; w++) add_socket(MARTLET_SOCKET_UDP_ENCAP, af, w, port, mark);
        if (socket_count > first) attach_filter(sockets[first].fd);
        for (uint32_t w = 0; w < workers; w++) add_socket(family ? MARTLET_SOCKET_ESP6 : MARTLET_SOCKET_ESP4, af, w, 0, mark);
    }
    answer(plane->start(&events, sockets, socket_count, workers, mark));
}

static struct martlet_address parse_address(const char *text) {
    // ADDRESS or ADDRESS@PORT
    struct martlet_address address = {0};
    char copy[80];
    snprintf(copy, sizeof copy, "%s", text);
    char *at = strchr(copy, '@');
    if (at) {
        *at = 0;
        address.port = (uint16_t)atoi(at + 1);
    }
    address.family = strchr(copy, ':') ? 6 : 4;
    if (inet_pton(address.family == 4 ? AF_INET : AF_INET6, copy, address.bytes) != 1) fprintf(stderr, "bad address %s\n", text);
    return address;
}

static size_t parse_selectors(const char *text, struct martlet_selector *selectors) {
    // ADDRESS/LENGTH[:PROTOCOL:START:END],... where the address of a selector with ports is IPv4
    size_t count = 0;
    char copy[1024];
    snprintf(copy, sizeof copy, "%s", text);
    for (char *item = strtok(copy, ","); item; item = strtok(NULL, ",")) {
        struct martlet_selector selector = {.end_port = 65535};
        char *slash = strchr(item, '/');
        int length = atoi(slash + 1);
        unsigned protocol, from, to;
        char *rest = strchr(slash, ':');
        if (rest && sscanf(rest, ":%u:%u:%u", &protocol, &from, &to) == 3) {
            selector.protocol = (uint8_t)protocol;
            selector.start_port = (uint16_t)from;
            selector.end_port = (uint16_t)to;
        }
        *slash = 0;
        selector.family = strchr(item, ':') ? 6 : 4;
        int bits = selector.family == 4 ? 32 : 128;
        inet_pton(selector.family == 4 ? AF_INET : AF_INET6, item, selector.start);
        memcpy(selector.end, selector.start, sizeof selector.end);
        for (int bit = length; bit < bits; bit++) {
            selector.start[bit / 8] &= (uint8_t)~(0x80 >> (bit % 8));
            selector.end[bit / 8] |= (uint8_t)(0x80 >> (bit % 8));
        }
        selectors[count++] = selector;
    }
    return count;
}

static size_t parse_hex(const char *text, uint8_t *bytes, size_t capacity) {
    size_t count = 0;
    unsigned value;
    while (count < capacity && sscanf(text + 2 * count, "%2x", &value) == 1) bytes[count++] = (uint8_t)value;
    return count;
}

static struct martlet_mark parse_mark(const char *text) {
    // VALUE/MASK
    const char *slash = strchr(text, '/');
    return (struct martlet_mark){(uint32_t)strtoul(text, NULL, 0), slash ? (uint32_t)strtoul(slash + 1, NULL, 0) : 0xffffffffu};
}

static void add_sa(char *arguments) {
    static struct martlet_selector local[64], remote[64];
    static uint8_t key[128], integrity[128];
    static char name[64];
    struct martlet_sa sa = {.struct_size = sizeof sa, .replay_window = 64, .encryption_id = 20, .encryption_bits = 256, .name = name};
    char *save = NULL;
    for (char *item = strtok_r(arguments, " ", &save); item; item = strtok_r(NULL, " ", &save)) {
        char *value = strchr(item, '=');
        if (!value) continue;
        *value++ = 0;
        if (!strcmp(item, "spi")) sa.spi = (uint32_t)strtoul(value, NULL, 16);
        else if (!strcmp(item, "child")) sa.child = strtoull(value, NULL, 10);
        else if (!strcmp(item, "policy")) sa.policy = strtoull(value, NULL, 10);
        else if (!strcmp(item, "direction")) sa.direction = (uint8_t)atoi(value);
        else if (!strcmp(item, "encapsulation")) sa.encapsulation = (uint8_t)atoi(value);
        else if (!strcmp(item, "flags")) sa.flags = (uint16_t)atoi(value);
        else if (!strcmp(item, "window")) sa.replay_window = (uint32_t)atoi(value);
        else if (!strcmp(item, "local")) sa.local = parse_address(value);
        else if (!strcmp(item, "remote")) sa.remote = parse_address(value);
        else if (!strcmp(item, "encryption")) sa.encryption_id = (uint16_t)atoi(value);
        else if (!strcmp(item, "bits")) sa.encryption_bits = (uint16_t)atoi(value);
        else if (!strcmp(item, "integrity")) sa.integrity_id = (uint16_t)atoi(value);
        else if (!strcmp(item, "key")) sa.key = (struct martlet_bytes){key, parse_hex(value, key, sizeof key)};
        else if (!strcmp(item, "integrity_key")) sa.integrity_key = (struct martlet_bytes){integrity, parse_hex(value, integrity, sizeof integrity)};
        else if (!strcmp(item, "local_ts")) sa.local_ts_count = parse_selectors(value, local);
        else if (!strcmp(item, "remote_ts")) sa.remote_ts_count = parse_selectors(value, remote);
        else if (!strcmp(item, "soft_packets")) sa.soft_packets = strtoull(value, NULL, 10);
        else if (!strcmp(item, "hard_seconds")) sa.hard_seconds = strtoull(value, NULL, 10);
        else if (!strcmp(item, "hard_packets")) sa.hard_packets = strtoull(value, NULL, 10);
        else if (!strcmp(item, "soft_bytes")) sa.soft_bytes = strtoull(value, NULL, 10);
        else if (!strcmp(item, "hard_bytes")) sa.hard_bytes = strtoull(value, NULL, 10);
        else if (!strcmp(item, "mark")) sa.mark = sa.policy_mark = parse_mark(value);
        else if (!strcmp(item, "set_mark")) sa.set_mark = parse_mark(value);
        else if (!strcmp(item, "if_id")) sa.interface_id = (uint32_t)strtoul(value, NULL, 0);
        else if (!strcmp(item, "offload")) sa.offload = (uint8_t)atoi(value);
        else fprintf(stderr, "unknown key %s\n", item);
    }
    sa.local_ts = local;
    sa.remote_ts = remote;
    martlet_status status = plane->add_sa(&sa);
    memset(key, 0, sizeof key);
    memset(integrity, 0, sizeof integrity);
    answer(status);
}

static void set_policy(unsigned long long number, unsigned action, const char *local_ts, const char *remote_ts) {
    struct martlet_selector local[64], remote[64];
    struct martlet_policy policy = {.struct_size = sizeof policy, .action = (uint8_t)action, .number = 1ull << 63 | number, .name = "trap"};
    policy.local_ts_count = parse_selectors(local_ts, local);
    policy.remote_ts_count = parse_selectors(remote_ts, remote);
    policy.local_ts = local;
    policy.remote_ts = remote;
    answer(plane->set_policy(&policy));
}

static void command_record(const char *interface, const char *what) {
    int fd = socket(AF_PACKET, SOCK_DGRAM | SOCK_CLOEXEC, htons(ETH_P_IP));
    struct sockaddr_ll address = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_IP), .sll_ifindex = (int)if_nametoindex(interface)};
    struct timeval wait = {.tv_sec = 5};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait);
    if (bind(fd, (struct sockaddr *)&address, sizeof address) < 0) {
        printf("error %d\n", -errno);
        close(fd);
        return;
    }
    printf("ok recording\n");
    fflush(stdout);
    uint8_t bytes[65536];
    int wanted = strcmp(what, "udp") == 0 ? IPPROTO_UDP : IPPROTO_ESP;
    for (;;) {
        ssize_t length = recv(fd, bytes, sizeof bytes, 0);
        if (length < 0) {
            printf("error %d\n", -errno);
            break;
        }
        if (length < 28 || bytes[9] != wanted) continue;
        int at = (bytes[0] & 15) * 4 + (wanted == IPPROTO_UDP ? 8 : 0);
        if (length < at + 8) continue;
        printf("ok ");
        for (ssize_t i = at; i < length; i++) printf("%02x", bytes[i]);
        printf("\n");
        break;
    }
    close(fd);
}

static void command_inject(const char *what, const char *from, const char *to, const char *hex) {
    struct martlet_address source = parse_address(from), destination = parse_address(to);
    int udp = strcmp(what, "udp") == 0;
    static uint8_t bytes[65536];
    size_t size = parse_hex(hex, bytes, sizeof bytes);
    int fd = udp ? socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0) : socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_ESP);
    int on = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = udp ? htons(source.port) : 0}, b = {.sin_family = AF_INET, .sin_port = udp ? htons(destination.port) : 0};
    memcpy(&a.sin_addr, source.bytes, 4);
    memcpy(&b.sin_addr, destination.bytes, 4);
    if (bind(fd, (struct sockaddr *)&a, sizeof a) < 0 || sendto(fd, bytes, size, 0, (struct sockaddr *)&b, sizeof b) < 0)
        printf("error %d\n", -errno);
    else
        printf("ok\n");
    close(fd);
}

static void command_counters(uint32_t spi, uint8_t direction, uint64_t child) {
    struct martlet_sa_counters counters = {.struct_size = sizeof counters};
    martlet_status status = plane->counters(spi, direction, child, &counters);
    if (status) {
        answer(status);
        return;
    }
    printf(
        "ok packets=%llu bytes=%llu replayed=%llu rejected_icv=%llu rejected_selector=%llu malformed=%llu sequence=%llu used=%d last_use=%llu\n",
        (unsigned long long)counters.packets, (unsigned long long)counters.bytes, (unsigned long long)counters.replayed,
        (unsigned long long)counters.rejected_icv, (unsigned long long)counters.rejected_selector, (unsigned long long)counters.malformed,
        (unsigned long long)counters.sequence, counters.last_use_ns != 0, (unsigned long long)counters.last_use_ns);
}

static void command_drops(void) {
    struct martlet_drop_counter counters[64];
    size_t count = plane->drops(counters, 64);
    printf("ok");
    for (size_t i = 0; i < count && i < 64; i++) printf(" %s=%llu", counters[i].reason, (unsigned long long)counters[i].packets);
    printf("\n");
}

int main(int argc, char **argv) {
    if (argc < 2) {
        fprintf(stderr, "usage: %s PLUGIN [KEY=VALUE ...]\n", argv[0]);
        return 2;
    }
    for (int i = 2; i < argc && setting_count < 16; i++) {
        char *value = strchr(argv[i], '=');
        if (!value) continue;
        snprintf(settings[setting_count][0], 64, "%.*s", (int)(value - argv[i]), argv[i]);
        snprintf(settings[setting_count++][1], 64, "%s", value + 1);
    }
    void *library = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        printf("error %s\n", dlerror());
        return 1;
    }
    martlet_plugin_query_fn query = (martlet_plugin_query_fn)dlsym(library, MARTLET_PLUGIN_SYMBOL);
    const struct martlet_plugin *plugin = query ? query() : NULL;
    if (!plugin || plugin->magic != MARTLET_PLUGIN_MAGIC) {
        printf("error no plugin\n");
        return 1;
    }
    martlet_status status = plugin->init(&host);
    if (status || !plane) {
        printf("error %d\n", status);
        return 1;
    }
    printf("ok %s %s\n", plugin->name, plugin->version);
    fflush(stdout);
    static char line[200000];
    while (fgets(line, sizeof line, stdin)) {
        line[strcspn(line, "\n")] = 0;
        static char a[65536], b[65536], c[65536], d[150000];
        unsigned long long child;
        unsigned spi, x, y, z;
        if (sscanf(line, "start %u %u %u", &x, &y, &z) == 3) command_start(x, (uint16_t)y, z);
        else if (!strncmp(line, "sa ", 3)) add_sa(line + 3);
        else if (sscanf(line, "activate %llu", &child) == 1) answer(plane->activate(child));
        else if (sscanf(line, "remove %x %u %llu", &spi, &x, &child) == 3) answer(plane->remove_sa(spi, (uint8_t)x, child));
        else if (sscanf(line, "update %llu %s %s %u", &child, a, b, &x) == 4) {
            struct martlet_address local = parse_address(a), remote = parse_address(b);
            answer(plane->update(child, &local, &remote, (uint8_t)x));
        } else if (sscanf(line, "lend %s", a) == 1) {
            struct martlet_address address = parse_address(a);
            answer(plane->add_address(&address));
        } else if (sscanf(line, "unlend %s", a) == 1) {
            struct martlet_address address = parse_address(a);
            answer(plane->remove_address(&address));
        } else if (sscanf(line, "policy %llu %u %s %s", &child, &x, a, b) == 4) set_policy(child, x, a, b);
        else if (sscanf(line, "unpolicy %llu", &child) == 1) answer(plane->remove_policy(1ull << 63 | child));
        else if (sscanf(line, "counters %x %u %llu", &spi, &x, &child) == 3) command_counters(spi, (uint8_t)x, child);
        else if (!strcmp(line, "drops")) command_drops();
        else if (!strcmp(line, "allocations")) printf("ok allocations=%lu\n", atomic_load(&allocations));
        else if (!strcmp(line, "timers")) printf("ok timers=%lu\n", atomic_load(&timers));
        else if (!strcmp(line, "events")) {
            pthread_mutex_lock(&event_lock);
            printf("ok %s\n", event_text);
            event_text[0] = 0;
            pthread_mutex_unlock(&event_lock);
        } else if (sscanf(line, "record %s %s", a, b) == 2) command_record(a, b);
        else if (sscanf(line, "inject %s %s %s %s", a, b, c, d) == 4) command_inject(a, b, c, d);
        else if (!strcmp(line, "stop")) {
            plane->stop();
            for (size_t i = 0; i < socket_count; i++) close(sockets[i].fd);
            socket_count = 0;
            answer(MARTLET_OK);
        } else if (!strcmp(line, "quit")) break;
        else printf("error unknown command\n");
        fflush(stdout);
    }
    return 0;
}
