"""A cleaning round that is interrupted at any system call, with and without the loss of unsynced data."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.storage.test_flush import preloaded

# Once armed, it counts the calls that change files. Call number `crash_at` ends the process: a write is half done, any other
# call is not done. With `power_cut`, files whose last write was not synced are emptied first.
STOP_AT = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>
#define FILES 256
static int armed, count, crash_at, power_cut, unsynced[FILES];
static ino_t inodes[FILES];
void arm(int at, int cut) { crash_at = at; power_cut = cut; count = 0; armed = 1; }
int disarm(void) { armed = 0; return count; }
static void note(int fd, int synced) {
    struct stat s;
    if (!armed || fstat(fd, &s)) return;
    for (int i = 0; i < FILES; i++)
        if (inodes[i] == s.st_ino && unsynced[i]) { if (synced) { close(unsynced[i]); unsynced[i] = 0; } return; }
    for (int i = 0; i < FILES && !synced; i++)
        if (!unsynced[i]) { inodes[i] = s.st_ino; unsynced[i] = dup(fd); return; }
}
static int is_last(void) { return armed && ++count == crash_at; }
static void stop(void) {
    for (int i = 0; i < FILES && power_cut; i++) if (unsynced[i] && ftruncate(unsynced[i], 0)) _exit(8);
    _exit(9);
}
#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
int rename(const char *a, const char *b) { if (is_last()) stop(); return NEXT(rename)(a, b); }
int unlink(const char *a) { if (is_last()) stop(); return NEXT(unlink)(a); }
/* The disk is not waited for: what a power cut does is done here. */
int fsync(int fd) { if (is_last()) stop(); note(fd, 1); return 0; }
int fdatasync(int fd) { if (is_last()) stop(); note(fd, 1); return 0; }
ssize_t pwrite(int fd, const void *data, size_t size, off_t at) {
    int last = is_last();
    note(fd, 0);
    ssize_t written = NEXT(pwrite)(fd, data, last ? size / 2 : size, at);
    if (last) stop();
    return written;
}
ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) { return pwrite(fd, data, size, at); }
"""

CLEAN_AND_STOP = r"""
import ctypes, os, shutil, sys
from pathlib import Path
from kafka_cy.storage.cleaner import clean
from kafka_cy.storage.log import PartitionLog
from tests.storage.test_cleaner import CONFIG, contents, keyed
from tests.storage.batches import marker

library, folder, power_cut = ctypes.CDLL(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
config = {**CONFIG, "segment.bytes": 1500}
made = folder / "made-0"
made.mkdir()
log = PartitionLog(str(made), config, clean=True)
fields = {"attributes": 0x10, "producer_id": 7, "producer_epoch": 0}
for i in range(12):
    log.append(keyed((f"k{i % 5}", f"{i}" + "x" * 150), (f"once{i}", "y")))
    if i == 3:
        log.append(keyed(("k1", "aborted"), base_sequence=0, **fields))
        log.append(keyed(("t", None)))
    if i == 6:
        log.append(marker(7, 0, commit=False))
    if i % 2:
        log.roll()
end = log.log_end_offset
expected = {key: value for _, key, value in contents(log) if value != "aborted"}
log.close()

def view(log):
    assert log.log_end_offset == end, (log.log_end_offset, end)
    return {key: value for _, key, value in contents(log) if value != "aborted"}

def attempt(crash_at):
    copy = folder / f"{crash_at}-0"
    shutil.copytree(made, copy)
    child = os.fork()
    if child == 0:
        log = PartitionLog(str(copy), config, clean=True)
        library.arm(crash_at, power_cut)
        clean(log, io_buffer_bytes=9000)
        print(library.disarm())
        sys.stdout.flush()
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, 9), status
    log = PartitionLog(str(copy), config, recovery_point=end)  # all that is there was flushed: nothing is scanned again
    assert view(log) == expected, crash_at
    assert log.offset_for_timestamp(0)[0] == contents(log)[0][0]
    clean(log)
    assert view(log) == expected, crash_at
    keys = [key for _, key, _ in contents(log)]
    assert sorted(keys) == sorted(set(keys)) == sorted(expected), crash_at
    names = {path.name.partition(".")[2] for path in copy.iterdir()}
    left = {name for name in names if name.endswith((".cleaned", ".swap"))}
    assert not left, (crash_at, left)
    shutil.rmtree(copy)
    return status == 0

crash_at = 1
while not attempt(crash_at):
    crash_at += 1
"""


@pytest.mark.parametrize("power_cut", [0, 1])
def test_a_round_may_be_stopped_anywhere(tmp_path: Path, power_cut: int) -> None:
    source, library = tmp_path / "stop.c", tmp_path / "stop.so"
    source.write_text(STOP_AT)
    subprocess.run(["gcc", "-O1", "-shared", "-fPIC", "-o", str(library), str(source)], check=True)
    ran = subprocess.run(
        [sys.executable, "-c", CLEAN_AND_STOP, str(library), str(tmp_path), str(power_cut)],
        env=preloaded(library), capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout + ran.stderr
    calls = int(ran.stdout)
    assert calls > 40, "of a round that was not stopped: several groups, each with its files written, synced and renamed"
