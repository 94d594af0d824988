"""`python no_threads_broker.py NAME KEY=VALUE...`: a broker in which no thread of this name starts."""

from __future__ import annotations

import sys

from kafka_cy.base.named_thread import NamedThread
from kafka_cy.server.main import run

start = NamedThread.start


def start_others(thread: NamedThread) -> None:
    if thread.name == sys.argv[1]:
        raise RuntimeError("can't start new thread")
    start(thread)


NamedThread.start = start_others  # type: ignore[method-assign]
sys.exit(run(None, dict(each.split("=", 1) for each in sys.argv[2:])))
