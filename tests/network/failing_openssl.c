/* The allocations of OpenSSL fail when they are told to. Loaded before OpenSSL allocates anything; see test_tls_memory.py. */
#include <errno.h>
#include <stdlib.h>

typedef void *(*allocate_function)(size_t, const char *, int);
typedef void *(*resize_function)(void *, size_t, const char *, int);
typedef void (*release_function)(void *, const char *, int);
int CRYPTO_set_mem_functions(allocate_function, resize_function, release_function);

static long first = -1, last = -1, count;
static __thread int spared;

static int fails(void)
{
    if (spared)
        return 0;
    long number = __atomic_fetch_add(&count, 1, __ATOMIC_SEQ_CST);
    if (number < __atomic_load_n(&first, __ATOMIC_SEQ_CST) || number > __atomic_load_n(&last, __ATOMIC_SEQ_CST))
        return 0;
    errno = ENOMEM;
    return 1;
}

static void *allocate(size_t size, const char *file, int line)
{
    return fails() ? NULL : malloc(size);
}

static void *resize(void *memory, size_t size, const char *file, int line)
{
    if (memory != NULL && size == 0) {
        free(memory);
        return NULL;
    }
    return fails() ? NULL : realloc(memory, size);
}

static void release(void *memory, const char *file, int line)
{
    free(memory);
}

int install(void)
{
    return CRYPTO_set_mem_functions(allocate, resize, release);
}

/* This thread's allocations succeed, and are not counted. */
void spare(void)
{
    spared = 1;
}

/* Those with these numbers fail; the next one has the number 0. */
void fail(long from, long to)
{
    __atomic_store_n(&last, -1, __ATOMIC_SEQ_CST);
    __atomic_store_n(&count, 0, __ATOMIC_SEQ_CST);
    __atomic_store_n(&first, from, __ATOMIC_SEQ_CST);
    __atomic_store_n(&last, to, __ATOMIC_SEQ_CST);
}

long counted(void)
{
    return __atomic_load_n(&count, __ATOMIC_SEQ_CST);
}
