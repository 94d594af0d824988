"""Questions to leaders: a thread for each leader, answers in the order of the questions, leaders that are silent or have moved."""

from __future__ import annotations

import queue
import struct
import threading
from typing import Any

import pytest

from kafka_cy.replication.fetchers import Endpoint
from kafka_cy.replication.follower_decisions import Answer, Question
from kafka_cy.replication.leader_channels import LeaderChannels
from kafka_cy.replication.settings import request_versions
from tests.waiting import wait_until


class Connection:
    """Answers ListOffsets 9 for topic `t`: offset 100 + the partition."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.asked: list[int] = []
        self.goes_on = threading.Event()
        self.goes_on.set()
        self.refuses = self.closed = False

    def request(self, api_key: int, version: int, body: bytes, *, flexible: bool, flexible_response: bool) -> bytes:
        self.goes_on.wait(60)
        if self.refuses or self.closed:
            raise ConnectionError
        assert (api_key, version) == (2, 9)
        count = body[8] - 1  # behind replica id, isolation level, one topic "t"
        indexes = [struct.unpack(">i", body[9 + 17 * i : 13 + 17 * i])[0] for i in range(count)]
        self.asked += indexes
        rows = b"".join(struct.pack(">ihqqi", index, 0, -1, 100 + index, 3) + b"\0" for index in reversed(indexes))
        return struct.pack(">i", 0) + b"\2\2t" + bytes([count + 1]) + rows + b"\0\0"

    def interrupt(self) -> None:
        self.closed = True
        self.goes_on.set()

    def close(self) -> None:
        self.closed = True


class Asker:
    def __init__(self) -> None:
        self.endpoints = {2: Endpoint("b2", 1), 3: Endpoint("b3", 1)}
        self.made: list[Connection] = []
        self.posted: queue.Queue[tuple[Any, tuple[Any, ...]]] = queue.Queue()
        self.answers: dict[str, list[Answer] | None] = {}
        self.channels = LeaderChannels(
            1, request_versions("3.9"), self.endpoints.get, self.connect,
            lambda function, *arguments: self.posted.put((function, arguments)),
        )  # fmt: skip

    def connect(self, endpoint: Endpoint) -> Connection:
        self.made.append(Connection(endpoint))
        return self.made[-1]

    def ask(self, name: str, leader: int, *indexes: int) -> None:
        questions = [Question("end", ("t", index), 5) for index in indexes]
        self.channels.ask(leader, questions, lambda answers: self.answers.update({name: answers}))

    def run(self) -> bool:
        while not self.posted.empty():
            function, arguments = self.posted.get()
            function(*arguments)
        return True

    def await_answers(self, *names: str) -> list[list[int] | None]:
        wait_until(lambda: self.run() and self.answers.keys() >= set(names), f"answers {names}")
        found = [self.answers[name] for name in names]
        return [None if answers is None else [each.offset for each in answers] for answers in found]


def test_answers_come_in_the_order_of_the_questions() -> None:
    asker = Asker()
    asker.ask("a", 2, 4, 1, 7)
    assert asker.await_answers("a") == [[104, 101, 107]]
    asker.ask("b", 2, 3)
    asker.ask("c", 3, 2)
    assert asker.await_answers("b", "c") == [[103], [102]]
    assert [each.endpoint.host for each in asker.made] == ["b2", "b3"]
    asker.channels.stop()
    assert all(each.closed for each in asker.made)


def test_a_leader_that_hangs_holds_up_no_other() -> None:
    asker = Asker()
    asker.ask("a", 2, 0)
    asker.await_answers("a")
    asker.made[0].goes_on.clear()
    asker.ask("b", 2, 1)
    asker.ask("c", 2, 2)
    asker.ask("d", 3, 3)
    assert asker.await_answers("d") == [[103]]
    assert asker.answers.keys() == {"a", "d"}
    asker.made[0].goes_on.set()
    assert asker.await_answers("b", "c") == [[101], [102]]
    asker.channels.stop()


def test_a_leader_that_does_not_answer() -> None:
    asker = Asker()
    asker.ask("unknown", 9, 0)
    assert asker.await_answers("unknown") == [None]
    asker.ask("a", 2, 0)
    asker.await_answers("a")
    asker.made[0].refuses = True
    asker.ask("b", 2, 0)
    assert asker.await_answers("b") == [None]
    asker.channels.stop()


def test_a_leader_that_has_moved() -> None:
    asker = Asker()
    asker.ask("a", 2, 0)
    asker.await_answers("a")
    asker.made[0].goes_on.clear()
    asker.ask("b", 2, 1)
    asker.ask("c", 2, 2)
    asker.endpoints[2] = Endpoint("elsewhere", 1)
    asker.ask("d", 2, 3)
    assert asker.await_answers("b", "c", "d") == [None, None, [103]]  # the connection to its former address was interrupted
    assert asker.made[0].closed
    asker.channels.stop()
    asker.ask("e", 2, 3)
    assert asker.await_answers("e") == [None]


def test_a_fault_ends_no_channel() -> None:
    asker = Asker()
    asker.ask("first", 2, 0)
    wait_until(lambda: asker.run() and "first" in asker.answers, "the first answer")
    request, faults = asker.made[0].request, [ValueError("a fault")]

    def failing(*arguments: Any, **more: Any) -> bytes:
        if faults:
            raise faults.pop()
        return request(*arguments, **more)

    asker.made[0].request = failing  # type: ignore[method-assign]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threading, "excepthook", lambda _: None)
        asker.ask("second", 2, 0)
        wait_until(lambda: asker.run() and "second" in asker.answers, "it is not answered")
    asker.ask("third", 2, 0)
    wait_until(lambda: asker.run() and "third" in asker.answers, "the next answer")
    assert asker.answers["second"] is None
    assert asker.answers["third"] == asker.answers["first"]
    assert asker.answers["third"] is not None
    asker.channels.stop()
