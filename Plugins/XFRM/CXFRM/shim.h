// libmnl and the kernel's structures of XFRM, as the plugin uses them.
#ifndef MARTLET_CXFRM_H
#define MARTLET_CXFRM_H
// Before the kernel's headers, which then leave to it what both define.
#include <netinet/in.h>
#include <libmnl/libmnl.h>
#include <linux/netlink.h>
#include <linux/xfrm.h>
#endif
