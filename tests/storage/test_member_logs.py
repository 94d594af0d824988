"""The logs of a member of a cluster: without a role before a controller tells, cut together, high watermarks in their own file."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kafka_cy.api.alter_replica_log_dirs import _move
from kafka_cy.server.cluster_member import ClusterMember
from kafka_cy.storage.hosted_partition import STATE_FOLLOWER, STATE_ONLINE
from kafka_cy.storage.log_dir import read_topic_id
from kafka_cy.storage.log_failure import StorageFailure
from kafka_cy.storage.log_manager import LogManager
from tests.storage.batches import batch
from tests.storage.moves import wait_for_moves
from tests.waiting import wait_until

ID = bytes(range(16))
WATERMARKS = "replication-offset-checkpoint"


class Logs:
    """Log managers over the same two directories, one after the other."""

    def __init__(self, folder: Path) -> None:
        self.dirs = [str(folder / "d1"), str(folder / "d2")]
        self.manager = self.start()

    def start(self, **options: Any) -> LogManager:
        manager = LogManager(self.dirs, 1, "cluster", {}, leads=False, **options)
        manager.start()
        return manager

    def restart(self, **options: Any) -> None:
        self.manager.shutdown()
        self.manager = self.start(**options)


@pytest.fixture
def logs(tmp_path: Path) -> Iterator[Logs]:
    made = Logs(tmp_path)
    yield made
    made.manager.shutdown()


def test_a_log_has_no_role_before_a_controller_tells(logs: Logs) -> None:
    partition = logs.manager.create("t", 0, ID)
    assert (partition.state, partition.leader_epoch, partition.log.latest_epoch) == (STATE_FOLLOWER, -1, -1)
    with pytest.raises(StorageFailure, match="not the leader"):
        partition.append(batch(), origin="client")
    partition.lead(5, [1], [1], 1)
    partition.append(batch(3))
    logs.restart()
    partition = logs.manager.partitions["t", 0]
    assert (partition.state, partition.leader_epoch, partition.high_watermark) == (STATE_FOLLOWER, -1, 3)
    partition.lead(5, [1], [1], 1)
    assert (partition.state, partition.log.latest_epoch) == (STATE_ONLINE, 5)


def test_what_is_offline_or_deleted_takes_no_role(logs: Logs) -> None:
    first, second = (logs.manager.create("t", index, ID) for index in range(2))
    first.lead(1, [1], [1], 1)
    first.retire("offline")
    logs.manager.delete("t", 1)
    for partition in (first, second):
        before = partition.state
        for take in (lambda each=partition: each.lead(2, [1, 2], [1, 2], 1), lambda each=partition: each.follow(2)):
            with pytest.raises(StorageFailure):
                take()
        assert partition.state == before
    assert first.leader_epoch == 1


def test_topic_ids_are_durable_with_the_folders(logs: Logs, monkeypatch: pytest.MonkeyPatch) -> None:
    synced = []
    sync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: (synced.append(str(Path(f"/proc/self/fd/{fd}").readlink())), sync(fd)))
    paths = [logs.manager.create("t", index, ID).log.directory for index in range(20)]
    logs.manager.sync_directories()
    assert {f"{path}/partition.metadata" for path in paths} | set(paths) | set(logs.dirs) == set(synced)
    synced.clear()
    logs.manager.sync_directories()
    assert synced == []


def test_a_topic_id_that_comes_later(logs: Logs) -> None:
    former = logs.manager.create("t", 0, bytes(16))
    assert not os.path.exists(f"{former.log.directory}/partition.metadata")  # noqa: PTH110
    former.lead(3, [1], [1], 1)
    former.append(batch(2))
    partition = logs.manager.assign_topic_id("t", 0, ID)
    assert logs.manager.partitions["t", 0] is partition
    assert (partition.topic_id, partition.high_watermark, partition.state) == (ID, 2, STATE_FOLLOWER)
    assert read_topic_id(partition.log.directory) == ID
    with pytest.raises(StorageFailure, match="not the leader"):
        former.append(batch(), origin="client")
    partition.lead(3, [1], [1], 1)
    assert partition.append(batch()) == 2
    del former
    assert partition.append(batch()) == 3


def test_a_handle_without_topic_id_appends_nothing_after_its_successor(logs: Logs) -> None:
    """A fetcher may have records in its hands. The new handle's fetcher asks for them, too, or this broker leads by then."""
    former = logs.manager.create("t", 0, bytes(16))
    former.follow(3)
    former.append_received(batch(2), 3, 2)
    partition = logs.manager.assign_topic_id("t", 0, ID)
    with pytest.raises(StorageFailure, match="not the leader"):
        former.append_received(batch(2, base_offset=2), 3, 4)
    partition.follow(3)
    assert partition.append_received(batch(2, base_offset=2), 3, 4) == 4


def test_a_follower_moves_between_directories(logs: Logs) -> None:
    partition = logs.manager.create("t", 0, ID, log_dir=logs.dirs[0])
    partition.follow(3)
    partition.append_received(batch(5), 3, 5)
    topics = {"t": SimpleNamespace(partitions=[0])}
    context: Any = SimpleNamespace(cluster=SimpleNamespace(topics=topics, partition=lambda *_: None), logs=logs.manager)
    dirs = {path: path for path in logs.dirs}
    assert _move("t", 0, logs.dirs[1], dirs, context) == 0
    wait_for_moves(logs.manager)
    assert partition.log.directory == f"{logs.dirs[1]}/t-0"
    assert partition.append_received(batch(2, base_offset=5), 3, 7) == 7
    partition.retire("offline")
    assert _move("t", 0, logs.dirs[0], dirs, context) == 9
    assert _move("t", 1, logs.dirs[0], dirs, context) == 3


def test_a_replica_that_was_taken_away_does_not_come_back(tmp_path: Path) -> None:
    lines: list[tuple[str, Any]] = []
    logs = Logs(tmp_path)
    for path in logs.dirs:  # twice: taken away, given back, and taken away again
        for index in (0, 3):
            logs.manager.create("t", index, ID, log_dir=path)
        logs.manager.delete("t", 3)
    deleted = sorted(str(path) for path in tmp_path.glob("*/t-3.*-delete"))
    assert len(deleted) == 2
    logs.restart(info=lambda text, **details: lines.append((text, details.get("folder"))))
    assert list(logs.manager.partitions) == [("t", 0)]
    wait_until(lambda: not list(tmp_path.glob("*/t-3*")), "both folders are removed")
    assert sorted(folder for text, folder in lines if "left by a deletion" in text) == deleted
    logs.manager.shutdown()


def test_a_copy_without_its_source_is_looked_up_before_anything_is_removed(tmp_path: Path) -> None:
    logs = Logs(tmp_path)
    for topic in ("known", "unknown"):
        logs.manager.create(topic, 0, ID if topic == "known" else ID[::-1], log_dir=logs.dirs[0])
    logs.manager.shutdown()
    for topic in ("known", "unknown"):
        (tmp_path / f"d1/{topic}-0").rename(tmp_path / f"d2/{topic}-0.{'a' * 32}-future")
    asked: list[list[str]] = []
    member: Any = ClusterMember.__new__(ClusterMember)
    member._session = SimpleNamespace(run=lambda steps: asked.append(steps.keywords["names"]) or {"known": ID})
    member._log = SimpleNamespace(warning=lambda text, **details: None)
    member.topic_config = lambda name: {}
    logs.manager = LogManager(logs.dirs, 1, "cluster", {}, leads=False)
    member.open_logs(logs.manager)
    assert asked == [["known", "unknown"]]
    assert not logs.manager.partitions
    assert sorted(path.name.split("-")[0] for path in tmp_path.glob("d2/*-stray")) == ["known", "unknown"]
    logs.manager.shutdown()


@pytest.mark.parametrize("beside", [True, False])
def test_a_copy_of_a_replica_that_was_taken_away_does_not_become_the_log(tmp_path: Path, beside: bool) -> None:
    """StopReplica ended a move, then came a crash. An earlier start may have removed the `-delete` already."""
    lines: list[str] = []
    logs = Logs(tmp_path)
    logs.manager.create("t", 0, ID, log_dir=logs.dirs[0]).lead(0, [1], [1], 1)
    logs.manager.partitions["t", 0].append(batch())
    logs.manager.create("t", 1, ID)
    logs.manager.shutdown()
    copy = tmp_path / f"d2/t-0.{'a' * 32}-future"
    shutil.copytree(tmp_path / "d1/t-0", copy)
    if beside:
        (tmp_path / "d1/t-0").rename(tmp_path / f"d1/t-0.{'b' * 32}-delete")
    else:
        shutil.rmtree(tmp_path / "d1/t-0")
    logs.manager = logs.start(warn=lambda text, **details: lines.append(text))
    assert set(logs.manager.partitions) == {("t", 1)}
    assert len([line for line in lines if "stray" in line]) == 1
    (stray,) = tmp_path.glob("d2/t-0.*-stray")
    assert (stray / f"{0:020d}.log").stat().st_size > 0
    logs.restart()
    assert set(logs.manager.partitions) == {("t", 1)}
    assert stray.exists() and not copy.exists()
    logs.manager.shutdown()


def test_cuts_are_made_together(logs: Logs) -> None:
    partitions = [logs.manager.create("t", index, ID) for index in range(4)]
    for partition in partitions:
        partition.lead(0, [1], [1], 1)
        for _ in range(3):
            partition.append(batch())
        partition.log.flush()
        partition.follow(1)
    logs.manager.write_checkpoints()
    logs.manager.delete("t", 3)
    assert logs.manager.cut([(("t", 0), 1, False), (("t", 1), 7, True), (("t", 3), 0, False)]) == set()
    found = [(each.log_start_offset, each.high_watermark, each.log_end_offset) for each in partitions[:3]]
    assert found == [(0, 1, 1), (7, 7, 7), (0, 3, 3)]
    lines = {line for each in logs.dirs for line in Path(each, "recovery-point-offset-checkpoint").read_text().splitlines()[2:]}
    assert lines == {"t 0 1", "t 1 7", "t 2 3"}


def test_high_watermarks_are_written_when_they_change(logs: Logs) -> None:
    logs.restart(high_watermark_interval_ms=10)
    partition = logs.manager.create("t", 0, ID)
    partition.lead(0, [1], [1], 1)
    path = Path(partition.log.directory).parent / WATERMARKS
    wait_until(lambda: path.read_text() == "0\n1\nt 0 0\n", "the high watermark is written")
    partition.append(batch(4))
    wait_until(lambda: path.read_text() == "0\n1\nt 0 4\n", "the new one is written")
    written = path.stat().st_ino  # a file that is written again is another one
    logs.manager._hosted.write_high_watermarks()
    assert path.stat().st_ino == written
