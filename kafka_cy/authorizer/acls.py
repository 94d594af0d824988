"""ACLs as Kafka names and checks them: types with the protocol's codes, filters, bit fields of operations."""

from __future__ import annotations

import re
from enum import IntEnum
from functools import lru_cache
from typing import Final, NamedTuple


class ResourceType(IntEnum):
    """What an ACL is about."""

    ANY = 1
    TOPIC = 2
    GROUP = 3
    CLUSTER = 4
    TRANSACTIONAL_ID = 5
    DELEGATION_TOKEN = 6
    USER = 7


class PatternType(IntEnum):
    """How the name of a resource is meant; ANY and MATCH are for filters only."""

    ANY = 1
    MATCH = 2
    LITERAL = 3
    PREFIXED = 4


class Permission(IntEnum):
    """What an ACL does; ANY is for filters only."""

    ANY = 1
    DENY = 2
    ALLOW = 3


class Operation(IntEnum):
    """What somebody wants to do; ANY is for filters only, ALL for ACLs."""

    ANY = 1
    ALL = 2
    READ = 3
    WRITE = 4
    CREATE = 5
    DELETE = 6
    ALTER = 7
    DESCRIBE = 8
    CLUSTER_ACTION = 9
    DESCRIBE_CONFIGS = 10
    ALTER_CONFIGS = 11
    IDEMPOTENT_WRITE = 12
    CREATE_TOKENS = 13
    DESCRIBE_TOKENS = 14
    TWO_PHASE_COMMIT = 15


CLUSTER_NAME: Final = "kafka-cluster"  # of the only cluster resource
WILDCARD: Final = "*"  # a literal name, a user, or a host: all of them
USER_PREFIX: Final = "User:"
ANONYMOUS: Final = "ANONYMOUS"  # the user of a connection that has not authenticated itself
TEXT_BYTES_MAX: Final = 4096  # of a name, a principal or a host that a request stores
HOSTS_KEPT: Final = 4096  # IPv6 addresses whose texts are kept: each decision asks for one, and to make it takes 70 us
PREFIX_SIZES_MAX: Final = 64  # different sizes of the prefixes of one resource type that requests can make


class Resource(NamedTuple):
    """What an ACL is about: one resource, or all whose names begin with a prefix."""

    resource_type: int
    pattern_type: int
    name: str


class AclEntry(NamedTuple):
    """What somebody may do, or may not."""

    principal: str
    host: str
    operation: int
    permission: int


class AclBinding(NamedTuple):
    """One ACL."""

    resource: Resource
    entry: AclEntry


DENY_ALL: Final = AclEntry("User:*", WILDCARD, Operation.ALL, Permission.DENY)


class AclFilter(NamedTuple):
    """Which ACLs are meant. None: any name, principal or host. Codes that Kafka does not know match nothing."""

    resource_type: int = ResourceType.ANY
    name: str | None = None
    pattern_type: int = PatternType.ANY
    principal: str | None = None
    host: str | None = None
    operation: int = Operation.ANY
    permission: int = Permission.ANY

    def matches_resource(self, resource: Resource) -> bool:
        """Whether ACLs of this resource are meant. MATCH: all that affect the name."""
        resource_type, pattern_type, name = resource
        if self.resource_type not in (ResourceType.ANY, resource_type):
            return False
        if self.pattern_type not in (PatternType.ANY, PatternType.MATCH, pattern_type):
            return False
        if self.name is None or self.name == name:
            return True
        if self.pattern_type != PatternType.MATCH:
            return False
        return name == WILDCARD if pattern_type == PatternType.LITERAL else self.name.startswith(name)

    def matches_entry(self, entry: AclEntry) -> bool:
        """Whether such an entry of a resource that matches is meant."""
        return (
            (self.principal is None or self.principal == entry.principal)
            and (self.host is None or self.host == entry.host)
            and self.operation in (Operation.ANY, entry.operation)
            and self.permission in (Permission.ANY, entry.permission)
        )

    @property
    def resources(self) -> tuple[Resource, ...] | None:
        """The only resources that can match; None if there may be others."""
        if self.name is None or self.resource_type == ResourceType.ANY or self.pattern_type == PatternType.MATCH:
            return None
        patterns = (PatternType.LITERAL, PatternType.PREFIXED) if self.pattern_type == PatternType.ANY else (self.pattern_type,)
        return tuple(Resource(self.resource_type, pattern, self.name) for pattern in patterns)


def why_invalid(resource: Resource, entry: AclEntry) -> str | None:
    """Why Kafka refuses to create an ACL (INVALID_REQUEST), or that this broker cannot store it. None: it is valid.

    Names with '/' are refused as by AclAuthorizer, because names are parts of paths.
    """
    resource_type, pattern_type, name = resource
    if resource_type not in STORED_TYPES:
        return f"Invalid resourceType {_constant(ResourceType, resource_type)}"
    if pattern_type not in (PatternType.LITERAL, PatternType.PREFIXED):
        return f"Invalid patternType {_constant(PatternType, pattern_type)}"
    if entry.operation not in _ENTRY_OPERATIONS:
        return f"Invalid operation {_constant(Operation, entry.operation)}"
    if entry.permission not in (Permission.DENY, Permission.ALLOW):
        return f"Invalid permissionType {_constant(Permission, entry.permission)}"
    if resource_type == ResourceType.CLUSTER and name != CLUSTER_NAME:
        return f"The only valid name for the CLUSTER resource is {CLUSTER_NAME}"
    if not name:
        return "Invalid empty resource name"
    if ":" not in entry.principal:
        return (
            f"Could not parse principal from `{entry.principal}` (no colon is present separating the principal type"
            " from the principal name)"
        )
    if not is_node_name(name):
        return "The resource name has characters that cannot be stored"
    if any(_is_long(text) for text in (name, entry.principal, entry.host)):
        return f"Resource name, principal and host have at most {TEXT_BYTES_MAX} bytes each"
    return None


def _is_long(text: str) -> bool:
    return len(text) * 4 > TEXT_BYTES_MAX and len(to_bytes(text)) > TEXT_BYTES_MAX


def is_node_name(name: str) -> bool:
    """Whether ZooKeeper allows it as a part of a path."""
    return name not in (".", "..") and _NOT_IN_PATHS.search(name) is None


def _constant(kind: type[IntEnum], code: int) -> str:
    return next((each.name for each in kind if each == code), "UNKNOWN")


def to_bytes(text: str) -> bytes:
    """A text as the index has it. No two texts have the same bytes."""
    return text.encode("utf-8", "surrogatepass")


def user_of(principal: str) -> bytes | None:
    """The name of the user that a principal is; None: it is not a user."""
    return to_bytes(principal[len(USER_PREFIX) :]) if principal.startswith(USER_PREFIX) else None


def host_text(host: str) -> str:
    """The address of a client as Java writes it, and ACLs therefore have it: IPv4 without "::ffff:", IPv6 without "::"."""
    return _ipv6_text(host) if ":" in host else host


@lru_cache(maxsize=HOSTS_KEPT)
def _ipv6_text(host: str) -> str:
    from ipaddress import IPv6Address  # kept out of the start path

    try:
        address = IPv6Address(host)
    except ValueError:
        return host
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    groups = ":".join(f"{int(group, 16):x}" for group in IPv6Address(int(address)).exploded.split(":"))
    return f"{groups}%{address.scope_id}" if address.scope_id else groups


_NOT_IN_PATHS: Final = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\uf8ff\ufff0-\uffff/]")  # ZooKeeper's PathUtils
STORED_TYPES: Final = frozenset(ResourceType) - {ResourceType.ANY}
_ENTRY_OPERATIONS: Final = frozenset(Operation) - {Operation.ANY}
#: Operations that a resource knows (AclEntry.supportedOperations): what bit fields of KIP-430 can contain.
OPERATIONS_OF: Final = {
    ResourceType.TOPIC: (
        Operation.READ, Operation.WRITE, Operation.CREATE, Operation.DESCRIBE, Operation.DELETE, Operation.ALTER,
        Operation.DESCRIBE_CONFIGS, Operation.ALTER_CONFIGS,
    ),
    ResourceType.GROUP: (
        Operation.READ, Operation.DESCRIBE, Operation.DELETE, Operation.DESCRIBE_CONFIGS, Operation.ALTER_CONFIGS,
    ),
    ResourceType.CLUSTER: (
        Operation.CREATE, Operation.CLUSTER_ACTION, Operation.DESCRIBE_CONFIGS, Operation.ALTER_CONFIGS,
        Operation.IDEMPOTENT_WRITE, Operation.ALTER, Operation.DESCRIBE,
    ),
    ResourceType.TRANSACTIONAL_ID: (Operation.DESCRIBE, Operation.WRITE, Operation.TWO_PHASE_COMMIT),
    ResourceType.DELEGATION_TOKEN: (Operation.DESCRIBE,),
    ResourceType.USER: (Operation.CREATE_TOKENS, Operation.DESCRIBE_TOKENS),
}  # fmt: skip
ALL_BITS: Final = {kind: sum(1 << operation for operation in operations) for kind, operations in OPERATIONS_OF.items()}
