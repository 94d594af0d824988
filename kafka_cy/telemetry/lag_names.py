"""Consumer lag as Prometheus text, under the names of the exporters that common dashboards use.

It is written with plain strings: prometheus-client takes five times as long, and ten thousand partitions in a thousand
groups make some hundred thousand lines. Lag is never negative; a partition without a committed offset has no lag.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache, cached_property

from kafka_cy.telemetry.exposition import Family, Rows, escape, labels, page, utf8
from kafka_cy.telemetry.lag import Committed, Snapshot


class View:
    """A snapshot with derived values that several dialects share, each computed once."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot

    def partition_places(self, topic: str, partition: str) -> list[bytes]:
        """`topic="...",partition="..."} ` with these names of the labels, for each partition."""
        return [
            f'{topic}="{name}",{partition}="{index}"}} '.encode()
            for name, partitions in self.snapshot.topics.items()
            for index in partitions.indexes
        ]

    @cached_property
    def places(self) -> list[bytes]:
        """The partition labels that most dialects use."""
        return self.partition_places("topic", "partition")

    @cached_property
    def starts(self) -> list[int | None]:
        """The log start offset of each partition."""
        return [offset for partitions in self.snapshot.topics.values() for offset in partitions.start_offsets]

    @cached_property
    def ends(self) -> list[int | None]:
        """The high watermark of each partition."""
        return [offset for partitions in self.snapshot.topics.values() for offset in partitions.high_watermarks]

    @cached_property
    def committed(self) -> list[Committed]:
        """All committed offsets."""
        return [row for group in self.snapshot.groups for row in group.committed]

    def committed_places(self, group: str, topic: str, partition: str) -> list[bytes]:
        """`{group="...",topic="...",partition="..."} ` with these names of the labels, for each of `committed`."""
        places = []
        for each in self.snapshot.groups:
            head = f'{{{group}="{escape(each.group_id)}",{topic}="'
            places += [utf8(f'{head}{row.topic}",{partition}="{row.partition}"}} ') for row in each.committed]
        return places

    @cached_property
    def consumer_places(self) -> list[bytes]:
        """The labels of kafka_exporter, for each of `committed`."""
        return self.committed_places("consumergroup", "topic", "partition")

    @cached_property
    def offsets(self) -> list[int | None]:
        """Committed offsets, for each of `committed`."""
        return [row.offset for row in self.committed]

    @cached_property
    def lags(self) -> list[int | None]:
        """Lag in messages, for each of `committed`."""
        return [row.lag for row in self.committed]

    @cached_property
    def seconds(self) -> list[float | None]:
        """Lag in seconds, for each of `committed`."""
        return [None if row.lag_ms is None else row.lag_ms / 1000 for row in self.committed]

    @cached_property
    def sums(self) -> dict[tuple[str, str], tuple[int, int | None]]:
        """(committed offsets, lag) of all partitions, by group and topic; None: no lag is known."""
        found: dict[tuple[str, str], tuple[int, int | None]] = {}
        for group in self.snapshot.groups:
            for row in group.committed:
                key = group.group_id, row.topic
                offsets, lag = found.get(key, (0, None))
                found[key] = offsets + row.offset, lag if row.lag is None else (lag or 0) + row.lag
        return found

    def sum_places(self, group: str, topic: str) -> list[bytes]:
        """`group="...",topic="..."} ` with these names of the labels, for each of `sums`."""
        return [utf8(f'{group}="{escape(group_id)}",{topic}="{name}"}} ') for group_id, name in self.sums]

    @cached_property
    def consumer_sum_places(self) -> list[bytes]:
        """The labels of kafka_exporter, for each of `sums`."""
        return self.sum_places("consumergroup", "topic")

    @cached_property
    def offset_sums(self) -> list[int]:
        """Committed offsets of all partitions, for each of `sums`."""
        return [offsets for offsets, _ in self.sums.values()]

    @cached_property
    def lag_sums(self) -> list[int | None]:
        """Lag of all partitions, for each of `sums`."""
        return [lag for _, lag in self.sums.values()]


def render(snapshot: Snapshot, dialects: Iterable[str]) -> bytes:
    """All samples in the given dialects (keys of DIALECTS)."""
    view = View(snapshot)
    families = [family for dialect in dialects for family in DIALECTS[dialect](view)]
    left_out = "Time lags left out because the scrape's time for reading them was used up"
    families.append(_gauge("kafkacy_lag_pending_timestamps", left_out, [f" {snapshot.pending}"]))
    huge = "Groups left out because of the length of their ids, or because a broker has too many"
    families.append(_gauge("kafkacy_lag_groups_left_out", huge, [f" {snapshot.left_out}"]))
    silent = "Live brokers that did not answer, so that their groups are missing"
    return page([*families, _gauge("kafkacy_lag_silent_brokers", silent, [f" {snapshot.silent_brokers}"])])


def _gauge(name: str, help_text: str, samples: list[str] | Rows) -> Family:
    return name, "gauge", help_text, samples


# -- danielqsj/kafka_exporter --


def kafka_exporter(view: View) -> Iterable[Family]:
    """The names of danielqsj/kafka_exporter, plus the lag in seconds that its users ask for."""
    snapshot = view.snapshot
    # Strimzi's dashboard takes its variables from it.
    yield _gauge("kafka_exporter_build_info", "Version of this broker", [f"{labels(version=_version())} 1"])
    yield _gauge("kafka_brokers", "Brokers of the cluster", [f" {len(snapshot.brokers)}"])
    info = [f"{labels(id=each.broker_id, address=f'{each.host}:{each.port}')} 1" for each in snapshot.brokers]
    yield _gauge("kafka_broker_info", "One for each broker", info)
    counts = [f'{{topic="{name}"}} {len(each.indexes)}' for name, each in snapshot.topics.items()]
    yield _gauge("kafka_topic_partitions", "Partitions of the topic", counts)
    yield from _kafka_exporter_partitions(view)
    places = view.consumer_places
    yield _gauge("kafka_consumergroup_current_offset", "Committed offset", Rows("", places, view.offsets))
    sums = Rows("{", view.consumer_sum_places, view.offset_sums)
    yield _gauge("kafka_consumergroup_current_offset_sum", "Committed offsets of all partitions", sums)
    lags = Rows("", places, view.lags)
    yield _gauge("kafka_consumergroup_lag", "Records from the committed offset to the high watermark", lags)
    sums = Rows("{", view.consumer_sum_places, view.lag_sums)
    yield _gauge("kafka_consumergroup_lag_sum", "Lag of all partitions", sums)
    seconds = Rows("", places, view.seconds)
    yield _gauge("kafka_consumergroup_lag_seconds", "Age of the first uncommitted record", seconds)
    members = [f'{{consumergroup="{escape(group.group_id)}"}} {len(group.consumers)}' for group in snapshot.groups]
    yield _gauge("kafka_consumergroup_members", "Members of the group", members)


def _kafka_exporter_partitions(view: View) -> Iterable[Family]:
    def rows(values: list[int] | list[int | None]) -> Rows:
        return Rows("{", view.places, values)

    topics = view.snapshot.topics.values()
    leaders = [leader for each in topics for leader in each.leaders]
    replicas = [replicas for each in topics for replicas in each.replicas]
    counts = [len(each) for each in replicas]
    in_sync = [len(isr) for each in topics for isr in each.isrs]
    name = "kafka_topic_partition_"
    yield _gauge(f"{name}current_offset", "High watermark", rows(view.ends))
    yield _gauge(f"{name}oldest_offset", "Log start offset", rows(view.starts))
    yield _gauge(f"{name}leader", "Broker id of the leader", rows(leaders))
    yield _gauge(f"{name}replicas", "Replicas", rows(counts))
    yield _gauge(f"{name}in_sync_replica", "Replicas in sync", rows(in_sync))
    preferred = rows([int(leader == each[0]) for leader, each in zip(leaders, replicas, strict=True)])
    yield _gauge(f"{name}leader_is_preferred", "1: the first replica leads", preferred)
    lacking = rows([int(here < count) for here, count in zip(in_sync, counts, strict=True)])
    yield _gauge(f"{name}under_replicated_partition", "1: a replica is not in sync", lacking)


# -- Grafana's fork of kafka_exporter, which kafka-mixin expects --


def grafana(view: View) -> Iterable[Family]:
    """The names that Grafana's fork adds to those of kafka_exporter; unlike there, nothing is interpolated."""
    places = view.consumer_places
    lags = Rows("", places, view.lags)
    yield _gauge("kafka_consumergroup_uncommitted_offsets", "Records from the committed offset on", lags)
    sums = Rows("{", view.consumer_sum_places, view.lag_sums)
    yield _gauge("kafka_consumergroup_uncommitted_offsets_sum", "Uncommitted records of all partitions", sums)
    millis = Rows("", places, [row.lag_ms for row in view.committed])
    yield _gauge("kafka_consumer_lag_millis", "Age of the first uncommitted record", millis)


# -- kafka-lag-exporter --


def kafka_lag_exporter(view: View) -> Iterable[Family]:
    """The names of kafka-lag-exporter; consumer labels are empty if the partition is unassigned."""
    snapshot = view.snapshot
    cluster = f'cluster_name="{escape(snapshot.cluster_id)}"'
    head = f"{{{cluster},"
    yield _gauge("kafka_partition_latest_offset", "High watermark", Rows(head, view.places, view.ends))
    yield _gauge("kafka_partition_earliest_offset", "Log start offset", Rows(head, view.places, view.starts))
    places = _places_with_consumers(snapshot)
    yield _gauge("kafka_consumergroup_group_offset", "Committed offset", Rows(head, places, view.offsets))
    yield _gauge("kafka_consumergroup_group_lag", "Records from the committed offset on", Rows(head, places, view.lags))
    seconds = Rows(head, places, view.seconds)
    yield _gauge("kafka_consumergroup_group_lag_seconds", "Age of the first uncommitted record", seconds)
    yield from _kafka_lag_exporter_groups(snapshot, cluster)
    per_topic = Rows(head, view.sum_places("group", "topic"), view.lag_sums)
    yield _gauge("kafka_consumergroup_group_topic_sum_lag", "Lag of all partitions of a topic", per_topic)
    yield _gauge(
        "kafka_consumergroup_poll_time_ms", "How long it took to look", [f"{{{cluster}}} {snapshot.took_ms:.3f}"]
    )


def _places_with_consumers(snapshot: Snapshot) -> list[bytes]:
    """The labels after the cluster's name, for each committed offset."""
    places = []
    for group in snapshot.groups:
        head = f'group="{escape(group.group_id)}",topic="'
        tails = {
            consumer.member_id: f'",member_host="{escape(consumer.host)}",consumer_id="{escape(consumer.member_id)}"'
            f',client_id="{escape(consumer.client_id)}"}} '
            for consumer in group.consumers
        }
        nobody = '",member_host="",consumer_id="",client_id=""} '
        for row in group.committed:
            tail = nobody if row.consumer is None else tails[row.consumer.member_id]
            places.append(utf8(f'{head}{row.topic}",partition="{row.partition}{tail}'))
    return places


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
    """The names of kminion in its default mode; log sizes cover the replicas on this broker."""
    snapshot = view.snapshot
    yield _gauge("kminion_exporter_up", "1", [f'{{version="{_version()}"}} 1'])
    cluster = labels(
        cluster_version=_version(), broker_count=len(snapshot.brokers), controller_id=snapshot.controller_id,
        cluster_id=snapshot.cluster_id,
    )  # fmt: skip
    yield _gauge("kminion_kafka_cluster_info", "Information about the cluster", [f"{cluster} 1"])
    yield from _kminion_brokers(snapshot)
    yield from _kminion_topics(view)
    yield from _kminion_groups(snapshot)
    rows = Rows("", view.committed_places("group_id", "topic_name", "partition_id"), view.lags)
    yield _gauge("kminion_kafka_consumer_group_topic_partition_lag", "Records from the committed offset on", rows)
    places = view.sum_places("group_id", "topic_name")
    lags = Rows("{", places, view.lag_sums)
    yield _gauge("kminion_kafka_consumer_group_topic_lag", "Lag of all partitions", lags)
    offsets = Rows("{", places, view.offset_sums)
    yield _gauge("kminion_kafka_consumer_group_topic_offset_sum", "Committed offsets of all partitions", offsets)


@cache
def _version() -> str:
    from importlib.metadata import version

    return version("kafka-cy")


def _kminion_brokers(snapshot: Snapshot) -> Iterable[Family]:
    infos, sizes = [], []
    total = sum(partitions.size_bytes for partitions in snapshot.topics.values())
    for each in snapshot.brokers:
        place = {"broker_id": each.broker_id, "address": each.host, "port": each.port, "rack_id": each.rack}
        leads = str(each.broker_id == snapshot.controller_id).lower()
        infos.append(f"{labels(**place, is_controller=leads)} 1")
        if each.broker_id == snapshot.controller_id:
            sizes.append(f"{labels(**place)} {total}")
    yield _gauge("kminion_kafka_broker_info", "Information about a broker", infos)
    yield _gauge("kminion_kafka_broker_log_dir_size_total_bytes", "Size of all logs of a broker", sizes)


def _kminion_topics(view: View) -> Iterable[Family]:
    snapshot = view.snapshot
    infos, sizes, low_sums, high_sums = [], [], [], []
    for name, partitions in snapshot.topics.items():
        replicas = len(partitions.replicas[0]) if partitions.replicas else 0
        policy = snapshot.cleanup_policies[name]
        infos.append(
            f'{{topic_name="{name}",partition_count="{len(partitions.indexes)}",replication_factor="{replicas}"'
            f',cleanup_policy="{policy}"}} 1'
        )
        place = f'{{topic_name="{name}"}}'
        sizes.append(f"{place} {partitions.size_bytes}")
        low_sums.append(f"{place} {sum(offset or 0 for offset in partitions.start_offsets)}")
        high_sums.append(f"{place} {sum(offset or 0 for offset in partitions.high_watermarks)}")
    yield _gauge("kminion_kafka_topic_info", "Information about a topic", infos)
    yield _gauge("kminion_kafka_topic_log_dir_size_total_bytes", "Size of the topic's logs", sizes)
    yield _gauge("kminion_kafka_topic_low_water_mark_sum", "Log start offsets of all partitions", low_sums)
    yield _gauge("kminion_kafka_topic_high_water_mark_sum", "High watermarks of all partitions", high_sums)
    places = view.partition_places("topic_name", "partition_id")
    yield _gauge("kminion_kafka_topic_partition_low_water_mark", "Log start offset", Rows("{", places, view.starts))
    yield _gauge("kminion_kafka_topic_partition_high_water_mark", "High watermark", Rows("{", places, view.ends))


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
