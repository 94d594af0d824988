"""Tools and benchmarks survive the answer NOT_COORDINATOR, at which librdkafka's admin client crashes its process."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest
from moved_coordinator import (
    DELETE_GROUPS,
    DESCRIBE_GROUPS,
    OFFSET_COMMIT,
    OFFSET_FETCH,
    MovedCoordinator,
    moved_coordinator,
)

from kafka_cy.bench.brokers import Attached
from kafka_cy.bench.workloads.groups import prepare_coordinator
from tests.waiting import wait_until

REFUSALS = 3


@pytest.fixture(scope="module")
def behind() -> Iterator[tuple[str, MovedCoordinator]]:
    with moved_coordinator(REFUSALS) as (address, proxy):
        tool(address, "topics", "create", "orders")
        yield address, proxy


def tool(address: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "kafka_cy", *arguments, "-b", address],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_groups_commands(behind: tuple[str, MovedCoordinator]) -> None:
    address, proxy = behind
    for api_keys, arguments in (
        ((OFFSET_FETCH, OFFSET_COMMIT), ("reset-offsets", "shop", "--topic", "orders", "--to-earliest", "--execute")),
        ((OFFSET_FETCH,), ("describe", "shop")),
        ((DESCRIBE_GROUPS,), ("describe", "shop", "--state")),
        ((DELETE_GROUPS,), ("delete", "shop")),
    ):
        proxy.refuse(*api_keys)
        assert "shop" in tool(address, "groups", *arguments)
        assert proxy.refused == REFUSALS
    assert "shop" not in tool(address, "groups", "list")


def test_groups_benchmark(behind: tuple[str, MovedCoordinator]) -> None:
    address, proxy = behind
    proxy.refuse(OFFSET_FETCH)
    prepare_coordinator(Attached(address, {}), "bench", "orders")
    assert proxy.refused == REFUSALS


def test_children_of_a_killed_benchmark_end() -> None:
    program = "from kafka_cy.bench.brokers import Floor\nprint(Floor().pid, flush=True)\nimport time\ntime.sleep(600)"
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert alive(child)
        parent.send_signal(signal.SIGKILL)
    wait_until(lambda: not alive(child), f"process {child} ends with its parent")


def alive(pid: int) -> bool:
    """Whether a process runs. A zombie, which nobody has waited for yet, does not."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
