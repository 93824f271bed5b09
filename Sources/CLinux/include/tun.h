// What the userspace data plane needs of Linux: TUN devices, batches of datagrams with ancillary data, threads, routing netlink.
#ifndef MARTLET_CLINUX_TUN_H
#define MARTLET_CLINUX_TUN_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// An outer address: network order, `family` AF_INET or AF_INET6, port in host order.
struct martlet_outer_address {
    uint16_t family;
    uint16_t port;
    uint8_t bytes[16];
};

// Creates or joins (multi-queue) a TUN interface without packet information; non-blocking, close-on-exec. Returns the descriptor or
// -errno.
int martlet_tun_open(const char *name, bool multi_queue);

// Reads one packet; its length, 0 when there is none, or -errno.
long martlet_packet_read(int fd, uint8_t *bytes, size_t capacity);
// Writes one packet; 0 or -errno.
int martlet_packet_write(int fd, const uint8_t *bytes, size_t length);

// A batch of received datagrams, its buffers included.
struct martlet_receive_batch;
struct martlet_receive_batch *martlet_receive_batch_create(unsigned capacity, size_t buffer_size);
void martlet_receive_batch_destroy(struct martlet_receive_batch *batch);
// Receives what is there, without waiting. The number of datagrams, or -errno (0 for EAGAIN).
int martlet_receive(struct martlet_receive_batch *batch, int fd);
uint8_t *martlet_received_bytes(struct martlet_receive_batch *batch, unsigned index);
size_t martlet_received_length(const struct martlet_receive_batch *batch, unsigned index);
// Whether the datagram was larger than a buffer.
bool martlet_received_truncated(const struct martlet_receive_batch *batch, unsigned index);
void martlet_received_from(const struct martlet_receive_batch *batch, unsigned index, struct martlet_outer_address *from);
// TOS or traffic class of the outer header, 0 where the kernel did not say.
uint8_t martlet_received_tos(const struct martlet_receive_batch *batch, unsigned index);

// A batch of datagrams to send through one socket. Bytes are the caller's until the flush.
struct martlet_send_batch;
struct martlet_send_batch *martlet_send_batch_create(unsigned capacity);
void martlet_send_batch_destroy(struct martlet_send_batch *batch);
unsigned martlet_send_batch_count(const struct martlet_send_batch *batch);
// Adds a datagram with its source address and TOS. False when the batch is full.
bool martlet_send_add(
    struct martlet_send_batch *batch, const uint8_t *bytes, size_t length, const struct martlet_outer_address *from,
    const struct martlet_outer_address *to, uint8_t tos, uint32_t tag);
// Sends all and empties the batch. `refused` is called for each datagram that the kernel would not take, with its tag and errno; a full
// socket buffer is waited for, a short while. Returns how many were sent.
unsigned martlet_send_flush(
    struct martlet_send_batch *batch, int fd, void (*refused)(void *context, uint32_t tag, int error), void *context);

// Prepares a host's socket for the data path: non-blocking, TOS with each datagram, outer fragmentation allowed, large buffers.
void martlet_data_socket_prepare(int fd, uint16_t family);
// Sets the outer Don't Fragment bit of what a socket sends from now on.
void martlet_socket_dont_fragment(int fd, uint16_t family, bool on);
// What the kernel believes the path to an address carries, for packets with a mark; or -errno.
int martlet_path_mtu(const struct martlet_outer_address *to, uint32_t mark);

// A descriptor that other threads signal. A blocking one is for `martlet_eventfd_wait` alone. Or -errno.
int martlet_eventfd_create(bool blocking);
void martlet_eventfd_signal(int fd);
void martlet_eventfd_clear(int fd);
// Waits until it was signalled `count` times since the last wait.
void martlet_eventfd_wait(int fd, uint64_t count);

// Starts a thread with every signal blocked. 0 or errno.
int martlet_thread_start(uint64_t *thread, void *(*run)(void *context), void *context, const char *name);
void martlet_thread_join(uint64_t thread);
uint64_t martlet_monotonic_ns(void);

// Routing netlink: each call is one request and its answer; 0 or -errno.
struct martlet_prefix {
    uint8_t family;  // 4 or 6
    uint8_t length;
    uint8_t bytes[16];
};
// What is carried goes to the interface, or nowhere where that has gone; `throw` is for what stays out.
enum martlet_route_kind { MARTLET_ROUTE_UNICAST = 0, MARTLET_ROUTE_THROW = 1, MARTLET_ROUTE_BLACKHOLE = 2 };
int martlet_netlink_open(void);
// The number of the last request that this thread made of the kernel: for tests that answer in its place.
uint32_t martlet_netlink_sequence(void);
int martlet_link_index(const char *name);
// Brings the interface up with this MTU and queue length, and without addresses of its own.
int martlet_link_up(int netlink, int index, uint32_t mtu, uint32_t queue_length);
int martlet_link_set_mtu(int netlink, int index, uint32_t mtu);
// What our routes and rules say of who made them (rtm_protocol, FRA_PROTOCOL), so that those of others are never taken for ours. No daemon's in
// linux/rtnetlink.h or iproute2's rt_protos.
#define MARTLET_ROUTE_PROTOCOL 77
// `source` may be null. `mtu` 0 for the interface's, `segment` (what TCP tells its peers) 0 for what follows from it. A new route is -EEXIST where the
// table has another one of the same network; with `replaces` the one that is there, which is ours, becomes this one.
int martlet_route_add(
    int netlink, uint32_t table, const struct martlet_prefix *prefix, enum martlet_route_kind kind, int index,
    const struct martlet_prefix *source, uint32_t mtu, uint32_t segment, bool replaces);
// Ours.
int martlet_route_remove(int netlink, uint32_t table, const struct martlet_prefix *prefix, enum martlet_route_kind kind);
// Removes every route of ours in a table. Returns how many, or -errno.
int martlet_route_flush(int netlink, uint32_t table);
// One rule: packets without `mark` (0: every packet) look `table` up; `suppress_prefix_length` -1 for none.
int martlet_rule_add(int netlink, uint8_t family, uint32_t priority, uint32_t table, uint32_t mark, int suppress_prefix_length);
// Removes the rules of ours of a family and priority that look `table` up. Returns how many, or -errno.
int martlet_rule_remove(int netlink, uint8_t family, uint32_t priority, uint32_t table);
// Gives the interface an address, or takes it away. An IPv6 one is usable at once.
int martlet_address_add(int netlink, int index, const struct martlet_prefix *address);
int martlet_address_remove(int netlink, int index, const struct martlet_prefix *address);
// Gives the interface the IPv4 dummy address (192.0.0.8, RFC 7600 section 4.8), of this host's scope, which no packet is sent from: with the last IPv4
// address of an interface the kernel takes all its IPv4 routes away.
int martlet_address_keep(int netlink, int index);
// What somebody has done to what packets need to find the interface `index`: a route of ours in `table`, a rule of ours or an address has gone (the kernel
// tells of the address alone where routes go with it), the interface is down, or is no more.
enum martlet_route_event {
    MARTLET_ROUTES_LOST = 1,
    MARTLET_LINK_IS_DOWN = 2,
    MARTLET_LINK_HAS_GONE = 4,
    MARTLET_EVENTS_LOST = 8 // any of them may have been
};
// A socket that hears of it, non-blocking, or -errno.
int martlet_route_events_open(void);
// Bits of what has come since. What the owner of the socket `own` has changed itself is no news.
unsigned martlet_route_events_read(int fd, int own, uint32_t table, int index);
// Calls `each` for every address of this host of a family (4 or 6), loopback's and link-local ones aside.
int martlet_addresses(int netlink, uint8_t family, void (*each)(void *context, const struct martlet_prefix *address), void *context);
#endif
