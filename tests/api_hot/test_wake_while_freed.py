"""The last reference to a partition is released while its flush runs: the wake of that flush must not revive it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.storage.failing_disk import preloaded

SLOW_SYNC = r"""
#include <unistd.h>
static volatile int held_ms, inside;        /* -1: until further notice */
void hold_sync(int ms) { held_ms = ms; }
int sync_is_inside(void) { return inside; }
int fdatasync(int fd) {
    inside = 1;
    for (int ms; (ms = held_ms);) {
        usleep(1000);
        if (ms > 0) __sync_bool_compare_and_swap(&held_ms, ms, ms - 1);
    }
    inside = 0;
    return 0;
}
"""

CODE = r"""
import ctypes, sys, time
from pathlib import Path
from tests.api_hot.harness import HotServer
from tests.api_hot.kio_wire import encode_request
from tests.api_hot.test_fetch import fill, request, rows

disk = ctypes.CDLL(None)
server = HotServer(Path(sys.argv[1]))
connection = server.connect()
for round in range(20):
    server.create_topic("t", config={"flush.messages": 1})
    # The bit of a reactor that once waited stays set until the next wake.
    assert rows(connection.call(1, 12, request(server, {("t", 0): 0}, max_wait_ms=20)))[0]["error_code"] == 0
    disk.hold_sync(-1)
    fill(server, "t")
    while not disk.sync_is_inside():
        time.sleep(0.001)
    partition = server.partitions.pop(("t", 0))
    server.publisher.set_topics([], ["t"])
    server.publisher.publish()
    while server.publisher.retired_count():     # the old image holds a reference until the reactors let go of it
        time.sleep(0.001)
    disk.hold_sync(50)
    del partition                   # the last reference but the flush's, which wakes
    while disk.sync_is_inside():    # or the next round would take this flush for its own
        time.sleep(0.001)
print("alive")
server.stop()
"""


def test_a_wake_does_not_revive_a_partition(tmp_path: Path) -> None:
    source, library = tmp_path / "sync.c", tmp_path / "sync.so"
    source.write_text(SLOW_SYNC)
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", str(library), str(source)], check=True)
    ran = subprocess.run(
        [sys.executable, "-c", CODE, str(tmp_path)],
        env={**preloaded(library), "MALLOC_PERTURB_": "165"},   # freed memory must not look valid
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert (ran.returncode, ran.stdout.split()) == (0, ["alive"]), ran.stderr
