"""Responses of a real Apache Kafka 4.3.1 to DescribeConfigs."""

import gzip
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from kafka_cy.config.describe import ConfigEntry

SOURCES = {
    1: "DYNAMIC_TOPIC_CONFIG",
    2: "DYNAMIC_BROKER_CONFIG",
    3: "DYNAMIC_DEFAULT_BROKER_CONFIG",
    4: "STATIC_BROKER_CONFIG",
    5: "DEFAULT_CONFIG",
    7: "CLIENT_METRICS_CONFIG",
    8: "GROUP_CONFIG",
}


def load(name: str) -> Any:
    """Load `describeconfigs-<name>.json`."""
    path = Path(__file__).parent / "golden" / f"describeconfigs-{name}.json.gz"
    return json.loads(gzip.decompress(path.read_bytes()))


def expected(answer: dict[str, Any]) -> list[dict[str, Any]]:
    """The entries of a response without the length of Kafka's documentation."""
    return [{key: value for key, value in entry.items() if key != "docLen"} for entry in answer["configs"]]


def plain(entries: Iterable[ConfigEntry]) -> list[dict[str, Any]]:
    """Our entries in the same form, without our own keys."""
    return [
        {
            "name": entry.key.name,
            "value": entry.value,
            "readOnly": entry.read_only,
            "source": SOURCES[entry.source],
            "sensitive": entry.key.sensitive,
            "type": entry.key.type,
            "synonyms": [[synonym.name, synonym.value, SOURCES[synonym.source]] for synonym in entry.synonyms],
        }
        for entry in entries
        if not entry.key.name.startswith("kafkacy.")
    ]
