"""The lag of fake groups, and the metric names."""

from __future__ import annotations

import struct
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from kafka_cy.coordinator.committed_offsets import CommittedOffsets
from kafka_cy.coordinator.records import CommittedOffset
from kafka_cy.coordinator.share.state_machine import SharePartition
from kafka_cy.server.lag_view import LagView
from kafka_cy.telemetry.exposition import Rows, page
from kafka_cy.telemetry.lag import BrokerAddress, LagCollector, ShareOffset, assigned_partitions
from kafka_cy.telemetry.lag_names import DIALECTS, render
from kafka_cy.telemetry.sample_lines import sample_lines

NOW_MS = 1_000_000
TOPIC = uuid.UUID(int=1)


@dataclass
class Partition:
    log_start_offset: int = 0
    high_watermark: int = 0
    state: int = 0
    log: Any = field(default_factory=lambda: SimpleNamespace(size_bytes=10))


def assignment(*topics: tuple[str, list[int]]) -> bytes:
    data = struct.pack(">hi", 1, len(topics))
    for name, partitions in topics:
        data += struct.pack(">h", len(name)) + name.encode()
        data += struct.pack(f">i{len(partitions)}i", len(partitions), *partitions)
    return data + struct.pack(">i", -1)


def committed_offsets(offsets: dict[str, dict[int, int]]) -> CommittedOffsets:
    committed = CommittedOffsets()
    for topic, partitions in offsets.items():
        for index, offset in partitions.items():
            committed.put(topic, index, CommittedOffset(offset, -1, "", 0))
    return committed


def group(group_id: str, state: str, offsets: dict[str, dict[int, int]], *members: Any) -> Any:
    return SimpleNamespace(
        group_id=group_id,
        state_name=state,
        protocol_name="range" if members else "",
        protocol_type_name="consumer",
        lag_members=lambda: list(members),
        offsets=committed_offsets(offsets),
    )


def member(name: str, *topics: tuple[str, list[int]]) -> Any:
    return SimpleNamespace(
        member_id=f"{name}-id", client_id=name, client_host="/10.0.0.1", assignment=assignment(*topics)
    )


class View:
    cluster_id = "cluster"
    controller_id = 1
    left_out = 0
    silent_brokers = 0

    def __init__(self, groups: list[Any], partitions: Mapping[tuple[str, int], Partition]) -> None:
        self.all_groups = groups
        self.partitions = dict(partitions)
        self.shares: dict[str, list[ShareOffset]] = {}

    def refresh(self) -> None:
        pass

    def coordinator_id(self, group: Any) -> int:
        return 1

    def times(self) -> Times:
        return Times()

    def brokers(self) -> list[BrokerAddress]:
        return [BrokerAddress(1, "localhost", 9092, "")]

    def topics(self) -> list[Any]:
        by_name: dict[str, list[Any]] = {}
        for name, index in self.partitions:
            by_name.setdefault(name, []).append(SimpleNamespace(index=index, leader=1, replicas=[1, 2], isr=[1]))
        return [SimpleNamespace(name=name, id=f"id of {name}", partitions=parts) for name, parts in by_name.items()]

    def cleanup_policy(self, topic: Any) -> str:
        return "delete"

    def hosted(self) -> Mapping[tuple[str, int], Partition]:
        return self.partitions

    def groups(self) -> list[Any]:
        return self.all_groups

    def share_offsets(self) -> dict[str, list[ShareOffset]]:
        return self.shares


class Times:
    """Record n has timestamp n; at most `most` look-ups fit into the budget."""

    def __init__(self, most: int = 1 << 30) -> None:
        self.most = most
        self.asked: list[int] = []

    def find(self, wanted: Iterable[tuple[Any, int]], budget_s: float) -> list[int | None]:
        offsets = [offset for _, offset in wanted]
        self.asked += offsets[: self.most]
        return [offset if i < self.most else None for i, offset in enumerate(offsets)]


def samples(view: View, times: Times | None = None, *dialects: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    collector = LagCollector(view, times or Times(), wall_clock_ms=lambda: NOW_MS)
    text = render(collector.collect(), dialects or DIALECTS).decode()
    found = {}
    for family in text_string_to_metric_families(text):
        assert family.type == "gauge", family
        for sample in family.samples:
            key = sample.name, tuple(sorted(sample.labels.items()))
            assert key not in found, "twice the same series"
            found[key] = sample.value
    return found


def at(name: str, **labels: object) -> tuple[str, tuple[tuple[str, str], ...]]:
    return name, tuple(sorted((key, str(value)) for key, value in labels.items()))


def view() -> View:
    stable = group("shop", "Stable", {"orders": {0: 40, 1: 100}}, member("ann", ("orders", [0])), member("bob"))
    left = group("left", "Empty", {"orders": {0: 10}})
    ahead = group("ahead", "Empty", {"orders": {0: 500}})  # committed in a topic that was re-created
    idle = group("idle", "Empty", {})
    partitions = {("orders", 0): Partition(20, 100), ("orders", 1): Partition(0, 100)}
    return View([stable, left, ahead, idle], partitions)


def test_kafka_exporter_and_its_fork() -> None:
    found = samples(view())
    place = {"consumergroup": "shop", "topic": "orders"}
    for name, labels, value in (
        ("kafka_exporter_build_info", {"version": version("kafka-cy")}, 1),
        ("kafka_brokers", {}, 1),
        ("kafka_broker_info", {"id": 1, "address": "localhost:9092"}, 1),
        ("kafka_topic_partitions", {"topic": "orders"}, 2),
        ("kafka_topic_partition_current_offset", {"topic": "orders", "partition": 0}, 100),
        ("kafka_topic_partition_oldest_offset", {"topic": "orders", "partition": 0}, 20),
        ("kafka_topic_partition_leader", {"topic": "orders", "partition": 0}, 1),
        ("kafka_topic_partition_replicas", {"topic": "orders", "partition": 0}, 2),
        ("kafka_topic_partition_in_sync_replica", {"topic": "orders", "partition": 0}, 1),
        ("kafka_topic_partition_leader_is_preferred", {"topic": "orders", "partition": 0}, 1),
        ("kafka_topic_partition_under_replicated_partition", {"topic": "orders", "partition": 0}, 1),
        ("kafka_consumergroup_current_offset", {**place, "partition": 0}, 40),
        ("kafka_consumergroup_current_offset_sum", place, 140),
        ("kafka_consumergroup_lag", {**place, "partition": 0}, 60),
        ("kafka_consumergroup_lag", {**place, "partition": 1}, 0),
        ("kafka_consumergroup_lag_sum", place, 60),
        ("kafka_consumergroup_lag_seconds", {**place, "partition": 0}, (NOW_MS - 40) / 1000),
        ("kafka_consumergroup_lag_seconds", {**place, "partition": 1}, 0),
        ("kafka_consumergroup_members", {"consumergroup": "shop"}, 2),
        ("kafka_consumergroup_uncommitted_offsets", {**place, "partition": 0}, 60),
        ("kafka_consumergroup_uncommitted_offsets_sum", place, 60),
        ("kafka_consumer_lag_millis", {**place, "partition": 0}, NOW_MS - 40),
    ):
        assert found[at(name, **labels)] == value, name


def test_groups_without_members_stay_and_nothing_is_negative() -> None:
    found = samples(view())
    for name in ("left", "ahead", "idle"):
        assert found[at("kafka_consumergroup_members", consumergroup=name)] == 0
    assert found[at("kafka_consumergroup_lag", consumergroup="left", topic="orders", partition=0)] == 90
    # the records up to 20 are deleted: the first remaining record is the oldest
    assert found[at("kafka_consumer_lag_millis", consumergroup="left", topic="orders", partition=0)] == NOW_MS - 20
    assert found[at("kafka_consumergroup_lag", consumergroup="ahead", topic="orders", partition=0)] == 0
    assert found[at("kafka_consumergroup_lag_seconds", consumergroup="ahead", topic="orders", partition=0)] == 0
    assert all(value >= 0 for value in found.values())


def test_share_groups_lag_by_what_is_not_finished() -> None:
    view = View([group("s", "Stable", {})], {("t", 0): Partition(2, 20), ("t", 1): Partition(0, 5)})
    view.shares = {
        "s": [ShareOffset("id of t", 0, 10, 3), ShareOffset("id of t", 1, 5, 0), ShareOffset("id of gone", 0, 1, 0)],
        "other": [ShareOffset("id of t", 0, 0, 0)],
    }
    found = LagCollector(view, Times(), wall_clock_ms=lambda: NOW_MS).collect().groups[0].committed
    assert [(each.topic, each.partition, each.offset, each.lag) for each in found] == [("t", 0, 10, 7), ("t", 1, 5, 0)]
    assert found[0].lag_ms == NOW_MS - 10 and found[1].lag_ms == 0


def test_a_share_partition_that_nobody_has_read_has_no_lag() -> None:
    """Its start offset is -1: where it begins is decided with the first fetch."""
    states = {
        SharePartition("s", TOPIC, 0): SimpleNamespace(start_offset=-1, delivery_complete_count=-1),
        SharePartition("s", TOPIC, 1): SimpleNamespace(start_offset=4, delivery_complete_count=2),
        SharePartition("s", TOPIC, 2): SimpleNamespace(start_offset=0, delivery_complete_count=-1),  # of an older Kafka
        SharePartition("new", TOPIC, 0): SimpleNamespace(start_offset=-1, delivery_complete_count=-1),
    }
    shard = SimpleNamespace(state=SimpleNamespace(states=states))
    runtime = SimpleNamespace(loaded_shards=lambda: [shard])
    share = SimpleNamespace(coordinator=SimpleNamespace(runtime=runtime))
    broker = SimpleNamespace(config=SimpleNamespace(broker_id=1), share=share)
    found = LagView(broker).share_offsets()  # type: ignore[arg-type]
    assert found == {"s": [ShareOffset(TOPIC, 1, 4, 2), ShareOffset(TOPIC, 2, 0, 0)]}


def test_kafka_lag_exporter() -> None:
    found = samples(view(), None, "kafka-lag-exporter")
    shop = {"cluster_name": "cluster", "group": "shop"}
    ann = {"member_host": "/10.0.0.1", "consumer_id": "ann-id", "client_id": "ann"}
    nobody = {"member_host": "", "consumer_id": "", "client_id": ""}
    for name, labels, value in (
        ("kafka_partition_latest_offset", {"cluster_name": "cluster", "topic": "orders", "partition": 0}, 100),
        ("kafka_partition_earliest_offset", {"cluster_name": "cluster", "topic": "orders", "partition": 0}, 20),
        ("kafka_consumergroup_group_offset", {**shop, "topic": "orders", "partition": 0, **ann}, 40),
        ("kafka_consumergroup_group_lag", {**shop, "topic": "orders", "partition": 0, **ann}, 60),
        ("kafka_consumergroup_group_lag", {**shop, "topic": "orders", "partition": 1, **nobody}, 0),
        ("kafka_consumergroup_group_lag_seconds", {**shop, "topic": "orders", "partition": 0, **ann}, (NOW_MS - 40) / 1000),
        ("kafka_consumergroup_group_max_lag", shop, 60),
        ("kafka_consumergroup_group_max_lag_seconds", shop, (NOW_MS - 40) / 1000),
        ("kafka_consumergroup_group_sum_lag", shop, 60),
        ("kafka_consumergroup_group_topic_sum_lag", {**shop, "topic": "orders"}, 60),
    ):
        assert found[at(name, **labels)] == value, name
    assert at("kafka_consumergroup_poll_time_ms", cluster_name="cluster") in found
    assert not any(name.startswith(("kminion", "kafka_topic")) for name, _ in found)


def test_kminion() -> None:
    found = samples(view(), None, "kminion")
    topic = {"group_id": "shop", "topic_name": "orders"}
    info = {"protocol": "range", "protocol_type": "consumer", "state": "Stable", "coordinator_id": 1}
    for name, labels, value in (
        ("consumer_group_info", {"group_id": "shop", **info}, 1),
        ("consumer_group_members", {"group_id": "shop"}, 2),
        ("consumer_group_empty_members", {"group_id": "shop"}, 1),
        ("consumer_group_topic_members", topic, 1),
        ("consumer_group_topic_assigned_partitions", topic, 1),
        ("consumer_group_topic_partition_lag", {**topic, "partition_id": 0}, 60),
        ("consumer_group_topic_lag", topic, 60),
        ("consumer_group_topic_offset_sum", topic, 140),
        ("topic_high_water_mark_sum", {"topic_name": "orders"}, 200),
        ("topic_low_water_mark_sum", {"topic_name": "orders"}, 20),
        ("topic_partition_high_water_mark", {"topic_name": "orders", "partition_id": 1}, 100),
        ("topic_log_dir_size_total_bytes", {"topic_name": "orders"}, 20),
        ("broker_log_dir_size_total_bytes", {"broker_id": 1, "address": "localhost", "port": 9092, "rack_id": ""}, 20),
    ):
        assert found[at(f"kminion_kafka_{name}", **labels)] == value, name
    assert at("kminion_kafka_consumer_group_empty_members", group_id="idle") not in found


def test_rows_are_written_as_python_writes_them() -> None:
    values = [0, -7, 2**63 - 1, -(2**63), 2**63, None, 0.1, 60.0, 1e300]
    places = [f'a="{i}\u00e9"}} '.encode() for i in range(len(values))]
    shown = page([("x", "gauge", "h", Rows("{", places, values)), ("empty", "gauge", "h", Rows("{", places[:1], [None]))])
    expected = [f'x{{a="{i}\u00e9"}} {value}' for i, value in enumerate(values) if value is not None]
    assert shown.decode().splitlines() == ["# HELP x h", "# TYPE x gauge", *expected]
    with pytest.raises(ValueError, match="9 places, 1 values"):
        sample_lines(b"x", places, [1])


def test_labels_of_any_text_are_valid_exposition() -> None:
    name = 'a"b\\c\nd\x00\u00e9'
    long = member("x" * 40_000, ("orders", [0]), (name, [3]))
    odd = group(name, "Stable", {"orders": {0: 1}, name: {0: 1}}, long)
    huge = group("g" * 2000, "Empty", {"orders": {0: 1}})
    found = samples(View([odd, huge], {("orders", 0): Partition(0, 5)}))
    assert found[at("kafka_consumergroup_members", consumergroup=name)] == 1
    assert found[at("kafka_consumergroup_lag", consumergroup=name, topic="orders", partition=0)] == 4
    assert all(len(value) <= 256 for _, labels in found for _, value in labels)
    assert not any(label == ("topic", name) for _, labels in found for label in labels)  # no such topic
    assert found[at("kafkacy_lag_groups_left_out")] == 1


def test_times_are_remembered_until_they_age_or_the_offset_moves(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr("kafka_cy.telemetry.lag.time.monotonic", lambda: clock.now)
    times, shown = Times(), view()
    collector = LagCollector(shown, times, wall_clock_ms=lambda: NOW_MS)
    collector.collect()
    assert sorted(times.asked) == [20, 40]
    collector.collect()
    assert sorted(times.asked) == [20, 40]
    shown.all_groups[0].offsets.put("orders", 0, CommittedOffset(41, -1, "", 0))
    collector.collect()
    assert sorted(times.asked) == [20, 40, 41]
    clock.now = 100.0
    collector.collect()
    assert sorted(times.asked) == [20, 20, 40, 41, 41]


def test_what_does_not_fit_into_the_budget_follows_at_the_next_scrape() -> None:
    groups = [group(f"g{i}", "Empty", {"orders": {0: i}}) for i in range(5)]
    times = Times(most=2)
    collector = LagCollector(View(groups, {("orders", 0): Partition(0, 9)}), times, wall_clock_ms=lambda: NOW_MS)
    counts = []
    for _ in range(3):
        snapshot = collector.collect()
        counts.append((snapshot.pending, sum(each.committed[0].lag_ms is not None for each in snapshot.groups)))
        assert all(each.committed[0].lag == 9 - i for i, each in enumerate(snapshot.groups))
    assert counts == [(3, 2), (1, 4), (0, 5)]


def test_offline_partitions_have_no_offsets() -> None:
    shown = view()
    shown.partitions["orders", 0].state = 2
    found = samples(shown)
    assert at("kafka_topic_partition_current_offset", topic="orders", partition=0) not in found
    assert at("kafka_consumergroup_lag", consumergroup="shop", topic="orders", partition=0) not in found
    assert found[at("kafka_consumergroup_current_offset", consumergroup="shop", topic="orders", partition=0)] == 40


@pytest.mark.parametrize("size", range(20))
def test_assignments_that_are_none(size: int) -> None:
    whole = assignment(("ab", [1, 2]), ("c", []))
    assert assigned_partitions(whole) == (("ab", 1), ("ab", 2))
    assert assigned_partitions(whole[:size]) == ()
    assert assigned_partitions(struct.pack(">hihi", 1, 2**31 - 1, 0, 2**31 - 1)) == ()
    assert assigned_partitions(b"\xff" * 40) == ()


def test_partitions_by_id_and_by_name() -> None:
    """Members of consumer groups have topics by id, members of streams groups by name."""
    by_id = SimpleNamespace(member_id="m", client_id="ann", client_host="/10.0.0.1", assignment={"id of orders": (0,)})
    by_name = SimpleNamespace(member_id="n", client_id="bob", client_host="/10.0.0.1", assignment={"orders": (1,), "gone": (0,)})
    partitions = {("orders", 0): Partition(0, 100), ("orders", 1): Partition(0, 100)}
    shop = group("shop", "Stable", {"orders": {0: 40, 1: 100}}, by_id, by_name)
    (found,) = LagCollector(View([shop], partitions), Times(), wall_clock_ms=lambda: NOW_MS).collect().groups
    assert [(row.partition, row.lag, row.consumer and row.consumer.client_id) for row in found.committed] == [
        (0, 60, "ann"), (1, 0, "bob")
    ]  # fmt: skip
