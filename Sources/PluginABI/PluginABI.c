#include "martlet/plugin.h"
#include "martlet/crypto.h"
#include "martlet/auth.h"
#include "martlet/plane.h"
