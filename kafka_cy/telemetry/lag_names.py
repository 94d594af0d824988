"""Consumer lag under the names of the exporters that people have dashboards for, as Prometheus text.

Written with plain strings: prometheus-client takes five times as long, and ten thousand partitions in a thousand groups
are some hundred thousand lines. Nobody's lag is negative, and a partition without a committed offset has none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache, cached_property

from kafka_cy.telemetry.exposition import Family, escape, labels, page
from kafka_cy.telemetry.lag import Committed, Snapshot, TopicPartition


class View:
    """A snapshot with what several dialects need of it, made once."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot

    @cached_property
    def partitions(self) -> list[tuple[str, TopicPartition]]:
        """All partitions, with `topic="...",partition="..."} `."""
        return [
            (f'topic="{name}",partition="{each.partition}"}} ', each)
            for name, partitions in self.snapshot.topics.items()
            for each in partitions
        ]

    @cached_property
    def committed(self) -> list[tuple[str, Committed]]:
        """All committed offsets, with the labels of kafka_exporter."""
        labelled = []
        for group in self.snapshot.groups:
            head = f'{{consumergroup="{escape(group.group_id)}",topic="'
            labelled += [(f'{head}{row.topic}",partition="{row.partition}"}} ', row) for row in group.committed]
        return labelled

    @cached_property
    def lags(self) -> list[str]:
        """Lag in messages by partition, with the labels of kafka_exporter."""
        return [f"{place}{row.lag}" for place, row in self.committed if row.lag is not None]

    @cached_property
    def lag_sums(self) -> list[tuple[str, str, int]]:
        """(group, topic, lag of all its partitions), escaped."""
        return self._sums(lambda row: row.lag)

    @cached_property
    def offset_sums(self) -> list[tuple[str, str, int]]:
        """(group, topic, committed offsets of all its partitions), escaped."""
        return self._sums(lambda row: row.offset)

    def _sums(self, value: Callable[[Committed], int | None]) -> list[tuple[str, str, int]]:
        found: list[tuple[str, str, int]] = []
        for group in self.snapshot.groups:
            sums: dict[str, int] = {}
            for row in group.committed:
                number = value(row)
                if number is not None:
                    sums[row.topic] = sums.get(row.topic, 0) + number
            name = escape(group.group_id)
            found += [(name, topic, total) for topic, total in sums.items()]
        return found


def render(snapshot: Snapshot, dialects: Iterable[str]) -> bytes:
    """All samples in the dialects named (keys of DIALECTS)."""
    view = View(snapshot)
    families = [family for dialect in dialects for family in DIALECTS[dialect](view)]
    left_out = "Time lags left out because the scrape's time for reading them was used up"
    families.append(_gauge("kafkacy_lag_pending_timestamps", left_out, [f" {snapshot.pending}"]))
    huge = "Groups left out because of the length of their ids"
    return page([*families, _gauge("kafkacy_lag_groups_left_out", huge, [f" {snapshot.left_out}"])])


def _gauge(name: str, help_text: str, samples: list[str]) -> Family:
    return name, "gauge", help_text, samples


# -- danielqsj/kafka_exporter --


def kafka_exporter(view: View) -> Iterable[Family]:
    """The names of danielqsj/kafka_exporter, and the lag in seconds that its users ask for."""
    snapshot = view.snapshot
    # Strimzi's board takes its variables from it.
    yield _gauge("kafka_exporter_build_info", "Version of this broker", [f"{labels(version=_version())} 1"])
    yield _gauge("kafka_brokers", "Brokers of the cluster", [f" {len(snapshot.brokers)}"])
    info = [f"{labels(id=each.broker_id, address=f'{each.host}:{each.port}')} 1" for each in snapshot.brokers]
    yield _gauge("kafka_broker_info", "One for each broker", info)
    counts = [f'{{topic="{name}"}} {len(partitions)}' for name, partitions in snapshot.topics.items()]
    yield _gauge("kafka_topic_partitions", "Partitions of the topic", counts)
    yield from _kafka_exporter_partitions(view)
    offsets = [f"{place}{row.offset}" for place, row in view.committed]
    yield _gauge("kafka_consumergroup_current_offset", "Committed offset", offsets)
    sums = [f'{{consumergroup="{group}",topic="{topic}"}} {total}' for group, topic, total in view.offset_sums]
    yield _gauge("kafka_consumergroup_current_offset_sum", "Committed offsets of all partitions", sums)
    yield _gauge("kafka_consumergroup_lag", "Records from the committed offset to the high watermark", view.lags)
    sums = [f'{{consumergroup="{group}",topic="{topic}"}} {total}' for group, topic, total in view.lag_sums]
    yield _gauge("kafka_consumergroup_lag_sum", "Lag of all partitions", sums)
    seconds = [f"{place}{row.lag_ms / 1000}" for place, row in view.committed if row.lag_ms is not None]
    yield _gauge("kafka_consumergroup_lag_seconds", "Age of the first uncommitted record", seconds)
    members = [f'{{consumergroup="{escape(group.group_id)}"}} {len(group.consumers)}' for group in snapshot.groups]
    yield _gauge("kafka_consumergroup_members", "Members of the group", members)


def _kafka_exporter_partitions(view: View) -> Iterable[Family]:
    rows = view.partitions
    name = "kafka_topic_partition_"
    ends = [f"{{{place}{each.high_watermark}" for place, each in rows if each.high_watermark is not None]
    yield _gauge(f"{name}current_offset", "High watermark", ends)
    starts = [f"{{{place}{each.start_offset}" for place, each in rows if each.start_offset is not None]
    yield _gauge(f"{name}oldest_offset", "Log start offset", starts)
    yield _gauge(f"{name}leader", "Broker id of the leader", [f"{{{place}{each.leader}" for place, each in rows])
    yield _gauge(f"{name}replicas", "Replicas", [f"{{{place}{len(each.replicas)}" for place, each in rows])
    yield _gauge(f"{name}in_sync_replica", "Replicas in sync", [f"{{{place}{len(each.isr)}" for place, each in rows])
    preferred = [f"{{{place}{int(each.leader == each.replicas[0])}" for place, each in rows]
    yield _gauge(f"{name}leader_is_preferred", "1: the first replica leads", preferred)
    lacking = [f"{{{place}{int(len(each.isr) < len(each.replicas))}" for place, each in rows]
    yield _gauge(f"{name}under_replicated_partition", "1: a replica is not in sync", lacking)


# -- Grafana's fork of it, which kafka-mixin expects --


def grafana(view: View) -> Iterable[Family]:
    """The names that Grafana's fork has beside those of kafka_exporter; nothing here is interpolated."""
    yield _gauge("kafka_consumergroup_uncommitted_offsets", "Records from the committed offset on", view.lags)
    sums = [f'{{consumergroup="{group}",topic="{topic}"}} {total}' for group, topic, total in view.lag_sums]
    yield _gauge("kafka_consumergroup_uncommitted_offsets_sum", "Uncommitted records of all partitions", sums)
    millis = [f"{place}{row.lag_ms}" for place, row in view.committed if row.lag_ms is not None]
    yield _gauge("kafka_consumer_lag_millis", "Age of the first uncommitted record", millis)


# -- kafka-lag-exporter --


def kafka_lag_exporter(view: View) -> Iterable[Family]:
    """The names of kafka-lag-exporter; labels of the consumer are empty where nobody has the partition."""
    snapshot = view.snapshot
    cluster = f'cluster_name="{escape(snapshot.cluster_id)}"'
    head = f"{{{cluster},"
    ends = [f"{head}{place}{each.high_watermark}" for place, each in view.partitions if each.high_watermark is not None]
    yield _gauge("kafka_partition_latest_offset", "High watermark", ends)
    starts = [f"{head}{place}{each.start_offset}" for place, each in view.partitions if each.start_offset is not None]
    yield _gauge("kafka_partition_earliest_offset", "Log start offset", starts)
    rows = _with_consumers(snapshot, cluster)
    offsets = [f"{place}{row.offset}" for place, row in rows]
    yield _gauge("kafka_consumergroup_group_offset", "Committed offset", offsets)
    lags = [f"{place}{row.lag}" for place, row in rows if row.lag is not None]
    yield _gauge("kafka_consumergroup_group_lag", "Records from the committed offset on", lags)
    seconds = [f"{place}{row.lag_ms / 1000}" for place, row in rows if row.lag_ms is not None]
    yield _gauge("kafka_consumergroup_group_lag_seconds", "Age of the first uncommitted record", seconds)
    yield from _kafka_lag_exporter_groups(snapshot, cluster)
    per_topic = [f'{{{cluster},group="{group}",topic="{topic}"}} {total}' for group, topic, total in view.lag_sums]
    yield _gauge("kafka_consumergroup_group_topic_sum_lag", "Lag of all partitions of a topic", per_topic)
    yield _gauge(
        "kafka_consumergroup_poll_time_ms", "How long it took to look", [f"{{{cluster}}} {snapshot.took_ms:.3f}"]
    )


def _with_consumers(snapshot: Snapshot, cluster: str) -> list[tuple[str, Committed]]:
    rows = []
    for group in snapshot.groups:
        head = f'{{{cluster},group="{escape(group.group_id)}",topic="'
        tails = {
            consumer.member_id: f'",member_host="{escape(consumer.host)}",consumer_id="{escape(consumer.member_id)}"'
            f',client_id="{escape(consumer.client_id)}"}} '
            for consumer in group.consumers
        }
        nobody = '",member_host="",consumer_id="",client_id=""} '
        for row in group.committed:
            tail = nobody if row.consumer is None else tails[row.consumer.member_id]
            rows.append((f'{head}{row.topic}",partition="{row.partition}{tail}', row))
    return rows


def _kafka_lag_exporter_groups(snapshot: Snapshot, cluster: str) -> Iterable[Family]:
    most: list[str] = []
    longest: list[str] = []
    sums: list[str] = []
    for group in snapshot.groups:
        place = f'{{{cluster},group="{escape(group.group_id)}"}}'
        lags = [row.lag for row in group.committed if row.lag is not None]
        times = [row.lag_ms for row in group.committed if row.lag_ms is not None]
        if lags:
            most.append(f"{place} {max(lags)}")
            sums.append(f"{place} {sum(lags)}")
        if times:
            longest.append(f"{place} {max(times) / 1000}")
    yield _gauge("kafka_consumergroup_group_max_lag", "Largest lag of a partition", most)
    yield _gauge("kafka_consumergroup_group_max_lag_seconds", "Age of the oldest uncommitted record", longest)
    yield _gauge("kafka_consumergroup_group_sum_lag", "Lag of all partitions", sums)


# -- redpanda kminion --


def kminion(view: View) -> Iterable[Family]:
    """The names of kminion in its default mode; log sizes are those of the replicas on this broker."""
    snapshot = view.snapshot
    yield _gauge("kminion_exporter_up", "1", [f'{{version="{_version()}"}} 1'])
    cluster = labels(
        cluster_version=_version(), broker_count=len(snapshot.brokers), controller_id=snapshot.controller_id,
        cluster_id=snapshot.cluster_id,
    )  # fmt: skip
    yield _gauge("kminion_kafka_cluster_info", "Information about the cluster", [f"{cluster} 1"])
    yield from _kminion_brokers(snapshot)
    yield from _kminion_topics(snapshot)
    yield from _kminion_groups(snapshot)
    rows: list[str] = []
    for group in snapshot.groups:
        head = f'{{group_id="{escape(group.group_id)}",topic_name="'
        rows += [
            f'{head}{r.topic}",partition_id="{r.partition}"}} {r.lag}' for r in group.committed if r.lag is not None
        ]
    yield _gauge("kminion_kafka_consumer_group_topic_partition_lag", "Records from the committed offset on", rows)
    lags = [f'{{group_id="{group}",topic_name="{topic}"}} {total}' for group, topic, total in view.lag_sums]
    yield _gauge("kminion_kafka_consumer_group_topic_lag", "Lag of all partitions", lags)
    offsets = [f'{{group_id="{group}",topic_name="{topic}"}} {total}' for group, topic, total in view.offset_sums]
    yield _gauge("kminion_kafka_consumer_group_topic_offset_sum", "Committed offsets of all partitions", offsets)


@cache
def _version() -> str:
    from importlib.metadata import version

    return version("kafka-cy")


def _kminion_brokers(snapshot: Snapshot) -> Iterable[Family]:
    infos, sizes = [], []
    total = sum(each.size_bytes for partitions in snapshot.topics.values() for each in partitions)
    for each in snapshot.brokers:
        place = {"broker_id": each.broker_id, "address": each.host, "port": each.port, "rack_id": each.rack}
        leads = str(each.broker_id == snapshot.controller_id).lower()
        infos.append(f"{labels(**place, is_controller=leads)} 1")
        if each.broker_id == snapshot.controller_id:
            sizes.append(f"{labels(**place)} {total}")
    yield _gauge("kminion_kafka_broker_info", "Information about a broker", infos)
    yield _gauge("kminion_kafka_broker_log_dir_size_total_bytes", "Size of all logs of a broker", sizes)


def _kminion_topics(snapshot: Snapshot) -> Iterable[Family]:
    infos, sizes, low_sums, high_sums = [], [], [], []
    for name, partitions in snapshot.topics.items():
        replicas = len(partitions[0].replicas) if partitions else 0
        policy = snapshot.cleanup_policies[name]
        infos.append(
            f'{{topic_name="{name}",partition_count="{len(partitions)}",replication_factor="{replicas}"'
            f',cleanup_policy="{policy}"}} 1'
        )
        place = f'{{topic_name="{name}"}}'
        sizes.append(f"{place} {sum(each.size_bytes for each in partitions)}")
        low_sums.append(f"{place} {sum(each.start_offset or 0 for each in partitions)}")
        high_sums.append(f"{place} {sum(each.high_watermark or 0 for each in partitions)}")
    yield _gauge("kminion_kafka_topic_info", "Information about a topic", infos)
    yield _gauge("kminion_kafka_topic_log_dir_size_total_bytes", "Size of the topic's logs", sizes)
    yield _gauge("kminion_kafka_topic_low_water_mark_sum", "Log start offsets of all partitions", low_sums)
    yield _gauge("kminion_kafka_topic_high_water_mark_sum", "High watermarks of all partitions", high_sums)
    places = [
        (f'{{topic_name="{name}",partition_id="{each.partition}"}} ', each)
        for name, partitions in snapshot.topics.items()
        for each in partitions
    ]
    lows = [f"{place}{each.start_offset}" for place, each in places if each.start_offset is not None]
    yield _gauge("kminion_kafka_topic_partition_low_water_mark", "Log start offset", lows)
    highs = [f"{place}{each.high_watermark}" for place, each in places if each.high_watermark is not None]
    yield _gauge("kminion_kafka_topic_partition_high_water_mark", "High watermark", highs)


def _kminion_groups(snapshot: Snapshot) -> Iterable[Family]:
    infos, members, idle, topic_members, topic_partitions = [], [], [], [], []
    for group in snapshot.groups:
        place = f'group_id="{escape(group.group_id)}"'
        info = labels(
            group_id=group.group_id, protocol=group.protocol, protocol_type=group.protocol_type, state=group.state,
            coordinator_id=group.coordinator_id,
        )  # fmt: skip
        infos.append(f"{info} {int(group.state == 'Stable')}")
        members.append(f"{{{place}}} {len(group.consumers)}")
        without = sum(1 for consumer in group.consumers if not consumer.partitions)
        if without:
            idle.append(f"{{{place}}} {without}")
        consumers_of: dict[str, int] = {}
        partitions_of: dict[str, int] = {}
        for consumer in group.consumers:
            for topic in {key[0] for key in consumer.partitions}:
                consumers_of[topic] = consumers_of.get(topic, 0) + 1
            for topic, _ in consumer.partitions:
                partitions_of[topic] = partitions_of.get(topic, 0) + 1
        topic_members += [f'{{{place},topic_name="{t}"}} {count}' for t, count in consumers_of.items()]
        topic_partitions += [f'{{{place},topic_name="{t}"}} {count}' for t, count in partitions_of.items()]
    yield _gauge("kminion_kafka_consumer_group_info", "1: the group is stable", infos)
    yield _gauge("kminion_kafka_consumer_group_members", "Members of the group", members)
    yield _gauge("kminion_kafka_consumer_group_empty_members", "Members without a partition", idle)
    yield _gauge("kminion_kafka_consumer_group_topic_members", "Members with partitions of the topic", topic_members)
    yield _gauge("kminion_kafka_consumer_group_topic_assigned_partitions", "Assigned partitions", topic_partitions)


DIALECTS: dict[str, Callable[[View], Iterable[Family]]] = {
    "kafka_exporter": kafka_exporter,
    "grafana": grafana,
    "kafka-lag-exporter": kafka_lag_exporter,
    "kminion": kminion,
}
