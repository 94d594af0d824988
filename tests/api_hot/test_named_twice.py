"""Partitions that occur several times in one request: as in Kafka's map, the last occurrence counts."""

from __future__ import annotations

import random
from typing import Any

import pytest

from .harness import Connection, HotServer
from .test_produce import batch
from .test_produce import request as produce_request

Mention = tuple[str, int]


def mentions(chance: random.Random, count: int, topics: int, partitions: int) -> list[Mention]:
    """A request repeats topics in an order that no sane client uses."""
    return [(f"t{chance.randrange(topics)}", chance.randrange(partitions)) for _ in range(count)]


def by_topic(chosen: list[Mention], row: Any) -> list[tuple[str, list[dict[str, Any]]]]:
    """Adjacent partitions of one topic share an entry; `row` creates the entry of occurrence number `row`."""
    entries: list[tuple[str, list[dict[str, Any]]]] = []
    for number, (topic, index) in enumerate(chosen):
        if not entries or entries[-1][0] != topic:
            entries.append((topic, []))
        entries[-1][1].append(row(number, index))
    return entries


SHAPES = [(2, 1, 1), (3, 1, 2), (40, 3, 5), (3000, 7, 1000), (9000, 90, 3000)]


@pytest.mark.parametrize("shape", SHAPES)
def test_list_offsets_refuses_those_and_answers_the_others(
    hot_server: HotServer, connection: Connection, shape: tuple[int, int, int]
) -> None:
    hot_server.create_topic("t0", 2)
    chosen = mentions(random.Random(shape[0]), *shape)
    entries = by_topic(chosen, lambda number, index: {"partition_index": index, "timestamp": -1})
    answer = connection.call(2, 9, {
        "replica_id": -1, "isolation_level": 0, "timeout": 0,
        "topics": [{"name": name, "partitions": rows} for name, rows in entries],
    })
    assert [topic["name"] for topic in answer["topics"]] == list(dict.fromkeys(name for name, _ in chosen))
    errors = {
        (topic["name"], row["partition_index"]): row["error_code"]
        for topic in answer["topics"] for row in topic["partitions"]
    }
    assert sum(len(topic["partitions"]) for topic in answer["topics"]) == len(errors)
    known = {("t0", 0), ("t0", 1)}
    assert errors == {
        each: 42 if chosen.count(each) > 1 else 0 if each in known else 3 for each in dict.fromkeys(chosen)
    }


@pytest.mark.parametrize("version", [4, 12, 13])
@pytest.mark.parametrize("session_epoch", [-1, 0])
@pytest.mark.parametrize("shape", SHAPES[:4])
def test_fetch_takes_the_last_offset(
    hot_server: HotServer, connection: Connection, version: int, session_epoch: int, shape: tuple[int, int, int]
) -> None:
    for topic in range(shape[1]):
        hot_server.create_topic(f"t{topic}", 2)
        for index in (0, 1):
            hot_server.partitions[f"t{topic}", index].append(batch(3))
    chosen = mentions(random.Random(shape[0] + version), *shape)
    entries = by_topic(chosen, lambda number, index: {
        "partition": index, "fetch_offset": (0, 3, 9)[number % 3], "partition_max_bytes": 1000
    })
    answer = connection.call(1, version, {
        "replica_id": -1, "max_wait": 0, "min_bytes": 0, "max_bytes": 1 << 20, "isolation_level": 0, "session_id": 0,
        "session_epoch": session_epoch, "forgotten_topics_data": [], "rack_id": "",
        "topics": [
            {"topic": name, "topic_id": hot_server.topic_ids[name], "partitions": rows} for name, rows in entries
        ],
    })
    names = {value: name for name, value in hot_server.topic_ids.items()}
    found = [
        ((topic["topic"] if version < 13 else names[topic["topic_id"]], row["partition_index"]),
         (row["error_code"], bool(row["records"])))
        for topic in answer["responses"] for row in topic["partitions"]
    ]
    last = {each: (0, 3, 9)[number % 3] for number, each in enumerate(chosen)}
    unknown = 3
    expected = {
        each: (unknown, False) if each[1] > 1 else (1, False) if offset == 9 else (0, offset == 0)
        for each, offset in last.items()
    }
    assert len(found) == len(expected) and dict(found) == expected


@pytest.mark.parametrize("version", [3, 9, 13])
def test_produce_appends_the_last_batch_only(hot_server: HotServer, connection: Connection, version: int) -> None:
    hot_server.create_topic("t", 2)
    values = produce_request(version, hot_server, {("t", 0): batch(2), ("t", 1): batch(1)}, acks=1)
    again = produce_request(version, hot_server, {("t", 0): batch(5)}, acks=1)["topic_data"][0]
    same = dict(again, partition_data=again["partition_data"] + [{"index": 0, "records": batch(7)}])
    values["topic_data"] += [again, same]
    answer = connection.call(0, version, values)
    (topic,) = answer["responses"]
    assert {row["index"]: (row["error_code"], row["base_offset"]) for row in topic["partition_responses"]} == {
        0: (0, 0), 1: (0, 0)
    }
    assert len(topic["partition_responses"]) == 2
    assert hot_server.partitions["t", 0].log_end_offset == 7
    assert hot_server.partitions["t", 1].log_end_offset == 1


def test_metadata_of_a_topic_twice_goes_to_the_control_plane(hot_server: HotServer) -> None:
    hot_server.create_topic("t")
    topic_id = hot_server.topic_ids["t"]
    named, by_id = {"name": "t", "topic_id": None}, {"name": None, "topic_id": topic_id}
    for topics in ([named, named], [named, by_id], [by_id, by_id]):
        client = hot_server.connect()
        with pytest.raises(AssertionError, match="closed"):         # this server has no control plane
            client.call(3, 12, {"topics": topics, "allow_auto_topic_creation": False,
                                "include_topic_authorized_operations": False})
    assert [row[0] for row in hot_server.forwarded] == [3, 3, 3]
