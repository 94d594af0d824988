"""Responses that a client does not read: little is kept of them, and nothing more is answered."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable

import pytest
from conftest_network import ECHO, Client, Harness, frame, plaintext_only

from tests.waiting import wait_until

Make = Callable[..., Harness]
SIZE = 3000  # too large to be copied together with others
COUNT = 600
IN_FLIGHT = 8


def small_client(made: Harness) -> Client:
    """A client that takes little at a time."""
    client = made.client()
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    return client


@plaintext_only
@pytest.mark.parametrize("size", [SIZE, 10])
def test_unsent_responses_are_requests_in_flight(harness: Make, size: int) -> None:
    made = harness(1, in_flight_max=IN_FLIGHT, send_buffer_bytes=4096)
    client = small_client(made)
    bodies = [struct.pack(">i", number) + bytes(size if number % 2 else SIZE) for number in range(COUNT)]
    sender = threading.Thread(
        target=client.send, args=(b"".join(frame(ECHO, body, correlation_id=place) for place, body in enumerate(bodies)),)
    )
    sender.start()
    wait_until(lambda: made.server.counters()["queued_response_bytes"] or made.server.counters()["paused"], "a full socket")
    largest = 0
    for place, body in enumerate(bodies):
        largest = max(largest, made.server.counters()["queued_response_bytes"])
        assert client.receive() == (place, body)
    sender.join()
    # One turn handles what has arrived by then, until as many pieces are unsent; a piece may have small responses, too.
    assert largest <= (IN_FLIGHT + 2) * (SIZE + 16384)
    assert made.log() == []
