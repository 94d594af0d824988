"""A share fetch of many partitions on a reactor: what one request may take, and how its answer is arranged."""

from __future__ import annotations

from kafka_cy.records import Record, build_batch
from kafka_cy.share.in_flight_values import AVAILABLE

from .harness import Connection, HotServer
from .share_member import ShareMember, rows_of

REACTORS = 1
ROWS_AT_ONCE = 10_000


def test_one_fetch_gets_a_limited_number_of_rows(hot_server: HotServer, connection: Connection) -> None:
    """Records that were delivered before come as they are kept, each by itself if need be."""
    size, partitions = 4000, [("t", index) for index in range(4)]
    hot_server.create_topic("t", len(partitions))
    for each in partitions:
        hot_server.partitions[each].append(build_batch([Record(value=b"", timestamp_ms=1)] * size))
    member = ShareMember(hot_server, partitions, [(offset, offset, AVAILABLE, 1 + offset % 2) for offset in range(size)])
    counts = [len(rows_of(member.fetch(connection))) for _ in range(3)]
    assert counts == [ROWS_AT_ONCE, len(partitions) * size - ROWS_AT_ONCE, 0]


def test_partitions_of_a_topic_come_together(hot_server: HotServer, connection: Connection) -> None:
    """In the order of the session, which goes by when they were served."""
    topics = ["a", "b", "c"]
    for name in topics:
        hot_server.create_topic(name, 3)
    mixed = [(name, index) for index in range(3) for name in topics]
    for each in mixed[2:]:
        hot_server.partitions[each].append(build_batch([Record(value=b"v", timestamp_ms=1)]))
    member = ShareMember(hot_server, mixed)
    answer = member.fetch(connection)
    names = {topic_id: name for name, topic_id in hot_server.topic_ids.items()}
    found = [(names[topic["topic_id"]], [each["partition_index"] for each in topic["partitions"]]) for topic in answer["responses"]]
    assert found == [("c", [0, 1, 2]), ("a", [1, 2]), ("b", [1, 2])]


def test_only_the_first_batch_of_a_fetch_may_be_larger_than_its_limit(hot_server: HotServer, connection: Connection) -> None:
    partitions = [("t", index) for index in range(3)]
    hot_server.create_topic("t", len(partitions))
    for each in partitions:
        hot_server.partitions[each].append(build_batch([Record(value=b"v" * 1000, timestamp_ms=1)]))
    member = ShareMember(hot_server, partitions)
    assert [len(rows_of(member.fetch(connection, max_bytes=size))) for size in (100, 1500, 100)] == [1, 1, 1]
