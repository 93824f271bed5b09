// This host's outer addresses by routing netlink.
#define _GNU_SOURCE
#include "addresses.h"
#include <errno.h>
#include <linux/if.h>
#include <linux/if_addr.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BUFFER = 32768 };

static int netlink_open(uint32_t groups, int flags) {
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | flags, NETLINK_ROUTE);
    if (fd < 0) return -errno;
    struct sockaddr_nl address = {.nl_family = AF_NETLINK, .nl_groups = groups};
    if (bind(fd, (struct sockaddr *)&address, sizeof address) < 0) {
        int error = errno;
        close(fd);
        return -error;
    }
    return fd;
}

int martlet_address_watch(void) {
    return netlink_open(RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR | RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_ROUTE, SOCK_NONBLOCK);
}

static bool is_main_route(struct nlmsghdr *message) {
    if (message->nlmsg_len < NLMSG_LENGTH(sizeof(struct rtmsg))) return false;
    struct rtmsg *body = NLMSG_DATA(message);
    // A clone is a cached path, not a route.
    return body->rtm_table == RT_TABLE_MAIN && !(body->rtm_flags & RTM_F_CLONED);
}

unsigned martlet_address_news(int fd) {
    const unsigned all = MARTLET_NEWS_ADDRESSES | MARTLET_NEWS_ROUTES;
    unsigned news = 0;
    uint8_t *buffer = malloc(BUFFER);
    if (!buffer) return all;
    // So much at once, whatever goes on: the loop comes back for the rest.
    for (int batch = 0; batch < 64; batch++) {
        ssize_t length = recv(fd, buffer, BUFFER, MSG_DONTWAIT);
        if (length < 0) {
            if (errno == EINTR) continue;
            if (errno == ENOBUFS) {
                news = all;
                continue;
            }
            break;
        }
        size_t left = (size_t)length;
        for (struct nlmsghdr *message = (struct nlmsghdr *)buffer; NLMSG_OK(message, left); message = NLMSG_NEXT(message, left)) {
            switch (message->nlmsg_type) {
            case RTM_NEWLINK:
            case RTM_DELLINK:
            case RTM_NEWADDR:
            case RTM_DELADDR: news |= MARTLET_NEWS_ADDRESSES; break;
            case RTM_NEWROUTE:
            case RTM_DELROUTE:
                if (is_main_route(message)) news |= MARTLET_NEWS_ROUTES;
                break;
            default: break;
            }
        }
    }
    free(buffer);
    return news;
}

// One dump; `each` is called for its messages.
static int dump(int fd, uint16_t type, int (*each)(void *context, struct nlmsghdr *message), void *context) {
    struct {
        struct nlmsghdr header;
        struct rtgenmsg body;
    } request;
    memset(&request, 0, sizeof request);
    request.header.nlmsg_len = NLMSG_LENGTH(sizeof request.body);
    request.header.nlmsg_type = type;
    request.header.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
    request.header.nlmsg_seq = type;
    request.body.rtgen_family = AF_UNSPEC;
    while (send(fd, &request, request.header.nlmsg_len, 0) < 0)
        if (errno != EINTR) return -errno;
    uint8_t *buffer = malloc(BUFFER);
    if (!buffer) return -ENOMEM;
    int result = 0;
    for (bool done = false; !done;) {
        ssize_t length = recv(fd, buffer, BUFFER, 0);
        if (length < 0) {
            if (errno == EINTR) continue;
            result = -errno;
            break;
        }
        size_t left = (size_t)length;
        for (struct nlmsghdr *message = (struct nlmsghdr *)buffer; NLMSG_OK(message, left); message = NLMSG_NEXT(message, left)) {
            if (message->nlmsg_seq != type) continue;
            // What changed meanwhile makes the list one of no moment.
            if (message->nlmsg_flags & NLM_F_DUMP_INTR) result = -EINTR;
            if (message->nlmsg_type == NLMSG_DONE) {
                done = true;
            } else if (message->nlmsg_type == NLMSG_ERROR) {
                result = ((struct nlmsgerr *)NLMSG_DATA(message))->error;
                done = true;
            } else if (result == 0) {
                result = each(context, message);
            }
        }
    }
    free(buffer);
    return result;
}

struct search {
    // Interfaces that carry packets to other hosts.
    unsigned *links;
    size_t count, capacity;
    void (*each)(void *context, const struct martlet_endpoint *address);
    void *context;
};

static int collect_link(void *context, struct nlmsghdr *message) {
    struct search *search = context;
    if (message->nlmsg_type != RTM_NEWLINK || message->nlmsg_len < NLMSG_LENGTH(sizeof(struct ifinfomsg))) return 0;
    struct ifinfomsg *link = NLMSG_DATA(message);
    if (!(link->ifi_flags & IFF_UP) || !(link->ifi_flags & IFF_RUNNING) || link->ifi_flags & IFF_LOOPBACK) return 0;
    if (search->count == search->capacity) {
        size_t capacity = search->capacity ? search->capacity * 2 : 16;
        unsigned *links = realloc(search->links, capacity * sizeof *links);
        if (!links) return -ENOMEM;
        search->links = links;
        search->capacity = capacity;
    }
    search->links[search->count++] = (unsigned)link->ifi_index;
    return 0;
}

static int visit_address(void *context, struct nlmsghdr *message) {
    struct search *search = context;
    if (message->nlmsg_type != RTM_NEWADDR || message->nlmsg_len < NLMSG_LENGTH(sizeof(struct ifaddrmsg))) return 0;
    struct ifaddrmsg *body = NLMSG_DATA(message);
    size_t size = body->ifa_family == AF_INET ? 4 : body->ifa_family == AF_INET6 ? 16 : 0;
    if (!size || body->ifa_scope >= RT_SCOPE_LINK) return 0;
    bool is_up = false;
    for (size_t i = 0; i < search->count; i++) is_up = is_up || search->links[i] == body->ifa_index;
    if (!is_up) return 0;
    struct martlet_endpoint address = {.family = body->ifa_family};
    uint32_t flags = body->ifa_flags;
    bool found = false;
    int left = (int)IFA_PAYLOAD(message);
    for (struct rtattr *item = IFA_RTA(body); RTA_OK(item, left); item = RTA_NEXT(item, left)) {
        if (item->rta_type == IFA_FLAGS && RTA_PAYLOAD(item) >= 4) memcpy(&flags, RTA_DATA(item), 4);
        if (RTA_PAYLOAD(item) < size) continue;
        // IFA_LOCAL is the address itself where a peer's stands in IFA_ADDRESS.
        if (item->rta_type == IFA_LOCAL || (item->rta_type == IFA_ADDRESS && !found)) {
            memcpy(address.bytes, RTA_DATA(item), size);
            found = true;
        }
    }
    if (found && !(flags & (IFA_F_TENTATIVE | IFA_F_DADFAILED | IFA_F_DEPRECATED))) search->each(search->context, &address);
    return 0;
}

int martlet_outer_addresses(void (*each)(void *context, const struct martlet_endpoint *address), void *context) {
    int fd = netlink_open(0, 0);
    if (fd < 0) return fd;
    struct search search = {.each = each, .context = context};
    int result = dump(fd, RTM_GETLINK, collect_link, &search);
    if (result == 0) result = dump(fd, RTM_GETADDR, visit_address, &search);
    free(search.links);
    close(fd);
    return result;
}
