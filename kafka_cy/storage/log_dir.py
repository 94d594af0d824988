"""One entry of log.dirs: its lock, identity (meta.properties) and clean-shutdown marker; the names of folders in it."""

# The os functions, not pathlib, which costs start time.
# ruff: noqa: PTH103, PTH108, PTH110
from __future__ import annotations

import base64
import contextlib
import fcntl
import os
import uuid
from functools import lru_cache
from typing import Literal

from kafka_cy.storage.checkpoints import read_properties, sync_directory, write_file
from kafka_cy.storage.log_failure import is_shortage

Kind = Literal["locked", "not writable", "other cluster", "broken"]
CLEAN_SHUTDOWN = ".kafka_cleanshutdown"
NO_TOPIC_ID = bytes(16)
METADATA_BYTES_MAX = 4096  # of partition.metadata
FOLDER_NAME_MAX = 255
META_VERSIONS = ("0", "1")  # meta.properties versions: ZooKeeper-era, with broker.id, and KRaft's, with node.id


class LogDirError(OSError):
    """A log directory cannot be used. The message is one sentence."""

    def __init__(self, kind: Kind, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class LogDir:
    """Owner: LogManager. The lock is held from lock() to unlock()."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.clean = False
        self.was_used = False  # does it have a meta.properties?
        self.directory_id = ""  # after open(): directory.id
        self.stored_id: str | None = None  # after open(): stored_directory_id(); begin() does not change it
        self._identity = ""  # meta.properties to write, if the file or its directory.id is missing
        self._lock_fd = -1

    def open(self, broker_id: int, cluster_id: str) -> None:
        """Create, lock and identify the directory; begin() writes the identity of a new one. Raises LogDirError."""
        try:
            os.makedirs(self.path, exist_ok=True)
        except OSError as error:
            raise LogDirError("not writable", f"log directory {self.path} cannot be created: {error.strerror}") from error
        if not os.access(self.path, os.R_OK | os.W_OK | os.X_OK):
            raise LogDirError("not writable", f"log directory {self.path} is not writable")
        self.lock()
        try:
            self._check_identity(broker_id, cluster_id)
        except OSError:
            self.unlock()
            raise
        self.clean = os.path.exists(self._file(CLEAN_SHUTDOWN))

    def _file(self, name: str) -> str:
        return f"{self.path}/{name}"

    def lock(self) -> None:
        """Keep other processes, including Kafka's, from using the directory. Raises LogDirError, or OSError without descriptors."""
        try:
            self._lock_fd = os.open(self._file(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            # Java's FileChannel.lock takes a POSIX record lock; flock alone would not detect a running Kafka.
            fcntl.lockf(self._lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            fcntl.flock(self._lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self.unlock()
            if isinstance(error, BlockingIOError | PermissionError):
                raise _in_use(self.path) from error
            if is_shortage(error):
                raise  # the directory is as good as before
            raise LogDirError(
                "not writable", f"log directory {self.path} cannot be locked: {error.strerror}"
            ) from error

    def unlock(self) -> None:
        """Release the directory to other processes."""
        if self._lock_fd >= 0:
            os.close(self._lock_fd)
            self._lock_fd = -1

    def _check_identity(self, broker_id: int, cluster_id: str) -> None:
        self.was_used = read_identity(self.path, broker_id, cluster_id)
        path = self._file("meta.properties")
        self.stored_id = stored_directory_id(self.path)
        self.directory_id = self.stored_id or ""
        if self.directory_id:
            return
        self.directory_id = _new_directory_id()
        self._identity = f"#\nbroker.id={broker_id}\ncluster.id={cluster_id}\nversion=0\n"
        if self.was_used:
            with open(path, encoding="utf-8") as file:
                self._identity = file.read().rstrip("\n") + "\n"
        self._identity += f"directory.id={self.directory_id}\n"

    def begin(self) -> None:
        """The directory is in use: from now on only mark_clean() makes the next start a clean one. Raises OSError."""
        if self._identity:
            write_file(self._file("meta.properties"), self._identity)
            self._identity = ""
        if self.clean:
            os.unlink(self._file(CLEAN_SHUTDOWN))
            sync_directory(self.path)  # otherwise a power failure restores the marker

    def mark_clean(self) -> None:
        """Everything is flushed and checkpointed."""
        write_file(self._file(CLEAN_SHUTDOWN), '{"version":0,"brokerEpoch":-1}')


def _new_directory_id() -> str:
    """A random id whose text does not begin with '-': command lines would parse it as an option."""
    while True:
        text = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        if not text.startswith("-"):
            return text


def read_identity(log_dir: str, broker_id: int, cluster_id: str | None) -> bool:
    """Does the directory have a meta.properties? Raises LogDirError if it names another broker or (unless None)
    cluster."""
    path = f"{log_dir}/meta.properties"
    try:
        properties = read_properties(path)
    except (OSError, UnicodeDecodeError) as error:
        raise LogDirError("broken", f"{path} cannot be read: {error}") from error
    if properties is None:
        return False
    if properties.get("version", "0") not in META_VERSIONS:
        raise LogDirError("broken", f"{path} has version {properties['version']}, but this broker supports only 0 and 1")
    stored_cluster = properties.get("cluster.id")
    stored_id = properties.get("broker.id", properties.get("node.id"))
    if stored_cluster is not None and cluster_id is not None and stored_cluster != cluster_id:
        raise LogDirError(
            "other cluster",
            f"log directory {log_dir} belongs to cluster {stored_cluster}, but this broker belongs to cluster {cluster_id}",
        )
    if stored_id is not None and stored_id != str(broker_id):
        raise LogDirError(
            "other cluster", f"log directory {log_dir} belongs to broker {stored_id}, but this broker is {broker_id}"
        )
    return True


def stored_directory_id(log_dir: str) -> str | None:
    """The directory.id in meta.properties; "" if the file has none (Kafka before 3.7), None without the file."""
    properties = read_properties(f"{log_dir}/meta.properties")
    return None if properties is None else properties.get("directory.id", "")


def check_not_in_use(path: str) -> None:
    """Check before locking: raises LogDirError when another broker has locked the log directory."""
    try:
        fd = os.open(f"{path}/.lock", os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return
    try:
        fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise _in_use(path) from error
    finally:
        os.close(fd)


def _in_use(path: str) -> LogDirError:
    return LogDirError("locked", f"log directory {path} is in use by another broker")


def folder_aside(path: str, topic: str, index: int, suffix: Literal["delete", "future", "stray"]) -> str:
    """A path like Kafka's (LocalLog) for the folder of a removed partition; a long topic name is shortened."""
    ending = f"-{index}.{uuid.uuid4().hex}-{suffix}"
    return f"{path}/{topic[: FOLDER_NAME_MAX - len(ending)]}{ending}"


def remove_tree(folder: str) -> None:
    """Remove a folder and its contents; anything that cannot be removed stays.

    The topic id is removed first, so that the remains after a crash cannot pass for a whole partition (LogLoader). Raises
    ValueError for a folder that was not set aside or made for removal: a folder with a partition's name is never removed.
    """
    if not folder.endswith(("-delete", "-future")):
        raise ValueError(f"{folder} is not a folder that was renamed for removal")
    import shutil  # not needed at start

    with contextlib.suppress(OSError):
        os.unlink(f"{folder}/partition.metadata")
    shutil.rmtree(folder, ignore_errors=True)


def write_topic_id(folder: str, topic_id: bytes, *, sync: bool = False) -> None:
    """Write partition.metadata. If a power failure loses it, the next start uses the folder's name. Raises OSError."""
    text = base64.urlsafe_b64encode(topic_id).decode().rstrip("=")
    write_file(f"{folder}/partition.metadata", f"version: 0\ntopic_id: {text}", sync=sync)


def ensure_topic_id(folder: str, topic_id: bytes) -> None:
    """Have partition.metadata name this topic, durably. Raises OSError."""
    if read_topic_id(folder) != topic_id:
        write_topic_id(folder, topic_id, sync=True)


def sync_topic_id(folder: str) -> None:
    """Make partition.metadata durable, unless the folder is gone. Raises OSError."""
    with contextlib.suppress(FileNotFoundError):
        fd = os.open(f"{folder}/partition.metadata", os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
        sync_directory(folder)


def read_topic_id(folder: str) -> bytes:
    """The id in partition.metadata; zeros if the file is missing. Raises OSError for one that cannot be read.

    Such a folder may be of an earlier topic of the same name: it must not be matched by its name, and get the id of another.
    """
    try:
        fd = os.open(f"{folder}/partition.metadata", os.O_RDONLY | os.O_CLOEXEC)  # open() costs several times as much
    except FileNotFoundError:
        return NO_TOPIC_ID
    try:
        return _topic_id_in(os.read(fd, METADATA_BYTES_MAX))
    finally:
        os.close(fd)


@lru_cache(1)  # the partitions of a topic are consecutive
def _topic_id_in(text: bytes) -> bytes:
    for line in text.splitlines():
        key, _, value = line.partition(b":")
        if key == b"topic_id":
            try:
                raw = base64.urlsafe_b64decode(value.strip() + b"==")
            except ValueError:
                break
            return raw if len(raw) == 16 else NO_TOPIC_ID
    return NO_TOPIC_ID
