#include "CSwiftVersion.h"
#include <stdint.h>

#define VERSION MARTLET_SWIFT_VERSION ", clang " __clang_version__

// An ELF note: sizes, type, then the name and the description, each padded to four bytes.
struct note {
    uint32_t name_size, description_size, type;
    char name[8];
    char description[(sizeof(VERSION) + 3) / 4 * 4];
};

__attribute__((section(".note.martlet.swift"), used, retain, aligned(4))) static const struct note martlet_swift_note = {
    .name_size = sizeof(MARTLET_SWIFT_NOTE_NAME),
    .description_size = sizeof(VERSION),
    .type = MARTLET_SWIFT_NOTE_TYPE,
    .name = MARTLET_SWIFT_NOTE_NAME,
    .description = VERSION,
};

const char *martlet_swift_version(void) { return martlet_swift_note.description; }
