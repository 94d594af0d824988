"""kill -9 during topic creations, deletions, changes of quotas and allocations of producer ids: acknowledged changes are kept."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from kafka_cy.testing import Broker
from tests.waiting import wait_until

from .load import Worker
from .wire import (
    METADATA,
    UNKNOWN_TOPIC_OR_PARTITION,
    Connection,
    batch,
    create_topic,
    init_producer_id,
    list_offset,
    produce,
    string,
)

pytestmark = pytest.mark.crash

DELETE_TOPICS, DESCRIBE_CLIENT_QUOTAS, ALTER_CLIENT_QUOTAS = 20, 48, 49
ROUNDS = 5


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    """A broker that creates topics only by request."""
    with Broker({"auto.create.topics.enable": False}, folder=tmp_path / "broker") as started:
        yield started


def delete_topic(connection: Connection, topic: str) -> int:
    """Send DeleteTopics v1; return the error code."""
    answer = connection.ask(DELETE_TOPICS, 1, struct.pack(">i", 1) + string(topic) + struct.pack(">i", 10000))
    return int(struct.unpack_from(">h", answer, len(answer) - 2)[0])


def alter_quota(connection: Connection, value: int) -> int:
    """Send AlterClientQuotas v0 for user `u`, client id `c`; return the error code."""
    entity = struct.pack(">i", 2) + string("user") + string("u") + string("client-id") + string("c")
    operation = struct.pack(">i", 1) + string("producer_byte_rate") + struct.pack(">d?", value, False)
    answer = connection.ask(ALTER_CLIENT_QUOTAS, 0, struct.pack(">i", 1) + entity + operation + b"\0")
    return int(struct.unpack_from(">h", answer, 8)[0])


def quota_of(connection: Connection) -> float:
    """The only quota, by DescribeClientQuotas v0; 0 if there is none."""
    answer = connection.ask(DESCRIBE_CLIENT_QUOTAS, 0, struct.pack(">i?", 0, False))
    return float(struct.unpack(">d", answer[-8:])[0]) if answer[8:12] != bytes(4) else 0.0


def topic_names(connection: Connection) -> set[str]:
    """All topics, by Metadata v1."""
    data = connection.ask(METADATA, 1, struct.pack(">i", -1))
    at = 4
    for _ in range(struct.unpack_from(">i", data)[0]):
        at += 4
        at += 2 + struct.unpack_from(">h", data, at)[0] + 4
        at += 2 + max(0, struct.unpack_from(">h", data, at)[0])
    at += 4
    (count,) = struct.unpack_from(">i", data, at)
    at += 4
    names = set()
    for _ in range(count):
        (size,) = struct.unpack_from(">h", data, at + 2)
        names.add(data[at + 4 : at + 4 + size].decode())
        at += 4 + size + 1
        (partitions,) = struct.unpack_from(">i", data, at)
        at += 4
        for _ in range(partitions):
            at += 2 + 4 + 4
            for _ in range(2):
                at += 4 + 4 * struct.unpack_from(">i", data, at)[0]
    assert at == len(data)
    return names


class Administrator(Worker):
    """Creates topics, writes to them, deletes some, and creates some of those again."""

    def __init__(self, port: int) -> None:
        super().__init__(port)
        self.chance = random.Random(3)
        self.existing: dict[str, int] = {}  # topic: number of acknowledged records
        self.deleted: set[str] = set()
        self.unsure: set[str] = set()
        self.number = 0
        self.producer_ids: list[int] = []
        self.quota = self.quota_sent = 0  # acknowledged, and sent

    def work(self, connection: Connection) -> None:
        """Make one change."""
        self.producer_ids.append(init_producer_id(connection)[0])
        self.quota_sent += 1
        assert alter_quota(connection, self.quota_sent) == 0
        self.quota = self.quota_sent
        if len(self.existing) > 15 and self.chance.random() < 0.6:
            topic = self.chance.choice(sorted(self.existing))
            del self.existing[topic]
            self.unsure.add(topic)
            assert delete_topic(connection, topic) == 0
            self.unsure.remove(topic)
            self.deleted.add(topic)
            return
        self.number += 1
        again = self.deleted and self.chance.random() < 0.3
        topic = self.chance.choice(sorted(self.deleted)) if again else f"topic-{self.number}"
        self.deleted.discard(topic)
        self.unsure.add(topic)
        assert create_topic(connection, topic, 3) == 0
        wait_until(lambda: list_offset(connection, topic, 2)[0] == 0, topic)
        assert list_offset(connection, topic, 2) == (0, 0), "a new topic holds records of its predecessor"
        self.unsure.remove(topic)
        self.existing[topic] = 0
        for _ in range(self.chance.randrange(3)):
            assert produce(connection, topic, 2, batch()).error == 0
            self.existing[topic] += 1

    def forget_unsure(self, names: set[str]) -> None:
        """Accept the outcome of changes that got no response."""
        self.existing.update(dict.fromkeys(self.unsure & names, 0))
        self.deleted |= self.unsure - names
        self.unsure.clear()

    def check(self, connection: Connection) -> None:
        """Check that the topics of the broker match its responses."""
        assert self.quota <= quota_of(connection) <= self.quota_sent
        names = topic_names(connection)
        assert not self.existing.keys() - names, "lost topics"
        assert not names & self.deleted, "deleted topics are back"
        assert names <= self.existing.keys() | self.unsure
        for topic, count in self.existing.items():
            error, end = list_offset(connection, topic, 2)
            assert error == 0 and end >= count, (topic, error, end, count)
        for topic in self.deleted:
            assert list_offset(connection, topic, 2)[0] == UNKNOWN_TOPIC_OR_PARTITION
        assert len(set(self.producer_ids)) == len(self.producer_ids), "a producer id was given out twice"


def test_topics_and_producer_ids(broker: Broker) -> None:
    administrator = Administrator(broker.port)
    administrator.start()
    chance = random.Random(4)
    for _ in range(ROUNDS):
        wanted = administrator.progress + 20 + chance.randrange(20)
        wait_until(lambda: administrator.failure or administrator.progress >= wanted, "progress")  # noqa: B023
        broker.kill()
        administrator.up.clear()
        broker.start()
        wait_until(lambda: administrator.failure or not administrator.working, "the old connection is given up")
        connection = Connection(broker.port)
        if not administrator.failure:
            administrator.check(connection)
        # An interrupted change may have happened or not. From here on, its outcome is fixed.
        administrator.forget_unsure(topic_names(connection))
        connection.close()
        administrator.up.set()
    administrator.finish()
    broker.restart()
    connection = Connection(broker.port)
    administrator.check(connection)
    connection.close()
    folders = {path.name.rpartition("-")[0] for path in broker.data_dir.glob("topic-*-[0-9]")}
    assert folders == administrator.existing.keys()
