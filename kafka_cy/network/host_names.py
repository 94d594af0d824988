"""Addresses of hosts: numeric ones as Java reads them, and names, which only another thread resolves."""

from __future__ import annotations

import socket
import threading
from collections import deque
from collections.abc import Callable, Iterable
from typing import Final

NAME_CHARS_MAX: Final = 253  # of a host name in the DNS
LOOKUPS_WAITING_MAX: Final = 64

_Done = Callable[[dict[str, set[bytes]]], object]


def numeric_address(host: str) -> bytes | None:
    """Return the 4 or 16 bytes of a numeric address; None for a name.

    As java.net.InetAddress: an IPv4 address has one to four decimal numbers, an IPv6 address may stand in brackets.
    """
    if ":" in host:
        try:
            return socket.inet_pton(socket.AF_INET6, host[1:-1] if host[0] + host[-1] == "[]" else host)
        except (OSError, ValueError):  # ValueError: a zero byte
            return None
    parts = host.split(".")
    if len(parts) > 4 or not all(part.isascii() and part.isdigit() and len(part) <= 10 for part in parts):
        return None
    numbers = [int(part) for part in parts]
    last_bytes = 5 - len(parts)  # the last number fills the rest of the address
    if any(number > 255 for number in numbers[:-1]) or numbers[-1] >= 1 << (8 * last_bytes):
        return None
    return bytes(numbers[:-1]) + numbers[-1].to_bytes(last_bytes, "big")


def resolve(host: str) -> set[bytes]:
    """Return all addresses of a host name; empty if it has none. Waits for the DNS."""
    if len(host) > NAME_CHARS_MAX:
        return set()
    try:
        answers = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError, ValueError):  # UnicodeError: a label of the name is empty or too long; ValueError: a zero byte
        return set()
    found = (numeric_address(str(answer[4][0])) for answer in answers)
    return {address for address in found if address is not None}


class HostLookups:
    """Resolves names for requests, in their order, on the thread `resolve-hosts`, which exists while there is something to do.

    Threads: any. Lock: `_lock` guards the queue. Limits: LOOKUPS_WAITING_MAX.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: deque[tuple[tuple[str, ...], _Done]] = deque()
        self._runs = False

    def add(self, hosts: Iterable[str], done: _Done) -> bool:
        """Call `done(addresses by host)` later, on the thread. False: too many lookups wait, or there is no thread."""
        from kafka_cy.base.named_thread import NamedThread

        with self._lock:
            if len(self._waiting) >= LOOKUPS_WAITING_MAX:
                return False
            self._waiting.append((tuple(hosts), done))
            if self._runs:
                return True
            self._runs = True
        try:
            NamedThread(target=self._run, name="resolve-hosts", daemon=True).start()
        except RuntimeError:
            with self._lock:
                self._runs = False
                self._waiting.clear()
            return False
        return True

    def _run(self) -> None:
        while True:
            with self._lock:
                if not self._waiting:
                    self._runs = False
                    return
                hosts, done = self._waiting.popleft()
            done({host: resolve(host) for host in hosts})
