"""The .txnindex files: what is on disk after a flush, and what a start does with entries that cannot be."""

from __future__ import annotations

import random
from collections import defaultdict
from pathlib import Path

import pytest

from kafka_cy.storage.log import PartitionLog
from tests.storage.batches import TRANSACTIONAL, batch, marker
from tests.storage.failing_disk import run_with_failing_disk

ENTRY = 34
TRANSACTIONS = """
from tests.storage.batches import TRANSACTIONAL, marker

def abort(log, producer, epoch=0):
    log.append(batch(1, producer_id=producer, producer_epoch=epoch, base_sequence=0, attributes=TRANSACTIONAL))
    log.append(marker(producer, epoch, commit=False))

def outcome(call, *arguments):
    try:
        call(*arguments)
    except StorageFailure as failure:
        return failure.error_number
    return "done"

def without_descriptors(call, *arguments):
    held = []
    try:
        while True:
            held.append(os.open("/dev/null", os.O_RDONLY))
    except OSError:
        pass
    try:
        return outcome(call, *arguments)
    finally:
        for each in held:
            os.close(each)
"""


@pytest.mark.parametrize("closed", [False, True])
def test_a_flush_syncs_the_index(tmp_path: Path, closed: bool) -> None:
    """Each segment needs one fdatasync for its records. Without aborted transactions there is no other one."""
    code = f"""{TRANSACTIONS}
log = PartitionLog(folder, clean=True)
log.append(batch())
log.flush()         # it writes the checkpoint of the epochs, too
for aborts in (False, True):
    log.append(batch())
    if aborts:
        abort(log, 1)
    disk.fail("fdatasync", 5, {2 if closed else 1})
    if {closed}:
        log.roll()      # its flush in the background does the same
    print(outcome(log.flush))
    disk.heal()
print(log.offline)
"""
    assert run_with_failing_disk(tmp_path, code) == ["done", "5", "True"]


def test_a_flush_syncs_the_index_once(tmp_path: Path) -> None:
    """Without new entries there is nothing to sync; after a failure there is."""
    code = f"""{TRANSACTIONS}
log = PartitionLog(folder, clean=True)
for producer in (1, 2):
    abort(log, producer)
    log.flush()
    log.append(batch())
    disk.fail("fdatasync", 5, 1)
    print(outcome(log.flush))
    disk.heal()
"""
    assert run_with_failing_disk(tmp_path, code) == ["done", "done"]


def test_a_flush_syncs_the_name_of_a_new_index(tmp_path: Path) -> None:
    code = f"""{TRANSACTIONS}
log = PartitionLog(folder, clean=True)
abort(log, 1)
log.roll()
log.append(batch())
log.flush()
for aborts in (False, True):
    log.append(batch())
    if aborts:
        abort(log, 2)
    disk.fail("fsync", 5)
    print(outcome(log.flush))
    disk.heal()
"""
    assert run_with_failing_disk(tmp_path, code) == ["done", "5"]


def test_an_entry_is_written_when_descriptors_run_out(tmp_path: Path) -> None:
    """Segments that nobody uses give theirs."""
    code = f"""{TRANSACTIONS}
log = PartitionLog(folder, clean=True)
log.append(batch(1, producer_id=1, producer_epoch=0, base_sequence=0, attributes=TRANSACTIONAL))
print(without_descriptors(log.append, marker(1, 0, commit=False)), log.log_end_offset, log.offline)
log.close()
print(*PartitionLog(folder, clean=True).aborted_transactions(0, 100))
"""
    assert run_with_failing_disk(tmp_path, code) == ["done", "2", "False", "(1,", "0)"]


def test_a_marker_without_a_descriptor_for_its_entry_is_not_appended(tmp_path: Path) -> None:
    """A follower uses its only segment meanwhile. It fetches the marker again later."""
    code = f"""{TRANSACTIONS}
from kafka_cy.storage.hosted_partition import HostedPartition
leader = PartitionLog(folder, clean=True)
abort(leader, 1)
data, end = split(leader.read(0))
leader.close()
del leader
os.mkdir(folder + "/follower")
log = PartitionLog(folder + "/follower", clean=True)
partition = HostedPartition(log, "t", bytes(16), 0)
partition.follow(0)
partition.append_received(data, 0, 0)
print(without_descriptors(partition.append_received, end, 0, 0), log.log_end_offset, log.offline)
print(os.path.getsize(folder + "/follower/" + "0" * 20 + ".log") == len(data), log.aborted_transactions(0, 100))
print(outcome(partition.append_received, end, 0, 0), log.log_end_offset)
log.close()
print(*PartitionLog(folder + "/follower", clean=True).aborted_transactions(0, 100))
"""
    words = run_with_failing_disk(tmp_path, code)
    assert words == ["24", "1", "False", "True", "[]", "done", "2", "(1,", "0)"]


def test_records_do_not_go_out_without_their_aborted_transactions(tmp_path: Path) -> None:
    code = f"""{TRANSACTIONS}
from pathlib import Path
from tests.api_hot.harness import HotServer
from tests.api_hot.kio_wire import encode_request
from tests.api_hot.test_fetch import request
server = HotServer(Path(folder), 1)
server.create_topic("t")
count = 1237            # nobody else allocates 16 times as many bytes
for producer in range(count):
    abort(server.partitions["t", 0], producer)
asked = encode_request(1, 12, request(server, {{("t", 0): 0}}, isolation_level=1, partition_max_bytes=1 << 20))
for size in (16 * count, 0):
    disk.library.memory_fail(ctypes.c_size_t(size))
    client = server.connect()
    client.send(1, 12, asked)
    print(client.receive() is not None)
    client.close()
server.stop()
"""
    assert run_with_failing_disk(tmp_path, code) == ["False", "True"]


def aborted(log: PartitionLog, producer: int) -> None:
    log.append(batch(1, producer_id=producer, producer_epoch=0, base_sequence=0, attributes=TRANSACTIONAL))
    log.append(marker(producer, 0, commit=False))


def index_files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.txnindex"))


def log_with_aborted(folder: Path) -> tuple[int, list[tuple[int, int]]]:
    """Two transactions in each of three segments. Returns the log's end and the transactions."""
    log = PartitionLog(str(folder), clean=True)
    for producer in range(6):
        aborted(log, producer)
        if producer in (1, 3):
            log.roll()
    end, found = log.log_end_offset, log.aborted_transactions(0, 100)
    log.close()
    assert (end, len(found), len(index_files(folder))) == (12, 6, 3)
    return end, found


def entry(producer: int, first: int, last: int, stable: int, version: int = 0) -> bytes:
    return version.to_bytes(2, "big") + b"".join(
        each.to_bytes(8, "big", signed=True) for each in (producer, first, last, stable)
    )


# Of the segment with the offsets 4 to 7, or that with 8 to 11.
IMPOSSIBLE = {
    "zeros": lambda good, base: bytes(len(good)),
    "one entry of zeros": lambda good, base: bytes(ENTRY),
    "half an entry": lambda good, base: good[: ENTRY + 7],
    "another version": lambda good, base: good + entry(1, base, base + 2, base + 3, 1),
    "two in another order": lambda good, base: good[ENTRY:] + good[:ENTRY],
    "one twice": lambda good, base: good[:ENTRY] * 2,
    "a marker below the segment": lambda good, base: entry(1, base - 3, base - 1, base) + good,
    "a marker above the segment": lambda good, base: good + entry(1, base, base + 4, base + 5),
    "a marker before its transaction": lambda good, base: entry(1, base + 2, base + 1, base + 2),
    "no producer": lambda good, base: entry(-1, base, base + 1, base + 2),
    "stable beyond the marker": lambda good, base: entry(1, base, base + 1, base + 9),
}  # fmt: skip


@pytest.mark.parametrize("damage", IMPOSSIBLE)
@pytest.mark.parametrize(("number", "clean"), [(1, True), (2, True), (1, False)])
@pytest.mark.parametrize("snapshots", [True, False])
def test_impossible_entries_are_found_again_in_the_batches(
    tmp_path: Path, damage: str, number: int, clean: bool, snapshots: bool
) -> None:
    end, found = log_with_aborted(tmp_path)
    damaged = index_files(tmp_path)[number]
    good = damaged.read_bytes()
    damaged.write_bytes(IMPOSSIBLE[damage](good, int(damaged.stem)))
    if not snapshots:
        for each in tmp_path.glob("*.snapshot"):
            each.unlink()
    log = PartitionLog(str(tmp_path), clean=clean, recovery_point=end)
    assert (log.log_end_offset, log.aborted_transactions(0, 100)) == (end, found)
    assert damaged.read_bytes() == good
    assert sorted(producer[0] for producer in log.producers()) == list(range(6))
    aborted(log, 9)
    assert log.aborted_transactions(0, 100) == [*found, (9, end)]
    log.close()
    again = PartitionLog(str(tmp_path), clean=True)
    assert again.aborted_transactions(0, 100) == [*found, (9, end)]


def test_a_start_leaves_good_files_alone(tmp_path: Path) -> None:
    """Nothing that the broker writes is taken for damage: each start would rebuild it."""
    log = PartitionLog(str(tmp_path), clean=True)
    for producer in range(30):
        log.append(batch(1, producer_id=99, producer_epoch=0, base_sequence=producer, attributes=TRANSACTIONAL))
        aborted(log, producer)
        if producer % 4 == 3:
            log.roll()
    log.append(marker(99, 0, commit=False))
    log.truncate_to(log.log_end_offset - 1)
    log.append(marker(99, 0, commit=False))
    found = log.aborted_transactions(0, 1000)
    assert len(found) == 31
    log.close()
    written = {each: each.stat().st_ctime_ns for each in index_files(tmp_path)}
    assert len(written) == 8
    again = PartitionLog(str(tmp_path), clean=True)
    assert again.aborted_transactions(0, 1000) == found
    assert {each: each.stat().st_ctime_ns for each in index_files(tmp_path)} == written


def test_a_fetch_takes_memory_for_what_it_finds_only(tmp_path: Path) -> None:
    code = f"""{TRANSACTIONS}
log = PartitionLog(folder, clean=True)
for producer in range(300):
    abort(log, producer)
disk.library.memory_fail.argtypes = [ctypes.c_size_t]
disk.library.memory_fail(300 * 16)      # what all entries would take
found = log.aborted_transactions(0, 1)
disk.library.memory_fail(0)
print(found == [(0, 0)])
"""
    assert run_with_failing_disk(tmp_path, code) == ["True"]


def test_blocks_that_are_skipped_hide_nothing(tmp_path: Path) -> None:
    """Random transactions that overlap, of which some stay open for long, are also found after cuts at both ends."""
    chance = random.Random(7)
    log = PartitionLog(str(tmp_path), {"segment.bytes": 4000}, clean=True)
    begun: dict[int, int] = {}  # by producer: the first offset of its open transaction
    sequences: dict[int, int] = defaultdict(int)
    aborted: list[tuple[int, int, int]] = []  # producer, first offset, offset of the marker

    def check(times: int) -> None:
        for _ in range(times):
            first = chance.randrange(log.log_start_offset, log.log_end_offset)
            end = first + chance.choice([1, 2, 30, 5000])
            expected = [(producer, begin) for producer, begin, last in aborted if begin < end and last >= first]
            assert log.aborted_transactions(first, end) == expected

    log.append(batch(1, producer_id=999, producer_epoch=0, base_sequence=0, attributes=TRANSACTIONAL))  # open until the end
    for _ in range(3000):
        producer = chance.choice([0, 1, *range(2, 8)] if chance.random() < 0.02 else range(2, 8))
        end = log.log_end_offset
        if producer in begun and chance.random() < 0.7:
            log.append(marker(producer, 0, commit=False))
            aborted.append((producer, begun.pop(producer), end))
        else:
            sequence = sequences[producer]
            log.append(batch(1, producer_id=producer, producer_epoch=0, base_sequence=sequence, attributes=TRANSACTIONAL))
            sequences[producer] += 1
            begun.setdefault(producer, end)
    check(300)
    cut = log.log_end_offset * 3 // 4
    log.truncate_to(cut)
    aborted = [each for each in aborted if each[2] < cut]
    check(100)
    for producer in range(100, 200):
        begin = log.log_end_offset
        log.append(batch(1, producer_id=producer, producer_epoch=0, base_sequence=0, attributes=TRANSACTIONAL))
        log.append(marker(producer, 0, commit=False))
        aborted.append((producer, begin, begin + 1))
    check(100)
    log.delete_records(cut // 3)
    aborted = [each for each in aborted if each[2] >= cut // 3]
    check(300)
    log.close()
