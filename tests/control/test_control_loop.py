"""Timers, calls from other threads and errors on the control loop; all outcomes of the dispatcher."""

from __future__ import annotations

import io
import threading
import weakref
from types import SimpleNamespace
from typing import Any

from control_fakes import FakeControl, make_context

from kafka_cy.server.control_loop import ControlLoop
from kafka_cy.server.dispatcher import Dispatcher
from kafka_cy.server.log import BrokerLog


class FakeSource:
    """A queue that other threads can wake."""

    def __init__(self) -> None:
        self.requests: list[Any] = []
        self.event = threading.Event()

    def take_requests(self, timeout_s: float) -> list[Any]:
        """Wait for wake()."""
        self.event.wait(timeout_s)
        self.event.clear()
        taken, self.requests = self.requests, []
        return taken

    def wake(self) -> None:
        """Threadsafe."""
        self.event.set()


def test_timers_in_order_and_cancel() -> None:
    errors: list[str] = []
    loop, seen = ControlLoop(lambda what, error: errors.append(repr(error))), []
    source = FakeSource()
    source.requests.append("request")
    source.wake()
    loop.attach(source, seen.append, lambda: {"soon", "second"} <= set(seen) and loop.stop())
    loop.call_later(0.02, seen.append, "second")
    loop.call_later(0.01, seen.append, "first")
    loop.call_later(0.015, seen.append, "never").cancel()
    loop.call_later(0.012, lambda: 1 / 0)
    threading.Timer(0.005, loop.call_soon_threadsafe, (seen.append, "soon")).start()
    loop.run()
    assert [entry for entry in seen if entry != "soon"] == ["request", "first", "second"]
    assert "soon" in seen
    assert len(errors) == 1 and "ZeroDivisionError" in errors[0]


def test_work_in_a_thread_is_followed_by_a_call_on_the_loop() -> None:
    loop = ControlLoop(lambda what, error: None)
    loop.attach(FakeSource(), lambda request: None)
    threads: list[threading.Thread] = []

    def work() -> None:
        threads.append(threading.current_thread())

    def done() -> None:
        threads.append(threading.current_thread())
        loop.stop()

    loop.call_later(0, loop.run_in_thread, work, done)
    loop.run()
    loop.join_workers()
    assert threads[0] is not threading.current_thread() and not threads[0].is_alive()
    assert threads[1] is threading.current_thread()


def test_repeated_calls_survive_an_exception_until_cancelled() -> None:
    errors: list[str] = []
    loop = ControlLoop(lambda what, error: errors.append(repr(error)))
    calls: list[int] = []

    def work() -> None:
        calls.append(1)
        if len(calls) == 3:
            timer.cancel()
            loop.call_later(0.02, loop.stop)
        raise RuntimeError("once more")

    loop.attach(FakeSource(), print)
    timer = loop.repeat(0.001, work)
    loop.run()
    assert len(calls) == 3
    assert len(errors) == 3


def test_stop_before_run() -> None:
    loop = ControlLoop(lambda *_: None)
    loop.attach(FakeSource(), print)
    loop.stop()
    loop.run()


def control_request(api_key: int, version: int, body: bytes) -> Any:
    control: Any = FakeControl()
    fields = {"api_key": api_key, "api_version": version, "body": body, "correlation_id": 1, "client_id": None}
    fields |= {"client_host": "127.0.0.1", "client_port": 1, "listener_index": 0, "connection_id": 1}
    for name, value in fields.items():
        setattr(control, name, value)
    return control


def test_dispatch_answers_or_closes() -> None:
    text = io.StringIO()
    context = make_context()
    dispatcher = Dispatcher(context, BrokerLog("info", text))
    good = control_request(60, 0, b"\0\0")
    dispatcher.dispatch(good)
    assert good.payload is not None and b"localhost" in good.payload
    for key, version, body in [(60, 0, b"\0"), (60, 9, b""), (999, 0, b""), (19, 5, b"\xff\xff\xff\xff\x0f")]:
        bad = control_request(key, version, body)
        dispatcher.dispatch(bad)
        assert bad.payload is None and bad.reason
    context.cluster = SimpleNamespace()  # type: ignore[assignment]
    broken = control_request(60, 0, b"\0\0")
    context.advertised = []
    dispatcher.dispatch(broken)
    assert broken.reason and "IndexError" in text.getvalue()


def test_log_lines_are_single_lines() -> None:
    text = io.StringIO()
    log = BrokerLog("warning", text)
    log.info("not wanted")
    log.error("two\nlines", who="a b", empty="")
    assert text.getvalue().count("\n") == 1
    assert 'ERROR two\\nlines who="a b" empty=""' in text.getvalue()


def test_a_request_that_is_dropped_goes_at_once() -> None:
    """Its connection closes when it is dropped: the client must not wait for another client's request."""

    class Dropped:
        pass

    loop = ControlLoop(lambda what, error: None)
    source = FakeSource()
    source.requests.append(Dropped())
    kept = weakref.ref(source.requests[0])

    gone: list[bool] = []

    def fail(request: Dropped) -> None:
        loop.call_soon_threadsafe(lambda: (gone.append(kept() is None), loop.stop()))
        raise RuntimeError("before anything was answered")

    loop.attach(source, fail)
    loop.run()
    assert gone == [True]
