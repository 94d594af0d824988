"""The coordinator of classic groups: which partition a group lives in, loading, writing, and what the APIs ask for.

Everything runs on the control thread and on the timers of the loop that is passed in. State changes are appended to the
group's partition of `__consumer_offsets` as one batch and hold in memory from then on. An answer that follows from them,
or shows them, leaves when they are stored: when the partition's high watermark has passed all that was appended before
it (`when_stored`). Should the partition be lost first, the groups go from memory and the answer is NOT_COORDINATOR.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from kafka_cy.coordinator import heartbeat_table
from kafka_cy.coordinator.group import Answer, Group
from kafka_cy.coordinator.loader import PartitionLoader, Replay
from kafka_cy.coordinator.membership import JoinRequest, Membership, SyncRequest, can_be_stored
from kafka_cy.coordinator.offsets import CommitRequest, Offsets, PartitionErrors, Record
from kafka_cy.coordinator.rebalance import Rebalancer, join_error, sync_error
from kafka_cy.coordinator.records import partition_of
from kafka_cy.protocol.errors import ErrorCode

OFFSETS_TOPIC = "__consumer_offsets"
ONLINE = 0  # state of a hosted partition that this broker leads
Stored = Callable[[ErrorCode], None]  # called once: NONE, or NOT_COORDINATOR when the partition was lost


@dataclass(slots=True, eq=False)
class Shard:
    """One loaded (or loading) partition of `__consumer_offsets` and its groups."""

    index: int
    hosted: Any
    loader: PartitionLoader | None = None
    groups: dict[str, Group] = field(default_factory=dict)
    end_offset: int = 0  # behind the last record that was appended
    waiting: deque[tuple[int, Stored]] = field(default_factory=deque)  # by the end offset that has to be stored


class GroupCoordinator:
    """Owner: the control thread. Idle cost: nothing for a group without members, else one timer."""

    def __init__(
        self,
        config: Mapping[str, Any],
        cluster: Any,
        loop: Any,
        ensure_offsets_topic: Callable[[], object],
        log: Callable[..., object] | None = None,  # (what happened, field=value, ...): a warning line
    ) -> None:
        self.config = config
        self.cluster = cluster
        self.loop = loop
        self.ensure_offsets_topic = ensure_offsets_topic
        self.log = log or (lambda *_, **__: None)
        self.shards: dict[int, Shard] = {}
        self._waiting: dict[int, Shard] = {}  # shards with answers that wait
        self.rebalancer = Rebalancer(self)
        self.membership = Membership(self)
        self.offsets = Offsets(self)
        self._expiry_timer: Any = None

    # -- life --

    def start(self) -> None:
        """Begin to load every hosted partition, and to look for expired offsets."""
        heartbeat_table.clear()
        topic = self.cluster.topics.get(OFFSETS_TOPIC)
        for index in range(len(topic.partitions) if topic is not None else 0):
            self.shard(index)
        self._schedule_expiry()

    def stop(self) -> None:
        """Answer what waits and stop all timers."""
        if self._expiry_timer is not None:
            self._expiry_timer.cancel()
        for index in list(self.shards):
            self.unload(index)

    def shard(self, index: int) -> Shard | None:
        """The partition's shard; begins to load it when this broker hosts it. None: it does not."""
        shard = self.shards.get(index)
        if shard is None:
            hosted = self.cluster.partition(OFFSETS_TOPIC, index)
            if hosted is None:
                return None
            shard = self.shards[index] = Shard(index, hosted)
            loaded = shard

            def done(replay: Replay) -> None:
                self._loaded(loaded, replay)

            def failed(error: Exception) -> None:
                self.log("groups cannot be loaded", partition=index, error=str(error))
                self.unload(index)

            shard.loader = PartitionLoader(hosted, self.loop, done, failed)
            shard.loader.run()
        return self.shards.get(index)

    def _loaded(self, shard: Shard, replay: Replay) -> None:
        shard.loader = None
        shard.groups = replay.finish(self.loop.now())
        if replay.skipped:
            self.log("records of other kinds of groups were left alone", partition=shard.index, count=replay.skipped)
        for group in shard.groups.values():
            if group.members:
                self.rebalancer.publish_heartbeats(group)
                self.rebalancer.watch_sessions(group)
                if len(group.members) > self.membership.members_max:
                    self.rebalancer.prepare(group)

    def unload(self, index: int) -> None:
        """This broker leads the partition no longer (or the topic went): its groups answer NOT_COORDINATOR."""
        shard = self.shards.pop(index, None)
        if shard is None:
            return
        if shard.loader is not None:
            shard.loader.cancelled = True
        self._waiting.pop(index, None)
        while shard.waiting:
            shard.waiting.popleft()[1](ErrorCode.NOT_COORDINATOR)
        for group in shard.groups.values():
            self.rebalancer.unload(group, ErrorCode.NOT_COORDINATOR)

    def topics_deleted(self, names: set[str]) -> None:
        """Offsets of deleted topics go; a deleted offsets topic takes its groups along."""
        if OFFSETS_TOPIC in names:
            for index in list(self.shards):
                self.unload(index)
        for shard in self.shards.values():
            self.offsets.remove_topics(shard.groups.values(), names)

    def on_change(self, change: Any) -> None:
        """Listener of the cluster's metadata (whoever makes the coordinator adds it)."""
        removed = {topic.name for topic in getattr(change, "removed", ())}
        if removed:
            self.topics_deleted(removed)

    # -- where a group lives --

    def partition_index(self, group_id: str) -> int | None:
        topic = self.cluster.topics.get(OFFSETS_TOPIC)
        return None if topic is None else partition_of(group_id, len(topic.partitions))

    def groups_of(self, group_id: str) -> tuple[ErrorCode, dict[str, Group]]:
        """The groups beside which this one lives, or NOT_COORDINATOR, or COORDINATOR_LOAD_IN_PROGRESS."""
        index = self.partition_index(group_id)
        shard = None if index is None else self.shard(index)
        if shard is None:
            return ErrorCode.NOT_COORDINATOR, {}
        if shard.loader is not None:
            return ErrorCode.COORDINATOR_LOAD_IN_PROGRESS, {}
        return ErrorCode.NONE, shard.groups

    def append(self, group_id: str, records: list[Record]) -> ErrorCode:
        """Store the records of one operation as one batch."""
        from kafka_cy.records import Record as LogRecord
        from kafka_cy.records import build_batch
        from kafka_cy.storage.log import StorageFailure

        index = self.partition_index(group_id)
        shard = None if index is None else self.shards.get(index)
        if shard is None:
            return ErrorCode.NOT_COORDINATOR
        now_ms = self.loop.wall_clock_ms()
        batch = build_batch(
            [LogRecord(timestamp_ms=now_ms, key=key, value=value) for key, value in records], base_sequence=0
        )
        if len(batch) > self.config["message.max.bytes"]:
            return ErrorCode.UNKNOWN_SERVER_ERROR  # as Kafka answers what does not fit into its log
        try:
            shard.end_offset = shard.hosted.append(batch, origin="coordinator") + len(records)
        except StorageFailure as error:  # the log directory went offline, or the partition is led elsewhere
            self.log("a change of a group could not be stored", group=group_id, error=str(error))
            return ErrorCode.NOT_COORDINATOR
        return ErrorCode.NONE

    # -- answers that wait for the high watermark --

    def when_stored(self, group_id: str, send: Stored) -> None:
        """Call `send` when all that was appended beside the group so far is stored; mostly at once."""
        index = self.partition_index(group_id)
        shard = None if index is None else self.shards.get(index)
        if shard is None or (not shard.waiting and shard.hosted.high_watermark >= shard.end_offset):
            return send(ErrorCode.NONE)
        shard.waiting.append((shard.end_offset, send))
        self._waiting[shard.index] = shard
        self._send_stored(shard)

    def when_all_stored(self, group_ids: Sequence[str], send: Callable[[dict[str, ErrorCode]], None]) -> None:
        """The same for several groups: `send` gets the error of each."""
        errors: dict[str, ErrorCode] = {}
        names = set(group_ids)

        def stored(name: str, error: ErrorCode) -> None:
            errors[name] = error
            if len(errors) == len(names):
                send(errors)

        if not names:
            send(errors)
        for name in names:
            self.when_stored(name, partial(stored, name))

    def look(self) -> None:
        """Send the answers that waited for partitions that have moved; called in every round of the control loop."""
        for shard in list(self._waiting.values()):
            self._send_stored(shard)

    def _send_stored(self, shard: Shard) -> None:
        shard.hosted.watch()
        if shard.hosted.state != ONLINE:
            return self.unload(shard.index)
        stored = shard.hosted.high_watermark
        while shard.waiting and shard.waiting[0][0] <= stored:
            shard.waiting.popleft()[1](ErrorCode.NONE)
        if not shard.waiting:
            self._waiting.pop(shard.index, None)

    def _answer_stored(self, group_id: str, answer: Answer, lost: dict[str, Any]) -> Answer:
        """`answer`, held back until what it follows from is stored; `lost` is said when that comes to nothing."""
        return lambda result: self.when_stored(group_id, lambda error: answer(lost if error else result))

    def forget_heartbeat(self, group_id: str, member_id: str) -> None:
        heartbeat_table.remove_member(group_id.encode(), member_id.encode())

    # -- operations of the APIs --

    def join(self, request: JoinRequest, answer: Answer) -> None:
        """JoinGroup; `answer` is called once, possibly much later."""
        lost = join_error(ErrorCode.NOT_COORDINATOR, request.member_id)
        answer = self._answer_stored(request.group_id, answer, lost)
        low, high = self.config["group.min.session.timeout.ms"], self.config["group.max.session.timeout.ms"]
        if not request.group_id:
            return answer(join_error(ErrorCode.INVALID_GROUP_ID, request.member_id))
        if not low <= request.session_timeout_ms <= high:
            return answer(join_error(ErrorCode.INVALID_SESSION_TIMEOUT, request.member_id))
        error, groups = self.groups_of(request.group_id)
        if error:
            return answer(join_error(error, request.member_id))
        if not can_be_stored(request):
            # Kafka fails here too, when it serializes the response or the record.
            return answer(join_error(ErrorCode.UNKNOWN_SERVER_ERROR))
        self.membership.join(groups, request, answer)

    def sync(self, request: SyncRequest, answer: Answer) -> None:
        """SyncGroup; a follower is answered when the leader's assignment is stored."""
        answer = self._answer_stored(request.group_id, answer, sync_error(ErrorCode.NOT_COORDINATOR))
        if not request.group_id:
            return answer(sync_error(ErrorCode.INVALID_GROUP_ID))
        error, groups = self.groups_of(request.group_id)
        if error is ErrorCode.COORDINATOR_LOAD_IN_PROGRESS:
            return answer(sync_error(ErrorCode.REBALANCE_IN_PROGRESS))  # the assignment is lost: rejoin
        if error:
            return answer(sync_error(error))
        self.membership.sync(groups.get(request.group_id), request, answer)

    def heartbeat(self, group_id: str, member_id: str, instance_id: str | None, generation: int) -> ErrorCode:
        """Heartbeat of a member that the data plane could not answer."""
        if not group_id:
            return ErrorCode.INVALID_GROUP_ID
        error, groups = self.groups_of(group_id)
        if error is ErrorCode.COORDINATOR_LOAD_IN_PROGRESS:
            return ErrorCode.NONE  # sessions begin anew after loading
        return error or self.membership.heartbeat(groups.get(group_id), member_id, instance_id, generation)

    def leave(self, group_id: str, members: list[tuple[str, str | None]]) -> tuple[ErrorCode, list[dict[str, Any]]]:
        """LeaveGroup of (member id, instance id) pairs."""
        if not group_id:
            return ErrorCode.INVALID_GROUP_ID, []
        error, groups = self.groups_of(group_id)
        return (error, []) if error else (error, self.membership.leave(groups.get(group_id), members))

    def commit(self, request: CommitRequest, done: Callable[[ErrorCode, PartitionErrors], None]) -> None:
        """OffsetCommit."""
        error, groups = self.groups_of(request.group_id)
        if error:
            return done(error, {})
        self.offsets.commit(groups, request, self._done_stored(request.group_id, done))

    def delete_offsets(
        self, group_id: str, partitions: list[tuple[str, int]], done: Callable[[ErrorCode, PartitionErrors], None]
    ) -> None:
        """OffsetDelete."""
        if not group_id:
            return done(ErrorCode.INVALID_GROUP_ID, {})
        error, groups = self.groups_of(group_id)
        if error:
            return done(error, {})
        self.offsets.delete(groups.get(group_id), partitions, self._done_stored(group_id, done))

    def _done_stored(
        self, group_id: str, done: Callable[[ErrorCode, PartitionErrors], None]
    ) -> Callable[[ErrorCode, PartitionErrors], None]:
        return lambda error, errors: self.when_stored(group_id, lambda lost: done(lost or error, errors))

    # -- expiry --

    def _schedule_expiry(self) -> None:
        delay_s = self.config["offsets.retention.check.interval.ms"] / 1000
        self._expiry_timer = self.loop.call_later(delay_s, self._expire)

    def _expire(self) -> None:
        self._schedule_expiry()  # first, so that a fault in one round does not end all later ones
        for shard in list(self.shards.values()):
            if shard.loader is None:
                self.offsets.expire(shard.groups)
