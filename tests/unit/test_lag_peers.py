"""Other brokers of a cluster that consumer lag asks: what they answer, and what they answer badly or too late."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from kafka_cy.network.broker_connection import BrokerConnectionError
from kafka_cy.protocol.bridge import encode_response
from kafka_cy.protocol.decoder import Cursor, entity_reader
from kafka_cy.protocol.schema import message_class
from kafka_cy.records.api import CONTROL, build_batch
from kafka_cy.records.record import Record
from kafka_cy.server import lag_peers, lag_requests
from kafka_cy.server.lag_peers import Peers

FETCH, LIST_OFFSETS, OFFSET_FETCH, DESCRIBE_GROUPS, LIST_GROUPS = 1, 2, 9, 15, 16
KEY = ("t", 3)
ADDRESS = ("host", 9092)
LATER = time.monotonic() + 1e6
Answer = Callable[[Any], Mapping[str, Any] | bytes]


def listed(*ids: str, error: int = 0) -> Answer:
    groups = [{"group_id": each, "protocol_type": "consumer", "group_state": "Stable"} for each in ids]
    return lambda request: {"error_code": error, "groups": groups}


def described(request: Any) -> Mapping[str, Any]:
    member = {"member_id": "m", "client_id": "c", "client_host": "/1.1.1.1", "member_assignment": b"a"}
    state = {"protocol_type": "consumer", "protocol_data": "range", "members": [member]}
    states = {each: "Dead" if each == "dead" else "Stable" for each in request.groups}
    return {"groups": [{"group_id": each, "group_state": states[each], **state} for each in states]}


def fetched(request: Any) -> Mapping[str, Any]:
    rows = [{"partition_index": index, "committed_offset": offset} for index, offset in ((3, 7), (4, -1))]
    topics = [{"name": "t", "partitions": rows}]
    return {
        "groups": [
            {"group_id": each.group_id, "topics": topics, "error_code": 16 if each.group_id == "moved" else 0}
            for each in request.groups
        ]
    }


def offsets_of(start: int, end: int, error: int = 0) -> Answer:
    def answer(request: Any) -> Mapping[str, Any]:
        ((topic),) = request.topics
        (asked,) = topic.partitions
        offset = start if asked.timestamp == -2 else end
        return {"topics": [{"name": "t", "partitions": [{"partition_index": 3, "error_code": error, "offset": offset}]}]}

    return answer


class Connection:
    """Answers in the place of a broker, by API key."""

    def __init__(self, **answers: Answer) -> None:
        self.answers: dict[int, Answer] = {
            LIST_GROUPS: listed("g"), DESCRIBE_GROUPS: described, OFFSET_FETCH: fetched, LIST_OFFSETS: offsets_of(2, 9),
        }  # fmt: skip
        self.answers.update({getattr(lag_requests, name.upper()): answer for name, answer in answers.items()})
        self.asked: list[int] = []
        self.is_interrupted = self.is_closed = False

    def request(self, api_key: int, version: int, body: bytes, *, flexible: bool, flexible_response: bool) -> bytes:
        self.asked.append(api_key)
        request = entity_reader(message_class(api_key, version, "request"))(Cursor(body))
        answer = self.answers[api_key](request)
        return answer if isinstance(answer, bytes) else encode_response(api_key, version, answer)

    def interrupt(self) -> None:
        self.is_interrupted = True

    def close(self) -> None:
        self.is_closed = True


class Told:
    def __init__(self, connection: Connection) -> None:
        self.lines: list[tuple[str, ...]] = []
        self.peers = Peers(
            lambda address: connection,  # type: ignore[arg-type,return-value]
            lambda broker_id, why: self.lines.append(("silent", why)),
            lambda broker_id: self.lines.append(("answers",)),
        )

    def ask(self) -> lag_peers.PeersAnswer:
        return self.peers.ask({2: ADDRESS}, {2: [KEY]})


def test_groups_and_offsets() -> None:
    told = Told(Connection())
    answer = told.ask()
    (group,) = answer.groups
    assert (group.group_id, group.coordinator_id, group.state_name, group.protocol_name) == ("g", 2, "Stable", "range")
    assert {topic: group.offsets.positions(topic) for topic in group.offsets} == {"t": [(3, 7)]}  # -1: not committed
    assert group.lag_members()[0].assignment == b"a"
    assert [(each.log_start_offset, each.high_watermark) for each in answer.partitions.values()] == [(2, 9)]
    assert list(answer.partitions) == [KEY] and (answer.silent, answer.left_out, told.lines) == (0, 0, [])


def test_groups_that_have_gone_or_moved_are_left_out() -> None:
    answer = Told(Connection(list_groups=listed("g", "dead", "moved"))).ask()
    assert [group.group_id for group in answer.groups] == ["g"]


def test_partitions_with_an_error_are_left_out() -> None:
    answer = Told(Connection(list_offsets=offsets_of(-1, -1, error=6))).ask()
    assert answer.partitions == {} and len(answer.groups) == 1


def test_groups_above_the_limit_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lag_requests, "GROUPS_MAX", 2)
    monkeypatch.setattr(lag_requests, "GROUPS_AT_ONCE", 1)
    answer = Told(Connection(list_groups=listed("a", "b", "c"))).ask()
    assert ([group.group_id for group in answer.groups], answer.left_out) == (["a", "b"], 1)


def test_offsets_above_the_limit_are_not_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lag_requests, "OFFSETS_MAX", 1)
    monkeypatch.setattr(lag_requests, "GROUPS_AT_ONCE", 1)
    answer = Told(Connection(list_groups=listed("a", "b", "c"))).ask()
    assert ([group.group_id for group in answer.groups], answer.left_out) == (["a", "b"], 1)


def test_no_timestamp_is_asked_for_after_the_deadline() -> None:
    connection = Connection(fetch=fails)
    told = Told(connection)
    partition = told.ask().partitions[KEY]
    assert told.peers.timestamp_ms(partition, 2, 0.0) is None and FETCH not in connection.asked


def fails(request: Any) -> bytes:
    raise BrokerConnectionError("host:9092: refused", "unreachable")


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (fails, "refused"),
        (lambda request: b"\0\0", "truncated"),
        (lambda request: bytes(6) + b"\xff\xff\xff\xff\x0f", "array"),
        (listed(error=14), "COORDINATOR_LOAD_IN_PROGRESS"),
        (listed(error=999), "999"),
    ],
)
def test_a_broker_that_does_not_answer_is_told_of_once(answer: Answer, why: str) -> None:
    connection = Connection(list_groups=answer)
    told = Told(connection)
    for _ in range(2):
        assert told.ask() == lag_peers.PeersAnswer([], {}, 0, 1)
    assert len(told.lines) == 1 and told.lines[0][0] == "silent" and why in told.lines[0][1], told.lines
    connection.answers[LIST_GROUPS] = listed("g")
    assert told.ask().silent == 0 and told.lines[1:] == [("answers",)]


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    opened = threading.Event()
    yield opened
    opened.set()


def test_a_broker_that_hangs_costs_the_deadline_and_one_thread(monkeypatch: pytest.MonkeyPatch, gate: threading.Event) -> None:
    monkeypatch.setattr(lag_peers, "ASK_S", 0.2)

    def hang(request: Any) -> Mapping[str, Any]:
        gate.wait()
        return dict(listed("g")(request))  # type: ignore[arg-type]

    connection = Connection(list_groups=hang)
    told = Told(connection)
    for _ in range(3):
        assert told.ask().silent == 1
    assert connection.asked == [LIST_GROUPS] and told.lines == [("silent", "it did not answer in time")]
    (thread,) = [each for each in threading.enumerate() if each.name == "lag-2"]
    gate.set()
    thread.join()
    assert connection.asked == [LIST_GROUPS]  # nothing more is asked after the deadline
    monkeypatch.setattr(lag_peers, "ASK_S", 30)
    assert len(told.ask().groups) == 1


def test_a_broker_that_has_gone_is_forgotten() -> None:
    connection = Connection()
    told = Told(connection)
    told.ask()
    assert told.peers.ask({}, {}) == lag_peers.PeersAnswer([], {}, 0, 0)
    assert connection.is_interrupted and connection.is_closed


# -- timestamps --


def batch(base: int, *timestamps: int, control: bool = False, compression: str = "none") -> bytes:
    records = [Record(value=b"v", timestamp_ms=timestamp) for timestamp in timestamps]
    return build_batch(records, base_offset=base, compression=compression, attributes=CONTROL if control else 0)


def log_of(*batches: bytes) -> Answer:
    """A Fetch is answered with the first batch that holds its offset or a later one."""

    def answer(request: Any) -> Mapping[str, Any]:
        offset = request.topics[0].partitions[0].fetch_offset
        ends = [int.from_bytes(each[:8], "big") + int.from_bytes(each[23:27], "big") for each in batches]
        records = next((each for each, end in zip(batches, ends, strict=True) if end >= offset), b"")
        return {"responses": [{"topic": "t", "partitions": [{"partition_index": 3, "error_code": 0, "records": records}]}]}

    return answer


@pytest.mark.parametrize("compression", ["none", "lz4", "zstd"])
def test_timestamps_of_records(compression: str) -> None:
    batches = batch(2, 100, 101, 102, compression=compression), batch(5, 7, control=True), batch(6, 200, 300)
    told = Told(Connection(fetch=log_of(*batches)))
    partition = told.ask().partitions[KEY]
    found = {offset: told.peers.timestamp_ms(partition, offset, LATER) for offset in range(2, 10)}
    assert found == {2: 100, 3: 101, 4: 102, 5: 200, 6: 200, 7: 300, 8: -1, 9: -1}


def test_a_leader_that_fails_is_not_asked_again_in_the_same_scrape() -> None:
    connection = Connection(fetch=fails)
    told = Told(connection)
    partition = told.ask().partitions[KEY]
    assert told.peers.timestamp_ms(partition, 2, LATER) is None and told.peers.timestamp_ms(partition, 2, LATER) is None
    assert connection.asked.count(FETCH) == 1


def test_records_that_do_not_parse_cost_one_timestamp() -> None:
    broken = bytearray(batch(2, 100, 101, compression="lz4"))
    broken[70:] = b"\xff" * (len(broken) - 70)
    told = Told(Connection(fetch=log_of(bytes(broken))))
    partition = told.ask().partitions[KEY]
    assert told.peers.timestamp_ms(partition, 3, LATER) is None
