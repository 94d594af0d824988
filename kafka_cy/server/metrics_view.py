"""The metrics' view of the broker (`kafka_cy.telemetry.broker_view`)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from kafka_cy.storage.hosted_partition import STATE_OFFLINE

if TYPE_CHECKING:
    from kafka_cy.server.broker import KafkaServer


class MetricsView:
    """Reads a KafkaServer on the scraping thread. Tables are copied in one step before they are iterated."""

    def __init__(self, broker: KafkaServer) -> None:
        self._broker = broker

    @property
    def server(self) -> Any:
        return self._broker.server

    @property
    def state(self) -> int:
        return self._broker.state

    @property
    def broker_id(self) -> int:
        return int(self._broker.config.broker_id)

    @property
    def version(self) -> str:
        from importlib.metadata import version

        return version("kafka-cy")

    @property
    def listeners(self) -> list[str]:
        return [name for name, _, _ in self._broker.addresses]

    def counted(self) -> tuple[list[Any], list[int]]:
        logs = self._broker.logs
        return logs.counted() if logs is not None else ([], [])

    def topics(self) -> tuple[int, int, int, int]:
        cluster, logs = self._broker.cluster, self._broker.logs
        if cluster is None or logs is None:
            return 0, 0, 0, 0
        ours = cluster.broker_id
        topics = cluster.all_topics()
        hosted = {(partition.topic, partition.index) for partition in logs.counted()[0] if partition.state != STATE_OFFLINE}
        count = offline = unpreferred = 0
        for topic in topics:
            for partition in topic.partitions:
                count += 1
                leader = partition.leader
                if leader == ours and (topic.name, partition.index) not in hosted:
                    leader = -1  # its log directory failed
                offline += leader < 0
                unpreferred += leader != partition.replicas[0]
        return len(topics), count, offline, unpreferred

    def controller_epoch(self) -> int:
        metadata = self._broker.metadata
        return metadata.controller.epoch if metadata is not None else 0

    def metadata_changes(self) -> tuple[int, list[float]]:
        metadata = self._broker.metadata
        if metadata is None:
            return 0, []
        times = metadata.store.change_times
        return times.count, list(times.last_ms)

    def groups(self) -> tuple[Mapping[str, int], int, int]:
        coordinator = self._broker.groups
        groups = coordinator.all_groups() if coordinator is not None else []
        states = Counter(group.state.value for group in groups)
        offsets = sum(len(partitions) for group in groups for partitions in list(group.offsets.values()))
        return states, offsets, sum(len(group.members) for group in groups)

    def fetch_sessions(self) -> Mapping[str, int]:
        from kafka_cy.api import fetch_session_cache

        return fetch_session_cache.counters()

    def client_families(self) -> list[Any]:
        pushed = self._broker.client_telemetry
        return pushed.families() if pushed is not None else []

    def log_dirs(self) -> tuple[list[str], set[str]]:
        logs = self._broker.logs
        return (list(logs.log_dirs), set(logs.offline_dirs)) if logs is not None else ([], set())

    def cleaner(self) -> Mapping[str, Any]:
        logs = self._broker.logs
        stats = getattr(logs, "cleaner_stats", None)
        return stats() if stats is not None else {}
