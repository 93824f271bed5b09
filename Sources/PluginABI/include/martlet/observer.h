/* martlet/observer.h: who is told of what users do: accounting of their sessions.
 *
 * A session is what a peer has from the moment it has proven who it is until its IKE SA ends; keys that are renewed do not end it. A peer
 * that authenticates anew (RFC 7296 section 2.8.3) begins another. Every session has a START and a STOP, and INTERIM records between them as
 * often as the configuration says (`gateway { accounting_interval }`).
 *
 * Threads: the functions of one observer are called on one thread of the host's that does nothing else, never concurrently, in the order
 * in which things happened. They may block: the host lets a bounded number of records wait meanwhile, INTERIM records being given up before
 * the others, and holds up no log-in and no packet. What found no room is told by a LOST record as soon as there is some.
 */
#ifndef MARTLET_OBSERVER_H
#define MARTLET_OBSERVER_H
#include "plane.h"
#ifdef __cplusplus
extern "C" {
#endif
MARTLET_HEADER_BEGIN

enum martlet_accounting_event {
    MARTLET_ACCOUNTING_START = 1,
    MARTLET_ACCOUNTING_INTERIM = 2,
    MARTLET_ACCOUNTING_STOP = 3,
    MARTLET_ACCOUNTING_LOST = 4 /* `lost` records before this one were not told; of the rest, only `time_ms` counts */
};

/* Why a session has ended. What a reader does not know counts as MARTLET_ACCOUNTING_FAILED. */
enum martlet_accounting_cause {
    MARTLET_ACCOUNTING_PEER = 1,          /* the peer has closed it */
    MARTLET_ACCOUNTING_NO_ANSWER = 2,     /* the peer does not answer any more */
    MARTLET_ACCOUNTING_OPERATOR = 3,      /* an operator has closed it */
    MARTLET_ACCOUNTING_DAEMON = 4,        /* the daemon ends */
    MARTLET_ACCOUNTING_REPLACED = 5,      /* another session of the peer's has its place */
    MARTLET_ACCOUNTING_LIFETIME = 6,      /* its time is over */
    MARTLET_ACCOUNTING_ACCOUNT = 7,       /* the directory no longer lets the user in */
    MARTLET_ACCOUNTING_CONFIGURATION = 8, /* the connection is gone from the configuration */
    MARTLET_ACCOUNTING_FAILED = 9        /* an error, at either end */
};

enum martlet_accounting_flags {
    MARTLET_ACCOUNTING_INITIATOR = 1 /* this end began the IKE SA */
};

/* One record. Everything is valid until the call returns. Holds no secret. Counters are those of the inner packets from the beginning of the
 * session on, and never shrink; 0 in a START. Texts may hold whatever a peer calls itself: quote them before they are written anywhere. */
struct martlet_accounting_record {
    uint32_t struct_size;
    uint32_t event; /* enum martlet_accounting_event */
    int64_t time_ms; /* of the event, milliseconds since 1970 */
    /* The session's, the same in each of its records; no two sessions of a gateway have the same, over restarts as well. ASCII. */
    const char *session;
    const char *connection; /* as the configuration names it */
    /* Who the peer is: as the directory writes the user's name where one was asked; else the user of EAP; else the identity of IKE, a
     * distinguished name as text. As a rule UTF-8. */
    struct martlet_bytes user;
    struct martlet_bytes identity; /* the peer's identity of IKE, as the log writes it */
    struct martlet_address local, remote; /* the outer ones, as they are now */
    const struct martlet_address *MARTLET_NULLABLE inner; /* those that the peer was given; ports are 0 */
    size_t inner_count;
    uint32_t flags; /* enum martlet_accounting_flags */
    uint32_t cause; /* enum martlet_accounting_cause; with STOP, else 0 */
    const char *reason; /* with STOP a sentence for people; else empty */
    uint64_t duration_ms; /* since the session began */
    uint64_t bytes_in, bytes_out, packets_in, packets_out; /* in: from the peer */
    uint64_t lost; /* with MARTLET_ACCOUNTING_LOST */
};

/* What a plugin registers under MARTLET_CLASS_OBSERVER. Every observer is told of everything. */
struct martlet_observer {
    uint32_t struct_size;
    uint32_t flags; /* 0 */
    const char *name; /* as it is provided */
    /* Takes note of a record. What it returns is for the host's count of records that an observer could not keep: MARTLET_OK or a failure. */
    martlet_status (*account)(const struct martlet_observer *observer, const struct martlet_accounting_record *record);
    /* The administrator has asked to read the configuration again, perhaps because files were moved away (log rotation): open them anew. */
    void (*MARTLET_NULLABLE reopen)(const struct martlet_observer *observer);
};

MARTLET_HEADER_END
#ifdef __cplusplus
}
#endif
#endif
