"""A member of a share group whose session a reactor handles, without a coordinator."""

from __future__ import annotations

import itertools
from typing import Any

from kafka_cy.share.in_flight import InFlight
from kafka_cy.share.in_flight_values import Limits
from kafka_cy.share.sessions import SessionKey
from kafka_cy.share.share_session import ShareSession
from kafka_cy.share.shared_records import version_of_terms

from .harness import Connection, HotServer
from .kio_wire import encode_request

VERSION = 2
NUMBERS = itertools.count()
LIMITS = Limits(delivery_count=1000, records_in_flight=10_000, lock_s=600.0)
Rows = list[tuple[int, int, int]]


class ShareMember:
    """Owner: the test, which is the coordinator, too. `stored`: what is known of the records of each partition."""

    def __init__(
        self, server: HotServer, partitions: list[tuple[str, int]], stored: list[tuple[int, int, int, int]] | None = None
    ) -> None:
        self.server = server
        self.key = SessionKey(f"g{next(NUMBERS)}", "m")
        self.session = ShareSession(self.key, 1)
        self.in_flight: dict[tuple[str, int], InFlight] = {}
        self.epoch = 1
        for topic, index in partitions:
            in_flight = InFlight(0, stored or [], server.partitions[topic, index])
            in_flight.set_terms(LIMITS, False, True, version_of_terms())
            place = (server.topic_ids[topic], index)
            self.session.add(place)
            self.session.attach(place, in_flight)
            self.in_flight[topic, index] = in_flight

    def send(self, connection: Connection, **fields: Any) -> None:
        """A fetch."""
        values: dict[str, Any] = {
            "group_id": self.key.group_id, "member_id": "m", "share_session_epoch": self.epoch, "max_wait": 0, "min_bytes": 1,
            "max_bytes": 50 << 20, "max_records": 1_000_000, "batch_size": 1_000_000, "share_acquire_mode": 0,
            "is_renew_ack": False, "topics": [], "forgotten_topics_data": [],
        } | fields  # fmt: skip
        self.epoch += 1
        connection.send(78, VERSION, encode_request(78, VERSION, values))

    def fetch(self, connection: Connection, **fields: Any) -> dict[str, Any]:
        """A fetch and its answer."""
        self.send(connection, **fields)
        return connection.answer(78, VERSION)


def rows_of(answer: dict[str, Any]) -> Rows:
    """All acquired records."""
    partitions = [each for topic in answer["responses"] for each in topic["partitions"]]
    assert answer["error_code"] == 0 and not any(each["error_code"] for each in partitions)
    return [
        (row["first_offset"], row["last_offset"], row["delivery_count"]) for each in partitions for row in each["acquired_records"]
    ]
