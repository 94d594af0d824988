"""`/health`, `/ready` and `/debug/threads`: whether the broker is alive, whether it serves, what each thread does."""

from __future__ import annotations

import sys
import threading

from kafka_cy.telemetry.broker_view import RECOVERY, RUNNING, SHUTTING_DOWN, STARTING, BrokerView
from kafka_cy.telemetry.http_server import HttpAnswer

CONTROL_THREADS = ("admin", "coordinator", "controller")  # as kafka_cy.api.registry.LOOPS
STUCK_S = 30.0  # a reactor or control thread that is busy with one task for longer is unhealthy
STATES = {STARTING: "starting", RECOVERY: "recovering logs", RUNNING: "running", SHUTTING_DOWN: "shutting down"}
ACTIVITIES = {0: "starting", 1: "waiting", 2: "receiving", 3: "handling", 4: "sending", 5: "stopped"}
WAITING, HANDLING, STOPPED = 1, 3, 5
STACK_FRAMES_MAX = 8


def state_name(state: int) -> str:
    """The name of a broker state."""
    return STATES.get(state, "not running")


def problems(view: BrokerView) -> list[str]:
    """Why the broker is unhealthy; empty if it is healthy."""
    from kafka_cy.telemetry import reactor_numbers

    found = []
    for i, reactor in enumerate(reactor_numbers.reactors(view.server)):
        if reactor.activity in ACTIVITIES.keys() - {0, WAITING, STOPPED} and reactor.turn_ns > STUCK_S * 1e9:
            found.append(f"reactor-{i} has been {ACTIVITIES[reactor.activity]} for {reactor.turn_ns / 1e9:.0f} s")
    for name, loop in zip(CONTROL_THREADS, reactor_numbers.control(view.server), strict=True):
        if loop.busy_ns > STUCK_S * 1e9:
            found.append(f"the {name} thread of the control plane has been busy for {loop.busy_ns / 1e9:.0f} s")
    paths, failed = view.log_dirs()
    if paths and len(failed) == len(paths):
        found.append("all log directories failed")
    return found


def health(view: BrokerView) -> HttpAnswer:
    """200 while the process should keep running, including start and recovery; otherwise 503 with the reasons."""
    found = problems(view)
    if found:
        return HttpAnswer(("\n".join(found) + "\n").encode(), status="503 Service Unavailable")
    return HttpAnswer(f"ok: {state_name(view.state)}\n".encode())


def ready(view: BrokerView) -> HttpAnswer:
    """200 while the broker serves clients; otherwise 503 with the state."""
    if view.state == RUNNING and not problems(view):
        return HttpAnswer(b"ready\n")
    why = problems(view) if view.state == RUNNING else [state_name(view.state)]
    return HttpAnswer(("not ready: " + "; ".join(why) + "\n").encode(), status="503 Service Unavailable")


def threads(view: BrokerView) -> HttpAnswer:
    """The current activity of each reactor and each Python thread, as text."""
    from kafka_cy.telemetry import reactor_numbers
    from kafka_cy.telemetry.metrics_page import request_names

    names = request_names()
    lines = [f"broker {view.broker_id}: {state_name(view.state)}", ""]
    for i, reactor in enumerate(reactor_numbers.reactors(view.server)):
        doing = ACTIVITIES.get(reactor.activity, "?")
        if reactor.activity == HANDLING:
            doing += f" {names.get(reactor.api_key, reactor.api_key)}"
        connections = sum(reactor.opened) - sum(reactor.closed)
        turn = f"turn {reactor.loops} began {reactor.turn_ns / 1e6:.1f} ms ago" if reactor.loops else "no turn yet"
        lines.append(
            f"reactor-{i}: {doing}, {turn}, {connections} connections, "
            f"{reactor.mails} mails, {reactor.requests} requests, busy {reactor.busy_ns / 1e9:.3f} s"
        )
    for name, loop in zip(CONTROL_THREADS, reactor_numbers.control(view.server), strict=True):
        doing = f"busy for {loop.busy_ns / 1e6:.1f} ms" if loop.busy_ns else "waiting"
        lines.append(f"control thread: {name}, {doing}, {loop.queued} requests queued, idle {loop.idle_ns / 1e9:.3f} s")
    from traceback import format_stack  # kept out of the start path

    frames = sys._current_frames()
    for thread in threading.enumerate():
        frame = frames.get(thread.ident or 0)
        lines += ["", f"Python thread {thread.name} (native id {thread.native_id})"]
        if frame is not None:
            lines += [line.rstrip() for line in format_stack(frame)[-STACK_FRAMES_MAX:]]
    return HttpAnswer(("\n".join(lines) + "\n").encode("utf-8", "replace"))
