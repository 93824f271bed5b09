// A data plane that takes every SA and carries nothing: for benchmarks of the key exchange alone. Built where they run, shipped nowhere.
#include <martlet/plane.h>
#include <martlet/plugin.h>

static martlet_status start(const struct martlet_plane_events *events, const struct martlet_socket *sockets, size_t count, uint32_t workers, uint32_t mark) {
    (void)events, (void)sockets, (void)count, (void)workers, (void)mark;
    return MARTLET_OK;
}
static void stop(void) {}
static martlet_status add_sa(const struct martlet_sa *sa) { (void)sa; return MARTLET_OK; }
static martlet_status activate(uint64_t child) { (void)child; return MARTLET_OK; }
static martlet_status remove_sa(uint32_t spi, uint8_t direction, uint64_t child) { (void)spi, (void)direction, (void)child; return MARTLET_OK; }
static martlet_status update(uint64_t child, const struct martlet_address *local, const struct martlet_address *remote, uint8_t encapsulation) {
    (void)child, (void)local, (void)remote, (void)encapsulation;
    return MARTLET_OK;
}
static martlet_status counters(uint32_t spi, uint8_t direction, uint64_t child, struct martlet_sa_counters *out) {
    (void)spi, (void)direction, (void)child;
    uint32_t size = out->struct_size;
    *out = (struct martlet_sa_counters){.struct_size = size};
    return MARTLET_OK;
}
static size_t drops(struct martlet_drop_counter *out, size_t capacity) { (void)out, (void)capacity; return 0; }
static martlet_status set_policy(const struct martlet_policy *policy) { (void)policy; return MARTLET_OK; }
static martlet_status remove_policy(uint64_t number) { (void)number; return MARTLET_OK; }
static martlet_status address(const struct martlet_address *one) { (void)one; return MARTLET_OK; }

static const struct martlet_plane plane = {
    .struct_size = sizeof plane, .name = "null", .start = start, .stop = stop, .add_sa = add_sa, .activate = activate, .remove_sa = remove_sa, .update = update,
    .counters = counters, .drops = drops, .set_policy = set_policy, .remove_policy = remove_policy, .add_address = address, .remove_address = address};
static const struct martlet_provision provides[] = {{.struct_size = sizeof provides[0], .kind = MARTLET_CLASS_PLANE, .name = "null"}};

static martlet_status init(const struct martlet_host *host) { return host->provide(host, MARTLET_CLASS_PLANE, "null", &plane); }

static const struct martlet_plugin plugin = {
    .magic = MARTLET_PLUGIN_MAGIC, .abi_major = MARTLET_ABI_MAJOR, .abi_minor = MARTLET_ABI_MINOR, .struct_size = sizeof plugin, .name = "null", .version = "1",
    .vendor = "Martlet", .licence = "Apache-2.0", .provides = provides, .provides_count = 1, .init = init};
MARTLET_EXPORT_PLUGIN(plugin)
