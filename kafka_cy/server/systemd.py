"""The start protocol of systemd (`Type=notify`, sd_notify(3)): the service manager learns when the broker accepts clients."""

from __future__ import annotations

import os
from collections.abc import Mapping


def notify(state: str, variables: Mapping[str, str] = os.environ) -> None:
    """Send a state such as `READY=1`. Without a service manager, or when it does not listen, nothing happens."""
    address = variables.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    import socket

    if address.startswith("@"):
        address = "\0" + address[1:]  # an abstract address
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as client:
            client.setblocking(False)  # a service manager that does not read must not hold up the broker
            client.sendto(state.encode(), address)
    except OSError:
        pass
