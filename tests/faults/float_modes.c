/* Changes how floating-point numbers are computed, as libraries compiled with -ffast-math do: preloaded into the binary.
   FLOAT_MODES holds the bits for the MXCSR register, FLOAT_MODES_OF who gets them: "process" as the library is loaded, or
   "threads" as each thread begins. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <xmmintrin.h>

static void change(const char* of) {
    const char* const modes = getenv("FLOAT_MODES");
    const char* const wanted = getenv("FLOAT_MODES_OF");
    if (modes && wanted && strcmp(wanted, of) == 0) _mm_setcsr(_mm_getcsr() | (unsigned)strtoul(modes, NULL, 0));
}

__attribute__((constructor)) static void at_load(void) { change("process"); }

struct start {
    void* (*function)(void*);
    void* argument;
};

static void* begin(void* pointer) {
    const struct start start = *(struct start*)pointer;
    free(pointer);
    change("threads");
    return start.function(start.argument);
}

int pthread_create(pthread_t* thread, const pthread_attr_t* attributes, void* (*function)(void*), void* argument) {
    int (*real)(pthread_t*, const pthread_attr_t*, void* (*)(void*), void*) = NULL;
    *(void**)&real = dlsym(RTLD_NEXT, "pthread_create");
    struct start* const start = malloc(sizeof *start);
    start->function = function;
    start->argument = argument;
    return real(thread, attributes, begin, start);
}
