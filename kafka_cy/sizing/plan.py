"""A plan: every figure derived from `SizingInputs`, in sections, each with its reason."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kafka_cy.sizing import formulas
from kafka_cy.sizing.inputs import SizingInputs
from kafka_cy.sizing.units import SECONDS_PER_DAY, format_amount

CURVE_DAYS = 730
# Partitions and brokers depend on each other. A few rounds suffice unless segments are as large as disks.
SETTLE_ROUNDS_MAX = 100


@dataclass(frozen=True)
class Figure:
    """One result: `value` in the unit of `kind` (kafka_cy.sizing.units.UNITS)."""

    name: str
    kind: str
    value: float
    why: str

    @property
    def text(self) -> str:
        """The value in human-readable form."""
        return format_amount(self.kind, self.value)


@dataclass(frozen=True)
class Plan:
    """The figures in sections, and the warnings: one sentence for each limit that the plan breaks."""

    inputs: SizingInputs
    sections: dict[str, list[Figure]]
    warnings: list[str]

    def __getitem__(self, name: str) -> float:
        """The value of the figure `name`. Raises KeyError if it does not exist."""
        for figures in self.sections.values():
            for figure in figures:
                if figure.name == name:
                    return figure.value
        raise KeyError(name)

    @property
    def brokers(self) -> int:
        """The brokers that the figures are for: those that exist, or else those that are needed."""
        return int(self["brokers"])

    def days_until_full(self) -> float:
        """Days until the disks are full at `disk_fill`; infinite if they never are.

        Uses the measured growth if known, else the planned load on empty disks. Never less than `plan_for_days` with the
        brokers that the plan asks for, unless the measured growth goes beyond `storage`; then there is a warning.
        """
        return self["days until full"]


def make_plan(inputs: SizingInputs) -> Plan:
    """Calculate the plan. The number of brokers is the largest that any limit requires, or `inputs.brokers`."""
    return _Planner(inputs).plan()


class _Planner:
    """Holds the figures that several sections share. All are for the load at the end of `plan_for_days`."""

    def __init__(self, inputs: SizingInputs) -> None:
        self.inputs = inputs
        self.horizon = format_amount("days", inputs.plan_for_days)
        self.messages = formulas.grown_load(inputs.messages_per_day, inputs.growth_per_year, inputs.plan_for_days)
        self.per_day = formulas.stored_bytes_per_day(self.messages, inputs.message_bytes, inputs.compression_ratio)
        self.mean = self.per_day / SECONDS_PER_DAY
        self.peak = formulas.peak_bytes_per_second(self.per_day, inputs.peak_to_mean)
        self.overhead = formulas.index_overhead(inputs.index_interval_bytes)
        self.network_in = formulas.network_in(self.peak, inputs.replication_factor)
        self.network_out = formulas.network_out(self.peak, inputs.replication_factor, inputs.consumer_fan_out)
        self.page_cache = formulas.page_cache_bytes(self.peak, inputs.cached_lag_seconds, inputs.replication_factor)
        self.partitions = inputs.partitions or inputs.topics * formulas.partitions_for(
            self.peak / inputs.topics,
            inputs.producer_partition_bytes_per_second,
            inputs.consumer_partition_bytes_per_second,
        )
        for _ in range(SETTLE_ROUNDS_MAX):
            if self._settle() or inputs.partitions is not None:
                break
            # A load spreads over all brokers only if each has a partition; more partitions take more storage.
            self.partitions = inputs.topics * -(-self.brokers // inputs.topics)
        self.full_bytes = self.brokers * inputs.disk_bytes * inputs.disk_fill
        self.warnings: list[str] = []

    def _settle(self) -> bool:
        """Calculate storage and brokers for `partitions`; returns whether the partitions suffice for the brokers."""
        inputs = self.inputs
        self.slack = formulas.segment_slack_bytes(
            self.per_day, self.partitions, inputs.segment_bytes, inputs.segment_days
        )
        self.storage = formulas.storage_bytes(
            self.per_day, inputs.retention_days, self.overhead, self.slack, inputs.replication_factor
        )
        self.limits = self._brokers_by_limit()
        self.brokers_needed = max(figure.value for figure in self.limits)
        self.brokers = inputs.brokers or int(self.brokers_needed)
        return self.partitions >= self.brokers

    def plan(self) -> Plan:
        """All sections; needs only the shared figures."""
        sections = {
            "Load": self._load(),
            "Storage": self._storage(),
            "Brokers": self._brokers(),
            "Network and disk at the peak": self._throughput(),
            "Partitions": self._partitions(),
            "Memory": self._memory(),
            "Time": self._time(),
            "File descriptors": self._files(),
            "ZooKeeper": self._zookeeper(),
        }
        if cost := self._cost():
            sections["Cost a month"] = cost
        return Plan(self.inputs, sections, self.warnings)

    def _load(self) -> list[Figure]:
        inputs = self.inputs
        return [
            Figure("messages a day now", "count", inputs.messages_per_day, "given or measured"),
            Figure("planned for", "days", inputs.plan_for_days, "the brokers needed suffice until then"),
            Figure(
                "messages a day",
                "count",
                self.messages,
                f"now x (1 + growth) ^ years, after {self.horizon}: all that follows is for this load",
            ),
        ]

    def _storage(self) -> list[Figure]:
        inputs = self.inputs
        return [
            Figure("stored a day", "bytes", self.per_day, "messages a day x size / compression, one copy"),
            Figure("index overhead", "fraction", self.overhead, "20 bytes of index for every index.interval.bytes"),
            Figure(
                "expired, not yet deletable", "bytes", self.slack, "only whole closed segments are deleted; one copy"
            ),
            Figure(
                "storage", "bytes", self.storage, f"all copies ({inputs.replication_factor}) at the end of retention"
            ),
            Figure("storage a broker", "bytes", self.storage / self.brokers, "spread evenly"),
            Figure(
                "usable disk a broker", "bytes", self.full_bytes / self.brokers, f"{inputs.disk_fill:.0%} of its disk"
            ),
            Figure("days until full", "days", self._days_until_full(), self._days_reason()),
        ]

    def _days_until_full(self) -> float:
        inputs = self.inputs
        if inputs.used_bytes is not None and inputs.growth_bytes_per_day is not None:
            return self._measured_days_until_full(inputs.used_bytes, inputs.growth_bytes_per_day)
        last = max(CURVE_DAYS, math.ceil(2 * inputs.plan_for_days))
        days = np.linspace(0.0, float(last), last * 24 + 1)
        # The same tolerance as for the number of brokers: brokers that just suffice are not full.
        full = np.flatnonzero(fill_curve(inputs, self.slack, days) >= self.full_bytes * (1 + formulas.CEIL_SLACK))
        return float(days[full[0]]) if len(full) else float("inf")

    def _measured_days_until_full(self, used: float, growth: float) -> float:
        """At the measured growth, which ends when retention begins to delete: `storage` is then in use."""
        if used < self.storage <= self.full_bytes:
            return float("inf")
        days = formulas.days_until_full(used, self.full_bytes, growth)
        if days < self.inputs.plan_for_days:
            needed = formulas.whole((used + growth * self.inputs.plan_for_days) / (self.full_bytes / self.brokers))
            self.warnings.append(
                f"At the measured growth, the disks of {self.brokers} brokers are full after {format_amount('days', days)}, "
                f"before the {self.horizon} planned for. If it goes on, {needed:,} brokers are needed for storage."
            )
        return days

    def _days_reason(self) -> str:
        inputs = self.inputs
        if inputs.used_bytes is not None and inputs.growth_bytes_per_day is not None:
            growth = format_amount("bytes", inputs.growth_bytes_per_day)
            return f"from {format_amount('bytes', inputs.used_bytes)} in use, growing by {growth} a day until retention"
        years = max(CURVE_DAYS, math.ceil(2 * inputs.plan_for_days)) / formulas.DAYS_PER_YEAR
        return f"from empty disks, load growing by {inputs.growth_per_year:.0%} a year (looked at: {years:.3g} years)"

    def _brokers_by_limit(self) -> list[Figure]:
        inputs = self.inputs
        failures = min(inputs.broker_failures, inputs.replication_factor - 1)
        network = inputs.network_bytes_per_second * inputs.busy_fill
        disk = inputs.disk_bytes_per_second * inputs.busy_fill
        memory = inputs.memory_bytes - inputs.process_memory_bytes
        replicas = self.partitions * inputs.replication_factor
        left = f"with {failures} down" if failures else "with none down"
        listed = (
            (
                "for storage",
                formulas.brokers_for(self.storage, inputs.disk_bytes * inputs.disk_fill, 0),
                "storage / full disk",
            ),
            ("for network in", formulas.brokers_for(self.network_in, network, failures), f"peak / card, {left}"),
            ("for network out", formulas.brokers_for(self.network_out, network, failures), f"peak / card, {left}"),
            (
                "for disk speed",
                formulas.brokers_for(self.network_in, disk, failures),
                f"peak of all copies / disk, {left}",
            ),
            ("for page cache", formulas.brokers_for(self.page_cache, memory, 0), "page cache / memory a broker"),
            (
                "for partitions",
                formulas.brokers_for(replicas, inputs.partitions_per_broker, 0),
                "replicas / partitions_per_broker",
            ),
            ("for copies", inputs.replication_factor, "each copy on another broker"),
        )
        return [Figure(name, "count", brokers, why) for name, brokers, why in listed]

    def _brokers(self) -> list[Figure]:
        inputs = self.inputs
        textbook = formulas.textbook_brokers(
            self.messages,
            inputs.message_bytes,
            inputs.retention_days,
            inputs.replication_factor,
            inputs.disk_bytes,
            inputs.disk_fill,
        )
        reason = max(self.limits, key=lambda figure: figure.value).name
        if self.brokers < self.brokers_needed:
            self.warnings.append(
                f"There are too few brokers: {self.brokers} instead of the {self.brokers_needed:.0f} that are needed {reason}."
            )
        return [
            *self.limits,
            Figure("by the textbook formula", "count", textbook, "messages x size x days x copies / full disk"),
            Figure("brokers needed", "count", self.brokers_needed, f"the largest: {reason}"),
            Figure("brokers", "count", self.brokers, self._brokers_reason()),
        ]

    def _brokers_reason(self) -> str:
        if self.inputs.brokers is None:
            return "as needed"
        return "those that exist: the cost and all figures of a broker are for these"

    def _throughput(self) -> list[Figure]:
        brokers = self.brokers
        disk = self.network_in / brokers
        return [
            Figure("writes, mean", "bytes/s", self.mean, "stored a day / 86,400 s"),
            Figure("writes, peak", "bytes/s", self.peak, "mean x peak_to_mean"),
            Figure("network in", "bytes/s", self.network_in, "peak x copies, all brokers"),
            Figure("network out", "bytes/s", self.network_out, "peak x (fan-out + copies - 1), all brokers"),
            Figure("network in a broker", "bytes/s", self.network_in / brokers, "spread evenly"),
            Figure("network out a broker", "bytes/s", self.network_out / brokers, "spread evenly"),
            Figure("disk writes a broker", "bytes/s", disk, "as network in: every copy is written once"),
        ]

    def _partitions(self) -> list[Figure]:
        inputs = self.inputs
        why = "given" if inputs.partitions else "peak / what producers or consumers do, and one for each broker"
        if self.partitions < self.brokers:
            self.warnings.append(f"{self.partitions} partitions cannot be spread over {self.brokers} brokers.")
        replicas = self.partitions * inputs.replication_factor / self.brokers
        if replicas > inputs.partitions_per_broker:
            self.warnings.append(
                f"{replicas:,.0f} partition replicas per broker are more than the {inputs.partitions_per_broker:,} of "
                "partitions_per_broker."
            )
        return [
            Figure("partitions", "count", self.partitions, why),
            Figure("replicas a broker", "count", replicas, "partitions x copies / brokers"),
            Figure("peak a partition", "bytes/s", self.peak / self.partitions, "writes, spread evenly"),
        ]

    def _memory(self) -> list[Figure]:
        inputs = self.inputs
        cache = self.page_cache / self.brokers
        have = inputs.memory_bytes - inputs.process_memory_bytes
        served = have * self.brokers / (self.network_in or 1e-300)
        lag = format_amount("seconds", inputs.cached_lag_seconds)
        if cache > have:
            self.warnings.append(f"A lag of {lag} does not fit in the page cache: memory lasts for {served:,.0f} s.")
        return [
            Figure("page cache", "bytes", self.page_cache, f"peak x {lag} x copies, all brokers"),
            Figure("page cache a broker", "bytes", cache, "spread evenly"),
            Figure(
                "memory a broker", "bytes", cache + inputs.process_memory_bytes, "page cache + process_memory_bytes"
            ),
            Figure("lag that memory serves", "seconds", served, "memory without the process / writes at the peak"),
        ]

    def _time(self) -> list[Figure]:
        inputs = self.inputs
        brokers = self.brokers
        replicas = self.partitions * inputs.replication_factor / brokers
        free = min(
            inputs.network_bytes_per_second - self.network_in / brokers,
            inputs.disk_bytes_per_second - self.network_in / brokers,
        )
        copying = max(free, 0.0)
        if inputs.replication_throttle_bytes_per_second is not None:
            copying = min(copying, inputs.replication_throttle_bytes_per_second)
        refill = formulas.copy_seconds(self.storage / brokers, copying)
        join = formulas.copy_seconds(self.storage / (brokers + 1), copying)
        active = min(inputs.segment_bytes, self.per_day * inputs.segment_days / self.partitions) / 2
        return [
            Figure(
                "copying to a broker",
                "bytes/s",
                copying,
                "the throttle, or what network and disk have left at the peak",
            ),
            Figure("refilling a lost disk", "seconds", refill, "storage a broker / copying"),
            Figure("adding a broker", "seconds", join, "its share of the storage / copying"),
            Figure(
                "recovery after a crash",
                "seconds",
                formulas.crash_recovery_seconds(
                    replicas, active, inputs.recovery_bytes_per_second, inputs.recovery_threads
                ),
                "active segments, half full on average, are checked",
            ),
            Figure(
                "failover",
                "seconds",
                formulas.failover_seconds(
                    inputs.session_timeout_seconds, self.partitions / brokers, inputs.leader_election_seconds
                ),
                "session timeout + leaders of a broker x election",
            ),
        ]

    def _files(self) -> list[Figure]:
        inputs = self.inputs
        replicas = self.partitions * inputs.replication_factor / self.brokers
        in_a_segment = max(min(inputs.segment_bytes, self.per_day / self.partitions * inputs.segment_days), 1.0)
        segments = np.ceil(self.per_day / self.partitions * inputs.retention_days / in_a_segment) + 1
        files = formulas.open_files(replicas, segments, inputs.client_connections)
        if files > inputs.file_descriptors:
            self.warnings.append(
                f"{files:,} file descriptors are more than the {inputs.file_descriptors:,} that a broker may open."
            )
        return [
            Figure("segments a replica", "count", segments, "retention / segment, and the active one"),
            Figure("open files a broker", "count", files, "3 a segment, connections, 200 for the process"),
        ]

    def _zookeeper(self) -> list[Figure]:
        inputs = self.inputs
        nodes = formulas.znodes(self.brokers, inputs.topics, self.partitions)
        memory = formulas.ZOOKEEPER_BASE_BYTES + nodes * formulas.ZNODE_BYTES
        return [
            Figure("servers", "count", formulas.zookeeper_servers(inputs.zookeeper_failures), "2 x failures + 1"),
            Figure("nodes", "count", nodes, "3 a topic, 2 a partition, 1 a broker, 40 fixed"),
            Figure("memory a server", "bytes", memory, "256 MB + 1 kB a node"),
        ]

    def _cost(self) -> list[Figure]:
        inputs = self.inputs
        crossing = formulas.cross_zone_bytes_per_day(
            self.per_day, inputs.replication_factor, inputs.consumer_fan_out, inputs.zones
        )
        month = crossing * formulas.DAYS_PER_MONTH / 1e9
        servers = formulas.zookeeper_servers(inputs.zookeeper_failures)
        costs = [
            Figure("broker machines", "price", self.brokers * inputs.broker_month_price, "brokers x price"),
            Figure("ZooKeeper machines", "price", servers * inputs.zookeeper_month_price, "servers x price"),
            Figure(
                "disks",
                "price",
                self.brokers * inputs.disk_bytes / 1e9 * inputs.disk_gb_month_price,
                "brokers x disk x price",
            ),
            Figure("traffic between zones", "price", month * inputs.cross_zone_gb_price, f"{month:,.0f} GB x price"),
        ]
        total = sum(figure.value for figure in costs)
        if total == 0:
            return []
        gigabytes = self.per_day * formulas.DAYS_PER_MONTH / 1e9
        return [
            *costs,
            Figure("together", "price", total, "sum, in the currency of the prices"),
            Figure("a GB written", "price", total / gigabytes, "together / GB of one copy written in a month"),
        ]


def fill_curve(inputs: SizingInputs, slack_bytes: float, days: NDArray[np.float64]) -> NDArray[np.float64]:
    """Bytes on all disks after each of `days` from empty disks: records, indexes, and records kept past retention."""
    per_day = formulas.stored_bytes_per_day(inputs.messages_per_day, inputs.message_bytes, inputs.compression_ratio)
    kept = formulas.stored_curve(per_day, inputs.growth_per_year, inputs.retention_days, days)
    written = formulas.stored_curve(per_day, inputs.growth_per_year, float("inf"), days)
    waiting = np.minimum(written - kept, slack_bytes)
    return (kept * (1 + formulas.index_overhead(inputs.index_interval_bytes)) + waiting) * inputs.replication_factor
