"""Leadership of a partition: epoch, ISR and high watermark are consistent with appends."""

from __future__ import annotations

import itertools
import threading
from pathlib import Path
from typing import Any

import pytest

from kafka_cy.records import iterate_batches
from kafka_cy.storage import checkpoints, log_loader, log_manager
from kafka_cy.storage.hosted_partition import HostedPartition
from kafka_cy.storage.live_brokers import set_live_brokers
from kafka_cy.storage.log import PartitionLog, StorageFailure
from kafka_cy.storage.log_copy import copy_log
from kafka_cy.storage.partition import set_replica_lag_time_max_ms
from tests.storage.abandoned import abandon
from tests.storage.batches import TRANSACTIONAL, batch, marker
from tests.storage.failing_disk import run_with_failing_disk
from tests.storage.test_slow_disk import IN_THREADS
from tests.waiting import wait_until

NOT_LEADER = 11


def hosted(folder: Path, config: dict[str, Any] | None = None, **leadership: Any) -> HostedPartition:
    folder.mkdir(exist_ok=True)
    return HostedPartition(PartitionLog(str(folder), config or {}, clean=True), "t", bytes(16), 0, **leadership)


def test_the_high_watermark_is_what_all_in_sync_have(tmp_path: Path) -> None:
    partition = hosted(tmp_path, followers=[2, 3])
    partition.append(batch(5))
    partition.follower_fetched(2, 5)
    assert partition.high_watermark == 0
    partition.follower_fetched(3, 4)
    assert partition.high_watermark == 4
    partition.set_replicas([1, 2, 3], [1, 2], 1)  # 3 is too slow
    assert partition.high_watermark == 5
    partition.append(batch(5))
    partition.follower_fetched(7, 10)  # not a replica
    partition.follower_fetched(2, 11)  # more than there is
    assert partition.high_watermark == 5
    partition.set_replicas([1], [1], 1)
    assert partition.high_watermark == 10


def test_a_leader_that_has_missed_an_epoch_knows_nothing_of_its_replicas(tmp_path: Path) -> None:
    """Another broker may have led in that epoch, and have had them cut what they had. It is another leadership, too."""
    partition = hosted(tmp_path, leader_epoch=5)
    partition.lead(5, [1, 2, 3], [1, 2, 3], 1)
    partition.append(batch(5), leader_since=5)
    partition.follower_fetched(2, 5)
    partition.lead(6, [1, 2, 3], [1, 2, 3], 1)
    partition.lead(8, [1, 2, 3], [1, 2], 1)  # in epoch 7, the leader was 3, or this broker
    assert (partition.high_watermark, partition.leader_since_epoch) == (0, 8)
    partition.follower_fetched(2, 3)
    assert partition.high_watermark == 3


def test_only_a_replica_that_fetches_may_join(tmp_path: Path) -> None:
    """Another one may have started again meanwhile with less in its log, and its next fetch will tell."""
    partition = hosted(tmp_path)
    partition.append(batch(5))
    partition.lead(1, [1, 2, 3], [1], 1)
    partition.follower_fetched(2, 5)
    set_replica_lag_time_max_ms(1)
    try:
        wait_until(lambda: not partition.joinable(), "the fetch is too old")
    finally:
        set_replica_lag_time_max_ms(30_000)
    partition.follower_fetched(3, 5)
    assert 3 in [broker_id for broker_id, _ in partition.joinable()]
    partition.lead(2, [1, 2, 3], [1], 1)
    assert partition.joinable() == []


def test_the_high_watermark_comes_down_with_the_log(tmp_path: Path) -> None:
    partition = hosted(tmp_path)
    for _ in range(3):
        partition.append(batch(5))
    partition.retire("follower")
    partition.truncate_to(10)
    assert (partition.high_watermark, partition.log_end_offset) == (10, 10)
    with pytest.raises(StorageFailure, match="not the leader"):
        partition.append(batch())
    partition.become_leader(3)
    partition.append(batch(5))
    assert (partition.high_watermark, partition.log.epoch_of(12)) == (15, 3)


def test_an_epoch_without_records_goes_with_a_cut_at_the_end(tmp_path: Path) -> None:
    """As in Kafka (UnifiedLog.truncateTo): the next leader does not know the epoch, and the follower would diverge for ever."""
    partition = hosted(tmp_path)
    partition.append(batch(5))
    partition.become_leader(2)
    partition.follow(3)
    assert partition.log.latest_epoch == 2
    partition.truncate_to(5)
    assert (partition.log.latest_epoch, partition.log_end_offset) == (0, 5)


def test_a_read_ends_at_the_high_watermark_or_where_it_is_told_to(tmp_path: Path) -> None:
    partition = hosted(tmp_path, followers=[2])
    for _ in range(2):
        partition.append(batch(5))
    partition.follower_fetched(2, 5)
    below, everything = partition.read(0), partition.read(0, end_offset=10)
    assert [each.last_offset for each in iterate_batches(below)] == [4]
    assert [each.last_offset for each in iterate_batches(everything)] == [4, 9]


def test_a_follower_does_not_move_the_high_watermark_itself(tmp_path: Path) -> None:
    partition = hosted(tmp_path, followers=[2])
    partition.retire("follower")
    partition.append(batch(5), origin="replication")
    assert (partition.high_watermark, partition.log_end_offset) == (0, 5)


@pytest.mark.parametrize(("epoch", "reason"), [(4, "fenced leader epoch"), (6, "unknown leader epoch")])
def test_an_append_of_another_epoch(tmp_path: Path, epoch: int, reason: str) -> None:
    partition = hosted(tmp_path, leader_epoch=5)
    with pytest.raises(StorageFailure, match=reason):
        partition.append(batch(), leader_epoch=epoch)


def test_an_append_for_one_leadership(tmp_path: Path) -> None:
    """It lasts while the broker stays leader, in whatever epoch."""
    partition = hosted(tmp_path, leader_epoch=5)
    partition.append(batch(), leader_since=5)
    partition.lead(6, [1], [1], 1)
    assert (partition.leader_since_epoch, partition.leader_epoch) == (5, 6)
    partition.append(batch(), leader_since=5)
    partition.follow(7)
    partition.lead(8, [1], [1], 1)
    end_offset = partition.log_end_offset
    with pytest.raises(StorageFailure, match="not the leader"):
        partition.append(batch(), leader_since=5)
    with pytest.raises(StorageFailure, match="not the leader"):
        partition.append_marker(7, 0, 0, True, 0, leader_since=5)
    assert partition.log_end_offset == end_offset
    partition.append(batch(), leader_since=8)
    assert partition.append_marker(7, 0, 0, True, 0, leader_since=8) == end_offset + 1


def test_an_append_for_one_leadership_needs_replicas_in_sync(tmp_path: Path) -> None:
    """As many as min.insync.replicas, or as there are."""
    partition = hosted(tmp_path, config={"min.insync.replicas": 3})
    partition.append(batch(), leader_since=0)
    partition.lead(1, [1, 2], [1], 1)
    with pytest.raises(StorageFailure, match="not enough replicas"):
        partition.append(batch(), leader_since=0)
    partition.lead(1, [1, 2], [1, 2], 1)
    partition.append(batch(), leader_since=0)


def test_the_checkpointed_high_watermark(tmp_path: Path) -> None:
    log = PartitionLog(str(tmp_path), {}, clean=True)
    for _ in range(2):
        log.append(batch(5))
    for stored, expected in ((7, 7), (99, 10), (-1, 0)):
        assert HostedPartition(log, "t", bytes(16), 0, followers=[2], high_watermark=stored).high_watermark == expected
    assert HostedPartition(log, "t", bytes(16), 0, high_watermark=7).high_watermark == 10  # alone: all that it has


@pytest.mark.parametrize("checkpointed", [-1, 0, 2, 3])
def test_recovered_transactions_below_the_high_watermark_are_stable(tmp_path: Path, checkpointed: int) -> None:
    """In a partition without followers, the whole log counts as replicated, whatever the checkpoint says."""
    log = PartitionLog(str(tmp_path), {}, clean=True)
    for sequence in range(2):
        data = batch(attributes=TRANSACTIONAL, producer_id=1, producer_epoch=0, base_sequence=sequence)
        log.append(data, origin="client")
    log.append(marker(1, 0, commit=True))
    again = PartitionLog(str(tmp_path), {}, recovery_point=0)
    partition = HostedPartition(again, "t", bytes(16), 0, high_watermark=checkpointed)
    assert partition.high_watermark == partition.last_stable_offset == 3


def test_a_start_reads_the_checkpointed_high_watermark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manager = log_manager.LogManager([str(tmp_path)], 1, "cluster", {})
    manager.start()
    manager.create("t", 0, bytes(15) + b"1").append(batch(5))
    manager.shutdown()
    read = []

    def made(*arguments: Any, **options: Any) -> HostedPartition:
        read.append(options["high_watermark"])
        return HostedPartition(*arguments, **options)

    monkeypatch.setattr(log_loader, "HostedPartition", made)
    again = log_manager.LogManager([str(tmp_path)], 1, "cluster", {})
    again.start()
    again.shutdown()
    assert read == [5]


@pytest.mark.parametrize("commit", [True, False])
def test_a_transaction_is_stable_when_its_marker_is_replicated(tmp_path: Path, commit: bool) -> None:
    partition = hosted(tmp_path, followers=[2])
    partition.append(batch(5))
    for producer in range(40):  # more than are remembered one by one
        partition.append(batch(2, producer_id=producer, producer_epoch=0, base_sequence=0, attributes=0x10))
        partition.append(marker(producer, 0, commit=commit))
    end = partition.log_end_offset
    stable = []
    for offset in range(5, end + 1):
        partition.follower_fetched(2, offset)
        stable.append(partition.last_stable_offset)
    assert stable == sorted(stable)
    assert all(at <= offset - (offset - 5) % 3 for offset, at in enumerate(stable, 5))
    assert stable[:10] == [5, 5, 5, 8, 8, 8, 11, 11, 11, 14]
    assert stable[-1] == end


def test_flush_messages_is_changed_while_an_append_waits_for_its_fsync(tmp_path: Path) -> None:
    code = f"""
from kafka_cy.storage.log_copy import copy_log
from kafka_cy.storage.hosted_partition import HostedPartition
from kafka_cy.storage.live_brokers import set_live_brokers
{IN_THREADS}
partition = HostedPartition(PartitionLog(folder, {{"flush.messages": 1}}, clean=True), "t", bytes(16), 0)
disk.hang("fdatasync")
partition.append(batch())
disk.wait_until_hanging("fdatasync")
partition.log.settings.replace({{"flush.messages": 1000000}})
print(partition.high_watermark)
disk.heal()
while partition.high_watermark != 1:
    time.sleep(0.001)
"""
    assert run_with_failing_disk(tmp_path, code) == ["0"]


def test_an_append_that_waited_while_the_partition_moved(tmp_path: Path) -> None:
    """An append is paused between its check of the partition and the append mutex, until the log has been replaced."""
    code = f"""
from kafka_cy.storage.log_manager import LogManager
{IN_THREADS}
library, root = disk.library, os.path.dirname(folder)
manager = LogManager([root + "/a", root + "/b"], 1, "cluster", {{"file.delete.delay.ms": 3600000}})
manager.start()
partition = manager.create("t", 0, bytes(15) + b"1", log_dir=root + "/a")
partition.append(batch())
appended = []
def append():
    library.stop_at_next_lock()
    appended.append(partition.append(batch()))
thread = in_thread(append)
while not library.threads_stopped():
    time.sleep(0.001)
source = partition.log
manager.move("t", 0, root + "/b")
while partition.log is source or manager._upkeep.moves._running is not None:
    time.sleep(0.001)
library.let_go_on()
thread.join()
print(appended[0], partition.high_watermark, partition.log_end_offset, *numbers(partition.log))
manager.shutdown()
"""
    assert run_with_failing_disk(tmp_path, code) == ["1", "2", "2", "0", "1"]


def test_moves_under_load_lose_nothing(tmp_path: Path) -> None:
    paths = [str(tmp_path / name) for name in "ab"]
    manager = log_manager.LogManager(paths, 1, "cluster", {"file.delete.delay.ms": 3_600_000})
    manager.start()
    partition = manager.create("t", 0, bytes(15) + b"1", log_dir=paths[0])
    acknowledged: list[tuple[int, int]] = []
    failures: set[int] = set()
    ended = threading.Event()

    def load(number: int) -> None:
        for timestamp_ms in itertools.count(number * 1_000_000):
            if ended.wait(0.0002):  # a little less than what the copy can follow
                return
            try:
                acknowledged.append((partition.append(batch(1, timestamp_ms=timestamp_ms)), timestamp_ms))
            except StorageFailure as error:
                failures.add(error.code)

    threads = [threading.Thread(target=load, args=(number,)) for number in range(1, 4)]
    for thread in threads:
        thread.start()
    try:
        for i in range(1, 9):
            source = partition.log
            manager.move("t", 0, paths[i % 2])
            wait_until(lambda: partition.log is not source, "the move", 30)  # noqa: B023
    finally:
        ended.set()
        for thread in threads:
            thread.join()
    assert failures <= {NOT_LEADER}  # while it is sealed; the client tries again
    assert len({offset for offset, _ in acknowledged}) == len(acknowledged) == partition.log_end_offset
    assert partition.high_watermark == partition.log_end_offset
    for offset, timestamp_ms in acknowledged[:: max(1, len(acknowledged) // 500)]:
        assert batch_timestamp(partition.log, offset) == timestamp_ms
    manager.shutdown()


def test_a_shutdown_in_the_middle_of_a_move(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The copy ends early; it must not replace the log."""
    paths = [str(tmp_path / name) for name in "ab"]
    manager = log_manager.LogManager(paths, 1, "cluster", {})
    manager.start()
    partition = manager.create("t", 0, bytes(15) + b"1", log_dir=paths[0])
    partition.append(batch(5))
    stopped = threading.Event()

    def copy(source: PartitionLog, target: PartitionLog, stopping: Any, copied: Any = None) -> None:
        manager._stopping = True
        stopped.set()
        copy_log(source, target, stopping)

    monkeypatch.setattr("kafka_cy.storage.log_copy.copy_log", copy)
    manager.move("t", 0, paths[1])
    assert stopped.wait(30)
    manager.shutdown()
    again = log_manager.LogManager(paths, 1, "cluster", {})
    again.start()
    assert again.partitions["t", 0].log_end_offset == 5
    again.shutdown()


def batch_timestamp(log: PartitionLog, offset: int) -> int:
    return int.from_bytes(log.read(offset, 1)[27:35], "big")


def test_a_truncation_writes_the_recovery_point(tmp_path: Path) -> None:
    manager = log_manager.LogManager([str(tmp_path)], 1, "cluster", {})
    manager.start()
    partition = manager.create("t", 0, bytes(16))
    for _ in range(3):
        partition.append(batch(10))
    partition.log.flush()
    manager.write_checkpoints()
    path = f"{tmp_path}/{checkpoints.RECOVERY_POINTS}"
    assert checkpoints.read_offsets(path) == {("t", 0): 30}
    manager.truncate_to("t", 0, 10)
    assert checkpoints.read_offsets(path) == {("t", 0): 10}
    manager.shutdown()


def test_an_epoch_that_began_earlier_after_a_truncation(tmp_path: Path) -> None:
    """A crash before the truncation has written the epochs, and after the first append of the same epoch."""
    folder = tmp_path / "t-0"
    folder.mkdir()
    log = PartitionLog(str(folder), clean=True)
    for first in range(0, 120, 10):
        log.append(batch(10), leader_epoch=5 if first >= 100 else 4)
    log.flush()
    checkpoint = (folder / "leader-epoch-checkpoint").read_bytes()
    log.truncate_to(90)
    log.append(batch(10), leader_epoch=5)
    log.append(batch(10), leader_epoch=5)
    abandon(log)
    (folder / "leader-epoch-checkpoint").write_bytes(checkpoint)
    again = PartitionLog(str(folder), recovery_point=0)
    assert [again.epoch_of(offset) for offset in (0, 89, 90, 99, 100, 109)] == [4, 4, 5, 5, 5, 5]
    assert (again.end_offset_for_epoch(4), again.log_end_offset) == ((4, 90), 110)


def test_the_low_watermark_is_what_all_that_live_have_deleted(tmp_path: Path) -> None:
    partition = hosted(tmp_path, followers=[2, 3])
    partition.append(batch(5))
    for follower in (2, 3):
        partition.follower_fetched(follower, 5)
    partition.delete_records(4)
    assert partition.low_watermark() == -1, "nobody has told"
    partition.follower_fetched(2, 5, start_offset=4)
    assert partition.low_watermark() == -1
    partition.follower_fetched(3, 5, start_offset=2)
    assert partition.low_watermark() == 2
    set_live_brokers([1, 2])
    try:
        assert partition.low_watermark() == 4, "3 does not live"
    finally:
        set_live_brokers(range(16))
    partition.follower_fetched(3, 5, start_offset=5)
    assert partition.low_watermark() == 4, "the leader's own is the least"
    partition.follow(1)
    with pytest.raises(StorageFailure) as failed:
        partition.low_watermark()
    assert failed.value.code == NOT_LEADER


def test_the_low_watermark_without_followers(tmp_path: Path) -> None:
    partition = hosted(tmp_path)
    partition.append(batch(5))
    partition.delete_records(3)
    assert partition.low_watermark() == 3
    partition.retire("deleted")
    with pytest.raises(StorageFailure):
        partition.low_watermark()
