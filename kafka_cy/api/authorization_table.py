"""What every API needs of the authorizer, as data: the rules of Apache Kafka 4.3.1.

All checks of a row must hold, each for what it names; a check holds if one of its alternatives is allowed. Whoever handles the
request makes them, before it looks whether a topic, a group or an id exists, so that what is denied and what is unknown look alike.
"""

from __future__ import annotations

from enum import Enum
from typing import Final, NamedTuple

from kafka_cy.authorizer.acls import Operation, ResourceType
from kafka_cy.protocol.errors import ErrorCode


class Denied(Enum):
    """What becomes of a request that a check denies."""

    REQUEST = "the whole request gets the error"
    ITEM = "the topic, partition, group or other item gets the error, the others are served"
    FILTERED = "the item is left out of the response"
    FIELD = "a field of the response is left empty"


class Check(NamedTuple):
    """One check. `when`: it is made only then; empty: always."""

    alternatives: tuple[tuple[ResourceType, Operation], ...]
    error: ErrorCode  # NONE if there is none
    denied: Denied
    when: str = ""


_T, _G, _C, _X = ResourceType.TOPIC, ResourceType.GROUP, ResourceType.CLUSTER, ResourceType.TRANSACTIONAL_ID
_DT, _U = ResourceType.DELEGATION_TOKEN, ResourceType.USER
_READ, _WRITE, _CREATE, _DELETE = Operation.READ, Operation.WRITE, Operation.CREATE, Operation.DELETE
_ALTER, _DESCRIBE, _ACTION = Operation.ALTER, Operation.DESCRIBE, Operation.CLUSTER_ACTION
_DESCRIBE_CONFIGS, _ALTER_CONFIGS = Operation.DESCRIBE_CONFIGS, Operation.ALTER_CONFIGS
_ERRORS: Final = {
    _T: ErrorCode.TOPIC_AUTHORIZATION_FAILED,
    _G: ErrorCode.GROUP_AUTHORIZATION_FAILED,
    _C: ErrorCode.CLUSTER_AUTHORIZATION_FAILED,
    _X: ErrorCode.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
    _DT: ErrorCode.DELEGATION_TOKEN_AUTHORIZATION_FAILED,
    _U: ErrorCode.DELEGATION_TOKEN_AUTHORIZATION_FAILED,
}


def _check(kind: ResourceType, operation: Operation, denied: Denied, when: str = "") -> Check:
    error = ErrorCode.NONE if denied in (Denied.FILTERED, Denied.FIELD) else _ERRORS[kind]
    return Check(((kind, operation),), error, denied, when)


def _request(kind: ResourceType, operation: Operation, when: str = "") -> Check:
    return _check(kind, operation, Denied.REQUEST, when)


def _item(kind: ResourceType, operation: Operation, when: str = "") -> Check:
    return _check(kind, operation, Denied.ITEM, when)


def _filtered(kind: ResourceType, operation: Operation, when: str = "") -> Check:
    return _check(kind, operation, Denied.FILTERED, when)


def _either(
    *alternatives: tuple[ResourceType, Operation], error: ErrorCode, denied: Denied = Denied.ITEM, when: str = ""
) -> Check:
    return Check(alternatives, error, denied, when)


_TAF, _CAF = ErrorCode.TOPIC_AUTHORIZATION_FAILED, ErrorCode.CLUSTER_AUTHORIZATION_FAILED
_BROKERS_ONLY: Final = (_request(_C, _ACTION),)
_CLUSTER_DESCRIBE: Final = (_request(_C, _DESCRIBE),)
_CLUSTER_ALTER: Final = (_request(_C, _ALTER),)
_MEMBER: Final = (_request(_G, _READ),)
_MODERN_MEMBER: Final = (
    _request(_G, _READ),
    _request(_T, _DESCRIBE, "topics are named; one that is denied denies all"),
    _filtered(_T, _DESCRIBE, "topics match a regular expression"),
)
_MODERN_DESCRIPTION: Final = (
    _item(_G, _DESCRIBE),
    _item(_T, _DESCRIBE, "the members' topics; one that is denied denies its group"),
)
_CONFIG_READ: Final = tuple(
    _item(kind, _DESCRIBE_CONFIGS, when)
    for kind, when in ((_T, "topics"), (_G, "groups"), (_C, "brokers, loggers, client metrics"))
)
_CONFIG_WRITE: Final = tuple(
    _item(kind, _ALTER_CONFIGS, when)
    for kind, when in ((_T, "topics"), (_G, "groups"), (_C, "brokers, loggers, client metrics"))
)
_TOKEN_OWNER: Final = (
    Check((), ErrorCode.DELEGATION_TOKEN_OWNER_MISMATCH, Denied.REQUEST, "not its owner and not one of its renewers"),
)

#: By API key. An empty row: anybody may. CLUSTER always means the resource `kafka-cluster`.
TABLE: Final[dict[int, tuple[Check, ...]]] = {
    0: (_request(_X, _WRITE, "transactional batches"), _item(_T, _WRITE)),
    1: (
        _either((_C, _ACTION), error=_TAF, when="replica_id >= 0: each partition gets the error, and no right of a topic counts"),
        _item(_T, _READ, "replica_id < 0; in sessions, too"),
    ),
    2: (_item(_T, _DESCRIBE),),
    3: (
        _item(_T, _DESCRIBE, "named topics; the id is zero, or the name null"),
        _filtered(_T, _DESCRIBE, "all topics"),
        _either((_C, _CREATE), (_T, _CREATE), error=_TAF, when="a topic would be created"),
        _check(_C, _DESCRIBE, Denied.FIELD, "include_cluster_authorized_operations"),
    ),
    4: _BROKERS_ONLY,
    5: _BROKERS_ONLY,
    6: _BROKERS_ONLY,
    7: _BROKERS_ONLY,
    8: (_item(_G, _READ), _item(_T, _READ)),
    9: (
        _item(_G, _DESCRIBE),
        _item(_T, _DESCRIBE, "named topics"),
        _filtered(_T, _DESCRIBE, "all topics"),
    ),
    10: (
        _item(_G, _DESCRIBE, "key_type 0"),
        _item(_X, _DESCRIBE, "key_type 1"),
        _item(_C, _ACTION, "key_type 2"),
    ),
    11: _MEMBER,
    12: _MEMBER,
    13: _MEMBER,
    14: _MEMBER,
    15: (_item(_G, _DESCRIBE),),
    16: (_either((_C, _DESCRIBE), (_G, _DESCRIBE), error=ErrorCode.NONE, denied=Denied.FILTERED),),
    17: (),
    18: (),
    19: (
        _either((_C, _CREATE), (_T, _CREATE), error=_TAF),
        _check(_T, _DESCRIBE_CONFIGS, Denied.FIELD, "counts are -1, topic_config_error_code 29"),
    ),
    20: (
        _either((_C, _DELETE), (_T, _DESCRIBE), error=_TAF, when="without DESCRIBE, an id's name is null"),
        _either((_C, _DELETE), (_T, _DELETE), error=_TAF),
    ),
    21: (_item(_T, _DELETE),),
    22: (
        _request(_X, _WRITE, "transactional_id"),
        _request(_X, Operation.TWO_PHASE_COMMIT, "transactional_id and enable_2_pc"),
        _either(
            (_C, Operation.IDEMPOTENT_WRITE), (_T, _WRITE), error=_CAF, denied=Denied.REQUEST,
            when="no transactional_id; WRITE on any topic (Authorizer.find_any)",
        ),
    ),
    23: (_either((_T, _DESCRIBE), (_C, _ACTION), error=_TAF),),
    24: (
        _item(_X, _WRITE, "version 3 and below"),
        _item(_T, _WRITE, "version 3 and below; the other partitions get OPERATION_NOT_ATTEMPTED"),
        _request(_C, _ACTION, "version 4 and above"),
    ),
    25: (_request(_X, _WRITE), _request(_G, _READ)),
    26: (_request(_X, _WRITE),),
    27: (_either((_C, _ALTER), (_C, _ACTION), error=_CAF, denied=Denied.REQUEST),),
    28: (_item(_X, _WRITE), _item(_G, _READ), _item(_T, _READ)),
    29: _CLUSTER_DESCRIBE,
    30: _CLUSTER_ALTER,
    31: _CLUSTER_ALTER,
    32: _CONFIG_READ,
    33: _CONFIG_WRITE,
    34: _CLUSTER_ALTER,
    35: _CLUSTER_DESCRIBE,
    36: (),
    37: (_item(_T, _ALTER),),
    38: (_request(_U, Operation.CREATE_TOKENS, "for another owner"),),
    39: _TOKEN_OWNER,
    40: _TOKEN_OWNER,
    41: (
        _either(
            (_DT, _DESCRIBE), (_U, Operation.DESCRIBE_TOKENS), error=ErrorCode.NONE, denied=Denied.FILTERED,
            when="tokens of other owners",
        ),
    ),
    42: (_item(_G, _DELETE),),
    43: _CLUSTER_ALTER,
    44: _CONFIG_WRITE,
    45: _CLUSTER_ALTER,
    46: _CLUSTER_DESCRIBE,
    47: (_request(_G, _DELETE), _item(_T, _READ)),
    48: (_request(_C, _DESCRIBE_CONFIGS),),
    49: (_request(_C, _ALTER_CONFIGS),),
    50: _CLUSTER_DESCRIBE,
    51: _CLUSTER_ALTER,
    55: _CLUSTER_DESCRIBE,
    56: _BROKERS_ONLY,
    57: _CLUSTER_ALTER,
    60: (_check(_C, _DESCRIBE, Denied.FIELD, "include_cluster_authorized_operations"),),
    61: (_item(_T, _READ),),
    64: _CLUSTER_ALTER,
    65: (_item(_X, _DESCRIBE), _filtered(_T, _DESCRIBE, "the partitions of a transaction")),
    66: (_filtered(_X, _DESCRIBE),),
    67: _BROKERS_ONLY,
    68: _MODERN_MEMBER,
    69: _MODERN_DESCRIPTION,
    71: (),
    72: (),
    74: (_request(_C, _DESCRIBE_CONFIGS),),
    75: (_item(_T, _DESCRIBE, "named topics"), _filtered(_T, _DESCRIBE, "all topics")),
    76: _MODERN_MEMBER[:2],
    77: _MODERN_DESCRIPTION,
    78: (_request(_G, _READ), _item(_T, _READ)),
    79: (_request(_G, _READ), _item(_T, _READ)),
    80: _CLUSTER_ALTER,
    81: _CLUSTER_ALTER,
    83: _BROKERS_ONLY,
    84: _BROKERS_ONLY,
    85: _BROKERS_ONLY,
    86: _BROKERS_ONLY,
    87: _BROKERS_ONLY,
    88: (*_MODERN_MEMBER[:2], _item(_T, _CREATE, "internal topics that would be created")),
    89: _MODERN_DESCRIPTION,
    90: (_item(_G, _DESCRIBE), _item(_T, _DESCRIBE)),
    91: (_request(_G, _READ), _item(_T, _READ)),
    92: (_request(_G, _DELETE), _item(_T, _READ)),
}  # fmt: skip
