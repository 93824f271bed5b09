/* martlet/eap.h: methods of EAP (RFC 3748), as the server that asks and as the client that is asked.
 *
 * The host has the layer of EAP itself: identities, identifiers, Nak, Notification, Success and Failure. A method sees the Type-Data of its own
 * requests and responses, one after the other. What it makes is a conversation, which ends with success, and a key where it gives one, or with failure.
 *
 * Threads: `begin` and `step` are called on the job pool, at most `max_concurrency` at once over all conversations (0: no limit), and never twice at
 * once for one conversation. They must not wait for anything: who does not know yet returns, and completes later, from any thread. `cancel` is called on any
 * thread, also while `step` runs; `destroy` on any thread, when nothing else is called for the conversation any more and every step of it is complete.
 *
 * Secrets (passwords, hashes, keys) must not be in a reason or in a log line, and are wiped by whoever holds them.
 */
#ifndef MARTLET_EAP_H
#define MARTLET_EAP_H
#include "auth.h"
#ifdef __cplusplus
extern "C" {
#endif
MARTLET_HEADER_BEGIN

#define MARTLET_EAP_MESSAGE_MAX 16384 /* the most octets of Type-Data in one message; a method that has more cuts it */
#define MARTLET_EAP_KEY_SIZE 64       /* of the MSK: RFC 3748 section 7.10 */

enum martlet_eap_role {
    MARTLET_EAP_SERVER = 1,
    MARTLET_EAP_CLIENT = 2
};

/* What a method may want of a user. */
enum martlet_eap_secret {
    MARTLET_EAP_PASSWORD = 1, /* the password itself, UTF-8 */
    MARTLET_EAP_NT_HASH = 2,  /* MD4 of the password in UTF-16LE: 16 bytes */
    MARTLET_EAP_ACCOUNT = 3   /* no secret: whether one who has proven to be the user may log in. MARTLET_OK also where nobody keeps a list of users */
};

/* How a user's proof can be checked at all. */
enum martlet_eap_means {
    MARTLET_EAP_BY_PASSWORD = 1,      /* the password can be looked up */
    MARTLET_EAP_BY_NT_HASH = 2,       /* the hash can be */
    MARTLET_EAP_BY_CHECK = 4          /* a password that was given can be checked */
};

/* The end of a look-up or a check. `secret` is valid until this returns, empty where none was asked for. `reason`: why not, for the log; may be null. */
typedef void (*martlet_eap_answer)(void *MARTLET_NULLABLE context, martlet_status status, struct martlet_bytes secret, const char *MARTLET_NULLABLE reason);

/* What a conversation is about. It belongs to the host and is valid until the conversation is destroyed. */
struct martlet_eap_parameters {
    uint32_t struct_size;
    uint32_t role; /* enum martlet_eap_role */
    const char *connection;
    struct martlet_bytes identity; /* who the client says that it is: as the client, what we call ourselves */
    struct martlet_identity local, remote; /* of IKE: ours and the peer's */
    /* As the client: what the server has to be, where the method has it prove that. Else of no type and empty. */
    struct martlet_identity server;
    /* Looks a secret up: of the user named, or as the client our own. `answer` is called exactly once, before this returns or later from any thread.
     * MARTLET_E_NOT_FOUND: no such user. MARTLET_E_UNSUPPORTED: the user is known, and nobody has that kind of secret of it. MARTLET_E_REJECTED: the user is
     * known and may not log in. MARTLET_E_TIMEOUT, MARTLET_E_FAILED: whoever knows cannot be asked. */
    void (*find_secret)(const struct martlet_eap_parameters *parameters, uint32_t kind, struct martlet_bytes user, uint64_t deadline_ns, martlet_eap_answer answer, void *MARTLET_NULLABLE context);
    /* As the server: has a password checked by whoever knows the user. MARTLET_OK: it is the user's. MARTLET_E_REJECTED: it is not, or the user may not log in. */
    void (*check_password)(const struct martlet_eap_parameters *parameters, struct martlet_bytes user, struct martlet_bytes password, uint64_t deadline_ns, martlet_eap_answer answer, void *MARTLET_NULLABLE context);
    void *opaque; /* the host's own */
    /* For methods with certificates: those that there are, and what the connection says of ours and of the peer's. */
    const struct martlet_credentials *credentials;
    const struct martlet_auth_side *local_side, *remote_side;
    /* Whether the peer's certificate is believed, and is one of the user, or as the client of `server`: judged as certificates of IKE are. `certificates`: DER, the
     * peer's own first. `answer` as for `find_secret`; it brings no secret. MARTLET_E_REJECTED: it is not. */
    void (*check_certificate)(
        const struct martlet_eap_parameters *parameters, const struct martlet_bytes *certificates, size_t count, uint64_t deadline_ns, martlet_eap_answer answer,
        void *MARTLET_NULLABLE context);
    /* As the server: enum martlet_eap_means added up, for the user named: a method that has the choice asks for nothing that nobody can check. */
    uint32_t means;
    uint32_t reserved; /* 0 */
};

enum martlet_eap_outcome {
    MARTLET_EAP_CONTINUE = 1, /* `message` goes out, and what comes back is the next step */
    /* As the server: the client has failed, for `reason`, and `message` tells it so in words of the method; whatever comes back, it ends then. As the client: the
     * server has said so in words of the method, and `message` confirms it. */
    MARTLET_EAP_REFUSED = 2,
    /* The method is content. As the server nothing goes out but EAP-Success. As the client `message` goes out (it may be empty); the server may ask once more. */
    MARTLET_EAP_SUCCESS = 3,
    MARTLET_EAP_FAILURE = 4 /* for `reason` */
};

struct martlet_eap_result {
    uint32_t struct_size;
    uint32_t outcome; /* enum martlet_eap_outcome */
    struct martlet_bytes message; /* Type-Data */
    struct martlet_bytes key; /* with MARTLET_EAP_SUCCESS: the MSK, MARTLET_EAP_KEY_SIZE bytes, of a method with MARTLET_EAP_GIVES_KEY */
    /* Why not. MARTLET_E_REJECTED: the proof is wrong. MARTLET_E_NOT_FOUND: no such user or secret. MARTLET_E_INVALID: what came is not of the method, or not
     * in its turn. Anything else: something here does not work. */
    martlet_status status;
    uint32_t reserved; /* 0 */
    const char *MARTLET_NULLABLE reason; /* the rest of a sentence that begins with the user or the peer, for the log: "gave a wrong password" */
};

struct martlet_eap_step {
    uint32_t struct_size;
    uint8_t identifier; /* of the EAP packet that came; in a server's first step, of the one that will go */
    uint8_t reserved[3]; /* 0 */
    struct martlet_bytes message; /* the Type-Data that came; nothing in a server's first step. Valid until the step is complete */
    uint64_t deadline_ns; /* on host->now */
    /* Ends the step: called exactly once, before `step` returns or later from any thread. What `result` points to is copied before this returns. */
    void (*complete)(uint64_t token, const struct martlet_eap_result *result);
    uint64_t token;
};

enum martlet_eap_flags {
    MARTLET_EAP_AS_SERVER = 1,
    MARTLET_EAP_AS_CLIENT = 2,
    MARTLET_EAP_GIVES_KEY = 4, /* a conversation that succeeds leaves both ends with an MSK */
    MARTLET_EAP_MUTUAL = 8,    /* it proves the server to the client as well, and no password can be guessed from what it sends: RFC 5998 section 4 */
    MARTLET_EAP_SERVER_CERTIFICATE = 16, /* the server proves itself with a certificate */
    MARTLET_EAP_CLIENT_CERTIFICATE = 32, /* so does the client, who needs no password */
    MARTLET_EAP_PASSWORDS = 64 /* the client proves itself with a password */
};

/* What a plugin registers under MARTLET_CLASS_EAP. */
struct martlet_eap_method {
    uint32_t struct_size;
    uint32_t max_concurrency;
    const char *name; /* the value of `auth` in a configuration, "eap-" and more: "eap-md5" */
    uint8_t type; /* IANA "EAP Method Types", 4 and up */
    uint8_t reserved[3]; /* 0 */
    uint32_t flags; /* enum martlet_eap_flags */
    /* A new conversation. A status other than MARTLET_OK: there is none, and nothing to destroy. */
    martlet_status (*begin)(const struct martlet_eap_parameters *parameters, void *MARTLET_NULLABLE *MARTLET_NONNULL conversation);
    /* MARTLET_OK: `complete` was called or will be. Otherwise it was not and will not be, and the conversation has failed. */
    martlet_status (*step)(void *conversation, const struct martlet_eap_step *step);
    /* Asks a step that is not complete to end early. It is completed all the same. May be null. */
    void (*MARTLET_NULLABLE cancel)(void *conversation);
    void (*destroy)(void *conversation);
};

MARTLET_HEADER_END
#ifdef __cplusplus
}
#endif
#endif
