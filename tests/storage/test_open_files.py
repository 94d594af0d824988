"""More segments than file descriptors."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

CODE = r"""
import os, random, resource, sys, threading
resource.setrlimit(resource.RLIMIT_NOFILE, (128, 128))
from kafka_cy.storage.log import PartitionLog
from tests.storage.batches import base_offset, batch

LOGS, SEGMENTS = 300, 3
CONFIG = {"retention.ms": -1, "index.interval.bytes": 100}
data = batch(2)

def opened():
    return len(os.listdir("/proc/self/fd"))

def folder(i):
    return f"{sys.argv[1]}/t-{i}"

logs = []
for i in range(LOGS):
    os.mkdir(folder(i))
    log = PartitionLog(folder(i), CONFIG, clean=True)
    for segment in range(SEGMENTS):
        for _ in range(3):
            log.append(data)
        if segment < SEGMENTS - 1:
            log.roll()
    logs.append(log)
assert opened() < 100, opened()

failures = []
def use(seed):
    source = random.Random(seed)
    try:
        for _ in range(4000):
            log = logs[source.randrange(LOGS)]
            offset = source.randrange(6 * SEGMENTS)
            assert base_offset(log.read(offset, 1)) == offset // 2 * 2
            if source.random() < 0.1:
                assert log.offset_for_timestamp(1001) == (1, 1001, 0)
            if source.random() < 0.05:
                log.append(data)
    except BaseException as error:
        failures.append(error)

threads = [threading.Thread(target=use, args=(seed,)) for seed in range(4)]
[t.start() for t in threads]
[t.join() for t in threads]
assert not failures, failures
assert opened() < 110, opened()

# Others take almost all that is left: segments give way.
sockets = []
try:
    while True:
        sockets.append(os.open("/dev/null", os.O_RDONLY))
except OSError:
    pass
for i in range(0, LOGS, 3):
    assert base_offset(logs[i].read(7, 1)) == 6
os.close(sockets.pop())
for log in logs:
    log.flush()
    log.close()
again = PartitionLog(folder(7), CONFIG, clean=True)
assert len(again.segments()) == SEGMENTS
print("ok")
"""


def test_300_logs_with_128_descriptors(tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", CODE, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": ":".join(sys.path)}, capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert ran.stdout == "ok\n", ran.stderr
