"""Members of groups as state machines over raw connections: thousands in one thread, each with a connection of its own.

A member joins, follows each rebalance and sends heartbeats until the group is stable, as a consumer does, and reads nothing.
"""

from __future__ import annotations

import selectors
import socket
import struct
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Sequence

from kafka_cy.bench.requests import request_header, string, with_length
from kafka_cy.bench.threaded_load import LoadFailure
from kafka_cy.bench.wire import HEADER_SIZE, NO_TAGS, NULL, Reader, compact, compact_array, flexible_request

JOIN_GROUP, HEARTBEAT, LEAVE_GROUP, SYNC_GROUP, CONSUMER_GROUP_HEARTBEAT = 11, 12, 13, 14, 68
JOIN_VERSION, SYNC_VERSION, HEARTBEAT_VERSION, LEAVE_VERSION, CONSUMER_VERSION = 5, 3, 3, 3, 1
SESSION_TIMEOUT_MS, REBALANCE_TIMEOUT_MS = 45_000, 60_000
HEARTBEAT_S = 0.5  # of a classic member (Kafka's default is 3)
RETRY_S = 0.05
NOBODY = struct.pack(">h", -1)  # a null string
RETRIABLE = {14, 15, 16}  # the coordinator is not there yet
REBALANCE_IN_PROGRESS, MEMBER_ID_REQUIRED, UNRELEASED_INSTANCE_ID = 27, 79, 111
THROTTLE_ERROR = struct.Struct(">ih")
NUMBER = struct.Struct(">i")
TICK_S = 0.02


class Member(ABC):
    """One member and its connection. Owner: one thread."""

    def __init__(self, address: tuple[str, int], group: str) -> None:
        self.group = group
        self.member_id = ""
        self.socket = socket.create_connection(address, timeout=60)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.due_s = 0.0  # when it sends its next request; infinite while it waits for a response
        self._input = bytearray()

    @abstractmethod
    def next_request(self) -> bytes:
        """The request that is due."""

    @abstractmethod
    def on_response(self, data: bytes) -> None:
        """The response to it, without its length; sets `due_s`."""

    def send(self) -> None:
        """Send what is due."""
        self.due_s = float("inf")
        self.socket.sendall(self.next_request())

    def receive(self) -> None:
        """Read what has arrived."""
        data = self.socket.recv(1 << 18)
        if not data:
            raise ConnectionResetError("closed")
        self._input += data
        while len(self._input) >= 4:
            end = NUMBER.unpack_from(self._input)[0] + 4
            if len(self._input) < end:
                return
            response = bytes(self._input[4:end])
            del self._input[:end]
            self.on_response(response)

    def soon(self, delay_s: float = 0.0) -> None:
        """The next request is due then."""
        self.due_s = time.monotonic() + delay_s


class ClassicMember(Member):
    """JoinGroup, SyncGroup and Heartbeat. The leader gives each member an assignment of the same size."""

    def __init__(self, address: tuple[str, int], group: str, topic: str) -> None:
        super().__init__(address, group)
        self.generation = -1  # the one whose assignment it has
        self.size = 0  # of the group, as the leader knows it
        self._joined = -1
        self._asked = JOIN_GROUP
        self._assignments: Sequence[bytes] = ()
        self._metadata = struct.pack(">hi", 1, 1) + string(topic) + struct.pack(">ii", -1, 0)

    def next_request(self) -> bytes:
        who = string(self.group)
        if self._asked == JOIN_GROUP:
            body = who + struct.pack(">ii", SESSION_TIMEOUT_MS, REBALANCE_TIMEOUT_MS) + string(self.member_id) + NOBODY
            body += string("consumer") + NUMBER.pack(1) + string("range") + _bytes(self._metadata)
            return with_length(request_header(JOIN_GROUP, JOIN_VERSION) + body)
        body = who + NUMBER.pack(self._joined) + string(self.member_id) + NOBODY
        if self._asked == SYNC_GROUP:
            assignments = NUMBER.pack(len(self._assignments)) + b"".join(self._assignments)
            return with_length(request_header(SYNC_GROUP, SYNC_VERSION) + body + assignments)
        return with_length(request_header(HEARTBEAT, HEARTBEAT_VERSION) + body)

    def on_response(self, data: bytes) -> None:
        answer = Reader(data, 4)
        _, error = answer.unpack(THROTTLE_ERROR)
        if error in RETRIABLE:
            self.soon(RETRY_S)
        elif self._asked == JOIN_GROUP and error in (0, MEMBER_ID_REQUIRED):
            self._on_join(answer, error)
        elif error == REBALANCE_IN_PROGRESS:
            self._ask(JOIN_GROUP)
        elif error:
            raise LoadFailure(f"A member of a classic group got the error {error}.")
        else:
            if self._asked == SYNC_GROUP:
                self.generation = self._joined
            self._ask(HEARTBEAT, HEARTBEAT_S)

    def _on_join(self, answer: Reader, error: int) -> None:
        (generation,) = answer.unpack(NUMBER)
        answer.string()
        leader, self.member_id = answer.string().decode(), answer.string().decode()
        if error:
            self._ask(JOIN_GROUP)
            return
        self._joined, self._assignments = generation, ()
        if leader == self.member_id:
            members = []
            for _ in range(answer.unpack(NUMBER)[0]):
                members.append(answer.string())
                answer.string()
                (size,) = answer.unpack(NUMBER)
                answer.at += size
            self.size = len(members)
            assignment = _bytes(struct.pack(">hiihii", 1, 1, 0, 0, 0, -1))
            self._assignments = [struct.pack(">h", len(name)) + name + assignment for name in members]
        self._ask(SYNC_GROUP)

    def _ask(self, request: int, delay_s: float = 0.0) -> None:
        self._asked = request
        self.soon(delay_s)


class ConsumerMember(Member):
    """ConsumerGroupHeartbeat (KIP-848): it takes and gives up partitions at once."""

    def __init__(self, address: tuple[str, int], group: str, topic: str) -> None:
        super().__init__(address, group)
        self.member_id = str(uuid.uuid4())
        self.epoch = 0
        self.owned: bytes = compact_array([])  # its partitions, encoded as in the request
        self.count = 0
        self._topic = topic
        self._tells = True
        self._instance = NULL  # repeated in each heartbeat of a static member

    def next_request(self) -> bytes:
        """The heartbeat that is due."""
        tells, self._tells = self._tells, False
        return self._heartbeat(tells)

    def _heartbeat(self, tells: bool) -> bytes:
        """`tells`: with the partitions that it has."""
        owned, timeout_ms = (self.owned, REBALANCE_TIMEOUT_MS) if tells else (NULL, -1)
        names, regex = NULL, NULL
        if not self.epoch:
            names, regex = self._subscription()
        body = compact(self.group) + compact(self.member_id) + NUMBER.pack(self.epoch) + self._instance + NULL
        body += NUMBER.pack(timeout_ms) + names + regex + NULL + owned + NO_TAGS
        return flexible_request(CONSUMER_GROUP_HEARTBEAT, CONSUMER_VERSION, body)

    def _subscription(self) -> tuple[bytes, bytes]:
        """Topic names, and a regular expression."""
        return compact_array([compact(self._topic)]), NULL

    def on_response(self, data: bytes) -> None:
        answer = Reader(data, HEADER_SIZE)
        _, error = answer.unpack(THROTTLE_ERROR)
        answer.skip_compact()
        if error in RETRIABLE or (error == UNRELEASED_INSTANCE_ID and not self.epoch):
            self._tells = True
            self.soon(RETRY_S)
            return
        if error:
            raise LoadFailure(f"A member of a consumer group got the error {error}.")
        answer.skip_compact()
        (self.epoch,), (interval_ms,) = answer.unpack(NUMBER), answer.unpack(NUMBER)
        self.soon(0 if self._takes(answer) else interval_ms / 1000)

    def _takes(self, answer: Reader) -> bool:
        """Take the assignment, if there is one."""
        if answer.data[answer.at] != 1:
            return False
        answer.at += 1
        self._assigned(answer)
        return True

    def _assigned(self, answer: Reader) -> None:
        """The new assignment is owned at once, and told with the next heartbeat."""
        topics, self.count = [], 0
        for _ in range(answer.count()):
            begin = answer.at
            answer.at += 16
            count = answer.count()
            answer.at += 4 * count + 1  # the indexes, and no tags
            self.count += count
            topics.append(answer.data[begin : answer.at])
        self.owned, self._tells = compact_array(topics), True

    def steady_request(self) -> bytes:
        """The heartbeat of a member to whom nothing happens."""
        return self._heartbeat(False)


def leave_request(group: str, member_ids: Sequence[str]) -> bytes:
    """A complete LeaveGroup request of all members."""
    members = b"".join(string(each) + NOBODY for each in member_ids)
    return with_length(request_header(LEAVE_GROUP, LEAVE_VERSION) + string(group) + NUMBER.pack(len(member_ids)) + members)


def _bytes(data: bytes) -> bytes:
    return NUMBER.pack(len(data)) + data


class Crowd:
    """Runs many members in one thread. Raises LoadFailure and OSError."""

    def __init__(self, members: Sequence[Member]) -> None:
        self.members = members
        self._selector = selectors.DefaultSelector()
        for each in members:
            self._selector.register(each.socket, selectors.EVENT_READ, each)

    def step(self) -> None:
        """Send what is due and read what has arrived."""
        now_s = time.monotonic()
        for each in self.members:
            if each.due_s <= now_s:
                each.send()
        for key, _ in self._selector.select(TICK_S):
            key.data.receive()
            if key.data.due_s <= time.monotonic():
                key.data.send()

    def close(self) -> None:
        """Close all connections."""
        self._selector.close()
        for each in self.members:
            each.socket.close()
