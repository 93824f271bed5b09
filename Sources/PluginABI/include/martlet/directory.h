/* martlet/directory.h: directories of users: is this user's account good and in which groups is it, is this the user's password, what
 * is the NT hash of it.
 *
 * The host and other plugins call a directory: an EAP plugin finds one with `host->look_up(host, MARTLET_CLASS_DIRECTORY, name)`.
 *
 * Threads: all functions may be called on any thread, none of them blocks. A call that returned MARTLET_PENDING is completed exactly
 * once: with what came of it, with MARTLET_DIRECTORY_SLOW when its deadline passes, or with MARTLET_DIRECTORY_CANCELLED. The completion
 * comes from any thread, perhaps before the call has returned, and must not block. A caller finds its own state by the `id` that it gave
 * and ignores an id that it does not know: so a late or a second completion would be harmless.
 */
#ifndef MARTLET_DIRECTORY_H
#define MARTLET_DIRECTORY_H
#include "plugin.h"
#ifdef __cplusplus
extern "C" {
#endif
MARTLET_HEADER_BEGIN

/* What the directory says. What a caller does not know counts as a refusal. */
enum martlet_directory_outcome {
    MARTLET_DIRECTORY_OK = 0,
    /* Of the user. */
    MARTLET_DIRECTORY_NO_SUCH_USER = 1,
    MARTLET_DIRECTORY_AMBIGUOUS = 2, /* more than one entry answers to the name */
    MARTLET_DIRECTORY_DISABLED = 3,
    MARTLET_DIRECTORY_LOCKED = 4, /* after too many wrong passwords */
    MARTLET_DIRECTORY_EXPIRED = 5, /* the account */
    MARTLET_DIRECTORY_PASSWORD_EXPIRED = 6, /* right or not: it has to be changed first */
    MARTLET_DIRECTORY_PASSWORD_WRONG = 7,
    MARTLET_DIRECTORY_PASSWORD_EMPTY = 8, /* never sent to a directory: a bind without a password succeeds for everybody */
    MARTLET_DIRECTORY_NO_HASH = 9, /* the account is good; its entry has no NT hash, or none that we may read */
    MARTLET_DIRECTORY_BAD_NAME = 10, /* not UTF-8, empty, too long, or with control characters */
    /* Of the directory. */
    MARTLET_DIRECTORY_DOWN = 32, /* nobody to ask: refused, unreachable, wrong certificate, the service account is refused */
    MARTLET_DIRECTORY_SLOW = 33, /* the deadline passed */
    MARTLET_DIRECTORY_LYING = 34, /* what it answers makes no sense or is too much */
    MARTLET_DIRECTORY_BUSY = 35, /* too many requests wait already */
    MARTLET_DIRECTORY_CANCELLED = 36
};

/* A group that a user is in, directly or through other groups. */
struct martlet_directory_group {
    struct martlet_bytes name;               /* its common name */
    struct martlet_bytes distinguished_name; /* empty where the directory has only names */
};

/* What came of a request. Everything is valid until `complete` returns. */
struct martlet_directory_answer {
    uint32_t struct_size;
    uint32_t outcome; /* enum martlet_directory_outcome */
    /* The reason of a refusal, for the log alone: a sentence without a line end, without a secret. Empty with MARTLET_DIRECTORY_OK. */
    const char *reason;
    /* Where one entry was found, whatever became of it. `user` is the name as the directory writes it: the same for every way in which
     * the user may have written it, so count sessions and failures by it. */
    struct martlet_bytes distinguished_name, user;
    const struct martlet_directory_group *MARTLET_NULLABLE groups; /* with MARTLET_DIRECTORY_OK, at most MARTLET_DIRECTORY_GROUPS */
    size_t group_count;
    struct martlet_bytes nt_hash; /* 16 bytes, with MARTLET_DIRECTORY_OK of `nt_hash`; in memory of `secret_allocate`, wiped afterwards */
};

#define MARTLET_DIRECTORY_GROUPS 4096
#define MARTLET_DIRECTORY_NAME_MAX 256     /* bytes of a user's name */
#define MARTLET_DIRECTORY_PASSWORD_MAX 1024 /* bytes of a password */

/* One question. Copied before the call returns. */
struct martlet_directory_request {
    uint32_t struct_size;
    uint32_t reserved; /* 0 */
    uint64_t id;       /* the caller's, handed to `complete` */
    struct martlet_bytes user;     /* as the peer wrote it, in UTF-8 */
    struct martlet_bytes password; /* of `verify_password`; else empty */
    uint64_t deadline_ns;          /* on host->now */
    void (*complete)(uint64_t id, const struct martlet_directory_answer *answer);
};

/* What a directory can do, as it is configured. */
enum martlet_directory_abilities {
    MARTLET_DIRECTORY_VERIFIES_PASSWORDS = 1, /* EAP-GTC, TTLS with PAP */
    MARTLET_DIRECTORY_HAS_NT_HASHES = 2       /* MSCHAPv2 */
};

/* What a plugin registers under MARTLET_CLASS_DIRECTORY. Each function returns MARTLET_PENDING, and writes a token for `cancel`, which is
 * never 0; or a failure, and then nothing is completed: MARTLET_E_INVALID for a request that is malformed, MARTLET_E_UNSUPPORTED for what
 * the directory cannot do, MARTLET_E_MEMORY. */
struct martlet_directory {
    uint32_t struct_size;
    uint32_t abilities; /* enum martlet_directory_abilities */
    const char *name;   /* "ldap" */
    /* Why it cannot do what it cannot, and what to do instead: for the log. Empty where there is nothing to say. */
    const char *advice;
    /* Is there one such account, is it enabled, not locked, not expired, and in which groups is it? */
    martlet_status (*look_up)(const struct martlet_directory *directory, const struct martlet_directory_request *request, uint64_t *token);
    /* The same, once the directory has taken the password. A peer must not learn from what follows which refusal it was: not whether
     * there is such a user, nor whether the password of a disabled account was right. */
    martlet_status (*verify_password)(const struct martlet_directory *directory, const struct martlet_directory_request *request, uint64_t *token);
    /* The same as `look_up`, and the NT hash of the password: MD4 of it in UTF-16LE. */
    martlet_status (*nt_hash)(const struct martlet_directory *directory, const struct martlet_directory_request *request, uint64_t *token);
    /* Asks a pending request to end: it is completed at once, unless it has been. Unknown tokens are ignored. */
    void (*cancel)(const struct martlet_directory *directory, uint64_t token);
};

MARTLET_HEADER_END
#ifdef __cplusplus
}
#endif
#endif
