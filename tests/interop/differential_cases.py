"""Requests that Apache Kafka and our broker get in the same order (see test_differential.py)."""

from __future__ import annotations

import struct
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import codec_variants

from kafka_cy.records import Record, build_batch
from kafka_cy.records.api import crc32c

TOPIC, BROKER, LOGGER, CLIENT_METRICS, GROUP = 2, 4, 8, 16, 32  # types of configuration resources
TIME_MS = 1_700_000_000_000  # timestamp of the first record; the topics keep records forever
FUTURE_MS = 4_000_000_000_000  # more than a topic accepts
UNKNOWN_ID = uuid.UUID(int=0x1234567890ABCDEF1234567890ABCDEF)
Values = dict[str, Any]


@dataclass
class State:
    """Values that one broker has returned so far; the cases write and read them."""

    log_dirs: list[str]
    topic_ids: dict[str, uuid.UUID] = field(default_factory=dict)
    saved: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Case:
    """One request. `settle`: Kafka's brokers see its effect shortly after the response."""

    name: str
    api_key: int
    version: int
    values: Values | Callable[[State], Values] = field(default_factory=dict)
    settle: bool = False
    save: Callable[[State, Values], None] | None = None
    view: Callable[[Values], Any] | None = None
    body: bytes | None = None  # sent unchanged, instead of `values`


# fmt: off
def batch(count: int, *, first: int = 0, **arguments: Any) -> bytes:
    records = [Record(timestamp_ms=TIME_MS + first + i, key=b"k%d" % i, value=b"v" * 20) for i in range(count)]
    return build_batch(records, **arguments)


def batch_of(*records: tuple[bytes | None, int], attributes: int = 0, compression: str = "none") -> bytes:
    """A batch of records with these keys and timestamps."""
    made = [Record(key=key, value=b"v" * 20, timestamp_ms=time_ms) for key, time_ms in records]
    return build_batch(made, attributes=attributes, compression=compression)


def packed(codec: str, compress: Callable[[bytes], bytes], count: int = 3) -> bytes:
    """A batch of `count` records with the codec in its attributes and the result of `compress` as its records section."""
    plain = batch(count)
    data = bytearray(plain[:61] + compress(plain[61:]))
    struct.pack_into(">i", data, 8, len(data) - 12)
    data[22] = codec_variants.CODEC_NUMBERS[codec]
    struct.pack_into(">I", data, 17, crc32c(bytes(data[21:])))
    return bytes(data)


def produce_values(topic: str, records: bytes | None, *, partition: int = 0, acks: int = -1, **more: Any) -> Values:
    partitions = [{"index": partition, "records": records}]
    return {"transactional_id": None, "acks": acks, "timeout": 5000,
            "topic_data": [{"name": topic, "partition_data": partitions}], **more}


def with_field(data: bytes, offset: int, packed: bytes) -> bytes:
    return data[:offset] + packed + data[offset + len(packed):]


def fetch_values(topic: str, offset: int, *, partition: int = 0, **more: Any) -> Values:
    entry = {"partition": partition, "current_leader_epoch": -1, "fetch_offset": offset, "last_fetched_epoch": -1,
             "log_start_offset": -1, "partition_max_bytes": 1 << 20, **more.pop("entry", {})}
    return {"replica_id": -1, "max_wait": 0, "min_bytes": 1, "max_bytes": 1 << 20, "isolation_level": 0,
            "session_id": 0, "session_epoch": -1, "topics": [{"topic": topic, "partitions": [entry]}],
            "rack_id": "", **more}


def list_offsets(timestamp: int, *, topic: str = "data", partition: int = 0, epoch: int = -1) -> Values:
    entry = {"partition_index": partition, "current_leader_epoch": epoch, "timestamp": timestamp}
    return {"replica_id": -1, "topics": [{"name": topic, "partitions": [entry]}], "timeout": 5000}


def new_topic(name: str, partitions: int = 1, replication: int = 1, *, validate: bool = False,
              assignments: list[Values] | None = None, configs: dict[str, str | None] | None = None) -> Values:
    entries = [{"name": key, "value": value} for key, value in (configs or {}).items()]
    return {"topics": [{"name": name, "num_partitions": partitions, "replication_factor": replication,
                        "assignments": assignments or [], "configs": entries}],
            "timeout": 5000, "validate_only": validate}


def new_topic_assigned(name: str, replicas: dict[int, list[int]]) -> Values:
    assigned = [{"partition_index": index, "broker_ids": brokers} for index, brokers in replicas.items()]
    return new_topic(name, -1, -1, assignments=assigned)


def configs(*resources: tuple[int, str, list[str] | None]) -> Values:
    return {"resources": [{"resource_type": kind, "resource_name": name, "configuration_keys": keys}
                          for kind, name, keys in resources], "include_synonyms": True}


def alter(kind: int, name: str, *changes: tuple[str, int, str | None], validate: bool = False) -> Values:
    entries = [{"name": key, "config_operation": how, "value": value} for key, how, value in changes]
    return {"resources": [{"resource_type": kind, "resource_name": name, "configs": entries}],
            "validate_only": validate}


def legacy(name: str, *entries: tuple[str, str | None], kind: int = TOPIC) -> Values:
    """AlterConfigs of one resource."""
    return {"resources": [{"resource_type": kind, "resource_name": name, "configs": [
        {"name": key, "value": value} for key, value in entries]}]}


def commit(group: str, offset: int, *, topic: str = "data", partition: int = 0, generation: int = -1,
           member: str = "", metadata: str | None = "m") -> Values:
    entry = {"partition_index": partition, "committed_offset": offset, "committed_leader_epoch": -1,
             "committed_metadata": metadata}
    return {"group_id": group, "generation_id_or_member_epoch": generation, "member_id": member,
            "group_instance_id": None, "retention_time_ms": -1, "topics": [{"name": topic, "partitions": [entry]}]}


def join(group: str, member: str = "", *, session: int = 10000, protocols: list[str] | None = None,
         kind: str = "consumer", instance: str | None = None) -> Values:
    names = ["range"] if protocols is None else protocols
    return {"group_id": group, "session_timeout": session, "rebalance_timeout": 10000, "member_id": member,
            "group_instance_id": instance, "protocol_type": kind, "reason": None,
            "protocols": [{"name": name, "metadata": SUBSCRIPTION} for name in names]}


# A ConsumerProtocolSubscription version 0 of the topic "data"
SUBSCRIPTION = struct.pack(">hih", 0, 1, 4) + b"data" + struct.pack(">i", -1)


def sync(group: str, member: str, generation: int, *, assignment: bytes | None = None, name: str = "range",
         instance: str | None = None) -> Values:
    given = [] if assignment is None else [{"member_id": member, "assignment": assignment}]
    return {"group_id": group, "generation_id": generation, "member_id": member, "group_instance_id": instance,
            "protocol_type": "consumer", "protocol_name": name, "assignments": given}


def heartbeat(group: str, member: str, generation: int, instance: str | None = None) -> Values:
    return {"group_id": group, "generation_id": generation, "member_id": member, "group_instance_id": instance}


def leave(group: str, *members: tuple[str, str | None]) -> Values:
    return {"group_id": group, "members": [{"member_id": member, "group_instance_id": instance, "reason": None}
                                           for member, instance in members]}


def save(name: str, key: str) -> Callable[[State, Values], None]:
    def keep(state: State, answer: Values) -> None:
        state.saved[name] = answer[key]

    return keep


def by_id(topic: str, **more: Any) -> Callable[[State], Values]:
    """A fetch of the topic by its id."""
    def values(state: State) -> Values:
        made = fetch_values(topic, 0, **more)
        made["topics"][0]["topic_id"] = state.topic_ids.get(topic, UNKNOWN_ID)
        return made

    return values


def ranges(*api_keys: int) -> Callable[[Values], Any]:
    """The version ranges of these APIs, and the error."""
    def view(answer: Values) -> Any:
        found = {each["api_key"]: (each["min_version"], each["max_version"]) for each in answer["api_keys"]}
        return {"error": answer["error_code"], "ranges": {key: found.get(key) for key in api_keys}}

    return view
# fmt: on


def without_messages(answer: Values) -> Any:
    """Produce responses; we explain some errors that Kafka does not explain, and word others differently."""
    for topic in answer["responses"]:
        for partition in topic["partition_responses"]:
            partition.pop("error_message", None)
            for error in partition.get("record_errors", ()):
                error["batch_index_error_message"] = bool(error["batch_index_error_message"])
    return answer


def partitions_of_log_dirs(answer: Values) -> Any:
    """DescribeLogDirs responses without the contents of each directory: the brokers distribute partitions differently."""
    topics = [topic for result in answer["results"] for topic in result.pop("topics")]
    partitions = [{"topic": topic["name"], **each} for topic in topics for each in topic["partitions"]]
    return answer, partitions


def log_dirs_of(*names: str) -> Callable[[Values], Any]:
    """The same for these topics only: the others may not be visible yet."""

    def view(answer: Values) -> Any:
        rest, partitions = partitions_of_log_dirs(answer)
        return rest, [each for each in partitions if each["topic"] in names]

    return view


def groups_named(*names: str) -> Callable[[Values], Any]:
    """ListGroups responses, reduced to these groups."""

    def view(answer: Values) -> Any:
        return {**answer, "groups": [each for each in answer["groups"] if each["group_id"] in names]}

    return view


def without_documentation(answer: Values) -> Any:
    """DescribeConfigs responses without the documentation, whose texts differ."""
    for result in answer["results"]:
        for entry in result["configs"]:
            entry.pop("documentation", None)
    return answer
