/* martlet/plane.h: data planes, which carry ESP (RFC 4303) for the SAs that the core negotiates.
 *
 * Threads: all functions of a plane are called on the host's plane thread, never concurrently; they may make a few system calls but
 * must not wait for the network. The plane's own threads carry the packets. Events are reported from any thread.
 *
 * A child is one pair of SAs with its selectors. The core adds the inbound SA first (`add_sa`), then the outbound one, and moves
 * traffic to it with `activate`; on a rekey the old inbound SA stays until the core removes it. Keys are copied before a call returns
 * and wiped when the SA goes: once `remove_sa` has returned, no packet is sealed or opened with them.
 */
#ifndef MARTLET_PLANE_H
#define MARTLET_PLANE_H
#include "crypto.h"
#ifdef __cplusplus
extern "C" {
#endif
MARTLET_HEADER_BEGIN

/* An address: `family` 4 or 6, bytes in network order; IPv4 uses the first four. */
struct martlet_address {
    uint8_t family;
    uint8_t reserved[3]; /* 0 */
    uint16_t port;       /* host order, 0 where there is none */
    uint16_t reserved2;  /* 0 */
    uint8_t bytes[16];
};

/* A traffic selector, RFC 7296 section 3.13.1: all ends included; protocol 0 is any. Ports in host order. */
struct martlet_selector {
    uint8_t family; /* 4 or 6 */
    uint8_t protocol;
    uint16_t start_port, end_port;
    uint16_t reserved; /* 0 */
    uint8_t start[16], end[16];
};

enum martlet_direction { MARTLET_INBOUND = 0, MARTLET_OUTBOUND = 1 };
enum martlet_mode { MARTLET_TUNNEL = 0, MARTLET_TRANSPORT = 1 };
enum martlet_encapsulation { MARTLET_ESP_BARE = 0, MARTLET_ESP_IN_UDP = 1 };
enum martlet_sa_flags {
    MARTLET_SA_ESN = 1,           /* extended sequence numbers */
    MARTLET_SA_COPY_DF = 2,       /* the inner DF bit is copied to the outer header (RFC 4301 section 8.1) */
    MARTLET_SA_NO_ECN = 4,        /* the ECN bits are not carried (RFC 6040 otherwise) */
    MARTLET_SA_COPY_DSCP = 8,     /* outbound: the inner DSCP is copied to the outer header; inbound: the outer one to the inner header (MARTLET_PLANE_DSCP_IN) */
    MARTLET_SA_OWN_INTERFACE = 16 /* the host has chosen `interface_id` for this tunnel alone: an interface that somebody else has made for it is not the tunnel's */
};

/* A packet's mark: those bits of it that `mask` has are `value`. Mask 0: no mark. */
struct martlet_mark {
    uint32_t value, mask;
};

/* Whether hardware does the work. AUTO: as much of it as it can; CRYPTO and PACKET: that much, or the SA is refused. */
enum martlet_offload { MARTLET_OFFLOAD_NO = 0, MARTLET_OFFLOAD_AUTO = 1, MARTLET_OFFLOAD_CRYPTO = 2, MARTLET_OFFLOAD_PACKET = 3 };

/* One SA. `keys`: for an AEAD the key and then the salt; otherwise the encryption key, the integrity key in `integrity_key`. */
struct martlet_sa {
    uint32_t struct_size;
    uint32_t spi; /* host order */
    uint64_t child; /* the core's number of the child SA pair; both SAs of a pair carry it */
    uint64_t policy; /* the core's number of the child configuration instance: survives rekeys */
    uint8_t direction; /* enum martlet_direction */
    uint8_t encapsulation; /* enum martlet_encapsulation */
    uint16_t flags; /* enum martlet_sa_flags */
    uint32_t replay_window; /* packets, 0 for no check; inbound alone */
    struct martlet_address local, remote; /* of the outer packets; ports with MARTLET_ESP_IN_UDP */
    uint16_t encryption_id, encryption_bits; /* IANA ENCR and the Key Length attribute */
    uint16_t integrity_id; /* IANA INTEG, 0 with an AEAD */
    uint16_t reserved;
    struct martlet_bytes key, integrity_key;
    /* The selectors negotiated: `local_ts` on our side. */
    const struct martlet_selector *local_ts;
    size_t local_ts_count;
    const struct martlet_selector *remote_ts;
    size_t remote_ts_count;
    /* Limits after which `expired` is reported, 0 for none: soft, then hard. Counted over payload bytes and packets of this SA. */
    uint64_t soft_bytes, hard_bytes, soft_packets, hard_packets;
    const char *name; /* of the child, for log lines and counters */
    const char *MARTLET_NULLABLE provider; /* of the crypto, null for the host's choice */
    /* MARTLET_TRANSPORT for MARTLET_PLANE_TRANSPORT alone: the packets' own addresses are `local` and `remote`, as are the selectors'. */
    uint8_t mode; /* enum martlet_mode */
    uint8_t reserved2[7]; /* 0 */
    /* In transport mode behind a NAT, what the peer called the two ends: the checksums of what it sends are made with these (RFC 7296
     * section 2.23.1). Family 0 where there is no NAT. The ports are 0. */
    struct martlet_address original_local, original_remote;
    /* What follows needs a feature of the plane, or is 0. `mark`: of the SA itself, packets without it never meet it. `policy_mark`: of the
     * policies in this direction. `set_mark`: what packets are marked with that leave the SA, the inner ones of an inbound SA and the outer
     * ones of an outbound SA. `interface_id`: of SA and policies in this direction, packets of that interface alone meet them. */
    struct martlet_mark mark, policy_mark, set_mark;
    uint32_t interface_id;
    uint8_t offload; /* enum martlet_offload */
    uint8_t reserved3[3]; /* 0 */
    /* Seconds from now after which the SA is at its end whatever has become of the host, 0 for none; `expired` is reported as for other hard
     * limits. A host that lives has removed it before. A plane whose SAs end with the host's process may leave it alone. */
    uint64_t hard_seconds;
};

/* What happens to a packet that no SA takes. RFC 4301 section 4.4.1. */
enum martlet_policy_action {
    MARTLET_POLICY_TRAP = 1, /* held back, and reported by `acquire` */
    MARTLET_POLICY_PASS = 2, /* let through in clear */
    MARTLET_POLICY_DROP = 3  /* dropped */
};

/* A policy without SAs of its own. Of two policies that match a packet the narrower one wins. Of two alike: PASS, an SA, TRAP, DROP, in
 * this order. DROP holds for packets that come out of SAs as well. */
struct martlet_policy {
    uint32_t struct_size;
    uint8_t action; /* enum martlet_policy_action */
    uint8_t reserved[3]; /* 0 */
    uint64_t number; /* the host's; the highest bit is set, so that it is never an SA's `policy` */
    const struct martlet_selector *local_ts;
    size_t local_ts_count;
    const struct martlet_selector *remote_ts;
    size_t remote_ts_count;
    const char *name; /* for log lines */
    /* As those of an SA's policies. */
    struct martlet_mark mark_in, mark_out;
    uint32_t interface_id_in, interface_id_out;
};

/* Counters of one SA. `last_use_ns` on host->now, 0 for never; where the plane can tell, inbound packets from elsewhere than the SA's `remote` do
 * not count as use (RFC 4555 section 3.12): of an SA of the kernel there is the time of the last packet alone. */
struct martlet_sa_counters {
    uint32_t struct_size;
    uint32_t reserved;
    uint64_t packets, bytes; /* inner packets and their bytes */
    uint64_t last_use_ns;
    uint64_t replayed, rejected_icv, rejected_selector, malformed;
    uint64_t sequence; /* the highest seen or sent */
};

/* A named count of packets not carried, over the whole plane. */
struct martlet_drop_counter {
    const char *reason; /* stable, e.g. "unknown_spi" */
    uint64_t packets;
};

/* A socket that the host opened for the plane; the plane reads and writes it, the host closes it after `stop`. */
enum martlet_socket_kind { MARTLET_SOCKET_UDP_ENCAP = 1, MARTLET_SOCKET_ESP4 = 2, MARTLET_SOCKET_ESP6 = 3 };
struct martlet_socket {
    int32_t fd;
    uint32_t kind;   /* enum martlet_socket_kind */
    uint32_t worker; /* which of the plane's threads should own it */
    uint16_t family; /* AF_INET or AF_INET6 (an IPv6 socket is v6 only) */
    uint16_t port;   /* local, host order */
};

/* What a plane tells the core. Called from any thread; returns at once. */
struct martlet_plane_events {
    uint32_t struct_size;
    uint32_t reserved;
    void *opaque;
    /* A limit of an SA was reached; `hard` 1 means that the SA no longer carries packets. An SPI alone does not name an SA: outbound
     * ones are the peer's to choose. Soft and hard are reported once each. */
    void (*expired)(void *opaque, uint64_t child, uint32_t spi, uint8_t direction, int32_t hard);
    /* A packet for a trap; at most once a second for each policy. Source and destination are
     * the packet's: single addresses, and ports where the protocol has them (0 to 65535 where they cannot be seen). */
    void (*acquire)(void *opaque, uint64_t policy, const struct martlet_selector *source, const struct martlet_selector *destination);
    /* An authenticated packet of an inbound SA, newer than all before, came from another address than `remote` of the SA (without
     * encapsulation the port is the one known). At most once a second for each SA, whatever the addresses: each call is worth one packet from there. The plane goes
     * on sending to the old one until `update`. */
    void (*moved)(void *opaque, uint64_t child, uint32_t spi, const struct martlet_address *remote);
    /* A packet with an SPI that no inbound SA has, so that its sender can be told (RFC 7296 section 1.5): at most once a second from each
     * thread of the plane. `length`: of the ESP packet, bytes. `local`: where it arrived; bytes of 0 where the plane cannot tell, and with
     * MARTLET_ESP_BARE the ports of both are 0. A plane that does not see such packets never calls it. */
    void (*stray)(void *opaque, uint32_t spi, uint32_t length, uint8_t encapsulation, const struct martlet_address *local, const struct martlet_address *remote);
};

enum martlet_plane_flags {
    MARTLET_PLANE_USERSPACE = 1,     /* needs sockets from the host */
    MARTLET_PLANE_TRANSPORT = 4,     /* carries transport mode; without it no configuration may ask for it */
    MARTLET_PLANE_KERNEL_UDP = 2,    /* the kernel takes ESP off the host's UDP sockets (UDP_ENCAP_ESPINUDP) */
    MARTLET_PLANE_HEARS_ALL = 8      /* takes packets of an SA whatever policy is in force for their traffic */
};

/* What of the SAs' and policies' fields a plane can do here. Nothing that needs one that is missing is ever asked of it. */
enum martlet_plane_feature {
    MARTLET_PLANE_MARKS = 1,        /* `mark`, `policy_mark`, `mark_in` and `mark_out` */
    MARTLET_PLANE_SET_MARKS = 2,    /* `set_mark` */
    MARTLET_PLANE_INTERFACES = 4,   /* `interface_id` */
    MARTLET_PLANE_OFFLOAD = 8,      /* `offload`; whether a device does it shows when an SA is added */
    MARTLET_PLANE_DSCP_IN = 16,     /* MARTLET_SA_COPY_DSCP for inbound SAs */
    MARTLET_PLANE_PASSES_EXACTLY = 32, /* MARTLET_POLICY_PASS knows senders, protocols and ports */
    MARTLET_PLANE_SEGMENTS = 64,    /* TCP connections that are forwarded have segments that fit; nothing asks for it */
    MARTLET_PLANE_MAKES_INTERFACES = 128 /* it can make an interface for `interface_id`; nothing asks for it */
};

/* What a plugin registers under MARTLET_CLASS_PLANE. */
struct martlet_plane {
    uint32_t struct_size;
    uint32_t flags; /* enum martlet_plane_flags */
    const char *name; /* "tun" */
    /* Takes the sockets and starts. `events` lives until `stop` returned, the array of sockets until `start` does. `workers`: how many
     * threads carry packets. An inbound SA belongs to worker SPI % `workers`, and the host's sockets deliver accordingly: for each
     * worker one UDP socket of each family, and one raw socket of each family, which sees every packet and of which the worker takes
     * its own. `mark`: the SO_MARK of the host's sockets, so that the plane's routing rules leave the outer packets alone. */
    martlet_status (*start)(const struct martlet_plane_events *events, const struct martlet_socket *sockets, size_t socket_count, uint32_t workers, uint32_t mark);
    /* Removes every SA, route, rule and address it made and joins its threads. */
    void (*stop)(void);
    martlet_status (*add_sa)(const struct martlet_sa *sa);
    /* Sends the traffic of the child's policy through this outbound SA from now on and installs routes where they are missing. */
    martlet_status (*activate)(uint64_t child);
    /* Removes one SA. The routes go with the last child of a policy. */
    martlet_status (*remove_sa)(uint32_t spi, uint8_t direction, uint64_t child);
    /* New outer addresses and encapsulation for both SAs of a child. */
    martlet_status (*update)(uint64_t child, const struct martlet_address *local, const struct martlet_address *remote, uint8_t encapsulation);
    /* Counters of one SA; the caller sets their `struct_size`. MARTLET_E_NOT_FOUND where there is none. */
    martlet_status (*counters)(uint32_t spi, uint8_t direction, uint64_t child, struct martlet_sa_counters *counters);
    /* Fills at most `capacity` drop counters and returns how many there are. */
    size_t (*drops)(struct martlet_drop_counter *MARTLET_NULLABLE counters, size_t capacity);
    /* Installs a policy or puts another in the place of the one with its number, with the routes it needs. MARTLET_E_UNSUPPORTED for an
     * action that the plane cannot carry out. */
    martlet_status (*set_policy)(const struct martlet_policy *policy);
    martlet_status (*remove_policy)(uint64_t number);
    /* An inner address that a gateway lent this host: it has it, on whatever interface suits the plane, until `remove_address` or `stop`.
     * Called before the SAs that use it are added. The port is 0. */
    martlet_status (*add_address)(const struct martlet_address *address);
    martlet_status (*remove_address)(const struct martlet_address *address);
    /* Whether this machine is one for the plane, asked on the main thread before any socket is opened. MARTLET_OK, or why not in words: at
     * most `size` bytes with the zero at their end. Where nobody has chosen a plane the host takes the first that says MARTLET_OK. Null: it is. */
    martlet_status (*MARTLET_NULLABLE probe)(char *reason, size_t size);
    /* Whether the plane does ESP with these transforms of IANA's: MARTLET_OK or MARTLET_E_UNSUPPORTED. Either id may be 0, for one alone. On
     * any thread after `probe`. Null: it does what the host's providers of crypto do. */
    martlet_status (*MARTLET_NULLABLE supports)(uint16_t encryption_id, uint16_t encryption_bits, uint16_t integrity_id);
    /* Bits of enum martlet_plane_feature. On any thread after `probe`. Null: none. */
    uint32_t (*MARTLET_NULLABLE features)(void);
};

MARTLET_HEADER_END
#ifdef __cplusplus
}
#endif
#endif
