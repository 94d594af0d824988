"""A disk that hangs in one call: what waits for it, and what does not. Without the locks' rules these tests hang."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.storage.failing_disk import run_with_failing_disk

IN_THREADS = """
def in_thread(call, *arguments):
    thread = threading.Thread(target=call, args=arguments)
    thread.start()
    return thread
"""


@pytest.mark.parametrize(
    "call",
    ["partition.log.set_config({})", "partition.log.producers()", "partition.become_leader(1)", "partition.log.assign_epoch(2)"],
)
def test_python_goes_on_while_an_append_waits_for_the_disk(tmp_path: Path, call: str) -> None:
    """The append mutex is held over the write. Who waits for it lets go of the GIL."""
    code = f"""
from kafka_cy.storage.partition import HostedPartition
{IN_THREADS}
partition = HostedPartition(PartitionLog(folder, clean=True), "t", bytes(16), 0)
disk.hang("pwrite")
threads = [in_thread(partition.append, batch())]
disk.wait_until_hanging("pwrite")
threads.append(in_thread(lambda: {call}))
time.sleep(0.05)  # long enough for it to begin to wait; were it not, the test would only see less
disk.heal()
for thread in threads:
    thread.join()
print(partition.log_end_offset)
"""
    assert run_with_failing_disk(tmp_path, code) == ["1"]


def test_a_partition_is_let_go_while_its_log_waits_for_an_fsync(tmp_path: Path) -> None:
    code = f"""
from kafka_cy.storage.partition import HostedPartition
{IN_THREADS}
log = PartitionLog(folder, clean=True)
partition = HostedPartition(log, "t", bytes(16), 0)
partition.append(batch())
disk.hang("fdatasync")
thread = in_thread(log.flush)
disk.wait_until_hanging("fdatasync")
del partition
print("released")
disk.heal()
thread.join()
print(log.recovery_point)
"""
    assert run_with_failing_disk(tmp_path, code) == ["released", "1"]
