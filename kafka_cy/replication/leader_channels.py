"""Asks leaders what a follower has to know before it goes on: one connection and at most one thread for each leader."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from kafka_cy.base.named_thread import NamedThread
from kafka_cy.replication.fetchers import Endpoint
from kafka_cy.replication.follower_decisions import Answer, Question
from kafka_cy.replication.leader_questions import NO_ANSWER, MalformedRequest, answers_in, requests_for
from kafka_cy.replication.settings import RequestVersions

Done = Callable[[list[Answer] | None], None]


class Connection(Protocol):
    """What is asked of a BrokerConnection."""

    def request(
        self, api_key: int, version: int, body: bytes, *, flexible: bool, flexible_response: bool
    ) -> bytes: ...
    def interrupt(self) -> None: ...
    def close(self) -> None: ...


class LeaderChannel:
    """The connection to one leader, and what waits for it. The connection is the thread's while one runs."""

    def __init__(self, endpoint: Endpoint, connection: Connection) -> None:
        self.endpoint = endpoint
        self.connection = connection
        self.waiting: deque[tuple[Sequence[Question], Done]] = deque()
        self.thread: NamedThread | None = None


class LeaderChannels:
    """Owner: the replica manager's thread. Threads run while a leader has questions; their answers are posted to the owner.

    Limits: one thread and one connection for each leader; a question waits for each held partition at most.
    """

    def __init__(
        self,
        broker_id: int,
        versions: RequestVersions,
        endpoint_of: Callable[[int], Endpoint | None],
        connect: Callable[[Endpoint], Connection],
        post: Callable[..., object],
    ) -> None:
        """`connect` makes a connection, without connecting it; `post(function, *arguments)` calls on the owner's thread."""
        self._broker_id = broker_id
        self._versions = versions
        self._endpoint_of = endpoint_of
        self._connect = connect
        self._post = post
        self._channels: dict[int, LeaderChannel] = {}
        self._stopping = False

    def ask(self, leader: int, questions: list[Question], done: Done) -> None:
        """Ask, then call `done(answers)`, in the order of the questions; None: the leader did not answer."""
        channel = self._channel(leader)
        if channel is None or self._stopping:
            self._post(done, None)
            return
        channel.waiting.append((questions, done))
        if channel.thread is None:
            self._start(leader, channel)

    def _channel(self, leader: int) -> LeaderChannel | None:
        endpoint = self._endpoint_of(leader)
        channel = self._channels.get(leader)
        if channel is not None and channel.endpoint != endpoint:
            del self._channels[leader]
            self._end(channel)
            channel = None
        if channel is None and endpoint is not None:
            channel = self._channels[leader] = LeaderChannel(endpoint, self._connect(endpoint))
        return channel

    def _start(self, leader: int, channel: LeaderChannel) -> None:
        asked = list(channel.waiting)
        channel.waiting.clear()
        thread = NamedThread(target=self._run, args=(leader, channel, asked), name=f"ask-leader-{leader}", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # the process may have no more threads
            for _, done in asked:
                self._post(done, None)
            return
        channel.thread = thread

    def _run(self, leader: int, channel: LeaderChannel, asked: list[tuple[Sequence[Question], Done]]) -> None:
        """Body of the thread."""
        answered: list[tuple[Done, list[Answer] | None]] = []
        try:
            for questions, done in asked:
                answered.append((done, self._answers(channel.connection, questions)))
        finally:  # after a fault, too: the leader can be asked again
            answered += [(done, None) for _, done in asked[len(answered) :]]
            self._post(self._answered, leader, channel, answered)

    def _answers(self, connection: Connection, questions: Sequence[Question]) -> list[Answer] | None:
        found: dict[Question, Answer] = {}
        versions = self._versions
        try:
            for each in requests_for(questions, self._broker_id, versions.list_offsets, versions.offset_for_leader_epoch):
                body = connection.request(
                    each.api_key, each.version, each.body, flexible=each.flexible, flexible_response=each.flexible
                )
                found.update(answers_in(each, body))
        except (OSError, MalformedRequest, MemoryError):
            return None
        return [found.get(question, NO_ANSWER) for question in questions]

    def _answered(self, leader: int, channel: LeaderChannel, answered: Iterable[tuple[Done, list[Answer] | None]]) -> None:
        channel.thread = None
        if channel.waiting and not self._stopping:
            self._start(leader, channel)
        if self._channels.get(leader) is not channel:
            channel.connection.close()
        for done, answers in answered:
            self._post(done, answers)

    def _end(self, channel: LeaderChannel) -> None:
        for _, done in channel.waiting:
            self._post(done, None)
        channel.waiting.clear()
        if channel.thread is None:
            channel.connection.close()
        else:
            channel.connection.interrupt()

    def stop(self) -> None:
        """End all connections and wait for their threads; what was asked stays unanswered."""
        self._stopping = True
        for channel in self._channels.values():
            channel.waiting.clear()
            thread = channel.thread
            channel.connection.interrupt()
            if thread is not None:
                thread.join()
            channel.connection.close()
        self._channels.clear()
