"""What must hold at every step, whatever fails. The numbers are those of the reference's list of invariants."""

from __future__ import annotations

from collections.abc import Sequence

from kafka_cy.cluster.store import Check, Create, Delete, Node, Operation, Results, Set
from kafka_cy.cluster.znode_formats import PartitionState, TopicAssignment
from kafka_cy.controller.partition_state import TopicPartition
from tests.cluster.simulator.broker import SimulatedBroker
from tests.cluster.simulator.log import Record, SimulatedLog
from tests.cluster.simulator.partition import SimulatedPartition
from tests.cluster.simulator.unclean import UncleanElections
from tests.cluster.simulator.zookeeper_model import ModelSession, ZooKeeperModel

CONTROLLER_EPOCH = "/controller_epoch"
TOPIC = "/brokers/topics/"
UNKNOWN_RECORD: Record = (-1, -1)  # below the start of a log


class Violation(AssertionError):
    """An invariant does not hold."""


class Invariants:
    """Watches the tree's changes and, after every step, the brokers.

    What is below some leader's high watermark is committed, and a record is acknowledged only when it is: with committed records,
    acknowledged ones survive, too.
    """

    def __init__(self, zookeeper: ZooKeeperModel, brokers: dict[int, SimulatedBroker]) -> None:
        self._zookeeper = zookeeper
        self._brokers = brokers
        self.states: dict[TopicPartition, PartitionState] = {}
        self._epochs: dict[TopicPartition, tuple[int, int]] = {}  # leader epoch, partition epoch
        self._controllers: dict[int, int] = {}  # controller epoch -> session that wrote with it
        self._controller_epoch = 0
        self.committed: dict[TopicPartition, list[Record]] = {}  # below some leader's high watermark, from offset 0 on
        # What is below was deleted (DeleteRecords, retention). A replica that was away may have other records there until its next
        # fetch raises its log start, as with Kafka: a leader's epochs begin with its log.
        self.deleted: dict[TopicPartition, int] = {}
        self.tainted: set[tuple[int, TopicPartition]] = set()  # members of an ISR that lost the end of their logs
        # Brokers that lost the ends of their logs: the czxid of their registration. Until it goes, nobody can know.
        self.lost_power: dict[int, int] = {}
        # Brokers that a reassignment took a replica from. One that is away then keeps the log, as with Kafka.
        self.taken_from: set[tuple[int, TopicPartition]] = set()
        self._assignments: dict[str, dict[int, tuple[int, ...]]] = {}
        self._watermarks: dict[tuple[TopicPartition, int, SimulatedPartition], int] = {}
        self._starts: dict[SimulatedLog | None, int] = {}
        self._checked = -1  # the changes that were checked
        self.unclean = UncleanElections(zookeeper.simulation)
        self._unclean_epochs: dict[TopicPartition, int] = {}  # the leader epoch with which the last unclean election began
        self._rebased: dict[TopicPartition, int] = {}  # that of which what is committed now has been taken from its leader
        self._topic_ids: dict[str, tuple[Node, bytes]] = {}
        zookeeper.on_write.append(self._written)
        zookeeper.simulation.after_step.append(self.check)

    # -- writes to the tree --

    def _written(self, session: ModelSession | None, operations: Sequence[Operation], results: Results) -> None:
        self._zookeeper.simulation.changes += 1
        epoch = int(self._zookeeper.nodes["/controller_epoch"].data or b"0")
        if epoch < self._controller_epoch:
            raise Violation(f"5: the controller epoch went from {self._controller_epoch} to {epoch}")
        self._controller_epoch = epoch
        fenced = session is None or any(isinstance(each, Check) and each.path == CONTROLLER_EPOCH for each in operations)
        for operation in operations:
            self.unclean.written(operation)
            if isinstance(operation, Create | Set) and operation.path.startswith(TOPIC) and operation.path.count("/") == 3:
                self._assigned(operation)
            if isinstance(operation, Set) and operation.path.endswith("/state") and not fenced:
                self._written_by_leader(session, operation)
            elif isinstance(operation, Create | Set) and operation.path.endswith("/state"):
                self._state_written(session, operation, epoch)
            elif isinstance(operation, Delete) and operation.path.endswith("/state"):
                self._state_deleted(operation.path)
            elif isinstance(operation, Check) and operation.path == CONTROLLER_EPOCH and session is not None:
                self._check_writer(session, epoch)

    def _assigned(self, operation: Create | Set) -> None:
        topic, assignment = operation.path.removeprefix(TOPIC), TopicAssignment.decode(operation.data)
        before = self._assignments.get(topic, {}) if isinstance(operation, Set) else {}
        self._assignments[topic] = {index: tuple(replicas) for index, replicas in assignment.partitions.items()}
        for index, replicas in self._assignments[topic].items():
            partition = TopicPartition(topic, index)
            self.taken_from -= {(each, partition) for each in replicas}
            self.taken_from |= {(each, partition) for each in before.get(index, ()) if each not in replicas}

    def _check_writer(self, session: ModelSession | None, epoch: int) -> None:
        writer = self._controllers.setdefault(epoch, session.session_id if session is not None else 0)
        if session is not None and writer != session.session_id:
            raise Violation(f"6: sessions {writer} and {session.session_id} wrote with controller epoch {epoch}")

    def _written_by_leader(self, session: ModelSession | None, operation: Set) -> None:
        """With inter.broker.protocol.version below 2.7: only the ISR, and not what another leader or a controller has written.

        A leader after an unclean election has recovered when it writes.
        """
        partition, state = _state_in(operation)
        known, leader = self.states.get(partition), self._brokers.get(state.leader)
        if leader is None or leader.session is not session:
            raise Violation(f"6: {partition} was written by a broker that does not lead it: {state}")
        recovered = known is not None and state.recovery_state in (0, known.recovery_state)
        if known is None or not recovered or state._replace(isr=known.isr, recovery_state=known.recovery_state) != known:
            raise Violation(f"6: {partition} was {known}, its leader has written {state}")
        self._taken(operation.path, partition, state)

    def _state_written(self, session: ModelSession | None, operation: Create | Set, epoch: int) -> None:
        partition, state = _state_in(operation)
        if state.controller_epoch != epoch:
            raise Violation(f"6: {partition} was written by controller {state.controller_epoch}, the latest is {epoch}")
        self._check_writer(session, epoch)
        self._taken(operation.path, partition, state)

    def _taken(self, path: str, partition: TopicPartition, state: PartitionState) -> None:
        if not state.isr or state.leader not in (*state.isr, -1):
            raise Violation(f"3: {partition} has leader {state.leader} and ISR {state.isr}")
        version = self._zookeeper.nodes[path].version
        before, known = self._epochs.get(partition), self.states.get(partition)
        if before is not None and (state.leader_epoch < before[0] or version <= before[1]):
            raise Violation(f"5: epochs of {partition} went from {before} to {(state.leader_epoch, version)}")
        if known is not None and known.leader_epoch == state.leader_epoch and known.leader != state.leader:
            raise Violation(f"5: {partition} has leaders {known.leader} and {state.leader} in epoch {state.leader_epoch}")
        self._epochs[partition] = state.leader_epoch, version
        self.states[partition] = state
        self.tainted = {each for each in self.tainted if each[1] != partition or each[0] in state.isr}
        before_isr = known.isr if known is not None else ()
        for member in state.isr:
            lost = self.lost_power.get(member)
            registration = self._zookeeper.nodes.get(f"/brokers/ids/{member}")
            if lost is not None and registration is not None and registration.created_id == lost and member not in before_isr:
                self.tainted.add((member, partition))
        if known is not None and state.leader not in (-1, *known.isr):
            self._elected_unclean(partition, state)
        self.unclean.state_written(partition)
        self._check_elected(partition, state)

    def _elected_unclean(self, partition: TopicPartition, state: PartitionState) -> None:
        """From here on, until the new leader begins, what was committed is what that has of it."""
        if not self.unclean.is_legal(partition):
            raise Violation(f"1: an unclean election of {partition} that nobody allows: {state}")
        self._unclean_epochs[partition] = state.leader_epoch

    def _is_rebased(self, partition: TopicPartition) -> bool:
        return self._rebased.get(partition, -1) >= self._unclean_epochs.get(partition, -1)

    def _rebase(self, partition: TopicPartition, leader: SimulatedPartition) -> None:
        """The first leader since the unclean election begins. What it has is committed, for it alone is the ISR."""
        log, committed = leader.log, self.committed.get(partition, [])
        end = first = max(log.start, self.deleted.get(partition, 0))
        while end < min(len(committed), log.end) and committed[end] == log.records[end - log.start]:
            end += 1
        end = min(end, log.end) if end == first else end
        self.committed[partition] = [UNKNOWN_RECORD] * log.start + log.below(end)
        self.deleted[partition] = log.start
        for broker in self._brokers.values():  # those that end below their start are cut
            self._starts.pop(broker.disks.log_of(partition), None)
        self._rebased[partition] = leader.leader_epoch

    def _is_deleted(self, partition: TopicPartition) -> bool:
        """The deletion is recorded: replicas go one by one."""
        return f"/admin/delete_topics/{partition.topic}" in self._zookeeper.nodes

    def topic_id(self, topic: str) -> bytes:
        """Of the topic that has the name now."""
        node = self._zookeeper.nodes.get(f"/brokers/topics/{topic}")
        if node is None:
            return b""
        known = self._topic_ids.get(topic)
        if known is None or known[0] is not node:
            topic_id = TopicAssignment.decode(node.data).topic_id
            known = self._topic_ids[topic] = node, topic_id.bytes if topic_id is not None else b""
        return known[1]

    def _log_of(self, broker_id: int, partition: TopicPartition) -> SimulatedLog | None:
        """Of the topic that exists."""
        log = self._brokers[broker_id].disks.log_of(partition)
        return log if log is not None and log.topic_id == self.topic_id(partition.topic) else None

    def _check_elected(self, partition: TopicPartition, state: PartitionState) -> None:
        if (
            state.leader in self._brokers
            and (state.leader, partition) not in self.tainted
            and not self._is_deleted(partition)
            and self._is_rebased(partition)
        ):
            log = self._log_of(state.leader, partition)
            committed = self.committed.get(partition, [])
            if not self._has(partition, log, len(committed)):
                raise Violation(f"2: broker {state.leader} leads {partition} and lacks committed records: {committed}")

    def _state_deleted(self, path: str) -> None:
        _, _, _, topic, _, index, _ = path.split("/")
        partition = TopicPartition(topic, int(index))
        self.states.pop(partition, None)
        self._epochs.pop(partition, None)
        self.committed.pop(partition, None)
        self.deleted.pop(partition, None)
        self._unclean_epochs.pop(partition, None)
        self._rebased.pop(partition, None)
        self._watermarks = {key: value for key, value in self._watermarks.items() if key[0] != partition}

    # -- brokers --

    def check(self) -> None:
        """After every step."""
        for broker in self._brokers.values():
            if broker.faults:
                raise Violation(f"broker {broker.id}: {broker.faults}")
        if self._checked == self._zookeeper.simulation.changes:
            return
        self._checked = self._zookeeper.simulation.changes
        for broker in self._brokers.values():
            if broker.up:
                for key, hosted in broker.partitions.items():
                    partition = TopicPartition(*key)
                    if partition in self.states and hosted.high_watermark > hosted.log.end:
                        raise Violation(f"5: {partition} on {broker.id}: the high watermark is above the log's end")
                    if hosted.is_leader and partition in self.states and not self._is_deleted(partition):
                        self._check_leader(broker, partition, hosted)

    def _check_leader(self, broker: SimulatedBroker, partition: TopicPartition, leader: SimulatedPartition) -> None:
        state = self.states[partition]
        if leader.topic_id != self.topic_id(partition.topic):
            return  # a replica of an earlier topic of this name
        if leader.leader_epoch > state.leader_epoch:
            raise Violation(f"5: {partition}: {broker.id} leads with epoch {leader.leader_epoch}, the state has {state}")
        if leader.leader_epoch == state.leader_epoch:
            if state.leader != broker.id:
                raise Violation(f"5: {broker.id} and {state.leader} lead {partition} in epoch {state.leader_epoch}")
            if not set(state.isr) <= leader.maximal_isr:
                raise Violation(
                    f"3: {partition}: ISR {state.isr}, its leader {broker.id} counts {set(leader.maximal_isr)}"
                )
        if leader.leader_epoch < self._unclean_epochs.get(partition, -1):
            return  # what this one has may be lost, and nothing that is acknowledged from here on
        if not self._is_rebased(partition):
            self._rebase(partition, leader)
        self._check_watermark(broker, partition, leader)
        high_watermark = leader.high_watermark
        for member in state.isr:
            if (member, partition) in self.tainted or member not in self._brokers:
                continue
            log = self._log_of(member, partition)
            if not self._has(partition, log, high_watermark):
                raise Violation(
                    f"2: {partition}: broker {member} is in the ISR {state.isr} and lacks what is below the high watermark"
                    f" {high_watermark} of leader {broker.id}: it ends at {log.end if log else None}"
                )

    def _check_watermark(self, broker: SimulatedBroker, partition: TopicPartition, leader: SimulatedPartition) -> None:
        key = (partition, leader.leader_epoch, leader)
        if leader.high_watermark < self._watermarks.get(key, 0):
            raise Violation(f"5: the high watermark of {partition} went back in epoch {leader.leader_epoch}")
        self._watermarks[key] = leader.high_watermark
        log, committed = leader.log, self.committed.setdefault(partition, [])
        if log.start < self._starts.get(log, 0):
            raise Violation(f"5: the log start of {partition} went back on {broker.id}")
        self._starts[log] = log.start
        start = max(log.start, self.deleted.get(partition, 0))
        self.deleted[partition] = start
        below = log.below(leader.high_watermark)[start - log.start :]
        known = committed[start : leader.high_watermark]
        if below[: len(known)] != known:
            raise Violation(f"4: {partition} on {broker.id}: {below} against {known} from {start} on")
        if leader.high_watermark > len(committed):
            if log.start > len(committed):
                raise Violation(f"4: {partition} on {broker.id} begins at {log.start}, committed are {len(committed)}")
            committed += log.below(leader.high_watermark)[len(committed) - log.start :]

    def _has(self, partition: TopicPartition, log: SimulatedLog | None, end: int) -> bool:
        """Whether the log has what is committed below `end`, as far as it was not deleted."""
        if log is None:
            return end == 0
        committed, start = self.committed.get(partition, []), max(log.start, self.deleted.get(partition, 0))
        return log.end >= end and log.below(end)[start - log.start :] == committed[start:end]


def _state_in(operation: Create | Set) -> tuple[TopicPartition, PartitionState]:
    _, _, _, topic, _, index, _ = operation.path.split("/")
    return TopicPartition(topic, int(index)), PartitionState.decode(operation.data)
