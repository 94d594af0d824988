"""The records of consumer groups in `__consumer_offsets` (KIP-848)."""

from __future__ import annotations

import uuid
from typing import NamedTuple

from kafka_cy.coordinator.runtime.record_schema import (
    BYTES,
    INT8,
    INT32,
    INT64,
    NULLABLE_STRING,
    STRING,
    UUID,
    RecordType,
    RecordTypes,
    Struct,
    Tagged,
    array,
    nullable_struct_in_tag,
)


class GroupKey(NamedTuple):
    """A consumer group's epoch. `metadata_hash` is that of the subscribed topics."""

    group_id: str


class Group(NamedTuple):
    epoch: int
    metadata_hash: int = 0


class PartitionMetadataKey(NamedTuple):
    """The partitions of subscribed topics, up to Kafka 4.0. Since then only its tombstone is written, when a group is deleted."""

    group_id: str


class PartitionMetadata(NamedTuple):
    pass


class MemberKey(NamedTuple):
    """What a member is and wants."""

    group_id: str
    member_id: str


class ClassicProtocol(NamedTuple):
    name: str
    metadata: bytes


class ClassicMember(NamedTuple):
    """What a member that uses the classic protocol (JoinGroup) proposed."""

    session_timeout_ms: int
    supported_protocols: tuple[ClassicProtocol, ...]


NO_CLASSIC_MEMBER = ClassicMember(0, ())  # is left out of the record, while None is written (see Tagged)


class Member(NamedTuple):
    instance_id: str | None
    rack_id: str | None
    client_id: str
    client_host: str
    subscribed_topic_names: tuple[str, ...]
    subscribed_topic_regex: str | None
    rebalance_timeout_ms: int
    server_assignor: str | None
    classic_member_metadata: ClassicMember | None = None


class TargetMetadataKey(NamedTuple):
    """The group epoch that the target assignment belongs to."""

    group_id: str


class TargetMetadata(NamedTuple):
    assignment_epoch: int
    assignment_timestamp_ms: int = 0


class TargetMemberKey(NamedTuple):
    """The partitions that a member shall have."""

    group_id: str
    member_id: str


class TopicPartitions(NamedTuple):
    topic_id: uuid.UUID
    partitions: tuple[int, ...]


class TargetMember(NamedTuple):
    topic_partitions: tuple[TopicPartitions, ...]


class CurrentMemberKey(NamedTuple):
    """The partitions that a member has, and those that it has to give up."""

    group_id: str
    member_id: str


class TopicPartitionsWithEpochs(NamedTuple):
    """`assignment_epochs` has the member epoch at which each partition was assigned (KIP-1251); None in older records."""

    topic_id: uuid.UUID
    partitions: tuple[int, ...]
    assignment_epochs: tuple[int, ...] | None = None


class CurrentMember(NamedTuple):
    """`state`: 0 stable, 1 has partitions to revoke, 2 waits for partitions of others, 127 unknown."""

    member_epoch: int
    previous_member_epoch: int
    state: int
    assigned_partitions: tuple[TopicPartitionsWithEpochs, ...]
    partitions_pending_revocation: tuple[TopicPartitionsWithEpochs, ...]


class RegexKey(NamedTuple):
    """The topics whose names match a regular expression that members subscribe to."""

    group_id: str
    regular_expression: str


class Regex(NamedTuple):
    """`version` is that of the cluster's metadata."""

    topics: tuple[str, ...]
    version: int
    timestamp_ms: int


_OF_GROUP = {"group_id": STRING}
_OF_MEMBER = {"group_id": STRING, "member_id": STRING}
_PARTITIONS = Struct(TopicPartitions, topic_id=UUID, partitions=array(INT32))
_PARTITIONS_WITH_EPOCHS = Struct(
    TopicPartitionsWithEpochs, topic_id=UUID, partitions=array(INT32),
    assignment_epochs=Tagged(0, array(INT32, nullable=True), ()),
)  # fmt: skip
_CLASSIC_PROTOCOL = Struct(ClassicProtocol, name=STRING, metadata=BYTES)
_CLASSIC_MEMBER = Struct(ClassicMember, session_timeout_ms=INT32, supported_protocols=array(_CLASSIC_PROTOCOL.as_type))

GROUP_RECORDS = RecordTypes(
    RecordType(
        3, Struct(GroupKey, **_OF_GROUP), {0: Struct(Group, epoch=INT32, metadata_hash=Tagged(0, INT64, 0))}
    ),
    RecordType(4, Struct(PartitionMetadataKey, **_OF_GROUP), {0: Struct(PartitionMetadata)}),
    RecordType(
        5,
        Struct(MemberKey, **_OF_MEMBER),
        {
            0: Struct(
                Member, instance_id=NULLABLE_STRING, rack_id=NULLABLE_STRING, client_id=STRING, client_host=STRING,
                subscribed_topic_names=array(STRING), subscribed_topic_regex=NULLABLE_STRING, rebalance_timeout_ms=INT32,
                server_assignor=NULLABLE_STRING,
                classic_member_metadata=Tagged(0, nullable_struct_in_tag(_CLASSIC_MEMBER.as_type), NO_CLASSIC_MEMBER),
            )
        },
    ),
    RecordType(
        6,
        Struct(TargetMetadataKey, **_OF_GROUP),
        {0: Struct(TargetMetadata, assignment_epoch=INT32, assignment_timestamp_ms=Tagged(0, INT64, 0))},
    ),
    RecordType(
        7,
        Struct(TargetMemberKey, **_OF_MEMBER),
        {0: Struct(TargetMember, topic_partitions=array(_PARTITIONS.as_type))},
    ),
    RecordType(
        8,
        Struct(CurrentMemberKey, **_OF_MEMBER),
        {
            0: Struct(
                CurrentMember, member_epoch=INT32, previous_member_epoch=INT32, state=INT8,
                assigned_partitions=array(_PARTITIONS_WITH_EPOCHS.as_type),
                partitions_pending_revocation=array(_PARTITIONS_WITH_EPOCHS.as_type),
            )
        },
    ),
    RecordType(
        16,
        Struct(RegexKey, group_id=STRING, regular_expression=STRING),
        {0: Struct(Regex, topics=array(STRING), version=INT64, timestamp_ms=INT64)},
    ),
)  # fmt: skip
