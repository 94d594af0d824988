"""Which folders of a log directory are partitions, and which are leftovers of a deletion or a move.

Only the names that Kafka's LocalLog (and kafka-cy) creates count: `topic-N` for a partition, and `topic-N.<32 hex
digits>-delete`, `-future` and `-stray` for a partition that was deleted, is being copied, or belongs to no topic.
Every other folder is foreign and never touched. Reads only, but for MOVED_FROM.
"""

# The os functions, not pathlib, which costs start time.
# ruff: noqa: PTH108, PTH208
from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from typing import NamedTuple

from kafka_cy.storage.checkpoints import sync_directory, write_file
from kafka_cy.storage.log_dir import FOLDER_NAME_MAX, NO_TOPIC_ID, read_topic_id

PARTITION_INDEX_MAX = (1 << 31) - 1
INDEX_DIGITS_MAX = 10
SUFFIXES = ("delete", "future", "stray")
UNIQUE_ID_DIGITS = 32
SEGMENT_NAME_CHARACTERS = 24  # twenty digits and ".log"
OTHERS_FOLDERS = ("__cluster_metadata",)  # KRaft's own log is not a topic
MOVED_FROM = "kafka-cy.moved-from"  # in a copy that a move has put in place: the paths of its source and earlier ones (LogMoves)
KnownTopics = Mapping[str, tuple[bytes, int]]  # by name: topic id and partition count
TOPIC_NAME_MAX = 249
_TOPIC_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")
_HEX_DIGITS = frozenset("0123456789abcdef")


class PartitionFolder(NamedTuple):
    """A folder of a current or former partition; `topic_id` is NO_TOPIC_ID if partition.metadata does not give it.

    The topic's name may be shortened in the name of a set-aside folder (folder_aside).
    """

    log_dir: str
    topic: str
    partition: int
    path: str
    topic_id: bytes

    def __str__(self) -> str:
        return f"{self.topic}-{self.partition}"


class LogDirContent:
    """The contents of one log directory, each list sorted by path."""

    def __init__(self) -> None:
        self.partitions: list[PartitionFolder] = []
        self.deletions: list[PartitionFolder] = []  # -delete
        self.copies: list[PartitionFolder] = []  # -future
        self.empty: list[PartitionFolder] = []  # named like a partition, without any file of one
        self.others: list[str] = []  # foreign paths with one of these suffixes


def parse_name(name: str) -> tuple[str, int, str] | None:
    """(topic, partition, suffix) of a folder's name; the suffix is one of SUFFIXES or empty. None for any other name."""
    stem, dash, suffix = name.rpartition("-")
    if not dash or suffix not in SUFFIXES:
        suffix, stem = "", name
    else:
        stem, dot, unique = stem.rpartition(".")
        if not dot or len(unique) != UNIQUE_ID_DIGITS or not _HEX_DIGITS.issuperset(unique):
            return None
    topic, dash, digits = stem.rpartition("-")
    if not dash or not topic or not digits.isascii() or not digits.isdecimal() or len(digits) > INDEX_DIGITS_MAX:
        return None
    index = int(digits)
    if index > PARTITION_INDEX_MAX or str(index) != digits:
        return None
    return topic, index, suffix


def names_partition(topic: str, index: int) -> bool:
    """Whether a topic may have this name and a partition this number (Kafka: Topic.validate). No other one becomes a folder."""
    return (
        0 < len(topic) <= TOPIC_NAME_MAX
        and topic not in (".", "..")
        and _TOPIC_CHARACTERS.issuperset(topic)
        and 0 <= index <= PARTITION_INDEX_MAX
    )


def scan(log_dir: str) -> LogDirContent:
    """Sort the folders of a log directory. Raises OSError."""
    content = LogDirContent()
    with os.scandir(log_dir) as entries:
        for entry in entries:
            parsed = parse_name(entry.name)
            if parsed is None:
                if entry.name.endswith(("-delete", "-future", "-stray")) and entry.is_dir():
                    content.others.append(entry.path)
                continue
            topic, index, suffix = parsed
            if suffix == "stray" or topic in OTHERS_FOLDERS or not entry.is_dir():
                continue
            topic_id = read_topic_id(entry.path)
            folder = PartitionFolder(log_dir, topic, index, entry.path, topic_id)
            if suffix:
                (content.deletions if suffix == "delete" else content.copies).append(folder)
            elif topic_id != NO_TOPIC_ID or holds_partition(entry.path):
                content.partitions.append(folder)
            else:
                content.empty.append(folder)
    for found in (content.partitions, content.deletions, content.copies, content.empty):
        found.sort()
    content.others.sort()
    return content


def holds_partition(folder: str) -> bool:
    """Does it contain a partition.metadata or a segment? Raises OSError."""
    return any(
        name == "partition.metadata"
        or (len(name) == SEGMENT_NAME_CHARACTERS and name.endswith(".log") and name[:20].isdecimal())
        for name in os.listdir(folder)
    )


def belongs_to(folder: PartitionFolder, known: KnownTopics) -> bool:
    """Does it belong to one of these topics? A folder without an id is matched by name, as before Kafka 2.8."""
    topic_id, partitions = known.get(folder.topic, (NO_TOPIC_ID, 0))
    return folder.partition < partitions and folder.topic_id in (topic_id, NO_TOPIC_ID)


def has_whole_name(folder: PartitionFolder) -> bool:
    """Is the topic's name in the name of a set-aside folder not shortened (folder_aside)?"""
    return len(os.path.basename(folder.path)) < FOLDER_NAME_MAX  # noqa: PTH119


def is_of_earlier_topic(folder: PartitionFolder, known: KnownTopics) -> bool:
    """Does another topic have the same name now?"""
    return folder.topic in known and folder.topic_id not in (known[folder.topic][0], NO_TOPIC_ID)


def moved_from(folder: str) -> list[str]:
    """The folder that this one was copied from, until its move is finished; and sources of earlier moves (write_moved_from)."""
    try:
        with open(f"{folder}/{MOVED_FROM}", encoding="utf-8") as file:
            return file.read().split("\n")
    except OSError:
        return []


def write_moved_from(folder: str, sources: list[str]) -> None:
    """Durable when it returns. Raises OSError.

    Besides the folder that this one was copied from, these are sources of earlier moves in directories that have failed since:
    they may have kept the partition's name, which a start finds when their directories work again.
    """
    if sources:
        write_file(f"{folder}/{MOVED_FROM}", "\n".join(sources))
        return
    with contextlib.suppress(FileNotFoundError):
        os.unlink(f"{folder}/{MOVED_FROM}")
    sync_directory(folder)
