"""The rules of docs/lock-order.md, as far as the Cython sources show them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.storage.lock_reader import CALL, LOCK, Function, Sources, lock_name

ROOT = Path(__file__).parent.parent.parent
PACKAGES = (
    "base", "authorizer", "records", "storage", "quota", "network", "replication", "api", "coordinator", "share", "telemetry",
)  # fmt: skip
ROWS = [line.split("|") for line in (ROOT / "docs" / "lock-order.md").read_text().splitlines() if re.match(r"\| \d", line)]
RANK = {name: i for i, row in enumerate(ROWS) for name in re.findall(r"`([\w.]+)`", row[3])}
WITH_GIL = {name for row in ROWS for name in re.findall(r"`([\w.]+)`", row[3]) if row[6].strip() == "yes"}
# Calls that may wait for a disk, and the locks that must not be held during them.
DISK = {"open_file", "close", "read_some", "write_whole", "rename_path", "unlink", "sync_path", "sync_data", "size_of_fd"}
DISK |= {"size_of_file", "modified_ms_of_file", "map_file", "munmap", "cut_file", "reserve_file", "fopen", "opendir"}
NOT_OVER_A_DISK = {"segments_mutex", "ring_mutex", "share_session.mutex", "records.mutex"} | WITH_GIL
# They release references, but never the last reference to a partition, which would close its files.
RELEASING = {"image_free", "topic_release", "reactor_discard_mail", "trace_free"}


@pytest.fixture(scope="module")
def sources() -> Sources:
    return Sources(ROOT / "kafka_cy", PACKAGES)


def taken_at(sources: Sources, function: Function, line: str) -> set[str]:
    locks = {lock_name(function.path, expression) for _, expression in LOCK.findall(line)}
    for name in CALL.findall(line):
        for callee in sources.called(function, name) if name not in RELEASING else []:
            locks |= sources.taken[callee] if callee.nogil else set()
    return locks


def test_the_reader_sees_all_functions(sources: Sources) -> None:
    """Code that is included as text, or reached in a way that the reader does not follow, would escape the rules below."""
    assert not list((ROOT / "kafka_cy").rglob("*.pxi"))
    assert sources.unseen("storage") == set()


def test_every_lock_has_a_place_in_the_order(sources: Sources) -> None:
    assert {lock for taken in sources.taken.values() for lock in taken} == set(RANK)


def test_no_lock_is_waited_for_with_the_gil(sources: Sources) -> None:
    wrong = []
    for function in sources.functions:
        for number, line in () if function.nogil else sources.with_gil(function):
            locks = taken_at(sources, function, line) - (set() if LOCK.search(line) else WITH_GIL)
            wrong += [f"{function.place(number)} takes {lock}" for lock in sorted(locks)]
    assert wrong == []


def test_every_lock_is_released_where_it_was_taken(sources: Sources) -> None:
    """So no lock is held when a function returns or reacquires the GIL."""
    wrong = []
    for function in sources.functions:
        if function not in sources.wrappers:
            wrong += [function.place(n) for n, how, _, held in sources.steps(function) if how == "return" and held]
    assert wrong == []


def test_locks_are_taken_in_the_documented_order(sources: Sources) -> None:
    wrong = []
    for function in sources.functions:
        for number, how, what, held in sources.steps(function):
            taken = {what} if how == "lock" else set()
            for callee in sources.called(function, what) if how == "call" and held else []:
                taken |= sources.taken[callee]
            wrong += [
                f"{function.place(number)} takes {lock} with {holds}"
                for lock in taken for holds in held if RANK[lock] <= RANK[holds] or holds in WITH_GIL
            ]  # fmt: skip
    assert wrong == []


def test_no_disk_is_waited_for_with_a_lock_that_readers_need(sources: Sources) -> None:
    wrong = []
    waiting = sources.reaching(DISK)
    for function in sources.functions:
        for number, how, what, held in sources.steps(function):
            if how == "call" and held & NOT_OVER_A_DISK and (
                what in DISK or any(callee in waiting for callee in sources.called(function, what))
            ):
                wrong.append(f"{function.place(number)} calls {what} with {', '.join(sorted(held))}")
    assert wrong == []


def test_the_epochs_of_a_log_change_only_with_the_lock_of_their_readers(sources: Sources) -> None:
    """But while a log is opened: nobody reads it yet."""
    wrong, seen = [], 0
    for function in sources.functions:
        if function.path.stem in {"log_open", "log_recovery", "segment_recovery", "leader_epochs", "leader_epochs_probe"}:
            continue
        for number, how, what, held in sources.steps(function):
            if how == "call" and what in {"epochs_assign", "epochs_truncate_end", "epochs_truncate_start"}:
                seen += 1
                wrong += [] if "segments_mutex" in held else [f"{function.place(number)} calls {what}"]
    assert wrong == []
    assert seen >= 6
