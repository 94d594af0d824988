"""What a disk may hold after the power was lost: a recording of system calls, and a model that replays a part of it.

`RECORDER` is a library to preload. Between `record_start` and the end of the process it writes down each successful call that
changes files below a folder, with the data. An fsync is written down and not waited for. `Disk` replays the recording. For it
nothing is durable but what POSIX promises: the data of a file after its fsync, the names in a folder after the fsync of that
folder. What came later may be there in part: of each folder the first few changes of names, of each file the first few writes,
the last one torn.
"""

from __future__ import annotations

import os
import random
import subprocess
from collections.abc import Iterator, Sized
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

RECORDER = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>
#define FDS 65536
static int output = -1;
static char root[4096], tracked[FDS];
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
#define REAL(name) static __typeof__(&name) real; if (!real) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)
static void put(const char *op, long a, long b, long size, const void *data) {
    char head[128];
    int n = snprintf(head, sizeof head, "%s %ld %ld %ld\n", op, a, b, size);
    syscall(SYS_write, output, head, (size_t)n);
    for (long done = 0; done < size;) {
        long written = syscall(SYS_write, output, (const char *)data + done, (size_t)(size - done));
        if (written <= 0) _exit(77);
        done += written;
    }
}
/* Begins the recording of what happens below `folder`, and marks a moment in it. */
int record_start(const char *file, const char *folder) {
    snprintf(root, sizeof root, "%s/", folder);
    output = (int)syscall(SYS_openat, AT_FDCWD, file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    return output;
}
void record_mark(void) { pthread_mutex_lock(&mutex); put("mark", 0, 0, 0, ""); pthread_mutex_unlock(&mutex); }
static int ours(const char *path) { return output >= 0 && strncmp(path, root, strlen(root)) == 0; }
static int known(int fd) { return output >= 0 && fd >= 0 && fd < FDS && tracked[fd]; }
static const char *full(int folder, const char *path, char *space) {
    char link[64];
    if (path[0] == '/' || folder == AT_FDCWD) return path;
    snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
    ssize_t n = readlink(link, space, 4000);
    if (n < 0) return path;
    snprintf(space + n, 8192 - (size_t)n, "/%s", path);
    return space;
}
#define LOCKED(call, good, record) do { pthread_mutex_lock(&mutex); result = call; int error = errno; \
    if (good) { record; } pthread_mutex_unlock(&mutex); errno = error; } while (0)
static int opened(int folder, const char *path, int flags, mode_t mode) {
    char space[8192];
    int result;
    const char *name = full(folder, path, space);
    if (!ours(name)) {
        result = (int)syscall(SYS_openat, folder, path, flags, mode);
        if (result >= 0 && result < FDS) tracked[result] = 0;
        return result;
    }
    LOCKED((int)syscall(SYS_openat, folder, path, flags, mode), result >= 0,
           if (result < FDS) tracked[result] = 1; put("open", result, flags & O_TRUNC ? 1 : 0, (long)strlen(name), name));
    return result;
}
#define MODE mode_t mode = 0; \
    if (flags & (O_CREAT | __O_TMPFILE)) { va_list a; va_start(a, flags); mode = va_arg(a, mode_t); va_end(a); }
int open(const char *path, int flags, ...) { MODE return opened(AT_FDCWD, path, flags, mode); }
int open64(const char *path, int flags, ...) { MODE return opened(AT_FDCWD, path, flags | O_LARGEFILE, mode); }
int openat(int folder, const char *path, int flags, ...) { MODE return opened(folder, path, flags, mode); }
int openat64(int folder, const char *path, int flags, ...) { MODE return opened(folder, path, flags | O_LARGEFILE, mode); }
int creat(const char *path, mode_t mode) { return opened(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode); }
int close(int fd) {
    REAL(close);
    if (known(fd)) { pthread_mutex_lock(&mutex); tracked[fd] = 0; put("close", fd, 0, 0, ""); pthread_mutex_unlock(&mutex); }
    return real(fd);
}
ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) {
    REAL(pwrite64);
    ssize_t result;
    if (!known(fd)) return real(fd, data, size, at);
    LOCKED(real(fd, data, size, at), result >= 0, put("write", fd, (long)at, result, data));
    return result;
}
ssize_t pwrite(int fd, const void *data, size_t size, off_t at) { return pwrite64(fd, data, size, at); }
ssize_t write(int fd, const void *data, size_t size) {
    REAL(write);
    ssize_t result;
    if (!known(fd)) return real(fd, data, size);
    LOCKED(real(fd, data, size), result >= 0,
           put("write", fd, (long)lseek(fd, 0, SEEK_CUR) - (long)result, result, data));
    return result;
}
int ftruncate64(int fd, off64_t size) {
    REAL(ftruncate64);
    int result;
    if (!known(fd)) return real(fd, size);
    LOCKED(real(fd, size), result == 0, put("cut", fd, (long)size, 0, ""));
    return result;
}
int ftruncate(int fd, off_t size) { return ftruncate64(fd, size); }
static int synced(int fd) {
    if (known(fd)) { pthread_mutex_lock(&mutex); put("sync", fd, 0, 0, ""); pthread_mutex_unlock(&mutex); }
    return 0;
}
int fsync(int fd) { return synced(fd); }
int fdatasync(int fd) { return synced(fd); }
int rename(const char *from, const char *to) {
    REAL(rename);
    int result;
    char both[8192];
    if (!ours(from)) return real(from, to);
    int n = snprintf(both, sizeof both, "%s%s", from, to);
    LOCKED(real(from, to), result == 0, put("rename", (long)strlen(from), 0, n, both));
    return result;
}
int renameat(int old_folder, const char *old, int new_folder, const char *new) {
    char a[8192], b[8192];
    return rename(full(old_folder, old, a), full(new_folder, new, b));
}
static int removed(int folder, const char *path, int flags) {
    int result;
    char space[8192];
    const char *name = full(folder, path, space);
    if (!ours(name)) return (int)syscall(SYS_unlinkat, folder, path, flags);
    LOCKED((int)syscall(SYS_unlinkat, folder, path, flags), result == 0, put("remove", 0, 0, (long)strlen(name), name));
    return result;
}
int unlink(const char *path) { return removed(AT_FDCWD, path, 0); }
int unlinkat(int folder, const char *path, int flags) { return removed(folder, path, flags); }
int rmdir(const char *path) { return removed(AT_FDCWD, path, AT_REMOVEDIR); }
int mkdir(const char *path, mode_t mode) {
    REAL(mkdir);
    int result;
    if (!ours(path)) return real(path, mode);
    LOCKED(real(path, mode), result == 0, put("mkdir", 0, 0, (long)strlen(path), path));
    return result;
}
"""


def build_recorder(folder: Path) -> Path:
    """Compile the library."""
    source, library = folder / "recorder.c", folder / "recorder.so"
    source.write_text(RECORDER)
    subprocess.run(["gcc", "-O1", "-shared", "-fPIC", "-o", str(library), str(source)], check=True)
    return library


class Step(NamedTuple):
    """One call. `name`: open, close, write, cut, sync, rename, remove, mkdir or mark."""

    name: str
    a: int
    b: int
    data: bytes


def read_steps(recording: Path) -> list[Step]:
    """The steps of a recording."""
    return list(_steps(recording.read_bytes()))


def _steps(raw: bytes) -> Iterator[Step]:
    at = 0
    while at < len(raw):
        end = raw.index(b"\n", at)
        name, a, b, size = raw[at:end].split(b" ")
        at = end + 1 + int(size)
        yield Step(name.decode(), int(a), int(b), raw[end + 1 : at])


@dataclass(eq=False)
class File:
    """`pending`: (position, data) of writes, or (size, None) of cuts, since the last fsync."""

    durable: bytes = b""
    pending: list[tuple[int, bytes | None]] = field(default_factory=list)

    def content(self, pending: list[tuple[int, bytes | None]]) -> bytes:
        """The durable content after some more writes."""
        content = bytearray(self.durable)
        for at, data in pending:
            if len(content) < at:
                content.extend(bytes(at - len(content)))
            if data is None:
                del content[at:]
            else:
                content[at : at + len(data)] = data
        return bytes(content)

    def sync(self) -> None:
        """An fsync."""
        self.durable = self.content(self.pending)
        self.pending.clear()


@dataclass(eq=False)
class Folder:
    """`pending`: changes of names since the last fsync; None: the name is gone."""

    now: dict[str, File | Folder] = field(default_factory=dict)
    durable: dict[str, File | Folder] = field(default_factory=dict)
    pending: list[dict[str, File | Folder | None]] = field(default_factory=list)

    def change(self, **names: File | Folder | None) -> None:
        """Several names at once."""
        self.pending.append(names)
        apply(self.now, names)

    def sync(self) -> None:
        """An fsync."""
        self.durable = dict(self.now)
        self.pending.clear()


def apply(names: dict[str, File | Folder], change: dict[str, File | Folder | None]) -> None:
    """Make one change of names."""
    for name, node in change.items():
        if node is None:
            names.pop(name, None)
        else:
            names[name] = node


class Disk:
    """A folder with all that is below it, whose files are durable at first."""

    def __init__(self, root: Path) -> None:
        self.root = str(root)
        self.top = self._load(root)
        self.open: dict[int, File | Folder] = {}

    def _load(self, path: Path) -> Folder:
        found = {each.name: self._load(each) if each.is_dir() else File(each.read_bytes()) for each in path.iterdir()}
        return Folder(dict(found), dict(found))

    def _place(self, path: str) -> tuple[Folder, str]:
        *folders, name = os.path.relpath(path, self.root).split("/")
        node: File | Folder = self.top
        for each in folders:
            assert isinstance(node, Folder)
            node = node.now[each]
        assert isinstance(node, Folder)
        return node, name

    def replay(self, step: Step) -> None:
        """One more step happens."""
        getattr(self, f"_{step.name}")(step)

    def _mark(self, step: Step) -> None:
        """Nothing on the disk."""

    def _open(self, step: Step) -> None:
        folder, name = self._place(step.data.decode())
        node = self.top if name == "." else folder.now.get(name)
        if node is None:
            node = File()
            folder.change(**{name: node})
        elif step.b:
            assert isinstance(node, File)
            node.pending.append((0, None))
        self.open[step.a] = node

    def _close(self, step: Step) -> None:
        del self.open[step.a]

    def _write(self, step: Step) -> None:
        node = self.open[step.a]
        assert isinstance(node, File)
        node.pending.append((step.b, step.data))

    def _cut(self, step: Step) -> None:
        node = self.open[step.a]
        assert isinstance(node, File)
        node.pending.append((step.b, None))

    def _sync(self, step: Step) -> None:
        self.open[step.a].sync()

    def _mkdir(self, step: Step) -> None:
        folder, name = self._place(step.data.decode())
        folder.change(**{name: Folder()})

    def _remove(self, step: Step) -> None:
        folder, name = self._place(step.data.decode())
        folder.change(**{name: None})

    def _rename(self, step: Step) -> None:
        source, old = self._place(step.data[: step.a].decode())
        target, new = self._place(step.data[step.a :].decode())
        node = source.now[old]
        if source is target:
            source.change(**{old: None, new: node})
        else:
            target.change(**{new: node})
            source.change(**{old: None})

    def after_power_loss(self, folder: Path, chance: random.Random, names: float | None, data: float | None) -> None:
        """Write into `folder` what may be left. `names`, `data`: the share of what was not synced that is there all the same,
        from the first on; None: another one for each folder or file."""
        self._write_out(self.top, folder, chance, names, data)

    def _write_out(
        self, node: Folder, folder: Path, chance: random.Random, names: float | None, data: float | None
    ) -> None:
        folder.mkdir()
        kept = dict(node.durable)
        for change in node.pending[: count_of(node.pending, names, chance)]:
            apply(kept, change)
        for name, each in kept.items():
            if isinstance(each, Folder):
                self._write_out(each, folder / name, chance, names, data)
                continue
            count = count_of(each.pending, data, chance)
            writes = each.pending[:count]
            if data is None and count < len(each.pending):
                at, torn = each.pending[count]
                writes = [*writes, (at, torn[: chance.randrange(len(torn) + 1)])] if torn else writes
            (folder / name).write_bytes(each.content(writes))


def count_of(pending: Sized, share: float | None, chance: random.Random) -> int:
    """How many of the pending changes happened."""
    return chance.randrange(len(pending) + 1) if share is None else round(share * len(pending))
