"""A fetcher between two of our own servers: the leader's hot handler and the follower's log; and what it sends, read by kio."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kafka_cy.replication.fetcher_events import FetcherEvent, FetcherEvents
from kafka_cy.replication.replica_fetcher import ReplicaFetcher
from kafka_cy.replication.truncation import truncation
from kafka_cy.storage.hosted_partition import HostedPartition
from kafka_cy.storage.log import PartitionLog
from kafka_cy.storage.replicated_bytes import replicated_bytes
from tests.api_hot.harness import BROKER_ID, HotServer
from tests.replication.fake_leader import FakeLeader
from tests.storage.batches import batch
from tests.storage.test_follower_append import everything
from tests.waiting import wait_until

FOLLOWER_ID = 9
CONFIG = {"segment.bytes": 100_000}


@pytest.fixture
def leader(tmp_path: Path) -> Iterator[HotServer]:
    server = HotServer(tmp_path / "leader", 1)
    yield server
    server.stop()


class Follower:
    """A fetcher and the partitions that it follows. `held` collects the events."""

    def __init__(self, folder: Path, port: int, **options: Any) -> None:
        self.folder = folder
        self.events = FetcherEvents()
        self.seen: list[FetcherEvent] = []
        options = {"client_id": "broker-9-fetcher-0", "broker_id": FOLLOWER_ID, "broker_epoch": 77, "backoff_ms": 20, **options}
        self.fetcher = ReplicaFetcher(self.events, 0, "127.0.0.1", port, **options)
        self.fetcher.start()

    def partition(self, topic: str, topic_id: uuid.UUID, index: int = 0, leader_epoch: int = 0) -> HostedPartition:
        path = self.folder / f"{topic}-{index}"
        path.mkdir(parents=True)
        log = PartitionLog(str(path), CONFIG, clean=True)
        return HostedPartition(log, topic, topic_id, index, leader_epoch, leads=False)

    def await_event(self, kind: str) -> FetcherEvent:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            for event in self.events.take(1):
                self.seen.append(event)
            for event in self.seen:
                if event.kind == kind:
                    self.seen.remove(event)
                    return event
        raise AssertionError(f"no event {kind}, but {self.seen}")

    def stop(self) -> None:
        self.fetcher.stop()


@pytest.fixture
def follower(tmp_path: Path, leader: HotServer) -> Iterator[Follower]:
    made = Follower(tmp_path / "follower", leader.port)
    yield made
    made.stop()


def led(leader: HotServer, topic: str = "t", partitions: int = 1) -> tuple[uuid.UUID, list[HostedPartition]]:
    topic_id = leader.create_topic(topic, partitions, CONFIG, sole_replica=False)
    found = [leader.partitions[topic, index] for index in range(partitions)]
    for each in found:
        each.lead(0, [BROKER_ID, FOLLOWER_ID], [BROKER_ID, FOLLOWER_ID], BROKER_ID)
    return topic_id, found


def test_records_and_the_high_watermark_follow(leader: HotServer, follower: Follower) -> None:
    topic_id, [source] = led(leader)
    copy = follower.partition("t", topic_id)
    bytes_before = replicated_bytes()
    source.append(batch(5))
    follower.fetcher.follow(copy, 0)
    wait_until(lambda: source.high_watermark == 5, "the leader's high watermark")
    for _ in range(100):
        source.append(batch(3))
    wait_until(lambda: copy.log_end_offset == 305, "the copy")
    wait_until(lambda: source.high_watermark == 305, "the leader's high watermark")
    wait_until(lambda: copy.high_watermark == 305, "the copy's high watermark")
    assert everything(copy) == everything(source)
    sizes = [after - before for before, after in zip(bytes_before, replicated_bytes(), strict=True)]
    assert sizes == [source.bytes_in, source.bytes_in]  # in and out
    assert source.bytes_out == 0  # what consumers get


def test_many_partitions_of_many_topics(leader: HotServer, follower: Follower) -> None:
    copies, sources = [], []
    for topic in ("a", "b", "c"):
        topic_id, its = led(leader, topic, 20)
        sources += its
        copies += [follower.partition(topic, topic_id, index) for index in range(20)]
    for copy in copies:
        follower.fetcher.follow(copy, 0)
    for number, source in enumerate(sources):
        for _ in range(number % 3 + 1):
            source.append(batch(2))
    wait_until(lambda: [c.log_end_offset for c in copies] == [s.log_end_offset for s in sources], "the copies")
    wait_until(lambda: all(s.high_watermark == s.log_end_offset for s in sources), "the high watermarks")


def test_a_diverging_log_is_cut(leader: HotServer, follower: Follower) -> None:
    topic_id, [source] = led(leader)
    source.append(batch(10))
    source.lead(3, [BROKER_ID, FOLLOWER_ID], [BROKER_ID, FOLLOWER_ID], BROKER_ID)
    source.append(batch(10, timestamp_ms=7000))
    copy = follower.partition("t", topic_id, leader_epoch=3)
    copy.append_received(everything(source)[: len(everything(source)) // 2], 3, 10)
    for epoch in (1, 2):  # it led meanwhile, unknown to the others
        copy.lead(epoch, [FOLLOWER_ID], [FOLLOWER_ID], FOLLOWER_ID)
        copy.append(batch(5, timestamp_ms=9000))
    copy.follow(3)
    follower.fetcher.follow(copy, 3)
    for _ in range(5):
        event = follower.await_event("diverged")
        assert (event.topic, event.partition, event.leader_epoch) == ("t", 0, 3)
        found = truncation(
            event.epoch, event.offset, copy.log.end_offset_for_epoch, copy.log_end_offset, copy.high_watermark
        )
        copy.truncate_to(found.offset)
        follower.fetcher.follow(copy, 3)
        if found.complete:
            break
    wait_until(lambda: copy.log_end_offset == 20, "the copy")
    assert everything(copy) == everything(source)
    wait_until(lambda: source.high_watermark == 20, "the leader's high watermark")


def test_a_follower_out_of_range(leader: HotServer, follower: Follower) -> None:
    topic_id, [source] = led(leader)
    source.lead(0, [BROKER_ID], [BROKER_ID], BROKER_ID)
    for _ in range(2):
        source.append(batch(10))
    source.delete_records(15)
    source.lead(1, [BROKER_ID, FOLLOWER_ID], [BROKER_ID], BROKER_ID)
    copy = follower.partition("t", topic_id, leader_epoch=1)
    follower.fetcher.follow(copy, 1)
    assert follower.await_event("out of range").offset == 0
    copy.log.truncate_fully(15)
    follower.fetcher.follow(copy, 1)
    assert follower.await_event("below start").offset == 10  # the leader's start is inside a batch
    wait_until(lambda: copy.log_end_offset == 20, "the copy")
    wait_until(lambda: copy.log_start_offset == 15, "the start")


def test_a_role_that_changes_while_it_fetches(leader: HotServer, follower: Follower) -> None:
    topic_id, [source] = led(leader)
    copy = follower.partition("t", topic_id)
    follower.fetcher.follow(copy, 0)
    source.append(batch(5))
    wait_until(lambda: copy.log_end_offset == 5, "the copy")
    copy.lead(4, [FOLLOWER_ID], [FOLLOWER_ID], FOLLOWER_ID)
    source.append(batch(5))
    copy.append(batch(1))
    wait_until(lambda: source.log_end_offset == 10, "the source")
    follower.fetcher.leave(copy)
    wait_until(lambda: follower.fetcher.counts()[0] == 0, "the fetcher to leave it")
    assert (copy.log_end_offset, copy.log.epoch_of(5)) == (6, 4)


def test_the_leader_has_another_epoch(leader: HotServer, follower: Follower) -> None:
    topic_id, [source] = led(leader)
    copy = follower.partition("t", topic_id, leader_epoch=2)
    source.append(batch(1))
    follower.fetcher.follow(copy, 2)
    assert follower.await_event("delayed").code == 75  # the leader does not know it yet
    source.lead(2, [BROKER_ID, FOLLOWER_ID], [BROKER_ID], BROKER_ID)
    wait_until(lambda: copy.log_end_offset == 1, "the copy")
    source.lead(3, [BROKER_ID, FOLLOWER_ID], [BROKER_ID], BROKER_ID)
    assert follower.await_event("fenced").code == 74


def test_a_stopped_fetcher_ends_while_the_leader_waits(leader: HotServer, follower: Follower) -> None:
    topic_id, _ = led(leader)
    follower.fetcher.follow(follower.partition("t", topic_id), 0)
    wait_until(lambda: follower.fetcher.counts()[1] > 0 or follower.fetcher.counts()[0] > 0, "the fetch")
    follower.fetcher.stop()


# -- what is sent --

TOPIC_ID = uuid.UUID(int=5)


class Answers:
    """Empty answers in a session, but for what a test puts into `next`."""

    def __init__(self, version: int) -> None:
        self.version = version
        self.next: list[dict[str, Any] | None] = []
        self.epoch = 0

    def __call__(self, request: dict[str, Any]) -> dict[str, Any] | None:
        self.epoch = request["session_epoch"]
        if self.next:
            return self.next.pop(0)
        return {"throttle_time": 0, "error_code": 0, "session_id": 42, "responses": ()}


@pytest.mark.parametrize("version", range(11, 18))
def test_a_request_has_what_changed(tmp_path: Path, version: int) -> None:
    fake = FakeLeader(Answers(version))
    follower = Follower(tmp_path, fake.port, version=version, wait_max_ms=500)
    try:
        first = [follower.partition("t", TOPIC_ID, index) for index in range(3)]
        for each in first:
            follower.fetcher.follow(each, 0)
            if version < 12:
                assert follower.await_event("begin").epoch == -1
                follower.fetcher.follow(each, 0)
        asked = partitions_until(fake, {0, 1, 2})
        one = asked[0]
        assert (one["fetch_offset"], one["current_leader_epoch"], one["log_start_offset"]) == (0, 0, 0)
        assert one["partition_max_bytes"] == 1 << 20
        if version >= 12:
            assert one["last_fetched_epoch"] == -1
        later = fake.asked.get(timeout=60)
        assert (later["session_id"], later["topics"]) == (42, [])  # nothing changed
        assert (later["max_wait"], later["min_bytes"], later["max_bytes"]) == (500, 1, 10 << 20)
        if version >= 15:
            assert later["replica_state"] == {"replica_id": FOLLOWER_ID, "replica_epoch": 77}
        else:
            assert later["replica_id"] == FOLLOWER_ID
        follower.fetcher.leave(first[1])
        while not later["forgotten_topics_data"]:
            later = fake.asked.get(timeout=60)
        [forgotten] = later["forgotten_topics_data"]
        assert forgotten["partitions"] == [1]
        assert (forgotten["topic_id"] == TOPIC_ID) if version >= 13 else (forgotten["topic"] == "t")
        assert set(fake.clients) == {(version, "broker-9-fetcher-0")}
    finally:
        follower.stop()
        fake.close()


def partitions_until(fake: FakeLeader, wanted: set[int]) -> dict[int, dict[str, Any]]:
    """What was asked of these partitions, once each."""
    found: dict[int, dict[str, Any]] = {}
    while set(found) != wanted:
        for topic in fake.asked.get(timeout=60)["topics"]:
            for partition in topic["partitions"]:
                assert partition["partition"] not in found, "asked twice"
                found[partition["partition"]] = partition
    return found


@pytest.mark.parametrize("code", [70, 71])
def test_a_lost_session_begins_anew(tmp_path: Path, code: int) -> None:
    answers = Answers(17)
    fake = FakeLeader(answers)
    follower = Follower(tmp_path, fake.port)
    try:
        follower.fetcher.follow(follower.partition("t", TOPIC_ID), 0)
        partitions_until(fake, {0})
        answers.next.append({"throttle_time": 0, "error_code": code, "session_id": 0, "responses": ()})
        again = partitions_until(fake, {0})
        assert again[0]["fetch_offset"] == 0
    finally:
        follower.stop()
        fake.close()


def test_an_error_of_a_partition_is_told_once_and_tried_again(tmp_path: Path) -> None:
    answers = Answers(17)
    fake = FakeLeader(answers)
    follower = Follower(tmp_path, fake.port)
    refused = {
        "throttle_time": 0, "error_code": 0, "session_id": 42,
        "responses": ({"topic_id": TOPIC_ID, "partitions": ({
            "partition_index": 0, "error_code": 100, "high_watermark": -1, "last_stable_offset": -1, "log_start_offset": -1,
            "aborted_transactions": None, "preferred_read_replica": -1, "records": None},)},),
    }  # fmt: skip
    answers.next += [refused, dict(refused), dict(refused)]
    try:
        follower.fetcher.follow(follower.partition("t", TOPIC_ID), 0)
        assert follower.await_event("delayed").code == 100
        for _ in range(3):
            partitions_until(fake, {0})
        assert [event for event in follower.events.take(0.1) if event.kind == "delayed"] == []
    finally:
        follower.stop()
        fake.close()


def refused(code: int, index: int = 0) -> dict[str, Any]:
    row = {
        "partition_index": index, "error_code": code, "high_watermark": -1, "last_stable_offset": -1, "log_start_offset": -1,
        "aborted_transactions": None, "preferred_read_replica": -1, "records": None,
    }  # fmt: skip
    responses = ({"topic_id": TOPIC_ID, "partitions": (row,)},)
    return {"throttle_time": 0, "error_code": 0, "session_id": 42, "responses": responses}


@pytest.mark.parametrize("code", [3, 6, 75, 100])
def test_a_leader_that_has_not_heard_of_its_role_is_asked_again_soon(tmp_path: Path, code: int) -> None:
    """replica.fetch.backoff.ms is for errors that last: acks=all waits for this follower."""
    answers = Answers(17)
    answers.next += [refused(code)] * 3
    fake = FakeLeader(answers)
    follower = Follower(tmp_path, fake.port, backoff_ms=3_600_000)
    try:
        follower.fetcher.follow(follower.partition("t", TOPIC_ID), 0)
        for _ in range(3):
            partitions_until(fake, {0})
    finally:
        follower.stop()
        fake.close()


def test_a_short_wait_does_not_come_after_a_long_one(tmp_path: Path) -> None:
    answers = Answers(17)
    fake = FakeLeader(answers)
    follower = Follower(tmp_path, fake.port, backoff_ms=3_600_000)
    try:
        for index, code in enumerate((29, 6)):  # the first one is not asked for again
            answers.next.append(refused(code, index))
            follower.fetcher.follow(follower.partition("t", TOPIC_ID, index), 0)
            partitions_until(fake, {index})
            assert follower.await_event("delayed").code == code
        partitions_until(fake, {1})
    finally:
        follower.stop()
        fake.close()


def test_the_leader_waits_no_longer_than_until_others_are_asked_for_again(tmp_path: Path) -> None:
    def answer(request: dict[str, Any]) -> dict[str, Any]:
        asked = {each["partition"] for topic in request["topics"] for each in topic["partitions"]}
        return refused(6, 1) if 1 in asked else answers(request)  # type: ignore[return-value]

    answers = Answers(17)
    answer.version = 17  # type: ignore[attr-defined]
    fake = FakeLeader(answer)  # type: ignore[arg-type]
    follower = Follower(tmp_path, fake.port, wait_max_ms=60_000)
    try:
        for index in (0, 1):
            follower.fetcher.follow(follower.partition("t", TOPIC_ID, index), 0)
        waits = (fake.asked.get(timeout=60)["max_wait"] for _ in range(10_000))
        assert next(wait for wait in waits if wait < 60_000) > 0
    finally:
        follower.stop()
        fake.close()


def test_a_lost_connection_is_told_once(tmp_path: Path) -> None:
    answers = Answers(17)
    answers.next += [None, None]
    fake = FakeLeader(answers)
    follower = Follower(tmp_path, fake.port)
    try:
        follower.fetcher.follow(follower.partition("t", TOPIC_ID), 0)
        assert follower.await_event("disconnected").code == 4
        assert follower.fetcher.failure == "the broker closed the connection"
        follower.await_event("connected")
        assert [event.kind for event in follower.seen] == []
    finally:
        follower.stop()
        fake.close()


def test_another_reason_is_told_too(tmp_path: Path) -> None:
    """First the leader is away, then it is back with something that is wrong."""
    fake = FakeLeader(lambda request: None)
    follower = Follower(tmp_path, fake.port)
    try:
        follower.fetcher.follow(follower.partition("t", TOPIC_ID), 0)
        assert follower.await_event("disconnected").code == 4
        fake.close()
        while follower.await_event("disconnected").code == 4:
            pass  # the connection was reset
        assert follower.fetcher.failure == "Connection refused"
    finally:
        follower.stop()


def test_only_versions_that_brokers_speak() -> None:
    for version in (10, 18):
        with pytest.raises(ValueError, match="only 11 to 17"):
            ReplicaFetcher(FetcherEvents(), 0, "h", 1, client_id="c", broker_id=1, version=version)


def test_a_log_that_is_sealed_for_a_move_goes_on(leader: HotServer, follower: Follower) -> None:
    """AlterReplicaLogDirs: no command comes after it, for the role has not changed."""
    topic_id, [source] = led(leader)
    partition = follower.partition("t", topic_id)
    source.append(batch())
    follower.fetcher.follow(partition, 0)
    wait_until(lambda: partition.log_end_offset == 1, "the first record")
    partition.log.seal()
    source.append(batch(5))
    requests = follower.fetcher.counts()[1]
    wait_until(lambda: follower.fetcher.counts()[1] > requests + 2, "the sealed log has refused it")
    partition.log.unseal()
    wait_until(lambda: partition.log_end_offset == 6, "the other records")
    assert everything(partition) == everything(source)


def with_records(records: bytes, end: int) -> dict[str, Any]:
    answer = refused(0)
    answer["responses"][0]["partitions"][0].update(
        high_watermark=end, last_stable_offset=end, log_start_offset=0, records=records
    )
    return answer


def test_what_the_fetcher_before_has_appended_is_not_appended_again(tmp_path: Path) -> None:
    """Both have asked for offset 0: num.replica.fetchers has changed, or the leader's address, while the first one waits."""
    open_gate = [threading.Event(), threading.Event()]
    fakes: list[FakeLeader] = []
    followers: list[Follower] = []
    try:
        for gate in open_gate:
            waiting = Answers(17)

            def answer(request: dict[str, Any], gate: threading.Event = gate, others: Answers = waiting) -> dict[str, Any] | None:
                if not request["topics"] or request["topics"][0]["partitions"][0]["fetch_offset"] > 0:
                    return others(request)
                assert gate.wait(60)
                return with_records(batch(3), 3)

            fakes.append(FakeLeader(answer))
            followers.append(Follower(tmp_path, fakes[-1].port))
        copy = followers[0].partition("t", TOPIC_ID)
        for fake, follower in zip(fakes, followers, strict=True):
            follower.fetcher.follow(copy, 0)
            assert partitions_until(fake, {0})[0]["fetch_offset"] == 0
        for gate, fake in zip(open_gate, fakes, strict=True):
            gate.set()
            assert partitions_until(fake, {0})[0]["fetch_offset"] == 3
        assert (copy.log_end_offset, copy.high_watermark) == (3, 3)
        assert [event.kind for follower in followers for event in follower.events.take(0)] == []
    finally:
        for gate in open_gate:
            gate.set()
        for follower in followers:
            follower.stop()
        for fake in fakes:
            fake.close()


def test_a_partition_that_comes_while_the_leader_is_away_is_fetched_soon(tmp_path: Path) -> None:
    """A new leader epoch: the partition leaves, which leaves the fetcher with none, and comes again."""
    answers = Answers(17)
    is_back = threading.Event()
    fake = FakeLeader(lambda request: answers(request) if is_back.is_set() else None)
    follower = Follower(tmp_path, fake.port)
    try:
        copy = follower.partition("t", TOPIC_ID)
        follower.fetcher.follow(copy, 0)
        follower.await_event("disconnected")
        follower.fetcher.leave(copy)
        wait_until(lambda: follower.fetcher.counts()[0] == 0, "the fetcher follows nothing")
        is_back.set()
        follower.fetcher.follow(copy, 0)
        follower.await_event("connected")
    finally:
        follower.stop()
        fake.close()
