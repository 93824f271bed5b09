/* martlet/plugin.h: the descriptor that a plugin exports and the table that the host hands it.
 *
 * Contract major 0: both sides must be built from the same header until major 1 is declared.
 *
 * Conventions, for every header of the contract:
 *   - Every struct that crosses begins with `struct_size` (struct martlet_plugin: after its magic and version), the number of bytes
 *     its author knew. A shorter struct means that its missing tail is absent; tables are extended at their end alone. Small values
 *     without `struct_size` (bytes, identity, address, selector, socket, drop counter) never change within a major.
 *   - In an array of structs with `struct_size` all elements have the same one, and it is the distance between them.
 *   - Whoever owns a struct zeroes what is named `reserved`; whoever reads it ignores that.
 *   - Every function returns a `martlet_status` unless it says otherwise; a status that the header does not name means
 *     MARTLET_E_FAILED. What a function writes through its arguments counts only where it returned MARTLET_OK. A function must not
 *     unwind (a C++ exception, longjmp) into its caller.
 *   - Pointers are never null unless they are marked MARTLET_NULLABLE. Strings end in a zero byte and are UTF-8.
 *   - Bytes lent to a function belong to the caller and are valid until it returns, unless it says otherwise.
 *   - "Any thread" means concurrently with itself. "One thread" means that the host never calls it concurrently for the same context.
 *   - Plugins are loaded with RTLD_NOW | RTLD_LOCAL and are never unloaded; tables and strings they hand over live for ever.
 */
#ifndef MARTLET_PLUGIN_H
#define MARTLET_PLUGIN_H
#include <stddef.h>
#include <stdint.h>
#ifdef __cplusplus
extern "C" {
#endif
#if defined(__clang__)
#define MARTLET_NULLABLE _Nullable
#define MARTLET_NONNULL _Nonnull
#define MARTLET_HEADER_BEGIN \
    _Pragma("clang diagnostic push") _Pragma("clang diagnostic ignored \"-Wnullability-extension\"") _Pragma("clang assume_nonnull begin")
#define MARTLET_HEADER_END _Pragma("clang assume_nonnull end") _Pragma("clang diagnostic pop")
#else
#define MARTLET_NULLABLE
#define MARTLET_NONNULL
#define MARTLET_HEADER_BEGIN
#define MARTLET_HEADER_END
#endif

MARTLET_HEADER_BEGIN

#define MARTLET_PLUGIN_MAGIC 0x4d52544cu /* "MRTL" */
#define MARTLET_ABI_MAJOR 0u
#define MARTLET_ABI_MINOR 10u
#define MARTLET_PLUGIN_SYMBOL "martlet_plugin_query"

/* What a call came to. Negative values are failures. */
typedef int32_t martlet_status;
#define MARTLET_OK 0
#define MARTLET_PENDING 1          /* the answer follows through the completion that the call was given */
#define MARTLET_E_FAILED (-1)      /* the operation failed; nothing more is known */
#define MARTLET_E_UNSUPPORTED (-2) /* this plugin does not do that */
#define MARTLET_E_INVALID (-3)     /* an argument is wrong: a size, a value off the curve */
#define MARTLET_E_MEMORY (-4)      /* out of memory */
#define MARTLET_E_REJECTED (-5)    /* a check failed: a tag, a password, a signature */
#define MARTLET_E_NOT_FOUND (-6)   /* no such user, secret, SA */
#define MARTLET_E_LIMIT (-7)       /* a stated limit is reached */
#define MARTLET_E_SYSTEM (-8)      /* the operating system refused; a log line says why */
#define MARTLET_E_TIMEOUT (-9)     /* the deadline passed */

/* A borrowed run of bytes. `data` may be null where `size` is 0. */
struct martlet_bytes {
    const uint8_t *MARTLET_NULLABLE data;
    size_t size;
};

enum martlet_log_level {
    MARTLET_LOG_ERROR = 0,
    MARTLET_LOG_WARNING = 1,
    MARTLET_LOG_NOTICE = 2,
    MARTLET_LOG_INFO = 3,
    MARTLET_LOG_DEBUG = 4
};

/* Kinds of thing that a plugin provides; the `kind` of struct martlet_provision. */
enum martlet_class {
    MARTLET_CLASS_CRYPTO = 1, /* `table` is a struct martlet_crypto_provider (crypto.h) */
    MARTLET_CLASS_AUTH = 2,   /* `table` is a struct martlet_auth_method (auth.h) */
    MARTLET_CLASS_PLANE = 3,  /* `table` is a struct martlet_plane (plane.h) */
    MARTLET_CLASS_DIRECTORY = 5, /* `table` is a struct martlet_directory (directory.h) */
    MARTLET_CLASS_CREDENTIALS = 6, /* `table` is a struct martlet_credential_reader (credentials.h) */
    MARTLET_CLASS_EAP = 7, /* `table` is a struct martlet_eap_method (eap.h) */
    MARTLET_CLASS_OBSERVER = 8 /* `table` is a struct martlet_observer (observer.h) */
};

/* One thing that a plugin provides or needs. */
struct martlet_provision {
    uint32_t struct_size;
    uint32_t kind; /* enum martlet_class */
    const char *name; /* within its class, e.g. "openssl", "psk", "tun" */
};

struct martlet_host;

enum martlet_plugin_flags {
    /* `init` may be called again when the plugin's section has changed: on any thread, never concurrently with itself, with another host table, of
     * which the settings are the new ones. What it then provides takes the place of what it has provided before, of which requests under way
     * are still completed. Where it fails, what there was stays in use. For directories alone. */
    MARTLET_PLUGIN_BEGINS_AGAIN = 1
};

/* What a plugin says of itself before any of its code but the query function has run. Constant and immortal. `name` and the names of
 * provisions are made of a-z, 0-9 and '-'. */
struct martlet_plugin {
    uint32_t magic; /* MARTLET_PLUGIN_MAGIC */
    uint16_t abi_major, abi_minor;
    uint32_t struct_size;
    uint32_t flags; /* enum martlet_plugin_flags */
    const char *name;    /* lower case, the section of `plugins { }` that configures it */
    const char *version;
    const char *vendor;
    const char *licence; /* an SPDX expression */
    const struct martlet_provision *provides;
    size_t provides_count;
    const struct martlet_provision *MARTLET_NULLABLE depends;
    size_t depends_count;
    /* Called once (but see MARTLET_PLUGIN_BEGINS_AGAIN), on the main thread, before any other function of the plugin. `host` lives for ever. The plugin registers what it
     * provides with `host->provide` before it returns. A status other than MARTLET_OK disables the plugin. */
    martlet_status (*init)(const struct martlet_host *host);
    /* Called once, on the main thread, when the daemon ends, after every context was destroyed. May be null. */
    void (*MARTLET_NULLABLE shutdown)(void);
};

/* The one exported symbol: returns the descriptor. Must not do anything else. */
typedef const struct martlet_plugin *MARTLET_NULLABLE (*martlet_plugin_query_fn)(void);

/* Defines that symbol, for plugins in C and C++: MARTLET_EXPORT_PLUGIN(descriptor) */
#if defined(__cplusplus)
#define MARTLET_EXTERN_C extern "C"
#else
#define MARTLET_EXTERN_C
#endif
#define MARTLET_EXPORT_PLUGIN(descriptor)                                                                    \
    MARTLET_EXTERN_C __attribute__((visibility("default"))) const struct martlet_plugin *martlet_plugin_query(void); \
    MARTLET_EXTERN_C const struct martlet_plugin *martlet_plugin_query(void) { return &(descriptor); }

/* A timer or a watched descriptor of a plugin. 0 is never one. */
typedef uint64_t martlet_handle;

/* What the host offers. Functions may be called from any thread unless they say otherwise. `host` is the table itself. */
struct martlet_host {
    uint32_t struct_size;
    uint16_t abi_major, abi_minor;
    const char *version; /* of the daemon */
    void *opaque; /* the host's own; tells plugins apart */

    /* Registers a table for a class; `name` as in the descriptor's `provides`. In `init` alone. The table is immortal. */
    martlet_status (*provide)(const struct martlet_host *host, uint32_t kind, const char *name, const void *table);
    /* The table that a loaded plugin provides under a class and a name, or, with a null name, the preferred one; null if there is
     * none. Valid from `init` on for plugins named in `depends`, otherwise after start-up. */
    const void *MARTLET_NULLABLE (*MARTLET_NONNULL look_up)(const struct martlet_host *host, uint32_t kind, const char *MARTLET_NULLABLE name);
    /* The algorithm that the host prefers (crypto.h, a struct that begins with struct martlet_algorithm): tested, enabled, in the
     * configured order. `kind` is an enum martlet_algorithm_kind, `transform_id` IANA's, `key_bits` 0 where the algorithm has one
     * size. With a `provider`, that one's. Null if there is none. Valid after start-up. */
    const void *MARTLET_NULLABLE (*MARTLET_NONNULL algorithm)(const struct martlet_host *host, const char *MARTLET_NULLABLE provider, uint32_t kind, uint16_t transform_id, uint16_t key_bits);

    /* One log line. `message` is UTF-8 without a line end, at most 1,000 bytes are kept; it must not hold a secret. */
    void (*log)(const struct martlet_host *host, int32_t level, const char *message);
    /* The value of `key` in this plugin's section, null where it is not set. Nested keys are written "a.b". Immortal, but what
     * ends in "password" or "secret" is wiped when `init` has returned. "state", where the
     * section does not set it, is a folder for what is to outlive the daemon: the plugin makes it, private, when it first needs it. */
    const char *MARTLET_NULLABLE (*MARTLET_NONNULL setting)(const struct martlet_host *host, const char *key);
    /* CLOCK_MONOTONIC in nanoseconds. */
    uint64_t (*now)(const struct martlet_host *host);

    /* Calls `fire(context)` once, on the host's service thread, `after_ns` from now. 0 when there is no room for another. */
    martlet_handle (*arm_timer)(const struct martlet_host *host, uint64_t after_ns, void (*MARTLET_NONNULL fire)(void *MARTLET_NULLABLE), void *MARTLET_NULLABLE context);
    /* Calls `ready(context, events)` on the host's service thread whenever `fd` is ready (epoll event bits, level triggered). The
     * descriptor stays the plugin's; cancel the watch before closing it. 0 when the descriptor cannot be watched. */
    martlet_handle (*watch)(const struct martlet_host *host, int32_t fd, uint32_t events, void (*MARTLET_NONNULL ready)(void *MARTLET_NULLABLE, uint32_t), void *MARTLET_NULLABLE context);
    /* Ends a timer or a watch. On return from the service thread it will not be called again; from another thread a call under
     * way may still be finishing. */
    void (*cancel)(const struct martlet_host *host, martlet_handle handle);

    /* Zeroed memory for secrets: locked where the limits allow, left out of core dumps. `secret_free` wipes. */
    void *MARTLET_NULLABLE (*MARTLET_NONNULL secret_allocate)(const struct martlet_host *host, size_t size);
    void (*secret_free)(const struct martlet_host *host, void *MARTLET_NULLABLE memory, size_t size);
    /* Overwrites memory; never optimised away. */
    void (*wipe)(void *memory, size_t size);
};

MARTLET_HEADER_END
#ifdef __cplusplus
}
#endif
#endif
