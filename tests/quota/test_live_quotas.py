"""Clients beyond their quotas on a live broker: what they are told, and that their connections are not read meanwhile."""

from __future__ import annotations

import io
import select
import socket
import struct
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer
from differential_cases import batch, new_topic, produce_values
from kio.index import load_request_schema
from kio.serial import entity_writer
from raw_client import Closed, RawClient, build

from kafka_cy.testing import Broker
from tests.waiting import wait_until

METADATA = (3, 12, {"topics": []})
THROTTLING_QUOTA_EXCEEDED, TOPIC_ALREADY_EXISTS = 89, 36
RECORDS = 60
Limits = dict[str, float | None]


class Client(RawClient):
    """A client that may send without reading."""

    def send(self, api_key: int, version: int, values: dict[str, Any], correlation_id: int = 77) -> None:
        schema, body = load_request_schema(api_key, version), io.BytesIO()
        entity_writer(schema)(body, build(schema, values))
        header = struct.pack(">hhih", api_key, version, correlation_id, len(self._client_id)) + self._client_id
        frame = header + (b"\0" if schema.__flexible__ else b"") + body.getvalue()
        if self._socket is None:
            self._socket = socket.create_connection((self.host, self.port), timeout=60)
        self._socket.sendall(struct.pack(">i", len(frame)) + frame)

    def receive_bytes(self) -> bytes:
        """The next response, from its correlation id on."""
        (size,) = struct.unpack(">i", self._read(4))
        return self._read(size)

    def receive(self) -> int:
        """The correlation id of the next response."""
        return int.from_bytes(self.receive_bytes()[:4], "big")

    def receive_throttle_ms(self) -> tuple[int, int]:
        """The correlation id and throttle_time_ms of the next response, which is flexible and begins with it."""
        answer = self.receive_bytes()
        return int.from_bytes(answer[:4], "big"), int.from_bytes(answer[5:9], "big")

    def is_silent(self) -> bool:
        """Whether the broker has sent nothing."""
        if self._socket is None:
            return False
        poll = select.poll()  # the process may have many open files, more than select() takes
        poll.register(self._socket, select.POLLIN)
        return not poll.poll(0)


class Live:
    """A broker with the topic `data`."""

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self.admin = self.client("admin")
        assert self.admin.request(19, 7, new_topic("data", 1))["topics"][0]["error_code"] == 0

    def client(self, client_id: str) -> Client:
        """A new connection."""
        return Client(self.broker.bootstrap_servers, client_id)

    def limit(self, entity: dict[str, str | None], **limits: float | None) -> None:
        """Set quotas; None removes one."""
        names = [{"entity_type": kind, "entity_name": name} for kind, name in entity.items()]
        ops = [{"key": key, "value": value or 0.0, "remove": value is None} for key, value in limits.items()]
        answer = self.admin.request(49, 1, {"entries": [{"entity": names, "ops": ops}], "validate_only": False})
        assert answer["entries"][0]["error_code"] == 0, answer


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    settings = {"group.initial.rebalance.delay.ms": 0}
    with Broker(settings, folder=tmp_path_factory.mktemp("quotas") / "broker") as broker:
        yield Live(broker)


def ms(answer: dict[str, Any]) -> int:
    """throttle_time_ms of a response."""
    return int(str(answer["throttle_time"]))


def produce(client: Client, acks: int = -1) -> dict[str, Any]:
    return client.request(0, 9, produce_values("data", batch(RECORDS), acks=acks))


def test_produced_bytes_are_limited_and_the_channel_is_muted(live: Live) -> None:
    size = len(batch(RECORDS))
    live.limit({"client-id": "p"}, producer_byte_rate=5.0 * size)  # in ten windows, fifty batches
    client, others = live.client("p"), live.client("unlimited")
    answers = [produce(client) for _ in range(47)]
    assert [ms(answer) for answer in answers] == [0] * 47, "the bytes around the records take less than two batches"
    throttled = 0
    while not throttled:
        throttled = ms(produce(client))
    assert 0 < throttled < 1000, "a batch above the quota takes a fifth of a second"
    live.limit({"client-id": "p"}, producer_byte_rate=4.0 * size)
    while throttled < 2000:  # so long that the others are answered meanwhile, on a busy machine, too
        throttled = ms(produce(client))
    client.send(*METADATA)
    for _ in range(3):
        assert ms(produce(others)) == 0 and client.is_silent()
    assert client.receive() == 77, "the request was kept, and is answered when the time is over"


def test_a_quota_is_shared_by_the_connections_of_a_client(live: Live) -> None:
    live.limit({"client-id": "shared"}, producer_byte_rate=5.0 * len(batch(RECORDS)))
    first, second = live.client("shared"), live.client("shared")
    assert [ms(produce(first)) for _ in range(30)] == [0] * 30
    assert any(ms(produce(second)) for _ in range(25))
    assert ms(produce(live.client("shared"))) > 0, "also by new ones"
    assert ms(produce(live.client("shared2"))) == 0


def test_defaults_count_for_each_client_and_names_before_them(live: Live) -> None:
    live.limit({"user": None, "client-id": None}, producer_byte_rate=100.0)
    live.limit({"user": "ANONYMOUS", "client-id": "named"}, producer_byte_rate=1e9)
    try:
        assert ms(produce(live.client("one"))) > 0
        assert ms(produce(live.client("two"))) > 0
        assert ms(produce(live.client("named"))) == 0
    finally:
        live.limit({"user": None, "client-id": None}, producer_byte_rate=None)
    assert ms(produce(live.client("one"))) == 0


def test_without_a_response_the_channel_is_muted_all_the_same(live: Live) -> None:
    live.limit({"client-id": "acks0"}, producer_byte_rate=float(len(batch(RECORDS)) // 12))
    client, others = live.client("acks0"), live.client("unlimited")
    client.send(0, 9, produce_values("data", batch(RECORDS), acks=0))
    client.send(*METADATA)
    for _ in range(3):
        assert ms(produce(others)) == 0 and client.is_silent()
    assert client.receive() == 77


def fetch(client: Client, session_epoch: int = -1, session_id: int = 0, **more: Any) -> dict[str, Any]:
    partition = {
        "partition": 0, "current_leader_epoch": -1, "fetch_offset": 0, "last_fetched_epoch": -1, "log_start_offset": -1,
        "partition_max_bytes": 1 << 20,
    }  # fmt: skip
    values = {
        "replica_id": -1, "max_wait": 0, "min_bytes": 1, "max_bytes": 1 << 20, "isolation_level": 0, "session_id": session_id,
        "session_epoch": session_epoch, "topics": [{"topic": "data", "partitions": [partition]}], "forgotten_topics_data": [],
        "rack_id": "",
    }  # fmt: skip
    return client.request(1, 12, {**values, **more})


def records_in(answer: dict[str, Any]) -> int:
    return sum(len(partition["records"] or b"") for topic in answer["responses"] for partition in topic["partitions"])


def test_a_throttled_fetch_is_empty_and_costs_nothing(live: Live) -> None:
    size = len(batch(RECORDS))
    produce(live.client("unlimited"))
    live.limit({"client-id": "f"}, consumer_byte_rate=float(size // 4))  # in ten windows, two and a half batches
    answer = fetch(live.client("f"))
    assert ms(answer) == 0 and records_in(answer) == 2 * size, "never more than fits into the windows"
    answers = [fetch(live.client("f")) for _ in range(3)]
    assert all(ms(each) > 0 and each["responses"] == [] and each["error_code"] == 0 for each in answers)
    assert ms(answers[2]) <= ms(answers[0]), "empty responses do not count"
    live.limit({"client-id": "f"}, consumer_byte_rate=1e9)
    assert records_in(fetch(live.client("f"))) > 2 * size


def test_a_throttled_fetch_begins_no_session_and_keeps_one(live: Live) -> None:
    produce(live.client("unlimited"))
    live.limit({"client-id": "session"}, consumer_byte_rate=1.0)
    answer = fetch(live.client("session"), session_epoch=0)
    assert ms(answer) > 0 and answer["session_id"] == 0 and answer["responses"] == []
    live.limit({"client-id": "session"}, consumer_byte_rate=1e9)
    client = live.client("session")
    session_id = fetch(client, session_epoch=0)["session_id"]
    assert session_id != 0
    live.limit({"client-id": "session"}, consumer_byte_rate=1.0)
    throttled = fetch(client, session_epoch=1, session_id=session_id)
    assert (throttled["error_code"], throttled["session_id"], throttled["responses"]) == (0, session_id, [])
    live.limit({"client-id": "session"}, consumer_byte_rate=1e9)
    following = fetch(live.client("session"), session_epoch=2, session_id=session_id)
    assert following["error_code"] == 0 and records_in(following) > 0


EVERY_KIND = [
    (3, 12, {"topics": []}),
    (18, 3, {"client_software_name": "a", "client_software_version": "1"}),
    (18, 1, {}),
    (2, 8, {"replica_id": -1, "isolation_level": 0, "topics": []}),
    (23, 4, {"replica_id": -1, "topics": []}),
    (10, 3, {"key": "g", "key_type": 0}),
    (32, 4, {"resources": [], "include_synonyms": False, "include_documentation": False}),
    (15, 5, {"groups": ["none"], "include_authorized_operations": False}),
    (48, 1, {"components": [], "strict": False}),
    (8, 8, {
        "group_id": "r", "generation_id_or_member_epoch": -1, "member_id": "", "group_instance_id": None,
        "topics": [{"name": "data", "partitions": [{"partition_index": 0, "committed_offset": 0, "committed_leader_epoch": -1,
                                                    "committed_metadata": ""}]}],
    }),
    (22, 4, {"transactional_id": None, "producer_id": -1, "producer_epoch": -1}),
    (47, 0, {"group_id": "none", "topics": []}),
]


def test_time_of_requests_is_limited(live: Live) -> None:
    """Requests of reactors and of each loop of the control plane say how long the client waits: at most a window."""
    live.limit({"client-id": "r"}, request_percentage=1e-9)
    waits = {(key, version): ms(live.client("r").request(key, version, values)) for key, version, values in EVERY_KIND}
    assert waits == dict.fromkeys(waits, 1000)
    assert ms(fetch(live.client("r"))) == 1000
    assert ms(produce(live.client("r"))) == 1000
    assert fetch(live.client("r"))["responses"] == []
    client, others = live.client("r"), live.client("unlimited")
    assert ms(client.request(*METADATA)) == 1000
    client.send(*METADATA)
    assert ms(others.request(*METADATA)) == 0 and client.is_silent()
    assert client.receive() == 77


TOKEN_REQUESTS = [
    (38, 1, {"renewers": [], "max_lifetime": -1}),
    (38, 3, {"owner_principal_type": None, "owner_principal_name": None, "renewers": [], "max_lifetime": -1}),
    (39, 1, {"hmac": b"", "renew_period": 0}),
    (39, 2, {"hmac": b"", "renew_period": 0}),
    (40, 1, {"hmac": b"", "expiry_time_period": 0}),
    (40, 2, {"hmac": b"", "expiry_time_period": 0}),
    (41, 1, {"owners": None}),
    (41, 3, {"owners": None}),
]


def test_the_throttle_time_at_the_end_of_a_response(live: Live) -> None:
    """Of requests about delegation tokens. kio does not read their responses: a token that there is not has negative times."""
    live.limit({"client-id": "end"}, request_percentage=1e-9)
    for key, version, values in TOKEN_REQUESTS:
        client = live.client("end")
        client.send(key, version, values)
        answer = client.receive_bytes()
        if load_request_schema(key, version).__flexible__:
            assert answer[-1:] == b"\0", "no tags"
            answer = answer[:-1]
        assert int.from_bytes(answer[-4:], "big") == 1000, (key, version)


def test_requests_that_are_exempt_or_too_old_to_hear_of_it(live: Live) -> None:
    live.limit({"client-id": "old"}, request_percentage=1e-9)
    client = live.client("old")
    assert "throttle_time" not in client.request(10, 0, {"key": "g"})
    client.send(*METADATA)
    assert ms(live.client("unlimited").request(*METADATA)) == 0 and client.is_silent()
    assert client.receive() == 77
    exempt = live.client("old")
    for _ in range(3):  # only brokers send it
        exempt.request(27, 1, {"markers": []})


def test_controller_mutations_as_kafka_limits_them(live: Live) -> None:
    """Error codes and throttle times in seconds of Apache Kafka 4.3.1 for the same requests."""
    live.limit({"client-id": "m"}, controller_mutation_rate=1.0)  # a bucket of eleven

    def asked(api_key: int, version: int, values: dict[str, Any], field: str = "topics") -> tuple[int, int]:
        answer = live.client("m").request(api_key, version, values)
        return answer[field][0]["error_code"], round(ms(answer) / 1000)

    def topic(name: str, partitions: int, *, validate_only: bool = False) -> dict[str, Any]:
        return {**new_topic(name, partitions), "validate_only": validate_only}

    def deletion(name: str) -> dict[str, Any]:
        return {"topics": [{"name": name, "topic_id": None}], "timeout": 10000}

    grow = {"topics": [{"name": "t2", "count": 22, "assignments": None}], "timeout": 10000, "validate_only": False}
    refused = THROTTLING_QUOTA_EXCEEDED
    assert asked(19, 7, topic("t1", 5)) == (0, 0)
    assert asked(19, 7, topic("t2", 20)) == (0, 0)
    assert asked(19, 7, topic("t3", 1)) == (refused, 14)
    assert asked(19, 5, topic("t4", 1)) == (0, 15)
    assert asked(20, 6, deletion("t1"), "responses") in [(refused, 15), (refused, 14)]
    assert asked(20, 4, {"topic_names": ["t1"], "timeout": 10000}, "responses") in [(0, 20), (0, 19)]
    assert asked(37, 3, grow, "results")[0] == refused
    assert asked(37, 2, grow, "results")[0] == 0
    assert asked(19, 7, topic("t9", 1, validate_only=True))[0] == refused
    assert asked(19, 7, topic("t2", 1)) == (TOPIC_ALREADY_EXISTS, 0)
    answer = live.client("other").request(19, 7, topic("t12", 1))
    assert (answer["topics"][0]["error_code"], ms(answer)) == (0, 0)
    names = {each["name"] for each in live.admin.request(3, 12, {"topics": None})["topics"]}
    assert {"t2", "t4", "t12"} <= names and not {"t1", "t3", "t9"} & names


def test_new_connections_of_an_address_are_limited(live: Live) -> None:
    kept = live.client("unlimited")
    kept.request(*METADATA)
    live.limit({"ip": "127.0.0.1"}, connection_creation_rate=1.0)
    try:
        refused = 0
        for _ in range(12):
            connection = socket.create_connection(("127.0.0.1", live.broker.port), timeout=60)
            connection.sendall(struct.pack(">ihhih", 10, 18, 0, 1, 0))
            try:
                refused += connection.recv(4) == b""  # closed later, without an answer
            except ConnectionResetError:
                refused += 1
            connection.close()
        assert 1 <= refused < 12
        assert ms(kept.request(*METADATA)) == 0
    finally:
        live.limit({"ip": "127.0.0.1"}, connection_creation_rate=None)
    assert ms(live.client("unlimited").request(*METADATA)) == 0


def throttled_connections(live: Live) -> int:
    with urllib.request.urlopen(live.broker.metrics_url, timeout=60) as response:
        page = response.read().decode()
    return next(int(float(line.split()[1])) for line in page.splitlines() if line.startswith("kafkacy_throttled_connections "))


def test_a_client_that_leaves_while_it_is_throttled(live: Live) -> None:
    live.limit({"client-id": "leaves"}, producer_byte_rate=1.0)
    before = throttled_connections(live)
    connections = [live.client("leaves") for _ in range(20)]
    assert all(ms(produce(each)) > 60_000 for each in connections)
    assert throttled_connections(live) >= 20
    for each in connections:
        each.close()
    wait_until(lambda: throttled_connections(live) <= before, "the broker to close its side")
    assert ms(live.client("unlimited").request(*METADATA)) == 0


def test_responses_that_wait_for_others_say_the_throttle_time_too(live: Live) -> None:
    """Metadata is answered by a reactor, while the response of the control plane that leaves before it is still missing."""
    live.limit({"client-id": "order"}, request_percentage=1e-9)
    client = live.client("order")
    for _ in range(3):
        client.send(10, 3, {"key": "g", "key_type": 0}, correlation_id=5)
        client.send(*METADATA, correlation_id=6)
        assert [client.receive_throttle_ms() for _ in range(2)] == [(5, 1000), (6, 1000)]


def test_a_throttled_client_that_vanished_is_closed_like_others(tmp_path: Path) -> None:
    """Its socket stays open and silent, as after a power cut."""
    with Broker({"connections.max.idle.ms": 500}, folder=tmp_path / "broker") as broker:
        live = Live(broker)
        live.limit({"client-id": "vanished"}, producer_byte_rate=1.0)
        client = live.client("vanished")
        assert ms(produce(client)) > 60_000
        with pytest.raises(Closed):
            client.receive()


def test_a_producer_at_100_kb_per_second(tmp_path: Path) -> None:
    with Broker({"quota.window.num": 2, "quota.window.size.seconds": 1}, folder=tmp_path / "broker") as broker:
        live, throttled, delivered = Live(broker), [], []
        live.limit({"client-id": "app"}, producer_byte_rate=100_000.0)
        settings = {"bootstrap.servers": broker.bootstrap_servers, "client.id": "app", "batch.size": 20_000, "linger.ms": 0}
        producer = Producer({**settings, "throttle_cb": lambda event: throttled.append(event.throttle_time)})
        for _ in range(30):
            producer.produce("data", b"v" * 10_000, on_delivery=lambda error, message: delivered.append(error))
            producer.poll(0)
        producer.flush(60)
        assert delivered == [None] * 30
        wait_until(lambda: producer.poll(0) is not None and throttled, "throttled")
        assert max(throttled) > 0


def test_quotas_apply_after_a_restart(tmp_path: Path) -> None:
    with Broker({}, folder=tmp_path / "broker") as broker:
        live = Live(broker)
        live.limit({"user": "ANONYMOUS"}, producer_byte_rate=1.0)
        live.limit({"ip": "localhost"}, connection_creation_rate=1e9)
        broker.kill()
        broker.start()
        live.admin = live.client("admin")
        assert ms(produce(live.client("any"))) > 0


def test_names_that_no_metric_could_hold(live: Live) -> None:
    live.limit({"client-id": None}, producer_byte_rate=100.0)
    try:
        for name in ("", "x" * 30_000, 'a"b\\c\nd', "\u00e9" * 300):
            assert ms(produce(live.client(name))) > 0
    finally:
        live.limit({"client-id": None}, producer_byte_rate=None)


def test_metrics_show_clients_with_quotas(live: Live) -> None:
    live.limit({"client-id": "shown"}, producer_byte_rate=1000.0, consumer_byte_rate=1e9, request_percentage=1e-9)
    live.limit({"client-id": "shown"}, controller_mutation_rate=1.0)
    assert ms(live.client("shown").request(19, 5, new_topic("shown", 30))) > 0
    produce(live.client("shown"))
    held = live.client("shown")
    assert ms(held.request(*METADATA)) == 1000
    with urllib.request.urlopen(live.broker.metrics_url, timeout=60) as response:
        page = response.read().decode()
    samples = dict(line.rsplit(" ", 1) for line in page.splitlines() if not line.startswith("#"))
    for name in ("produce_byte_rate", "request_request_time", "request_throttle_time", "controllermutation_mutation_rate",
                 "controllermutation_throttle_time"):  # fmt: skip
        found = [key for key in samples if key.startswith(f"kafka_server_{name}{{") and 'client_id="shown"' in key]
        assert len(found) == 1 and float(samples[found[0]]) > 0, name
        assert "unlimited" not in page.partition(f"kafka_server_{name}{{")[2].partition("#")[0], "only clients with a quota"
    tokens = "kafka_server_controllermutation_tokens{"
    (left,) = (value for key, value in samples.items() if key.startswith(tokens) and "shown" in key)
    assert -19 <= float(left) < 0
    assert float(samples["kafkacy_throttled_connections"]) >= 1
    assert float(samples["kafkacy_quota_sensors"]) > 0
    throttled = 'kafka_network_requestmetrics_throttletimems{request="Metadata",quantile="0.999"}'
    assert float(samples[throttled]) > 500


def test_a_closed_connection_is_not_waited_for(live: Live) -> None:
    """Malformed requests of throttled clients close their connections, as those of others do."""
    live.limit({"client-id": "bad"}, producer_byte_rate=1.0)
    client = live.client("bad")
    assert ms(produce(live.client("bad"))) > 0
    with pytest.raises(Closed):
        client.request_bytes(0, 9, b"\xff", flexible=True)
