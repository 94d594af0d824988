"""A coordinator over a real log, and reactors that commit beside it; the test is the only thread of the control plane."""

from __future__ import annotations

import time
import uuid
from pathlib import Path
from typing import Any

from kafka_cy.coordinator.committed_offsets import CommittedOffsets
from kafka_cy.coordinator.runtime.loader import replay_batch
from kafka_cy.coordinator.runtime.shard import Marker
from kafka_cy.coordinator.state_machine import GroupStateMachine
from kafka_cy.network.control_request import ControlRequest
from kafka_cy.protocol.errors import ErrorCode
from kafka_cy.records import iterate_batches
from kafka_cy.storage import slow_disk
from tests.api_hot.harness import Connection, HotServer
from tests.api_hot.kio_wire import decode_response, encode_request

from .consumer_fakes import ConsumerHarness
from .fakes import OFFSETS_TOPIC, FakeCluster, FakeLoop

OFFSET_COMMIT = 8
HEARTBEAT = 68
LATEST = 10
VERSION_WITH_EPOCHS = 9
TOPICS = {"ct": 3, "cu": 1}


class RealTime(FakeLoop):
    """The clocks of the reactors, moved by what the test advances."""

    def __init__(self) -> None:
        super().__init__()
        self.time_s = self.begun_s = time.monotonic()

    def wall_clock_ms(self) -> int:
        return int((time.time() + self.time_s - self.begun_s) * 1000)


class KeepingServer(HotServer):
    """Closes the connections of forwarded requests, or keeps the requests if the test says so."""

    keeps = False

    def _take(self, request: ControlRequest) -> None:
        if self.keeps:
            self.kept.append(request)
        else:
            super()._take(request)


class Direct:
    """`commit` is answered by a reactor, or, if the reactor forwards it, by the coordinator on the test's thread."""

    def __init__(
        self, folder: Path, config: dict[str, Any] | None = None, *, sole_replica: bool = True, kind: Any = ConsumerHarness,
        cluster: Any = FakeCluster, **settings: Any,
    ) -> None:  # fmt: skip
        """`config` of the offsets topic; `kind` of harness and of `cluster`; `settings` of the broker."""
        self.folder = folder
        self.server = KeepingServer(folder, 2)
        for name, partitions in TOPICS.items():
            self.server.create_topic(name, partitions)
        self.server.create_topic(OFFSETS_TOPIC, 1, config, internal=True, sole_replica=sole_replica)
        self.log = self.server.partitions[OFFSETS_TOPIC, 0]
        self.cluster = cluster(1)
        self.cluster.hosted = {0: self.log}  # type: ignore[dict-item]
        for name, partitions in TOPICS.items():
            self.cluster.put_topic(name, self.server.topic_ids[name], partitions)
        self.harness = kind(self.cluster, RealTime(), **settings)
        self.settle()
        self.connection: Connection | None = None
        self.direct = 0
        self.slow_s = 0  # for how long the disk counts as slow

    def settle(self) -> None:
        """Let what is done in slices come to its end."""
        self.harness.loop.advance(0.001)

    def connect(self) -> Connection:
        return self.server.connect()

    def stop(self) -> None:
        if self.connection is not None:
            self.connection.close()
        self.harness.coordinator.stop()
        self.server.stop()

    def body(
        self, rows: list[tuple[str, int, int]], *, group: str = "g", member: str = "", generation: int = -1,
        instance: str | None = None, version: int = LATEST, metadata: str | None = None, retention_ms: int = -1,
    ) -> bytes:  # fmt: skip
        """An encoded OffsetCommit of (topic, partition, offset) rows."""
        topics: dict[str, list[dict[str, Any]]] = {}
        for topic, partition, offset in rows:
            topics.setdefault(topic, []).append(
                {
                    "partition_index": partition, "committed_offset": offset, "committed_leader_epoch": 3,
                    "committed_metadata": metadata,
                }
            )  # fmt: skip
        named = [
            {"name": name, "topic_id": self.server.topic_ids.get(name, uuid.UUID(int=9)), "partitions": each}
            for name, each in topics.items()
        ]
        values = {
            "group_id": group, "generation_id_or_member_epoch": generation, "member_id": member,
            "group_instance_id": instance, "retention_time": retention_ms, "topics": named,
        }  # fmt: skip
        return encode_request(OFFSET_COMMIT, version, values)

    def directly(self, rows: list[tuple[str, int, int]], *, version: int = LATEST, **fields: Any) -> dict[str, Any] | None:
        """The response of a reactor; None if it forwards the request."""
        slow_disk.set_slow(str(self.folder), self.slow_s)  # on a busy machine it may seem slow, and reactors would forward
        connection = self.connection = self.connection or self.connect()
        connection.send(OFFSET_COMMIT, version, self.body(rows, version=version, **fields))
        frame = connection.receive()
        if frame is None:
            connection.close()
            self.connection = None
            return None
        self.direct += 1
        return decode_response(OFFSET_COMMIT, version, frame[5 if version >= 8 else 4 :])

    def commit(self, topic: str = "ct", partition: int = 0, offset: int = 5, **fields: Any) -> tuple[ErrorCode, bool]:
        """The error, and whether a reactor has responded."""
        response = self.directly([(topic, partition, offset)], **fields)
        if response is not None:
            return ErrorCode(response["topics"][0]["partitions"][0]["error_code"]), True
        fields["new"] = fields.pop("version", LATEST) >= VERSION_WITH_EPOCHS
        topic_id = self.server.topic_ids[topic]
        return self.harness.commit(topic=topic, partition=partition, offset=offset, topic_id=topic_id, **fields), False

    def open(self, *, group: str = "g", **fields: Any) -> None:
        """Commit once through the coordinator, after which reactors commit for the group."""
        assert self.commit(group=group, **fields) == (ErrorCode.NONE, False)

    # -- ConsumerGroupHeartbeat --

    def beat_directly(
        self, group: str, member: str, epoch: int, *, version: int = 1, client_id: bytes = b"k848", topic_names: Any = None,
        rebalance_timeout: int = -1, instance_id: str | None = None, rack_id: str | None = None, topic_regex: str | None = None,
        assignor: str | None = None, owned: Any = None,
    ) -> dict[str, Any] | None:  # fmt: skip
        """The response of a reactor; None if it forwards the request."""
        values = {
            "group_id": group, "member_id": member, "member_epoch": epoch, "instance_id": instance_id, "rack_id": rack_id,
            "rebalance_timeout": rebalance_timeout, "subscribed_topic_names": topic_names, "subscribed_topic_regex": topic_regex,
            "server_assignor": assignor, "topic_partitions": owned,
        }  # fmt: skip
        return self.ask(HEARTBEAT, version, values, client_id)

    def ask(self, api_key: int, version: int, values: dict[str, Any], client_id: bytes) -> dict[str, Any] | None:
        """A flexible request: the response of a reactor; None if it forwards the request."""
        connection = self.connection = self.connection or self.connect()
        connection.send(api_key, version, encode_request(api_key, version, values), client_id)
        frame = connection.receive()
        if frame is None:
            connection.close()
            self.connection = None
            return None
        return decode_response(api_key, version, frame[5:])

    def beat(
        self, group: str, member: str, epoch: int, *, full: bool = False, version: int = 1, **fields: Any
    ) -> tuple[dict[str, Any], bool]:
        """The response, and whether it is a reactor's. `full`: the member owns what it is assigned."""
        response = None if full else self.beat_directly(group, member, epoch, version=version, **fields)
        if response is not None:
            return response, True
        said: dict[str, Any] = {name: fields[name] for name in ("instance_id", "topic_regex") if name in fields}
        if fields.get("topic_names") is not None:
            said["topic_names"] = tuple(fields["topic_names"])
        if "rebalance_timeout" in fields:
            said["rebalance_timeout_ms"] = fields["rebalance_timeout"]
        if fields.get("owned") is not None:
            found = self.harness.group(group)
            assigned = found.members[member].assigned if full else {}
            said["owned"] = {topic_id: list(each) for topic_id, each in assigned.items()}
        response = self.harness.beat(group, member, epoch, **said)
        self.settle()
        return response, False

    def end_transaction(self, producer_id: int, committed: bool) -> None:
        found: list[ErrorCode] = []
        self.harness.coordinator.runtime.end_transaction(0, Marker(producer_id, 0, 0, committed, 1), found.append)
        assert found == [ErrorCode.NONE]

    def offsets(self, group: str = "g") -> CommittedOffsets:
        offsets = self.harness.group(group).offsets
        assert isinstance(offsets, CommittedOffsets)
        return offsets

    def batches(self) -> list[bytes]:
        """The batches of the log, each as it is stored."""
        data, found = self.log.read(0, 1 << 30), []
        while data:
            size = 12 + int.from_bytes(data[8:12], "big")
            found.append(data[:size])
            data = data[size:]
        return found

    def replayed(self) -> dict[str, dict[str, Any]]:
        """The offsets of each group that a start would load from the log."""
        machine = GroupStateMachine({}, lambda *_: None)
        for batch in iterate_batches(self.log.read(0, 1 << 30, self.log.log_end_offset)):
            for _ in replay_batch(machine, batch):
                pass
        return {name: dict(group.offsets) for name, group in machine.groups.items() if group.offsets}

    def in_memory(self) -> dict[str, dict[str, Any]]:
        groups = self.harness.coordinator.all_groups()
        return {group.group_id: dict(group.offsets) for group in groups if group.offsets}


