"""Share groups against clients that mean harm: one broker, real requests; others are served as before."""

from __future__ import annotations

import io
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kio.index import load_request_schema
from kio.serial import entity_writer
from raw_client import RawClient, build

from kafka_cy.coordinator.share.state_coordinator import BATCHES_MAX
from kafka_cy.testing import Broker
from tests.adversity.wire import Connection
from tests.waiting import wait_until

SHARE_FETCH, INITIALIZE_STATE, READ_STATE, WRITE_STATE, DELETE_STATE, READ_SUMMARY, ALTER_OFFSETS = 78, 83, 84, 85, 86, 87, 91
SESSION_LIMIT_REACHED = 133
SESSIONS_MAX = 5
MANY = 1100  # elements: a long request (server/long_requests)
CONFIG = {
    "group.share.max.share.sessions": SESSIONS_MAX, "share.coordinator.state.topic.num.partitions": 3,
    "offsets.topic.num.partitions": 3,
}  # fmt: skip


class Target:
    """The broker, a topic t with one partition, and its share group g."""

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self.client = RawClient(broker.bootstrap_servers)
        topic = {"name": "t", "num_partitions": 1, "replication_factor": 1}
        self.topic_id: uuid.UUID = self.client.request(19, 7, {"topics": [topic], "timeout": 30_000})["topics"][0]["topic_id"]
        self.client.request(10, 6, {"key_type": 0, "coordinator_keys": ["g"]})
        offsets = [{"partition_index": 0, "start_offset": 0}]
        altered = {"group_id": "g", "topics": [{"topic_name": "t", "partitions": offsets}]}
        wait_until(lambda: self.client.request(ALTER_OFFSETS, 0, altered)["error_code"] == 0, "the coordinators")

    def fetch_body(self, member: str, epoch: int, *, names: int = 1, **fields: Any) -> dict[str, Any]:
        """ShareFetch; the partition is named `names` times."""
        partitions = [{"partition_index": 0, "acknowledgement_batches": []}] * names
        return {
            "group_id": "g", "member_id": member, "share_session_epoch": epoch, "max_wait": 0, "min_bytes": 1,
            "max_bytes": 1 << 20, "max_records": 500, "batch_size": 500, "forgotten_topics_data": [],
            "topics": [{"topic_id": self.topic_id, "partitions": partitions}],
        } | fields  # fmt: skip

    def fetch(self, client: RawClient, member: str, epoch: int, **fields: Any) -> dict[str, Any]:
        return client.request(SHARE_FETCH, 2, self.fetch_body(member, epoch, **fields))

    def sessions(self) -> float:
        """How many share sessions there are."""
        text = urllib.request.urlopen(self.broker.metrics_url).read().decode()
        (line,) = [each for each in text.splitlines() if each.startswith("kafka_server_sharesessioncache_sharesessionscount")]
        return float(line.split()[1])

    def state(self, api_key: int, partitions: list[dict[str, Any]], topic_id: uuid.UUID | None, group: str = "g") -> Any:
        """The results of a share-state request about one topic."""
        body = {"group_id": group, "topics": [{"topic_id": topic_id, "partitions": partitions}]}
        return self.client.request(api_key, 0, body)["results"]


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    with Broker(CONFIG, folder=Path(tmp_path_factory.mktemp("abuse"))) as broker:
        yield Target(broker)


def encoded(api_key: int, version: int, values: dict[str, Any]) -> bytes:
    schema, body = load_request_schema(api_key, version), io.BytesIO()
    entity_writer(schema)(body, build(schema, values))
    return body.getvalue()


def test_requests_that_are_handled_after_their_connection_closed_keep_no_session(target: Target) -> None:
    """A long request waits for its turn; what it opens then would never be closed."""
    for number in range(4 * SESSIONS_MAX):
        body = encoded(SHARE_FETCH, 2, target.fetch_body(f"dead-{number}", 0, names=MANY))
        connection = Connection(target.broker.port)
        connection.send(SHARE_FETCH, 2, body, flexible=True)
        connection.close()

    def all_get_sessions() -> bool:
        clients = [RawClient(target.broker.bootstrap_servers) for _ in range(SESSIONS_MAX)]
        errors = [target.fetch(each, f"m{place}", 0)["error_code"] for place, each in enumerate(clients)]
        for each in clients:
            each.close()
        return errors == [0] * SESSIONS_MAX

    wait_until(all_get_sessions, "sessions for those who are there")


def test_a_long_fetch_that_waits_holds_up_no_other_long_request(target: Target) -> None:
    waiting = Connection(target.broker.port)
    body = encoded(SHARE_FETCH, 2, target.fetch_body("waits", 0, names=MANY, max_wait=3_600_000))
    waiting.send(SHARE_FETCH, 2, body, flexible=True)
    wait_until(lambda: target.sessions() == 1, "the session of the fetch that waits")
    names = [{"partition": 0, "leader_epoch": -1}] * MANY
    assert target.state(READ_STATE, names, target.topic_id)[0]["partitions"][0]["error_code"] == 0
    waiting.close()


NEGATIVE = (42, "The partition id cannot be a negative number.")
UNKNOWN = (3, "This server does not host this topic-partition.")
NOT_READABLE = (42, "Read operation on uninitialized share partition not allowed.")
NOT_WRITABLE = (42, "Write operation on uninitialized share partition not allowed.")
FENCED_LEADER = (74, "The leader epoch in the request is older than the epoch on the broker.")
FENCED_STATE = (124, "The share coordinator rejected the request because the share-group state epoch did not match.")
STATE_REQUESTS = {
    INITIALIZE_STATE: {"state_epoch": 1, "start_offset": 0},
    READ_STATE: {"leader_epoch": -1},
    WRITE_STATE: {"state_epoch": 1, "leader_epoch": 0, "start_offset": 0, "state_batches": []},
    DELETE_STATE: {},
    READ_SUMMARY: {"leader_epoch": -1},
}
# Of partition -1, of partition 0 of no topic, of partition 9, which the topic does not have: as Apache Kafka 4.3.1.
REFUSED = {
    INITIALIZE_STATE: (NEGATIVE, UNKNOWN, UNKNOWN), READ_STATE: (NEGATIVE, NOT_READABLE, NOT_READABLE),
    WRITE_STATE: (NEGATIVE, NOT_WRITABLE, NOT_WRITABLE), DELETE_STATE: (NEGATIVE, UNKNOWN, UNKNOWN),
    READ_SUMMARY: (NEGATIVE, UNKNOWN, UNKNOWN),
}  # fmt: skip


@pytest.mark.parametrize("api_key", STATE_REQUESTS)
def test_state_requests_about_nothing_get_the_errors_of_kafka(target: Target, api_key: int) -> None:
    fields = STATE_REQUESTS[api_key]
    answers = []
    for partition, topic_id in ((-1, target.topic_id), (0, None), (9, target.topic_id)):
        (result,) = target.state(api_key, [{"partition": partition, **fields}] * 40, topic_id)  # more than are handled at once
        assert result["topic_id"] == topic_id
        (answer,) = result["partitions"]  # once, however often it is named
        assert answer["partition"] == partition and answer.get("start_offset", 0) == 0
        answers.append((answer["error_code"], answer["error_message"]))
    assert tuple(answers) == REFUSED[api_key]
    assert target.state(api_key, [{"partition": 0, **fields}], target.topic_id, group="") == []


def test_epochs_of_others_get_the_errors_of_kafka(target: Target) -> None:
    def ask(api_key: int, **fields: Any) -> tuple[int, str | None]:
        (result,) = target.state(api_key, [{"partition": 0, **STATE_REQUESTS[api_key], **fields}], target.topic_id, "epochs")
        return result["partitions"][0]["error_code"], result["partitions"][0]["error_message"]

    assert ask(INITIALIZE_STATE, state_epoch=5) == (0, None) == ask(READ_STATE, leader_epoch=3)
    assert ask(INITIALIZE_STATE, state_epoch=4) == FENCED_STATE == ask(WRITE_STATE, state_epoch=4, leader_epoch=3)
    assert ask(READ_STATE, leader_epoch=2) == FENCED_LEADER == ask(WRITE_STATE, state_epoch=5, leader_epoch=2)


def test_a_small_request_gets_no_response_of_any_size(target: Target) -> None:
    batches = [
        {"first_offset": 2 * each, "last_offset": 2 * each, "delivery_state": each % 2 * 2, "delivery_count": 1}
        for each in range(BATCHES_MAX - 1)
    ]
    for api_key in (INITIALIZE_STATE, WRITE_STATE):
        fields = STATE_REQUESTS[api_key] | ({"state_batches": batches} if api_key == WRITE_STATE else {})
        (result,) = target.state(api_key, [{"partition": 0, **fields}], target.topic_id, "large")
        assert result["partitions"][0]["error_code"] == 0
    (result,) = target.state(READ_STATE, [{"partition": 0, "leader_epoch": -1}] * MANY, target.topic_id, "large")
    assert [len(each["state_batches"]) for each in result["partitions"]] == [BATCHES_MAX - 1]
