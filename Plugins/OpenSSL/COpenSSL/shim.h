#include <openssl/evp.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/rand.h>
#include <openssl/core_names.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <openssl/param_build.h>
#include <openssl/ec.h>
#include <openssl/dh.h>

// Macros that Swift does not import.
static const int MARTLET_EVP_KEYPAIR = EVP_PKEY_KEYPAIR;
static const int MARTLET_EVP_KEY_PARAMETERS = EVP_PKEY_KEY_PARAMETERS;
static const int MARTLET_EVP_PUBLIC_KEY = EVP_PKEY_PUBLIC_KEY;
