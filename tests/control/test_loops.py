"""Group requests are answered while topics are created: each role of the control plane has its own loop."""

from __future__ import annotations

import select
import struct
import threading
from pathlib import Path

from kafka_cy.api.registry import ADMIN, COLD_APIS, CONTROLLER, COORDINATOR, LOOPS, advertised
from kafka_cy.protocol.errors import ErrorCode
from kafka_cy.telemetry.health import CONTROL_THREADS
from kafka_cy.testing import Broker
from tests.adversity.wire import (
    CREATE_TOPICS,
    Connection,
    await_coordinator,
    commit_offset,
    find_coordinator,
    ready_topic,
    string,
)
from tests.waiting import wait_until

JOIN_GROUP, DESCRIBE_GROUPS = 11, 15
GROUP_APIS = {8, 9, 10, 11, 12, 13, 14, 15, 16, 42, 47, 68, 69, 88, 89}
TRANSACTION_APIS = {22, 24, 25, 26, 27, 28, 65, 66}
SHARE_APIS = {76, 77, 78, 79, 83, 84, 85, 86, 87, 90, 91, 92}
COORDINATOR_APIS = GROUP_APIS | TRANSACTION_APIS | SHARE_APIS
CONTROLLER_APIS = {19, 20, 30, 31, 33, 34, 37, 38, 39, 40, 43, 44, 45, 49, 51, 55, 57, 80, 81}
COMMITS = 20


def test_every_api_says_which_loop_it_belongs_to() -> None:
    assert {key for key, row in COLD_APIS.items() if row.loop == COORDINATOR} == COORDINATOR_APIS
    assert {row.api_key for row in advertised() if row.loop == COORDINATOR} == COORDINATOR_APIS
    assert CONTROL_THREADS == LOOPS
    assert (LOOPS[ADMIN], LOOPS[COORDINATOR]) == ("admin", "coordinator")
    assert LOOPS[CONTROLLER] == "controller"
    assert {key for key, row in COLD_APIS.items() if row.loop == CONTROLLER} == CONTROLLER_APIS


def create_many(connection: Connection, count: int) -> None:
    """Send CreateTopics for many topics without waiting."""
    body = struct.pack(">i", count)
    for number in range(count):
        body += string(f"many-{number}") + struct.pack(">ihii", 4, 1, 0, 0)
    connection.send(CREATE_TOPICS, 2, body + struct.pack(">i?", 120_000, False))


def is_answered(connection: Connection) -> bool:
    poll = select.poll()  # select() does not support descriptors above 1023
    poll.register(connection.socket, select.POLLIN)
    return bool(poll.poll(0))


def test_commits_while_topics_are_created(tmp_path: Path) -> None:
    with Broker(folder=tmp_path) as broker:
        ready_topic(broker.port, "t")
        group = Connection(broker.port)
        await_coordinator(group, "g", "t")
        admin = Connection(broker.port, timeout_s=300)
        create_many(admin, 500)
        done = 0
        while done < COMMITS:
            assert commit_offset(group, "g", "t", 0, done) == 0
            assert find_coordinator(group, "g") == 0
            done += 1
        assert not is_answered(admin), "the topics were created before 20 commits were answered"
        answer = admin.receive()
        assert answer is not None
        assert struct.unpack_from(">i", answer, 4) == (500,)


def test_the_first_group_of_all(tmp_path: Path) -> None:
    """The controller loop creates `__consumer_offsets` for requests of the coordinator loop."""
    with Broker(folder=tmp_path) as broker:
        errors: list[int] = []
        asking = [
            threading.Thread(target=lambda: errors.append(find_coordinator(Connection(broker.port), "g"))) for _ in range(8)
        ]
        for each in asking:
            each.start()
        for each in asking:
            each.join(60)
        assert errors == [0] * 8


def test_a_waiting_join_is_answered_when_the_broker_stops(tmp_path: Path) -> None:
    settings = {"group.initial.rebalance.delay.ms": 300_000, "kafkacy.shutdown.drain.timeout.ms": 60_000}
    with Broker(settings, folder=tmp_path) as broker:
        ready_topic(broker.port, "t")
        member = Connection(broker.port)
        await_coordinator(member, "g", "t")
        protocols = struct.pack(">i", 1) + string("range") + struct.pack(">i", 0)
        body = string("g") + struct.pack(">ii", 10_000, 300_000) + string("") + string("consumer") + protocols
        member.send(JOIN_GROUP, 2, body)
        other = Connection(broker.port)
        wait_until(lambda: group_state(other, "g") == b"PreparingRebalance", "the group waits for more members")
        assert broker.terminate(timeout_s=40) == 0, "the broker does not wait for the member"
        answer = member.receive()
        assert answer is not None
        assert struct.unpack_from(">ih", answer) == (0, ErrorCode.NOT_COORDINATOR)


def group_state(connection: Connection, group: str) -> bytes:
    answer = connection.ask(DESCRIBE_GROUPS, 0, struct.pack(">i", 1) + string(group))
    (size,) = struct.unpack_from(">h", answer, 6)
    place = 8 + size
    (size,) = struct.unpack_from(">h", answer, place)
    return answer[place + 2 : place + 2 + size]
