// A program of the host, started with nothing of the daemon's in its hands.
#ifndef MARTLET_CLINUX_PROGRAM_H
#define MARTLET_CLINUX_PROGRAM_H
#include <sys/types.h>

// Starts `file` with these words and this environment (each ends with NULL), in a process group of its own, with no signal blocked or
// ignored and no descriptor but 0, 1 and 2. `input` is to be written and closed, `output` is what it prints, errors included; both belong
// to the caller, `output` does not block. The process, or -errno.
pid_t martlet_spawn(const char *file, char *const words[], char *const environment[], int *input, int *output);
#endif
