"""The calculators' inputs. Each field is both an option of `kafka-cy sizing` and a key of its YAML file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Any

from kafka_cy.sizing.units import SizingError, parse_amount

FILE_BYTES_MAX = 1 << 20


def amount(
    kind: str,
    default: float | None,
    text: str,
    *,
    group: str,
    least: float = 0.0,
    most: float = 1e18,
    whole: bool = False,
) -> Any:
    """A field that takes an amount of `kind` (kafka_cy.sizing.units.UNITS) between `least` and `most`."""
    described = {"kind": kind, "text": text, "group": group, "least": least, "most": most, "whole": whole}
    return field(default=default, metadata=described)


@dataclass(frozen=True, kw_only=True)
class SizingInputs:
    """A load, the brokers for it, and measurements of a running cluster. Immutable.

    Sizes are in bytes, rates in bytes a second, times in the unit of the field's name. None means unknown: the
    messages are required, the measured fields only add results.
    """

    messages_per_day: float = amount("count", None, "Messages a day", group="load", least=1e-9)
    message_bytes: float = amount("bytes", None, "Mean size of a message before compression", group="load", least=1e-9)
    compression_ratio: float = amount(
        "ratio", 1.0, "Bytes before compression to bytes after it", group="load", least=0.1, most=1000
    )
    retention_days: float = amount("days", 7.0, "How long messages are kept", group="load", least=1e-6, most=36_500)
    replication_factor: int = amount("count", 3, "Copies of each message", group="load", least=1, most=100, whole=True)
    peak_to_mean: float = amount("ratio", 2.0, "Busiest minutes to the mean", group="load", least=1, most=1000)
    consumer_fan_out: float = amount("ratio", 1.0, "How many groups read each message", group="load", most=10_000)
    growth_per_year: float = amount("fraction", 0.0, "How much the load grows in a year", group="load", most=100)
    plan_for_days: float = amount(
        "days", 365.0, "How long the brokers shall suffice while the load grows", group="load", most=3650
    )
    topics: int = amount("count", 1, "Topics", group="load", least=1, most=1e6, whole=True)
    partitions: int | None = amount(
        "count",
        None,
        "Partitions, all topics together (default: from the throughput)",
        group="load",
        least=1,
        most=1e7,
        whole=True,
    )
    client_connections: int = amount("count", 1000, "Connections of all clients", group="load", most=1e8, whole=True)
    cached_lag_seconds: float = amount(
        "seconds", 600.0, "Lag of consumers that shall still be served from memory", group="load", most=1e8
    )

    disk_bytes: float = amount("bytes", 1e12, "Disk of a broker", group="broker", least=1)
    disk_fill: float = amount(
        "fraction", 0.7, "Share of a disk that counts as full", group="broker", least=0.01, most=1
    )
    disk_bytes_per_second: float = amount("bytes/s", 200e6, "What the disk writes", group="broker", least=1)
    network_bytes_per_second: float = amount("bytes/s", 1.25e9, "Network card, each way", group="broker", least=1)
    busy_fill: float = amount(
        "fraction", 0.7, "Share of disk and network speed to plan with", group="broker", least=0.01, most=1
    )
    memory_bytes: float = amount("bytes", 16e9, "Memory of a broker's machine", group="broker", least=1)
    process_memory_bytes: float = amount(
        "bytes", 2e9, "Memory that is no page cache: the process and the system", group="broker"
    )
    partitions_per_broker: int = amount(
        "count", 4000, "Partition replicas that a broker may hold", group="broker", least=1, most=1e7, whole=True
    )
    broker_failures: int = amount(
        "count", 1, "Brokers that may be down at the peak", group="broker", most=1000, whole=True
    )
    file_descriptors: int = amount(
        "count", 100_000, "File descriptors that a broker may open", group="broker", least=1, whole=True
    )

    producer_partition_bytes_per_second: float = amount(
        "bytes/s", 10e6, "What one partition takes from producers", group="cluster", least=1
    )
    consumer_partition_bytes_per_second: float = amount(
        "bytes/s", 20e6, "What one consumer handles of one partition", group="cluster", least=1
    )
    segment_bytes: float = amount("bytes", 1073741824, "segment.bytes", group="cluster", least=1024)
    segment_days: float = amount("days", 7.0, "segment.ms", group="cluster", least=1e-6, most=36_500)
    index_interval_bytes: float = amount("bytes", 4096, "index.interval.bytes", group="cluster", least=1)
    replication_throttle_bytes_per_second: float | None = amount(
        "bytes/s", None, "Throttle of a reassignment (default: what the peak leaves free)", group="cluster", least=1
    )
    recovery_bytes_per_second: float = amount(
        "bytes/s", 500e6, "What a recovery thread checks after a crash", group="cluster", least=1
    )
    recovery_threads: int = amount(
        "count", 1, "num.recovery.threads.per.data.dir", group="cluster", least=1, most=1024, whole=True
    )
    session_timeout_seconds: float = amount(
        "seconds", 18.0, "zookeeper.session.timeout.ms", group="cluster", most=86_400
    )
    leader_election_seconds: float = amount(
        "seconds", 0.005, "Time to elect the leader of one partition", group="cluster", most=60
    )
    zookeeper_failures: int = amount(
        "count", 1, "ZooKeeper servers that may be down", group="cluster", most=10, whole=True
    )
    zones: int = amount(
        "count", 1, "Availability zones that replicas are spread over", group="cluster", least=1, most=100, whole=True
    )

    broker_month_price: float = amount("price", 0.0, "A broker's machine, a month", group="price")
    zookeeper_month_price: float = amount("price", 0.0, "A ZooKeeper server's machine, a month", group="price")
    disk_gb_month_price: float = amount("price", 0.0, "A GB of disk, a month", group="price")
    cross_zone_gb_price: float = amount("price", 0.0, "A GB sent to another zone", group="price")

    brokers: int | None = amount(
        "count", None, "Brokers there are", group="measured", least=1, most=100_000, whole=True
    )
    used_bytes: float | None = amount("bytes", None, "Bytes on all brokers' disks now", group="measured")
    growth_bytes_per_day: float | None = amount(
        "bytes", None, "What they grow by in a day", group="measured", least=-1e18
    )

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if value is None:
                continue
            described = each.metadata
            if value < described["least"] or value > described["most"]:
                bounds = f"between {described['least']:g} and {described['most']:g}"
                raise SizingError(f"{each.name} must be {bounds}, not {value:g}.")
            if described["whole"] and value != int(value):
                raise SizingError(f"{each.name} must be a whole number, not {value:g}.")
        missing = [name for name in ("messages_per_day", "message_bytes") if getattr(self, name) is None]
        if missing:
            raise SizingError(f"{' and '.join(missing)} must be given, or measured in a cluster that receives messages.")
        if self.process_memory_bytes >= self.memory_bytes:
            raise SizingError("process_memory_bytes leaves no part of memory_bytes for the page cache.")


INPUT_FIELDS: dict[str, Field[Any]] = {each.name: each for each in fields(SizingInputs)}


def parse_inputs(values: Mapping[str, object]) -> dict[str, float | int]:
    """Parse amounts of named fields, given as text or numbers, by each field's kind. Raises SizingError."""
    parsed: dict[str, float | int] = {}
    for name, value in values.items():
        known = INPUT_FIELDS.get(str(name))
        if known is None:
            raise SizingError(f"Unknown input {name!r}; kafka-cy sizing --help lists the inputs.")
        number = parse_amount(name, known.metadata["kind"], value)
        parsed[name] = int(number) if known.metadata["whole"] and number == int(number) else number
    return parsed


def read_yaml(path: Path) -> dict[str, float | int]:
    """The amounts in a YAML file of `name: amount` lines (dashes are read as underscores). Raises SizingError."""
    import yaml

    try:
        with path.open("rb") as file:
            text = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise SizingError(f"{path} cannot be read: {error.strerror}.") from error
    if len(text) > FILE_BYTES_MAX:
        raise SizingError(f"{path} is larger than {FILE_BYTES_MAX} bytes.")
    try:
        content = yaml.safe_load(text)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f" at line {mark.line + 1}" if mark is not None else ""
        raise SizingError(f"{path} is not YAML{place}.") from error
    if not isinstance(content, dict):
        raise SizingError(f"{path} must consist of `name: amount` lines.")
    try:
        return parse_inputs({str(name).replace("-", "_"): value for name, value in content.items()})
    except SizingError as error:
        raise SizingError(f"{path}: {error}") from error
