"""A request of each API, the rights that it needs, and what becomes of it without each of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from differential_cases import batch

from kafka_cy.authorizer.acls import CLUSTER_NAME, Operation, ResourceType

T, G, C, X = ResourceType.TOPIC, ResourceType.GROUP, ResourceType.CLUSTER, ResourceType.TRANSACTIONAL_ID
TAF, GAF, CAF, XAF = 29, 30, 31, 53
ERRORS = {T: TAF, G: GAF, C: CAF, X: XAF}
ALL_ERRORS = frozenset(ERRORS.values())
TOPIC, GROUP, TRANSACTIONAL_ID = "t", "g", "x"
NAMES = {T: TOPIC, G: GROUP, C: CLUSTER_NAME, X: TRANSACTIONAL_ID}
Values = dict[str, Any]
Op = Operation


class Right(NamedTuple):
    """One right; without it the answer has `error`, or, if that is None, `shows` is false."""

    kind: ResourceType
    operation: Operation
    name: str = ""
    error: int | None = 0  # 0: that of the kind

    @property
    def resource(self) -> str:
        return self.name or NAMES[self.kind]

    @property
    def code(self) -> int | None:
        return ERRORS[self.kind] if self.error == 0 else self.error


class Case(NamedTuple):
    """`rights` are needed, all of them. `instead`: others that suffice. `shows(answer)`: what the rights make visible."""

    api_key: int
    version: int
    body: Values
    rights: tuple[Right, ...] = ()
    instead: tuple[tuple[Right, ...], ...] = ()
    shows: Callable[[Values], bool] = lambda answer: True
    note: str = ""

    @property
    def name(self) -> str:
        return f"{self.api_key}{self.note and '-' + self.note}"


def topics(**partition: Any) -> list[Values]:
    index = {"partition_index": 0, "partition": 0, "index": 0, "current_leader_epoch": -1}
    return [{"name": TOPIC, "topic": TOPIC, "partitions": [{**index, **partition}]}]


def group_rights(*operations: tuple[ResourceType, Operation]) -> tuple[Right, ...]:
    return tuple(Right(*each) for each in operations)


CLUSTER_REQUESTS: list[tuple[int, int, Operation, Values]] = [
    (29, 3, Op.DESCRIBE, {"resource_type_filter": 1, "pattern_type_filter": 1, "operation": 1, "permission_type": 1}),
    (30, 3, Op.ALTER, {"creations": [{"resource_type": T, "resource_name": "", "resource_pattern_type": 3,
        "principal": "User:a", "host": "*", "operation": 3, "permission_type": 3}]}),
    (31, 3, Op.ALTER, {"filters": [{"resource_type_filter": T, "resource_name_filter": "none", "pattern_type_filter": 3,
        "operation": 1, "permission_type": 1}]}),
    (34, 2, Op.ALTER, {"dirs": [{"path": "/none", "topics": [{"name": TOPIC, "partitions": [0]}]}]}),
    (35, 5, Op.DESCRIBE, {"topics": None}),
    (43, 2, Op.ALTER, {"election_type": 0, "topic_partitions": [{"topic": TOPIC, "partitions": [0]}], "timeout": 1000}),
    (45, 1, Op.ALTER, {"timeout": 1000, "topics": [{"name": TOPIC, "partitions": [{"partition_index": 0, "replicas": None}]}]}),
    (46, 0, Op.DESCRIBE, {"topics": None}),
    (48, 1, Op.DESCRIBE_CONFIGS, {"components": [], "strict": False}),
    (49, 1, Op.ALTER_CONFIGS, {"validate_only": True, "entries": [{
        "entity": [{"entity_type": "user", "entity_name": "u"}], "ops": [{"key": "producer_byte_rate", "value": 1.0}]}]}),
    (50, 0, Op.DESCRIBE, {"users": [{"name": "nobody"}]}),  # null: Kafka does not answer if it denies
    (51, 0, Op.ALTER, {"deletions": [{"name": "nobody", "mechanism": 1}], "upsertions": []}),
    (55, 2, Op.DESCRIBE, {"topics": [{"topic_name": "__cluster_metadata", "partitions": [{"partition_index": 0}]}]}),
    (57, 2, Op.ALTER, {"feature_updates": [], "validate_only": True, "timeout": 1000}),
    (64, 0, Op.ALTER, {"broker_id": 77}),
    (74, 1, Op.DESCRIBE_CONFIGS, {"resource_types": []}),
    (80, 1, Op.ALTER, {"cluster_id": "other", "voter_id": 1, "listeners": []}),
    (81, 0, Op.ALTER, {"cluster_id": "other", "voter_id": 1}),
    *[(key, version, Op.CLUSTER_ACTION, {"group_id": "sg", "topics": [{"partitions": [{"partition": 0}]}]})
      for key, version in ((83, 0), (84, 0), (85, 1), (86, 0), (87, 1))],
]  # fmt: skip
MEMBER: Values = {"group_id": GROUP, "member_id": "m", "generation_id": 1}
PRODUCER: Values = {"transactional_id": TRANSACTIONAL_ID, "producer_id": 1, "producer_epoch": 0, "group_id": GROUP}
READER = group_rights((G, Op.READ))
CONFIGS = [
    (T, {"resource_type": 2, "resource_name": TOPIC}), (G, {"resource_type": 32, "resource_name": GROUP}),
    (C, {"resource_type": 4, "resource_name": "1"}), (C, {"resource_type": 16, "resource_name": "m"}),
    (C, {"resource_type": 8, "resource_name": "1"}),
]  # fmt: skip
ALTERATION: Values = {"configs": [], "validate_only": True}


def shows_topic(answer: Values) -> bool:
    return any(each["name"] == TOPIC for each in answer["topics"])


CASES: list[Case] = [
    *[Case(key, version, body, (Right(C, operation),)) for key, version, operation, body in CLUSTER_REQUESTS],
    Case(0, 9, {"acks": 1, "timeout": 1000, "topic_data": [
        {"name": TOPIC, "partition_data": [{"index": 0, "records": batch(1)}]}]}, group_rights((T, Op.WRITE))),
    Case(1, 12, {"replica_id": -1, "max_bytes": 1, "session_epoch": -1, "topics": topics(partition_max_bytes=1)},
         group_rights((T, Op.READ))),
    Case(2, 9, {"replica_id": -1, "topics": topics(timestamp=-1)}, group_rights((T, Op.DESCRIBE))),
    Case(3, 12, {"topics": [{"name": TOPIC}]}, group_rights((T, Op.DESCRIBE)), shows=lambda a: a["topics"][0]["partitions"] != []),
    Case(3, 12, {"topics": None}, (Right(T, Op.DESCRIBE, error=None),), shows=shows_topic, note="all"),
    Case(3, 12, {"topics": [{"name": "new"}], "allow_auto_topic_creation": True},
         (Right(T, Op.DESCRIBE, "new"), Right(T, Op.CREATE, "new")),
         ((Right(T, Op.DESCRIBE, "new"), Right(C, Op.CREATE)),), note="create"),
    Case(3, 10, {"topics": [], "include_cluster_authorized_operations": True}, (Right(C, Op.DESCRIBE, error=None),),
         shows=lambda a: a["cluster_authorized_operations"] == 1 << Op.DESCRIBE, note="operations"),
    Case(8, 9, {**MEMBER, "generation_id_or_member_epoch": -1, "topics": topics(committed_offset=0)},
         group_rights((G, Op.READ), (T, Op.READ))),
    Case(9, 9, {"groups": [{"group_id": GROUP, "topics": [{"name": TOPIC, "partition_indexes": [0]}]}]},
         group_rights((G, Op.DESCRIBE), (T, Op.DESCRIBE))),
    Case(9, 9, {"groups": [{"group_id": GROUP, "topics": None}]},
         (Right(G, Op.DESCRIBE), Right(T, Op.DESCRIBE, error=None)),
         shows=lambda a: a["groups"][0]["topics"] != [], note="all"),
    Case(10, 4, {"key_type": 0, "coordinator_keys": [GROUP]}, group_rights((G, Op.DESCRIBE))),
    Case(10, 3, {"key_type": 1, "key": TRANSACTIONAL_ID}, group_rights((X, Op.DESCRIBE)), note="transactional"),
    Case(10, 6, {"key_type": 2, "coordinator_keys": [f"{GROUP}:AAAAAAAAAAAAAAAAAAAAAQ:0"]}, (Right(C, Op.CLUSTER_ACTION),),
         note="share"),
    Case(11, 9, {**MEMBER, "session_timeout": 10000, "rebalance_timeout": 10000, "protocol_type": "consumer",
                 "protocols": [{"name": "range", "metadata": b""}]}, READER),
    *[Case(key, version, MEMBER, READER) for key, version in ((12, 4), (13, 5))],
    Case(14, 5, {**MEMBER, "protocol_type": "consumer", "protocol_name": "range"}, READER),
    Case(15, 6, {"groups": [GROUP]}, group_rights((G, Op.DESCRIBE))),
    Case(15, 5, {"groups": [GROUP], "include_authorized_operations": True}, group_rights((G, Op.DESCRIBE)),
         shows=lambda a: a["groups"][0]["authorized_operations"] == 1 << Op.DESCRIBE, note="operations"),
    Case(16, 5, {}, (Right(G, Op.DESCRIBE, error=None),), ((Right(C, Op.DESCRIBE),),),
         shows=lambda a: any(each["group_id"] == GROUP for each in a["groups"])),
    Case(17, 1, {"mechanism": "PLAIN"}),
    Case(18, 4, {"client_software_name": "n", "client_software_version": "1"}),
    Case(19, 7, {"timeout": 1000, "validate_only": True, "topics": [{"name": "n", "num_partitions": 1, "replication_factor": 1}]},
         (Right(T, Op.CREATE, "n"), Right(T, Op.DESCRIBE_CONFIGS, "n")), ((Right(C, Op.CREATE), Right(T, Op.ALTER_CONFIGS, "n")),)),
    Case(20, 6, {"timeout": 1000, "topics": [{"name": "none"}]}, (Right(T, Op.DESCRIBE, "none"),),
         ((Right(C, Op.DELETE),), (Right(T, Op.DELETE, "none"),))),
    Case(21, 2, {"timeout": 1000, "topics": topics(offset=0)}, group_rights((T, Op.DELETE))),
    Case(22, 4, {"transactional_id": TRANSACTIONAL_ID, "transaction_timeout": 1000, "producer_id": -1, "producer_epoch": -1},
         group_rights((X, Op.WRITE))),
    Case(22, 4, {"transactional_id": None, "producer_id": -1, "producer_epoch": -1}, (Right(C, Op.IDEMPOTENT_WRITE),),
         ((Right(T, Op.WRITE, "another"),),), note="idempotent"),
    Case(23, 4, {"replica_id": -1, "topics": topics(leader_epoch=0)}, group_rights((T, Op.DESCRIBE)),
         ((Right(C, Op.CLUSTER_ACTION),),)),
    Case(24, 3, {"v3_and_below_transactional_id": TRANSACTIONAL_ID, "v3_and_below_producer_id": 1,
                 "v3_and_below_topics": [{"name": TOPIC, "partitions": [0]}]}, group_rights((X, Op.WRITE), (T, Op.WRITE))),
    Case(24, 5, {"transactions": [{**PRODUCER, "verify_only": True, "topics": [{"name": TOPIC, "partitions": [0]}]}]},
         (Right(C, Op.CLUSTER_ACTION),), note="brokers"),
    Case(25, 4, PRODUCER, group_rights((X, Op.WRITE), (G, Op.READ))),
    Case(26, 5, PRODUCER, group_rights((X, Op.WRITE))),
    Case(27, 2, {"markers": [{"producer_id": 1, "topics": [{"name": "none", "partition_indexes": [0]}]}]},
         (Right(C, Op.CLUSTER_ACTION),), ((Right(C, Op.ALTER),),)),
    Case(28, 5, {**PRODUCER, "topics": topics(committed_offset=0)}, group_rights((X, Op.WRITE), (G, Op.READ), (T, Op.READ))),
    *[Case(32, 4, {"resources": [resource]}, (Right(kind, Op.DESCRIBE_CONFIGS),), note=f"{resource['resource_type']}")
      for kind, resource in CONFIGS],
    *[Case(33, 2, {"resources": [resource | {"configs": []}], "validate_only": True}, (Right(kind, Op.ALTER_CONFIGS),),
           note=f"{resource['resource_type']}") for kind, resource in CONFIGS if resource["resource_type"] != 8],
    *[Case(44, 1, {"resources": [resource | {"configs": []}], "validate_only": True}, (Right(kind, Op.ALTER_CONFIGS),),
           note=f"{resource['resource_type']}") for kind, resource in CONFIGS],
    Case(37, 3, {"timeout": 1000, "validate_only": True, "topics": [{"name": TOPIC, "count": 9, "assignments": None}]},
         group_rights((T, Op.ALTER))),
    Case(42, 2, {"groups_names": ["none"]}, (Right(G, Op.DELETE, "none"),)),
    Case(47, 0, {"group_id": GROUP, "topics": [{"name": TOPIC, "partitions": [{"partition_index": 7}]}]},
         group_rights((G, Op.DELETE), (T, Op.READ))),
    Case(60, 2, {"include_cluster_authorized_operations": True, "endpoint_type": 1}, (Right(C, Op.DESCRIBE, error=None),),
         shows=lambda a: a["cluster_authorized_operations"] == 1 << Op.DESCRIBE),
    Case(61, 0, {"topics": [{"name": TOPIC, "partition_indexes": [0]}]}, group_rights((T, Op.READ))),
    Case(65, 0, {"transactional_ids": ["none"]}, (Right(X, Op.DESCRIBE, "none"),)),
    Case(66, 2, {"duration_filter": -1}, (Right(X, Op.DESCRIBE, error=None),),
         shows=lambda a: any(each["transactional_id"] == TRANSACTIONAL_ID for each in a["transaction_states"])),
    Case(68, 1, {"group_id": "cg", "member_id": "m", "rebalance_timeout": 1000, "subscribed_topic_names": [TOPIC],
                 "topic_partitions": []}, (Right(G, Op.READ, "cg"), Right(T, Op.DESCRIBE))),
    Case(69, 1, {"group_ids": ["consumers"]}, (Right(G, Op.DESCRIBE, "consumers"), Right(T, Op.DESCRIBE)),
         shows=lambda a: a["groups"][0]["members"] != []),
    Case(71, 0, {}),
    Case(75, 0, {"topics": [{"name": TOPIC}], "response_partition_limit": 10, "cursor": None}, group_rights((T, Op.DESCRIBE)),
         shows=lambda a: a["topics"][0]["topic_authorized_operations"] == 1 << Op.DESCRIBE),
    Case(75, 0, {"topics": [], "response_partition_limit": 1000, "cursor": None}, (Right(T, Op.DESCRIBE, error=None),),
         shows=shows_topic, note="all"),
    Case(76, 1, {"group_id": "sg", "member_id": "m", "subscribed_topic_names": [TOPIC]},
         (Right(G, Op.READ, "sg"), Right(T, Op.DESCRIBE))),
    Case(77, 1, {"group_ids": ["sharers"]}, (Right(G, Op.DESCRIBE, "sharers"), Right(T, Op.DESCRIBE)),
         shows=lambda a: a["groups"][0]["members"] != []),
    Case(88, 0, {"group_id": "tg", "member_id": "m", "rebalance_timeout": 1000, "active_tasks": [], "standby_tasks": [],
                 "warmup_tasks": [], "task_offsets": None, "task_end_offsets": None, "topology": {"epoch": 0, "subtopologies": [
                     {"subtopology_id": "0", "source_topics": [TOPIC]}]}}, (Right(G, Op.READ, "tg"), Right(T, Op.DESCRIBE))),
    Case(89, 0, {"group_ids": ["streamers"]}, (Right(G, Op.DESCRIBE, "streamers"), Right(T, Op.DESCRIBE)),
         shows=lambda a: a["groups"][0]["topology"] is not None),
    Case(90, 1, {"groups": [{"group_id": "sharers", "topics": [{"topic_name": TOPIC, "partitions": [0]}]}]},
         (Right(G, Op.DESCRIBE, "sharers"), Right(T, Op.DESCRIBE))),
    Case(91, 0, {"group_id": "altered", "topics": [
        {"topic_name": TOPIC, "partitions": [{"partition_index": 0, "start_offset": 0}]}]},
         (Right(G, Op.READ, "altered"), Right(T, Op.READ))),
    Case(92, 0, {"group_id": "none", "topics": [{"topic_name": TOPIC}]}, (Right(G, Op.DELETE, "none"),)),
]  # fmt: skip


def errors_in(answer: Any) -> set[int]:
    """Every error code of a response."""
    if isinstance(answer, list):
        return set().union(*map(errors_in, answer)) if answer else set()
    if not isinstance(answer, dict):
        return set()
    own = {value for key, value in answer.items() if "error_code" in key and isinstance(value, int)}
    return own.union(*map(errors_in, answer.values()))
