"""Options of a load; the names are those of Kafka's perf tools and of the OpenMessaging Benchmark."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, Literal

from kafka_cy.bench.payloads import Payloads

#: Bytes of a record in a batch in addition to its value: lengths, offset and timestamp deltas.
RECORD_OVERHEAD_BYTES = 7
BATCH_OVERHEAD_BYTES = 61


class OptionError(ValueError):
    """Incompatible options; the text is one sentence for the user."""


@dataclass(frozen=True)
class LoadOptions:
    """One load. Sizes in bytes, rates per second; `None` means "no limit" or "the workload's default"."""

    generator: Literal["native", "librdkafka"] = "native"
    topic: str | None = None  # None: a temporary one, deleted afterwards
    topic_config: dict[str, str] = field(default_factory=dict)
    partitions: int = 4
    replication_factor: int = 1

    num_records: int | None = None
    duration_s: float = 10.0
    warm_up_s: float = 1.0
    throughput: float | None = None  # records per second in total; None: as fast as possible

    producers: int = 4  # connections, or clients of librdkafka
    consumers: int = 4
    in_flight: int = 5  # requests of one connection
    acks: int = 1  # -1: all
    idempotent: bool = False  # producers have an id, and their batches sequence numbers
    compression: str = "none"
    batch_size: int = 16_384
    batch_records: int | None = None  # overrides batch_size (native)
    linger_ms: float = 5.0  # librdkafka

    fetch_bytes: int = 1_048_576  # max.partition.fetch.bytes
    fetch_min_bytes: int = 1
    fetch_max_wait_ms: int = 500

    fill_bytes: int = 400_000_000  # consume: for a topic of its own

    groups: int = 100
    members: int = 2  # of a group (librdkafka, and the loads of members)
    group_protocol: Literal["classic", "consumer"] = "classic"
    member_kind: Literal["consumer", "static", "regex", "share", "streams"] = "consumer"  # of idle members
    idle_connections: int = 0  # in addition to the active ones
    starts: int = 10
    log_bytes: int = 1_000_000_000  # recovery: size of the log before the crash

    payloads: Payloads = field(default_factory=Payloads)
    producer_properties: dict[str, str] = field(
        default_factory=dict
    )  # librdkafka's, in addition to the broker's client options
    consumer_properties: dict[str, str] = field(default_factory=dict)

    def records_per_batch(self) -> int:
        """Records per batch of the native generator."""
        if self.batch_records is not None:
            return self.batch_records
        key = 8 if self.payloads.key_distribution != "none" else 0
        each = self.payloads.record_size + RECORD_OVERHEAD_BYTES + key
        return max(1, (self.batch_size - BATCH_OVERHEAD_BYTES) // each)

    def requests_per_s(self) -> float:
        """Of the native generator; 0 is a closed loop."""
        return self.throughput / self.records_per_batch() if self.throughput else 0.0

    def requests_max(self) -> int:
        """Of the native generator; 0 is no limit."""
        return -(-self.num_records // self.records_per_batch()) if self.num_records else 0

    def shown(self) -> dict[str, Any]:
        """Options that differ from the defaults, plus those that every report needs; for a results file."""
        chosen: dict[str, Any] = {}
        for each in dataclasses.fields(self):
            value = getattr(self, each.name)
            if each.name == "payloads":
                defaults = Payloads()
                for part in dataclasses.fields(value):
                    inner = getattr(value, part.name)
                    if inner != getattr(defaults, part.name) or part.name == "record_size":
                        chosen[part.name] = inner
            elif each.name in ALWAYS_SHOWN or value != _default(each):
                chosen[each.name] = value
        return {name: value for name, value in chosen.items() if value is not None}


ALWAYS_SHOWN = {"partitions", "duration_s"}


def _default(each: Any) -> Any:
    return each.default_factory() if each.default is dataclasses.MISSING else each.default
