// Reading what the kernel says over netlink, for the files here: whatever the lengths in a message are, nothing beyond it is read.
#ifndef MARTLET_NETLINK_PRIVATE_H
#define MARTLET_NETLINK_PRIVATE_H

#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Called for each message until it returns other than 0, a negative errno.
typedef int (*martlet_netlink_each)(void *context, const struct nlmsghdr *message);

// Calls `each` for every whole message of a datagram; what is not whole ends it. Its first result that is not 0.
int martlet_netlink_walk(const void *datagram, size_t length, martlet_netlink_each each, void *context);

// The fixed part of a message, or NULL where the message is too short for it.
const void *martlet_netlink_body(const struct nlmsghdr *message, size_t size);

// The next whole attribute behind the fixed part of `size` bytes, NULL at the end. `at` begins as NULL.
const struct rtattr *martlet_netlink_attribute(const struct nlmsghdr *message, size_t size, const struct rtattr *at);

// Sends the request with a number of its own and reads up to its acknowledgement, or, with `each`, to the end of the dump. With `whole` a dump in which
// something changed meanwhile is EINTR. 0, or a negative errno; a kernel that does not answer is ETIMEDOUT.
int martlet_netlink_exchange(int fd, struct nlmsghdr *request, bool whole, martlet_netlink_each each, void *context);

#endif
