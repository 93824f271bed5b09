// Memory that holds secrets: wiping that the compiler may not remove, and comparison in constant time.
#ifndef MARTLET_CSECRET_H
#define MARTLET_CSECRET_H
#include <stddef.h>
#include <stdint.h>

/// Overwrites `count` bytes at `bytes` with zeroes (explicit_bzero(3)).
void martlet_secret_wipe(void *_Nonnull bytes, size_t count);
/// 1 where the `count` bytes at `a` and `b` are the same, else 0; the time depends on `count` alone.
int martlet_secret_equal(const void *_Nonnull a, const void *_Nonnull b, size_t count);
#endif
