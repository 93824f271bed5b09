// libmnl and the kernel's structures of XFRM and nf_tables, as the plugin uses them.
#ifndef MARTLET_CXFRM_H
#define MARTLET_CXFRM_H
// Before the kernel's headers, which then leave to it what both define.
#include <netinet/in.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <linux/fib_rules.h>
#include <linux/filter.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <linux/xfrm.h>
#endif
