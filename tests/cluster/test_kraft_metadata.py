"""KRaft metadata: a golden log of Apache Kafka 4.3.1 and its snapshot; transactions; torn and damaged files."""

from __future__ import annotations

import random
import re
from pathlib import Path
from uuid import UUID

import pytest

from kafka_cy.cluster.kraft_log import BadMetadataLog, KraftLog
from kafka_cy.cluster.kraft_metadata import TOPIC, KraftMetadata
from kafka_cy.cluster.topic_settings_file import read_topic_settings
from kafka_cy.cluster.znodes import id_to_text
from tests.cluster.kraft_writer import (
    ABORT,
    BEGIN,
    END,
    GOLDEN,
    batch,
    config,
    frame,
    partition,
    remove_topic,
    topic,
    unpack_golden,
    write_log,
    write_snapshot,
)

A, B = UUID(int=1), UUID(int=2)


def read(folder: Path) -> KraftMetadata:
    return KraftMetadata().read(KraftLog(folder).records())


def names(metadata: KraftMetadata) -> set[str]:
    return {each.name for each in metadata.topics.values()}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "__cluster_metadata-0"


def as_table(metadata: KraftMetadata) -> object:
    return [
        {
            each.name: {i: (p.replicas, p.isr, p.leader, p.leader_epoch, p.directories) for i, p in each.partitions.items()}
            for each in metadata.topics.values()
        },
        metadata.configs, metadata.scram, metadata.acls, metadata.quotas, metadata.features, metadata.next_producer_id,
    ]  # fmt: skip


def test_golden_topics_are_what_kafkas_tool_described(tmp_path: Path) -> None:
    metadata = read(unpack_golden(tmp_path))
    lines = (GOLDEN / "kraft-topics.txt").read_text().splitlines()
    described = read_topic_settings(lines)
    ids = dict(re.findall(r"^Topic: (\S+)\tTopicId: (\S+)", "\n".join(lines), re.MULTILINE))
    assert {each.name: id_to_text(each.id) for each in metadata.topics.values()} == ids
    assert {each.name: len(each.partitions) for each in metadata.topics.values()} == {
        name: each.partition_count for name, each in described.items()
    }
    for name, each in described.items():
        own = metadata.configs.get((TOPIC, name), {})
        assert {"min.insync.replicas": "1", "flush.ms": "12345", **own} == each.configs, name


def test_golden_settings(tmp_path: Path) -> None:
    metadata = read(unpack_golden(tmp_path))
    assert set(metadata.scram) == {("alice", 1), ("alice", 2), ("Jörg & Söhne", 2)}
    assert metadata.scram["alice", 1].salt == b"0123456789abcdef"
    assert metadata.quotas == {
        (("user", "alice"),): {"producer_byte_rate": 1048576.0, "request_percentage": 12.5},
        (("client-id", "app"), ("user", "alice")): {"consumer_byte_rate": 2048.0},
        (("client-id", None),): {"consumer_byte_rate": 4096000000.0},
        (("user", None),): {"controller_mutation_rate": 3000.0},
        (("ip", "10.0.0.1"),): {"connection_creation_rate": 7.0},
    }
    assert sorted((acl.resource_name, acl.principal, acl.operation) for acl in metadata.acls.values()) == [
        ("*", "User:alice", 3),
        ("com", "User:alice", 10),
        ("compacted", "User:alice", 3),
        ("compacted", "User:bob", 2),
        ("kafka-cluster", "User:alice", 12),
    ]
    assert metadata.next_producer_id == 1000
    assert not metadata.not_understood


def test_the_snapshot_and_the_whole_log_say_the_same(tmp_path: Path) -> None:
    folder = unpack_golden(tmp_path)
    whole = read(folder)
    for path in folder.glob("*.checkpoint"):
        path.unlink()
    assert as_table(read(folder)) == as_table(whole)


def test_a_metadata_transaction_counts_when_it_ends(folder: Path) -> None:
    write_log(folder, [BEGIN, topic("a", A), partition(A, 0, [1]), END, BEGIN, topic("b", B), ABORT])
    assert names(read(folder)) == {"a"}
    write_log(folder, [BEGIN, topic("a", A), END, BEGIN, topic("b", B), partition(B, 0, [1])])
    assert names(read(folder)) == {"a"}
    write_log(folder, [topic("a", A), BEGIN, remove_topic(A), END])
    assert names(read(folder)) == set()
    for nonsense in ([END], [ABORT], [BEGIN, BEGIN]):
        write_log(folder, nonsense)
        with pytest.raises(BadMetadataLog, match="a metadata transaction"):
            read(folder)


def test_a_removed_topic_takes_its_settings_with_it(folder: Path) -> None:
    write_log(folder, [topic("a", A), config(2, "a", "retention.ms", "-1"), remove_topic(A), topic("a", B)])
    metadata = read(folder)
    assert list(metadata.topics) == [B]
    assert not metadata.configs


def test_a_leader_change_is_a_new_epoch(folder: Path) -> None:
    def change(**tags: bytes) -> bytes:
        numbers = {"isr": 0, "leader": 1, "replicas": 2}
        return frame(5, 0, b"\0\0\0\0" + A.bytes, {numbers[name]: data for name, data in tags.items()})

    two = b"\3\0\0\0\1\0\0\0\2"
    write_log(folder, [topic("a", A), partition(A, 0, [1], leader_epoch=4), change(replicas=two, isr=two)])
    moved = read(folder).topics[A].partitions[0]
    assert (moved.replicas, moved.isr, moved.leader, moved.leader_epoch) == ([1, 2], [1, 2], 1, 4)
    write_log(folder, [topic("a", A), partition(A, 0, [1], leader_epoch=4), change(leader=b"\0\0\0\2")])
    elected = read(folder).topics[A].partitions[0]
    assert (elected.leader, elected.leader_epoch) == (2, 5)


def test_what_contradicts_itself_is_refused(folder: Path) -> None:
    write_log(folder, [partition(A, 0, [1])])
    with pytest.raises(BadMetadataLog, match="a PartitionRecord refers to"):
        read(folder)
    write_log(folder, [remove_topic(A)])
    with pytest.raises(BadMetadataLog, match="a RemoveTopicRecord refers to"):
        read(folder)


def test_unknown_records_are_counted(folder: Path) -> None:
    write_log(folder, [frame(99, 0), topic("a", A), frame(99, 0)])
    assert read(folder).not_understood == {"unknown record 99": 2}


def test_records_before_the_snapshots_end_are_not_applied_twice(folder: Path) -> None:
    write_snapshot(folder, [topic("a", A)], 3)
    write_log(folder, [topic("x", A), topic("x", A), remove_topic(A), topic("b", B)])
    assert names(read(folder)) == {"a", "b"}


def test_a_gap_between_snapshot_and_log_is_refused(folder: Path) -> None:
    write_snapshot(folder, [topic("a", A)], 3)
    write_log(folder, [topic("b", B)], base_offset=4)
    with pytest.raises(BadMetadataLog, match="the records from 3 on are missing"):
        read(folder)


def test_a_missing_segment_is_refused(folder: Path) -> None:
    write_log(folder, [topic("a", A)])
    write_log(folder, [topic("b", B)], base_offset=2)
    with pytest.raises(BadMetadataLog, match="the records from 1 on are missing"):
        read(folder)


def test_a_snapshot_without_footer_is_refused(folder: Path) -> None:
    path = write_snapshot(folder, [topic("a", A)], 3, footer=False)
    with pytest.raises(BadMetadataLog, match="has no footer"):
        read(folder)
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(BadMetadataLog, match="damaged"):
        read(folder)


def test_unfinished_snapshots_are_passed_over(folder: Path) -> None:
    write_log(folder, [topic("a", A)])
    (folder / f"{9:020d}-{1:010d}.checkpoint.part").write_bytes(b"x")
    (folder / f"{9:020d}-{1:010d}.checkpoint.deleted").write_bytes(b"x")
    assert names(read(folder)) == {"a"}


def test_a_torn_end_is_left_out(folder: Path) -> None:
    path = write_log(folder, [topic("a", A), topic("b", B)])
    content = path.read_bytes()
    second = len(batch([topic("a", A)], 0))
    for size in range(second, len(content)):
        path.write_bytes(content[:size])
        log = KraftLog(folder)
        assert names(KraftMetadata().read(log.records())) == {"a"}
        assert (log.end_offset, log.torn_bytes) == (1, size - second)
    for torn in (content[:-1] + bytes([content[-1] ^ 1]), content[:second] + bytes(100)):
        path.write_bytes(torn)
        assert names(read(folder)) == {"a"}


def test_damage_before_the_end_is_refused(folder: Path) -> None:
    path = write_log(folder, [topic("a", A), topic("b", B)])
    content = bytearray(path.read_bytes())
    content[70] ^= 1
    path.write_bytes(content)
    with pytest.raises(BadMetadataLog, match="damaged at byte 0: the checksum"):
        read(folder)
    write_log(folder, [topic("a", A)])
    (folder / f"{1:020d}.log").write_bytes(b"")
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(BadMetadataLog, match="damaged at byte 0"):
        read(folder)


def test_garbled_files_raise_one_error(tmp_path: Path) -> None:
    folder = unpack_golden(tmp_path)
    contents = {path: path.read_bytes() for path in folder.iterdir()}
    source = random.Random(4)
    for _ in range(300):
        path = source.choice(list(contents))
        garbled = bytearray(contents[path])
        for _ in range(source.randint(1, 3)):
            garbled[source.randrange(len(garbled))] ^= 1 << source.randrange(8)
        path.write_bytes(garbled[: source.randrange(len(garbled))] if source.random() < 0.3 else garbled)
        try:
            read(folder)
        except BadMetadataLog:
            pass
        path.write_bytes(contents[path])
