"""What consumer lag asks another broker: the requests of lag exporters, so that an Apache Kafka broker answers them as well.

ListGroups 4, DescribeGroups 5, OffsetFetch 8, ListOffsets 5 and Fetch 11: Kafka has them since 2.6 or, OffsetFetch, since 3.0.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from kafka_cy.network.broker_connection import BrokerConnection
from kafka_cy.protocol.decoder import Cursor, entity_reader
from kafka_cy.protocol.encoder import entity_writer
from kafka_cy.protocol.errors import ErrorCode
from kafka_cy.protocol.schema import is_flexible, message_class
from kafka_cy.records.api import find_timestamp, iterate_batches
from kafka_cy.storage.hosted_partition import STATE_ONLINE

# Of one broker; what is beyond them is counted as left out, or fails the request.
GROUPS_MAX = 50_000
OFFSETS_MAX = 1_000_000  # committed offsets of all groups together
ELEMENTS_MAX = 5_000_000
RESPONSE_BYTES_MAX = 64 << 20
GROUPS_AT_ONCE = 50
PARTITIONS_AT_ONCE = 5_000
CONTROL_BATCHES_MAX = 8  # skipped in search of a record
FETCH, LIST_OFFSETS, OFFSET_FETCH, DESCRIBE_GROUPS, LIST_GROUPS = 1, 2, 9, 15, 16
LATEST, EARLIEST = -1, -2
DEAD = "Dead"
ANY_TIMESTAMP_MS = -(1 << 62)

PartitionKey = tuple[str, int]
T = TypeVar("T")


class PeerRefused(Exception):
    """The broker does not answer what was asked; the text says why."""


class PeerMember(NamedTuple):
    """A member of a group that another broker coordinates."""

    member_id: str
    client_id: str
    client_host: str
    assignment: bytes


class PeerOffsets(dict[str, list[tuple[int, int]]]):
    """Committed offsets: (partition, offset) by topic."""

    def positions(self, topic: str) -> list[tuple[int, int]]:
        """(partition, offset) of each committed offset of the topic."""
        return self[topic]


class PeerGroup(NamedTuple):
    """A group that another broker coordinates, with what LagCollector reads of a group."""

    group_id: str
    coordinator_id: int
    state_name: str
    protocol_name: str
    protocol_type_name: str
    members: list[PeerMember]
    offsets: PeerOffsets

    def lag_members(self) -> list[PeerMember]:
        """The members."""
        return self.members


class PeerPartition(NamedTuple):
    """A partition without a replica on this broker, with what LagCollector reads of a partition."""

    leader: int
    key: PartitionKey
    log_start_offset: int
    high_watermark: int
    state: int = STATE_ONLINE
    log: None = None


class PeerAnswer(NamedTuple):
    """What one broker answered. `left_out`: groups beyond GROUPS_MAX, or beyond OFFSETS_MAX."""

    groups: list[PeerGroup]
    partitions: list[PeerPartition]
    left_out: int


class LagRequests:
    """The requests to one broker, one at a time. Owner: the thread that has the connection."""

    def __init__(self, broker_id: int, connection: BrokerConnection) -> None:
        self.broker_id = broker_id
        self.connection = connection
        self.deadline = 0.0  # monotonic seconds; no request begins after it

    def ask(self, wanted: Sequence[PartitionKey]) -> PeerAnswer:
        """Its groups, and the offsets of these partitions, which it leads.

        Raises BrokerConnectionError, MalformedRequest, PeerRefused.
        """
        listed = self._call(LIST_GROUPS, 4, {})
        if listed.error_code:
            raise PeerRefused(f"ListGroups is answered with {_error_name(listed.error_code)}")
        ids = [each.group_id for each in listed.groups]
        groups: list[PeerGroup] = []
        asked = offsets = 0
        for some in _slices(ids[:GROUPS_MAX], GROUPS_AT_ONCE):
            if offsets > OFFSETS_MAX:
                break
            found = self._groups(some)
            groups += found
            asked += len(some)
            offsets += sum(len(rows) for group in found for rows in group.offsets.values())
        starts, ends = self._list_offsets(wanted, EARLIEST), self._list_offsets(wanted, LATEST)
        partitions = [PeerPartition(self.broker_id, key, starts[key], ends[key]) for key in wanted if key in starts and key in ends]
        return PeerAnswer(groups, partitions, len(ids) - asked)

    def timestamp_ms(self, key: PartitionKey, offset: int, end: int) -> int:
        """Timestamp of the first record at or after `offset`, below `end`; -1: there is none.

        Raises BrokerConnectionError, MalformedRequest, PeerRefused, InvalidBatch.
        """
        for _ in range(CONTROL_BATCHES_MAX):
            records = self._first_batch(key, offset) if offset < end else b""
            batch = next(iterate_batches(records, allow_partial=True), None)
            if batch is None:
                return -1
            if not batch.is_control:
                found = find_timestamp(batch.data, ANY_TIMESTAMP_MS, min_offset=offset)
                if found is not None:
                    return found[1]
            if batch.last_offset < offset:
                break
            offset = batch.last_offset + 1
        return -1

    def _first_batch(self, key: PartitionKey, offset: int) -> bytes:
        """One byte is asked for, so the answer is the one batch that holds the offset."""
        partition = {"partition": key[1], "fetch_offset": offset, "partition_max_bytes": 1}
        answer = self._call(FETCH, 11, {"max_bytes": 1, "topics": [{"topic": key[0], "partitions": [partition]}]})
        for topic in answer.responses:
            for each in topic.partitions:
                if each.error_code:
                    raise PeerRefused(f"Fetch of {key[0]}-{key[1]} is answered with {_error_name(each.error_code)}")
                return bytes(each.records or b"")
        raise PeerRefused(f"Fetch is answered without {key[0]}-{key[1]}")

    def _groups(self, ids: Sequence[str]) -> list[PeerGroup]:
        """Groups that have gone meanwhile, or moved to another coordinator, are left out."""
        described = self._call(DESCRIBE_GROUPS, 5, {"groups": ids}).groups
        fetched = self._call(OFFSET_FETCH, 8, {"groups": [{"group_id": each, "topics": None} for each in ids]}).groups
        offsets = {each.group_id: _offsets_of(each) for each in fetched if not each.error_code}
        found = []
        for each in described:
            if each.error_code or each.group_state == DEAD or each.group_id not in offsets:
                continue
            members = [PeerMember(m.member_id, m.client_id, m.client_host, m.member_assignment) for m in each.members]
            found.append(
                PeerGroup(
                    each.group_id, self.broker_id, each.group_state, each.protocol_data, each.protocol_type, members,
                    offsets[each.group_id],
                )
            )  # fmt: skip
        return found

    def _list_offsets(self, wanted: Sequence[PartitionKey], timestamp: int) -> dict[PartitionKey, int]:
        found: dict[PartitionKey, int] = {}
        for some in _slices(wanted, PARTITIONS_AT_ONCE):
            topics: dict[str, list[dict[str, int]]] = {}
            for topic, index in some:
                topics.setdefault(topic, []).append({"partition_index": index, "timestamp": timestamp})
            asked = [{"name": name, "partitions": partitions} for name, partitions in topics.items()]
            answer = self._call(LIST_OFFSETS, 5, {"replica_id": -1, "topics": asked})
            found.update(
                ((topic.name, each.partition_index), each.offset)
                for topic in answer.topics
                for each in topic.partitions
                if not each.error_code and each.offset >= 0
            )
        return found

    def _call(self, api_key: int, version: int, request: Mapping[str, Any]) -> Any:
        if time.monotonic() >= self.deadline:
            raise PeerRefused("it did not answer in time")
        asked, answered = message_class(api_key, version, "request"), message_class(api_key, version, "response")
        body = bytearray()
        entity_writer(asked)(body, request)
        response = self.connection.request(
            api_key, version, bytes(body), flexible=is_flexible(asked), flexible_response=is_flexible(answered)
        )
        return entity_reader(answered)(Cursor(response, elements_max=ELEMENTS_MAX))


def _offsets_of(group: Any) -> PeerOffsets:
    found = PeerOffsets()
    for topic in group.topics:
        rows = [(each.partition_index, each.committed_offset) for each in topic.partitions]
        kept = [row for row, each in zip(rows, topic.partitions, strict=True) if row[1] >= 0 and not each.error_code]
        if kept:
            found[topic.name] = kept
    return found


def _slices(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    return (items[first : first + size] for first in range(0, len(items), size))


def _error_name(code: int) -> str:
    return ErrorCode(code).name if code in ErrorCode._value2member_map_ else str(code)
