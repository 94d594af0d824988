"""What stands in change notifications: which node changed. The change itself stands in that node.

Malformed data raises one of `znode_formats.MALFORMED`.
"""

from __future__ import annotations

from typing import NamedTuple

from kafka_cy.cluster import znodes

LOG_DIR_FAILURE = 1  # the only event of a log directory

_RESOURCE_TYPES = ("Topic", "Group", "Cluster", "TransactionalId", "DelegationToken", "User")  # as they stand in paths
_BY_NAME = {name.lower(): name for name in _RESOURCE_TYPES} | {
    "transactional_id": "TransactionalId",
    "delegation_token": "DelegationToken",
}


class ConfigChange(NamedTuple):
    """/config/changes/config_change_N: an entity whose settings changed."""

    entity_path: str  # below /config: topics/t1, users/alice/clients/<default>

    def encode(self) -> bytes:
        """Write version 2."""
        return znodes.to_json({"version": 2, "entity_path": self.entity_path})

    @classmethod
    def decode(cls, data: bytes | None) -> ConfigChange:
        """Read versions 1 (topics and clients only) and 2."""
        value = znodes.from_json(data)
        if int(value["version"]) == 1:
            entity_type, name = str(value["entity_type"]), str(value["entity_name"])
            if entity_type not in ("topics", "clients"):
                raise ValueError(f"a change of {entity_type} in version 1")
            return cls(f"{entity_type}/{name}")
        return cls(str(value["entity_path"]))


class AclChange(NamedTuple):
    """A resource whose ACLs changed."""

    resource_type: str  # Topic, Group, Cluster, TransactionalId, DelegationToken, User
    name: str
    pattern_type: str = "LITERAL"  # or PREFIXED

    def encode(self) -> bytes:
        """/kafka-acl-changes/acl_changes_N for literal names, /kafka-acl-extended-changes/acl_changes_N for prefixes."""
        kind = _constant(self.resource_type)
        if self.pattern_type == "LITERAL":
            return f"{kind}:{self.name}".encode()
        value = {"version": 1, "resourceType": kind, "name": self.name, "patternType": self.pattern_type}
        return znodes.to_json(value)

    @classmethod
    def decode(cls, data: bytes | None) -> AclChange:
        """Read both forms."""
        text = (data or b"").decode()
        if text.startswith("{"):
            value = znodes.from_json(data)
            return cls(_type_name(value["resourceType"]), str(value["name"]), str(value["patternType"]))
        kind, separator, name = text.partition(":")
        if not separator:
            raise ValueError(f"not an ACL change: {text}")
        return cls(_type_name(kind), name)


def _constant(resource_type: str) -> str:
    """The name of Kafka's constant: TRANSACTIONAL_ID."""
    return "".join(f"_{each}" if each.isupper() else each for each in resource_type).lstrip("_").upper()


def _type_name(text: str) -> str:
    name = _BY_NAME.get(text.lower())
    if name is None:
        raise ValueError(f"unknown resource type {text}")
    return name


class LogDirEvent(NamedTuple):
    """/log_dir_event_notification/log_dir_event_N: a broker that lost a log directory."""

    broker: int
    event: int = LOG_DIR_FAILURE

    def encode(self) -> bytes:
        """Write version 1."""
        return znodes.to_json({"version": 1, "broker": self.broker, "event": self.event})

    @classmethod
    def decode(cls, data: bytes | None) -> LogDirEvent:
        """Read version 1."""
        value = znodes.from_json(data)
        return cls(int(value["broker"]), int(value["event"]))
