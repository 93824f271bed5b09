// Datagrams with the address they came to, groups of sockets on one port, raw ESP.
#define _GNU_SOURCE
#include "io.h"
#include <arpa/inet.h>
#include <errno.h>
#include <linux/errqueue.h>
#include <linux/filter.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <linux/xfrm.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#ifndef SO_ATTACH_REUSEPORT_CBPF
#define SO_ATTACH_REUSEPORT_CBPF 51
#endif

// What IKE's sockets hold while the shards are busy; the kernel doubles and caps it.
enum { RECEIVE_BUFFER = 4 << 20, SEND_BUFFER = 1 << 20 };

union address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};

static socklen_t to_sockaddr(const struct martlet_endpoint *from, union address *to) {
    memset(to, 0, sizeof *to);
    if (from->family == AF_INET) {
        to->v4.sin_family = AF_INET;
        to->v4.sin_port = htons(from->port);
        memcpy(&to->v4.sin_addr, from->bytes, 4);
        return sizeof to->v4;
    }
    to->v6.sin6_family = AF_INET6;
    to->v6.sin6_port = htons(from->port);
    memcpy(&to->v6.sin6_addr, from->bytes, 16);
    if (IN6_IS_ADDR_LINKLOCAL(&to->v6.sin6_addr)) to->v6.sin6_scope_id = from->scope;
    return sizeof to->v6;
}

static void from_sockaddr(const union address *from, struct martlet_endpoint *to) {
    memset(to, 0, sizeof *to);
    to->family = from->any.sa_family;
    if (from->any.sa_family == AF_INET) {
        to->port = ntohs(from->v4.sin_port);
        memcpy(to->bytes, &from->v4.sin_addr, 4);
    } else {
        to->port = ntohs(from->v6.sin6_port);
        to->scope = from->v6.sin6_scope_id;
        memcpy(to->bytes, &from->v6.sin6_addr, 16);
    }
}

static void set_option(int fd, int level, int name, int value) { setsockopt(fd, level, name, &value, sizeof value); }

static void grow_buffers(int fd) {
    int size = RECEIVE_BUFFER;
    if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size) < 0) set_option(fd, SOL_SOCKET, SO_RCVBUF, size);
    size = SEND_BUFFER;
    if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof size) < 0) set_option(fd, SOL_SOCKET, SO_SNDBUF, size);
}

static bool set_mark(int fd, uint32_t mark) { return mark && setsockopt(fd, SOL_SOCKET, SO_MARK, &mark, sizeof mark) == 0; }

// Spreads a port's datagrams over its group of sockets: what is shorter than four bytes or begins with the non-ESP marker of RFC 3948
// section 2.2 goes to the first socket, ESP to socket 1 + SPI % workers. The program sees the UDP payload.
static int attach_group_filter(int fd, uint32_t workers) {
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_LEN, 0),
        BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, 4, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, 0),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, 0),
        BPF_STMT(BPF_ALU | BPF_MOD | BPF_K, workers),
        BPF_STMT(BPF_ALU | BPF_ADD | BPF_K, 1),
        BPF_STMT(BPF_RET | BPF_A, 0),
    };
    struct sock_fprog program = {sizeof code / sizeof *code, code};
    return setsockopt(fd, SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, &program, sizeof program) < 0 ? -errno : 0;
}

// IKE is in clear whatever IPsec policies this machine has: they would take the messages that bring their own SAs about. Who may not set
// that, or has no XFRM, has no such policies either.
static void exempt_from_policies(int fd, int family) {
    struct xfrm_userpolicy_info policy = {.sel.family = (uint16_t)family, .action = XFRM_POLICY_ALLOW};
    int level = family == AF_INET ? IPPROTO_IP : IPPROTO_IPV6, name = family == AF_INET ? IP_XFRM_POLICY : IPV6_XFRM_POLICY;
    policy.dir = XFRM_POLICY_IN;
    setsockopt(fd, level, name, &policy, sizeof policy);
    policy.dir = XFRM_POLICY_OUT;
    setsockopt(fd, level, name, &policy, sizeof policy);
}

int martlet_udp_kernel_esp(int fd) {
    int kind = UDP_ENCAP_ESPINUDP;
    return setsockopt(fd, IPPROTO_UDP, UDP_ENCAP, &kind, sizeof kind) < 0 ? -errno : 0;
}

int martlet_udp_probe(const struct martlet_endpoint *local) {
    union address address;
    socklen_t length = to_sockaddr(local, &address);
    int fd = socket(local->family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return -errno;
    if (local->family == AF_INET6) set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
    int result = bind(fd, &address.any, length) < 0 ? -errno : 0;
    close(fd);
    return result;
}

int martlet_udp_open(const struct martlet_endpoint *local, uint32_t flags, uint32_t mark, uint32_t group_workers, bool *marked) {
    union address address;
    socklen_t length = to_sockaddr(local, &address);
    int fd = socket(local->family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) return -errno;
    int error;
    if (local->family == AF_INET6) {
        set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
        set_option(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1);
        set_option(fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_DONT);
        set_option(fd, IPPROTO_IPV6, IPV6_RECVERR, 1);
    } else {
        set_option(fd, IPPROTO_IP, IP_PKTINFO, 1);
        // Large messages go out in fragments rather than not at all.
        set_option(fd, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DONT);
        set_option(fd, IPPROTO_IP, IP_RECVERR, 1);
    }
    *marked = set_mark(fd, mark);
    grow_buffers(fd);
    exempt_from_policies(fd, local->family);
    if (flags & MARTLET_UDP_SHARED) {
        int on = 1;
        if (setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) < 0) goto fail;
        if (group_workers) {
            error = attach_group_filter(fd, group_workers);
            if (error < 0) {
                close(fd);
                return error;
            }
        }
    }
    if (bind(fd, &address.any, length) < 0) goto fail;
    return fd;
fail:
    error = -errno;
    close(fd);
    return error;
}

bool martlet_udp_undelivered(int fd, struct martlet_undelivered *out) {
    union address to, offender;
    // Room for the error, who sent it, and the address that the socket also reports.
    union {
        char bytes[CMSG_SPACE(sizeof(struct sock_extended_err) + sizeof(union address)) + CMSG_SPACE(sizeof(struct in6_pktinfo))];
        struct cmsghdr align;
    } control;
    uint8_t byte;
    struct iovec vector = {&byte, sizeof byte};
    struct msghdr message = {.msg_name = &to, .msg_namelen = sizeof to, .msg_iov = &vector, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    memset(out, 0, sizeof *out);
    if (recvmsg(fd, &message, MSG_ERRQUEUE | MSG_DONTWAIT) < 0) return false;
    if (message.msg_namelen) from_sockaddr(&to, &out->remote);
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&message); c; c = CMSG_NXTHDR(&message, c)) {
        if (!(c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_RECVERR) && !(c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_RECVERR)) continue;
        struct sock_extended_err error;
        if (c->cmsg_len < CMSG_LEN(sizeof error)) continue;
        memcpy(&error, CMSG_DATA(c), sizeof error);
        out->error = (int32_t)error.ee_errno;
        // RFC 1812 section 5.2.7.1, RFC 4443 section 3.1: who forbids it says so in the code alone.
        bool forbids4 = error.ee_origin == SO_EE_ORIGIN_ICMP && error.ee_type == 3 && (error.ee_code == 9 || error.ee_code == 10 || error.ee_code == 13);
        bool forbids6 = error.ee_origin == SO_EE_ORIGIN_ICMP6 && error.ee_type == 1 && (error.ee_code == 1 || error.ee_code == 5 || error.ee_code == 6);
        if (forbids4 || forbids6) out->error = EACCES;
        size_t rest = c->cmsg_len - CMSG_LEN(sizeof error);
        memset(&offender, 0, sizeof offender);
        memcpy(&offender, CMSG_DATA(c) + sizeof error, rest < sizeof offender ? rest : sizeof offender);
        if (offender.any.sa_family == AF_INET || offender.any.sa_family == AF_INET6) from_sockaddr(&offender, &out->reporter);
    }
    return true;
}

int martlet_esp_open(uint16_t family, uint32_t mark, uint32_t worker, uint32_t workers, bool *marked) {
    int fd = socket(family, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_ESP);
    if (fd < 0) return -errno;
    if (workers > 1) {
        // An IPv4 raw socket's filter sees the IP header, an IPv6 one's does not. Best effort: the worker looks at the SPI as well.
        struct sock_filter v4[] = {
            BPF_STMT(BPF_LDX | BPF_B | BPF_MSH, 0),
            BPF_STMT(BPF_LD | BPF_W | BPF_IND, 0),
            BPF_STMT(BPF_ALU | BPF_MOD | BPF_K, workers),
            BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, worker, 0, 1),
            BPF_STMT(BPF_RET | BPF_K, 0xffffffffu),
            BPF_STMT(BPF_RET | BPF_K, 0),
        };
        struct sock_filter v6[] = {
            BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0),
            BPF_STMT(BPF_ALU | BPF_MOD | BPF_K, workers),
            BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, worker, 0, 1),
            BPF_STMT(BPF_RET | BPF_K, 0xffffffffu),
            BPF_STMT(BPF_RET | BPF_K, 0),
        };
        struct sock_fprog program = family == AF_INET ? (struct sock_fprog){sizeof v4 / sizeof *v4, v4} : (struct sock_fprog){sizeof v6 / sizeof *v6, v6};
        setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program);
    }
    *marked = set_mark(fd, mark);
    grow_buffers(fd);
    return fd;
}

int martlet_namespace_lock(const char *name) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t length = strlen(name);
    if (length + 1 > sizeof address.sun_path) return -ENAMETOOLONG;
    memcpy(address.sun_path + 1, name, length);
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return -errno;
    socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + length);
    if (bind(fd, (struct sockaddr *)&address, size) < 0) {
        int error = -errno;
        close(fd);
        return error;
    }
    return fd;
}

static bool is_ours(const struct stat *status) { return status->st_uid == 0 || status->st_uid == geteuid(); }

int martlet_folder_lock(const char *folder, const char *name) {
    struct stat space, status;
    if (stat("/proc/thread-self/ns/net", &space) < 0) return -errno;
    char file[128];
    int length = snprintf(file, sizeof file, "%s.%llu.lock", name, (unsigned long long)space.st_ino);
    if (length < 0 || (size_t)length >= sizeof file) return -ENAMETOOLONG;
    if (mkdir(folder, 0755) < 0 && errno != EEXIST) return -errno;
    int directory = open(folder, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (directory < 0) return -errno;
    int error = 0, fd = -1;
    if (fstat(directory, &status) < 0)
        error = -errno;
    else if (!is_ours(&status) || (status.st_mode & 0022))
        error = -EPERM;
    else if ((fd = openat(directory, file, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600)) < 0)
        error = -errno;
    else if (fstat(fd, &status) < 0)
        error = -errno;
    else if (!S_ISREG(status.st_mode) || !is_ours(&status))
        error = -EPERM;
    else if (flock(fd, LOCK_EX | LOCK_NB) < 0)
        error = -errno;
    close(directory);
    if (error && fd >= 0) close(fd);
    return error ? error : fd;
}

union control {
    char bytes[CMSG_SPACE(sizeof(struct in6_pktinfo)) + CMSG_SPACE(sizeof(struct in_pktinfo))];
    struct cmsghdr align;
};

struct martlet_inbox {
    uint32_t capacity, buffer_size;
    struct mmsghdr *messages;
    struct iovec *vectors;
    union address *from;
    union control *controls;
    uint8_t *bytes;
    int fd; // the socket last read, and its port
    uint16_t port;
};

struct martlet_inbox *martlet_inbox_create(uint32_t capacity, uint32_t buffer_size) {
    struct martlet_inbox *inbox = calloc(1, sizeof *inbox);
    if (!inbox) return NULL;
    inbox->fd = -1;
    inbox->capacity = capacity;
    inbox->buffer_size = buffer_size;
    inbox->messages = calloc(capacity, sizeof *inbox->messages);
    inbox->vectors = calloc(capacity, sizeof *inbox->vectors);
    inbox->from = calloc(capacity, sizeof *inbox->from);
    inbox->controls = calloc(capacity, sizeof *inbox->controls);
    inbox->bytes = malloc((size_t)capacity * buffer_size);
    if (!inbox->messages || !inbox->vectors || !inbox->from || !inbox->controls || !inbox->bytes) {
        martlet_inbox_destroy(inbox);
        return NULL;
    }
    return inbox;
}

void martlet_inbox_destroy(struct martlet_inbox *inbox) {
    if (!inbox) return;
    free(inbox->messages);
    free(inbox->vectors);
    free(inbox->from);
    free(inbox->controls);
    free(inbox->bytes);
    free(inbox);
}

int martlet_inbox_receive(struct martlet_inbox *inbox, int fd) {
    if (inbox->fd != fd) {
        union address name;
        socklen_t length = sizeof name;
        if (getsockname(fd, &name.any, &length) < 0) return -errno;
        inbox->fd = fd;
        inbox->port = ntohs(name.any.sa_family == AF_INET ? name.v4.sin_port : name.v6.sin6_port);
    }
    for (uint32_t i = 0; i < inbox->capacity; i++) {
        inbox->vectors[i] = (struct iovec){inbox->bytes + (size_t)i * inbox->buffer_size, inbox->buffer_size};
        inbox->messages[i] = (struct mmsghdr){.msg_hdr = {
            .msg_name = &inbox->from[i], .msg_namelen = sizeof inbox->from[i], .msg_iov = &inbox->vectors[i], .msg_iovlen = 1,
            .msg_control = &inbox->controls[i], .msg_controllen = sizeof inbox->controls[i]}};
    }
    int count = recvmmsg(fd, inbox->messages, inbox->capacity, MSG_DONTWAIT, NULL);
    if (count < 0) return errno == EAGAIN || errno == EINTR ? 0 : -errno;
    return count;
}

void martlet_inbox_info(const struct martlet_inbox *inbox, uint32_t index, struct martlet_datagram_info *info) {
    memset(info, 0, sizeof *info);
    if (index >= inbox->capacity) return;
    struct mmsghdr *message = &inbox->messages[index];
    from_sockaddr(&inbox->from[index], &info->remote);
    info->length = message->msg_len;
    info->truncated = (message->msg_hdr.msg_flags & MSG_TRUNC) != 0;
    info->local.family = info->remote.family;
    info->local.port = inbox->port;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&message->msg_hdr); c; c = CMSG_NXTHDR(&message->msg_hdr, c)) {
        if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
            struct in_pktinfo packet;
            memcpy(&packet, CMSG_DATA(c), sizeof packet);
            memcpy(info->local.bytes, &packet.ipi_addr, 4);
        } else if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
            struct in6_pktinfo packet;
            memcpy(&packet, CMSG_DATA(c), sizeof packet);
            memcpy(info->local.bytes, &packet.ipi6_addr, 16);
            info->local.scope = packet.ipi6_ifindex;
        }
    }
}

const uint8_t *martlet_inbox_bytes(const struct martlet_inbox *inbox, uint32_t index) {
    return inbox->bytes + (size_t)index * inbox->buffer_size;
}

enum { SEND_BATCH = 32 };

void martlet_udp_send(int fd, const uint8_t *buffer, struct martlet_outgoing *items, uint32_t count) {
    static const uint8_t unspecified[16];
    uint32_t repeated = count;
    for (uint32_t start = 0; start < count;) {
        uint32_t size = count - start < SEND_BATCH ? count - start : SEND_BATCH;
        struct mmsghdr messages[SEND_BATCH];
        struct iovec vectors[SEND_BATCH];
        union address to[SEND_BATCH];
        union control controls[SEND_BATCH];
        memset(messages, 0, sizeof messages);
        memset(controls, 0, sizeof controls);
        for (uint32_t i = 0; i < size; i++) {
            struct martlet_outgoing *item = &items[start + i];
            item->error = 0;
            struct msghdr *header = &messages[i].msg_hdr;
            header->msg_namelen = to_sockaddr(&item->remote, &to[i]);
            header->msg_name = &to[i];
            vectors[i] = (struct iovec){(void *)(uintptr_t)(buffer + item->offset), item->length};
            header->msg_iov = &vectors[i];
            header->msg_iovlen = 1;
            if (memcmp(item->local.bytes, unspecified, sizeof unspecified) == 0) continue;
            struct cmsghdr *c = &controls[i].align;
            header->msg_control = &controls[i];
            if (item->remote.family == AF_INET) {
                struct in_pktinfo packet = {0};
                memcpy(&packet.ipi_spec_dst, item->local.bytes, 4);
                c->cmsg_level = IPPROTO_IP;
                c->cmsg_type = IP_PKTINFO;
                c->cmsg_len = CMSG_LEN(sizeof packet);
                memcpy(CMSG_DATA(c), &packet, sizeof packet);
                header->msg_controllen = CMSG_SPACE(sizeof packet);
            } else {
                struct in6_pktinfo packet = {0};
                memcpy(&packet.ipi6_addr, item->local.bytes, 16);
                if (IN6_IS_ADDR_LINKLOCAL(&packet.ipi6_addr)) packet.ipi6_ifindex = item->local.scope;
                c->cmsg_level = IPPROTO_IPV6;
                c->cmsg_type = IPV6_PKTINFO;
                c->cmsg_len = CMSG_LEN(sizeof packet);
                memcpy(CMSG_DATA(c), &packet, sizeof packet);
                header->msg_controllen = CMSG_SPACE(sizeof packet);
            }
        }
        int sent = sendmmsg(fd, messages, size, MSG_NOSIGNAL);
        if (sent > 0) {
            start += (uint32_t)sent;
            continue;
        }
        if (sent < 0 && errno == EINTR) continue;
        // What the network said of an earlier datagram, to anybody, is told once, in place of sending this one.
        if (sent < 0 && start != repeated && (errno == ECONNREFUSED || errno == EHOSTUNREACH || errno == ENETUNREACH || errno == EACCES || errno == EPROTO || errno == ENOPROTOOPT)) {
            repeated = start;
            continue;
        }
        // The first of them was refused; a retransmission makes up for it.
        items[start].error = sent < 0 ? errno : EIO;
        start += 1;
    }
}

int martlet_source_address(const struct martlet_endpoint *remote, uint32_t mark, struct martlet_endpoint *local) {
    union address address;
    socklen_t length = to_sockaddr(remote, &address);
    int fd = socket(remote->family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return -errno;
    set_mark(fd, mark);
    exempt_from_policies(fd, remote->family);
    int result = 0;
    if (connect(fd, &address.any, length) < 0) {
        result = -errno;
    } else {
        union address name;
        length = sizeof name;
        if (getsockname(fd, &name.any, &length) < 0) result = -errno;
        else from_sockaddr(&name, local);
    }
    close(fd);
    return result;
}

int martlet_notify(const char *path, const char *message) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t length = strlen(path);
    if (length == 0 || length >= sizeof address.sun_path) return -EINVAL;
    memcpy(address.sun_path, path, length);
    if (address.sun_path[0] == '@') address.sun_path[0] = 0;
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return -errno;
    socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length);
    int result = sendto(fd, message, strlen(message), MSG_NOSIGNAL, (struct sockaddr *)&address, size) < 0 ? -errno : 0;
    close(fd);
    return result;
}
