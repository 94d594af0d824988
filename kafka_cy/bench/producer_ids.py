"""Producer ids for the idempotent producers of the native generator."""

from __future__ import annotations

import contextlib
import struct
import time

from kafka_cy.bench.brokers import BrokerError
from kafka_cy.bench.requests import request_header, with_length
from kafka_cy.bench.wire import Wire

INIT_PRODUCER_ID_KEY, INIT_PRODUCER_ID_VERSION = 22, 0
COORDINATOR_LOAD_IN_PROGRESS, COORDINATOR_NOT_AVAILABLE = 14, 15
TIMEOUT_S = 30.0
RETRY_S = 0.05
RESPONSE = struct.Struct(">iihqh")  # correlation id, throttle time, error code, producer id, epoch


def new_producers(address: tuple[str, int], count: int) -> list[tuple[int, int]]:
    """The ids and epochs of `count` new producers. Raises BrokerError."""
    request = with_length(request_header(INIT_PRODUCER_ID_KEY, INIT_PRODUCER_ID_VERSION) + struct.pack(">hi", -1, 60_000))
    deadline = time.monotonic() + TIMEOUT_S
    found: list[tuple[int, int]] = []
    try:
        with contextlib.closing(Wire(address)) as wire:
            while len(found) < count:
                _, _, error, producer_id, epoch = RESPONSE.unpack_from(wire.ask(request))
                if error in (COORDINATOR_LOAD_IN_PROGRESS, COORDINATOR_NOT_AVAILABLE) and time.monotonic() < deadline:
                    time.sleep(RETRY_S)  # its first block of ids is not there yet
                elif error:
                    raise BrokerError(f"The broker gives no producer ids: error {error}.")
                else:
                    found.append((producer_id, epoch))
    except OSError as error:
        raise BrokerError(f"The broker gives no producer ids: {error.strerror or error}.") from None
    return found
