"""Changes of the ISR that a leader asks the controller for (Kafka: Partition, DefaultAlterPartitionManager).

Pure but for what is passed in: the partitions, how a request is sent, how a call is delayed. Owner: one thread.

One request is in flight at a time; what is asked for meanwhile goes with the next one. A change stays proposed, so that its
partition counts the maximal ISR, until the controller has answered or a LeaderAndIsr brings another state. If the answer is that
this broker's state is not the controller's, the next LeaderAndIsr decides: the same state has the change asked for again.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, NamedTuple, Protocol
from uuid import UUID

from kafka_cy.protocol.controller_messages.alter_partition import (
    AlterPartitionRequest,
    AlterPartitionResponse,
    IsrMember,
    PartitionChange,
    TopicChange,
)

RETRY_MS = 50
# A replica that may not join, for example of a broker that shuts down, is proposed at this interval: with each answer the
# controller tells all brokers of the partition. Kafka proposes it with its next fetch.
INELIGIBLE_PAUSE_MS = 500
INELIGIBLE = frozenset({55, 107})  # OPERATION_NOT_ATTEMPTED, INELIGIBLE_REPLICA: the stored ISR holds
# UNKNOWN_TOPIC_OR_PARTITION, UNKNOWN_TOPIC_ID, FENCED_LEADER_EPOCH, INVALID_UPDATE_VERSION, INVALID_REQUEST: this broker's state is
# not the newest, and the next LeaderAndIsr brings it.
AWAIT_STATE = frozenset({3, 100, 74, 95, 42})
Key = tuple[str, int]


class LeadablePartition(Protocol):
    """What is asked of a hosted partition (HostedPartition)."""

    def lagging(self) -> list[int]: ...
    def joinable(self) -> list[tuple[int, int]]: ...  # with broker epochs
    def propose_isr(self, leader_epoch: int, joining: int | None = None) -> bool: ...
    def withdraw_isr(self, leader_epoch: int) -> None: ...
    def set_replicas(self, replicas: Collection[int], isr: Collection[int], broker_id: int) -> None: ...


class LedPartition:
    """The state of a partition that this broker leads, as the controller has stored it."""

    def __init__(
        self,
        topic_id: UUID,
        leader_epoch: int,
        partition_epoch: int,
        replicas: tuple[int, ...],
        isr: tuple[int, ...],
        recovery_state: int = 0,
    ) -> None:
        self.topic_id = topic_id
        self.leader_epoch = leader_epoch
        self.partition_epoch = partition_epoch
        self.replicas = replicas
        self.isr = isr
        self.recovery_state = recovery_state
        self.proposed: tuple[int, ...] | None = None  # the ISR that is asked for
        self.joining: tuple[int, int] | None = None  # of an expansion: the replica, and the broker epoch with which it has fetched
        self.pauses: set[int] = set()  # replicas that are not proposed to join for a while

    @property
    def counted(self) -> tuple[int, ...]:
        """The replicas whose log ends count: those assigned, and the ISR.

        At the end of a reassignment, the controller names the target replicas while a removed one is in the stored ISR still. It
        may be elected until it has left, so that nothing is committed without it. (Kafka's leader does not wait for it.)
        """
        return with_isr(self.replicas, self.isr)

    def is_repeated_by(self, later: LedPartition) -> bool:
        """Whether a state says nothing new."""
        return (
            (self.leader_epoch, self.partition_epoch) == (later.leader_epoch, later.partition_epoch)
            and set(self.replicas) == set(later.replicas) and set(self.isr) == set(later.isr)
        )  # fmt: skip


class Sent(NamedTuple):
    """A proposal of a request. An answer counts only for exactly this proposal of exactly this state: what came later is newer."""

    state: LedPartition
    proposed: tuple[int, ...]


class IsrChanges:
    """`send(request, done)` sends AlterPartition and calls `done(response)`, or `done(None)` where there was none, on this thread.

    `later(ms, call)` calls after a delay, on this thread. `info(text, **details)` writes a line of the broker's log.
    """

    def __init__(
        self,
        broker_id: int,
        partitions: Mapping[Key, Any],
        send: Callable[[AlterPartitionRequest, Callable[[AlterPartitionResponse | None], None]], None],
        later: Callable[[int, Callable[[], None]], None],
        info: Callable[..., None] = lambda text, **details: None,
    ) -> None:
        self.broker_epoch = -1  # of the registration; the caller sets it
        self.led: dict[Key, LedPartition] = {}
        self.shrinks = self.expands = self.failed = 0  # what was stored, and what the controller refused
        self._broker_id = broker_id
        self._partitions = partitions
        self._send = send
        self._later = later
        self._info = info
        self._waiting: dict[Key, None] = {}  # to be sent, in order: each has a proposal
        self._in_flight: dict[Key, Sent] = {}
        self._pausing = False

    # -- what LeaderAndIsr says --

    def lead(self, key: Key, state: LedPartition) -> None:
        """This broker leads the partition with this state. A change that was in flight is over."""
        self.led[key] = state
        self._waiting.pop(key, None)

    def repeated(self, key: Key) -> None:
        """The state that is known was told once more. A proposal that waits for a state is asked for again.

        It cannot be forgotten: the controller may have stored it, with an answer that was lost, before it refused it. And this
        state may be older than that.
        """
        state, sent = self.led[key], self._in_flight.get(key)
        if state.proposed is None or key in self._waiting or (sent is not None and self._is_current(key, sent)):
            return
        self._again({key: Sent(state, state.proposed)})

    def resign(self, key: Key) -> None:
        """This broker does not lead the partition any more."""
        self.led.pop(key, None)
        self._waiting.pop(key, None)

    # -- deciding --

    def expand(self, keys: Iterable[Key]) -> None:
        """Replicas of these partitions may join (isr_candidates)."""
        for key in keys:
            self._expand(key)
        self._send_waiting()

    def _expand(self, key: Key) -> None:
        state, partition = self.led.get(key), self._partitions.get(key)
        if state is None or partition is None or state.proposed is not None:
            return
        for joining, broker_epoch in partition.joinable():
            if joining not in state.replicas or joining in state.pauses:
                continue
            isr = (*state.isr, joining)
            if partition.propose_isr(state.leader_epoch, joining):
                self._propose(key, state, isr, (joining, broker_epoch))
                return  # one change at a time; the next fetch of another replica brings it here again

    def shrink(self, keys: Iterable[Key] | None = None) -> None:
        """Ask to remove those that are not caught up, from these partitions or all. Due every replica.lag.time.max.ms / 2."""
        for key in list(self.led) if keys is None else keys:
            state, partition = self.led.get(key), self._partitions.get(key)
            if state is None or partition is None or state.proposed is not None:
                continue
            lagging = set(partition.lagging())
            isr = tuple(each for each in state.isr if each not in lagging)
            if lagging and partition.propose_isr(state.leader_epoch):
                self._propose(key, state, isr, None)
        self._send_waiting()

    def _propose(self, key: Key, state: LedPartition, isr: tuple[int, ...], joining: tuple[int, int] | None) -> None:
        state.proposed, state.joining = isr, joining
        self._waiting[key] = None
        self._info(
            f"ISR {'expands' if len(isr) > len(state.isr) else 'shrinks'}",
            partition=f"{key[0]}-{key[1]}", isr=_text(state.isr), to=_text(isr),
        )  # fmt: skip

    def _settle(self, key: Key, state: LedPartition) -> None:
        state.proposed = state.joining = None
        self._waiting.pop(key, None)

    # -- asking --

    def _send_waiting(self) -> None:
        if self._in_flight or self._pausing or not self._waiting:
            return
        sent: dict[Key, Sent] = {}
        topics: dict[tuple[str, UUID], list[PartitionChange]] = {}
        for key in self._waiting:
            state = self.led[key]
            assert state.proposed is not None
            sent[key] = Sent(state, state.proposed)
            members = tuple(_member(each, state.joining) for each in state.proposed)
            change = PartitionChange(key[1], state.leader_epoch, members, state.recovery_state, state.partition_epoch)
            topics.setdefault((key[0], state.topic_id), []).append(change)
        proposed = tuple(TopicChange(name, id_, tuple(each)) for (name, id_), each in topics.items())
        request = AlterPartitionRequest(self._broker_id, self.broker_epoch, proposed)
        # Before this line, an exception changes nothing: all of it is sent the next time.
        self._in_flight, self._waiting = sent, {}
        try:
            self._send(request, lambda response: self._answered(sent, response))
        except BaseException:
            if self._in_flight is sent:
                self._in_flight = {}
                self._again(sent)
            raise

    def _answered(self, sent: dict[Key, Sent], response: AlterPartitionResponse | None) -> None:
        if self._in_flight is not sent:
            return  # a second answer
        self._in_flight = {}
        unanswered = dict(sent)
        try:
            if response is not None and not response.error_code:
                self._take(sent, response, unanswered)
        finally:
            self._again(unanswered)
            self._send_waiting()

    def _take(self, sent: dict[Key, Sent], response: AlterPartitionResponse, unanswered: dict[Key, Sent]) -> None:
        by_id = {(each.state.topic_id, key[1]): key for key, each in sent.items()}
        for topic in response.topics:
            for partition in topic.partitions:
                found: Key | None = (topic.topic, partition.partition)
                if found not in sent and topic.topic_id is not None:
                    found = by_id.get((topic.topic_id, partition.partition))
                if found is None or found not in unanswered:
                    continue
                if not self._is_current(found, sent[found]) or self._partition_answered(found, sent[found].state, partition):
                    del unanswered[found]

    def _is_current(self, key: Key, sent: Sent) -> bool:
        """Not so: a LeaderAndIsr was faster, and another proposal may have followed."""
        return self.led.get(key) is sent.state and sent.state.proposed is sent.proposed

    def _again(self, sent: dict[Key, Sent]) -> None:
        """Ask again a little later, unless the state has changed since."""
        current = [key for key, each in sent.items() if self._is_current(key, each)]
        self._waiting.update(dict.fromkeys(current))
        if current and not self._pausing:
            self._pausing = True
            self._later(RETRY_MS, self._resume)

    def _resume(self) -> None:
        self._pausing = False
        self._send_waiting()

    def _partition_answered(self, key: Key, state: LedPartition, answer: Any) -> bool:
        """False: it is to be asked again."""
        partition = self._partitions.get(key)
        if partition is None:
            return True
        if answer.error_code == 0:
            try:
                self._stored(key, state, partition, answer)
            except MemoryError:
                return False  # it is stored: the controller says so again
        elif answer.error_code in INELIGIBLE:
            joining = state.joining
            self.failed += 1
            self._settle(key, state)
            partition.withdraw_isr(state.leader_epoch)
            if joining is not None:
                self._pause(key, state, joining[0])
                self._expand(key)  # it must not keep out the others
        elif answer.error_code in AWAIT_STATE:
            self.failed += 1
        else:
            return False
        return True

    def _pause(self, key: Key, state: LedPartition, replica: int) -> None:
        state.pauses.add(replica)
        self._later(INELIGIBLE_PAUSE_MS, lambda: self._end_pause(key, state, replica))

    def _end_pause(self, key: Key, state: LedPartition, replica: int) -> None:
        state.pauses.discard(replica)
        if self.led.get(key) is state:
            self.expand([key])

    def _stored(self, key: Key, state: LedPartition, partition: Any, answer: Any) -> None:
        if answer.leader_epoch != state.leader_epoch or answer.partition_epoch < state.partition_epoch:
            return
        isr = tuple(answer.isr)
        partition.set_replicas(with_isr(state.replicas, isr), isr, self._broker_id)  # raises MemoryError: nothing has changed
        if len(isr) < len(state.isr):
            self.shrinks += 1
        elif len(isr) > len(state.isr):
            self.expands += 1
        state.isr, state.partition_epoch, state.recovery_state = isr, answer.partition_epoch, answer.leader_recovery_state
        self._settle(key, state)


def with_isr(replicas: tuple[int, ...], isr: tuple[int, ...]) -> tuple[int, ...]:
    """The assigned replicas, then members of the ISR that are not assigned any more."""
    return tuple(dict.fromkeys((*replicas, *isr)))


def _member(broker_id: int, joining: tuple[int, int] | None) -> IsrMember:
    """A replica that joins is named with the broker epoch of its last fetch (KIP-903).

    The request may be repeated until the replica has lost the end of its log and is there again: that one must not be in the ISR.
    Kafka's leader names no epochs in a cluster with ZooKeeper, and its controller does not look at them.
    """
    return IsrMember(*joining) if joining is not None and joining[0] == broker_id else IsrMember(broker_id)


def _text(isr: tuple[int, ...]) -> str:
    return ",".join(map(str, isr))
