// The Swift compiler that built this file, as an ELF note and as a string.
//
// Swift on Linux has no stable ABI: a plugin in Swift must be built by the compiler that built the daemon. The note is in every
// library that links PluginKit; the loader reads it from the file before the dynamic linker sees it.
#ifndef MARTLET_CSWIFTVERSION_H
#define MARTLET_CSWIFTVERSION_H

#define MARTLET_SWIFT_NOTE_NAME "Martlet"
#define MARTLET_SWIFT_NOTE_TYPE 1

/// "6.3.1, clang 21.0.0 (...)": the release and, because development snapshots share a release, the compiler's own commit.
const char *_Nonnull martlet_swift_version(void);
#endif
