#define _DEFAULT_SOURCE
#include "CSecret.h"
#include <string.h>

void martlet_secret_wipe(void *bytes, size_t count) { explicit_bzero(bytes, count); }

int martlet_secret_equal(const void *a, const void *b, size_t count) {
    const volatile uint8_t *x = a, *y = b;
    uint8_t difference = 0;
    for (size_t i = 0; i < count; i++) difference |= (uint8_t)(x[i] ^ y[i]);
    return difference == 0;
}
