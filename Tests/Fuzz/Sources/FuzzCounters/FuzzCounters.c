// The set-up of an endpoint is the same for every input: what it reaches says nothing of the input, and looking through it again and again costs
// more than the input itself. The compiler keeps the counters in a section, whose bounds the linker names.

#include "FuzzCounters.h"
#include <string.h>

extern char __start___sancov_cntrs[] __attribute__((weak, visibility("hidden")));
extern char __stop___sancov_cntrs[] __attribute__((weak, visibility("hidden")));

void martlet_fuzz_counters_reset(void) {
    if (__start___sancov_cntrs && __stop___sancov_cntrs) memset(__start___sancov_cntrs, 0, (size_t)(__stop___sancov_cntrs - __start___sancov_cntrs));
}
