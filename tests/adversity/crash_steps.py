"""Interrupts a change before each of its steps to the disk, as kill -9 would, and starts the broker again each time.

`python -m tests.adversity.crash_steps SCENARIO FOLDER EVERY` prepares the data of a broker. For n = 1, 1 + EVERY, ... it then
makes the change on a copy of the data, in a process that ends before its n-th step. After that it starts on the remaining
data, again ending before the first step of the start, the second, and so on, until a start is complete, and inspects the
result. It prints one line for each n: the name of the step and the result. A step is a system call that changes names, the
opening of a log, or a transaction of the metadata store. There is no power loss here, so fsync does nothing
(power_loss.py has that).
"""

# The os functions are counted, so pathlib cannot replace them.
# ruff: noqa: PTH103, PTH107, PTH119
from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any, NoReturn

from kafka_cy.cluster import topic_changes
from kafka_cy.cluster.embedded_store import FILE_NAME, EmbeddedStore
from kafka_cy.cluster.hosting import Hosting, folders_of
from kafka_cy.cluster.metadata import ClusterMetadata
from kafka_cy.cluster.unknown_partitions import refuse_unknown
from kafka_cy.storage import log_loader, log_manager, log_moves, log_upkeep
from kafka_cy.storage.log import PartitionLog
from kafka_cy.storage.log_dir import remove_tree
from kafka_cy.storage.log_manager import LogManager
from tests.storage.batches import batch

CRASHED = 9
CONFIG = {"retention.ms": -1, "file.delete.delay.ms": 0}
RECORDS = 10
REAL_FSYNC = os.fsync
KNOWN_LINES = ("an interrupted move between log directories was",)


class Steps:
    """Counts the steps of this process and ends it before step number `end_at`."""

    def __init__(self) -> None:
        self.done = 0
        self.end_at = 0
        self.report: Callable[[str], None] = lambda name: None

    def before(self, name: str) -> None:
        """Count one step."""
        self.done += 1
        if self.done == self.end_at:
            self.report(name)
            os._exit(CRASHED)


STEPS = Steps()


class SteppingLog(PartitionLog):
    """A PartitionLog whose opening (which creates files) and renaming are steps."""

    def __init__(self, directory: str, *arguments: Any, **more: Any) -> None:
        STEPS.before(f"after opening {os.path.basename(directory)}")
        super().__init__()

    def rename(self, directory: str) -> None:
        """See PartitionLog."""
        STEPS.before(f"rename to {os.path.basename(directory)}")
        super().rename(directory)


def make_steps() -> None:
    """Patch everything that is a step, so that it is counted."""
    for name in ("rename", "mkdir", "unlink"):
        wrap(name, getattr(os, name))
    os.fsync = lambda fd: None
    for module in (log_loader, log_manager, log_moves):
        module.PartitionLog = SteppingLog  # type: ignore[attr-defined]
    for module in (log_moves, log_upkeep):
        module.remove_tree = remove_in_steps  # type: ignore[attr-defined]
    persist = EmbeddedStore._persist

    def persist_in_steps(store: EmbeddedStore, changes: Any) -> None:
        STEPS.before("transaction")
        persist(store, changes)

    EmbeddedStore._persist = persist_in_steps  # type: ignore[method-assign]
    # The thread of the log manager does not run: the scenario does its work, so that the order of the steps is fixed.
    log_upkeep.LogUpkeep.start = lambda upkeep, recovered: None  # type: ignore[method-assign]


def wrap(name: str, call: Callable[..., Any]) -> None:
    """Turn a function of `os` into a step."""

    def step(*arguments: Any, **more: Any) -> Any:
        STEPS.before(f"{name} {' '.join(os.path.basename(str(each)) for each in arguments)}")
        return call(*arguments, **more)

    setattr(os, name, step)


def remove_in_steps(folder: str) -> None:
    """remove_tree, in two steps."""
    STEPS.before(f"removal of {os.path.basename(folder)}")
    with suppress(FileNotFoundError):
        os.remove(f"{folder}/partition.metadata")
    STEPS.before(f"rest of the removal of {os.path.basename(folder)}")
    remove_tree(folder)


class Publisher:
    """Accepts the metadata images."""

    def set_topics(self, images: object, removed: object) -> None:
        """Ignored: nothing reads them."""

    def publish(self) -> None:
        """Ignored: nothing reads it."""


class Node:
    """A broker without a network, on the log directories `a` and `b` of a folder."""

    def __init__(self, folder: Path) -> None:
        dirs = [str(folder / name) for name in ("a", "b")]
        os.makedirs(dirs[0], exist_ok=True)
        self.lines: list[str] = []
        store = EmbeddedStore(f"{dirs[0]}/{FILE_NAME}")
        assert store._connection is not None
        if os.fsync is not REAL_FSYNC:
            store._connection.execute("PRAGMA synchronous=OFF")
        self.metadata = ClusterMetadata(store, 1, lambda: 0)
        self.metadata.load("cluster")
        self.cluster, self.changes = self.metadata.cache, self.metadata.topic_changes
        self.logs = LogManager(dirs, 1, "cluster", CONFIG, warn=lambda text, **details: self.lines.append(text))
        self.logs.open()
        refuse_unknown(self.metadata, self.logs)
        self.logs.start(folders_of(self.cluster.all_topics()), folders_of(self.changes.deleting))
        self.cluster.logs = self.logs
        Hosting(self.metadata, self.logs, Publisher(), lambda config: CONFIG, self.fail).start()
        self.work()

    def fail(self, topic: str, index: int, error: Exception) -> None:
        """Called when a log fails, which must not happen."""
        raise AssertionError(f"{topic}-{index}") from error

    def work(self) -> None:
        """Do the work of the log manager's thread."""
        self.logs._upkeep.moves.run()
        self.logs._upkeep._run_removals()
        self.logs.write_checkpoints()

    def write(self, topic: str, records: int = RECORDS) -> None:
        """Write records to every partition of a topic and flush them."""
        for (name, _), partition in self.logs.partitions.items():
            if name == topic:
                partition.append(batch(records))
                partition.log.flush()

    def found(self) -> str:
        """All partitions with their log start and end offsets, all other folders, and all log lines about problems."""
        topics = {
            f"{topic.name}-{partition.index}" for topic in self.cluster.topics.values() for partition in topic.partitions
        }
        hosted = {
            f"{topic}-{index}": f"{partition.log_start_offset}..{partition.log_end_offset}"
            for (topic, index), partition in self.logs.partitions.items()
        }
        assert topics == hosted.keys(), (topics, hosted)
        folders = [path.name for directory in self.logs.log_dirs for path in Path(directory).iterdir() if path.is_dir()]
        others = sorted({*folders} - hosted.keys()) + [name for name in {*folders} if folders.count(name) > 1]
        lines = [line for line in self.lines if not line.startswith(KNOWN_LINES)]
        return " ".join([*(f"{name}={hosted[name]}" for name in sorted(hosted)), *others, *lines])


# -- scenarios --


def prepare(folder: Path) -> None:
    node = Node(folder)
    node.changes.create_topic("kept", [[1], [1]], {})
    node.changes.create_topic("doomed", [[1], [1]], {})
    node.write("kept")
    node.write("doomed")
    for index in (0, 1):
        node.logs.partitions["doomed", index].delete_records(8)  # the offsets must not be taken for those of another log
    node.logs.write_checkpoints()
    node.logs.shutdown()
    node.metadata.store.close()


def create(node: Node) -> None:
    node.changes.create_topic("new", [[1]] * 3, {})


def add_partitions(node: Node) -> None:
    node.changes.create_partitions("kept", [[1], [1]])


def delete(node: Node) -> None:
    node.changes.delete_topic("doomed")
    node.work()


def delete_and_create(node: Node) -> None:
    node.changes.delete_topic("doomed")
    node.changes.create_topic("doomed", [[1]], {})
    node.write("doomed", 3)
    node.work()


def in_steps(node: Node, change: Callable[..., object], *arguments: Any) -> None:
    """A change as requests with many partitions make it, but with one partition in each step."""
    topic_changes.PIECE_PARTITIONS = 1  # type: ignore[misc]
    with node.changes.batch(in_steps=True):
        change(*arguments)
    for _ in node.changes.announce_in_steps():
        pass


def create_in_steps(node: Node) -> None:
    in_steps(node, node.changes.create_topic, "new", [[1]] * 3, {})


def add_partitions_in_steps(node: Node) -> None:
    in_steps(node, node.changes.create_partitions, "kept", [[1], [1]])


def delete_in_steps(node: Node) -> None:
    in_steps(node, node.changes.delete_topic, "doomed")


def move(node: Node) -> None:
    """Move kept-0 to the other directory and back, with records written in between."""
    for records in (RECORDS, 2):
        here = node.logs._hosted.dir_of["kept", 0]
        node.logs.move("kept", 0, next(path for path in node.logs.log_dirs if path != here))
        node.work()
        node.write("kept", records)


SCENARIOS = {
    each.__name__: each
    for each in (
        create, add_partitions, delete, delete_and_create, create_in_steps, add_partitions_in_steps, delete_in_steps, move,
    )
}  # fmt: skip


def run_scenario(scenario: str, folder: Path) -> None:
    """Make the change named by `scenario`; for `first_start`, the start itself is the change."""
    end_at, STEPS.end_at = STEPS.end_at, STEPS.end_at if scenario == "first_start" else 0
    node = Node(folder)
    if scenario != "first_start":
        STEPS.done, STEPS.end_at = 0, end_at
        SCENARIOS[scenario](node)


# -- processes --


@contextmanager
def pipe_to_parent() -> Iterator[tuple[int, int]]:
    reading, writing = os.pipe()
    try:
        yield reading, writing
    finally:
        os.close(reading)


def in_child(work: Callable[[], str | None], end_at: int) -> tuple[bool, str]:
    """Run `work` in a forked process that ends before step `end_at`.

    Returns (whether it ended there, the name of the step or the result of `work`).
    """
    with pipe_to_parent() as (reading, writing):
        child = os.fork()
        if child == 0:
            _be_child(work, end_at, writing)
        os.close(writing)
        with os.fdopen(os.dup(reading)) as stream:
            text = stream.read()
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code not in (0, CRASHED):
        raise SystemExit(f"exit code {code}: {text}")
    return code == CRASHED, text


def _be_child(work: Callable[[], str | None], end_at: int, writing: int) -> NoReturn:
    def report(text: str) -> None:
        os.write(writing, text.encode())

    try:
        make_steps()
        STEPS.end_at, STEPS.report = end_at, report
        report(work() or "")
        os._exit(0)
    except BaseException:  # noqa: BLE001 told to the parent
        import traceback

        report(traceback.format_exc())
        os._exit(1)


def start_until_complete(folder: Path) -> str:
    """Start repeatedly, ending before step 1, 2, ...; return the result of the first complete start."""
    for end_at in count(1):
        crashed, text = in_child(lambda: Node(folder).found(), end_at)
        if not crashed:
            return text
    raise AssertionError("unreachable")


def main(scenario: str, folder: Path, every: int) -> None:
    """Print `step: result` for one of so many steps, and for the complete change."""
    prepared = folder / "prepared"
    prepared.mkdir()
    if scenario != "first_start":
        in_child(lambda: prepare(prepared), 0)
    for end_at in count(1, every):
        copy = Path(shutil.copytree(prepared, folder / f"{end_at}"))
        crashed, step = in_child(lambda: run_scenario(scenario, copy), end_at)  # noqa: B023
        print(f"{step or 'the end'}: {start_until_complete(copy)}", flush=True)
        if not crashed:
            return
        shutil.rmtree(copy)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
