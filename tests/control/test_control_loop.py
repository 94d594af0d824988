"""Timers, calls from other threads and errors on the control loop; all outcomes of the dispatcher."""

from __future__ import annotations

import io
import threading
import time
import weakref
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from control_fakes import FakeControl, make_context

from kafka_cy.config import BrokerConfig
from kafka_cy.server.broker import KafkaServer
from kafka_cy.server.control_loop import CANCELLED_FEW, ControlLoop
from kafka_cy.server.dispatcher import Dispatcher
from kafka_cy.server.event_times import EventCounts, EventTimes
from kafka_cy.server.log import BrokerLog
from kafka_cy.telemetry.reactor_numbers import bucket


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


def test_cancelled_timers_do_not_wait_for_their_time() -> None:
    """Clients choose when timers are due, in 24 days for example, and may make and cancel as many as they like."""
    loop, seen = ControlLoop(lambda what, error: None), []
    loop.attach(FakeSource(), seen.append, lambda: "last" in seen and loop.stop())
    for number in range(5000):
        loop.call_later(0.001 + number / 1e6, seen.append, number)
    for _ in range(3):
        for timer in [loop.call_later(2_000_000.0, seen.append, "never") for _ in range(20_000)]:
            timer.cancel()
            timer.cancel()
    assert len(loop._timers) < 5000 + 2 * CANCELLED_FEW + 20_000
    loop.call_later(0.03, seen.append, "last")
    loop.run()
    assert seen == [*range(5000), "last"]
    assert len(loop._timers) < 20_000


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
    assert broken.reason and "AttributeError" in text.getvalue()


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


def test_a_closed_loop_holds_no_request() -> None:
    loop = ControlLoop(lambda *_: None)
    loop.call_soon_threadsafe(print, object())
    loop.call_later(10, print, object())
    loop.close()
    loop.call_soon_threadsafe(print, object())
    assert not loop._soon and not loop._timers


class Part:
    """A part of the broker that may fail to stop."""

    def __init__(self, stopped: list[str], name: str) -> None:
        self.stopped = stopped
        self.name = name
        self.store = self

    def stop(self, *_: object) -> None:
        self.stopped.append(self.name)
        if self.name in ("groups", "lag"):
            raise RuntimeError("cannot join thread before it is started")

    shutdown = close = drop_requests = stop

    def take_requests(self, *_: object) -> list[Any]:
        return []

    take_log_events = take_requests


def test_a_part_that_fails_to_stop_does_not_keep_the_others_running(tmp_path: Path) -> None:
    text = io.StringIO()
    broker = KafkaServer(BrokerConfig.load(None, {"log.dirs": str(tmp_path)}), BrokerLog("info", text))
    assert broker.shutdown(), "nothing was started"
    stopped: list[str] = []
    names = ["groups", "transactions", "share", "producer_ids", "client_telemetry", "lag", "otel"]
    names += ["arrangement", "server", "arrangement", "logs", "arrangement", "metrics"]
    for name in names:
        setattr(broker, name, Part(stopped, name))
    assert not broker.shutdown()
    assert stopped == names
    assert text.getvalue().count("a task of the control plane failed task=shutdown") == 2


def test_event_times() -> None:
    """Requests, calls from other threads and timers are events; one that fails is one, too."""
    times = EventTimes()
    loop = ControlLoop(lambda *_: None, times)
    source = FakeSource()
    source.requests.append(SimpleNamespace(received_ns=time.monotonic_ns()))
    loop.attach(source, lambda _: None)
    loop.call_soon_threadsafe(lambda: time.sleep(0.02))
    loop.call_soon_threadsafe(lambda: 1 / 0)
    loop.call_later(0.0, loop.stop)
    loop.run()
    assert times.count == len(times.last_waited_ms) == len(times.last_worked_ms) == 4
    assert times.last_worked_ms[0] >= 20
    assert times.last_waited_ms[1] >= 20, "the second one waited for the first"
    assert min(times.last_waited_ms) >= 0


def test_events_of_a_loop_with_many_are_counted() -> None:
    counts = EventCounts()
    loop = ControlLoop(lambda *_: None, counts)
    loop.attach(FakeSource(), lambda _: None)
    loop.call_soon_threadsafe(lambda: time.sleep(0.02))
    loop.call_soon_threadsafe(loop.stop)
    assert loop.posted_count == 2
    loop.run()
    assert loop.posted_count == 0
    for times in (counts.waited, counts.worked):
        assert sum(times.counts()) == 2
        assert sum(times.counts()[bucket(19_000_000) :]) == 1, "the second waited for the first"
