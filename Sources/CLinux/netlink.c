#define _GNU_SOURCE
#include "netlink.h"
#include "tun.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>

#define ANSWER_SIZE 32768

int martlet_netlink_walk(const void *datagram, size_t length, martlet_netlink_each each, void *context) {
    const uint8_t *bytes = datagram;
    size_t at = 0;
    // Messages begin at multiples of four in a buffer that is aligned.
    while (at <= length && length - at >= sizeof(struct nlmsghdr)) {
        const struct nlmsghdr *message = (const struct nlmsghdr *)(bytes + at);
        if (message->nlmsg_len < sizeof *message || message->nlmsg_len > length - at) break;
        int result = each(context, message);
        if (result) return result;
        at += NLMSG_ALIGN((size_t)message->nlmsg_len);
    }
    return 0;
}

const void *martlet_netlink_body(const struct nlmsghdr *message, size_t size) { return message->nlmsg_len < NLMSG_HDRLEN + size ? NULL : (const uint8_t *)message + NLMSG_HDRLEN; }

const struct rtattr *martlet_netlink_attribute(const struct nlmsghdr *message, size_t size, const struct rtattr *at) {
    const uint8_t *bytes = (const uint8_t *)message;
    size_t offset = at ? (size_t)((const uint8_t *)at - bytes) + RTA_ALIGN((size_t)at->rta_len) : NLMSG_HDRLEN + NLMSG_ALIGN(size);
    if (offset > message->nlmsg_len || message->nlmsg_len - offset < sizeof(struct rtattr)) return NULL;
    const struct rtattr *next = (const struct rtattr *)(bytes + offset);
    return next->rta_len < sizeof *next || next->rta_len > message->nlmsg_len - offset ? NULL : next;
}

static __thread uint32_t sequence;

uint32_t martlet_netlink_sequence(void) { return sequence; }

struct answer {
    martlet_netlink_each each;
    void *context;
    bool whole, done;
    int result;
};

static int read_message(void *context, const struct nlmsghdr *message) {
    struct answer *answer = context;
    if (message->nlmsg_seq != sequence || answer->done) return 0;
    // What changed meanwhile makes the list one of no moment.
    if (answer->whole && answer->result == 0 && message->nlmsg_flags & NLM_F_DUMP_INTR) answer->result = -EINTR;
    if (message->nlmsg_type == NLMSG_DONE) {
        answer->done = true;
    } else if (message->nlmsg_type == NLMSG_ERROR) {
        const struct nlmsgerr *body = martlet_netlink_body(message, sizeof body->error);
        int error;
        if (body) memcpy(&error, body, sizeof error);
        answer->result = !body || error > 0 ? -EBADMSG : error;
        answer->done = true;
    } else if (answer->each && answer->result == 0) {
        answer->result = answer->each(answer->context, message);
    }
    return 0;
}

int martlet_netlink_exchange(int fd, struct nlmsghdr *request, bool whole, martlet_netlink_each each, void *context) {
    request->nlmsg_seq = ++sequence;
    if (!each) request->nlmsg_flags |= NLM_F_ACK;
    // The kernel answers at once; one that does not must not hold a thread for ever.
    struct timeval patience = {.tv_sec = 5};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    while (send(fd, request, request->nlmsg_len, MSG_NOSIGNAL) < 0)
        if (errno != EINTR) return -errno;
    void *bytes = malloc(ANSWER_SIZE);
    if (!bytes) return -ENOMEM;
    struct answer answer = {.each = each, .context = context, .whole = whole};
    while (!answer.done) {
        ssize_t length = recv(fd, bytes, ANSWER_SIZE, 0);
        if (length < 0 && errno == EINTR) continue;
        if (length <= 0) {
            answer.result = length == 0 ? -EBADMSG : errno == EAGAIN ? -ETIMEDOUT : -errno;
            break;
        }
        martlet_netlink_walk(bytes, (size_t)length, read_message, &answer);
    }
    free(bytes);
    return answer.result;
}
