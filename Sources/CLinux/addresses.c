// This host's outer addresses by routing netlink.
#define _GNU_SOURCE
#include "addresses.h"
#include "netlink.h"
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

static bool is_main_route(const struct nlmsghdr *message) {
    const struct rtmsg *body = martlet_netlink_body(message, sizeof *body);
    if (!body) return false;
    // A clone is a cached path, not a route.
    return body->rtm_table == RT_TABLE_MAIN && !(body->rtm_flags & RTM_F_CLONED);
}

static int note_news(void *context, const struct nlmsghdr *message) {
    unsigned *news = context;
    switch (message->nlmsg_type) {
    case RTM_NEWLINK:
    case RTM_DELLINK:
    case RTM_NEWADDR:
    case RTM_DELADDR: *news |= MARTLET_NEWS_ADDRESSES; break;
    case RTM_NEWROUTE:
    case RTM_DELROUTE:
        if (is_main_route(message)) *news |= MARTLET_NEWS_ROUTES;
        break;
    default: break;
    }
    return 0;
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
        martlet_netlink_walk(buffer, (size_t)length, note_news, &news);
    }
    free(buffer);
    return news;
}

// One dump; `each` is called for its messages.
static int dump(int fd, uint16_t type, martlet_netlink_each each, void *context) {
    struct {
        struct nlmsghdr header;
        struct rtgenmsg body;
    } request;
    memset(&request, 0, sizeof request);
    request.header.nlmsg_len = NLMSG_LENGTH(sizeof request.body);
    request.header.nlmsg_type = type;
    request.header.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
    request.body.rtgen_family = AF_UNSPEC;
    return martlet_netlink_exchange(fd, &request.header, true, each, context);
}

struct search {
    // Interfaces that carry packets to other hosts.
    unsigned *links;
    size_t count, capacity;
    void (*each)(void *context, const struct martlet_endpoint *address);
    void *context;
};

static int collect_link(void *context, const struct nlmsghdr *message) {
    struct search *search = context;
    const struct ifinfomsg *link = martlet_netlink_body(message, sizeof *link);
    if (message->nlmsg_type != RTM_NEWLINK || !link) return 0;
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

static int visit_address(void *context, const struct nlmsghdr *message) {
    struct search *search = context;
    const struct ifaddrmsg *body = martlet_netlink_body(message, sizeof *body);
    if (message->nlmsg_type != RTM_NEWADDR || !body) return 0;
    size_t size = body->ifa_family == AF_INET ? 4 : body->ifa_family == AF_INET6 ? 16 : 0;
    if (!size || body->ifa_scope >= RT_SCOPE_LINK) return 0;
    bool is_up = false;
    for (size_t i = 0; i < search->count; i++) is_up = is_up || search->links[i] == body->ifa_index;
    if (!is_up) return 0;
    struct martlet_endpoint address = {.family = body->ifa_family};
    uint32_t flags = body->ifa_flags;
    bool found = false;
    for (const struct rtattr *item = NULL; (item = martlet_netlink_attribute(message, sizeof *body, item));) {
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
    int result = martlet_outer_addresses_over(fd, each, context);
    close(fd);
    return result;
}

int martlet_outer_addresses_over(int fd, void (*each)(void *context, const struct martlet_endpoint *address), void *context) {
    struct search search = {.each = each, .context = context};
    int result = dump(fd, RTM_GETLINK, collect_link, &search);
    if (result == 0) result = dump(fd, RTM_GETADDR, visit_address, &search);
    free(search.links);
    return result;
}
