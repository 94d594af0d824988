"""The metrics' view of the broker (`kafka_cy.telemetry.broker_view`)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from kafka_cy.storage.hosted_partition import STATE_OFFLINE
from kafka_cy.telemetry.controller_counts import BY_ITSELF, ControllerCounts
from kafka_cy.telemetry.group_numbers import GroupNumbers, ShareGroupNumbers, ShareNumbers
from kafka_cy.telemetry.quota_numbers import QuotaNumbers
from kafka_cy.telemetry.replication_numbers import ReplicationNumbers
from kafka_cy.telemetry.runtime_numbers import EventNumbers, RuntimeNumbers
from kafka_cy.telemetry.transaction_numbers import TransactionNumbers

if TYPE_CHECKING:
    from kafka_cy.cluster.store import AsyncStore
    from kafka_cy.server.broker import KafkaServer

LATE_TRANSACTION_BUFFER_MS = 300_000  # Kafka: ProducerStateManager.LATE_TRANSACTION_BUFFER_MS


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

    @property
    def cluster_id(self) -> str | None:
        cluster = self._broker.cluster
        return cluster.cluster_id if cluster is not None else None

    def addresses(self) -> list[tuple[str, str]]:
        return [
            (name, f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
            for name, host, port in self._broker.addresses
        ]

    def lag_address(self) -> tuple[str, int] | None:
        lag = self._broker.lag
        if lag is None:
            return None
        return self._broker.config["kafkacy.lag.listen"].rpartition(":")[0].strip() or "127.0.0.1", lag.port

    def counted(self) -> tuple[list[Any], list[int]]:
        logs = self._broker.logs
        return logs.counted() if logs is not None else ([], [])

    def topics(self) -> tuple[int, int, int, int]:
        cluster, logs, member = self._broker.cluster, self._broker.logs, self._member
        if member is not None:
            topics, partitions, offline, unpreferred = member.partition_counts()
            return topics, partitions, offline, unpreferred
        if cluster is None or logs is None:
            return 0, 0, 0, 0
        ours = cluster.broker_id
        known = cluster.all_topics()
        hosted = {
            (partition.topic, partition.index) for partition in logs.counted()[0] if partition.state != STATE_OFFLINE
        }
        count = offline = unpreferred = 0
        for topic in known:
            for partition in topic.partitions:
                count += 1
                leader = partition.leader
                if leader == ours and (topic.name, partition.index) not in hosted:
                    leader = -1  # its log directory failed
                offline += leader < 0
                unpreferred += leader != partition.replicas[0]
        return len(known), count, offline, unpreferred

    def controller_epoch(self) -> int:
        arrangement = self._broker.arrangement
        return arrangement.controller_epoch() if arrangement is not None and self._broker.cluster is not None else 0

    def controller_counts(self) -> ControllerCounts:
        member = self._member
        if member is None:
            return BY_ITSELF
        counts: ControllerCounts = member.controller_counts()
        return counts

    @property
    def _member(self) -> Any:
        """This broker as a member of a cluster, once its metadata is loaded; else None."""
        arrangement = self._broker.arrangement
        return arrangement.member if arrangement is not None and self._broker.cluster is not None else None

    def metadata_changes(self) -> tuple[int, list[float]]:
        store = self._store
        return (store.change_times.count, list(store.change_times.last_ms)) if store is not None else (0, [])

    def session_state(self) -> str | None:
        store = self._store
        return store.session_counts.state if store is not None else None

    def session_events(self) -> Mapping[str, int]:
        store = self._store
        return store.session_counts.by_name() if store is not None else {}

    @property
    def _store(self) -> AsyncStore | None:
        """The store of the metadata, once it is loaded."""
        return self._broker.arrangement.store if self._broker.cluster is not None and self._broker.arrangement else None

    def controller_events(self) -> tuple[int, list[float], list[float]]:
        times = self._broker.controller_events
        return times.count, list(times.last_waited_ms), list(times.last_worked_ms)

    def groups(self) -> tuple[Mapping[tuple[str, str], int], int, int]:
        coordinator = self._broker.groups
        groups = coordinator.all_groups() if coordinator is not None else []
        states = Counter((group.kind, group.state_name) for group in groups)
        offsets = sum(group.offsets.count for group in groups)
        return states, offsets, sum(group.members_count for group in groups)

    def coordinator_events(self) -> EventNumbers:
        loop, events = self._broker.coordinator_loop, self._broker.coordinator_events
        return EventNumbers(loop.posted_count, events.waited.counts(), events.worked.counts())

    def runtimes(self) -> Mapping[str, RuntimeNumbers]:
        share = self._broker.share
        coordinators = {"group": self._broker.groups, "share": share.coordinator if share is not None else None}
        runtimes = {name: each.runtime if each is not None else None for name, each in coordinators.items()}
        return {
            name: RuntimeNumbers(*each.counts())._replace(flush_ns=each.flush_times.counts(), wait_ns=each.wait_times.counts())
            if each is not None
            else RuntimeNumbers()
            for name, each in runtimes.items()
        }

    def load_times_ms(self) -> Mapping[str, Sequence[float]]:
        now_s = self._broker.coordinator_loop.now()
        share = self._broker.share
        coordinators = {
            "group": self._broker.groups,
            "transaction": self._broker.transactions,
            "share": share.coordinator if share is not None else None,
        }
        return {
            name: each.runtime.load_times.recent_ms(now_s) if each is not None else []
            for name, each in coordinators.items()
        }

    def transactions(self) -> TransactionNumbers:
        coordinator = self._broker.transactions
        if coordinator is None:
            return TransactionNumbers()
        asked = coordinator.verification
        waiting = coordinator.completion.waiting.values()
        return TransactionNumbers(*coordinator.counts(), *waiting)._replace(
            refused_partitions=asked.failures, verification_ns=asked.times.counts()
        )

    def replication(self) -> ReplicationNumbers:
        member = self._broker.arrangement.member if self._broker.arrangement is not None else None
        if member is None:
            return ReplicationNumbers()
        from kafka_cy.network.broker_connection import logins_failed_so_far

        logins = self._broker.logins
        return ReplicationNumbers(*member.replicas.numbers())._replace(
            unknown_settings=member.updates.topics_without_settings(),
            logins_failed=logins_failed_so_far(), credentials_failed=logins.failures if logins is not None else 0
        )

    def fetched(self) -> list[tuple[bytes, list[Any]]]:
        member = self._broker.arrangement.member if self._broker.arrangement is not None else None
        return [] if member is None else member.replicas.fetched()

    def late_transaction_ms(self) -> int:
        return int(self._broker.config["transaction.max.timeout.ms"]) + LATE_TRANSACTION_BUFFER_MS

    def fetch_sessions(self) -> Mapping[str, int]:
        from kafka_cy.api import fetch_session_cache

        return fetch_session_cache.counters()

    def standing_fetches(self) -> Mapping[str, int]:
        from kafka_cy.api import fetch_standing

        return fetch_standing.counters()

    def authorization(self) -> Mapping[str, int] | None:
        authorizer, audit = self._broker.authorizer, self._broker.audit
        if authorizer is None:
            return None
        return {"denied": audit.denied, "dropped": audit.dropped, "acls": authorizer.image.acls}

    def waiting_deletions(self) -> int:
        waits = self._broker.delete_waits
        return waits.count if waits is not None else 0

    def share_sessions(self) -> tuple[int, int]:
        share = self._broker.share
        return (len(share.sessions), share.sessions.partition_count) if share is not None else (0, 0)

    def group_numbers(self) -> GroupNumbers:
        coordinator = self._broker.groups
        if coordinator is None:
            return GroupNumbers()
        from kafka_cy.api.offset_commit import stored_count
        from kafka_cy.coordinator import committed_offsets, open_groups

        kinds = (coordinator.consumer, coordinator.share, coordinator.streams)
        rebalances = {each.KIND.kind: each.context.lines.rebalances_count for each in kinds}
        rebalances["classic"] = coordinator.rebalancer.lines.rebalances_count
        counts, limits = coordinator.counts, coordinator.limits
        commits = counts.commits + stored_count()
        return GroupNumbers(
            rebalances, commits, counts.expirations, counts.deletions, open_groups.count(), limits.bytes,
            committed_offsets.held_bytes(), dict(limits.refused),
        )  # fmt: skip

    def share_numbers(self) -> ShareNumbers:
        share = self._broker.share
        if share is None:
            return ShareNumbers()
        counts, coordinator = share.partitions.counts, share.coordinator
        return ShareNumbers(
            dict(counts.acknowledged), counts.lock_timeouts, counts.failed_writes, counts.refused, counts.ranges,
            coordinator.write_count, coordinator.write_times.mean_and_max_ms(coordinator.loop.now()),
            counts.load_times, counts.look_times, counts.look_percents,
            {
                group_id: ShareGroupNumbers(
                    each.records, each.ranges, each.full_looks, each.range_records, each.fetch_percents, each.acquire_times
                )
                for group_id, each in share.partitions.series.shown().items()
            },
        )  # fmt: skip

    def quotas(self) -> QuotaNumbers:
        cluster, quotas = self._broker.cluster, self._broker.quotas
        if cluster is None or quotas is None:
            return QuotaNumbers()
        return QuotaNumbers(len(cluster.quotas), quotas.sensors_count, quotas.dropped, quotas.sensors())

    def client_families(self) -> list[Any]:
        pushed = self._broker.client_telemetry
        return pushed.families() if pushed is not None else []

    def log_dirs(self) -> tuple[list[str], set[str]]:
        logs = self._broker.logs
        return (list(logs.log_dirs), set(logs.offline_dirs)) if logs is not None else ([], set())

    def cordoned_dirs(self) -> frozenset[str]:
        logs = self._broker.logs
        return logs.cordoned_dirs if logs is not None else frozenset()

    def cleaner(self) -> Mapping[str, Any]:
        logs = self._broker.logs
        stats = getattr(logs, "cleaner_stats", None)
        return stats() if stats is not None else {}
