"""The data of `kafka-cy top`: snapshots of the cluster, and the rates between two of them."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from kafka_cy.sizing.units import format_amount
from kafka_cy.tools.client import ToolError
from kafka_cy.tools.exposition import Samples, scrape
from kafka_cy.tools.http_text import without_user

if TYPE_CHECKING:
    from confluent_kafka.admin import AdminClient

METADATA_TIMEOUT_S = 5.0
TOPIC_METRICS = "kafka_server_brokertopicmetrics_"

# The value of a cell and its display form; None is shown as a dash.
Value = float | str | None
Row = tuple[Value, ...]


@dataclass(frozen=True)
class Look:
    """One snapshot: the cluster's metadata, each broker's metrics by its address, and the lag page.

    A page that does not respond is omitted and named in `problems`.
    """

    taken: float
    metadata: Any
    brokers: dict[str, Samples]
    lag: Samples
    problems: list[str] = field(default_factory=list)


def look(admin: AdminClient, bootstrap: str, metrics_urls: tuple[str, ...], lag_url: str) -> Look:
    """Take a snapshot. Raises ToolError if no broker responds."""
    from confluent_kafka import KafkaException

    try:
        metadata = admin.list_topics(timeout=METADATA_TIMEOUT_S)
    except KafkaException as error:
        raise ToolError(f"No broker answers at {bootstrap}.") from error
    brokers: dict[str, Samples] = {}
    problems: list[str] = []
    for url in metrics_urls:
        try:
            brokers[urlsplit(without_user(url)).netloc] = scrape((url,))
        except ToolError as error:
            problems.append(str(error))
    lag = Samples()
    try:
        lag = scrape((lag_url,))
    except ToolError as error:
        problems.append(str(error))
    return Look(time.monotonic(), metadata, brokers, lag, problems)


@dataclass(frozen=True)
class Column:
    """A column of a table; `kind` is one of kafka_cy.sizing.units.UNITS, or empty for text.

    On a narrow screen the heading is `short`, and columns with the highest `rank` are left out first (0: never).
    """

    name: str
    kind: str = ""
    per_second: bool = False
    short: str = ""
    rank: int = 0

    def text(self, value: Value) -> str:
        """The cell in human-readable form."""
        if value is None:
            return "-"
        if isinstance(value, str):
            return value
        return format_amount(self.kind, value) + ("/s" if self.per_second else "")

    def screen_text(self, value: Value) -> str:
        """As `text`, but large counts are in millions or billions to save room."""
        if self.kind == "count" and isinstance(value, (int, float)) and value >= 1e7:
            divisor, unit = (1e9, "G") if value >= 1e10 else (1e6, "M")
            return f"{value / divisor:.1f}{unit}" + ("/s" if self.per_second else "")
        return self.text(value)


MESSAGES = Column("MESSAGES", "count", per_second=True, short="MSGS")
BYTES_IN = Column("IN", "bytes", per_second=True)
BYTES_OUT = Column("OUT", "bytes", per_second=True)
NOT_IN_SYNC = Column("NOT-IN-SYNC", "count", short="URP")
BROKER_COLUMNS = (
    Column("BROKER"), Column("ADDRESS"), Column("LEADERS", "count"), Column("REPLICAS", "count"), NOT_IN_SYNC,
)  # fmt: skip
LOAD_COLUMNS = (
    Column("METRICS"), MESSAGES, BYTES_IN, BYTES_OUT, Column("REQUESTS", "count", per_second=True, short="REQS"),
    Column("PRODUCE-P99", "seconds", short="P99"), Column("CPU", "fraction"),
    Column("MEMORY", "bytes", short="MEM", rank=1), Column("CONNECTIONS", "count", short="CONNS", rank=2),
    Column("REPLICA-LAG", "count", short="RLAG", rank=3),
)  # fmt: skip
TOPIC_COLUMNS = (
    Column("TOPIC"), Column("PARTITIONS", "count", short="PARTS", rank=2), Column("COPIES", "count", short="REPL", rank=3),
    NOT_IN_SYNC, MESSAGES, BYTES_IN, BYTES_OUT, Column("SIZE", "bytes"), Column("RECORDS", "count", short="RECS", rank=1),
)  # fmt: skip
GROUP_COLUMNS = (
    Column("GROUP"), Column("MEMBERS", "count", short="MEMB"), Column("TOPICS", "count", rank=1), Column("LAG", "count"),
    Column("BEHIND", "seconds"), Column("COMMITTED", "count", per_second=True, short="COMMIT"),
)  # fmt: skip

# Clients commit every 5 s by default: a rate over less time would be 0 or too high.
COMMITTED_OVER_S = 30.0
COMMITTED_OVER_MIN_S = 15.0


class View:
    """The tables derived from snapshots; the older ones serve only for the rates.

    `before` is the one before `now`; `long_before`, up to COMMITTED_OVER_S older, is for the rate of commits.
    """

    def __init__(self, before: Look, now: Look, long_before: Look, *, internal: bool) -> None:
        self.before = before
        self.long_before = long_before
        self.now = now
        self.seconds = max(now.taken - before.taken, 1e-3)
        self.topics = {
            name: topic for name, topic in now.metadata.topics.items() if internal or not name.startswith("__")
        }

    def _rate(self, new: float, old: float) -> float:
        """Growth a second; a counter that decreased was reset."""
        return (new - old if new >= old else new) / self.seconds

    def _commit_rates(self) -> dict[str, float]:
        """Records a second that each group has committed; empty until COMMITTED_OVER_MIN_S have passed.

        Offsets that went back (a reset) count as 0.
        """
        seconds = self.now.taken - self.long_before.taken
        if seconds < COMMITTED_OVER_MIN_S:
            return {}
        name = "kafka_consumergroup_current_offset"
        old = self.long_before.lag.by("consumergroup", name)
        new = self.now.lag.by("consumergroup", name)
        return {group: max(new[group] - old[group], 0.0) / seconds for group in new.keys() & old.keys()}

    def brokers(self) -> list[Row]:
        """One row per broker, from the metadata."""
        led: dict[int, int] = {}
        hosted: dict[int, int] = {}
        lacking: dict[int, int] = {}
        for topic in self.now.metadata.topics.values():
            for partition in topic.partitions.values():
                led[partition.leader] = led.get(partition.leader, 0) + 1
                for replica in partition.replicas:
                    hosted[replica] = hosted.get(replica, 0) + 1
                    if replica not in partition.isrs:
                        lacking[replica] = lacking.get(replica, 0) + 1
        controller = self.now.metadata.controller_id
        return [
            (
                f"{number}{' (controller)' if number == controller else ''}",
                f"{broker.host}:{broker.port}",
                led.get(number, 0),
                hosted.get(number, 0),
                lacking.get(number, 0),
            )
            for number, broker in sorted(self.now.metadata.brokers.items())
        ]

    def load(self) -> list[Row]:
        """One row per broker, from its metrics."""
        rows: list[Row] = []
        for address, new in self.now.brokers.items():
            old = self.before.brokers.get(address, Samples())
            p99 = max(
                (
                    value / 1000
                    for _, value in new.of(
                        "kafka_network_requestmetrics_totaltimems", request="Produce", quantile="0.99"
                    )
                ),
                default=None,
            )
            rows.append(
                (
                    address,
                    *(
                        self._growth(new, old, name, topic="")
                        for name in (f"{TOPIC_METRICS}{each}_total" for each in ("messagesin", "bytesin", "bytesout"))
                    ),
                    self._growth(new, old, "kafka_network_requestmetrics_requests_total"),
                    p99,
                    self._growth(new, old, "process_cpu_seconds_total"),
                    new.total("process_resident_memory_bytes") or None,
                    _known_total(new, "kafka_server_socketservermetrics_connection_count"),
                    max((lag for _, lag in new.of("kafka_server_replicafetchermanager_maxlag")), default=None),
                )
            )
        return rows

    def _growth(self, new: Samples, old: Samples, name: str, **labels: str) -> float | None:
        """Growth a second of a counter; None if the page does not have it, or did not answer before."""
        if name not in new or name not in old:
            return None
        return self._rate(new.total(name, **labels), old.total(name, **labels))

    def topic_rows(self) -> list[Row]:
        """One row per topic."""
        merged: dict[str, dict[str, float]] = {"messagesin_total": {}, "bytesin_total": {}, "bytesout_total": {}}
        for name, sums in merged.items():
            for address, new in self.now.brokers.items():
                if address not in self.before.brokers:
                    continue
                old = self.before.brokers[address].by("topic", TOPIC_METRICS + name)
                for topic, value in new.by("topic", TOPIC_METRICS + name).items():
                    sums[topic] = sums.get(topic, 0.0) + self._rate(value, old.get(topic, 0.0))
        sizes: dict[str, float] = {}
        for samples in self.now.brokers.values():
            for topic, value in samples.by("topic", "kafka_log_log_size").items():
                sizes[topic] = sizes.get(topic, 0.0) + value
        ends = self.now.lag.by("topic", "kafka_topic_partition_current_offset")
        starts = self.now.lag.by("topic", "kafka_topic_partition_oldest_offset")
        rows: list[Row] = []
        for name, topic in self.topics.items():
            partitions = topic.partitions.values()
            rows.append(
                (
                    name,
                    len(partitions),
                    max((len(each.replicas) for each in partitions), default=0),
                    sum(len(each.isrs) < len(each.replicas) for each in partitions),
                    *(sums.get(name) for sums in merged.values()),
                    sizes.get(name),
                    ends[name] - starts.get(name, 0.0) if name in ends else None,
                )
            )
        return rows

    def groups(self) -> list[Row]:
        """One row per consumer group, from the lag page."""
        lag = self.now.lag
        members = lag.by("consumergroup", "kafka_consumergroup_members")
        lags = lag.by("consumergroup", "kafka_consumergroup_lag")
        offsets = lag.by("consumergroup", "kafka_consumergroup_current_offset")
        rates = self._commit_rates()
        behind: dict[str, float] = {}
        topics: dict[str, set[str]] = {}
        for labels, value in lag.of("kafka_consumergroup_lag_seconds"):
            behind[labels["consumergroup"]] = max(behind.get(labels["consumergroup"], 0.0), value)
        for labels, _ in lag.of("kafka_consumergroup_current_offset"):
            topics.setdefault(labels["consumergroup"], set()).add(labels["topic"])
        return [
            (
                name,
                members.get(name, 0),
                len(topics.get(name, ())),
                lags.get(name),
                behind.get(name),
                rates.get(name),
            )
            for name in sorted(members.keys() | offsets.keys())
        ]

    def summary(self) -> str:
        """A one-line summary of the cluster; `-` for figures that are not known."""
        lag_known = bool(self.now.lag)
        lag = f"{self.now.lag.total('kafka_consumergroup_lag'):,.0f}" if lag_known else "-"
        rows = self.load()
        partitions = sum(len(topic.partitions) for topic in self.topics.values())

        def total(index: int) -> float | None:
            known = [value for row in rows if isinstance(value := row[index], (int, float))]
            return sum(known) if known else None

        parts = [
            counted(len(self.now.metadata.brokers), "broker"),
            counted(len(self.topics), "topic"),
            counted(partitions, "partition"),
            counted(len(self.groups()), "group") if lag_known else "- groups",
            f"{MESSAGES.text(total(1))} messages",
            f"{BYTES_IN.text(total(2))} in",
            f"{BYTES_OUT.text(total(3))} out",
            f"lag {lag}",
        ]
        return ", ".join(parts)


def _known_total(samples: Samples, name: str) -> float | None:
    return samples.total(name) if name in samples else None


def counted(count: int, noun: str) -> str:
    """`1 broker`, `2 brokers`"""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
