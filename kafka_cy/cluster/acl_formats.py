"""ACLs as Kafka's AclAuthorizer keeps them in ZooKeeper: a node of JSON for each resource, and a notification for each change."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final

from kafka_cy.authorizer.acls import AclEntry, Operation, PatternType, Permission, Resource, ResourceType
from kafka_cy.cluster import znodes
from kafka_cy.cluster.change_formats import AclChange
from kafka_cy.cluster.change_notifications import ACLS, EXTENDED_ACLS, Kind

ACL_ROOTS: Final[Mapping[int, str]] = {PatternType.LITERAL: "/kafka-acl", PatternType.PREFIXED: "/kafka-acl-extended/prefixed"}
CHANGES: Final[Mapping[int, Kind]] = {PatternType.LITERAL: ACLS, PatternType.PREFIXED: EXTENDED_ACLS}
NODE_BYTES_MAX: Final = 1_000_000  # ZooKeeper ends a connection that writes 1 MiB (jute.maxbuffer)
_VERSION: Final = 1


def _camel(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("_"))


TYPE_NAMES: Final[Mapping[int, str]] = {kind: _camel(kind.name) for kind in ResourceType if kind != ResourceType.ANY}
OPERATION_NAMES: Final[Mapping[int, str]] = {each: _camel(each.name) for each in Operation if each != Operation.ANY}
PERMISSION_NAMES: Final[Mapping[int, str]] = {each: _camel(each.name) for each in Permission if each != Permission.ANY}
_TYPES: Final = {name: kind for kind, name in TYPE_NAMES.items()}
_OPERATIONS: Final = {name.lower(): each for each, name in OPERATION_NAMES.items()}
_PERMISSIONS: Final = {name.lower(): each for each, name in PERMISSION_NAMES.items()}


def type_path(pattern_type: int, resource_type: int) -> str:
    """The parent of the nodes of one resource type."""
    return f"{ACL_ROOTS[pattern_type]}/{TYPE_NAMES[resource_type]}"


def acl_path(resource: Resource) -> str:
    """The node with the ACLs of a resource."""
    return f"{type_path(resource.pattern_type, resource.resource_type)}/{resource.name}"


def acl_data(entries: Collection[AclEntry]) -> bytes:
    """Content of the node. The order of the entries has no meaning; it is always the same here."""
    return znodes.to_json({"version": _VERSION, "acls": [_entry_value(entry) for entry in sorted(entries)]})


def _entry_value(entry: AclEntry) -> dict[str, str]:
    return {
        "principal": entry.principal,
        "permissionType": PERMISSION_NAMES[entry.permission],
        "operation": OPERATION_NAMES[entry.operation],
        "host": entry.host,
    }


def decode_acls(data: bytes | None) -> frozenset[AclEntry]:
    """The entries of a node; a node without data has none. Raises one of `znode_formats.MALFORMED`.

    Kafka reads a node that is not JSON as one without ACLs. Here it is an error, because a lost DENY would open the resource.
    """
    if not data:
        return frozenset()
    value = znodes.from_json(data)
    if value["version"] != _VERSION:
        raise ValueError(f"version {value['version']}")
    return frozenset(_entry(each) for each in value["acls"])


def _entry(value: Any) -> AclEntry:
    principal, host = value["principal"], value["host"]
    if not isinstance(principal, str) or not isinstance(host, str) or ":" not in principal:
        raise ValueError(f"principal {principal!r}, host {host!r}")
    operation = _OPERATIONS[value["operation"].replace("_", "").lower()]
    return AclEntry(principal, host, operation, _PERMISSIONS[value["permissionType"].lower()])


def change_of(resource: Resource) -> tuple[Kind, bytes]:
    """The notification of a changed resource: its kind and content."""
    pattern = PatternType(resource.pattern_type)
    change = AclChange(TYPE_NAMES[resource.resource_type], resource.name, pattern.name)
    return CHANGES[pattern], change.encode()


def changed_resource(data: bytes | None) -> Resource:
    """The inverse of change_of. Raises one of `znode_formats.MALFORMED`."""
    change = AclChange.decode(data)
    pattern = PatternType[change.pattern_type]
    if pattern not in ACL_ROOTS or not change.name or "/" in change.name:
        raise ValueError(f"a change of {change}")
    return Resource(_TYPES[change.resource_type], pattern, change.name)
