"""ISR changes before inter.broker.protocol.version 2.7-IV2: the leader writes the partition's state node itself.

Kafka: ZkAlterPartitionManager. A write is conditional on the version of the node that the leader knows, so that what a controller
wrote meanwhile stands. The controller hears of it by a notification, a little later and of many partitions together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from kafka_cy.cluster.change_notifications import ISRS, notify
from kafka_cy.cluster.line_log import LineLog
from kafka_cy.cluster.store import (
    ANY_VERSION,
    BadVersionError,
    Check,
    ConnectionLost,
    Get,
    Node,
    NoNodeError,
    Operation,
    OutcomeUnknown,
    Results,
    SessionExpired,
    Set,
    StoreError,
)
from kafka_cy.cluster.store_calls import CallLater, StoreCalls, run
from kafka_cy.cluster.znode_formats import MALFORMED, PartitionState, partitions_data
from kafka_cy.cluster.znodes import BROKER_IDS, state_path
from kafka_cy.protocol.controller_messages.alter_partition import (
    AlterPartitionRequest,
    AlterPartitionResponse,
    ChangedPartition,
    ChangedTopic,
    PartitionChange,
)
from kafka_cy.protocol.errors import ErrorCode

AT_ONCE = 40  # states that are read and written together: a millisecond of the thread
NOTIFIED_MAX = 1_000  # partitions of a notification: a node has at most 1 MB
# Kafka's times: it looks every 2.5 s, and tells of changes when there was none for 5 s, or after a minute.
CHECK_MS, QUIET_MS, DELAY_MAX_MS = 2_500.0, 5_000.0, 60_000.0
Key = tuple[str, int]
Done = Callable[[AlterPartitionResponse | None], object]


class _Wanted(NamedTuple):
    """One change, and the operations that store it; without any, `answer` says why."""

    key: Key
    change: PartitionChange
    answer: ChangedPartition
    operations: tuple[Operation, ...] = ()


class IsrWriter:
    """Owner: the store's thread. Lifetime: the broker's. Takes the place of a controller that is asked with AlterPartition.

    Limit: one request at a time (IsrChanges); what is to be told is at most each led partition once.
    """

    def __init__(
        self,
        broker_id: int,
        calls: Callable[[], StoreCalls],
        call_later: CallLater,
        clock_ms: Callable[[], float],
        log: LineLog,
    ) -> None:
        """`calls()`: the store within the session of now. `clock_ms`: monotonic."""
        self._broker_id, self._calls, self._call_later, self._clock_ms, self._log = broker_id, calls, call_later, clock_ms, log
        self._untold: dict[Key, None] = {}  # changed, and the controller was not told
        self._changed_ms = self._told_ms = clock_ms()
        self._checking = False
        self._failing = False  # a line of the log has told so

    def alter(self, request: AlterPartitionRequest, done: Done) -> None:
        """Store the ISRs of a request; `done` gets the answer as a controller's; None: they may be stored or not."""

        def ended(response: AlterPartitionResponse | None, fault: Exception | None) -> None:
            self._tell_of_fault(repr(fault) if fault is not None else None)
            done(response)

        run(self._alter(self._calls(), request), ended)

    async def _alter(self, calls: StoreCalls, request: AlterPartitionRequest) -> AlterPartitionResponse:
        asked = [((topic.topic, each.partition), each) for topic in request.topics for each in topic.partitions]
        answers: dict[Key, ChangedPartition] = {}
        for start in range(0, len(asked), AT_ONCE):
            answers.update(await self._store(calls, asked[start : start + AT_ONCE]))
        topics = [
            ChangedTopic(each.topic, each.topic_id, tuple([answers[each.topic, part.partition] for part in each.partitions]))
            for each in request.topics
        ]
        return AlterPartitionResponse(ErrorCode.NONE, tuple(topics))

    async def _store(
        self, calls: StoreCalls, asked: Sequence[tuple[Key, PartitionChange]]
    ) -> dict[Key, ChangedPartition]:
        paths = [Get(state_path(*key)) for key, _ in asked]
        nodes: list[Node | None] = await calls.read(*paths)
        if any(node is None or node.version < change.partition_epoch for node, (_, change) in zip(nodes, asked, strict=True)):
            await calls.catch_up()  # the server that was asked is behind what a controller has told
            nodes = await calls.read(*paths)
        wanted = [self._wanted(key, change, node) for (key, change), node in zip(asked, nodes, strict=True)]
        answers = {each.key: each.answer for each in wanted if not each.operations}
        writes = [each for each in wanted if each.operations]
        outcomes = await calls.try_changes([each.operations for each in writes])
        for each, (results, error) in zip(writes, outcomes, strict=True):
            answers[each.key] = self._answer(each, results, error)
        return answers

    def _wanted(self, key: Key, change: PartitionChange, node: Node | None) -> _Wanted:
        def refused(error: ErrorCode) -> _Wanted:
            return _Wanted(key, change, ChangedPartition(change.partition, error))

        if node is None:
            return refused(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
        try:
            state = PartitionState.decode(node.data)
        except MALFORMED:
            self._log.warning(f"the state of {key[0]}-{key[1]} in ZooKeeper is malformed: its ISR stays")
            return refused(ErrorCode.INVALID_REQUEST)
        if (state.leader, state.leader_epoch) != (self._broker_id, change.leader_epoch):
            return refused(ErrorCode.FENCED_LEADER_EPOCH)
        isr = tuple([member.broker_id for member in change.new_isr])
        stored = ChangedPartition(
            change.partition, ErrorCode.NONE, state.leader, state.leader_epoch, isr, change.leader_recovery_state, node.version
        )
        new = state._replace(isr=isr, recovery_state=change.leader_recovery_state)
        if new == state:  # an earlier write whose reply was lost; within a leader epoch, only the leader changes it
            self._changed(key)
            return _Wanted(key, change, stored)
        if node.version != change.partition_epoch:
            return refused(ErrorCode.INVALID_UPDATE_VERSION)
        # Its first operation says whether the state is still that: only then it counts that a broker is not there.
        live = [Check(f"{BROKER_IDS}/{each}", ANY_VERSION) for each in isr if each not in state.isr]
        return _Wanted(key, change, stored, (Set(state_path(*key), new.encode(), node.version), *live))

    def _answer(self, wanted: _Wanted, results: Results | None, error: StoreError | None) -> ChangedPartition:
        partition = wanted.change.partition
        if error is None and results is not None:
            assert isinstance(results[0], int)
            self._changed(wanted.key)
            return wanted.answer._replace(partition_epoch=results[0])
        if isinstance(error, NoNodeError):
            gone, dead = ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, ErrorCode.INELIGIBLE_REPLICA
            return ChangedPartition(partition, dead if error.operation > 0 else gone)
        if not isinstance(error, BadVersionError | ConnectionLost | OutcomeUnknown):
            self._tell_of_fault(repr(error))
        return ChangedPartition(partition, ErrorCode.NETWORK_EXCEPTION)  # looked at again: it may be ours that was stored

    def _tell_of_fault(self, fault: str | None) -> None:
        """Once, until a request is answered."""
        if fault is not None and not self._failing:
            self._log.warning("an ISR cannot be stored; this is tried again", error=fault)
        self._failing = fault is not None

    # -- telling the controller --

    def _changed(self, key: Key) -> None:
        self._untold[key] = None
        self._changed_ms = self._clock_ms()
        self._check_later()

    def _check_later(self) -> None:
        if not self._checking:
            self._checking = True
            self._call_later(CHECK_MS, self._check)

    def _check(self) -> None:
        self._checking = False
        now_ms = self._clock_ms()
        if not self._untold:
            return
        if now_ms - self._changed_ms < QUIET_MS and now_ms - self._told_ms < DELAY_MAX_MS:
            self._check_later()
            return
        self._told_ms = now_ms
        told = list(self._untold)[:NOTIFIED_MAX]
        for key in told:
            del self._untold[key]

        def ended(result: None, fault: Exception | None) -> None:
            if fault is not None:  # it is told again: a controller may have read the states before they were stored
                self._untold |= dict.fromkeys(told)
            if fault is not None and not isinstance(fault, SessionExpired):
                self._log.warning("the controller cannot be told of ISRs; this is tried again", error=repr(fault))
            if self._untold:
                self._check_later()

        run(notify(self._calls(), ISRS, partitions_data(told)), ended)
