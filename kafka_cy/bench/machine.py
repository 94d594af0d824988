"""The machine and versions that a results file names; also touches the machine's memory before measuring."""

from __future__ import annotations

import mmap
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from kafka_cy.bench.results import Machine


def describe() -> Machine:
    """This machine, with the current load average as the one at the start."""
    return Machine(
        cpu=_cpu_name(),
        cores=os.cpu_count() or 1,
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        kernel=platform.release(),
        congestion_control=_congestion_control(),
        load_average_start=round(os.getloadavg()[0], 2),
    )


def load_average() -> float:
    """Of the last minute."""
    return round(os.getloadavg()[0], 2)


def versions() -> dict[str, str]:
    """Versions of everything that takes part in every run."""
    found = {"python": platform.python_version()}
    for name in ("kafka-cy", "confluent-kafka"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    try:
        from confluent_kafka import libversion

        found["librdkafka"] = str(libversion()[0])
    except ImportError:
        pass
    return found


def _cpu_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.machine()


def _congestion_control() -> str | None:
    try:
        return Path("/proc/sys/net/ipv4/tcp_congestion_control").read_text().strip()
    except OSError:
        return None


def available_memory_bytes() -> int:
    """Memory available without swapping."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return 0


def touch_memory(size_bytes: int) -> int:
    """Touch memory once so that the machine backs it with pages: a virtual machine pays for the first use of each.

    At most half of the available memory; returns the bytes touched.
    """
    size_bytes = min(size_bytes, available_memory_bytes() // 2)
    if size_bytes > 0:
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE
        mmap.mmap(-1, size_bytes, flags=flags).close()
    return size_bytes
