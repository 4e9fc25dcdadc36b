#pragma once
#include <stdlib.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif

/// Bounds what glibc's allocator keeps, before the first thread starts. What one thread allocates another frees, push for push:
/// with an arena per thread (the default, up to eight per core) a dispatcher at full load held 20 MB more and took a tenth more
/// CPU. Fixed thresholds give large buffers back, which the default's rising ones do not. MALLOC_ARENA_MAX of the
/// environment counts more.
static inline void beckon_bound_allocator(void) {
#ifdef __GLIBC__
    if (getenv("MALLOC_ARENA_MAX") == NULL) mallopt(M_ARENA_MAX, 1);
    mallopt(M_MMAP_THRESHOLD, 128 * 1024);
    mallopt(M_TRIM_THRESHOLD, 2 * 1024 * 1024);
#endif
}

/// Gives free pages between used ones back to the system, which a threshold never does. Threads that use the same arena
/// wait meanwhile: about a millisecond for 30 MB.
static inline void beckon_trim_allocator(void) {
#ifdef __GLIBC__
    malloc_trim(0);
#endif
}
