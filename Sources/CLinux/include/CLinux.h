// What Swift's Glibc module lacks: epoll, eventfd, timerfd, signalfd, batched datagrams, ancillary data, TUN.
#ifndef MARTLET_CLINUX_H
#define MARTLET_CLINUX_H
#include <stddef.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <sys/signalfd.h>
#include <sys/prctl.h>
#include "io.h"
#include "program.h"
#include "tun.h"
#include "addresses.h"
#endif
