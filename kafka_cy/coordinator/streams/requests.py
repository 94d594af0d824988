"""StreamsGroupHeartbeat as the coordinator sees it, and its responses."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple

from kafka_cy.coordinator.modern.errors import GroupError
from kafka_cy.coordinator.streams.limits import (
    NAMES_MAX,
    SUBTOPOLOGIES_FEW,
    TOPIC_CONFIGS_MAX,
    names_count,
    subtopology_names,
)
from kafka_cy.coordinator.streams.member import LEAVE_EPOCH, LEAVE_STATIC_EPOCH, StreamsMember
from kafka_cy.coordinator.streams.partition_counts import invalid_topology
from kafka_cy.coordinator.streams.records import Endpoint, KeyValue, Subtopology, Topology
from kafka_cy.coordinator.streams.statuses import Status
from kafka_cy.coordinator.streams.tasks import TaskMap, Tasks, response_rows
from kafka_cy.protocol.errors import ErrorCode


class StreamsHeartbeat(NamedTuple):
    """None: not said, or as before. `rebalance_timeout_ms` is -1 then."""

    group_id: str
    member_id: str
    member_epoch: int
    endpoint_epoch: int = -1  # which one of the group the member knows
    instance_id: str | None = None
    rack_id: str | None = None
    rebalance_timeout_ms: int = -1
    topology: Topology | None = None
    active: TaskMap | None = None
    standby: TaskMap | None = None
    warmup: TaskMap | None = None
    process_id: str | None = None
    endpoint: Endpoint | None = None
    client_tags: tuple[KeyValue, ...] | None = None
    has_task_offsets: bool = False
    has_task_end_offsets: bool = False
    shutdown_application: bool = False
    client_id: str = ""
    client_host: str = ""
    creates: Callable[[str], bool] | None = None  # whether the sender may create a topic; None: it may

    @property
    def says_nothing(self) -> bool:
        """Whether all is as before."""
        return self[4:17] == SAYS_NOTHING

    @property
    def owned(self) -> Tasks | None:
        """The tasks that the member says it has."""
        if self.active is None or self.standby is None or self.warmup is None:
            return None
        return Tasks(self.active, self.standby, self.warmup)

    @property
    def size(self) -> int:
        """How many names its topology has, at least, and how many tasks the member says it has."""
        subtopologies = self.topology.subtopologies if self.topology is not None else ()
        names = len(subtopologies) if len(subtopologies) > SUBTOPOLOGIES_FEW else sum(map(subtopology_names, subtopologies))
        return names + sum(len(each) for role in self.owned or () for each in role.values())

    def check(self) -> None:
        """Raises GroupError: INVALID_REQUEST, STREAMS_INVALID_TOPOLOGY."""
        self._check_supported()
        ids = ((self.member_id, "MemberId"), (self.group_id, "GroupId"), (self.rack_id, "RackId"))
        for text, field in ids:
            if text is not None and not text.strip():
                raise _invalid(f"{field} can't be empty.")
        if self.member_epoch == 0:
            self._check_join()
        elif self.member_epoch == LEAVE_STATIC_EPOCH:
            raise _invalid("InstanceId can't be null.")
        elif self.member_epoch < LEAVE_STATIC_EPOCH:
            raise _invalid(f"MemberEpoch is {self.member_epoch}, but must be greater than or equal to -2.")
        tasks = (self.active, self.standby, self.warmup)
        if any(each is None for each in tasks) and any(each is not None for each in tasks):
            raise _invalid("If one task-type is non-null, all must be non-null.")
        if self.member_epoch != 0 and self.topology is not None:
            raise _invalid("Topology can only be provided when (re-)joining.")

    def _check_supported(self) -> None:
        if self.instance_id is not None:
            raise _invalid("Static membership is not yet supported.")
        if self.has_task_offsets:
            raise _invalid("TaskOffsets are not supported yet.")
        if self.has_task_end_offsets:
            raise _invalid("TaskEndOffsets are not supported yet.")
        if self.warmup:
            raise _invalid("WarmupTasks are not supported yet.")
        subtopologies = self.topology.subtopologies if self.topology is not None else ()
        if any(each.source_topic_regex for each in subtopologies):
            raise _invalid("Regular expressions for source topics are not supported yet.")

    def _check_join(self) -> None:
        if self.rebalance_timeout_ms == -1:
            raise _invalid("RebalanceTimeoutMs must be provided in first request.")
        for tasks, field in ((self.active, "Active"), (self.standby, "Standby"), (self.warmup, "Warmup")):
            if tasks is None or tasks:
                raise _invalid(f"{field}Tasks must be empty when (re-)joining.")
        if self.topology is None:
            raise _invalid("Topology must be non-null when (re-)joining.")
        check_topology(self.topology)


def checked(request: StreamsHeartbeat) -> dict[str, Any] | None:
    """The response to a request that cannot be right, or None."""
    try:
        request.check()
    except GroupError as error:
        return error_response(error.code, error.message)
    return None


#: From the instance id to the shutdown of the application, of a heartbeat that says nothing.
SAYS_NOTHING: Final = StreamsHeartbeat("", "", 0)[4:17]


def check_topology(topology: Topology) -> None:
    """Whether it can run at all. Raises GroupError (STREAMS_INVALID_TOPOLOGY)."""
    if topology.epoch < 0:
        raise invalid_topology("Topology epoch must be non-negative.")
    if names_count(topology) > NAMES_MAX:
        raise invalid_topology(f"The topology has more than {NAMES_MAX} subtopologies and topics.")
    ids = [each.subtopology_id for each in topology.subtopologies]
    if len(set(ids)) < len(ids):
        raise invalid_topology("Two subtopologies have the same id.")
    for each in topology.subtopologies:
        _check_subtopology(each)


def _check_subtopology(subtopology: Subtopology) -> None:
    for topic in (*subtopology.state_changelog_topics, *subtopology.repartition_source_topics):
        if len(topic.topic_configs) > TOPIC_CONFIGS_MAX:
            raise invalid_topology(f"Topic {topic.name} has more than {TOPIC_CONFIGS_MAX} configs.")
    for topic in subtopology.state_changelog_topics:
        if topic.partitions:
            raise invalid_topology(
                f"Changelog topic {topic.name} must have an undefined partition count, but it is set to {topic.partitions}."
            )
    for topic in subtopology.repartition_source_topics:
        if topic.partitions < 0:
            raise invalid_topology(f"Number of partitions of {topic.name} is {topic.partitions}.")
    sources, internal = len(subtopology.source_topics), len(subtopology.repartition_source_topics)
    for group in subtopology.copartition_groups:
        if not _all_below(group.source_topics, sources) or not _all_below(group.repartition_source_topics, internal):
            raise invalid_topology(f"A copartition group of {subtopology.subtopology_id} names an unknown topic.")


def _all_below(indexes: Iterable[int], count: int) -> bool:
    return all(0 <= index < count for index in indexes)


def _invalid(message: str) -> GroupError:
    return GroupError(ErrorCode.INVALID_REQUEST, message)


_NOTHING = {
    "acceptable_recovery_lag": 0, "task_offset_interval": 0, "active_tasks": None, "standby_tasks": None,
    "warmup_tasks": None, "endpoint_information_epoch": 0, "partitions_by_user_endpoint": None,
}  # fmt: skip


def error_response(code: ErrorCode, message: str | None = None) -> dict[str, Any]:
    """A response without a member."""
    return {
        "error_code": int(code), "error_message": message, "member_id": "", "member_epoch": 0, "heartbeat_interval": 0,
        "status": [], **_NOTHING,
    }  # fmt: skip


def leave_response(member_id: str) -> dict[str, Any]:
    """The member left."""
    return error_response(ErrorCode.NONE) | {"member_id": member_id, "member_epoch": LEAVE_EPOCH}


class Endpoints(NamedTuple):
    """The epoch of what the group knows about endpoints; `rows` is None when the member has it already."""

    epoch: int
    rows: list[dict[str, Any]] | None


def member_response(
    member: StreamsMember, heartbeat_interval_ms: int, statuses: list[Status], endpoints: Endpoints, *, tells_tasks: bool
) -> dict[str, Any]:
    """`tells_tasks`: the member's tasks are not as before."""
    response = error_response(ErrorCode.NONE) | {
        "member_id": member.member_id, "member_epoch": member.member_epoch, "heartbeat_interval": heartbeat_interval_ms,
        "status": [each.row() for each in statuses], "endpoint_information_epoch": endpoints.epoch,
        "partitions_by_user_endpoint": endpoints.rows,
    }  # fmt: skip
    if tells_tasks:
        has = member.assigned
        response["active_tasks"] = response_rows(has.active)
        response["standby_tasks"] = response_rows(has.standby)
        response["warmup_tasks"] = response_rows(has.warmup)
    return response
