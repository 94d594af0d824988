"""A disk that hangs in one call: what waits for it, and what does not. Without the lock rules, these tests would hang."""

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
    ["partition.log.producers()", "partition.become_leader(1)", "partition.log.assign_epoch(2)"],
)
def test_python_goes_on_while_an_append_waits_for_the_disk(tmp_path: Path, call: str) -> None:
    """The append mutex is held during the write. Threads that wait for it release the GIL."""
    code = f"""
from kafka_cy.storage.hosted_partition import HostedPartition
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


def test_settings_of_a_topic_are_changed_while_an_append_waits_for_the_disk(tmp_path: Path) -> None:
    """Without the append mutex: the control thread must not wait for the disk of one partition."""
    code = f"""
from kafka_cy.storage.log_manager import LogManager
{IN_THREADS}
logs = LogManager([folder], 1, "cluster", {{}})
logs.start()
partition = logs.create("t", 0, bytes(range(16)))
disk.hang("pwrite")
thread = in_thread(partition.append, batch())
disk.wait_until_hanging("pwrite")
logs.set_config("t", {{"segment.bytes": 5000}}, 1)
print(partition.log_end_offset)
disk.heal()
thread.join()
print(partition.log_end_offset)
"""
    assert run_with_failing_disk(tmp_path, code) == ["0", "1"]


def test_a_partition_is_let_go_while_its_log_waits_for_an_fsync(tmp_path: Path) -> None:
    code = f"""
from kafka_cy.storage.hosted_partition import HostedPartition
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


def test_readers_go_on_while_a_truncation_waits_for_the_disk(tmp_path: Path) -> None:
    """It has truncated the file and rebuilds the index: records below are readable, records above are already gone."""
    code = f"""
{IN_THREADS}
log = PartitionLog(folder, {{"segment.bytes": 1000, "index.interval.bytes": 1}}, clean=True)
for _ in range(40):
    log.append(batch(1, size=200))
log.flush()
disk.hang("pwrite")
thread = in_thread(log.truncate_to, 21)
disk.wait_until_hanging("pwrite")
print(log.log_end_offset, numbers(log) == list(range(21)), log.size_bytes > 0, log.epoch_of(3))
try:
    log.read(22)
except OffsetOutOfRange:
    print("gone")
disk.heal()
thread.join()
print(log.append(batch()), numbers(log) == list(range(22)))
log.close()
print(numbers(PartitionLog(folder, recovery_point=0)) == list(range(22)))
"""
    assert run_with_failing_disk(tmp_path, code) == ["21", "True", "True", "0", "gone", "21", "True", "True"]


def test_readers_go_on_while_a_rename_waits_for_the_disk(tmp_path: Path) -> None:
    """In the folder that is renamed and in others; files are reopened, because there are more than may be open."""
    code = f"""
{IN_THREADS}
config = {{"segment.bytes": 1000, "index.interval.bytes": 1}}
other_folder = folder + "-other"
os.mkdir(other_folder)
logs = [PartitionLog(each, config, clean=True) for each in (folder, other_folder)]
for log in logs:
    for _ in range(200):
        log.append(batch(1, size=200))
    log.flush()
disk.hang("rename")
thread = in_thread(logs[0].rename, folder + "-renamed")
disk.wait_until_hanging("rename")
for log in logs:
    print(numbers(log) == list(range(200)))
disk.heal()
thread.join()
print(numbers(logs[0]) == list(range(200)), logs[0].directory == folder + "-renamed")
"""
    assert run_with_failing_disk(tmp_path, code) == ["True"] * 4


def test_nobody_waits_for_the_renames_of_retention(tmp_path: Path) -> None:
    """Neither readers nor the append mutex."""
    code = f"""
{IN_THREADS}
log = PartitionLog(folder, {{"segment.bytes": 1000, "retention.ms": -1, "retention.bytes": 3000}}, clean=True)
for _ in range(40):
    log.append(batch(1, size=200))
log.flush()
disk.hang("rename")
thread = in_thread(log.delete_old_segments)
disk.wait_until_hanging("rename")
start = log.log_start_offset
print(start > 0, log.producers(), numbers(log) == list(range(start, 40)))
disk.heal()
thread.join()
print(len([name for name in os.listdir(folder) if name.endswith(".log.deleted")]) > 1)
"""
    assert run_with_failing_disk(tmp_path, code) == ["True", "[]", "True", "True"]


def test_retention_spares_what_is_appended_while_it_waits_for_a_lock(tmp_path: Path) -> None:
    """Also when the expired segment was rolled meanwhile. It waits at each of its locks in turn."""
    code = f"""
{IN_THREADS}
NOW_MS = 10_000_000
kept = []
for lock in range(1, 13):
    os.mkdir(f"{{folder}}/{{lock}}")
    log = PartitionLog(f"{{folder}}/{{lock}}", {{"retention.ms": 1000}}, clean=True)
    log.append(batch(timestamp_ms=1))
    def retain():
        disk.library.stop_at_lock(lock)
        log.delete_old_segments(100, NOW_MS)
    def append():
        log.append(batch(timestamp_ms=NOW_MS))
        log.roll()
        log.append(batch(timestamp_ms=NOW_MS))
    thread = in_thread(retain)
    while thread.is_alive() and not disk.library.threads_stopped():
        time.sleep(0.001)
    appending = in_thread(append)
    appending.join(0.3)  # not longer: the lock that is waited for may be the second one
    disk.library.let_go_on()
    appending.join()
    thread.join()
    kept.append(numbers(log)[-2:] == [1, 2])
    log.close()
print(len(kept), all(kept))
"""
    assert run_with_failing_disk(tmp_path, code) == ["12", "True"]


def test_appends_go_on_while_a_cleaner_puts_segments_in_place(tmp_path: Path) -> None:
    code = f"""
from kafka_cy.storage.cleaner import clean
from tests.storage.test_cleaner import contents, keyed
{IN_THREADS}
log = PartitionLog(folder, {{"cleanup.policy": ["compact"]}}, clean=True)
for i in range(4):
    log.append(keyed(("k", str(i)), (str(i), "")))
    log.roll()
log.flush()
disk.hang("rename")
thread = in_thread(clean, log)
disk.wait_until_hanging("rename")
log.append(keyed(("k", "last")))
log.roll()
print(log.append(keyed(("end", ""))), log.read(0) != b"")
disk.heal()
thread.join()
print([offset for offset, _, _ in contents(log)])
log.close()
print([offset for offset, _, _ in contents(PartitionLog(folder, recovery_point=0))])
"""
    offsets = ["[1,", "3,", "5,", "6,", "7,", "8,", "9]"]
    assert run_with_failing_disk(tmp_path, code) == ["9", "True", *offsets, *offsets]


def test_an_append_waits_for_no_checkpoint(tmp_path: Path) -> None:
    """Neither when it is the first of a leader epoch, nor when the log start offset has moved before it."""
    code = f"""
{IN_THREADS}
log = PartitionLog(folder, {{"retention.ms": -1}}, clean=True)
log.append(batch(), leader_epoch=0)
log.append(batch(), leader_epoch=1)
log.flush()
log.delete_records(1)
disk.hang("rename")
print(log.append(batch(), leader_epoch=1), log.append(batch(), leader_epoch=2))
disk.heal()
log.flush()
print(open(f"{{folder}}/leader-epoch-checkpoint").read())
"""
    assert run_with_failing_disk(tmp_path, code) == ["2", "3", "0", "2", "1", "1", "2", "3"]
