// What the gateway's event loops and sockets need of Linux: epoll, timers, signals, UDP with local addresses, raw ESP, port groups.
#ifndef MARTLET_CLINUX_IO_H
#define MARTLET_CLINUX_IO_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Functions return 0 or a descriptor, and -errno where they fail.

// MARK: Loops

// One descriptor that is ready; `events` are epoll's bits.
struct martlet_ready {
    int32_t fd;
    uint32_t events;
};
#define MARTLET_READABLE 0x001u
#define MARTLET_WRITABLE 0x004u
#define MARTLET_BROKEN 0x018u

int martlet_epoll_create(void);
// Adds or changes what `fd` waits for, level triggered.
int martlet_epoll_set(int epoll, int fd, uint32_t events);
int martlet_epoll_remove(int epoll, int fd);
// Waits without limit. How many are ready; 0 after a signal.
int martlet_epoll_wait(int epoll, struct martlet_ready *ready, int capacity);

int martlet_wake_create(void);
void martlet_wake_signal(int fd);
void martlet_wake_clear(int fd);

int martlet_timer_create(void);
// Fires once at a time of CLOCK_MONOTONIC; 0 disarms.
void martlet_timer_set(int fd, uint64_t nanoseconds);
void martlet_timer_clear(int fd);

// Blocks the signals on this thread and those it starts, and returns a descriptor that reads them.
int martlet_signals_create(const int *signals, size_t count);
// The next signal, 0 for none.
int martlet_signals_read(int fd);

void martlet_thread_block_signals(void);
void martlet_thread_name(const char *name);

// MARK: Process

// No core dump and no debugger of other users: the memory holds keys.
void martlet_process_harden(void);
// Keeps the C library from one heap for every thread.
void martlet_process_small_heaps(void);
// Gives back what start-up alone has used: free heap, and pages of program code, which come back from the page cache when they run.
void martlet_process_trim(void);
uint32_t martlet_machine_cores(void);

// MARK: Datagrams

// An address in network order; `family` AF_INET or AF_INET6; port in host order.
struct martlet_endpoint {
    uint16_t family;
    uint16_t port;
    uint32_t scope; // interface index of an IPv6 link-local address
    uint8_t bytes[16];
};

enum martlet_udp_flags { MARTLET_UDP_SHARED = 1 /* SO_REUSEPORT */ };
// A non-blocking UDP socket that reports the address each datagram came to, bound to `local`. IPv6 sockets take no IPv4.
// `marked` says whether the mark could be set. A shared socket with `group` joins a port's group; the first one brings the program
// that spreads datagrams (see `martlet_port_group_filter`) before it is bound.
int martlet_udp_open(const struct martlet_endpoint *local, uint32_t flags, uint32_t mark, uint32_t group_workers, bool *marked);
// Has the kernel take ESP off a UDP socket (RFC 3948); IKE still comes through. 0 or -errno.
int martlet_udp_kernel_esp(int fd);
// Whether the port is free: binds and closes. 0 or -errno.
int martlet_udp_probe(const struct martlet_endpoint *local);

// What the network said of a datagram that was sent: `error` is the errno that it stands for, `reporter` who said so (family 0: nobody known).
struct martlet_undelivered {
    struct martlet_endpoint remote, reporter;
    int32_t error;
};
// Takes the oldest such message of a socket; false where there is none.
bool martlet_udp_undelivered(int fd, struct martlet_undelivered *out);

// A raw socket for ESP. With several workers it takes only SPIs that are `worker` modulo `workers`.
int martlet_esp_open(uint16_t family, uint32_t mark, uint32_t worker, uint32_t workers, bool *marked);

// An abstract socket that nobody else in this network namespace can have. A descriptor or -errno.
int martlet_namespace_lock(const char *name);

// A file in `folder` for this network namespace, locked until the descriptor is closed. The folder is made where it is missing; nobody but root
// and the process's own user may write to it (-EPERM otherwise). A descriptor, -EWOULDBLOCK where another process holds the lock, or -errno.
int martlet_folder_lock(const char *folder, const char *name);

struct martlet_datagram_info {
    struct martlet_endpoint local, remote;
    uint32_t length;
    uint32_t truncated;
};
struct martlet_inbox;
struct martlet_inbox *martlet_inbox_create(uint32_t capacity, uint32_t buffer_size);
void martlet_inbox_destroy(struct martlet_inbox *inbox);
// Receives what is there, at most the capacity. How many, 0 for none, or -errno.
int martlet_inbox_receive(struct martlet_inbox *inbox, int fd);
void martlet_inbox_info(const struct martlet_inbox *inbox, uint32_t index, struct martlet_datagram_info *info);
const uint8_t *martlet_inbox_bytes(const struct martlet_inbox *inbox, uint32_t index);

struct martlet_outgoing {
    uint32_t offset, length; // in the buffer
    struct martlet_endpoint local, remote; // an unspecified local address leaves the choice to the kernel
    int32_t error; // set: 0 or errno
};
// Sends all, each on its own account.
void martlet_udp_send(int fd, const uint8_t *buffer, struct martlet_outgoing *items, uint32_t count);

// The source address that the kernel would use towards `remote`, at a mark. 0 or -errno.
int martlet_source_address(const struct martlet_endpoint *remote, uint32_t mark, struct martlet_endpoint *local);

// Watches folders for files that come, go or were written. A descriptor, or -errno.
int martlet_folders_watch(void);
// The number of a folder's watch, the same for one that is watched already, or -errno.
int martlet_folders_add(int fd, const char *folder);
void martlet_folders_remove(int fd, int watch);
// Calls `found` for each name that something happened to; an empty one is the folder itself. With the watch -1, something was missed.
void martlet_folders_read(int fd, void (*found)(void *context, int watch, const char *name), void *context);

// Sends one datagram to a Unix socket; a leading @ is the abstract namespace. For systemd's notifications.
int martlet_notify(const char *path, const char *message);
#endif
