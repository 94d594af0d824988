"""The formulas of docs/sizing.md, one function each.

All take and return plain numbers or numpy arrays (for curves) in bytes, seconds, days and bytes a second. They do not
depend on the origin of a figure. They do not check their input, because `SizingInputs` already did.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from kafka_cy.sizing.units import SECONDS_PER_DAY

Numbers = float | NDArray[np.float64]
Amount = TypeVar("Amount", float, NDArray[np.float64])

# An entry of the offset index is 8 bytes, one of the time index 12.
INDEX_ENTRY_BYTES = 8 + 12
FILES_PER_SEGMENT = 3
# The process itself: libraries, listeners, checkpoints, the metadata store.
FILES_PER_BROKER = 200
# ZooKeeper keeps its whole tree in memory: a node with its data, path, statistics and watches.
ZNODE_BYTES = 1000
ZNODES_FIXED = 40
ZNODES_PER_TOPIC = 3
ZNODES_PER_PARTITION = 2
ZOOKEEPER_BASE_BYTES = 256e6
DAYS_PER_YEAR = 365.0
DAYS_PER_MONTH = DAYS_PER_YEAR / 12
# A float that is a whole number apart from rounding must not cost an extra broker.
CEIL_SLACK = 1e-9


def whole(number: float) -> int:
    """`number` rounded up, ignoring rounding errors."""
    return int(np.ceil(number * (1 - CEIL_SLACK)))


# -- storage --


def stored_bytes_per_day(messages_per_day: Amount, message_bytes: float, compression_ratio: float) -> Amount:
    """Bytes of one copy of a day's messages, without indexes."""
    return messages_per_day * message_bytes / compression_ratio


def grown_load(messages_per_day: float, growth_per_year: float, days: float) -> float:
    """Messages a day after `days` of even growth."""
    return float(messages_per_day * (1 + growth_per_year) ** (days / DAYS_PER_YEAR))


def index_overhead(index_interval_bytes: float) -> float:
    """Share that the offset and time indexes add: one entry in each per `index.interval.bytes`."""
    return INDEX_ENTRY_BYTES / index_interval_bytes


def segment_slack_bytes(bytes_per_day: Amount, partitions: float, segment_bytes: float, segment_days: float) -> Amount:
    """Bytes of one copy kept past retention, one segment per partition: only whole closed segments are deleted."""
    waiting: Amount = np.minimum(partitions * segment_bytes, bytes_per_day * segment_days)
    return waiting


def storage_bytes(
    bytes_per_day: Amount, retention_days: Amount, overhead: float, slack_bytes: Amount, replication_factor: float
) -> Amount:
    """Bytes on all disks together once the first messages reach the end of their retention."""
    return (bytes_per_day * retention_days * (1 + overhead) + slack_bytes) * replication_factor


def textbook_brokers(
    messages_per_day: float,
    message_bytes: float,
    retention_days: float,
    replication_factor: float,
    storage_per_broker_bytes: float,
    disk_fill: float = 0.7,
) -> int:
    """The textbook formula: messages a day x mean size x days kept x replication factor / storage a broker."""
    total = messages_per_day * message_bytes * retention_days * replication_factor
    return whole(total / (storage_per_broker_bytes * disk_fill))


def stored_curve(
    bytes_per_day: float, growth_per_year: float, retention_days: float, days: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Bytes of one copy after each of `days`, for a load that starts on empty disks and grows evenly.

    The integral of rate x (1 + growth)^(t/365) over the last `retention_days`.
    """
    since = np.maximum(days - retention_days, 0.0)
    span = days - since
    grown = np.log1p(growth_per_year) / DAYS_PER_YEAR * span
    # The mean of e^x over the span, by expm1: a difference of two exponentials would lose its digits at a small growth.
    mean = np.divide(np.expm1(grown), grown, out=np.ones_like(grown), where=grown > 0)
    return np.asarray(bytes_per_day * (1 + growth_per_year) ** (since / DAYS_PER_YEAR) * mean * span)


def days_until_full(used_bytes: float, full_bytes: float, growth_bytes_per_day: float) -> float:
    """Days until disks hold `full_bytes` at even growth: 0 if they already do, infinite without growth."""
    if used_bytes >= full_bytes:
        return 0.0
    return (full_bytes - used_bytes) / growth_bytes_per_day if growth_bytes_per_day > 0 else float("inf")


# -- throughput --


def peak_bytes_per_second(bytes_per_day: Amount, peak_to_mean: float) -> Amount:
    """Bytes a second of one copy in the busiest minutes."""
    return bytes_per_day / SECONDS_PER_DAY * peak_to_mean


def network_in(write_bytes_per_second: Amount, replication_factor: float) -> Amount:
    """Bytes a second that all brokers receive: once from producers, and once per further copy."""
    return write_bytes_per_second * replication_factor


def network_out(write_bytes_per_second: Amount, replication_factor: float, consumer_fan_out: Amount) -> Amount:
    """Bytes a second that all brokers send to the consumer groups and the followers."""
    return write_bytes_per_second * (consumer_fan_out + replication_factor - 1)


def brokers_for(load: float, per_broker: float, broker_failures: int) -> int:
    """Number of brokers such that those left after `broker_failures` carry `load`."""
    return (max(whole(load / per_broker), 1) if load > 0 else 1) + broker_failures


def partitions_for(throughput: float, producer_partition: float, consumer_partition: float) -> int:
    """Number of partitions such that their producers and consumers both reach `throughput`."""
    return max(whole(max(throughput / producer_partition, throughput / consumer_partition)), 1)


# -- memory --


def page_cache_bytes(write_bytes_per_second: Amount, lag_seconds: Amount, replication_factor: float) -> Amount:
    """Memory of all brokers for the last `lag_seconds` of writes, including the followers' copies."""
    return write_bytes_per_second * lag_seconds * replication_factor


# -- time --


def crash_recovery_seconds(
    partitions_per_broker: float, active_segment_bytes: float, recovery_bytes_per_second: float, threads: int
) -> float:
    """Time to check a broker's active segments after a crash; a clean stop needs none."""
    return partitions_per_broker * active_segment_bytes / (recovery_bytes_per_second * threads)


def copy_seconds(moved_bytes: float, bytes_per_second: float) -> float:
    """Time to copy bytes to a broker; infinite without bandwidth left."""
    return moved_bytes / bytes_per_second if bytes_per_second > 0 else float("inf")


def failover_seconds(session_timeout_seconds: float, leaders: float, election_seconds: float) -> float:
    """Time until every partition of a dead broker has a leader again."""
    return session_timeout_seconds + leaders * election_seconds


# -- other limited resources --


def open_files(replicas: float, segments_per_replica: float, connections: float) -> int:
    """File descriptors of a broker: a log and two indexes per segment, a socket per connection, the process itself."""
    return whole(replicas * segments_per_replica * FILES_PER_SEGMENT + connections + FILES_PER_BROKER)


def zookeeper_servers(failures: int) -> int:
    """Servers such that a majority survives the failures: 2 x failures + 1."""
    return 2 * failures + 1


def znodes(brokers: int, topics: int, partitions: int) -> int:
    """Number of nodes of Kafka's layout in ZooKeeper."""
    return ZNODES_FIXED + brokers + topics * ZNODES_PER_TOPIC + partitions * ZNODES_PER_PARTITION


# -- money --


def cross_zone_bytes_per_day(
    bytes_per_day: float, replication_factor: int, consumer_fan_out: float, zones: int
) -> float:
    """Bytes a day that leave a zone. Clients find the leader in another zone (zones - 1) times out of `zones`, and each
    further copy goes to another zone as long as one has no copy."""
    elsewhere = (zones - 1) / zones
    copies = min(replication_factor, zones) - 1 + max(replication_factor - zones, 0) * elsewhere
    return bytes_per_day * (elsewhere * (1 + consumer_fan_out) + copies)
