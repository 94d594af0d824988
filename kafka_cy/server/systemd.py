"""The start protocol of systemd (`Type=notify`, sd_notify(3)): the service manager learns when the broker accepts clients."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

BUSY_TIMEOUT_S = 30.0  # for a service manager whose socket is full


def notify(state: str, variables: Mapping[str, str] = os.environ) -> None:
    """Send a state such as `STOPPING=1`. Without a service manager, or when it does not listen, nothing happens."""
    try:
        _send(state, variables, 0.0)
    except OSError:
        pass


def notify_ready(warn: Callable[..., object], variables: Mapping[str, str] = os.environ) -> None:
    """Send `READY=1`. Without it, the service manager stops the broker after the start timeout of the unit.

    A service manager whose socket is full is waited for on another thread. `warn(text, **details)` writes a line of the log
    if the state could not be sent; any thread calls it.
    """
    try:
        _send("READY=1", variables, 0.0)
    except BlockingIOError:
        from kafka_cy.base.named_thread import NamedThread

        try:
            NamedThread(target=lambda: _send_ready(warn, variables), name="notify", daemon=True).start()
        except RuntimeError as error:
            _not_told(warn, error)
    except OSError as error:
        _not_told(warn, error)


def _send_ready(warn: Callable[..., object], variables: Mapping[str, str]) -> None:
    try:
        _send("READY=1", variables, BUSY_TIMEOUT_S)
    except OSError as error:
        _not_told(warn, error)


def _not_told(warn: Callable[..., object], error: Exception) -> None:
    warn("the service manager could not be told that the broker is ready, and may stop it", error=str(error))


def _send(state: str, variables: Mapping[str, str], timeout_s: float) -> None:
    """Send to the service manager, if there is one. Raises OSError; BlockingIOError: it is busy, and the timeout is 0."""
    address = variables.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    import socket

    if address.startswith("@"):
        address = "\0" + address[1:]  # an abstract address
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as client:
        client.settimeout(timeout_s)
        client.sendto(state.encode(), address)
