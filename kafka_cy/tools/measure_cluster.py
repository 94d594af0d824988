"""What every member of a cluster can tell of all brokers, by Kafka's protocol: how far logs reach, their sizes, the disks."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple

from kafka_cy.sizing.units import SECONDS_PER_DAY
from kafka_cy.tools.client import REQUEST_TIMEOUT_S, ToolError
from kafka_cy.tools.cluster import broker_addresses, known
from kafka_cy.tools.measured import LabelledValue, Measured, disk_bytes
from kafka_cy.tools.raw_client import DESCRIBE_LOG_DIRS, RawClient, require_success

if TYPE_CHECKING:
    from confluent_kafka.admin import AdminClient


class _Instant(NamedTuple):
    at_s: float
    ends: dict[tuple[str, int], int]  # end offsets of the partitions that have a leader
    log_bytes: int
    brokers: int
    disks_total: list[LabelledValue]
    disks_usable: list[LabelledValue]


class ClusterWatch:
    """The load of a whole cluster, between its creation and `add_to`. Both raise ToolError."""

    def __init__(self, admin: AdminClient, bootstrap_servers: str) -> None:
        self._admin, self._bootstrap_servers = admin, bootstrap_servers
        self._first = self._look()

    def add_to(self, measured: Measured) -> None:
        """Add what all brokers together have: messages, used bytes with their growth, disks."""
        first, last = self._first, self._look()
        elapsed = last.at_s - first.at_s
        source = f"{elapsed:.0f} s, all {last.brokers} brokers"
        both = first.ends.keys() & last.ends.keys()
        messages = sum(max(last.ends[each] - first.ends[each], 0) for each in both)
        measured.add("messages_per_day", messages / elapsed * SECONDS_PER_DAY, f"end offsets of partitions, {source}")
        measured.add("used_bytes", last.log_bytes, f"log sizes of all {last.brokers} brokers")
        if last.log_bytes:
            growth = (last.log_bytes - first.log_bytes) / elapsed * SECONDS_PER_DAY
            measured.add("growth_bytes_per_day", growth, f"log sizes, {source}")
        disks = disk_bytes(last.disks_total, last.disks_usable, last.brokers)
        measured.add("disk_bytes", disks, f"file systems of the log directories of all {last.brokers} brokers")

    def _look(self) -> _Instant:
        at_s = time.monotonic()
        ends = end_offsets(self._admin)
        log_bytes = 0
        total: list[LabelledValue] = []
        usable: list[LabelledValue] = []
        addresses = broker_addresses(self._bootstrap_servers)
        for number, address in addresses.items():
            with RawClient(address) as client:
                answer = client.request(DESCRIBE_LOG_DIRS, {"topics": None})
            require_success(getattr(answer, "error_code", 0), None, f"Broker {number}")
            for folder in answer.results:
                log_bytes += sum(each.partition_size for topic in folder.topics for each in topic.partitions)
                labels = {"broker": str(number), "folder": folder.log_dir}
                for values, name in ((total, "total_bytes"), (usable, "usable_bytes")):
                    value = known(getattr(folder, name, -1))
                    if value is not None:
                        values.append((labels, float(value)))
        return _Instant(at_s, ends, log_bytes, len(addresses), total, usable)


def led_partitions(topic: Any) -> list[int]:
    """The partitions of a topic, from metadata, that have a leader. Nothing is produced to the others, and nobody tells of them."""
    return sorted(index for index, partition in topic.partitions.items() if partition.leader >= 0)


def end_offsets(admin: AdminClient) -> dict[tuple[str, int], int]:
    """Of all partitions that have a leader. Raises ToolError if one does not answer."""
    from confluent_kafka import KafkaException, TopicPartition
    from confluent_kafka.admin import OffsetSpec

    topics = admin.list_topics(timeout=REQUEST_TIMEOUT_S).topics
    asked = {
        TopicPartition(name, index): OffsetSpec.latest() for name in topics for index in led_partitions(topics[name])
    }
    ends = {}
    for place, future in admin.list_offsets(asked).items() if asked else ():
        try:
            ends[place.topic, place.partition] = future.result(REQUEST_TIMEOUT_S).offset
        except KafkaException:
            continue  # its leader or its topic has gone meanwhile
        except TimeoutError:
            name = f"{place.topic}-{place.partition}"
            raise ToolError(f"The leader of {name} did not tell its end offset in time.") from None
    return ends
