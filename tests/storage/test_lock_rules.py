"""The rules of docs/lock-order.md, as far as the Cython sources show them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.storage.lock_reader import CALL, LOCK, Sources

ROOT = Path(__file__).parent.parent.parent
PACKAGES = ("base", "records", "storage", "network", "api", "coordinator", "telemetry")
ORDER = (ROOT / "docs" / "lock-order.md").read_text()


@pytest.fixture(scope="module")
def sources() -> Sources:
    return Sources(ROOT / "kafka_cy", PACKAGES)


def test_no_lock_is_waited_for_with_the_gil(sources: Sources) -> None:
    wrong = []
    for function in sources.functions:
        for number, line in () if function.nogil else sources.with_gil(function):
            locks = {name for _, name in LOCK.findall(line)}
            for name in CALL.findall(line):
                locks |= {lock for callee in sources.called(function, name) if callee.nogil for lock in sources.taken[callee]}
            if locks:
                wrong.append(f"{function.place(number)} takes {', '.join(sorted(locks))}")
    assert wrong == []


def test_every_lock_is_released_where_it_was_taken(sources: Sources) -> None:
    """So none is held when a function returns, or when the GIL is taken back."""
    wrong = []
    for function in sources.functions:
        if function not in sources.leaves_held:
            wrong += [function.place(n) for n, how, _, held in sources.steps(function) if how == "leave" and held]
    assert wrong == []


def test_locks_are_taken_in_the_documented_order(sources: Sources) -> None:
    rows = [re.findall(r"`([\w.]+)`", line.split("|")[3]) for line in ORDER.splitlines() if re.match(r"\| \d+ \|", line)]
    rank = {name: number for number, names in enumerate(rows) for name in names}
    wrong = []
    for function in sources.functions:
        for number, how, what, held in sources.steps(function):
            taken = {what} if how == "lock" else set()
            for callee in sources.called(function, what) if how == "call" and held else []:
                taken |= sources.taken[callee]
            wrong += [f"{function.place(number)} takes {lock}, which has no place" for lock in taken if lock not in rank]
            wrong += [
                f"{function.place(number)} takes {lock} with {holds}"
                for lock in taken for holds in held if rank.get(lock, 99) <= rank.get(holds, -1)
            ]  # fmt: skip
    assert wrong == []
