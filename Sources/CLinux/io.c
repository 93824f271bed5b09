// Event loops and the process around them.
#define _GNU_SOURCE
#include "io.h"
#include <errno.h>
#include <link.h>
#include <malloc.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/inotify.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

static int result(int value) { return value < 0 ? -errno : value; }

int martlet_epoll_create(void) { return result(epoll_create1(EPOLL_CLOEXEC)); }

int martlet_epoll_set(int epoll, int fd, uint32_t events) {
    struct epoll_event event = {.events = events, .data.fd = fd};
    if (epoll_ctl(epoll, EPOLL_CTL_MOD, fd, &event) == 0) return 0;
    if (errno != ENOENT) return -errno;
    return result(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event));
}

int martlet_epoll_remove(int epoll, int fd) { return result(epoll_ctl(epoll, EPOLL_CTL_DEL, fd, NULL)); }

int martlet_epoll_wait(int epoll, struct martlet_ready *ready, int capacity) {
    struct epoll_event events[64];
    if (capacity > 64) capacity = 64;
    int count = epoll_wait(epoll, events, capacity, -1);
    if (count < 0) return errno == EINTR ? 0 : -errno;
    for (int i = 0; i < count; i++) {
        ready[i].fd = events[i].data.fd;
        ready[i].events = events[i].events;
    }
    return count;
}

int martlet_wake_create(void) { return result(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)); }

void martlet_wake_signal(int fd) {
    uint64_t one = 1;
    // A full counter is as good as a signal.
    while (write(fd, &one, sizeof one) < 0 && errno == EINTR) {}
}

void martlet_wake_clear(int fd) {
    uint64_t count;
    while (read(fd, &count, sizeof count) < 0 && errno == EINTR) {}
}

int martlet_timer_create(void) { return result(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC)); }

void martlet_timer_set(int fd, uint64_t nanoseconds) {
    struct itimerspec at = {0};
    at.it_value.tv_sec = (time_t)(nanoseconds / 1000000000u);
    at.it_value.tv_nsec = (long)(nanoseconds % 1000000000u);
    timerfd_settime(fd, TFD_TIMER_ABSTIME, &at, NULL);
}

void martlet_timer_clear(int fd) { martlet_wake_clear(fd); }

int martlet_signals_create(const int *signals, size_t count) {
    sigset_t set;
    sigemptyset(&set);
    for (size_t i = 0; i < count; i++) sigaddset(&set, signals[i]);
    int error = pthread_sigmask(SIG_BLOCK, &set, NULL);
    if (error) return -error;
    return result(signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC));
}

int martlet_signals_read(int fd) {
    struct signalfd_siginfo info;
    return read(fd, &info, sizeof info) == (ssize_t)sizeof info ? (int)info.ssi_signo : 0;
}

void martlet_thread_block_signals(void) {
    sigset_t set;
    sigfillset(&set);
    // A fault must still end the process on the spot.
    static const int faults[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP, SIGABRT};
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) sigdelset(&set, faults[i]);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
}

void martlet_thread_name(const char *name) {
    char shortened[16] = {0};
    strncpy(shortened, name, sizeof shortened - 1);
    pthread_setname_np(pthread_self(), shortened);
}

void martlet_process_harden(void) {
    struct rlimit none = {0, 0};
    setrlimit(RLIMIT_CORE, &none);
    prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
}

void martlet_process_small_heaps(void) { mallopt(M_ARENA_MAX, 2); }

static int release_segments(struct dl_phdr_info *object, size_t size, void *context) {
    (void)size, (void)context;
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    for (int n = 0; n < object->dlpi_phnum; n++) {
        const ElfW(Phdr) *segment = &object->dlpi_phdr[n];
        // What may be written holds relocations and data; nothing but the file is behind the others.
        if (segment->p_type != PT_LOAD || segment->p_flags & PF_W) continue;
        uintptr_t start = (object->dlpi_addr + segment->p_vaddr) & ~(page - 1);
        uintptr_t end = (object->dlpi_addr + segment->p_vaddr + segment->p_filesz + page - 1) & ~(page - 1);
        // The kernel's own page refuses, and nothing is lost by that.
        if (end > start) madvise((void *)start, end - start, MADV_DONTNEED);
    }
    return 0;
}

void martlet_process_trim(void) {
    malloc_trim(0);
    dl_iterate_phdr(release_segments, NULL);
}

uint32_t martlet_machine_cores(void) {
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0 && CPU_COUNT(&set) > 0) return (uint32_t)CPU_COUNT(&set);
    return 1;
}

int martlet_folders_watch(void) { return result(inotify_init1(IN_NONBLOCK | IN_CLOEXEC)); }

int martlet_folders_add(int fd, const char *folder) {
    return result(inotify_add_watch(fd, folder, IN_CLOSE_WRITE | IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO | IN_ATTRIB | IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR));
}

void martlet_folders_remove(int fd, int watch) { inotify_rm_watch(fd, watch); }

void martlet_folders_read(int fd, void (*found)(void *, int, const char *), void *context) {
    char buffer[16384] __attribute__((aligned(__alignof__(struct inotify_event))));
    ssize_t size;
    while ((size = read(fd, buffer, sizeof buffer)) > 0)
        for (ssize_t offset = 0; offset + (ssize_t)sizeof(struct inotify_event) <= size;) {
            const struct inotify_event *event = (const struct inotify_event *)(buffer + offset);
            // A watch that is gone is ours that was removed, or the folder's that has told of its end already.
            if (!(event->mask & IN_IGNORED)) found(context, event->mask & IN_Q_OVERFLOW ? -1 : event->wd, event->len ? event->name : "");
            offset += (ssize_t)sizeof *event + event->len;
        }
}
