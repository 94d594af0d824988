"""The settings that `kafka-cy bench tune` searches over, their durability guarantees, and their form in each client."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Place = Literal["producer", "consumer", "topic"]
Settings = dict[str, str]

GOALS = ("throughput", "latency", "durability")
#: Kafka's default of `flush.messages`: the operating system decides when to write to the disk.
NEVER = "9223372036854775807"
PARTITIONS = "partitions"
IN_FLIGHT = "max.in.flight.requests.per.connection"
#: The maximum of requests in flight for an idempotent producer (Kafka's ProducerConfig).
IDEMPOTENT_IN_FLIGHT_MAX = 5


@dataclass(frozen=True)
class Setting:
    """One setting. `name` is the Java name, `librdkafka` is librdkafka's; the first value is Kafka's default.

    `concerns` are the goals that the setting is known to affect most. These settings are tried first.
    """

    name: str
    place: Place
    values: tuple[str, ...]
    concerns: tuple[str, ...]
    librdkafka: str = ""


SETTINGS = (
    Setting("batch.size", "producer", ("16384", "262144", "65536", "4096", "1000000"), ("throughput", "latency")),
    Setting("linger.ms", "producer", ("5", "0", "20", "100"), ("throughput", "latency")),
    Setting("acks", "producer", ("all", "1", "0"), ("throughput", "latency", "durability")),
    Setting("compression.type", "producer", ("none", "lz4", "zstd", "snappy", "gzip"), ("throughput",)),
    Setting(IN_FLIGHT, "producer", ("5", "1", "100"), ()),
    Setting("fetch.min.bytes", "consumer", ("1", "65536", "1048576"), ("throughput", "latency")),
    Setting("fetch.max.wait.ms", "consumer", ("500", "100", "10"), ("latency",), "fetch.wait.max.ms"),
    Setting(PARTITIONS, "topic", ("4", "1", "16"), ("throughput",)),
    Setting("flush.messages", "topic", (NEVER, "1", "1000"), ("durability",)),
    Setting("min.insync.replicas", "topic", ("1", "2", "3"), ("durability",)),
)


def searched(replication_factor: int) -> list[Setting]:
    """The settings to search over with this replication factor, without those that cannot make a difference."""
    found = []
    for setting in SETTINGS:
        if setting.name == "min.insync.replicas":
            values = tuple(value for value in setting.values if int(value) <= replication_factor)
            if len(values) > 1:
                found.append(Setting(setting.name, setting.place, values, setting.concerns))
        else:
            found.append(setting)
    return found


def baseline(settings: list[Setting]) -> Settings:
    """Kafka's defaults, with four partitions."""
    return {setting.name: setting.values[0] for setting in settings}


def is_idempotent(chosen: Settings) -> bool:
    """Whether the producer is idempotent. The Java producer is, wherever its other settings allow it."""
    in_flight = int(chosen[IN_FLIGHT])
    return chosen["acks"] == "all" and in_flight <= IDEMPOTENT_IN_FLIGHT_MAX


def survives(chosen: Settings) -> list[str]:
    """The failures that every acknowledged record is guaranteed to survive."""
    if chosen["acks"] == "0":
        return []
    found = ["death of the broker's process"]
    if chosen["acks"] == "all" and int(chosen.get("min.insync.replicas", "1")) > 1:
        found.append("loss of a broker")
    if chosen["flush.messages"] == "1":
        found.append("power failure")
    return found


def _of(place: Place, chosen: Settings) -> Settings:
    return {each.name: chosen[each.name] for each in SETTINGS if each.place == place and each.name in chosen}


def java_producer(chosen: Settings) -> Settings:
    """Java's producer properties."""
    return {**_of("producer", chosen), "enable.idempotence": str(is_idempotent(chosen)).lower()}


def java_consumer(chosen: Settings) -> Settings:
    """Java's consumer properties."""
    return _of("consumer", chosen)


def _in_librdkafka(properties: Settings) -> Settings:
    names = {each.name: each.librdkafka or each.name for each in SETTINGS}
    return {names.get(name, name): value for name, value in properties.items()}


def librdkafka_producer(chosen: Settings) -> Settings:
    """The same under librdkafka's names. librdkafka also limits the records of a batch; this raises that limit."""
    return {**_in_librdkafka(java_producer(chosen)), "batch.num.messages": "1000000"}


def librdkafka_consumer(chosen: Settings) -> Settings:
    """The same under librdkafka's names."""
    return _in_librdkafka(java_consumer(chosen))


def topic_config(chosen: Settings) -> Settings:
    """The topic's configuration, without the values that are Kafka's defaults."""
    defaults = {each.name: each.values[0] for each in SETTINGS}
    chosen = {name: value for name, value in _of("topic", chosen).items() if name != PARTITIONS}
    return {name: value for name, value in chosen.items() if value != defaults[name]}
