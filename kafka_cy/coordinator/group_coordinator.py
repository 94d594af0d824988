"""The group coordinator: what the group APIs ask for, in terms of operations on the state of a group.

The way of a request: `kafka_cy.api.join_group` -> `ClassicRequests.join` -> `CoordinatorRuntime.write` -> an operation
(`classic.join`), which returns records and a response or keeps the request -> append, replay, response. Everything runs
on the coordinator's thread and on the timers of the loop that is passed in.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

from kafka_cy.coordinator import heartbeat_table, open_groups
from kafka_cy.coordinator.classic.group import ClassicGroup
from kafka_cy.coordinator.classic.rebalance import Rebalancer
from kafka_cy.coordinator.classic_requests import ClassicRequests
from kafka_cy.coordinator.commit_request import CommitRequest
from kafka_cy.coordinator.commits import Commits, Producer
from kafka_cy.coordinator.consumer.consumer_groups import ConsumerGroups
from kafka_cy.coordinator.consumer.group import ConsumerGroup
from kafka_cy.coordinator.doors import Doors
from kafka_cy.coordinator.group import Group
from kafka_cy.coordinator.group_counts import GroupCounts
from kafka_cy.coordinator.group_deletion import GroupDeletion
from kafka_cy.coordinator.group_kinds import of_kind
from kafka_cy.coordinator.group_limits import GroupLimits
from kafka_cy.coordinator.modern.topics import Topics
from kafka_cy.coordinator.offsets import delete as deletion
from kafka_cy.coordinator.offsets.commit import OffsetCommit
from kafka_cy.coordinator.offsets.deleted_topics import DeletedTopics
from kafka_cy.coordinator.offsets.expiry import expire, expiry_pieces
from kafka_cy.coordinator.offsets.pieces import Piece, piece_size, pieces_of
from kafka_cy.coordinator.open_groups import OpenLog
from kafka_cy.coordinator.records import partition_of
from kafka_cy.coordinator.responders import RespondCommit
from kafka_cy.coordinator.runtime.reads import look_each, read_each
from kafka_cy.coordinator.runtime.result import CoordinatorResult
from kafka_cy.coordinator.runtime.runtime import CoordinatorRuntime
from kafka_cy.coordinator.share.group import ShareGroup
from kafka_cy.coordinator.share.offsets import ShareOffsets
from kafka_cy.coordinator.share.share_groups import ShareGroups
from kafka_cy.coordinator.share.state_requests import StateRequests
from kafka_cy.coordinator.state_machine import GroupStateMachine, SoftState
from kafka_cy.coordinator.streams.group import StreamsGroup
from kafka_cy.coordinator.streams.internal_topics import CreateTopics
from kafka_cy.coordinator.streams.streams_groups import StreamsGroups
from kafka_cy.protocol.errors import ErrorCode
from kafka_cy.storage.hosted_partition import HostedPartition

OFFSETS_TOPIC = "__consumer_offsets"
CODECS = ("none", "gzip", "snappy", "lz4", "zstd")  # of offsets.topic.compression.codec
FEATURES = {"consumer": "group.version", "streams": "streams.version"}  # by protocol
R = TypeVar("R")


class GroupCoordinator:
    """Owner: the coordinator's thread. Idle cost: nothing for a group without members, else one timer."""

    def __init__(
        self,
        config: Mapping[str, Any],
        cluster: Any,
        loop: Any,
        log: Callable[..., object] | None = None,  # (what happened, field=value, ...): writes a warning line
        info: Callable[..., object] | None = None,  # the same for what happens to groups
        share_states: StateRequests | None = None,  # to the share coordinator
        create_topics: CreateTopics | None = None,  # internal topics of streams groups
    ) -> None:
        self.config = config
        self.loop = loop
        self.runtime: CoordinatorRuntime[GroupStateMachine] = CoordinatorRuntime(
            OFFSETS_TOPIC, partition_of, cluster, loop, self._new_state,
            lambda: int(config["message.max.bytes"]), CODECS[int(config["offsets.topic.compression.codec"])],
            log or (lambda *_, **__: None), stored_timeout_s=int(config["offsets.commit.timeout.ms"]) / 1000,
        )  # fmt: skip
        self.limits = GroupLimits(config, self.runtime.log, loop.now)
        initial_delay_ms = int(config["group.initial.rebalance.delay.ms"])
        info = info or (lambda *_, **__: None)
        self.rebalancer = Rebalancer(self.runtime, initial_delay_ms, int(config["group.max.size"]), info)
        self.topics = Topics(cluster, config["broker.rack"])
        self.consumer = ConsumerGroups(
            self.runtime, config, self.topics, self.rebalancer, info,
            is_offered=partial(self._offers, "consumer"), is_full=self.limits.is_full,
        )  # fmt: skip
        self.share = ShareGroups(
            self.runtime, config, self.topics, info, share_states,
            is_offered=partial(self._has_feature, "share.version"), is_full=self.limits.is_full,
        )  # fmt: skip
        self.share_offsets = ShareOffsets(self.share)
        self.streams = StreamsGroups(
            self.runtime, config, self.topics, self.rebalancer, info, create_topics or (lambda *_: None),
            is_offered=partial(self._offers, "streams"), is_full=self.limits.is_full,
        )  # fmt: skip
        self.soft_states: dict[type[Group], SoftState] = {
            ClassicGroup: self.rebalancer, ConsumerGroup: self.consumer, ShareGroup: self.share, StreamsGroup: self.streams
        }  # fmt: skip
        self.classic = ClassicRequests(
            self.runtime, config, self.limits, self.rebalancer, self.consumer, self.soft_states
        )
        self.offset_commit = OffsetCommit(
            loop, self.limits, int(config["offset.metadata.max.bytes"]), self.runtime.batch_bytes_max
        )
        self._deleted_topics = DeletedTopics(self._remove_offsets_of)
        self.counts = GroupCounts()
        self.deletion = GroupDeletion(self.runtime, self.counts, self.share, self.soft_states)
        self._commits = Commits(self.runtime, self.offset_commit, self.counts, self.limits, self.topics_deleted)
        self._expiry_timer: Any = None

    def _new_state(self, hosted: Any) -> GroupStateMachine:
        doors = None
        if isinstance(hosted, HostedPartition) and self.runtime.compression == "none":
            metadata_bytes_max = int(self.config["offset.metadata.max.bytes"])
            log = OpenLog(hosted, int(self.config["offsets.commit.timeout.ms"]))
            doors = Doors(log, self.runtime.batch_bytes_max, metadata_bytes_max)
        return GroupStateMachine(self.soft_states, self.limits.changed, self.offset_commit.pending_held, doors)

    @property
    def group_count(self) -> int:
        """How many groups there are in all loaded partitions."""
        return self.limits.groups

    # -- life --

    def start(self) -> None:
        """Begin to load every hosted partition, and to look for expired offsets."""
        heartbeat_table.clear()
        self.runtime.start()
        self._schedule_expiry()

    def stop(self) -> None:
        """Respond to what waits and stop all timers."""
        if self._expiry_timer is not None:
            self._expiry_timer.cancel()
        self.runtime.stop()

    def look(self) -> None:
        """Send the responses whose records have been stored; called in every round of the loop."""
        self.runtime.look()

    def on_change(self, change: Any) -> None:
        """Listener of the cluster's metadata (the one who makes the coordinator adds it)."""
        open_groups.unsteady()
        if not hasattr(change, "removed"):
            return  # a configuration
        self.topics.changed(change.changed, change.removed)
        removed = {topic.name: topic.id for topic in change.removed}
        if removed:
            open_groups.fence()  # reactors do not commit for the topics from here on: they see the new metadata
            self.topics_deleted(removed)

    def topics_deleted(self, topics: Mapping[str, uuid.UUID | None]) -> None:
        """Remove the offsets of deleted topics (name -> id); a deleted offsets topic takes its groups along."""
        if OFFSETS_TOPIC in topics:
            self.runtime.unload_all()
        self._deleted_topics.add(topics, self.loop.wall_clock_ms())

    def _piece_size(self, group: Group) -> int:
        """How many of the group's offsets one batch removes."""
        return piece_size(group.group_id, self.runtime.batch_bytes_max())

    def _remove_offsets_of(self, topics: Mapping[str, deletion.DeletedTopic], done: Callable[[], object]) -> None:
        topic_ids = {topic_id for topic in topics.values() for topic_id in topic.ids or ()}

        def pieces() -> Iterator[tuple[str, Piece]]:
            for group in self._each_group():
                self.share.topics_deleted(group, topic_ids)
                for piece in pieces_of(deletion.partitions_of_topics(group, topics), self._piece_size(group)):
                    yield group.group_id, piece

        def remove(item: tuple[str, Piece]) -> None:
            group_id, piece = item
            if piece:
                self.runtime.write(
                    group_id,
                    lambda state: deletion.delete_topics(state.groups.get(group_id), topics, piece, state.pending),
                )

        self.runtime.in_slices(pieces(), remove, done)

    # -- groups --

    def is_coordinator_of(self, group_id: str) -> bool:
        """Whether this broker leads the partition that the group belongs to."""
        index = self.runtime.partition_index(group_id)
        return index is not None and self.runtime.shard(index) is not None

    def all_groups(self) -> list[Group]:
        """The groups of all loaded partitions; a copy, safe from any thread."""
        return list({group.group_id: group for group in self._each_group()}.values())

    def _each_group(self) -> Iterator[Group]:
        """The groups of all loaded partitions, one after the other, for work in slices; a group may come twice. Any thread."""
        for shard in self.runtime.loaded_shards():
            yield from shard.state.each_group()

    def group(self, group_id: str) -> tuple[ErrorCode, Group | None]:
        """The group as it is now, or why this broker cannot tell."""
        error, shard = self.runtime.shard_of(group_id)
        return error, shard.state.groups.get(group_id) if shard is not None else None

    def _offers(self, protocol: str) -> bool:
        """Whether the cluster has the feature of the protocol, and `group.coordinator.rebalance.protocols` lists it."""
        return self._has_feature(FEATURES[protocol]) and protocol in self.config["group.coordinator.rebalance.protocols"]

    def _has_feature(self, feature: str) -> bool:
        return bool(self.runtime.cluster.features.levels.get(feature, 0) > 0)

    def is_loading(self) -> bool:
        """Whether a partition is being loaded."""
        return any(shard.is_loading for shard in list(self.runtime.shards.values()))

    def _write(
        self,
        group_id: str,
        operation: Callable[[Group | None], CoordinatorResult[R]],
        respond: Callable[[ErrorCode, R | None], object] = lambda error, response: None,
    ) -> None:
        self.runtime.write(group_id, lambda state: operation(state.groups.get(group_id)), respond)

    # -- offsets --

    def commit(self, request: CommitRequest, respond: RespondCommit) -> None:
        """OffsetCommit; `respond` gets an error, or NONE and the error of each partition."""
        self._commits.commit(request, respond)

    def commit_long(
        self, group_id: str, look: Iterable[object], request_of: Callable[[], CommitRequest | None], respond: RespondCommit
    ) -> None:
        """commit() of a request that is looked at in slices before; see Commits."""
        self._commits.commit_long(group_id, look, request_of, respond)

    def commit_in_transaction(
        self, request: CommitRequest, producer: Producer, check: Callable[[], ErrorCode], respond: RespondCommit
    ) -> None:
        """TxnOffsetCommit of a producer (id, epoch). `check` tells why its transaction does not take the offsets, or NONE."""
        self._commits.commit_in_transaction(request, producer, check, respond)

    def delete_offsets(
        self, group_id: str, partitions: list[tuple[str, int]], respond: RespondCommit, look: Iterable[object] | None = None
    ) -> None:
        """OffsetDelete; `respond` as for commit. `look`: the steps of a long request, which find the partitions before."""
        self._commits.delete(group_id, partitions, respond, look)

    def fetch(
        self,
        group_ids: Sequence[str],
        look: Callable[[int, Group | None], R],
        respond: Callable[[list[tuple[ErrorCode, R | None]]], object],
    ) -> None:
        """OffsetFetch: `look` gets the place in `group_ids` and the group; `respond` gets the results in that order."""
        read_each(self.runtime, group_ids, lambda place, state: look(place, state.groups.get(group_ids[place])), respond)

    def offsets_count(self, group_id: str) -> int:
        """How many offsets the group has."""
        _, group = self.group(group_id)
        return group.offsets.count if group is not None else 0

    # -- administration --

    def describe_group(self, group_id: str) -> tuple[ErrorCode, dict[str, Any] | None]:
        """What DescribeGroups shows; None when the group does not exist. GROUP_ID_NOT_FOUND: it is of another kind."""
        error, group = self.group(group_id)
        classic = of_kind(group, ClassicGroup)
        if group is not None and classic is None:
            error = ErrorCode.GROUP_ID_NOT_FOUND
        return error, classic.described() if classic is not None else None

    def is_busy(self, group_ids: Sequence[str]) -> bool:
        """Whether operations on one of these groups are under way or wait: what it shows now may be a part of a change."""
        return any(self.runtime.is_busy(group_id) for group_id in group_ids)

    def members_count(self, group_ids: Sequence[str]) -> int:
        """How many members these groups have together, as far as they are loaded."""
        found = (self.group(group_id)[1] for group_id in group_ids)
        return sum(group.members_count for group in found if group is not None)

    def in_slices(self, steps: Iterable[object], done: Callable[[], object]) -> None:
        """Do the steps of a long request, which take turns with other requests; then call `done`."""
        self.runtime.slices.add(steps, done)

    def describe_groups(
        self, group_ids: Sequence[str], respond: Callable[[list[tuple[ErrorCode, dict[str, Any] | None]]], object]
    ) -> None:
        """describe_group() for several groups, each one after the operations on it that came before; many of them in slices.

        `respond` gets the results in the same order.
        """
        look_each(self.runtime, group_ids, self.describe_group, respond)

    def list_groups(self, states: Sequence[str], kinds: Sequence[str]) -> tuple[ErrorCode, Sequence[dict[str, Any]]]:
        """What ListGroups shows; any thread may call it. Empty filters let everything through; filters ignore case."""
        wanted_states = {state.lower() for state in states}
        wanted_kinds = {kind.lower() for kind in kinds}
        groups = self.all_groups()
        listed = [group.listed() for group in groups if not wanted_kinds or group.kind in wanted_kinds]
        if wanted_states:
            listed = [each for each in listed if each["group_state"].lower() in wanted_states]
        return ErrorCode.COORDINATOR_LOAD_IN_PROGRESS if self.is_loading() else ErrorCode.NONE, listed

    # -- expiry --

    def _schedule_expiry(self) -> None:
        delay_s = self.config["offsets.retention.check.interval.ms"] / 1000
        self._expiry_timer = self.loop.call_later(delay_s, self._expire)

    def _expire(self) -> None:
        # The next round is scheduled when this one ends, so that rounds do not pile up.
        try:
            self.runtime.in_slices(self._expiry_pieces(), self._expire_piece, self._schedule_expiry)
        except Exception:
            self._schedule_expiry()
            raise

    def _expiry_pieces(self) -> Iterator[tuple[str, Piece | None]]:
        for group in self._each_group():
            for piece in expiry_pieces(group, self._piece_size(group)):
                yield group.group_id, piece

    def _expire_piece(self, item: tuple[str, Piece | None]) -> None:
        group_id, piece = item
        if piece is None:
            return
        now_ms, retention_ms = self.loop.wall_clock_ms(), self.config["offsets.retention.minutes"] * 60_000

        def operation(group: Group | None) -> CoordinatorResult[bool]:
            result = expire(group, piece, now_ms, retention_ms)
            if group is not None and result.response:
                result.apply = partial(self.soft_states[type(group)].end, group, ErrorCode.UNKNOWN_MEMBER_ID)
            return self.counts.expired(result)

        self._write(group_id, operation)
