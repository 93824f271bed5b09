/* An authentication method that answers in every way that the contract allows, and in some that it only tolerates. The connection's
 * name says which. */
#define _DEFAULT_SOURCE
#include <martlet/auth.h>
#include <martlet/plugin.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct martlet_host *the_host;

static void *answer(void *argument) {
    const struct martlet_auth_request *request = argument;
    uint64_t token = request->token;
    void (*complete)(uint64_t, martlet_status, struct martlet_bytes) = request->complete;
    int twice = !strcmp(request->connection, "twice"), reject = !strcmp(request->connection, "reject");
    uint8_t data[4] = {1, 2, 3, (uint8_t)request->nonce.size};
    usleep(20000);
    if (reject) {
        complete(token, MARTLET_E_REJECTED, (struct martlet_bytes){0, 0});
    } else {
        complete(token, MARTLET_OK, (struct martlet_bytes){data, sizeof data});
    }
    /* `request` is gone from here on. */
    if (twice) complete(token, MARTLET_E_FAILED, (struct martlet_bytes){0, 0});
    return 0;
}

static martlet_status begin(const struct martlet_auth_request *request) {
    pthread_t thread;
    if (!strcmp(request->connection, "never")) return MARTLET_PENDING;
    if (!strcmp(request->connection, "inside")) {
        uint8_t data[1] = {9};
        request->complete(request->token, MARTLET_OK, (struct martlet_bytes){data, 1});
        /* Still ours: the call has not returned. */
        return request->nonce.size == 32 ? MARTLET_PENDING : MARTLET_E_FAILED;
    }
    if (pthread_create(&thread, 0, answer, (void *)request)) return MARTLET_E_MEMORY;
    pthread_detach(thread);
    return MARTLET_PENDING;
}

static martlet_status sign(const struct martlet_auth_request *request, uint8_t *auth_data, size_t *auth_size) {
    if (!strcmp(request->connection, "too-much")) {
        *auth_size = MARTLET_AUTH_MAX + 1;
        return MARTLET_OK;
    }
    (void)auth_data;
    return begin(request);
}

static martlet_status verify(const struct martlet_auth_request *request) { return begin(request); }

/* Cancelled requests are completed all the same, late. */
static void cancel(uint64_t token) {
    (void)token;
    the_host->log(the_host, MARTLET_LOG_NOTICE, "cancelled");
}

static const uint16_t methods[] = {201};
static const struct martlet_auth_method method = {
    .struct_size = sizeof method,
    .max_concurrency = 2,
    .name = "later",
    .methods = methods,
    .method_count = 1,
    .sign = sign,
    .verify = verify,
    .cancel = cancel,
};

static martlet_status init(const struct martlet_host *host) {
    the_host = host;
    return host->provide(host, MARTLET_CLASS_AUTH, "later", &method);
}

static const struct martlet_provision provides[] = {{sizeof(struct martlet_provision), MARTLET_CLASS_AUTH, "later"}};
static const struct martlet_plugin plugin = {
    .magic = MARTLET_PLUGIN_MAGIC,
    .abi_major = MARTLET_ABI_MAJOR,
    .abi_minor = MARTLET_ABI_MINOR,
    .struct_size = sizeof plugin,
    .name = "later",
    .version = "1",
    .vendor = "Test",
    .licence = "Apache-2.0",
    .provides = provides,
    .provides_count = 1,
    .init = init,
};

MARTLET_EXPORT_PLUGIN(plugin)
