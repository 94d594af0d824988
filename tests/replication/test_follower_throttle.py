"""follower.replication.throttled.rate: what a fetcher does not ask for while it is used up (KIP-73)."""

from __future__ import annotations

import struct
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kafka_cy.quota import replication_quota
from kafka_cy.storage.hosted_partition import HostedPartition
from kafka_cy.storage.replicated_bytes import reassigned_bytes
from tests.api_hot.harness import BROKER_ID, HotServer
from tests.replication.fake_leader import FakeLeader
from tests.replication.test_fetcher import FOLLOWER_ID, Follower, follower, leader, led
from tests.storage.batches import batch
from tests.waiting import wait_until

__all__ = ["follower", "leader"]  # fixtures


@pytest.fixture(autouse=True)
def quota() -> Iterator[None]:
    replication_quota.set_windows("follower", 11, 1)
    yield
    replication_quota.set_limit("follower", None)
    replication_quota.set_windows("follower", 11, 1)


def use_up() -> None:
    replication_quota.set_limit("follower", 1)
    replication_quota.record("follower", 1 << 40)


def behind(leader: HotServer, topic: str, follower: Follower, *, throttled: bool = True) -> tuple[HostedPartition, HostedPartition]:
    """A led partition with records, and an empty copy out of sync."""
    topic_id, [source] = led(leader, topic)
    source.set_replicas([BROKER_ID, FOLLOWER_ID], [BROKER_ID], BROKER_ID)
    source.append(batch(5))
    copy = follower.partition(topic, topic_id)
    copy.set_throttled(False, throttled)
    return source, copy


def test_a_throttled_replica_out_of_sync_waits(leader: HotServer, follower: Follower) -> None:
    use_up()
    _, slow = behind(leader, "slow", follower)
    source, fast = behind(leader, "fast", follower, throttled=False)
    follower.fetcher.follow(slow, 0)
    follower.fetcher.follow(fast, 0)
    for end in range(10, 100, 5):
        source.append(batch(5))
        wait_until(lambda end=end: fast.log_end_offset == end, "the copy that is not throttled")  # type: ignore[misc]
    assert slow.log_end_offset == 0
    replication_quota.set_limit("follower", None)
    wait_until(lambda: slow.log_end_offset == 5, "the throttled copy")


def test_all_that_a_fetcher_follows_is_throttled(leader: HotServer, follower: Follower) -> None:
    """It asks for nothing, and looks again later."""
    use_up()
    _, copy = behind(leader, "t", follower)
    follower.fetcher.follow(copy, 0)
    wait_until(lambda: follower.fetcher.counts()[0] == 1, "the fetcher follows")
    assert (copy.log_end_offset, follower.fetcher.counts()[1]) == (0, 0)
    copy.set_throttled(False, False)
    wait_until(lambda: copy.log_end_offset == 5, "the copy")


def test_a_replica_in_sync_is_fetched_all_the_same(leader: HotServer, follower: Follower) -> None:
    source, copy = behind(leader, "t", follower)
    follower.fetcher.follow(copy, 0)
    wait_until(lambda: copy.log_end_offset == 5, "the copy")
    source.set_replicas([BROKER_ID, FOLLOWER_ID], [BROKER_ID, FOLLOWER_ID], BROKER_ID)
    wait_until(lambda: copy.high_watermark == 5, "the copy is in sync")
    use_up()
    for end in range(10, 50, 5):
        source.append(batch(5))
        wait_until(lambda end=end: source.high_watermark == end, "the record is committed")  # type: ignore[misc]


def test_what_is_fetched_counts(leader: HotServer, follower: Follower) -> None:
    source, copy = behind(leader, "t", follower)
    other_source, other = behind(leader, "u", follower, throttled=False)
    before = reassigned_bytes()
    other.set_adding([FOLLOWER_ID], FOLLOWER_ID)
    follower.fetcher.follow(other, 0)
    wait_until(lambda: other.log_end_offset == 5, "the other copy")
    assert replication_quota.byte_rate("follower") == 0
    follower.fetcher.follow(copy, 0)
    wait_until(lambda: copy.log_end_offset == 5, "the copy")
    wait_until(lambda: replication_quota.byte_rate("follower") > 0, "the rate")
    assert replication_quota.byte_rate("follower") <= source.bytes_in
    assert reassigned_bytes() == (before[0] + other_source.bytes_in, before[1])


def test_a_throttled_partition_leaves_the_session(tmp_path: Path) -> None:
    """The leader keeps what it was asked for: a partition must be forgotten, or its records come all the same."""
    data = batch(1)

    def answer(asked: dict[str, Any]) -> dict[str, Any]:
        responses = []
        for topic in asked["topics"]:
            [offset] = [row["fetch_offset"] for row in topic["partitions"]]
            row = {"partition_index": 0, "error_code": 0, "high_watermark": offset + 100, "last_stable_offset": 0,
                   "log_start_offset": 0, "aborted_transactions": None, "preferred_read_replica": -1,
                   "records": struct.pack(">q", offset) + data[8:]}  # fmt: skip
            responses.append({"topic_id": topic["topic_id"], "partitions": [row]})
        return {"throttle_time": 0, "error_code": 0, "session_id": 7, "responses": responses}

    leader = FakeLeader(answer)
    follower = Follower(tmp_path / "follower", leader.port)
    ids = {topic: bytes([number] * 16) for number, topic in enumerate(("t", "u"), 1)}
    copies = {topic: follower.partition(topic, topic_id) for topic, topic_id in ids.items()}
    copies["t"].set_throttled(False, True)
    replication_quota.set_limit("follower", 1)
    for copy in copies.values():
        follower.fetcher.follow(copy, 0)
    forgotten: list[bytes] = []
    named: list[set[bytes]] = []
    while not forgotten:
        asked = leader.asked.get(timeout=60)
        forgotten += [topic["topic_id"].bytes for topic in asked["forgotten_topics_data"]]
        named.append({topic["topic_id"].bytes for topic in asked["topics"]})
    assert forgotten == [ids["t"]] and ids["t"] in set().union(*named)
    for _ in range(5):
        asked = leader.asked.get(timeout=60)
        assert ids["t"] not in {topic["topic_id"].bytes for topic in asked["topics"]}
    follower.stop()


class TurnLeader:
    """A leader with a fetch session, as Kafka's: a response has room for a few partitions, which then go to the session's end.

    It sends nothing before the session has all of `throttled`.
    """

    ROOM = 4

    def __init__(self, throttled: set[bytes]) -> None:
        self.throttled = throttled
        self.began = False
        self.left = 0  # how often partitions have left the session
        self.turns = dict.fromkeys(throttled, 0)
        self._session: dict[bytes, int] = {}  # fetch offsets, in the session's order

    def __call__(self, asked: dict[str, Any]) -> dict[str, Any]:
        for topic in asked["topics"]:
            self._session[topic["topic_id"].bytes] = topic["partitions"][0]["fetch_offset"]
        for topic in asked["forgotten_topics_data"]:
            del self._session[topic["topic_id"].bytes]
        self.left += bool(asked["forgotten_topics_data"])
        self.began = self.began or self.throttled <= self._session.keys()
        served = [each for each in self._session if each in self.throttled][: self.ROOM if self.began else 0]
        return {"throttle_time": 0, "error_code": 0, "session_id": 7, "responses": [self._row(each) for each in served]}

    def _row(self, topic_id: bytes) -> dict[str, Any]:
        offset = self._session.pop(topic_id)
        self._session[topic_id] = offset
        self.turns[topic_id] += 1
        records = struct.pack(">q", offset) + batch(1)[8:]
        row = {"partition_index": 0, "error_code": 0, "high_watermark": offset + 100, "last_stable_offset": 0,
               "log_start_offset": 0, "aborted_transactions": None, "preferred_read_replica": -1, "records": records}  # fmt: skip
        return {"topic_id": uuid.UUID(bytes=topic_id), "partitions": [row]}


@pytest.mark.parametrize("count", [9, 12])
def test_partitions_share_the_quota(tmp_path: Path, count: int) -> None:
    """They leave the leader's session each time when the quota is used up, while another partition is fetched all the same."""
    ids = [uuid.UUID(int=number) for number in range(1, count + 1)]
    turn_leader = TurnLeader({each.bytes for each in ids})
    fake = FakeLeader(turn_leader)
    follower = Follower(tmp_path / "follower", fake.port)
    limit = 20 * TurnLeader.ROOM * len(batch(1))
    replication_quota.record("follower", limit)  # what the quota allows at the beginning
    replication_quota.set_limit("follower", limit)
    follower.fetcher.follow(follower.partition("idle", uuid.UUID(int=99)), 0)
    for number, topic_id in enumerate(ids):
        copy = follower.partition(f"t{number}", topic_id)
        copy.set_throttled(False, True)
        follower.fetcher.follow(copy, 0)
    wait_until(lambda: turn_leader.left >= 10, "the quota is used up again and again")
    follower.stop()
    fake.close()
    assert max(turn_leader.turns.values()) - min(turn_leader.turns.values()) <= 1, turn_leader.turns
