"""The APIs of transactions: every advertised version is decoded, handled and encoded, and compared with Kafka's bytes."""

from __future__ import annotations

import gc
import io
from types import SimpleNamespace
from typing import Any

import pytest

from kafka_cy.api.registry import APIS, advertised, cold_handler
from kafka_cy.cluster.topic_names import OFFSETS_TOPIC
from kafka_cy.coordinator.transactions import listing
from kafka_cy.coordinator.transactions.init_producer_id import Producer
from kafka_cy.protocol.bridge import decode_request, encode_response, unknown_fields
from kafka_cy.protocol.errors import ErrorCode

from .golden import golden
from .transaction_fakes import FakeProducerIds, TransactionHarness

API_KEYS = {
    "InitProducerId": 22, "AddPartitionsToTxn": 24, "TxnOffsetCommit": 28, "DescribeTransactions": 65,
    "ListTransactions": 66, "EndTxn": 26, "WriteTxnMarkers": 27,
}  # fmt: skip


class Server:
    """Calls handlers like the dispatcher, with bodies and responses as bytes."""

    def __init__(self, harness: TransactionHarness | None = None) -> None:
        self.harness = harness or TransactionHarness()
        self.context: Any = SimpleNamespace(
            groups=self.harness.groups, transactions=self.harness.coordinator, cluster=self.harness.cluster,
            producer_ids=self.harness.producer_ids, config={"transaction.two.phase.commit.enable": False},
        )  # fmt: skip

    def answer(self, api_key: int, version: int, body: bytes) -> tuple[dict[str, Any], bytes]:
        responses: list[dict[str, Any]] = []
        request: Any = SimpleNamespace(
            authorizer=None,
            api_key=api_key, api_version=version, body=decode_request(api_key, version, body), respond=responses.append,
            respond_long=lambda prepare: prepare(lambda make: responses.append(make())),
        )  # fmt: skip
        handle = cold_handler(api_key)
        assert handle is not None
        response = dict(handle(request, self.context) or responses[0])
        assert not unknown_fields(api_key, response)
        return response, encode_response(api_key, version, response)

    def call(self, api_key: int, version: int, **fields: Any) -> dict[str, Any]:
        return self.answer(api_key, version, encode_request(api_key, version, fields))[0]

    def describe(self, *names: str) -> list[dict[str, Any]]:
        return list(self.call(65, 0, transactional_ids=list(names))["transaction_states"])

    def list(self, **filters: Any) -> list[str]:
        fields = {"state_filters": [], "producer_id_filters": [], "duration_filter": -1} | filters
        version = APIS[66].version_max
        return sorted(each["transactional_id"] for each in self.call(66, version, **fields)["transaction_states"])


def encode_request(api_key: int, version: int, fields: dict[str, Any]) -> bytes:
    from kio.serial import entity_writer

    from kafka_cy.protocol.bridge import message_class

    from .test_group_apis import build

    kind = message_class(api_key, version, "request")
    import sys

    entity = build(sys.modules[kind.__module__], kind.__name__, fields)
    buffer = io.BytesIO()
    entity_writer(kind)(buffer, entity)
    return buffer.getvalue()


def test_kafkas_bytes() -> None:
    """One transaction, request for request, as Apache Kafka 4.3.1 answered it."""
    harness = TransactionHarness(producer_ids=FakeProducerIds(1008))
    harness.started("wtx")
    server = Server(harness)
    for each in golden("transaction-wire.json"):
        api_key, version = API_KEYS[each["api"]], each["version"]
        request, response = bytes.fromhex(each["request"]), bytes.fromhex(each["response"])
        client_id = int.from_bytes(request[8:10], "big")
        body = request[10 + client_id + 1 :]  # behind the client id and the empty tagged fields
        expected = response[5:]  # behind the correlation id and the empty tagged fields
        if api_key == 24:
            assert not harness.add(Producer(1008, 1), ("wt", 0), transactional_id="wtx")  # Produce v13 does so
        answered, encoded = server.answer(api_key, version, body)
        if api_key == 65:
            start = answered["transaction_states"][0]["transaction_start_time"]
            golden_start = each["response_decoded"]["TransactionStates"][0]["TransactionStartTimeMs"]
            expected = expected.replace(golden_start.to_bytes(8, "big"), start.to_bytes(8, "big"))
        assert encoded == expected, each["api"]
    assert harness.stored("wtx").producer_epoch == 2


def test_a_request_ends_with_its_answer() -> None:
    """Nothing that a request needed refers to itself: it is freed at once, not when the garbage collector runs."""
    server = Server()
    producer = server.harness.started()
    names = {"transactional_id": "t", "producer_id": producer.producer_id, "producer_epoch": producer.epoch}
    topics = [{"name": "tt", "partitions": [0, 1, 2]}]
    old_names = {f"v3_and_below_{name}": value for name, value in names.items()}
    requests = [
        (22, 0, encode_request(22, 0, {"transactional_id": "u", "transaction_timeout": 1})),
        (24, 0, encode_request(24, 0, {**old_names, "v3_and_below_topics": topics})),
        (26, 1, encode_request(26, 1, {**names, "committed": True})),
    ]
    gc.collect()
    gc.disable()
    try:
        for api_key, version, body in requests:
            assert not server.answer(api_key, version, body)[0].get("error_code")
            assert gc.collect() == 0, f"the objects of a request with the API key {api_key} were left behind"
    finally:
        gc.enable()


@pytest.mark.parametrize("version", range(7))
def test_init_producer_id(version: int) -> None:
    server = Server()
    assert server.call(22, version, transactional_id=None, transaction_timeout=1)["producer_id"] == 0
    assert server.call(22, version, transactional_id="", transaction_timeout=1)["error_code"] == ErrorCode.INVALID_REQUEST
    for timeout in (0, -1, 900_001):
        found = server.call(22, version, transactional_id="t", transaction_timeout=timeout)
        assert found["error_code"] == ErrorCode.INVALID_TRANSACTION_TIMEOUT
    first = server.call(22, version, transactional_id="t", transaction_timeout=900_000)
    assert (first["error_code"], first["producer_id"], first["producer_epoch"]) == (0, 1, 0)
    if version >= 3:
        half = server.call(22, version, transactional_id="t", transaction_timeout=1, producer_id=1, producer_epoch=-1)
        assert half["error_code"] == ErrorCode.INVALID_REQUEST
        recovered: dict[str, Any] = {"transactional_id": "t", "transaction_timeout": 1, "producer_id": 1}
        for _ in range(2):  # a retry gets the same
            again = server.call(22, version, **recovered, producer_epoch=0)
            assert (again["error_code"], again["producer_epoch"]) == (0, 1)
        server.call(22, version, transactional_id="t", transaction_timeout=1)
        old = server.call(22, version, **recovered, producer_epoch=0)
        fenced = ErrorCode.PRODUCER_FENCED if version >= 4 else ErrorCode.INVALID_PRODUCER_EPOCH
        assert (old["error_code"], old["producer_id"]) == (fenced, -1)


def test_two_phase_commit() -> None:
    """InitProducerId v6 (KIP-939), which is offered with `unstable.api.versions.enable` only."""
    server = Server()
    wanted = {"transactional_id": "t", "transaction_timeout": 1000, "enable2_pc": True, "keep_prepared_txn": False}
    refused = server.call(22, 6, **wanted)
    assert refused["error_code"] == ErrorCode.TRANSACTIONAL_ID_AUTHORIZATION_FAILED
    server.context.config["transaction.two.phase.commit.enable"] = True
    found = server.call(22, 6, **wanted)
    assert (found["error_code"], found["ongoing_txn_producer_id"], found["ongoing_txn_producer_epoch"]) == (0, -1, -1)
    assert not server.harness.add(Producer(found["producer_id"], 0), ("tt", 0))
    server.harness.loop.advance(3_000_000)
    assert server.harness.stored().state == 1, "it has no timeout"
    kept = server.call(22, 6, **(wanted | {"keep_prepared_txn": True}))
    assert kept["error_code"] == ErrorCode.UNSUPPORTED_VERSION
    assert {row.api_key: row.version_max for row in advertised(unstable=True)}[22] == 6


@pytest.mark.parametrize("version", range(6))
def test_add_partitions_to_txn(version: int) -> None:
    server = Server()
    producer = server.harness.started()

    def add(*topics: tuple[str, list[int]], epoch: int = 0, producer_id: int = producer.producer_id, **more: Any) -> list[int]:
        wanted = [{"name": name, "partitions": partitions} for name, partitions in topics]
        transaction = {
            "transactional_id": "t", "producer_id": producer_id, "producer_epoch": epoch, "topics": wanted, "verify_only": False
        } | more  # fmt: skip
        fields = {f"v3_and_below_{name}": value for name, value in transaction.items()}
        response = server.call(24, version, transactions=[transaction], **fields)
        if version >= 4:
            assert response["error_code"] == 0
        topics_found = response["results_by_transaction"][0]["topic_results"] if version >= 4 else None
        topics_found = topics_found if version >= 4 else response["results_by_topic_v3_and_below"]
        return [p["partition_error_code"] for each in topics_found for p in each["results_by_partition"]]

    unknown, not_attempted = ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, ErrorCode.OPERATION_NOT_ATTEMPTED
    assert add(("tt", [0, 9]), ("none", [0])) == [not_attempted, unknown, unknown]
    fenced = ErrorCode.PRODUCER_FENCED if version >= 2 else ErrorCode.INVALID_PRODUCER_EPOCH
    assert add(("tt", [0]), epoch=1) == [fenced]
    assert add(("tt", [0]), producer_id=77) == [ErrorCode.INVALID_PRODUCER_ID_MAPPING]
    assert add(("tt", [0]), transactional_id="other") == [ErrorCode.INVALID_PRODUCER_ID_MAPPING]
    assert add(("tt", [0]), transactional_id="") == [ErrorCode.INVALID_REQUEST]
    assert server.harness.stored().state == 0
    if version >= 4:
        assert add(("tt", [0]), verify_only=True) == [ErrorCode.TRANSACTION_ABORTABLE]
    assert add(("tt", [0, 1]), ("tu", [0])) == [0, 0, 0]
    assert server.harness.stored().client_version == (2 if version >= 4 else 0)
    written = len(server.harness.log().records())
    assert add(("tt", [1])) == [0]
    assert len(server.harness.log().records()) == written
    if version >= 4:
        assert add(("tt", [0, 2]), verify_only=True) == [0, ErrorCode.TRANSACTION_ABORTABLE]
        assert add(("tt", [0]), verify_only=True, epoch=1) == [ErrorCode.PRODUCER_FENCED]


def test_many_transactions_in_one_request() -> None:
    server = Server()
    producers = {f"t{number}": server.harness.started(f"t{number}") for number in range(100)}
    transactions = [
        {
            "transactional_id": name, "producer_id": producer.producer_id, "producer_epoch": 0, "verify_only": False,
            "topics": [{"name": "tt", "partitions": [0]}],
        }
        for name, producer in producers.items()
    ]  # fmt: skip
    response = server.call(24, 5, transactions=transactions)
    assert [each["transactional_id"] for each in response["results_by_transaction"]] == list(producers)
    assert len(server.list(state_filters=["Ongoing"])) == 100


@pytest.mark.parametrize("version", range(6))
def test_end_txn(version: int) -> None:
    server = Server()
    producer = server.harness.started()

    def end(committed: bool, epoch: int = 0, transactional_id: str = "t") -> int:
        fields = {"producer_id": producer.producer_id, "producer_epoch": epoch, "committed": committed}
        response = server.call(26, version, transactional_id=transactional_id, **fields)
        assert ("producer_id" in response) == (version >= 5)
        return int(response["error_code"])

    fenced = ErrorCode.PRODUCER_FENCED if version >= 2 else ErrorCode.INVALID_PRODUCER_EPOCH
    assert end(True) == ErrorCode.INVALID_TXN_STATE
    assert end(True, epoch=1) == fenced
    assert end(True, transactional_id="") == ErrorCode.INVALID_REQUEST
    assert end(True, transactional_id="other") == ErrorCode.INVALID_PRODUCER_ID_MAPPING
    assert not server.harness.add(producer, ("tt", 0), version=2 if version >= 5 else 0)
    assert end(True) == 0
    assert end(True) == 0, "a retry"
    assert end(False) == ErrorCode.INVALID_TXN_STATE
    epoch = 1 if version >= 5 else 0
    assert server.harness.markers("tt", 0) == [(producer.producer_id, epoch, True, 0)]
    if version >= 5:
        assert end(False, epoch=1) == 0, "an abort of nothing raises the epoch"
        assert server.harness.stored().producer_epoch == 2


@pytest.mark.parametrize("version", [1, 2])
def test_write_txn_markers(version: int) -> None:
    server = Server()

    def write(*topics: tuple[str, list[int]], epoch: int = 3, producer_id: int = 5) -> list[tuple[int, str, int, int]]:
        marker = {
            "producer_id": producer_id, "producer_epoch": epoch, "transaction_result": False, "coordinator_epoch": 4,
            "transaction_version": 2,
            "topics": [{"name": name, "partition_indexes": indexes} for name, indexes in topics],
        }  # fmt: skip
        response = server.call(27, version, markers=[marker])
        return [
            (each["producer_id"], topic["name"], p["partition_index"], p["error_code"])
            for each in response["markers"]
            for topic in each["topics"]
            for p in topic["partitions"]
        ]

    assert sorted(write(("tt", [0, 9]), ("none", [0]), (OFFSETS_TOPIC, [1]))) == [
        (5, OFFSETS_TOPIC, 1, 0), (5, "none", 0, 3), (5, "tt", 0, 0), (5, "tt", 9, 3)
    ]  # fmt: skip
    assert server.harness.markers("tt", 0) == server.harness.markers(OFFSETS_TOPIC, 1) == [(5, 3, False, 4)]
    assert write(("tt", [0]), epoch=2) == [(5, "tt", 0, ErrorCode.INVALID_PRODUCER_EPOCH)]
    assert server.call(27, version, markers=[])["markers"] == []


@pytest.mark.parametrize("version", [3, 5])
def test_add_partitions_to_txn_refuses_too_many_before_it_looks_at_them(
    version: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kafka_cy.api.add_partitions_to_txn.PARTITIONS_MAX", 3)
    server = Server()
    producer = server.harness.started()
    transaction = {
        "transactional_id": "t", "producer_id": producer.producer_id, "producer_epoch": 0, "verify_only": False,
        "topics": [{"name": "tt", "partitions": [0, 1]}, {"name": "none", "partitions": [0, 1]}],
    }  # fmt: skip
    fields = {f"v3_and_below_{name}": value for name, value in transaction.items()}
    response = server.call(24, version, transactions=[transaction], **fields)
    topics = response["results_by_transaction"][0]["topic_results"] if version >= 4 else None
    topics = topics or response["results_by_topic_v3_and_below"]
    codes = [each["partition_error_code"] for topic in topics for each in topic["results_by_partition"]]
    assert codes == [ErrorCode.POLICY_VIOLATION] * 4
    assert server.harness.stored().state == 0


def test_write_txn_markers_refuses_too_many_before_it_looks_at_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kafka_cy.api.write_txn_markers.PARTITIONS_MAX", 3)
    server = Server()
    marker = {
        "producer_id": 5, "producer_epoch": 0, "transaction_result": False, "coordinator_epoch": 4, "transaction_version": 2,
        "topics": [{"name": "tt", "partition_indexes": [0, 1]}, {"name": "none", "partition_indexes": [0, 1]}],
    }  # fmt: skip
    (found,) = server.call(27, 2, markers=[marker])["markers"]
    codes = [each["error_code"] for topic in found["topics"] for each in topic["partitions"]]
    assert codes == [ErrorCode.POLICY_VIOLATION] * 4
    assert server.harness.markers("tt", 0) == []


def test_describe_transactions() -> None:
    server = Server()
    producer = server.harness.started("b")
    assert not server.harness.add(producer, ("tu", 1), ("tt", 2), ("tt", 0), transactional_id="b")
    server.harness.started("a")
    found = server.describe("b", "none", "", "a", "b")
    assert [each["error_code"] for each in found] == [0, ErrorCode.TRANSACTIONAL_ID_NOT_FOUND, ErrorCode.INVALID_REQUEST, 0]
    assert found[0] == {
        "error_code": 0, "transactional_id": "b", "transaction_state": "Ongoing", "transaction_timeout": 60_000,
        "transaction_start_time": server.harness.stored("b").start_ms, "producer_id": 0, "producer_epoch": 0,
        "topics": [{"topic": "tt", "partitions": [2, 0]}, {"topic": "tu", "partitions": [1]}],
    }  # fmt: skip
    assert (found[3]["transaction_state"], found[3]["transaction_start_time"]) == ("Empty", -1)
    many = server.describe(*(f"n{number}" for number in range(200)))
    assert len(many) == 200


def test_a_pattern_that_takes_too_long_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Others wait for the thread: with many long transactional ids the worst patterns took hours."""
    server = Server()
    server.harness.started("a")
    monkeypatch.setattr(listing, "MATCHING_S_MAX", -1.0)
    fields = {"state_filters": [], "producer_id_filters": [], "duration_filter": -1}
    answer = server.call(66, 2, transactional_id_pattern="a", **fields)
    assert (answer["error_code"], answer["transaction_states"]) == (ErrorCode.POLICY_VIOLATION, [])
    assert server.list() == ["a"]  # without a pattern there is no such limit


def test_list_transactions() -> None:
    server = Server()
    for name in ("a", "b", "c"):
        producer = server.harness.started(name)
        if name != "a":
            assert not server.harness.add(producer, ("tt", 0), transactional_id=name)
        if name == "c":
            server.harness.loop.advance(5)
            server.harness.end(producer, transactional_id=name)
    assert server.list() == ["a", "b", "c"]
    assert server.list(state_filters=["Ongoing"]) == ["b"]
    assert server.list(state_filters=["Ongoing", "CompleteCommit"]) == ["b", "c"]
    assert server.list(producer_id_filters=[0, 2]) == ["a", "c"]
    assert server.list(duration_filter=4_000) == ["a", "b", "c"]
    assert server.list(duration_filter=50_000) == ["a"], "as in Kafka, a transactional id without a transaction is old"
    assert server.list(transactional_id_pattern="[bc]") == ["b", "c"]
    assert server.list(transactional_id_pattern="") == ["a", "b", "c"]
    assert server.list(transactional_id_pattern="(a+)+b") == []
    invalid = {"state_filters": ["x"], "producer_id_filters": [], "duration_filter": -1, "transactional_id_pattern": "(?=a)"}
    assert server.call(66, 2, **invalid) == {
        "throttle_time": 0, "error_code": ErrorCode.INVALID_REGULAR_EXPRESSION, "unknown_state_filters": [],
        "transaction_states": [],
    }  # fmt: skip
    response = server.call(66, 1, state_filters=["ongoing", "Ongoing"], producer_id_filters=[], duration_filter=-1)
    assert response["unknown_state_filters"] == ["ongoing"]
    assert [each["transactional_id"] for each in response["transaction_states"]] == ["b"]


def test_before_the_topic_exists() -> None:
    server = Server()
    server.harness.cluster.remove("__transaction_state")
    server.harness.cluster.remove(OFFSETS_TOPIC)
    not_coordinator = ErrorCode.NOT_COORDINATOR
    assert server.call(22, 5, transactional_id="t", transaction_timeout=1)["error_code"] == not_coordinator
    assert server.describe("t")[0]["error_code"] == not_coordinator
    assert server.list() == []
    offsets = server.call(25, 4, transactional_id="t", producer_id=1, producer_epoch=0, group_id="g")
    assert offsets["error_code"] == ErrorCode.COORDINATOR_NOT_AVAILABLE


def test_verifications_are_counted_and_timed() -> None:
    """Kafka: VerificationTimeMs, and VerificationFailureRate for each partition that is refused."""
    harness = TransactionHarness()
    producer = harness.started()
    assert not harness.add(producer, ("tt", 0))
    found: list[Any] = []
    harness.coordinator.add_for_produce("t", *producer, [("tt", 0)], False, found.append)
    harness.coordinator.add_for_produce("t", *producer, [("tt", 0), ("tt", 1), ("tt", 2)], False, found.append)
    asked = harness.coordinator.verification
    assert [sum(map(bool, errors.values())) for errors in found] == [0, 2]
    assert (sum(asked.times.counts()), asked.failures) == (2, 2)
