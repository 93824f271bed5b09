/* A directory that answers in every way that the contract allows, and in some that it only tolerates. The user's name says which. */
#define _DEFAULT_SOURCE
#include <martlet/directory.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct martlet_host *the_host;

struct question {
    uint64_t id;
    char user[32];
    char password[32];
    int wants_hash;
    void (*complete)(uint64_t, const struct martlet_directory_answer *);
};

static struct martlet_bytes bytes(const char *text) { return (struct martlet_bytes){(const uint8_t *)text, strlen(text)}; }

static void answer(const struct question *q) {
    struct martlet_directory_group groups[2] = {{bytes("vpn"), bytes("cn=vpn,dc=example")}, {bytes("staff"), {0, 0}}};
    uint8_t *hash = the_host->secret_allocate(the_host, 16);
    struct martlet_directory_answer a = {.struct_size = sizeof a, .outcome = MARTLET_DIRECTORY_OK, .reason = "", .distinguished_name = bytes("uid=a,dc=example"), .user = bytes("a")};
    memset(hash, 0x5a, 16);
    a.groups = groups;
    a.group_count = 2;
    if (q->wants_hash) a.nt_hash = (struct martlet_bytes){hash, 16};
    if (!strcmp(q->user, "short-hash")) a.nt_hash.size = 15;
    if (!strcmp(q->user, "short")) a.struct_size = 8;
    if (!strcmp(q->user, "unheard-of")) a.outcome = 1000, a.reason = "something new";
    if (q->password[0] && strcmp(q->password, "right")) a.outcome = MARTLET_DIRECTORY_PASSWORD_WRONG, a.reason = "the password is wrong";
    q->complete(q->id, &a);
    if (!strcmp(q->user, "twice")) q->complete(q->id, &a);
    the_host->secret_free(the_host, hash, 16);
}

static void *later(void *argument) {
    usleep(5000);
    answer(argument);
    free(argument);
    return 0;
}

static martlet_status begin(const struct martlet_directory_request *request, int wants_hash, uint64_t *token) {
    struct question *q = calloc(1, sizeof *q);
    pthread_t thread;
    if (request->user.size >= sizeof q->user || request->password.size >= sizeof q->password) return free(q), MARTLET_E_INVALID;
    memcpy(q->user, request->user.data, request->user.size);
    if (request->password.size) memcpy(q->password, request->password.data, request->password.size);
    q->id = request->id, q->complete = request->complete, q->wants_hash = wants_hash;
    *token = 7;
    if (!strcmp(q->user, "inside")) return answer(q), free(q), MARTLET_PENDING;
    if (pthread_create(&thread, 0, later, q)) return free(q), MARTLET_E_MEMORY;
    pthread_detach(thread);
    return MARTLET_PENDING;
}

static martlet_status look_up(const struct martlet_directory *d, const struct martlet_directory_request *r, uint64_t *t) { return (void)d, begin(r, 0, t); }
static martlet_status verify(const struct martlet_directory *d, const struct martlet_directory_request *r, uint64_t *t) { return (void)d, begin(r, 0, t); }
static martlet_status nt_hash(const struct martlet_directory *d, const struct martlet_directory_request *r, uint64_t *t) { return (void)d, begin(r, 1, t); }
static void cancel(const struct martlet_directory *d, uint64_t token) { (void)d, (void)token; }

static const struct martlet_directory directory = {
    .struct_size = sizeof directory,
    .abilities = MARTLET_DIRECTORY_VERIFIES_PASSWORDS | MARTLET_DIRECTORY_HAS_NT_HASHES,
    .name = "c",
    .advice = "",
    .look_up = look_up,
    .verify_password = verify,
    .nt_hash = nt_hash,
    .cancel = cancel,
};

static martlet_status init(const struct martlet_host *host) {
    the_host = host;
    return host->provide(host, MARTLET_CLASS_DIRECTORY, "c", &directory);
}

static const struct martlet_provision provides[] = {{sizeof(struct martlet_provision), MARTLET_CLASS_DIRECTORY, "c"}};
static const struct martlet_plugin plugin = {
    .magic = MARTLET_PLUGIN_MAGIC, .abi_major = MARTLET_ABI_MAJOR, .abi_minor = MARTLET_ABI_MINOR, .struct_size = sizeof plugin, .name = "c",
    .version = "1", .vendor = "Test", .licence = "Apache-2.0", .provides = provides, .provides_count = 1, .init = init,
};

MARTLET_EXPORT_PLUGIN(plugin)
