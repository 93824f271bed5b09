// Routing netlink as far as the userspace data plane needs it: link, routes, rules, addresses.
#define _GNU_SOURCE
#include "netlink.h"
#include "tun.h"
#include <errno.h>
#include <linux/fib_rules.h>
#include <linux/if.h>
#include <linux/if_link.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

unsigned int if_nametoindex(const char *name);

#define REQUEST_SIZE 512

struct request {
    union {
        struct nlmsghdr header;
        uint8_t bytes[REQUEST_SIZE];
    };
};

static void *begin(struct request *request, uint16_t type, uint16_t flags, size_t body) {
    memset(request, 0, sizeof *request);
    request->header.nlmsg_type = type;
    request->header.nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags);
    request->header.nlmsg_len = (uint32_t)NLMSG_LENGTH(body);
    return NLMSG_DATA(&request->header);
}

static struct rtattr *put(struct request *request, uint16_t type, const void *data, size_t size) {
    size_t at = NLMSG_ALIGN(request->header.nlmsg_len);
    if (at + RTA_SPACE(size) > REQUEST_SIZE) abort(); // every request here is of fixed, small size
    struct rtattr *attribute = (struct rtattr *)(request->bytes + at);
    attribute->rta_type = type;
    attribute->rta_len = (uint16_t)RTA_LENGTH(size);
    if (size) memcpy(RTA_DATA(attribute), data, size);
    request->header.nlmsg_len = (uint32_t)(at + RTA_ALIGN(attribute->rta_len));
    return attribute;
}

static void put32(struct request *request, uint16_t type, uint32_t value) { put(request, type, &value, sizeof value); }

static void end(struct request *request, struct rtattr *nest) {
    nest->rta_len = (uint16_t)(request->bytes + request->header.nlmsg_len - (uint8_t *)nest);
}

int martlet_netlink_open(void) {
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    if (fd < 0) return -errno;
    struct sockaddr_nl address = {.nl_family = AF_NETLINK};
    if (bind(fd, (struct sockaddr *)&address, sizeof address) < 0) {
        int error = errno;
        close(fd);
        return -error;
    }
    return fd;
}

static int exchange(int fd, struct request *request, martlet_netlink_each each, void *context) {
    return martlet_netlink_exchange(fd, &request->header, false, each, context);
}

static uint8_t address_family(uint8_t family) { return family == 4 ? AF_INET : AF_INET6; }
static size_t address_size(uint8_t family) { return family == 4 ? 4 : 16; }

int martlet_link_index(const char *name) {
    unsigned index = if_nametoindex(name);
    return index ? (int)index : -errno;
}

int martlet_link_up(int netlink, int index, uint32_t mtu, uint32_t queue_length) {
    // Without IPv6 in the kernel the request for no link-local address is refused; then there is none anyway.
    int result = 0;
    for (int with_ipv6 = 1; with_ipv6 >= 0; with_ipv6--) {
        struct request request;
        struct ifinfomsg *body = begin(&request, RTM_NEWLINK, 0, sizeof *body);
        body->ifi_index = index;
        put32(&request, IFLA_MTU, mtu);
        put32(&request, IFLA_TXQLEN, queue_length);
        if (with_ipv6) {
            struct rtattr *families = put(&request, IFLA_AF_SPEC, NULL, 0);
            struct rtattr *ipv6 = put(&request, AF_INET6, NULL, 0);
            uint8_t none = 1; // IN6_ADDR_GEN_MODE_NONE
            put(&request, IFLA_INET6_ADDR_GEN_MODE, &none, sizeof none);
            end(&request, ipv6);
            end(&request, families);
        }
        result = exchange(netlink, &request, NULL, NULL);
        if (result == 0) break;
    }
    if (result) return result;
    struct request request;
    struct ifinfomsg *body = begin(&request, RTM_NEWLINK, 0, sizeof *body);
    body->ifi_index = index;
    body->ifi_flags = body->ifi_change = IFF_UP;
    return exchange(netlink, &request, NULL, NULL);
}

int martlet_link_set_mtu(int netlink, int index, uint32_t mtu) {
    struct request request;
    struct ifinfomsg *body = begin(&request, RTM_NEWLINK, 0, sizeof *body);
    body->ifi_index = index;
    put32(&request, IFLA_MTU, mtu);
    return exchange(netlink, &request, NULL, NULL);
}

static uint8_t route_type(enum martlet_route_kind kind) {
    return kind == MARTLET_ROUTE_UNICAST ? RTN_UNICAST : kind == MARTLET_ROUTE_THROW ? RTN_THROW : RTN_BLACKHOLE;
}

int martlet_route_add(
    int netlink, uint32_t table, const struct martlet_prefix *prefix, enum martlet_route_kind kind, int index,
    const struct martlet_prefix *source, uint32_t mtu, uint32_t segment, bool replaces) {
    struct request request;
    struct rtmsg *body = begin(&request, RTM_NEWROUTE, NLM_F_CREATE | (replaces ? NLM_F_REPLACE : NLM_F_EXCL), sizeof *body);
    body->rtm_family = address_family(prefix->family);
    body->rtm_dst_len = prefix->length;
    body->rtm_table = RT_TABLE_UNSPEC;
    body->rtm_protocol = MARTLET_ROUTE_PROTOCOL;
    body->rtm_scope = kind == MARTLET_ROUTE_UNICAST && prefix->family == 4 ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE;
    body->rtm_type = route_type(kind);
    put32(&request, RTA_TABLE, table);
    put(&request, RTA_DST, prefix->bytes, address_size(prefix->family));
    if (kind == MARTLET_ROUTE_UNICAST) {
        put32(&request, RTA_OIF, (uint32_t)index);
        if (source) put(&request, RTA_PREFSRC, source->bytes, address_size(prefix->family));
        if (mtu || segment) {
            struct rtattr *metrics = put(&request, RTA_METRICS, NULL, 0);
            if (mtu) put32(&request, RTAX_MTU, mtu);
            if (segment) put32(&request, RTAX_ADVMSS, segment);
            end(&request, metrics);
        }
    }
    return exchange(netlink, &request, NULL, NULL);
}

int martlet_route_remove(int netlink, uint32_t table, const struct martlet_prefix *prefix, enum martlet_route_kind kind) {
    struct request request;
    struct rtmsg *body = begin(&request, RTM_DELROUTE, 0, sizeof *body);
    body->rtm_family = address_family(prefix->family);
    body->rtm_dst_len = prefix->length;
    body->rtm_table = RT_TABLE_UNSPEC;
    body->rtm_protocol = MARTLET_ROUTE_PROTOCOL;
    body->rtm_scope = RT_SCOPE_NOWHERE;
    body->rtm_type = route_type(kind);
    put32(&request, RTA_TABLE, table);
    put(&request, RTA_DST, prefix->bytes, address_size(prefix->family));
    return exchange(netlink, &request, NULL, NULL);
}

struct found_route {
    struct martlet_prefix prefix;
    uint8_t type;
};

struct route_list {
    uint32_t table;
    uint8_t family;
    size_t count, capacity;
    struct found_route *routes;
};

static int collect_route(void *context, const struct nlmsghdr *message) {
    struct route_list *list = context;
    if (message->nlmsg_type != RTM_NEWROUTE) return 0;
    const struct rtmsg *body = martlet_netlink_body(message, sizeof *body);
    if (!body) return 0;
    uint32_t table = body->rtm_table;
    struct found_route found = {.prefix = {.family = list->family, .length = body->rtm_dst_len}, .type = body->rtm_type};
    for (const struct rtattr *item = NULL; (item = martlet_netlink_attribute(message, sizeof *body, item));) {
        if (item->rta_type == RTA_TABLE && RTA_PAYLOAD(item) >= 4) memcpy(&table, RTA_DATA(item), 4);
        if (item->rta_type == RTA_DST && RTA_PAYLOAD(item) >= address_size(list->family))
            memcpy(found.prefix.bytes, RTA_DATA(item), address_size(list->family));
    }
    if (table != list->table || body->rtm_protocol != MARTLET_ROUTE_PROTOCOL) return 0;
    if (list->count == list->capacity) {
        size_t capacity = list->capacity ? list->capacity * 2 : 64;
        struct found_route *routes = realloc(list->routes, capacity * sizeof *routes);
        if (!routes) return -ENOMEM;
        list->routes = routes;
        list->capacity = capacity;
    }
    list->routes[list->count++] = found;
    return 0;
}

int martlet_route_flush(int netlink, uint32_t table) {
    int removed = 0;
    for (uint8_t family = 4; family <= 6; family += 2) {
        struct request request;
        struct rtmsg *body = begin(&request, RTM_GETROUTE, NLM_F_DUMP, sizeof *body);
        body->rtm_family = address_family(family);
        struct route_list list = {.table = table, .family = family};
        int result = exchange(netlink, &request, collect_route, &list);
        for (size_t i = 0; i < list.count; i++) {
            enum martlet_route_kind kind = list.routes[i].type == RTN_THROW       ? MARTLET_ROUTE_THROW
                                           : list.routes[i].type == RTN_BLACKHOLE ? MARTLET_ROUTE_BLACKHOLE
                                                                                  : MARTLET_ROUTE_UNICAST;
            if (martlet_route_remove(netlink, table, &list.routes[i].prefix, kind) == 0) removed++;
        }
        free(list.routes);
        if (result && result != -EAFNOSUPPORT && result != -EOPNOTSUPP) return result;
    }
    return removed;
}

static struct fib_rule_hdr *begin_rule(struct request *request, uint16_t type, uint16_t flags, uint8_t family) {
    struct fib_rule_hdr *body = begin(request, type, flags, sizeof *body);
    body->family = address_family(family);
    body->action = FR_ACT_TO_TBL;
    uint8_t protocol = MARTLET_ROUTE_PROTOCOL;
    if (type != RTM_GETRULE) put(request, FRA_PROTOCOL, &protocol, sizeof protocol);
    return body;
}

int martlet_rule_add(int netlink, uint8_t family, uint32_t priority, uint32_t table, uint32_t mark, int suppress_prefix_length) {
    struct request request;
    struct fib_rule_hdr *body = begin_rule(&request, RTM_NEWRULE, NLM_F_CREATE | NLM_F_EXCL, family);
    put32(&request, FRA_PRIORITY, priority);
    put32(&request, FRA_TABLE, table);
    if (mark) {
        body->flags |= FIB_RULE_INVERT;
        put32(&request, FRA_FWMARK, mark);
        put32(&request, FRA_FWMASK, 0xffffffffu);
    }
    if (suppress_prefix_length >= 0) put32(&request, FRA_SUPPRESS_PREFIXLEN, (uint32_t)suppress_prefix_length);
    int result = exchange(netlink, &request, NULL, NULL);
    return result == -EEXIST ? 0 : result;
}

struct rule_search {
    uint32_t priority, table;
    int found;
};

static int match_rule(void *context, const struct nlmsghdr *message) {
    struct rule_search *search = context;
    if (message->nlmsg_type != RTM_NEWRULE) return 0;
    const struct fib_rule_hdr *body = martlet_netlink_body(message, sizeof *body);
    if (!body) return 0;
    uint32_t priority = 0, table = body->table;
    uint8_t protocol = 0;
    for (const struct rtattr *item = NULL; (item = martlet_netlink_attribute(message, sizeof *body, item));) {
        if (item->rta_type == FRA_PRIORITY && RTA_PAYLOAD(item) >= 4) memcpy(&priority, RTA_DATA(item), 4);
        if (item->rta_type == FRA_TABLE && RTA_PAYLOAD(item) >= 4) memcpy(&table, RTA_DATA(item), 4);
        if (item->rta_type == FRA_PROTOCOL && RTA_PAYLOAD(item) >= 1) memcpy(&protocol, RTA_DATA(item), 1);
    }
    if (protocol == MARTLET_ROUTE_PROTOCOL && priority == search->priority && table == search->table) search->found++;
    return 0;
}

int martlet_rule_remove(int netlink, uint8_t family, uint32_t priority, uint32_t table) {
    struct request request;
    begin_rule(&request, RTM_GETRULE, NLM_F_DUMP, family);
    struct rule_search search = {.priority = priority, .table = table};
    int result = exchange(netlink, &request, match_rule, &search);
    if (result) return result == -EAFNOSUPPORT || result == -EOPNOTSUPP ? 0 : result;
    for (int i = 0; i < search.found; i++) {
        begin_rule(&request, RTM_DELRULE, 0, family);
        put32(&request, FRA_PRIORITY, priority);
        put32(&request, FRA_TABLE, table);
        result = exchange(netlink, &request, NULL, NULL);
        if (result) return result;
    }
    return search.found;
}

static int change_address(int netlink, int index, const struct martlet_prefix *address, uint8_t scope, uint16_t type, uint16_t flags) {
    struct request request;
    struct ifaddrmsg *body = begin(&request, type, flags, sizeof *body);
    body->ifa_family = address_family(address->family);
    body->ifa_prefixlen = address->length;
    body->ifa_flags = address->family == 6 ? IFA_F_NODAD : 0;
    body->ifa_scope = scope;
    body->ifa_index = (uint32_t)index;
    put(&request, IFA_LOCAL, address->bytes, address_size(address->family));
    put(&request, IFA_ADDRESS, address->bytes, address_size(address->family));
    return exchange(netlink, &request, NULL, NULL);
}

int martlet_address_add(int netlink, int index, const struct martlet_prefix *address) {
    int result = change_address(netlink, index, address, RT_SCOPE_UNIVERSE, RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL);
    return result == -EEXIST ? 0 : result;
}

int martlet_address_remove(int netlink, int index, const struct martlet_prefix *address) { return change_address(netlink, index, address, RT_SCOPE_UNIVERSE, RTM_DELADDR, 0); }

int martlet_address_keep(int netlink, int index) {
    static const struct martlet_prefix dummy = {.family = 4, .length = 32, .bytes = {192, 0, 0, 8}};
    int result = change_address(netlink, index, &dummy, RT_SCOPE_HOST, RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL);
    return result == -EEXIST ? 0 : result;
}

struct address_visit {
    uint8_t family;
    void (*each)(void *context, const struct martlet_prefix *address);
    void *context;
};

static int visit_address(void *context, const struct nlmsghdr *message) {
    struct address_visit *visit = context;
    if (message->nlmsg_type != RTM_NEWADDR) return 0;
    const struct ifaddrmsg *body = martlet_netlink_body(message, sizeof *body);
    if (!body) return 0;
    if (body->ifa_family != address_family(visit->family) || body->ifa_scope >= RT_SCOPE_LINK) return 0;
    struct martlet_prefix address = {.family = visit->family, .length = body->ifa_prefixlen};
    bool found = false;
    for (const struct rtattr *item = NULL; (item = martlet_netlink_attribute(message, sizeof *body, item));) {
        if (RTA_PAYLOAD(item) < address_size(visit->family)) continue;
        // IFA_LOCAL is the address itself where a peer's stands in IFA_ADDRESS.
        if (item->rta_type == IFA_LOCAL || (item->rta_type == IFA_ADDRESS && !found)) {
            memcpy(address.bytes, RTA_DATA(item), address_size(visit->family));
            found = true;
        }
    }
    if (found) visit->each(visit->context, &address);
    return 0;
}

int martlet_addresses(int netlink, uint8_t family, void (*each)(void *context, const struct martlet_prefix *address), void *context) {
    struct request request;
    struct ifaddrmsg *body = begin(&request, RTM_GETADDR, NLM_F_DUMP, sizeof *body);
    body->ifa_family = address_family(family);
    struct address_visit visit = {.family = family, .each = each, .context = context};
    return exchange(netlink, &request, visit_address, &visit);
}
