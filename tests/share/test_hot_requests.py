"""ShareFetch and ShareAcknowledge that reactors handle, on a live broker."""

from __future__ import annotations

import random
import re
import socket
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer
from raw_client import RawClient

from kafka_cy.share.log_reader import split
from kafka_cy.testing import Broker
from tests.quota.test_live_quotas import Client
from tests.waiting import wait_until

ACCEPT, RELEASE, REJECT = 1, 2, 3
LOCK_MS = 1000
LOCKS_MIN = 100  # that a group may allow at least, with the broker's defaults
CONFIG = {
    "share.coordinator.state.topic.num.partitions": 3, "offsets.topic.num.partitions": 3,
    "group.share.max.partition.max.record.locks": 10_000, "group.share.min.record.lock.duration.ms": LOCK_MS,
    "group.share.record.lock.duration.ms": 30_000,
}  # fmt: skip
Rows = list[tuple[int, int, int]]


def offsets_of(rows: Rows) -> list[int]:
    return [offset for first, last, _ in rows for offset in range(first, last + 1)]


class Live:
    """The broker, and a topic with one partition and a share group of its own for each test."""

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self.client = RawClient(broker.bootstrap_servers)
        self.group = f"g{uuid.uuid4().hex[:8]}"
        topic = {"name": self.group, "num_partitions": 1, "replication_factor": 1}
        answer = self.client.request(19, 7, {"topics": [topic], "timeout": 30_000})
        self.topic_id: uuid.UUID = answer["topics"][0]["topic_id"]
        self.client.request(10, 6, {"key_type": 0, "coordinator_keys": [self.group]})
        offsets = [{"partition_index": 0, "start_offset": 0}]
        altered = {"group_id": self.group, "topics": [{"topic_name": self.group, "partitions": offsets}]}
        wait_until(lambda: self.client.request(91, 0, altered)["error_code"] == 0, "the coordinators")

    def configure(self, **settings: str) -> None:
        configs = [{"name": name.replace("_", "."), "config_operation": 0, "value": value} for name, value in settings.items()]
        resources = [{"resource_type": 32, "resource_name": self.group, "configs": configs}]
        answer = self.client.request(44, 1, {"resources": resources, "validate_only": False})
        assert answer["responses"][0]["error_code"] == 0

    def limit(self, byte_rate: float, *, remove: bool = False) -> None:
        """What the client whose id is the name of the group may fetch."""
        entity = [{"entity_type": "client-id", "entity_name": self.group}]
        operation = {"key": "consumer_byte_rate", "value": byte_rate, "remove": remove}
        entries = [{"entity": entity, "ops": [operation]}]
        assert self.client.request(49, 1, {"entries": entries, "validate_only": False})["entries"][0]["error_code"] == 0

    def produce(self, count: int, size: int = 1) -> None:
        """So many batches with one record of so many bytes."""
        producer = Producer({"bootstrap.servers": self.broker.bootstrap_servers, "linger.ms": 0})
        for _ in range(count):
            producer.produce(self.group, b"v" * size)
            producer.flush(30)

    def member(self, name: str = "m", version: int = 2) -> HotMember:
        return HotMember(self, name, version)

    def forwarded(self) -> float:
        return self.metric("kafkacy_requests_forwarded_total")

    def metric(self, name: str) -> float:
        """The sum of the series with that name."""
        text = urllib.request.urlopen(self.broker.metrics_url).read().decode()
        lines = [each for each in text.splitlines() if re.match(rf"{re.escape(name)}[ {{]", each)]
        assert lines, name
        return sum(float(each.rpartition(" ")[2]) for each in lines)


class HotMember:
    """A member with a session. `records`: those of its last fetch."""

    def __init__(self, live: Live, name: str, version: int) -> None:
        self.client = Client(live.broker.bootstrap_servers)
        self.group, self.topic_id, self.name, self.version = live.group, live.topic_id, name, version
        self.epoch = 0
        self.records = b""
        self.throttle_ms = 0

    def body(self, *asked: tuple[int, int, int], **fields: Any) -> dict[str, Any]:
        batches = [{"first_offset": first, "last_offset": last, "acknowledge_types": [kind]} for first, last, kind in asked]
        partitions = [{"partition_index": 0, "acknowledgement_batches": batches}]
        topics = [{"topic_id": self.topic_id, "partitions": partitions}] if asked or not self.epoch else []
        return {
            "group_id": self.group, "member_id": self.name, "share_session_epoch": self.epoch, "max_wait": 0, "min_bytes": 1,
            "max_bytes": 1 << 20, "max_records": 500, "batch_size": 500, "forgotten_topics_data": [], "topics": topics,
        } | fields  # fmt: skip

    def fetch(self, *asked: tuple[int, int, int], error: int = 0, **fields: Any) -> Rows:
        """The acquired rows. `error`: of the acknowledgements."""
        return self.rows(self.client.request(78, self.version, self.body(*asked, **fields)), error if asked else None)

    def rows(self, answer: dict[str, Any], error: int | None = None) -> Rows:
        self.epoch += 1
        assert answer["error_code"] == 0
        self.throttle_ms = answer["throttle_time"]
        partitions = [each for topic in answer["responses"] for each in topic["partitions"]]
        assert error is None or [each["acknowledge_error_code"] for each in partitions] == [error]
        assert not any(each["error_code"] for each in partitions)
        self.records = b"".join(each["records"] or b"" for each in partitions)
        rows = [row for each in partitions for row in each["acquired_records"]]
        return [(row["first_offset"], row["last_offset"], row["delivery_count"]) for row in rows]

    def acknowledge(self, *asked: tuple[int, int, int]) -> int:
        answer = self.client.request(79, self.version, self.body(*asked))
        self.epoch += 1
        assert answer["error_code"] == 0
        ((partition,),) = [topic["partitions"] for topic in answer["responses"]]
        return int(partition["error_code"])


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    folder: Path = tmp_path_factory.mktemp("hot-share")
    with Broker(CONFIG, folder=folder) as broker:
        yield broker


@pytest.fixture
def live(broker: Broker) -> Live:
    return Live(broker)


@pytest.mark.parametrize("version", [1, 2])
def test_steady_requests_are_not_forwarded(live: Live, version: int) -> None:
    live.produce(3)
    member = live.member(version=version)
    assert member.fetch(max_records=1) == [(0, 0, 1)]
    before = live.forwarded()
    assert member.fetch(max_records=1) == [(1, 1, 1)]
    assert [each[:2] for each in split(member.records)] == [(1, 1)]
    assert member.fetch((0, 0, ACCEPT)) == [(2, 2, 1)]
    assert member.acknowledge((1, 2, RELEASE)) == 0
    assert member.fetch() == [(1, 1, 2), (2, 2, 2)]
    assert [each[:2] for each in split(member.records)] == [(1, 1), (2, 2)]
    assert member.acknowledge((0, 5, ACCEPT)) == 42  # never delivered
    assert member.acknowledge((1, 1, ACCEPT)) == 0
    assert member.acknowledge((1, 2, ACCEPT)) == 0  # the first of them is finished
    assert live.forwarded() == before


def test_metrics_of_what_reactors_do(live: Live) -> None:
    names = [
        "kafka_server_sharegroupmetrics_partitionloadtimems_count",
        "kafka_server_sharepartitionmetrics_fetchlocktimems_count",
        "kafka_server_sharepartitionmetrics_fetchlockratio_count",
    ]
    live.produce(2)
    member = live.member()
    before = [live.metric(each) for each in names]
    assert member.fetch(max_records=1) == [(0, 0, 1)]
    forwarded = live.forwarded()
    assert member.fetch((0, 0, ACCEPT)) == [(1, 1, 1)]
    assert live.forwarded() == forwarded
    loaded, *looks = (live.metric(each) - was for each, was in zip(names, before, strict=True))
    assert loaded == 1 and min(looks) >= 2
    latency = "kafka_server_share_coordinator_metrics_write_latency_"
    assert 0 < live.metric(latency + "avg") <= live.metric(latency + "max")


def test_metrics_of_the_group_of_what_reactors_do(live: Live) -> None:
    def of_group(name: str) -> float:
        return live.metric(f'kafka_server_share{name}{{group="{live.group}"}}')

    live.produce(3)
    member = live.member()
    assert member.fetch(max_records=1) == [(0, 0, 1)]
    forwarded = live.forwarded()
    names = ["groupmetrics_requesttopicpartitionsfetchratio", "groupmetrics_topicpartitionsacquiretimems"]
    before = [of_group(name + "_count") for name in names]
    assert member.fetch(max_records=1) == [(1, 1, 1)]
    assert [of_group(name + "_count") for name in names] == [count + 1 for count in before]
    assert of_group("partitionmetrics_inflightmessagecount") == of_group("partitionmetrics_inflightbatchcount") == 2
    assert of_group("partitionmetrics_inflightbatchmessagecount_count") == 2
    assert member.acknowledge((0, 1, ACCEPT)) == 0
    assert of_group("partitionmetrics_inflightmessagecount") == 0
    assert member.fetch() == [(2, 2, 1)]
    assert member.fetch(max_wait=50) == []
    ended, tries = (of_group(name + "_count") for name in names)
    assert ended == before[0] + 3 and tries >= before[1] + 4, "it tries at once, when it begins to wait, and at the end"
    assert live.forwarded() == forwarded


def test_looks_into_a_share_partition_with_all_its_locks_held_are_counted(live: Live) -> None:
    def full_looks() -> float:
        return live.metric(f'kafkacy_share_looks_full_total{{group="{live.group}"}}')

    live.configure(share_partition_max_record_locks=str(LOCKS_MIN))
    live.produce(LOCKS_MIN + 1)
    member = live.member()
    held: list[int] = []
    while len(held) < LOCKS_MIN:
        held += [offset for first, last, _ in member.fetch(max_records=1) for offset in range(first, last + 1)]
    assert held == list(range(LOCKS_MIN)) and full_looks() == 0, "the first fetches found records that could be locked"
    forwarded = live.forwarded()
    assert member.fetch() == [] and full_looks() == 1
    assert member.acknowledge((1, 1, ACCEPT)) == 0
    assert member.fetch() == [] and full_looks() == 2, "records count from the first that is not finished"
    assert member.fetch((0, 0, ACCEPT)) == [(LOCKS_MIN, LOCKS_MIN, 1)] and full_looks() == 2
    assert live.forwarded() == forwarded, "reactors looked"


def test_a_fetch_waits_for_records(live: Live) -> None:
    member = live.member()
    assert member.fetch() == []
    member.client.send(78, 2, member.body(max_wait=60_000))
    live.produce(1)
    assert member.client.receive() == 77
    member.epoch += 1
    assert member.fetch((0, 0, ACCEPT)) == []
    assert member.fetch(max_wait=50) == []


@pytest.mark.parametrize("how", ["released", "expired", "closed", "session ended"])
def test_a_fetch_that_waits_gets_records_that_become_available(live: Live, how: str) -> None:
    if how == "expired":
        live.configure(share_record_lock_duration_ms=str(LOCK_MS))
    live.produce(1)
    first, second = live.member("one"), live.member("two")
    assert first.fetch(max_records=0) == [] == second.fetch()[1:]
    if not first.records:
        second.acknowledge((0, 0, RELEASE))
    assert first.fetch() == [(0, 0, 2)]
    second.client.send(78, 2, second.body(max_wait=60_000))
    if how == "released":
        assert first.acknowledge((0, 0, RELEASE)) == 0
    elif how == "closed":
        first.client.close()
    elif how == "session ended":
        first.client.request(79, 2, first.body() | {"share_session_epoch": -1})
    assert second.client.receive() == 77


def test_a_session_that_begins_anew_answers_the_fetch_of_the_old_one(live: Live) -> None:
    old, new = live.member(), live.member()
    assert old.fetch() == [] == old.fetch()
    old.client.send(78, 2, old.body(max_wait=60_000))
    wait_until(lambda: new.client.request(78, 2, live.member().body())["error_code"] == 0, "the session")
    assert old.client.receive() == 77


def test_a_client_that_leaves_while_its_fetch_waits_is_let_go(live: Live) -> None:
    member = live.member()
    assert member.fetch() == []
    member.client.send(78, 2, member.body(max_wait=600_000))
    connection = member.client._socket
    assert connection is not None
    connection.shutdown(socket.SHUT_WR)
    connection.settimeout(60)
    while connection.recv(1 << 16):
        pass


def test_a_throttled_fetch_gets_no_records_and_locks_none(live: Live) -> None:
    live.configure(share_delivery_count_limit="10")  # before the quota bites, the record may be delivered several times
    live.produce(4)
    member = live.member()
    member.client = Client(live.broker.bootstrap_servers, live.group)
    assert member.fetch(max_records=1) == [(0, 0, 1)]
    live.limit(10.0)
    wait_until(lambda: member.fetch(max_records=1) == [] or member.acknowledge((1, 1, RELEASE)) != 0, "the quota")
    assert member.throttle_ms > 0 and member.records == b""
    live.limit(10.0, remove=True)
    other = live.member("other")
    rows = other.fetch()
    assert [row[:2] for row in rows][-1][1] == 3
    assert rows[-1][2] == 1  # what the throttled fetch would have got counts as not delivered


@pytest.mark.parametrize(("size", "count"), [(3000, 3), (15_000, 1)], ids=["many batches", "a batch larger than the quota"])
def test_a_backlog_beyond_the_quota_is_delivered_in_pieces(live: Live, size: int, count: int) -> None:
    """With 1000 bytes in a second, 10 seconds are looked at: 10,000 bytes may come at once."""
    live.configure(share_delivery_count_limit="10")
    live.produce(10, size)
    member = live.member()
    member.client = Client(live.broker.bootstrap_servers, live.group)
    live.limit(1000.0)
    assert member.fetch(max_records=0) == []
    forwarded = live.forwarded()
    rows: Rows = []

    def is_sent() -> bool:
        """In 10 seconds the first response does not count any more."""
        rows[:] = member.fetch()
        if len(split(member.records)) == 10:  # the quota is not known yet
            assert member.acknowledge(*((first, last, RELEASE) for first, last, _ in rows)) == 0
            return False
        return bool(rows)

    wait_until(is_sent, "records", 30)
    assert [each.first_offset for each in split(member.records)] == list(range(count)) == offsets_of(rows)
    assert live.forwarded() == forwarded, "a reactor has handled it"


def test_aborted_records_are_not_delivered_to_a_read_committed_group(live: Live) -> None:
    live.configure(share_isolation_level="read_committed")
    member = live.member()
    assert member.fetch() == []
    settings = {"bootstrap.servers": live.broker.bootstrap_servers, "transactional.id": live.group}
    producer = Producer(settings)
    producer.init_transactions(30)
    for ends in (producer.abort_transaction, producer.commit_transaction):
        producer.begin_transaction()
        producer.produce(live.group, b"v")
        producer.flush(30)
        ends(30)
    got: set[int] = set()

    def fetched() -> bool:
        got.update(offset for first, last, _ in member.fetch(max_wait=100) for offset in range(first, last + 1))
        return 2 in got

    wait_until(fetched, "the committed record")
    assert 0 not in got


def test_a_request_that_asks_for_something_unusual_works_on_the_same_records(live: Live) -> None:
    live.produce(2)
    member = live.member()
    assert member.fetch(max_records=1) == [(0, 0, 1)]
    wrong = member.body() | {"share_session_epoch": 9}
    assert member.client.request(78, 2, wrong)["error_code"] == 123
    renewal = {"is_renew_ack": True, "max_bytes": 0, "max_records": 0, "min_bytes": 0}
    assert member.fetch((0, 0, 4), **renewal) == []
    assert member.fetch((0, 0, 4), error=42) == [(1, 1, 1)]  # a renewal without the flag
    live.configure(share_delivery_count_limit="2")
    assert member.acknowledge((0, 0, RELEASE)) == 0
    assert member.fetch() == [(0, 0, 2)]
    assert member.acknowledge((0, 0, RELEASE)) == 0
    assert member.fetch() == []  # delivered as often as it may be


def test_ten_thousand_single_records_are_acknowledged_at_once(live: Live) -> None:
    live.configure(share_partition_max_record_locks="10000")
    producer = Producer({"bootstrap.servers": live.broker.bootstrap_servers, "linger.ms": 50})
    for _ in range(10_000):
        producer.produce(live.group, b"v")
    producer.flush(60)
    member = live.member()
    held = 0
    while held < 10_000:
        held += sum(last - first + 1 for first, last, _ in member.fetch(max_records=10_000, batch_size=10_000))
    before = live.forwarded()
    assert member.acknowledge(*((each, each, ACCEPT) for each in range(1, 10_000))) == 0
    assert member.acknowledge((0, 0, ACCEPT)) == 0
    assert live.forwarded() == before
    assert member.fetch() == []


@pytest.mark.parametrize("seed", range(4))
def test_random_requests_of_three_members_agree_with_a_model(live: Live, seed: int) -> None:
    """Every record by itself: who holds it, and how often it came."""
    choose = random.Random(seed)
    live.configure(share_delivery_count_limit="10")
    members = [live.member(name) for name in "abc"]
    for each in members:
        assert each.fetch() == []
    held: dict[int, HotMember] = {}
    counts: dict[int, int] = {}
    finished: set[int] = set()
    produced = 0
    for _ in range(150):
        member = choose.choice(members)
        mine = sorted(offset for offset, holder in held.items() if holder is member)
        chosen = sorted(choose.sample(mine, choose.randint(0, min(len(mine), 5))))
        asked = [(offset, offset, choose.choice([ACCEPT, RELEASE, REJECT])) for offset in chosen]
        for offset, _, kind in asked:
            del held[offset]
            if kind != RELEASE or counts[offset] == 10:
                finished.add(offset)
        if not choose.randrange(3):
            live.produce(size := choose.randint(1, 4))
            produced += size
        if asked and choose.randrange(2):
            assert member.acknowledge(*asked) == 0
            asked = []
        rows = member.fetch(*asked, max_records=choose.randint(1, 8), share_acquire_mode=choose.randint(0, 1))
        batches = split(member.records)
        for first, last, count in rows:
            for offset in range(first, last + 1):
                assert offset not in held and offset not in finished and offset < produced
                counts[offset] = counts.get(offset, 0) + 1
                assert counts[offset] == count
                assert any(each.first_offset <= offset <= each.last_offset for each in batches)
                held[offset] = member
        assert rows or len(held) + len(finished) == produced
