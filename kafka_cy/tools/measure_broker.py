"""Sizing inputs from running brokers: `/metrics` observed for some seconds, topics, and a sample of records."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from kafka_cy.sizing.units import SECONDS_PER_DAY
from kafka_cy.tools.client import REQUEST_TIMEOUT_S, ToolError, connect_admin, connect_consumer
from kafka_cy.tools.exposition import Samples, scrape
from kafka_cy.tools.measure_cluster import ClusterWatch, led_partitions
from kafka_cy.tools.measured import Measured, disk_bytes

if TYPE_CHECKING:
    from confluent_kafka.admin import AdminClient

PREFIX = "kafka_server_brokertopicmetrics_"
SAMPLED_TOPICS_MAX = 5
SAMPLED_RECORDS_MAX = 500
SAMPLE_TIMEOUT_S = 10.0
# Overhead of a record in addition to key, value and headers: lengths, offset and time deltas.
RECORD_OVERHEAD_BYTES = 7
# What only the metrics pages tell. The retention is that of the largest topics by the pages.
OF_PAGES = (
    "message_bytes", "compression_ratio", "peak_to_mean", "consumer_fan_out", "retention_days", "client_connections",
    "file_descriptors",
)  # fmt: skip


def measure_broker(bootstrap_servers: str, metrics_urls: tuple[str, ...], seconds: float) -> Measured:
    """Watch the brokers' metrics for `seconds`. Raises ToolError if one of them cannot be reached.

    If the cluster has more brokers than there are URLs, the sums are those that Kafka's protocol tells of all brokers, and a
    warning names the figures that only the pages have. No broker knows where the others' pages are.
    Compression is the uncompressed size of the largest topics' records relative to the bytes that brokers received.
    """
    urls = tuple(dict.fromkeys(metrics_urls))
    admin = connect_admin(bootstrap_servers)
    measured = Measured()
    brokers = len(admin.list_topics(timeout=REQUEST_TIMEOUT_S).brokers)
    cluster = ClusterWatch(admin, bootstrap_servers) if len(urls) < brokers else None
    first, last, peak_to_mean = _watch(urls, seconds)
    if cluster is None:
        _add_sums(first, last, len(urls), measured)
    else:
        cluster.add_to(measured)
    _, stored, sent, elapsed = _growth(first, last)
    measured.add("peak_to_mean", peak_to_mean, f"busiest second of {elapsed:.0f} s")
    measured.add(
        "consumer_fan_out", sent / stored if stored else None, f"bytes out / bytes in, rate of {elapsed:.0f} s"
    )
    topics = _topics(admin, measured)
    _sizes(bootstrap_servers, last[1], topics, measured)
    _retention(admin, last[1], topics, measured)
    measured.add_whole(
        "client_connections", last[1].total("kafka_server_socketservermetrics_connection_count"), "connections now"
    )
    limits = [value for _, value in last[1].of("process_max_fds")]
    measured.add_whole("file_descriptors", min(limits, default=None), "the processes' limit")
    if cluster is not None:
        _warn_of_pages(len(urls), brokers, measured)
    return measured


def _add_sums(first: Instant, last: Instant, brokers: int, measured: Measured) -> None:
    """What all brokers together have, if the pages are those of all."""
    messages, _, _, elapsed = _growth(first, last)
    source = f"rate of {elapsed:.0f} s"
    measured.add("messages_per_day", messages / elapsed * SECONDS_PER_DAY, source)
    used = last[1].total("kafka_log_log_size")
    measured.add("used_bytes", used, "log sizes of these brokers")
    if used:
        grown = used - first[1].total("kafka_log_log_size")
        measured.add("growth_bytes_per_day", grown / elapsed * SECONDS_PER_DAY, f"log sizes, {source}")
    total, usable = (list(last[1].of(f"kafkacy_log_dir_{name}_bytes")) for name in ("total", "usable"))
    measured.add("disk_bytes", disk_bytes(total, usable, brokers), "file systems of the log directories")


def _warn_of_pages(pages: int, brokers: int, measured: Measured) -> None:
    names = [name for name in OF_PAGES if name in measured.values]
    if names:
        measured.warnings.append(
            f"Measured of {pages} of {brokers} brokers only, because --metrics names no more: {', '.join(names)}. "
            "All other measured figures are those of the whole cluster."
        )


Instant = tuple[float, Samples]


def _watch(urls: tuple[str, ...], seconds: float) -> tuple[Instant, Instant, float | None]:
    """The first and last scrapes with their times, and the ratio of the busiest interval's byte rate to the mean."""
    instants: list[Instant] = [(time.monotonic(), scrape(urls))]
    end = instants[0][0] + seconds
    rates = []
    while instants[-1][0] < end:
        time.sleep(min(1.0, max(end - time.monotonic(), 0.05)))
        instants.append((time.monotonic(), scrape(urls)))
        _, stored, _, elapsed = _growth(instants[-2], instants[-1])
        rates.append(stored / elapsed)
    mean = sum(rates) / len(rates)
    return instants[0], instants[-1], max(rates) / mean if mean else None


def _growth(first: Instant, last: Instant) -> tuple[float, float, float, float]:
    """(messages in, bytes in, bytes out, seconds) between two scrapes. Raises ToolError if the counters are missing."""
    grown = []
    for name in ("messagesin_total", "bytesin_total", "bytesout_total"):
        if PREFIX + name not in last[1]:
            raise ToolError(f"The metrics do not include {PREFIX}{name}: is this the address of a broker?")
        grown.append(last[1].total(PREFIX + name, topic="") - first[1].total(PREFIX + name, topic=""))
    return grown[0], grown[1], grown[2], last[0] - first[0]


def _topics(admin: AdminClient, measured: Measured) -> dict[str, Any]:
    """The topics that are not internal; adds their numbers to `measured`."""
    metadata = admin.list_topics(timeout=REQUEST_TIMEOUT_S)
    topics = {name: topic for name, topic in metadata.topics.items() if not name.startswith("__")}
    partitions = [partition for topic in topics.values() for partition in topic.partitions.values()]
    measured.add_whole("brokers", len(metadata.brokers), "brokers of the cluster")
    measured.add_whole("topics", len(topics), "topics of the cluster")
    measured.add_whole("partitions", len(partitions), "partitions of the cluster")
    if partitions:
        copies = sum(len(partition.replicas) for partition in partitions) / len(partitions)
        measured.add_whole("replication_factor", copies, "mean over the partitions")
    return topics


def _largest(samples: Samples, topics: dict[str, Any]) -> list[tuple[str, float, float]]:
    """(topic, bytes in, messages in) of the topics with the most bytes."""
    sizes = samples.by("topic", PREFIX + "bytesin_total")
    counts = samples.by("topic", PREFIX + "messagesin_total")
    chosen = [(name, sizes[name], counts.get(name, 0.0)) for name in topics if sizes.get(name) and counts.get(name)]
    return sorted(chosen, key=lambda each: each[1], reverse=True)[:SAMPLED_TOPICS_MAX]


def _sizes(bootstrap_servers: str, samples: Samples, topics: dict[str, Any], measured: Measured) -> None:
    """Mean record size before compression, and compression, weighted by the bytes of the sampled topics."""
    stored = plain = 0.0
    for name, size, count in _largest(samples, topics):
        partitions = led_partitions(topics[name])
        sampled = _sampled_bytes(bootstrap_servers, name, partitions) if partitions else None
        if sampled is not None:
            stored += size
            plain += sampled * count
    messages = samples.total(PREFIX + "messagesin_total", topic="")
    mean = samples.total(PREFIX + "bytesin_total", topic="") / messages if messages else None
    if mean is None:
        return
    ratio = plain / stored if stored and plain > stored else None
    measured.add("compression_ratio", ratio, "records of the largest topics, uncompressed / received")
    measured.add("message_bytes", mean * (ratio or 1.0), "bytes in / messages in, times the compression")


def _sampled_bytes(bootstrap_servers: str, topic: str, partitions: list[int]) -> float | None:
    """Mean size in bytes of the newest records of a topic; None if it is empty."""
    from confluent_kafka import TopicPartition

    consumer = connect_consumer(bootstrap_servers, {"group.id": "kafka-cy-sizing", "enable.auto.commit": False})
    try:
        each_max = max(SAMPLED_RECORDS_MAX // len(partitions), 1)
        starts = []
        expected = 0
        for index in partitions[:SAMPLED_RECORDS_MAX]:
            low, high = consumer.get_watermark_offsets(TopicPartition(topic, index), timeout=REQUEST_TIMEOUT_S)
            start = max(high - each_max, low)
            if high > start:
                starts.append(TopicPartition(topic, index, start))
                expected += high - start
        if not starts:
            return None
        consumer.assign(starts)
        sizes: list[int] = []
        deadline = time.monotonic() + SAMPLE_TIMEOUT_S
        while len(sizes) < expected and time.monotonic() < deadline:
            for message in consumer.consume(SAMPLED_RECORDS_MAX, timeout=1.0):
                if message.error() is None:
                    sizes.append(_record_bytes(message))
        return sum(sizes) / len(sizes) if sizes else None
    finally:
        consumer.close()


def _record_bytes(message: Any) -> int:
    headers = sum(len(name) + len(value or b"") + 2 for name, value in message.headers() or ())
    return len(message.key() or b"") + len(message.value() or b"") + headers + RECORD_OVERHEAD_BYTES


def _retention(admin: AdminClient, samples: Samples, topics: dict[str, Any], measured: Measured) -> None:
    """Mean `retention.ms` of the largest topics, weighted by their bytes, excluding topics with unlimited retention."""
    from confluent_kafka.admin import ConfigResource, ResourceType

    sizes = {name: size for name, size, _ in _largest(samples, topics)}
    if not sizes:
        return
    futures = admin.describe_configs([ConfigResource(ResourceType.TOPIC, name) for name in sizes])
    kept = weights = 0.0
    for resource, future in futures.items():
        entry = future.result(REQUEST_TIMEOUT_S).get("retention.ms")
        if entry is not None and int(entry.value) > 0:
            kept += int(entry.value) / 1000 / SECONDS_PER_DAY * sizes[resource.name]
            weights += sizes[resource.name]
    measured.add("retention_days", kept / weights if weights else None, "retention.ms of the largest topics")
