"""ACLs, delegation tokens, SASL, SCRAM credentials and voters: Apache Kafka 4.3.1's answers, stored credentials, limits."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from control_fakes import call, make_context
from differential_cases import GROUP, Case, State
from differential_cases import alter as alter_configs
from differential_security import SECURITY, SHA_256, SHA_512, alter_scram, deletion, upsertion, users
from raw_client import plain

from kafka_cy.api import alter_user_scram_credentials
from kafka_cy.cluster import config_changes, znodes
from kafka_cy.cluster.embedded_store import EmbeddedStore
from kafka_cy.cluster.features import FinalizedFeatures
from kafka_cy.cluster.metadata import ClusterMetadata
from kafka_cy.cluster.quorum import Quorum
from kafka_cy.protocol.bridge import encode_response
from kafka_cy.protocol.decoder import Cursor, entity_reader
from kafka_cy.protocol.schema import message_class

GOLDEN = json.loads((Path(__file__).parent / "golden_data" / "security-answers.json").read_text())
RESOURCE_NOT_FOUND, UNACCEPTABLE_CREDENTIAL, POLICY_VIOLATION, UNSUPPORTED_VERSION = 91, 93, 44, 35
# RFC 7677, section 3: user "user", password "pencil".
RFC_SALT, RFC_PASSWORD = base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ=="), b"pencil"
RFC_TEXT = (
    "salt=W22ZaJ0SNY7soEsUEjb6gQ==,stored_key=WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=,"
    "server_key=wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=,iterations=4096"
)


def decoded(case: Case, payload: bytes) -> Any:
    """A response as comparable values; the order of users and of ACLs has no meaning."""
    entity = entity_reader(message_class(case.api_key, case.version, "response"))(Cursor(payload))
    values = plain(entity)
    for rows in values.values():
        if isinstance(rows, list):
            rows.sort(key=lambda row: json.dumps(row, sort_keys=True))
    return case.view(values) if case.view else values


@pytest.fixture
def context() -> Any:
    made = make_context()
    made.quorum = lambda: Quorum(1, 1, UUID(int=7))
    made.cluster.features = FinalizedFeatures({"metadata.version": 30}, 1)
    return made


def test_the_answers_are_kafkas(context: Any) -> None:
    """The whole sequence, in every version."""
    state = State([], saved={"cluster": context.cluster_id})
    assert list(GOLDEN) == [case.name for case in SECURITY]
    wrong = []
    for case in SECURITY:
        if case.save is not None:
            continue  # DescribeCluster has tests of its own
        values = case.values(state) if callable(case.values) else case.values
        answer = call(context, case.api_key, case.version, values, may_close=True)
        ours = None if answer is None else decoded(case, encode_response(case.api_key, case.version, answer))
        golden = GOLDEN[case.name]
        theirs = None if golden is None else decoded(case, bytes.fromhex(golden))
        if ours != theirs:
            wrong.append((case.name, ours, theirs))
    assert wrong == []


def stored(context: Any, user: str) -> dict[str, str]:
    settings: dict[str, str] = context.cluster.config("users", znodes.sanitize(user))
    return settings


def alter(context: Any, *upsertions: Any, delete: Any = ()) -> dict[str, int]:
    answer = call(context, 51, 0, alter_scram(*upsertions, delete=list(delete)))
    return {row["user"]: int(row["error_code"]) for row in answer["results"]}


def test_a_credential_is_stored_as_kafka_with_zookeeper_stores_it(context: Any) -> None:
    assert alter(context, upsertion("user", salt=RFC_SALT, password=RFC_PASSWORD)) == {"user": 0}
    assert stored(context, "user") == {"SCRAM-SHA-256": RFC_TEXT}


def test_the_other_settings_of_a_user_stay(context: Any) -> None:
    context.config_changes.set_config("users", "ann", {"producer_byte_rate": "1024"})
    assert alter(context, upsertion("ann", SHA_512)) == {"ann": 0}
    assert stored(context, "ann").keys() == {"producer_byte_rate", "SCRAM-SHA-512"}
    assert alter(context, delete=[deletion("ann", SHA_512)]) == {"ann": 0}
    assert stored(context, "ann") == {"producer_byte_rate": "1024"}
    assert call(context, 50, 0, users("ann"))["results"][0]["error_code"] == RESOURCE_NOT_FOUND
    assert call(context, 50, 0, {"users": None})["results"] == []


def test_credentials_survive_a_restart_and_leave_nothing_when_they_go(context: Any, tmp_path: Path) -> None:
    store = EmbeddedStore(str(tmp_path / "store"))
    metadata = ClusterMetadata(store, 1, lambda: 0)
    metadata.load("abcdefghijklmnopqrstuv")
    metadata.cache.features = context.cluster.features
    context.cluster, context.config_changes = metadata.cache, metadata.config_changes
    alter(context, upsertion("a/b"), upsertion("ann"))
    alter(context, delete=[deletion("ann")])
    assert store.children("/config/users") == ["a%2Fb"]
    text = stored(context, "a/b")
    store.close()
    again = ClusterMetadata(EmbeddedStore(str(tmp_path / "store")), 1, lambda: 0)
    again.load("abcdefghijklmnopqrstuv")
    assert again.cache.config("users", "a%2Fb") == text
    assert again.cache.config_entities("users") == ["a%2Fb"] and again.cache.config_count("users") == 1
    assert again.store.find(znodes.CONFIG_CHANGES) is not None


def test_keys_are_not_in_the_log(context: Any) -> None:
    lines: list[tuple[Any, ...]] = []
    context.log.info = lambda *what, **details: lines.append((what, details))
    alter(context, upsertion("ann", password=b"secret"))
    assert len(lines) == 1 and lines[0][1]["name"] == "ann"
    assert "key" not in str(lines) and "salt" not in str(lines)


def test_limits(context: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    limit = alter_user_scram_credentials.BYTES_MAX
    refused = {"n" * (limit + 1): UNACCEPTABLE_CREDENTIAL, "salt": UNACCEPTABLE_CREDENTIAL}
    assert alter(context, upsertion("n" * (limit + 1)), upsertion("salt", salt=b"s" * (limit + 1))) == refused
    assert alter(context, upsertion("n" * limit), upsertion("salt", salt=b"s" * limit)) == {"n" * limit: 0, "salt": 0}
    monkeypatch.setattr(config_changes, "ENTITIES_MAX", 3)
    assert alter(context, upsertion("third"), upsertion("fourth")) == {"third": 0, "fourth": POLICY_VIOLATION}
    assert alter(context, upsertion("fourth")) == {"fourth": POLICY_VIOLATION}
    assert alter(context, upsertion("third", SHA_512)) == {"third": 0}, "a user that exists"
    assert alter(context, delete=[deletion("third", SHA_256), deletion("salt")]) == {"third": 0, "salt": 0}
    assert alter(context, upsertion("fourth"), upsertion("fifth")) == {"fourth": 0, "fifth": POLICY_VIOLATION}
    many = [upsertion(f"u{i}") | {"salted_password": b"k"} for i in range(3)] * 3334
    assert set(alter(context, *many).values()) == {POLICY_VIOLATION}


def test_the_limit_of_names_holds_for_groups_too(context: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config_changes, "ENTITIES_MAX", 1)
    names = ("one", "two")
    resources = [alter_configs(GROUP, name, ("consumer.session.timeout.ms", 0, "50000"))["resources"][0] for name in names]
    answer = call(context, 44, 1, {"resources": resources, "validate_only": False})
    assert [row["error_code"] for row in answer["responses"]] == [0, POLICY_VIOLATION]
    assert context.cluster.config_entities("groups") == ["one"]


def test_an_older_metadata_version_has_no_scram(context: Any) -> None:
    context.cluster.features = FinalizedFeatures({"metadata.version": 10}, 1)
    assert alter(context, upsertion("ann"), upsertion("", 9)) == {"ann": UNSUPPORTED_VERSION, "": UNSUPPORTED_VERSION}
    context.cluster.features = FinalizedFeatures({"metadata.version": 11}, 1)
    assert alter(context, upsertion("ann")) == {"ann": 0}


def test_no_voter_can_be_added(context: Any) -> None:
    listeners = [{"name": "plaintext", "host": "10.0.0.2", "port": 9093}]
    body = {"cluster_id": None, "timeout": 1000, "voter_id": 2, "voter_directory_id": UUID(int=8), "listeners": listeners}
    assert call(context, 80, 1, body | {"ack_when_committed": True})["error_code"] == UNSUPPORTED_VERSION
