"""Folders of an earlier topic with the same name: renamed as in Kafka (LogManager.loadLog), with all their contents."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from kafka_cy.storage.log_manager import LogDirError, LogManager
from tests.storage.batches import batch
from tests.storage.copies import copy_unless_renamed

OLD_ID, NEW_ID = b"old-old-old-old-", b"new-new-new-new-"
CONFIG = {"retention.ms": -1}


def opened(*dirs: Path, topic_ids: dict[str, bytes] | None = None) -> LogManager:
    logs = LogManager([str(each) for each in dirs], 1, "cluster", CONFIG)
    logs.start(None if topic_ids is None else {topic: (topic_id, 100) for topic, topic_id in topic_ids.items()})
    return logs


def write(folder: Path, topic_ids: list[bytes], topic: str = "t", records: int = 10) -> None:
    """Partitions of a topic by index, each with an id; shut down cleanly."""
    logs = opened(folder)
    for index, topic_id in enumerate(topic_ids):
        logs.create(topic, index, topic_id).append(batch(records))
    logs.shutdown()


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def stray_of(logs: LogManager, folder: Path) -> Path:
    (stray,) = logs.strays
    assert stray[0] == str(folder)
    return Path(stray[1])


def test_an_id_that_cannot_be_read_is_not_replaced(tmp_path: Path) -> None:
    """The folder may be of an earlier topic, so the name alone does not tell whose it is: its log directory is offline."""
    first, second = tmp_path / "d1", tmp_path / "d2"
    for path in (first, second):
        path.mkdir()
        write(path, [OLD_ID] if path == first else [], "t")
    metadata = first / "t-0/partition.metadata"
    kept = metadata.rename(first / "t-0/kept")
    metadata.symlink_to(metadata)  # ELOOP; as EIO, EACCES or EMFILE
    with pytest.raises(LogDirError, match=r"partition.metadata: Too many levels of symbolic links"):
        opened(first, topic_ids={"t": NEW_ID})
    logs = opened(first, second, topic_ids={"t": NEW_ID})
    assert logs.offline_dirs == {str(first)} and not logs.partitions
    logs.shutdown()
    kept.replace(metadata)
    logs = opened(first, second, topic_ids={"t": NEW_ID})
    assert stray_of(logs, first / "t-0") and not logs.partitions
    logs.shutdown()


@pytest.mark.parametrize("topic", ["t", "t" * 249])
def test_another_id(tmp_path: Path, topic: str) -> None:
    write(tmp_path, [OLD_ID], topic)
    folder = tmp_path / f"{topic}-0"
    before = contents(folder)
    logs = opened(tmp_path, topic_ids={topic: NEW_ID})
    stray = stray_of(logs, folder)
    assert re.fullmatch(r"t+-0\.[0-9a-f]{32}-stray", stray.name) and len(stray.name) == min(255, len(topic) + 41)
    assert not logs.partitions and not folder.exists() and contents(stray) == before
    logs.shutdown()
    again = opened(tmp_path, topic_ids={topic: NEW_ID})
    assert not again.partitions and not again.strays and contents(stray) == before
    again.shutdown()


def test_a_new_log_takes_nothing_of_the_old_one(tmp_path: Path) -> None:
    data, crashed = tmp_path / "data", tmp_path / "crashed"
    logs = opened(data)
    old = logs.create("t", 0, OLD_ID)
    old.append(batch(10))
    old.delete_records(7)
    logs.shutdown()
    logs = opened(data, topic_ids={"t": NEW_ID})
    logs.create("t", 0, NEW_ID).append(batch(2))
    shutil.copytree(data, crashed, copy_function=copy_unless_renamed)  # as a crash leaves it
    logs.shutdown()
    logs = opened(crashed, topic_ids={"t": NEW_ID})
    assert (logs.partitions["t", 0].log_start_offset, logs.partitions["t", 0].log_end_offset) == (0, 2)
    logs.shutdown()


def test_the_same_id_and_no_id_stay(tmp_path: Path) -> None:
    write(tmp_path, [NEW_ID, NEW_ID])
    (tmp_path / "t-1/partition.metadata").unlink()  # as before Kafka 2.8
    logs = opened(tmp_path, topic_ids={"t": NEW_ID})
    assert [logs.partitions["t", index].log_end_offset for index in (0, 1)] == [10, 10]
    assert not logs.strays
    logs.shutdown()


def test_of_an_unknown_topic_the_first_id_counts(tmp_path: Path) -> None:
    write(tmp_path, [NEW_ID, NEW_ID, OLD_ID, NEW_ID])
    (tmp_path / "t-0/partition.metadata").unlink()
    logs = opened(tmp_path)
    assert sorted(logs.partitions) == [("t", 0), ("t", 1), ("t", 3)]
    stray_of(logs, tmp_path / "t-2")
    logs.shutdown()


@pytest.mark.parametrize("old", ["d1", "d2"])
def test_of_two_directories_the_topics_own_counts(tmp_path: Path, old: str) -> None:
    for name in ("d1", "d2"):
        write(tmp_path / name, [OLD_ID if name == old else NEW_ID], records=10 if name == old else 3)
    logs = opened(tmp_path / "d1", tmp_path / "d2", topic_ids={"t": NEW_ID})
    assert logs.partitions["t", 0].log_end_offset == 3
    stray_of(logs, tmp_path / old / "t-0")
    logs.shutdown()
