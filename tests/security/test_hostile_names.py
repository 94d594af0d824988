"""Users whose names are made to look like something else, in the audit log, in the broker's log and in the labels of metrics."""

from __future__ import annotations

import hashlib
import json
import re
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from raw_client import Closed, RawClient

from kafka_cy import Broker
from kafka_cy.records import Record, build_batch
from kafka_cy.server.audit_file import TEXT_CHARS_MAX
from tests.security.authorization_world import login
from tests.security.token_issuer import now_claims, unsecured
from tests.waiting import wait_until

NAMES = (
    "o'neil \"quoted\" \\ back\\nslash\\",
    "admin\nPrincipal = User:admin is Allowed operation = ALL",
    "cr\r\ttab\x1b[31mred\x7f",
    "admin\0hidden",
    "\u2028line\u2029paragraph\x85next\u202eesrever",
    '","principal":"User:admin","decision":"allowed"}',
    'x"} 1\nkafkacy_up 0\n{user="',
    "User:admin",
    "<default>",
    " blanks ",
    "\u2168\xad\uff41 \U0001f600",
    "CN=" + "\xfc" * 400 + ",O=Company",
    "y" * 1000,
)  # fmt: skip
PREFIX = "org.apache.kafka.common.security."
SETTINGS = {
    "listener.security.protocol.map": "PLAINTEXT:SASL_PLAINTEXT",
    "sasl.enabled.mechanisms": "PLAIN,OAUTHBEARER",
    "listener.name.plaintext.plain.sasl.jaas.config": f'{PREFIX}plain.PlainLoginModule required user_admin="secret";',
    "listener.name.plaintext.oauthbearer.sasl.jaas.config": f"{PREFIX}oauthbearer.OAuthBearerLoginModule required;",
    "connection.failed.authentication.delay.ms": 1,
    "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    "super.users": "User:admin",
}
PRODUCE, HANDSHAKE, CREATE_TOPICS, AUTHENTICATE, ALTER_QUOTAS = 0, 17, 19, 36, 49
TOPIC_DENIED, CLUSTER_DENIED, FAILED = 29, 31, 58
SENSOR_BYTES_MAX = 200  # of a name in the metrics; longer ones end with a hash
LINES = {
    "text": re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (INFO|WARNING) .*"),
    "logfmt": re.compile(r"time=\S+Z level=(info|warning) msg=.*"),
    "json": re.compile(r'{"time": "[^"]*Z", "level": "(info|warning)", "msg": ".*}'),
}


def cut(name: str, beginning: str) -> str:
    """A name that is shown by its beginning."""
    if beginning == name:
        return name
    return f"{beginning}...(sha256 {hashlib.sha256(name.encode()).hexdigest()[:16]})"


def shown_by_reactors(name: str) -> str:
    """The first 256 bytes."""
    return cut(name, name.encode()[:256].decode(errors="replace"))


def log_in(broker: Broker, name: str) -> RawClient:
    client = RawClient(broker.bootstrap_servers, client_id=name[:200])
    assert client.request(HANDSHAKE, 1, {"mechanism": "OAUTHBEARER"})["error_code"] == 0
    token = f"n,,\x01auth=Bearer {unsecured(now_claims(sub=name))}\x01\x01"
    answer = client.request(AUTHENTICATE, 2, {"auth_bytes": token.encode()})
    assert (answer["error_code"], answer["auth_bytes"]) == (0, b"")
    return client


def ask(client: RawClient) -> None:
    """A request that a reactor denies, and one that a control thread does."""
    records = build_batch([Record(value=b"v")])
    data = [{"name": "t", "partition_data": [{"index": 0, "records": records}]}]
    answer = client.request(PRODUCE, 9, {"transactional_id": None, "acks": 1, "timeout": 1000, "topic_data": data})
    assert answer["responses"][0]["partition_responses"][0]["error_code"] == TOPIC_DENIED
    topic = {"name": "new", "num_partitions": 1, "replication_factor": 1}
    answer = client.request(CREATE_TOPICS, 7, {"topics": [topic], "timeout": 1000})
    assert answer["topics"][0]["error_code"] in (TOPIC_DENIED, CLUSTER_DENIED)


def fail(broker: Broker, name: str) -> None:
    """Names in failed logins, and in the place of a mechanism."""
    client = RawClient(broker.bootstrap_servers)
    client.request(HANDSHAKE, 1, {"mechanism": "PLAIN"})
    assert client.request(AUTHENTICATE, 2, {"auth_bytes": f"{name}\0{name}\0x".encode()})["error_code"] == FAILED
    client.close()
    client = RawClient(broker.bootstrap_servers)
    with pytest.raises(Closed):
        assert client.request(HANDSHAKE, 1, {"mechanism": name})["error_code"] == 33
        client.request(HANDSHAKE, 1, {"mechanism": name})
    client.close()


def users_in_metrics(broker: Broker) -> set[str]:
    with urllib.request.urlopen(broker.metrics_url, timeout=30) as page:
        families = text_string_to_metric_families(page.read().decode())
    return {sample.labels["user"] for each in families for sample in each.samples if "user" in sample.labels}


@pytest.mark.parametrize("log_format", LINES)
def test_names(log_format: str, tmp_path: Path) -> None:
    audit = tmp_path / "audit.log"
    settings = {**SETTINGS, "kafkacy.audit.log": str(audit), "kafkacy.log.format": log_format}
    with Broker(settings, folder=tmp_path / "broker") as broker:
        admin = login(broker.bootstrap_servers, "admin")
        entry = {"entity": [{"entity_type": "user", "entity_name": None}],
                 "ops": [{"key": "producer_byte_rate", "value": 1e9, "remove": False}]}  # fmt: skip
        answer = admin.request(ALTER_QUOTAS, 1, {"entries": [entry], "validate_only": False})
        assert answer["entries"][0]["error_code"] == 0
        for name in NAMES:
            client = log_in(broker, name)
            ask(client)
            client.close()
            if "\0" not in name:
                fail(broker, name)
        admin.close()
        assert users_in_metrics(broker) >= {name for name in NAMES if len(name.encode()) <= SENSOR_BYTES_MAX}
        wait_until(lambda: audit.read_text().count('"Produce"') >= len(NAMES), "all denials")
        broker.terminate()
        lines = (broker.folder / "broker.log").read_bytes().decode().split("\n")
    records = [json.loads(line) for line in audit.read_bytes().split(b"\n")[:-1]]
    check_records(records)
    assert lines.pop() == "" and len(lines) > len(NAMES)
    for line in lines:
        if not line.startswith("kafka-cy ready: 127.0.0.1:"):  # on stdout
            assert line.isprintable() and LINES[log_format].fullmatch(line), line
            assert log_format != "json" or json.loads(line)["msg"]


def check_records(records: list[dict[str, Any]]) -> None:
    denied = [each for each in records if each["principal"] != "User:admin" or each["decision"] == "denied"]
    assert {each["decision"] for each in denied} == {"denied"}
    by_control_threads = [each for each in denied if each["api"] == "CreateTopics"]
    assert {each["principal"] for each in by_control_threads} == {f"User:{cut(name, name[:TEXT_CHARS_MAX])}" for name in NAMES}
    assert {each["client_id"] for each in by_control_threads} == {name[:200] for name in NAMES}
    by_reactors = [each["principal"] for each in denied if each["api"] == "Produce"]
    assert by_reactors == [f"User:{shown_by_reactors(name)}" for name in NAMES]
