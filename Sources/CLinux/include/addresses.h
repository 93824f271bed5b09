// This host's outer addresses, and news of them: routing netlink's notifications.
#ifndef MARTLET_CLINUX_ADDRESSES_H
#define MARTLET_CLINUX_ADDRESSES_H
#include "io.h"

// A non-blocking descriptor that becomes readable when links, addresses or routes of this host change. Or -errno.
int martlet_address_watch(void);
enum martlet_news { MARTLET_NEWS_ADDRESSES = 1 /* links as well */, MARTLET_NEWS_ROUTES = 2 };
// Reads what is there; what it is about, as bits. Routes of other tables than the main one are not told of. All bits where
// notifications were lost.
unsigned martlet_address_news(int fd);
// Calls `each` for every address that can be used outside: of an interface that is up and has a link, ready for use, of global scope,
// neither a loopback's nor a group's. 0 or -errno.
int martlet_outer_addresses(void (*each)(void *context, const struct martlet_endpoint *address), void *context);
// The same over a socket of the caller's.
int martlet_outer_addresses_over(int fd, void (*each)(void *context, const struct martlet_endpoint *address), void *context);
#endif
