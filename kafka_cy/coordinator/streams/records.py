"""The records of streams groups in `__consumer_offsets` (KIP-1071)."""

from __future__ import annotations

from typing import NamedTuple

from kafka_cy.coordinator.runtime.record_schema import (
    INT8,
    INT16,
    INT32,
    INT64,
    NULLABLE_STRING,
    STRING,
    UINT16,
    RecordType,
    RecordTypes,
    Struct,
    Tagged,
    array,
    nullable_struct,
)


class KeyValue(NamedTuple):
    key: str
    value: str


class GroupKey(NamedTuple):
    """A streams group's epoch. `metadata_hash` is that of the source topics."""

    group_id: str


class Group(NamedTuple):
    epoch: int
    metadata_hash: int
    validated_topology_epoch: int = -1
    last_assignment_configs: tuple[KeyValue, ...] | None = ()


class Endpoint(NamedTuple):
    host: str
    port: int


class MemberKey(NamedTuple):
    """What a member is."""

    group_id: str
    member_id: str


class Member(NamedTuple):
    instance_id: str | None
    rack_id: str | None
    client_id: str
    client_host: str
    rebalance_timeout_ms: int
    topology_epoch: int
    process_id: str
    user_endpoint: Endpoint | None
    client_tags: tuple[KeyValue, ...]


class TargetMetadataKey(NamedTuple):
    """The group epoch that the target assignment belongs to."""

    group_id: str


class TargetMetadata(NamedTuple):
    assignment_epoch: int
    assignment_timestamp_ms: int = 0


class TargetMemberKey(NamedTuple):
    """The tasks that a member shall have."""

    group_id: str
    member_id: str


class TaskIds(NamedTuple):
    """Tasks of a subtopology. Only the active ones of CurrentMember have assignment epochs (KIP-1251), one for each."""

    subtopology_id: str
    partitions: tuple[int, ...]
    assignment_epochs: tuple[int, ...] | None = ()


class TargetMember(NamedTuple):
    active_tasks: tuple[TaskIds, ...]
    standby_tasks: tuple[TaskIds, ...]
    warmup_tasks: tuple[TaskIds, ...]


class CurrentMemberKey(NamedTuple):
    """The tasks that a member has."""

    group_id: str
    member_id: str


class CurrentMember(NamedTuple):
    member_epoch: int
    previous_member_epoch: int
    state: int
    active_tasks: tuple[TaskIds, ...]
    standby_tasks: tuple[TaskIds, ...]
    warmup_tasks: tuple[TaskIds, ...]
    active_tasks_pending_revocation: tuple[TaskIds, ...]
    standby_tasks_pending_revocation: tuple[TaskIds, ...]
    warmup_tasks_pending_revocation: tuple[TaskIds, ...]


class TopologyKey(NamedTuple):
    """The topology of the application."""

    group_id: str


class TopicInfo(NamedTuple):
    name: str
    partitions: int
    replication_factor: int
    topic_configs: tuple[KeyValue, ...]


class CopartitionGroup(NamedTuple):
    """Topics with the same number of partitions: indexes into the lists of the subtopology."""

    source_topics: tuple[int, ...]
    source_topic_regex: tuple[int, ...]
    repartition_source_topics: tuple[int, ...]


class Subtopology(NamedTuple):
    subtopology_id: str
    source_topics: tuple[str, ...]
    source_topic_regex: tuple[str, ...]
    state_changelog_topics: tuple[TopicInfo, ...]
    repartition_sink_topics: tuple[str, ...]
    repartition_source_topics: tuple[TopicInfo, ...]
    copartition_groups: tuple[CopartitionGroup, ...]


class Topology(NamedTuple):
    epoch: int
    subtopologies: tuple[Subtopology, ...]


_KEY_VALUES = array(Struct(KeyValue, key=STRING, value=STRING).as_type)
_TASKS = array(
    Struct(
        TaskIds,
        subtopology_id=STRING,
        partitions=array(INT32),
        assignment_epochs=Tagged(0, array(INT32, nullable=True), ()),
    ).as_type
)
_TOPIC_INFO = Struct(
    TopicInfo, name=STRING, partitions=INT32, replication_factor=INT16, topic_configs=_KEY_VALUES
).as_type
_SUBTOPOLOGY = Struct(
    Subtopology,
    subtopology_id=STRING,
    source_topics=array(STRING),
    source_topic_regex=array(STRING),
    state_changelog_topics=array(_TOPIC_INFO),
    repartition_sink_topics=array(STRING),
    repartition_source_topics=array(_TOPIC_INFO),
    copartition_groups=array(
        Struct(
            CopartitionGroup,
            source_topics=array(INT16),
            source_topic_regex=array(INT16),
            repartition_source_topics=array(INT16),
        ).as_type
    ),
).as_type

GROUP = RecordType(
    17,
    Struct(GroupKey, group_id=STRING),
    {
        0: Struct(
            Group,
            epoch=INT32,
            metadata_hash=INT64,
            validated_topology_epoch=Tagged(0, INT32, -1),
            last_assignment_configs=Tagged(
                1, array(Struct(KeyValue, key=STRING, value=STRING).as_type, nullable=True), ()
            ),
        )
    },
)
MEMBER = RecordType(
    19,
    Struct(MemberKey, group_id=STRING, member_id=STRING),
    {
        0: Struct(
            Member,
            instance_id=NULLABLE_STRING,
            rack_id=NULLABLE_STRING,
            client_id=STRING,
            client_host=STRING,
            rebalance_timeout_ms=INT32,
            topology_epoch=INT32,
            process_id=STRING,
            user_endpoint=nullable_struct(Struct(Endpoint, host=STRING, port=UINT16).as_type),
            client_tags=_KEY_VALUES,
        )
    },
)
TARGET_METADATA = RecordType(
    20,
    Struct(TargetMetadataKey, group_id=STRING),
    {0: Struct(TargetMetadata, assignment_epoch=INT32, assignment_timestamp_ms=Tagged(0, INT64, 0))},
)
TARGET_MEMBER = RecordType(
    21,
    Struct(TargetMemberKey, group_id=STRING, member_id=STRING),
    {0: Struct(TargetMember, active_tasks=_TASKS, standby_tasks=_TASKS, warmup_tasks=_TASKS)},
)
CURRENT_MEMBER = RecordType(
    22,
    Struct(CurrentMemberKey, group_id=STRING, member_id=STRING),
    {
        0: Struct(
            CurrentMember,
            member_epoch=INT32,
            previous_member_epoch=INT32,
            state=INT8,
            active_tasks=_TASKS,
            standby_tasks=_TASKS,
            warmup_tasks=_TASKS,
            active_tasks_pending_revocation=_TASKS,
            standby_tasks_pending_revocation=_TASKS,
            warmup_tasks_pending_revocation=_TASKS,
        )
    },
)
TOPOLOGY = RecordType(
    23,
    Struct(TopologyKey, group_id=STRING),
    {0: Struct(Topology, epoch=INT32, subtopologies=array(_SUBTOPOLOGY))},
)

GROUP_RECORDS = RecordTypes(GROUP, MEMBER, TARGET_METADATA, TARGET_MEMBER, CURRENT_MEMBER, TOPOLOGY)
