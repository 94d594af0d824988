"""For beside.py: quiet members of a classic group, a consumer group (KIP-848) and a share group (KIP-932), next to clients whose
requests are much work for the control plane.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import socket
import struct
import time
import uuid
from collections.abc import Callable
from pathlib import Path

from beside import RATE_PER_S, call, connect, frame, string

OFFSET_COMMIT, OFFSET_FETCH, FIND_COORDINATOR, JOIN_GROUP, HEARTBEAT, SYNC_GROUP = 8, 9, 10, 11, 12, 14
CREATE_TOPICS, DELETE_TOPICS, CONSUMER_GROUP_HEARTBEAT, SHARE_GROUP_HEARTBEAT = 19, 20, 68, 76
LOADING = (14, 16)  # COORDINATOR_LOAD_IN_PROGRESS, NOT_COORDINATOR: a partition of __consumer_offsets is not loaded yet
MANY = 2000  # partitions of the topic "many"
CREATED = 200  # partitions of each topic that is created


def coordinator_is_ready(client: socket.socket, group: str) -> None:
    """Wait until the offsets topic exists and its partitions are loaded."""
    while struct.unpack_from(">h", call(client, frame(FIND_COORDINATOR, 0, string(group))), 4)[0]:
        time.sleep(0.1)
    while struct.unpack_from(">h", call(client, join_request(group, "", "nobody")), 4)[0] in LOADING:
        time.sleep(0.1)


def join_request(group: str, member: str, protocol_type: str) -> bytes:
    body = string(group) + struct.pack(">i", 30000) + string(member) + string(protocol_type)
    return frame(JOIN_GROUP, 0, body + struct.pack(">i", 1) + string("range") + struct.pack(">i", 0))


def commit_request(group: str, generation: int, member: str, topic: str, partitions: range, offset: int) -> bytes:
    body = string(group) + struct.pack(">i", generation) + string(member) + struct.pack(">qi", -1, 1) + string(topic)
    rows = b"".join(struct.pack(">iq", partition, offset) + string("") for partition in partitions)
    return frame(OFFSET_COMMIT, 2, body + struct.pack(">i", len(partitions)) + rows)


def member_of(client: socket.socket, group: str) -> tuple[int, str]:
    """Join a group of its own. Returns the generation and the member id."""
    while True:
        answer = call(client, join_request(group, "", "consumer"))
        error, generation = struct.unpack_from(">hi", answer, 4)
        if error not in LOADING:
            break
        time.sleep(0.1)
    assert error == 0, error
    at = 10
    for _ in range(3):  # protocol, leader, member id
        size = struct.unpack_from(">h", answer, at)[0]
        text = answer[at + 2 : at + 2 + size].decode()
        at += 2 + size
    body = string(group) + struct.pack(">i", generation) + string(text) + struct.pack(">i", 1) + string(text)
    call(client, frame(SYNC_GROUP, 0, body + struct.pack(">i", 0)))
    return generation, text


def quiet_member(port: int, seconds: float, results: multiprocessing.Queue[list[float]]) -> None:
    """Put the seconds of each heartbeat and of each commit into `results`."""
    client, group = connect(port), f"quiet-{uuid.uuid4().hex}"
    coordinator_is_ready(client, group + "-probe")
    generation, member = member_of(client, group)
    heartbeat = frame(HEARTBEAT, 0, string(group) + struct.pack(">i", generation) + string(member))

    def commit(number: int) -> None:
        answer = call(client, commit_request(group, generation, member, "quiet", range(1), number))
        assert answer[-2:] == b"\0\0", answer

    def beat(number: int) -> None:
        answer = call(client, heartbeat)
        assert answer[4:6] == b"\0\0", answer

    commit(0)  # the first one makes its door
    results.put(times_of(seconds, beat, commit))


def quiet_consumer_member(port: int, seconds: float, results: multiprocessing.Queue[list[float]]) -> None:
    """The same for a member of a consumer group."""
    client, group, member = connect(port), f"quiet-{uuid.uuid4().hex}", uuid.uuid4().hex
    coordinator_is_ready(client, group + "-probe")
    epoch = joined(client, consumer_heartbeat(group, member, 0, "quiet"))

    def beat(number: int) -> None:
        assert member_epoch(call(client, consumer_heartbeat(group, member, epoch))) == epoch

    def commit(number: int) -> None:
        answer = call(client, consumer_commit(group, epoch, member, number))
        assert answer[-5:] == bytes(5), answer  # the error code, and the tags of the partition, the topic and the response

    commit(0)
    results.put(times_of(seconds, beat, commit))


def quiet_share_member(port: int, seconds: float, results: multiprocessing.Queue[list[float]]) -> None:
    """Put the seconds of each heartbeat of a member of a share group into `results`."""
    client, group, member = connect(port), f"quiet-{uuid.uuid4().hex}", uuid.uuid4().hex
    coordinator_is_ready(client, group + "-probe")
    epoch = joined(client, share_heartbeat(group, member, 0))

    def beat(number: int) -> None:
        nonlocal epoch  # it grows when the share partitions are initialized
        epoch = member_epoch(call(client, share_heartbeat(group, member, epoch)))

    results.put(times_of(seconds, beat))


def times_of(seconds: float, *requests: Callable[[int], None]) -> list[float]:
    """Do each of the requests RATE_PER_S times per second. Returns how long each took."""
    taken = []
    begun = time.perf_counter()
    for number in range(int(seconds * RATE_PER_S)):
        time.sleep(max(0.0, begun + number / RATE_PER_S - time.perf_counter()))
        for request in requests:
            before = time.perf_counter()
            request(number)
            taken.append(time.perf_counter() - before)
    return taken


def creations(port: int, folder: Path) -> None:
    """Topics of 200 partitions are created and deleted: folders, and fsyncs of the metadata."""
    client = connect(port)
    for number in itertools.count():
        name = f"created-{os.getpid()}-{number}"
        call(client, create_request(name, CREATED))
        call(client, frame(DELETE_TOPICS, 1, struct.pack(">i", 1) + string(name) + struct.pack(">i", 30000)))


def create_request(name: str, partitions: int) -> bytes:
    body = struct.pack(">i", 1) + string(name) + struct.pack(">ihiiib", partitions, 1, 0, 0, 30000, 0)
    return frame(CREATE_TOPICS, 2, body)


def large_fetches(port: int, folder: Path) -> None:
    """OffsetFetch of all offsets of a group that has 2,000, and commits of as many."""
    client, group = connect(port), f"large-{os.getpid()}"
    call(client, create_request("many", MANY))
    coordinator_is_ready(client, group + "-probe")
    for number in itertools.count():
        call(client, commit_request(group, -1, "", "many", range(MANY), number))
        call(client, frame(OFFSET_FETCH, 2, string(group) + struct.pack(">i", -1)))


def assignments(port: int, folder: Path) -> None:
    """Members come to and leave a consumer group (KIP-848) that reads 2,000 partitions: each time a new target assignment."""
    client, group = connect(port), f"assigned-{os.getpid()}"
    call(client, create_request("many", MANY))
    coordinator_is_ready(client, group + "-probe")
    for number in range(20):
        call(client, consumer_heartbeat(group, f"stays-{number}", 0))
    while True:
        member = uuid.uuid4().hex
        call(client, consumer_heartbeat(group, member, 0))
        call(client, consumer_heartbeat(group, member, -1))


def joined(client: socket.socket, heartbeat: bytes) -> int:
    """The member epoch, as soon as the partition of the group is loaded."""
    while (answer := call(client, heartbeat))[9:11] in (b"\0\x0e", b"\0\x10"):
        time.sleep(0.1)
    return member_epoch(answer)


def member_epoch(answer: bytes) -> int:
    """Of the response to a heartbeat of a consumer group or a share group without an error."""
    error, message, size = struct.unpack_from(">hBB", answer, 9)
    assert (error, message) == (0, 0), answer
    return int(struct.unpack_from(">i", answer, 12 + max(size, 1))[0])


def consumer_commit(group: str, epoch: int, member: str, offset: int) -> bytes:
    body = compact(group) + struct.pack(">i", epoch) + compact(member) + b"\0\2" + compact("quiet") + b"\2"
    body += struct.pack(">iqi", 0, offset, -1) + compact("") + b"\0\0\0"
    return frame(OFFSET_COMMIT, 9, body, flexible=True)


def share_heartbeat(group: str, member: str, epoch: int) -> bytes:
    """A join with a subscription to "quiet" (epoch 0), or a heartbeat that says nothing more."""
    topics = b"\2" + compact("quiet") if epoch == 0 else b"\0"
    body = compact(group) + compact(member) + struct.pack(">i", epoch) + b"\0" + topics + b"\0"
    return frame(SHARE_GROUP_HEARTBEAT, 1, body, flexible=True)


def consumer_heartbeat(group: str, member: str, epoch: int, topic: str = "many") -> bytes:
    """A join with a subscription to the topic (epoch 0), or anything else that says nothing more."""
    joins = epoch == 0
    body = compact(group) + compact(member) + struct.pack(">i", epoch) + b"\0\0" + struct.pack(">i", 60000 if joins else -1)
    body += (b"\2" + compact(topic) if joins else b"\0") + b"\0" + (b"\1" if joins else b"\0") + b"\0"
    return frame(CONSUMER_GROUP_HEARTBEAT, 0, body, flexible=True)


def compact(text: str) -> bytes:
    assert len(text) < 127
    return bytes([len(text) + 1]) + text.encode()


QUIET_MEMBERS = [quiet_member, quiet_consumer_member, quiet_share_member]
GROUP_NEIGHBOURS = [creations, large_fetches, assignments]
