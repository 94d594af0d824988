"""Fetch sessions against a model in Python: any order of requests, few slots, few partitions, little memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kafka_cy.api import fetch_session_cache
from tests.waiting import wait_until

from .harness import Connection, HotServer
from .test_fetch import request

SLOTS, PARTITIONS_MAX, CLIENTS = 3, 6, 5
LEGAL = ["a", "b", "n" * 249]
ILLEGAL = ["n" * 250, "a/b", ""]
SESSION_BYTES = 8192  # more than a session of PARTITIONS_MAX partitions takes
Named = tuple[str, int]

partitions = st.lists(st.tuples(st.sampled_from(LEGAL + ILLEGAL), st.integers(0, 2)), max_size=7, unique=True)
operations = st.one_of(
    st.tuples(st.just("full"), st.integers(0, CLIENTS - 1), partitions),
    st.tuples(st.just("incremental"), st.integers(0, CLIENTS - 1), partitions, partitions, st.sampled_from([0, 0, 0, 0, 1, -1])),
    st.tuples(st.just("close"), st.integers(0, CLIENTS - 1), partitions),
    st.tuples(st.just("age")),
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HotServer]:
    started = HotServer(tmp_path_factory.mktemp("sessions"))
    yield started
    started.stop()
    fetch_session_cache.set_limits(partitions_max=100_000, bytes_max=256 << 20)
    fetch_session_cache.set_slots(1000)


def counters() -> dict[str, int]:
    return fetch_session_cache.counters()


class Session:
    """What the model knows of one session. All its topics are unknown, so each response contains all its partitions."""

    def __init__(self, session_id: int, contents: list[Named]) -> None:
        self.id, self.epoch, self.contents = session_id, 1, contents


class Model:
    """The cache as its clients see it. With little memory, a session may also be refused for its size in bytes."""

    def __init__(self, server: HotServer, connection: Connection, bytes_max: int) -> None:
        self.server, self.connection, self.bytes_max = server, connection, bytes_max
        self.sessions: dict[int, Session] = {}  # by client
        self.first = counters()
        self.gone = 0  # evicted sessions whose clients have learned of it

    def ask(
        self, session: tuple[int, int], named: list[Named], forget: Sequence[Named] = ()
    ) -> tuple[int, int, list[Named]]:
        """(error, session id, partitions in the response) of a fetch."""
        values = request(self.server, dict.fromkeys(named, 0), session=session, forget=list(forget))
        response: dict[str, Any] = self.connection.call(1, 12, values)
        found = [(topic["topic"], row["partition_index"]) for topic in response["responses"] for row in topic["partitions"]]
        assert {row["error_code"] for topic in response["responses"] for row in topic["partitions"]} <= {3}
        return response["error_code"], response["session_id"], found

    def evicted(self) -> int:
        return counters()["evictions"] - self.first["evictions"]

    def memory_is_short(self) -> bool:
        return self.bytes_max >> 2 < SESSION_BYTES or self.bytes_max - counters()["bytes"] < SESSION_BYTES

    def full(self, client: int, named: list[Named]) -> None:
        """A full fetch that asks for a session; it closes the client's session."""
        before = self.forget(client)
        short, slots_used = self.memory_is_short(), counters()["sessions"]
        error, session_id, found = self.ask((before, 0), grouped(named))
        assert (error, found) == (0, grouped(named))
        contents = [each for each in grouped(named) if each[0] in LEGAL]
        if not contents or len(named) > PARTITIONS_MAX:
            assert session_id == 0
        elif session_id:
            assert session_id not in {each.id for each in self.sessions.values()}
            self.sessions[client] = Session(session_id, contents)
        else:
            assert short or slots_used - (before != 0) >= SLOTS

    def alive(self, client: int) -> Session | None:
        """The client's session, unless it was evicted: then the client learns of it here."""
        session = self.sessions.get(client)
        if session is None:
            return None
        error = self.ask((session.id, 0x7FFFFFFF), [])
        if error == (71, 0, []):
            return session
        assert error == (70, 0, []) and self.evicted() > self.gone
        del self.sessions[client]
        self.gone += 1
        return None

    def forget(self, client: int) -> int:
        """The id of the client's session, which its next request closes; 0: none."""
        session = self.alive(client)
        return self.sessions.pop(client).id if session is not None else 0

    def close(self, client: int, named: list[Named]) -> None:
        assert self.ask((self.forget(client), -1), grouped(named)) == (0, 0, grouped(named))

    def incremental(self, client: int, named: list[Named], forget: list[Named], off: int) -> None:
        session = self.alive(client)
        if session is None:
            assert self.ask((0, 1), grouped(named), forget) == (70, 0, [])
            return
        if off and session.epoch + off > 0:
            assert self.ask((session.id, session.epoch + off), grouped(named), forget) == (71, 0, [])
            return
        short = self.memory_is_short()
        contents = session.contents + [each for each in grouped(named) if each[0] in LEGAL and each not in session.contents]
        refused = [each for each in grouped(named) if each[0] in ILLEGAL]
        error, session_id, found = self.ask((session.id, session.epoch), grouped(named), forget)
        if error:
            assert (error, session_id, found) == (70, 0, []) and (short or len(contents) > PARTITIONS_MAX)
            del self.sessions[client]
            return
        assert len(contents) <= PARTITIONS_MAX
        session.contents = [each for each in contents if each not in forget]
        session.epoch += 1
        assert found == session.contents + refused
        assert session_id == (session.id if session.contents else 0)
        if not session.contents:
            del self.sessions[client]

    def age(self) -> None:
        fetch_session_cache.age(10 * 60_000)

    def check(self) -> None:
        now = counters()
        evicted = self.evicted() - self.gone
        assert now["sessions"] == len(self.sessions) - evicted <= SLOTS
        if not evicted:
            assert now["partitions"] == sum(len(each.contents) for each in self.sessions.values())
        assert now["bytes"] <= self.bytes_max
        assert (now["bytes"] == 0) == (now["sessions"] == 0)


def grouped(named: list[Named]) -> list[Named]:
    """In the order in which `request` names them: topic by topic."""
    topics: dict[str, list[Named]] = {}
    for each in named:
        topics.setdefault(each[0], []).append(each)
    return [each for topic in topics.values() for each in topic]


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(st.lists(operations, max_size=40), st.sampled_from([1 << 20, 20_000, 12_000, 3_000]))
def test_any_order_of_requests(server: HotServer, steps: list[tuple[Any, ...]], bytes_max: int) -> None:
    fetch_session_cache.set_slots(SLOTS)
    fetch_session_cache.set_limits(partitions_max=PARTITIONS_MAX, bytes_max=bytes_max)
    wait_until(lambda: counters()["bytes"] == 0, "sessions of earlier tests are freed")
    connection = server.connect()
    model = Model(server, connection, bytes_max)
    try:
        for operation in steps:
            getattr(model, operation[0])(*operation[1:])
            model.check()
        for client in list(model.sessions):
            model.close(client, [])
        assert counters()["sessions"] == counters()["bytes"] == 0
    finally:
        connection.close()
