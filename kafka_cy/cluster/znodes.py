"""Paths and JSON forms of the metadata tree, in the layout of ZooKeeper-mode Kafka."""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

CLUSTER_ID = "/cluster/id"
CONTROLLER = "/controller"
CONTROLLER_EPOCH = "/controller_epoch"
BROKER_IDS = "/brokers/ids"
TOPICS = "/brokers/topics"
CONFIG_CHANGES = "/config/changes"
DELETE_TOPICS = "/admin/delete_topics"
PRODUCER_ID_BLOCK = "/latest_producer_id_block"
FEATURE = "/feature"
# Ours: exists from the tree's creation until the topics of found folders are stored. Its data: {"version": 1, "directories":
# {path: stored_directory_id() of the log directory when the adoption began}}.
ADOPTION = "/kafkacy_adoption"

# Container nodes without data that exist from the first start of a cluster.
CONTAINERS = (
    "/admin",
    "/admin/delete_topics",
    "/brokers",
    "/brokers/ids",
    "/brokers/seqid",
    "/brokers/topics",
    "/cluster",
    "/config",
    "/config/brokers",
    "/config/changes",
    "/config/client-metrics",
    "/config/clients",
    "/config/groups",
    "/config/ips",
    "/config/topics",
    "/config/users",
    "/consumers",
    "/isr_change_notification",
    "/log_dir_event_notification",
)


# Entity types whose names may have any characters; users and clients are sanitized by those who know what is a name.
FREELY_NAMED = ("groups", "client-metrics")


def to_json(value: Mapping[str, Any]) -> bytes:
    """Compact UTF-8 JSON."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def from_json(data: bytes | None) -> dict[str, Any]:
    """The object in a node; empty for a node without data. Raises ValueError if it is not a JSON object."""
    try:
        value = json.loads(data) if data else {}
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")
    return value


def id_to_text(value: uuid.UUID) -> str:
    """An id as Kafka prints it: 22 characters of base64url."""
    return base64.urlsafe_b64encode(value.bytes).decode().rstrip("=")


def id_from_text(text: str) -> uuid.UUID:
    """The inverse of id_to_text. Raises ValueError."""
    return uuid.UUID(bytes=base64.urlsafe_b64decode(text + "=="))


def new_id() -> uuid.UUID:
    """A random id whose text does not begin with '-', because a command line would parse it as an option."""
    while True:
        candidate = uuid.uuid4()
        if not id_to_text(candidate).startswith("-"):
            return candidate


def topic_path(topic: str) -> str:
    """Node of a topic: its id and assignment."""
    return f"{TOPICS}/{topic}"


def state_path(topic: str, partition: int) -> str:
    """Node of a partition's leader and ISR."""
    return f"{TOPICS}/{topic}/partitions/{partition}/state"


def topic_data(topic_id: uuid.UUID, assignment: Sequence[Sequence[int]]) -> bytes:
    """Content of a topic's node."""
    return to_json(
        {
            "version": 3,
            "partitions": {str(index): list(replicas) for index, replicas in enumerate(assignment)},
            "topic_id": id_to_text(topic_id),
            "adding_replicas": {},
            "removing_replicas": {},
        }
    )


def state_data(leader: int, leader_epoch: int, controller_epoch: int, isr: Sequence[int]) -> bytes:
    """Content of a partition's state node."""
    return to_json(
        {
            "version": 1,
            "leader": leader,
            "leader_epoch": leader_epoch,
            "controller_epoch": controller_epoch,
            "isr": list(isr),
        }
    )


def broker_data(
    endpoints: Sequence[tuple[str, str, str, int]], rack: str | None, now_ms: int, version: int = 5
) -> bytes:
    """Content of a broker's registration; endpoints are (listener name, security protocol, host, port).

    `version`: 4 if inter.broker.protocol.version is below 2.7, without features.
    """
    plaintext = next(((host, port) for _, protocol, host, port in endpoints if protocol == "PLAINTEXT"), (None, -1))
    value: dict[str, Any] = {
        "version": version,
        "host": plaintext[0],
        "port": plaintext[1],
        "endpoints": [f"{name}://{_in_address(host)}:{port}" for name, _, host, port in endpoints],
        "listener_security_protocol_map": {name: protocol for name, protocol, _, _ in endpoints},
        "jmx_port": -1,
        "timestamp": str(now_ms),
    }
    if version >= 5:
        value["features"] = {}
    if rack is not None:
        value["rack"] = rack
    return to_json(value)


def _in_address(host: str) -> str:
    return f"[{host}]" if ":" in host else host  # IPv6


def controller_data(broker_id: int, now_ms: int) -> bytes:
    """Content of the controller's node."""
    return to_json({"version": 2, "brokerid": broker_id, "timestamp": str(now_ms), "kraftControllerEpoch": -1})


def feature_data(levels: Mapping[str, int]) -> bytes:
    """Content of the node with the finalized feature levels."""
    return to_json({"features": dict(levels), "version": 2, "status": 1})


def config_data(values: Mapping[str, str]) -> bytes:
    """Content of a configuration node."""
    return to_json({"version": 1, "config": dict(values)})


def config_entity(entity_type: str, entity_name: str) -> str:
    """Path of an entity below /config. Names of users and clients are sanitized; `alice/clients/app` is a client of a user."""
    if entity_type in FREELY_NAMED:
        entity_name = entity_name.replace("%", "%25").replace("/", "%2F")
        if entity_name in (".", ".."):  # which ZooKeeper does not allow
            entity_name = entity_name.replace(".", "%2E")
    return f"{entity_type}/{entity_name}"


def config_entity_name(entity_type: str, child: str) -> str:
    """The name of the entity in a child of /config/<entity type>: the inverse of config_entity."""
    return desanitize(child) if entity_type in FREELY_NAMED else child


def sanitize(name: str) -> str:
    """The name of a user or client as it is in a path (Kafka's Sanitizer). '<default>' is not a result for any name."""
    from urllib.parse import quote  # kept out of the start path

    return quote(name, safe="-_.").replace("~", "%7E")  # as java.net.URLEncoder


def desanitize(name: str) -> str:
    """The inverse of sanitize."""
    from urllib.parse import unquote

    return unquote(name) if "%" in name else name
