"""What a request keeps in memory counts as long as it is kept, and a fault gives its place back."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any
from uuid import UUID

import pytest
from control_fakes import KeptRequest, start
from test_change_pieces import CREATE, DELETE, EXTEND
from test_change_pieces import context as context
from test_client_requests import ALL, ELECT, HANDLERS, TOPIC_HANDLERS, Silent, body_of, name_of
from test_client_requests import silent as silent

from kafka_cy.cluster.topics import PartitionMetadata, Topic
from kafka_cy.protocol.errors import ErrorCode

BAD = 2000
LATER = UUID(int=77)


@pytest.fixture
def traced() -> Iterator[Callable[[], int]]:
    def now() -> int:
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    yield now
    tracemalloc.stop()


@pytest.mark.parametrize("api_key", list(TOPIC_HANDLERS))
def test_refused_topics_count_as_long_as_they_are_kept(
    silent: Silent, traced: Callable[[], int], api_key: int
) -> None:
    names = [f"bad {number}" for number in range(BAD)]
    before = traced()
    request = silent.ask(api_key, [*names, name_of(api_key)])
    assert request.body is None and request.responses == []
    assert BAD * 100 < traced() - before < silent.requests.bytes
    silent.answer_all()
    assert len(next(rows for rows in request.responses[0].values() if isinstance(rows, list))) == BAD + 1
    assert silent.requests.bytes == 0


class Unseen:
    """Metadata that show no change until the test says so."""

    def __init__(self, silent: Silent, monkeypatch: pytest.MonkeyPatch) -> None:
        self.waits: list[tuple[float, Callable[[], object]]] = []
        monkeypatch.setattr(silent, "wait", self._wait)

    def _wait(self, waits: Mapping[str, Any], timeout_ms: float, done: Callable[[Sequence[str]], object]) -> None:
        if timeout_ms <= 0:
            done(list(waits))
        else:
            self.waits.append((timeout_ms, lambda: done([])))


@pytest.mark.parametrize("api_key", [*TOPIC_HANDLERS, ELECT])
def test_a_request_counts_until_the_metadata_show_what_was_done(
    silent: Silent, monkeypatch: pytest.MonkeyPatch, api_key: int
) -> None:
    unseen = Unseen(silent, monkeypatch)
    request = silent.ask(api_key, [name_of(api_key)])
    silent.answer_all()
    ((timeout_ms, show),) = unseen.waits
    assert timeout_ms == 1000 and silent.timers == [], "one time-out is enough"
    assert request.responses == [] and silent.requests.count == 1
    show()
    assert len(request.responses) == 1 and (silent.requests.count, silent.requests.bytes) == (0, 0)


def ask_both_ways(silent: Silent) -> KeptRequest:
    """Delete a topic by name and by id. The metadata show it when the request has been looked through."""
    topics = [{"name": "later", "topic_id": None}, {"name": None, "topic_id": LATER}]
    request = start(silent.context, DELETE, 6, {"topics": topics, "timeout": 1000}, HANDLERS[DELETE])
    silent.context.cluster.put_topic(Topic("later", LATER, [PartitionMetadata(0, 1, 0, [1], [1])], {}))
    silent.context.loop.run_all()
    return request


def test_a_topic_that_is_named_in_two_ways_is_deleted_once(silent: Silent) -> None:
    request = ask_both_ways(silent)
    silent.answer_all()
    (response,) = request.responses
    found = [(each["name"], each["topic_id"], int(each["error_code"])) for each in response["responses"]]
    assert found == [("later", LATER, 0), ("later", LATER, ErrorCode.INVALID_REQUEST)]
    assert [name for name, _ in silent.asked] == ["later"] and silent.requests.count == 0


@pytest.mark.parametrize(
    ("api_key", "where"), [*((key, name) for key in (CREATE, DELETE, EXTEND) for name in ("_answer", "wait")), (ELECT, "wait")]
)
def test_a_fault_ends_the_request_and_its_place(
    silent: Silent, monkeypatch: pytest.MonkeyPatch, api_key: int, where: str
) -> None:
    faults: list[Exception] = []

    def fail(*_: Any) -> None:
        raise ValueError(where)

    monkeypatch.setattr(silent, where, fail)
    monkeypatch.setattr(KeptRequest, "_failed", lambda request, error: faults.append(error))
    silent.ask(api_key, [name_of(api_key)])
    silent.answer_all()
    assert list(map(str, faults)) == [where]
    assert (silent.requests.count, silent.requests.bytes, silent.timers) == (0, 0, [])


class Turn:
    """The turn of a long request, whose responses another thread builds."""

    def __init__(self) -> None:
        self.is_over = False
        self.makes: list[Callable[[], Any]] = []

    def build(self, request: Any, make: Callable[[], Any]) -> None:
        self.makes.append(make)

    def end(self) -> None:
        self.is_over = True


@pytest.mark.parametrize("is_late", [False, True])
@pytest.mark.parametrize("api_key", ALL)
def test_a_long_request_waits_without_its_turn(silent: Silent, api_key: int, is_late: bool) -> None:
    turn = Turn()
    version, body = body_of(api_key, [name_of(api_key)], 1000)

    def handle(request: Any, context: Any) -> Any:
        request.turn = turn
        return HANDLERS[api_key](request, context)

    request = start(silent.context, api_key, version, body, handle)
    silent.context.loop.run_all()
    assert (turn.is_over, request.turn, request.body) == (True, None, None) and silent.requests.count == 1
    if is_late:
        silent.time_out()
    silent.answer_all()
    (make,) = turn.makes
    assert request.responses == [] and (silent.requests.count, silent.timers) == (0, [])
    assert (ErrorCode.REQUEST_TIMED_OUT in codes(make())) is is_late


def codes(response: Any) -> set[Any]:
    """All error codes of a response."""
    if isinstance(response, list):
        return set().union(*map(codes, response))
    if not isinstance(response, dict):
        return set()
    return {response.get("error_code")}.union(*map(codes, response.values()))
