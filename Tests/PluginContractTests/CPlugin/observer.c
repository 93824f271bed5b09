/* An observer that writes what it is told into a file, in a form of its own: the setting `file` says where. A connection called "slow" makes it
 * wait until the file of that name with ".go" behind it is there; one called "deaf" is refused. */
#define _DEFAULT_SOURCE
#include <martlet/observer.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char *path;

static martlet_status account(const struct martlet_observer *o, const struct martlet_accounting_record *r) {
    FILE *file;
    char go[512];
    (void)o;
    if (r->struct_size < sizeof *r) return MARTLET_E_INVALID;
    snprintf(go, sizeof go, "%s.go", path);
    if (!strcmp(r->connection, "slow")) while (access(go, F_OK)) usleep(1000);
    if (!strcmp(r->connection, "deaf")) return MARTLET_E_SYSTEM;
    if (!(file = fopen(path, "a"))) return MARTLET_E_SYSTEM;
    fprintf(file, "%u %s %s %.*s %u.%u.%u.%u:%u inner %zu %" PRIu64 "/%" PRIu64 " cause %u %s lost %" PRIu64 "\n", r->event, r->session, r->connection, (int)r->user.size,
            (const char *)r->user.data ? (const char *)r->user.data : "", r->remote.bytes[0], r->remote.bytes[1], r->remote.bytes[2], r->remote.bytes[3], r->remote.port,
            r->inner_count, r->bytes_in, r->bytes_out, r->cause, r->reason, r->lost);
    fclose(file);
    return MARTLET_OK;
}

static void reopen(const struct martlet_observer *o) {
    FILE *file = fopen(path, "a");
    (void)o;
    if (file) fputs("reopened\n", file), fclose(file);
}

static const struct martlet_observer observer = {.struct_size = sizeof observer, .name = "c", .account = account, .reopen = reopen};

static martlet_status init(const struct martlet_host *host) {
    if (!(path = host->setting(host, "file"))) return MARTLET_E_INVALID;
    return host->provide(host, MARTLET_CLASS_OBSERVER, "c", &observer);
}

static const struct martlet_provision provides[] = {{sizeof(struct martlet_provision), MARTLET_CLASS_OBSERVER, "c"}};
static const struct martlet_plugin plugin = {
    .magic = MARTLET_PLUGIN_MAGIC, .abi_major = MARTLET_ABI_MAJOR, .abi_minor = MARTLET_ABI_MINOR, .struct_size = sizeof plugin, .name = "c-observer",
    .version = "1", .vendor = "Test", .licence = "Apache-2.0", .provides = provides, .provides_count = 1, .init = init,
};

MARTLET_EXPORT_PLUGIN(plugin)
