"""158 requests with the responses of a real Apache Kafka 4.3.1: ours are the same, except for those listed here."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.config.test_apis import Broker

GOLDEN = json.loads(gzip.decompress((Path(__file__).parent / "golden" / "alterations.json.gz").read_bytes()))

#: Requests with a different response here, and the reasons.
DEVIATIONS = {
    '["inc", [2, "t", [["retention.ms", 9, "1"]]]]': "Kafka fails with -1 on an unknown operation",
    '["inc", [4, "1", [["num.network.threads", 0, "100"]]]]': "reactors are fixed at the start",
    '["desc", 8, "1", "root"]': "another log has another level",
}


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    broker = Broker(tmp_path)
    broker.context.topic_changes.create_topic("t", [[1]], {})
    yield broker
    broker.store.close()


def test_answers_are_those_of_kafka(broker: Broker) -> None:
    different = []
    for scenario, expected in GOLDEN:
        answer = ask(broker, scenario)
        if json.dumps(scenario) in DEVIATIONS:
            assert answer != expected, "no deviation any more"
            continue
        if without_messages(answer) != without_messages(expected):
            different.append((scenario, expected, answer))
    assert different == []


def test_most_messages_are_kafkas(broker: Broker) -> None:
    same = sum(ask(broker, scenario) == expected for scenario, expected in GOLDEN)
    assert same >= 142


def ask(broker: Broker, scenario: list[Any]) -> list[Any]:
    kind, *arguments = scenario
    if kind == "desc":
        result = broker.describe(arguments[0], arguments[1], *arguments[2:], include_synonyms=True)
        entries = [
            [
                *(
                    entry[field]
                    for field in ("name", "value", "read_only", "config_source", "config_type", "is_sensitive")
                ),
                [[synonym["name"], synonym["value"], synonym["source"]] for synonym in entry["synonyms"]],
            ]
            for entry in result["configs"]
        ]
        return [[result["error_code"], result["error_message"], entries]]
    if kind == "list":
        answer = broker.call(74, arguments[0], resource_types=arguments[1] if len(arguments) > 1 else ())
        resources = [[entry["resource_name"], entry["resource_type"]] for entry in answer["config_resources"]]
        return [answer["error_code"], sorted(resources, key=str)]
    api_key, version = (33, 2) if kind == "alt" else (44, 1)
    resources = [resource_of(resource, kind != "alt") for resource in arguments]
    answer = broker.call(api_key, version, resources=resources, validate_only=kind == "incv")
    fields = ("error_code", "error_message", "resource_type", "resource_name")
    return [[response[field] for field in fields] for response in answer["responses"]]


def resource_of(resource: list[Any], incremental: bool) -> SimpleNamespace:
    kind, name, changes = resource
    fields = ("name", "config_operation", "value") if incremental else ("name", "value")
    configs = [SimpleNamespace(**dict(zip(fields, change, strict=True))) for change in changes]
    return SimpleNamespace(resource_type=kind, resource_name=name, configs=configs)


def without_messages(answer: list[Any]) -> list[Any]:
    return [
        [part for at, part in enumerate(result) if at != 1] if isinstance(result, list) else result for result in answer
    ]
