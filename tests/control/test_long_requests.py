"""Long requests: clients take turns, what waits is bounded, and a request that waits for the disk does not hold up others."""

from __future__ import annotations

import struct
import threading
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest

from kafka_cy.api.context import Request
from kafka_cy.base.slices import Slices
from kafka_cy.server import long_requests
from kafka_cy.server.dispatcher import Dispatcher
from kafka_cy.server.long_requests import (
    DECODED_BYTES_MAX,
    ELEMENTS_FEW,
    IN_WORK_BYTES_MAX,
    IN_WORK_MAX,
    MIB,
    WAITING_BYTES_MAX,
    WAITING_CLIENT_BYTES_MAX,
    WAITING_OVERHEAD_BYTES,
    LongRequests,
)
from tests.adversity.wire import string
from tests.no_threads import forbid_threads
from tests.waiting import wait_until

FIND_COORDINATOR, LEAVE_GROUP, DESCRIBE_GROUPS, LIST_GROUPS = 10, 13, 15, 16


class Control:
    """A request of the network layer."""

    api_key, api_version, correlation_id, client_id, listener_index, connection_id = LIST_GROUPS, 0, 1, "c", 0, 1
    client_port = 1
    is_question = False
    principal = None
    token_authenticated = False

    def __init__(self, client: str, body: bytes = b"") -> None:
        self.client_host, self.body = client, body
        self.payload: bytes | None = None
        self.reason: str | None = None

    def begin(self) -> None:
        """The handler begins."""

    def handled(self) -> None:
        """The handler returned."""

    def release_body(self) -> None:
        """The body was decoded."""

    def respond(self, payload: bytes, errors: object) -> None:
        self.payload = payload

    def close(self, reason: str) -> None:
        self.reason = reason


class Harness:
    """LongRequests of a loop that the test runs."""

    def __init__(self) -> None:
        self.soon: deque[Callable[[], object]] = deque()
        self.faults: list[Exception] = []
        self.decoded: list[Control] = []
        self.handled: list[Request[Any]] = []
        loop: Any = SimpleNamespace(call_soon_threadsafe=lambda f, *arguments: self.soon.append(partial(f, *arguments)))
        self.long: Any = LongRequests(loop, self.decode, self.handled.append, self.fail)

    def decode(self, control: Any) -> Request[Any] | None:
        self.decoded.append(control)
        return None if control.body == b"malformed" else self.request(control)

    def fail(self, request: Request[Any], error: Exception) -> None:
        self.faults.append(error)
        request.close("failed")

    def request(self, control: Any, size: int = 0) -> Request[Any]:
        return Request(
            api_key=LIST_GROUPS, api_version=0, correlation_id=1, client_id="c", client_host=control.client_host,
            listener_index=0, connection_id=1, body=None, control=control, body_size=size,
            long_requests=self.long.add, fail=self.fail,
        )  # fmt: skip

    def add(self, client: str, prepare: Any, size: int = 0) -> Control:
        """A handler responds long."""
        control = Control(client)
        self.request(control, size).respond_long(prepare)
        return control

    def run_until(self, condition: Callable[[], object]) -> None:
        def check() -> object:
            while self.soon:
                self.soon.popleft()()
            return condition()

        wait_until(check, "the requests are answered")

    def is_idle(self) -> bool:
        return not self.long._lines and not self.long._in_work and not self.long._in_work_bytes and not self.long._waiting_bytes


@pytest.fixture
def harness() -> Iterator[Harness]:
    made = Harness()
    yield made
    made.long.stop()


def response() -> dict[str, Any]:
    return {"throttle_time": 0, "error_code": 0, "groups": []}


def at_once(ready: Callable[[Any], object]) -> None:
    ready(response)


def test_clients_take_turns(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(long_requests, "IN_WORK_MAX", 1)
    started: list[str] = []

    def prepare(name: str, ready: Callable[[Any], object]) -> None:
        started.append(name)
        ready(response)

    controls = [harness.add("busy", partial(prepare, f"busy {number}")) for number in range(4)]
    controls.append(harness.add("quiet", partial(prepare, "quiet")))
    harness.run_until(harness.is_idle)
    assert started == ["busy 0", "quiet", "busy 1", "busy 2", "busy 3"]
    assert all(control.payload is not None for control in controls)


def test_a_client_has_one_request_in_work(harness: Harness) -> None:
    waiting: list[Any] = []
    harness.add("a", waiting.append)
    second = harness.add("a", waiting.append)
    assert len(waiting) == 1
    waiting.pop()(response)
    harness.run_until(lambda: waiting)
    assert second.payload is None
    waiting.pop()(response)
    harness.run_until(harness.is_idle)
    assert second.payload is not None


def test_a_request_that_waits_for_the_disk_does_not_hold_up_other_clients(harness: Harness) -> None:
    waiting: list[Any] = []
    slow = harness.add("slow", waiting.append)
    quick = harness.add("quick", at_once)
    harness.run_until(lambda: quick.payload is not None)
    assert slow.payload is None
    waiting.pop()(response)
    harness.run_until(harness.is_idle)
    assert slow.payload is not None


def test_a_long_body_is_decoded_when_its_turn_comes(harness: Harness) -> None:
    waiting: list[Any] = []
    harness.add("a", waiting.append)
    control: Any = Control("a")
    harness.long.add_encoded(control, 1000)
    assert harness.decoded == [] and harness.long._waiting_bytes == 1000 + WAITING_OVERHEAD_BYTES
    waiting.pop()(response)
    harness.run_until(lambda: harness.handled)
    assert harness.long._in_work == 1
    request = harness.handled.pop()
    request.respond_long(waiting.append)  # it has its turn already
    waiting.pop()(response)
    harness.run_until(harness.is_idle)
    assert control.payload is not None


def test_a_short_response_to_a_long_request_ends_its_turn(harness: Harness) -> None:
    control: Any = Control("a")
    harness.long.add_encoded(control, 1000)
    harness.run_until(lambda: harness.handled)
    harness.handled.pop().respond(response())
    harness.run_until(harness.is_idle)
    assert control.payload is not None


def test_a_request_that_waits_for_other_clients_gives_its_turn_back(harness: Harness) -> None:
    """A JoinGroup waits for the other members, perhaps for minutes."""
    control: Any = Control("a")
    harness.long.add_encoded(control, 1000)
    harness.run_until(lambda: harness.handled)
    request = harness.handled.pop()
    request.end_turn()
    harness.run_until(harness.is_idle)
    assert control.reason is None
    request.respond(response())
    assert control.payload is not None


def test_a_fault_on_the_thread_is_reported_and_the_thread_continues(harness: Harness) -> None:
    def fails() -> None:
        raise ValueError("a fault")

    harness.long.on_thread(fails)
    wait_until(lambda: harness.soon, "the report")
    with pytest.raises(ValueError, match="a fault"):
        harness.soon.popleft()()
    control = harness.add("a", at_once)
    harness.run_until(harness.is_idle)
    assert control.payload is not None


def test_a_malformed_long_request_ends_its_turn(harness: Harness) -> None:
    harness.long.add_encoded(Control("a", b"malformed"), 1000)
    harness.run_until(lambda: harness.decoded and harness.is_idle())


def test_a_request_that_is_dropped_ends_its_turn(harness: Harness) -> None:
    harness.long.add_encoded(Control("a"), 1000)
    harness.run_until(lambda: harness.handled)
    harness.handled.clear()
    harness.add("a", lambda ready: None)
    harness.run_until(harness.is_idle)


def test_faults_cost_one_request(harness: Harness) -> None:
    def fails(*_: object) -> Any:
        raise ValueError("a fault")

    controls = [harness.add("a", fails), harness.add("a", lambda ready: ready(fails)), harness.add("a", at_once)]
    harness.run_until(harness.is_idle)
    assert [control.reason for control in controls] == ["failed", "failed", None]
    assert len(harness.faults) == 2


def test_a_second_response_changes_nothing(harness: Harness) -> None:
    def twice(ready: Callable[[Any], object]) -> None:
        ready(response)
        ready(response)

    harness.add("a", twice)
    harness.add("b", at_once)
    harness.run_until(harness.is_idle)
    assert not harness.faults


def test_what_one_client_makes_wait_is_limited(harness: Harness) -> None:
    size = 5 * MIB
    waiting: list[Any] = []
    harness.add("other", waiting.append, IN_WORK_BYTES_MAX)  # all other requests wait
    controls: list[Any] = [Control("a") for _ in range(5)]
    for control in controls:
        harness.long.add_encoded(control, size)
    refused = "too many long requests wait"
    assert [control.reason for control in controls] == [None, None, None, refused, refused]
    assert harness.long._waiting_bytes <= WAITING_CLIENT_BYTES_MAX
    assert harness.add("b", at_once, 1).reason is None  # another client
    decoded = WAITING_CLIENT_BYTES_MAX // DECODED_BYTES_MAX
    assert [harness.add("c", at_once, decoded).reason for _ in range(2)] == [None, refused]


def test_what_all_clients_make_wait_is_limited(harness: Harness) -> None:
    waiting: list[Any] = []
    harness.add("other", waiting.append, IN_WORK_BYTES_MAX)  # all other requests wait
    clients = WAITING_BYTES_MAX // WAITING_CLIENT_BYTES_MAX
    controls: list[Any] = [Control(f"client {number}") for number in range(clients + 1)]
    for control in controls:
        harness.long.add_encoded(control, WAITING_CLIENT_BYTES_MAX - WAITING_OVERHEAD_BYTES)
    assert [control.reason for control in controls] == [None] * clients + ["too many long requests wait"]
    assert harness.long._waiting_bytes == WAITING_BYTES_MAX
    assert len(harness.long._lines) == clients + 1


def test_requests_in_work_are_limited(harness: Harness) -> None:
    waiting: list[Any] = []
    for number in range(IN_WORK_MAX + 5):
        harness.add(f"client {number}", waiting.append)
    assert len(waiting) == IN_WORK_MAX
    while waiting:
        waiting.pop()(response)
    harness.run_until(lambda: len(waiting) == 5)
    waiting.clear()


def test_a_thread_that_cannot_start_costs_one_request(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        forbid_threads(patch)
        decoded = harness.add("a", at_once)
        assert decoded.reason == "failed" and isinstance(harness.faults.pop(), RuntimeError)
        encoded: Any = Control("a")
        harness.long.add_encoded(encoded, 1000)
        harness.run_until(harness.is_idle)
        assert encoded.reason == "can't start new thread"
    later = harness.add("a", at_once)
    harness.run_until(harness.is_idle)
    assert later.payload is not None


def test_a_stop_closes_the_connections_of_requests_that_wait(harness: Harness) -> None:
    started = threading.Event()
    go_on = threading.Event()

    def slow() -> dict[str, Any]:
        started.set()
        assert go_on.wait(60)
        return response()

    def prepare(make: Any, ready: Callable[[Any], object]) -> None:
        ready(make)

    working = harness.add("a", partial(prepare, slow))
    not_begun = harness.add("b", at_once)
    waiting: Any = Control("a")
    harness.long.add_encoded(waiting, 1000)
    decoded = harness.add("a", at_once)
    assert started.wait(60)
    stopping = threading.Thread(target=harness.long.stop)
    stopping.start()
    wait_until(lambda: harness.long._stopping, "the stop")
    go_on.set()
    stopping.join(60)
    assert working.payload is not None
    assert waiting.reason == decoded.reason == "the broker shuts down"
    assert not_begun.payload is None and harness.long._jobs.empty(), "nothing holds it"


# -- the dispatcher --


class Log:
    """Keeps the lines of the broker's log."""

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []

    writes_debug = False

    def repeated(self, level: str, message: str, details: dict[str, Any], address: str) -> None:
        self.lines.append({"message": message, **details})


class Dispatching:
    """A dispatcher whose loop the test runs."""

    def __init__(self, **parts: Any) -> None:
        self.harness = Harness()
        self.log = Log()
        config = {"kafkacy.control.request.max.elements": 250_000}
        loop: Any = self.harness.long._loop
        cluster = SimpleNamespace(topics={})
        context: Any = SimpleNamespace(loop=loop, slices=Slices(loop, print), config=config, cluster=cluster, acls=None, **parts)
        self.dispatcher: Any = Dispatcher(context, self.log)  # type: ignore[arg-type]
        self.harness.long = self.dispatcher._long_requests

    def dispatch(self, api_key: int, body: bytes) -> Control:
        control: Any = Control("a", body)
        control.api_key = api_key
        self.dispatcher.dispatch(control)
        return control  # type: ignore[no-any-return]


def describe_groups_body(count: int) -> bytes:
    return struct.pack(">i", count) + struct.pack(">h", 0) * count


def test_a_body_with_many_elements_is_not_decoded_on_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[str] = []

    def decode(self: Any, *arguments: Any) -> Any:
        threads.append(threading.current_thread().name)
        return original(self, *arguments)

    original = Dispatcher._decode
    monkeypatch.setattr(Dispatcher, "_decode", decode)
    groups = SimpleNamespace(
        describe_groups=lambda names, respond: respond([(0, None)] * len(names)), members_count=lambda names: 0,
        describe_group=lambda name: (0, None), is_busy=lambda names: False,
    )  # fmt: skip
    made = Dispatching(groups=groups)
    short = made.dispatch(DESCRIBE_GROUPS, describe_groups_body(ELEMENTS_FEW))
    assert short.payload is not None
    long = made.dispatch(DESCRIBE_GROUPS, describe_groups_body(ELEMENTS_FEW + 1))
    assert long.payload is None
    made.harness.run_until(lambda: long.payload is not None)
    made.harness.run_until(made.harness.is_idle)
    assert threads == ["MainThread", "MainThread", "long-requests"]
    too_long = made.dispatch(DESCRIBE_GROUPS, describe_groups_body(250_001))
    made.harness.run_until(lambda: too_long.reason)
    assert too_long.reason == "malformed request: more array elements than kafkacy.control.request.max.elements"
    made.harness.run_until(made.harness.is_idle)
    made.dispatcher.stop()


def test_a_fault_in_a_callback_is_logged_with_its_client() -> None:
    """It closes the connection as a fault of the handler itself does."""
    callbacks: list[Any] = []
    groups = SimpleNamespace(is_coordinator_of=lambda key: 1 // 0)
    made = Dispatching(create_topics=lambda names, sender, done: callbacks.append(done), groups=groups)
    control = made.dispatch(FIND_COORDINATOR, string("group"))
    assert control.reason is None
    callbacks.pop()()
    assert control.reason == "the broker failed to handle the request"
    (line,) = made.log.lines
    assert line["message"] == "a request failed because of an error in the broker"
    assert (line["api_key"], line["client"], line["error"][:17]) == (FIND_COORDINATOR, "a:1", "ZeroDivisionError")


def test_a_fault_in_the_encoding_of_a_late_response_is_logged_with_its_client() -> None:
    """The coordinator that sent the response does not see the fault."""
    callbacks: list[Any] = []
    classic = SimpleNamespace(leave=lambda group, members, respond: callbacks.append(respond))
    made = Dispatching(groups=SimpleNamespace(classic=classic))
    control = made.dispatch(LEAVE_GROUP, string("group") + string("member"))
    callbacks.pop()(1 << 20, [])  # no 16-bit error code
    assert control.reason == "the broker failed to handle the request"
    assert made.log.lines[0]["client"] == "a:1"


# -- the order of commits --

OFFSET_COMMIT = 8


def commit_body(partitions: int) -> bytes:
    head = string("g") + struct.pack(">i", -1) + string("") + struct.pack(">q", -1)
    rows = b"".join(struct.pack(">iqh", index, 5, -1) for index in range(partitions))
    return head + struct.pack(">i", 1) + string("t") + struct.pack(">i", partitions) + rows


def test_a_commit_behind_a_long_one_of_its_connection_waits_for_it() -> None:
    """Commits of other connections, and other requests, do not."""
    begun: list[tuple[int, Callable[[], object]]] = []

    def commit_long(group_id: str, look: Any, request_of: Any, respond: Any) -> None:
        begun.append((sum(1 for _ in look), lambda: respond(0, {})))

    def commit(request: Any, respond: Any) -> None:
        begun.append((len(request.partitions), lambda: respond(0, {})))

    groups = SimpleNamespace(
        offset_commit=SimpleNamespace(offsets_max=lambda: 100_000), commit=commit, commit_long=commit_long,
        describe_groups=lambda names, respond: respond([(0, None)] * len(names)), members_count=lambda names: 0,
        describe_group=lambda name: (0, None), is_busy=lambda names: False,
    )  # fmt: skip
    made = Dispatching(groups=groups)

    def send(partitions: int, connection_id: int = 1) -> Control:
        control: Any = Control("a", commit_body(partitions))
        control.api_key, control.api_version, control.connection_id = OFFSET_COMMIT, 2, connection_id
        made.dispatcher.dispatch(control)
        return control  # type: ignore[no-any-return]

    def answer_next() -> None:
        begun.pop(0)[1]()

    controls = [send(ELEMENTS_FEW + 1), send(1), send(ELEMENTS_FEW + 1), send(1)]
    other = send(1, connection_id=2)
    assert len(begun) == 1, "another connection's"
    answer_next()
    assert other.payload is not None
    assert made.dispatch(DESCRIBE_GROUPS, describe_groups_body(1)).payload is not None
    for place, control in enumerate(controls):
        made.harness.run_until(lambda: begun)
        assert len(begun) == 1 and not any(each.payload for each in controls[place:])
        answer_next()
        made.harness.run_until(lambda control=control: control.payload is not None)
    made.harness.run_until(made.harness.is_idle)
    assert made.dispatcher._long_requests._ordered == {}
    short = send(1)
    answer_next()
    assert short.payload is not None, "nothing is before it any more"
    made.dispatcher.stop()
