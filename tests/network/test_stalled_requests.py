"""Clients that announce a request and do not send it, while the memory for requests is used up."""

from __future__ import annotations

import struct
import time
from collections.abc import Iterator
from typing import Any

import pytest

from .conftest_network import COLD, Harness, frame

LIMIT_BYTES = 1 << 20
STALLED_S = 5.0  # STALLED_MS of request_memory


@pytest.fixture
def harness(probe: Any) -> Iterator[Harness]:
    started = Harness(1, queued_request_bytes_max=LIMIT_BYTES)
    yield started
    for client in started.clients:
        client.close()
    started.stopping = True
    started.server.wake()
    started.thread.join()
    started.server.stop(1.0)


def test_a_client_that_has_just_begun_has_its_time(harness: Harness) -> None:
    """The bound is a lower one: a busy machine only closes later."""
    half = struct.pack(">i", 400_000) + frame(COLD, bytes(6000))[4:]
    begun = time.monotonic()
    clients = [harness.client() for _ in range(3)]
    for client in clients:
        client.send(half)
    assert clients[0].closed_by_server()  # it frees memory: the others may have to wait for nothing then
    assert time.monotonic() - begun >= STALLED_S
    assert set(harness.log()) == {"closed: its request arrives too slowly while the memory for requests is exhausted"}
