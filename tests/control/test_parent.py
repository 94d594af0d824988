"""A broker started by `kafka_cy.Broker` ends with its parent process and removes its temporary folder."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from kafka_cy.testing import Broker
from tests.waiting import wait_until

HOLDER = """
import sys, time
from kafka_cy.testing import Broker
broker = Broker({config}).start()
print(broker.pid, broker.folder, flush=True)
time.sleep(600)
"""


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    return state != "Z"  # there may be no process left to reap it


@pytest.mark.parametrize("own_process_group", [False, True])
def test_ends_with_a_killed_parent(own_process_group: bool) -> None:
    script = HOLDER.format(config=f"own_process_group={own_process_group}")
    holder = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    pid, folder = holder.stdout.readline().decode().split()
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    wait_until(lambda: not is_running(int(pid)), "the broker's end")
    wait_until(lambda: not Path(folder).exists(), "the folder's end")


def test_a_given_folder_stays(tmp_path: Path) -> None:
    script = HOLDER.format(config=f"folder={str(tmp_path / 'kept')!r}")
    holder = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    pid = int(holder.stdout.readline().split()[0])
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    wait_until(lambda: not is_running(pid), "the broker's end")
    assert (tmp_path / "kept" / "data").is_dir()


def open_descriptors() -> int:
    gc.collect()  # what earlier tests have left in cycles is not to be closed between two counts
    return len(list(Path("/proc/self/fd").iterdir()))


def test_restarts_leave_no_descriptors(tmp_path: Path) -> None:
    with Broker(folder=tmp_path) as broker:
        before = open_descriptors()
        broker.restart()
        broker.kill()
        broker.start()
        assert open_descriptors() <= before
