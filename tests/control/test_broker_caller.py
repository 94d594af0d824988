"""Threads that call other brokers, and the pages' side threads, while the process may have no more threads."""

from __future__ import annotations

import queue
import struct
from typing import Any

import pytest

from kafka_cy.protocol.controller_messages import update_metadata
from kafka_cy.server.broker_caller import BrokerCaller, Call
from kafka_cy.telemetry.page_side_thread import SideThread
from tests.no_threads import forbid_threads

WAIT_S_MAX = 60.0


def test_a_caller_whose_thread_could_not_start_starts_it_with_the_next_request() -> None:
    failed: list[str] = []
    answers: queue.Queue[Any] = queue.Queue()
    caller = BrokerCaller("to-controller", "1", 1000, failed.append, None)
    request = Call("127.0.0.1", 1, update_metadata, 6, lambda _: struct.pack(">i", 0), answers.put)
    with pytest.MonkeyPatch.context() as patch:
        forbid_threads(patch)
        for _ in range(2):
            with pytest.raises(RuntimeError, match="start new thread"):
                caller.call(request)
    assert caller.has_ended
    caller.call(request)  # nobody listens there
    assert answers.get(timeout=WAIT_S_MAX) is None and len(failed) == 1
    caller.close()
    caller.join()
    assert caller.has_ended and answers.empty()


def test_a_caller_whose_thread_could_not_start_ends() -> None:
    caller = BrokerCaller("to-controller", "1", 1000, print, None)
    with pytest.MonkeyPatch.context() as patch:
        forbid_threads(patch)
        with pytest.raises(RuntimeError):
            caller.call(Call("127.0.0.1", 1, update_metadata, 6, lambda _: b"", print))
    caller.close()
    caller.join()
    assert caller.has_ended


def test_a_pages_side_thread_that_could_not_start_starts_with_the_next_thing() -> None:
    done: queue.Queue[Any] = queue.Queue()
    side = SideThread("metrics-password", lambda connection, what: done.put((connection, what)), 2)
    with pytest.MonkeyPatch.context() as patch:
        forbid_threads(patch)
        for _ in range(3):
            with pytest.raises(RuntimeError, match="start new thread"):
                side.submit("a", 1)
    assert side.submit("b", 2) and done.get(timeout=WAIT_S_MAX) == ("b", 2)
    side.stop()
