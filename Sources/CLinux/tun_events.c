// Hearing from the kernel what others take away of routes, rules, addresses and the interface.
#define _GNU_SOURCE
#include "netlink.h"
#include "tun.h"
#include <errno.h>
#include <linux/fib_rules.h>
#include <linux/if.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int martlet_route_events_open(void) {
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);
    if (fd < 0) return -errno;
    struct sockaddr_nl address = {.nl_family = AF_NETLINK, .nl_groups = RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR | RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_ROUTE};
    int result = bind(fd, (struct sockaddr *)&address, sizeof address);
    for (unsigned group = RTNLGRP_IPV4_RULE; result == 0 && group; group = group == RTNLGRP_IPV4_RULE ? RTNLGRP_IPV6_RULE : 0)
        result = setsockopt(fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &group, sizeof group);
    // What we put back ourselves is heard as well.
    int room = 1 << 20;
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof room);
    if (result == 0) return fd;
    int error = errno;
    close(fd);
    return -error;
}

struct route_watch {
    uint32_t own, table;
    int index;
    unsigned lost;
};

static uint32_t table_of(const struct nlmsghdr *message, const struct rtmsg *body) {
    uint32_t table = body->rtm_table;
    for (const struct rtattr *item = NULL; (item = martlet_netlink_attribute(message, sizeof *body, item));)
        if (item->rta_type == RTA_TABLE && RTA_PAYLOAD(item) >= 4) memcpy(&table, RTA_DATA(item), 4);
    return table;
}

static bool is_our_rule(const struct nlmsghdr *message) {
    for (const struct rtattr *item = NULL; (item = martlet_netlink_attribute(message, sizeof(struct fib_rule_hdr), item));)
        if (item->rta_type == FRA_PROTOCOL && RTA_PAYLOAD(item) >= 1) return *(const uint8_t *)RTA_DATA(item) == MARTLET_ROUTE_PROTOCOL;
    return false;
}

static int hear(void *context, const struct nlmsghdr *message) {
    struct route_watch *watch = context;
    if (message->nlmsg_type == RTM_NEWLINK || message->nlmsg_type == RTM_DELLINK) {
        const struct ifinfomsg *link = martlet_netlink_body(message, sizeof *link);
        if (!link || link->ifi_index != watch->index) return 0;
        if (message->nlmsg_type == RTM_DELLINK) watch->lost |= MARTLET_LINK_HAS_GONE;
        else if (!(link->ifi_flags & IFF_UP)) watch->lost |= MARTLET_LINK_IS_DOWN;
        return 0;
    }
    if (message->nlmsg_pid == watch->own) return 0;
    switch (message->nlmsg_type) {
    case RTM_DELADDR: watch->lost |= MARTLET_ROUTES_LOST; break;
    case RTM_DELRULE:
        if (martlet_netlink_body(message, sizeof(struct fib_rule_hdr)) && is_our_rule(message)) watch->lost |= MARTLET_ROUTES_LOST;
        break;
    case RTM_DELROUTE: {
        const struct rtmsg *body = martlet_netlink_body(message, sizeof *body);
        if (body && table_of(message, body) == watch->table) watch->lost |= MARTLET_ROUTES_LOST;
    }
    }
    return 0;
}

unsigned martlet_route_events_read(int fd, int own, uint32_t table, int index) {
    struct sockaddr_nl port = {0}, sender;
    socklen_t size = sizeof port;
    if (getsockname(own, (struct sockaddr *)&port, &size) < 0) port.nl_pid = 0;
    struct route_watch watch = {.own = port.nl_pid, .table = table, .index = index};
    // Whoever floods us with changes is looked at again.
    for (int rest = 256; rest > 0; rest--) {
        _Alignas(struct nlmsghdr) uint8_t datagram[32768];
        size = sizeof sender;
        ssize_t length = recvfrom(fd, datagram, sizeof datagram, 0, (struct sockaddr *)&sender, &size);
        if (length < 0 && errno == EINTR) continue;
        // Some were lost: everything is looked at.
        if (length < 0 && errno == ENOBUFS) {
            watch.lost |= MARTLET_ROUTES_LOST | MARTLET_EVENTS_LOST;
            continue;
        }
        if (length < 0) break;
        if (sender.nl_pid == 0) martlet_netlink_walk(datagram, (size_t)length, hear, &watch);
    }
    return watch.lost;
}
