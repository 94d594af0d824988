"""Runs code with a disk whose calls fail or hang on demand. The code calls `disk.fail("pwrite", errno.EIO)`, `disk.hang("pread")`,
`disk.heal()`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

SOURCE = r"""
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

enum { PWRITE, PREAD, FDATASYNC, RENAME, OPENDIR, FSYNC, READDIR, CALLS };
static volatile int failing[CALLS], passed[CALLS];  /* errno per call, 0 none; how many calls come first */
static volatile int hanging[CALLS], waiting[CALLS]; /* does it hang? how many calls wait */

void disk_fail(int call, int error_number, int after) { passed[call] = after; failing[call] = error_number; }
void disk_hang(int call, int on) { hanging[call] = on; }
int disk_waiting(int call) { return waiting[call]; }
static void hang(int call) {
    if (!hanging[call]) return;
    __sync_fetch_and_add(&waiting[call], 1);
    while (hanging[call]) usleep(1000);
    __sync_fetch_and_sub(&waiting[call], 1);
}
/* The n-th lock that this thread takes in storage code from now on waits before it is taken. */
static __thread int stops_at_lock;
static volatile int stopped, go_on;
void stop_at_lock(int n) { go_on = 0; stops_at_lock = n; }
/* The n-th unlock of this thread in storage code from now on stops after it has unlocked. */
static __thread int stops_after_unlock;
static volatile int blocked;                        /* threads that wait for a lock, counted after the first such call */
static volatile int counts_blocked;
void stop_after_unlock(int n) { go_on = 0; counts_blocked = 1; stops_after_unlock = n; }
int threads_blocked(void) { return blocked; }
void stop_at_next_lock(void) { stop_at_lock(1); }
int threads_stopped(void) { return stopped; }
void let_go_on(void) { go_on = 1; }
int pthread_mutex_lock(pthread_mutex_t *mutex) {
    static int (*real)(pthread_mutex_t *);
    Dl_info from;
    if (!real) real = (int (*)(pthread_mutex_t *))dlsym(RTLD_NEXT, "pthread_mutex_lock");
    if (stops_at_lock && dladdr(__builtin_return_address(0), &from) && strstr(from.dli_fname, "/storage/")
        && --stops_at_lock == 0) {
        __sync_fetch_and_add(&stopped, 1);
        while (!go_on) usleep(1000);
        __sync_fetch_and_sub(&stopped, 1);
    }
    if (!counts_blocked) return real(mutex);
    if (pthread_mutex_trylock(mutex) == 0) return 0;
    __sync_fetch_and_add(&blocked, 1);
    int failed = real(mutex);
    __sync_fetch_and_sub(&blocked, 1);
    return failed;
}
int pthread_mutex_unlock(pthread_mutex_t *mutex) {
    static int (*real)(pthread_mutex_t *);
    Dl_info from;
    if (!real) real = (int (*)(pthread_mutex_t *))dlsym(RTLD_NEXT, "pthread_mutex_unlock");
    int failed = real(mutex);
    if (stops_after_unlock && dladdr(__builtin_return_address(0), &from) && strstr(from.dli_fname, "/storage/")
        && --stops_after_unlock == 0) {
        __sync_fetch_and_add(&stopped, 1);
        while (!go_on) usleep(1000);
        __sync_fetch_and_sub(&stopped, 1);
    }
    return failed;
}
static int fails(int call) {
    hang(call);
    if (!failing[call] || __sync_fetch_and_sub(&passed[call], 1) > 0) return 0;
    errno = failing[call];
    return 1;
}
#define REAL(name) __typeof__(&name) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)
ssize_t pwrite(int fd, const void *data, size_t size, off_t at) {
    REAL(pwrite);
    return fails(PWRITE) ? -1 : real(fd, data, size, at);
}
ssize_t pread(int fd, void *data, size_t size, off_t at) {
    REAL(pread);
    return fails(PREAD) ? -1 : real(fd, data, size, at);
}
/* What code for large files calls. */
ssize_t pwrite64(int fd, const void *data, size_t size, off_t at) __attribute__((alias("pwrite")));
ssize_t pread64(int fd, void *data, size_t size, off_t at) __attribute__((alias("pread")));
int fdatasync(int fd) {
    REAL(fdatasync);
    return fails(FDATASYNC) ? -1 : real(fd);
}
DIR *opendir(const char *path) {
    REAL(opendir);
    return fails(OPENDIR) ? NULL : real(path);
}
struct dirent *readdir(DIR *folder) {
    REAL(readdir);
    return fails(READDIR) ? NULL : real(folder);
}
struct dirent64 *readdir64(DIR *folder) __attribute__((alias("readdir")));
int fsync(int fd) {
    REAL(fsync);
    return fails(FSYNC) ? -1 : real(fd);
}
/* Allocations of exactly this size fail; 0 none do. */
static volatile size_t failing_size;
void memory_fail(size_t size) { failing_size = size; }
extern void *__libc_malloc(size_t);
void *malloc(size_t size) {
    if (!size || size != failing_size) return __libc_malloc(size);
    errno = ENOMEM;
    return NULL;
}
int rename(const char *from, const char *to) {
    REAL(rename);
    int failed = real(from, to);
    hang(RENAME);
    if (failing[RENAME]) usleep(failing[RENAME]);    /* the gap in which a folder has its new name already */
    return failed;
}
"""

PREAMBLE = """
import ctypes, os, resource, sys, threading, time
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))  # half of them for segments
from kafka_cy.storage.log import OffsetOutOfRange, PartitionLog, StorageFailure
from tests.storage.batches import batch, base_offset, split

class disk:
    library = ctypes.CDLL(None)
    calls = {"pwrite": 0, "pread": 1, "fdatasync": 2, "rename": 3, "opendir": 4, "fsync": 5, "readdir": 6}

    @classmethod
    def fail(cls, call, error_number, after=0):
        cls.library.disk_fail(cls.calls[call], error_number, after)

    @classmethod
    def heal(cls):
        for call in cls.calls.values():
            cls.library.disk_fail(call, 0, 0)
            cls.library.disk_hang(call, 0)

    @classmethod
    def hang(cls, call):
        cls.library.disk_hang(cls.calls[call], 1)

    @classmethod
    def wait_until_hanging(cls, call, count=1):
        while cls.library.disk_waiting(cls.calls[call]) < count:
            time.sleep(0.001)

    @classmethod
    def slow_renames(cls, microseconds):
        cls.library.disk_fail(3, microseconds, 0)

folder = sys.argv[1]

def numbers(log):
    found, offset = [], log.log_start_offset
    while data := log.read(offset):
        for one in split(data):
            found.append(base_offset(one))
        offset = found[-1] + 1
    return found
"""


def preloaded(library: Path) -> dict[str, str]:
    """The environment that preloads a library before all others except a sanitizer's."""
    libraries = [each for each in os.environ.get("LD_PRELOAD", "").split(":") if each]
    return {**os.environ, "LD_PRELOAD": ":".join([*libraries, str(library)]), "PYTHONPATH": ":".join(sys.path)}


def run_with_failing_disk(tmp_path: Path, code: str) -> list[str]:
    """Run `code` in a separate process with the log folder `folder`; return the words that it prints."""
    source, library = tmp_path / "disk.c", tmp_path / "disk.so"
    source.write_text(SOURCE)
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", str(library), str(source)], check=True)
    (tmp_path / "t-0").mkdir()
    ran = subprocess.run(
        [sys.executable, "-c", PREAMBLE + code, str(tmp_path / "t-0")],
        env=preloaded(library), capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.split()
