// TUN devices, datagram batches and threads for the userspace data plane.
#define _GNU_SOURCE
#include "tun.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

int martlet_tun_open(const char *name, bool multi_queue) {
    int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) return -errno;
    struct ifreq request;
    memset(&request, 0, sizeof request);
    size_t length = strlen(name);
    if (length == 0 || length >= IFNAMSIZ) {
        close(fd);
        return -EINVAL;
    }
    memcpy(request.ifr_name, name, length);
    request.ifr_flags = (short)(IFF_TUN | IFF_NO_PI | (multi_queue ? IFF_MULTI_QUEUE : 0));
    if (ioctl(fd, TUNSETIFF, &request) < 0) {
        int error = errno;
        close(fd);
        return -error;
    }
    return fd;
}

long martlet_packet_read(int fd, uint8_t *bytes, size_t capacity) {
    ssize_t length = read(fd, bytes, capacity);
    if (length >= 0) return length;
    return errno == EAGAIN || errno == EINTR ? 0 : -errno;
}

int martlet_packet_write(int fd, const uint8_t *bytes, size_t length) { return write(fd, bytes, length) < 0 ? -errno : 0; }

// Room for the TOS of either family.
#define RECEIVE_CONTROL 64

struct martlet_receive_batch {
    unsigned capacity;
    size_t buffer_size, stride;
    struct mmsghdr *messages;
    struct iovec *pieces;
    struct sockaddr_storage *from;
    uint8_t (*control)[RECEIVE_CONTROL];
    uint8_t *buffers;
};

struct martlet_receive_batch *martlet_receive_batch_create(unsigned capacity, size_t buffer_size) {
    struct martlet_receive_batch *batch = calloc(1, sizeof *batch);
    if (!batch) return NULL;
    batch->capacity = capacity;
    batch->buffer_size = buffer_size;
    // An odd number of cache lines apart, so that the starts of the buffers do not share one cache set.
    batch->stride = ((buffer_size + 63) / 64 | 1) * 64;
    batch->messages = calloc(capacity, sizeof *batch->messages);
    batch->pieces = calloc(capacity, sizeof *batch->pieces);
    batch->from = calloc(capacity, sizeof *batch->from);
    batch->control = calloc(capacity, sizeof *batch->control);
    batch->buffers = malloc(batch->stride * capacity);
    if (!batch->messages || !batch->pieces || !batch->from || !batch->control || !batch->buffers) {
        martlet_receive_batch_destroy(batch);
        return NULL;
    }
    for (unsigned i = 0; i < capacity; i++) {
        batch->pieces[i].iov_base = batch->buffers + i * batch->stride;
        batch->pieces[i].iov_len = buffer_size;
    }
    return batch;
}

void martlet_receive_batch_destroy(struct martlet_receive_batch *batch) {
    if (!batch) return;
    free(batch->messages);
    free(batch->pieces);
    free(batch->from);
    free(batch->control);
    free(batch->buffers);
    free(batch);
}

int martlet_receive(struct martlet_receive_batch *batch, int fd) {
    for (unsigned i = 0; i < batch->capacity; i++) {
        struct msghdr *header = &batch->messages[i].msg_hdr;
        header->msg_name = &batch->from[i];
        header->msg_namelen = sizeof batch->from[i];
        header->msg_iov = &batch->pieces[i];
        header->msg_iovlen = 1;
        header->msg_control = batch->control[i];
        header->msg_controllen = RECEIVE_CONTROL;
        header->msg_flags = 0;
    }
    int count = recvmmsg(fd, batch->messages, batch->capacity, MSG_DONTWAIT, NULL);
    if (count >= 0) return count;
    return errno == EAGAIN || errno == EINTR ? 0 : -errno;
}

uint8_t *martlet_received_bytes(struct martlet_receive_batch *batch, unsigned index) { return batch->buffers + index * batch->stride; }

size_t martlet_received_length(const struct martlet_receive_batch *batch, unsigned index) { return batch->messages[index].msg_len; }

bool martlet_received_truncated(const struct martlet_receive_batch *batch, unsigned index) {
    return (batch->messages[index].msg_hdr.msg_flags & MSG_TRUNC) != 0;
}

static void read_address(const struct sockaddr_storage *storage, struct martlet_outer_address *address) {
    memset(address, 0, sizeof *address);
    address->family = storage->ss_family;
    if (storage->ss_family == AF_INET) {
        const struct sockaddr_in *v4 = (const struct sockaddr_in *)storage;
        address->port = ntohs(v4->sin_port);
        memcpy(address->bytes, &v4->sin_addr, 4);
    } else if (storage->ss_family == AF_INET6) {
        const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)storage;
        address->port = ntohs(v6->sin6_port);
        memcpy(address->bytes, &v6->sin6_addr, 16);
    }
}

void martlet_received_from(const struct martlet_receive_batch *batch, unsigned index, struct martlet_outer_address *from) {
    read_address(&batch->from[index], from);
}

uint8_t martlet_received_tos(const struct martlet_receive_batch *batch, unsigned index) {
    struct msghdr *header = &batch->messages[index].msg_hdr;
    for (struct cmsghdr *item = CMSG_FIRSTHDR(header); item; item = CMSG_NXTHDR(header, item)) {
        if (item->cmsg_level == IPPROTO_IP && item->cmsg_type == IP_TOS) return *CMSG_DATA(item);
        if (item->cmsg_level == IPPROTO_IPV6 && item->cmsg_type == IPV6_TCLASS) {
            int value;
            memcpy(&value, CMSG_DATA(item), sizeof value);
            return (uint8_t)value;
        }
    }
    return 0;
}

#define SEND_CONTROL 96

struct martlet_send_batch {
    unsigned capacity, count;
    struct mmsghdr *messages;
    struct iovec *pieces;
    struct sockaddr_storage *to;
    uint8_t (*control)[SEND_CONTROL];
    uint32_t *tags;
};

struct martlet_send_batch *martlet_send_batch_create(unsigned capacity) {
    struct martlet_send_batch *batch = calloc(1, sizeof *batch);
    if (!batch) return NULL;
    batch->capacity = capacity;
    batch->messages = calloc(capacity, sizeof *batch->messages);
    batch->pieces = calloc(capacity, sizeof *batch->pieces);
    batch->to = calloc(capacity, sizeof *batch->to);
    batch->control = calloc(capacity, sizeof *batch->control);
    batch->tags = calloc(capacity, sizeof *batch->tags);
    if (!batch->messages || !batch->pieces || !batch->to || !batch->control || !batch->tags) {
        martlet_send_batch_destroy(batch);
        return NULL;
    }
    return batch;
}

void martlet_send_batch_destroy(struct martlet_send_batch *batch) {
    if (!batch) return;
    free(batch->messages);
    free(batch->pieces);
    free(batch->to);
    free(batch->control);
    free(batch->tags);
    free(batch);
}

unsigned martlet_send_batch_count(const struct martlet_send_batch *batch) { return batch->count; }

static bool is_unspecified(const struct martlet_outer_address *address) {
    static const uint8_t zero[16];
    return memcmp(address->bytes, zero, address->family == AF_INET ? 4 : 16) == 0;
}

static struct cmsghdr *append(struct msghdr *header, struct cmsghdr *item, int level, int type, const void *data, size_t size) {
    item->cmsg_level = level;
    item->cmsg_type = type;
    item->cmsg_len = CMSG_LEN(size);
    memcpy(CMSG_DATA(item), data, size);
    header->msg_controllen += CMSG_SPACE(size);
    return (struct cmsghdr *)((uint8_t *)header->msg_control + header->msg_controllen);
}

bool martlet_send_add(
    struct martlet_send_batch *batch, const uint8_t *bytes, size_t length, const struct martlet_outer_address *from,
    const struct martlet_outer_address *to, uint8_t tos, uint32_t tag) {
    if (batch->count == batch->capacity) return false;
    unsigned index = batch->count++;
    batch->tags[index] = tag;
    batch->pieces[index].iov_base = (void *)bytes;
    batch->pieces[index].iov_len = length;
    struct msghdr *header = &batch->messages[index].msg_hdr;
    memset(header, 0, sizeof *header);
    header->msg_iov = &batch->pieces[index];
    header->msg_iovlen = 1;
    header->msg_name = &batch->to[index];
    header->msg_control = batch->control[index];
    struct cmsghdr *item = (struct cmsghdr *)batch->control[index];
    if (to->family == AF_INET) {
        struct sockaddr_in *v4 = (struct sockaddr_in *)&batch->to[index];
        memset(v4, 0, sizeof *v4);
        v4->sin_family = AF_INET;
        v4->sin_port = htons(to->port);
        memcpy(&v4->sin_addr, to->bytes, 4);
        header->msg_namelen = sizeof *v4;
        if (!is_unspecified(from)) {
            struct in_pktinfo info = {0};
            memcpy(&info.ipi_spec_dst, from->bytes, 4);
            item = append(header, item, IPPROTO_IP, IP_PKTINFO, &info, sizeof info);
        }
        if (tos) {
            int value = tos;
            append(header, item, IPPROTO_IP, IP_TOS, &value, sizeof value);
        }
    } else {
        struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&batch->to[index];
        memset(v6, 0, sizeof *v6);
        v6->sin6_family = AF_INET6;
        v6->sin6_port = htons(to->port);
        memcpy(&v6->sin6_addr, to->bytes, 16);
        header->msg_namelen = sizeof *v6;
        if (!is_unspecified(from)) {
            struct in6_pktinfo info = {0};
            memcpy(&info.ipi6_addr, from->bytes, 16);
            item = append(header, item, IPPROTO_IPV6, IPV6_PKTINFO, &info, sizeof info);
        }
        if (tos) {
            int value = tos;
            append(header, item, IPPROTO_IPV6, IPV6_TCLASS, &value, sizeof value);
        }
    }
    return true;
}

unsigned martlet_send_flush(
    struct martlet_send_batch *batch, int fd, void (*refused)(void *context, uint32_t tag, int error), void *context) {
    unsigned next = 0, sent = 0;
    int waits = 0;
    while (next < batch->count) {
        int count = sendmmsg(fd, batch->messages + next, batch->count - next, MSG_DONTWAIT);
        if (count > 0) {
            next += (unsigned)count;
            sent += (unsigned)count;
            continue;
        }
        int error = count < 0 ? errno : EIO;
        if (error == EINTR) continue;
        if (error == EAGAIN && waits++ < 5) {
            struct pollfd writable = {.fd = fd, .events = POLLOUT};
            poll(&writable, 1, 2);
            continue;
        }
        refused(context, batch->tags[next], error);
        next++;
    }
    batch->count = 0;
    return sent;
}

void martlet_socket_dont_fragment(int fd, uint16_t family, bool on) {
    if (family == AF_INET) {
        int mode = on ? IP_PMTUDISC_DO : IP_PMTUDISC_DONT;
        setsockopt(fd, IPPROTO_IP, IP_MTU_DISCOVER, &mode, sizeof mode);
    } else {
        int mode = on ? IPV6_PMTUDISC_DO : IPV6_PMTUDISC_DONT;
        setsockopt(fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, &mode, sizeof mode);
        int value = on;
        setsockopt(fd, IPPROTO_IPV6, IPV6_DONTFRAG, &value, sizeof value);
    }
}

void martlet_data_socket_prepare(int fd, uint16_t family) {
    int flags = fcntl(fd, F_GETFL);
    if (flags >= 0) fcntl(fd, F_SETFL, flags | O_NONBLOCK);
    int on = 1, size = 4 << 20;
    if (family == AF_INET)
        setsockopt(fd, IPPROTO_IP, IP_RECVTOS, &on, sizeof on);
    else
        setsockopt(fd, IPPROTO_IPV6, IPV6_RECVTCLASS, &on, sizeof on);
    // Beyond the system's limit where we may, within it where not.
    if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size) < 0) setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
    if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof size) < 0) setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    martlet_socket_dont_fragment(fd, family, false);
}

int martlet_path_mtu(const struct martlet_outer_address *to, uint32_t mark) {
    int fd = socket(to->family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return -errno;
    if (mark) setsockopt(fd, SOL_SOCKET, SO_MARK, &mark, sizeof mark);
    struct sockaddr_storage address;
    memset(&address, 0, sizeof address);
    address.ss_family = to->family;
    if (to->family == AF_INET) {
        struct sockaddr_in *v4 = (struct sockaddr_in *)&address;
        v4->sin_port = htons(9);
        memcpy(&v4->sin_addr, to->bytes, 4);
    } else {
        struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&address;
        v6->sin6_port = htons(9);
        memcpy(&v6->sin6_addr, to->bytes, 16);
    }
    int mtu = 0, result;
    socklen_t size = sizeof mtu;
    if (connect(fd, (struct sockaddr *)&address, to->family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6)) < 0 ||
        getsockopt(fd, to->family == AF_INET ? IPPROTO_IP : IPPROTO_IPV6, to->family == AF_INET ? IP_MTU : IPV6_MTU, &mtu, &size) < 0)
        result = -errno;
    else
        result = mtu;
    close(fd);
    return result;
}

int martlet_eventfd_create(bool blocking) {
    int fd = eventfd(0, EFD_CLOEXEC | (blocking ? 0 : EFD_NONBLOCK));
    return fd < 0 ? -errno : fd;
}

void martlet_eventfd_signal(int fd) {
    uint64_t one = 1;
    while (write(fd, &one, sizeof one) < 0 && errno == EINTR) {}
}

void martlet_eventfd_clear(int fd) {
    uint64_t value;
    while (read(fd, &value, sizeof value) < 0 && errno == EINTR) {}
}

void martlet_eventfd_wait(int fd, uint64_t count) {
    uint64_t seen = 0;
    while (seen < count) {
        uint64_t value = 0;
        if (read(fd, &value, sizeof value) == sizeof value)
            seen += value;
        else if (errno != EINTR)
            return;
    }
}

int martlet_thread_start(uint64_t *thread, void *(*run)(void *context), void *context, const char *name) {
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    pthread_t created;
    int error = pthread_create(&created, NULL, run, context);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error) return error;
    pthread_setname_np(created, name);
    *thread = (uint64_t)created;
    return 0;
}

void martlet_thread_join(uint64_t thread) { pthread_join((pthread_t)thread, NULL); }

uint64_t martlet_monotonic_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}
