#include <gcrypt.h>

// Variadic functions and macros that Swift does not import.

/// Prepares the library with its secure memory, unless somebody in this process did. 0 where it can be used.
static inline int martlet_gcrypt_initialise(void) {
    if (!gcry_check_version(GCRYPT_VERSION) && !gcry_check_version("1.9.0")) return -1;
    if (gcry_control(GCRYCTL_INITIALIZATION_FINISHED_P)) return 0;
    // The pool is locked where the limits allow; without the right to lock it the library would complain on stderr.
    gcry_control(GCRYCTL_DISABLE_SECMEM_WARN);
    // It grows: private values of many key exchanges at once must not exhaust it.
    gcry_control(GCRYCTL_AUTO_EXPAND_SECMEM, 65536);
    if (gcry_control(GCRYCTL_INIT_SECMEM, 65536, 0)) return -1;
    gcry_control(GCRYCTL_INITIALIZATION_FINISHED, 0);
    return gcry_control(GCRYCTL_INITIALIZATION_FINISHED_P) ? 0 : -1;
}

static inline gcry_error_t martlet_gcrypt_mac_restart(gcry_mac_hd_t mac) { return gcry_mac_ctl(mac, GCRYCTL_RESET, NULL, 0); }
