/* A disk that takes 20 ms for each write, sync and read, for files of the topic `slow`. Loaded by bench/beside.py.
   sendfile waits too, unless the pages are in the page cache: then the kernel does not ask the disk either. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <unistd.h>

#define DELAY_US 20000
#define REAL(name) static __typeof__(&name) real; if (!real) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

static int on_slow_disk(int fd) {
    char link[40], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t size = readlink(link, path, sizeof path - 1);
    if (size < 0) return 0;
    path[size] = 0;
    return strstr(path, "/slow-0/") != NULL;
}
static void wait_for_disk(int fd) { if (on_slow_disk(fd)) usleep(DELAY_US); }

ssize_t pwrite(int fd, const void *data, size_t size, off_t at) {
    REAL(pwrite);
    wait_for_disk(fd);
    return real(fd, data, size, at);
}
ssize_t pwrite64(int fd, const void *data, size_t size, off_t at) __attribute__((alias("pwrite")));
ssize_t pread(int fd, void *data, size_t size, off_t at) {
    REAL(pread);
    wait_for_disk(fd);
    return real(fd, data, size, at);
}
ssize_t pread64(int fd, void *data, size_t size, off_t at) __attribute__((alias("pread")));
int fdatasync(int fd) {
    REAL(fdatasync);
    wait_for_disk(fd);
    return real(fd);
}
static int cached(int fd, off_t at, size_t size) {
    unsigned char pages[1024];
    off_t begin = at & ~4095L;
    size_t length = at + size - begin;
    if (length > sizeof pages * 4096) length = sizeof pages * 4096;
    void *mapped = mmap(NULL, length, PROT_READ, MAP_SHARED, fd, begin);
    if (mapped == MAP_FAILED) return 0;
    int all = mincore(mapped, length, pages) == 0;
    for (size_t i = 0; all && i < (length + 4095) / 4096; i++) all = pages[i] & 1;
    munmap(mapped, length);
    return all;
}
ssize_t sendfile(int out, int in, off_t *at, size_t size) {
    REAL(sendfile);
    if (on_slow_disk(in) && !cached(in, *at, size)) usleep(DELAY_US);
    return real(out, in, at, size);
}
ssize_t sendfile64(int out, int in, off_t *at, size_t size) __attribute__((alias("sendfile")));
