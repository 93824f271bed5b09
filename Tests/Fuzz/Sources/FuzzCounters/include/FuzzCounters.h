// What guides the fuzzer, forgotten up to here.
#ifndef MARTLET_FUZZ_COUNTERS_H
#define MARTLET_FUZZ_COUNTERS_H
void martlet_fuzz_counters_reset(void);
#endif
