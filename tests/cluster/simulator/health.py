"""What must be true once the faults have ended: brokers, controller, states, metadata caches, roles and logs agree."""

from __future__ import annotations

from kafka_cy.cluster.znode_formats import PartitionState, TopicAssignment
from kafka_cy.controller.partition_state import TopicPartition
from tests.cluster.simulator.broker import SimulatedBroker
from tests.cluster.simulator.invariants import Invariants
from tests.cluster.simulator.zookeeper_model import ZooKeeperModel

Wanted = dict[TopicPartition, tuple[int, ...]]  # replicas


class Health:
    """Looks at a cluster."""

    def __init__(self, zookeeper: ZooKeeperModel, brokers: dict[int, SimulatedBroker], invariants: Invariants) -> None:
        self.zookeeper = zookeeper
        self.brokers = brokers
        self.invariants = invariants

    def problem(self, *, degraded: bool = False) -> str | None:
        """What is not well. `degraded`: replicas in failed log directories are not asked for, and what waits for them may wait."""
        controllers = [broker for broker in self.brokers.values() if broker.up and broker.controller.is_active]
        if len(controllers) != 1 or not controllers[0].controller.is_idle or "/controller" not in self.zookeeper.nodes:
            return f"controllers: {[broker.id for broker in controllers]}"
        wanted: Wanted = {}
        waiting: set[TopicPartition] = set()  # for a failed directory
        for topic in sorted(self.zookeeper.children["/brokers/topics"]):
            changing = self._add_wanted(topic, wanted, waiting, degraded)
            if changing is not None:
                return changing
        if not degraded and self.zookeeper.children["/admin/delete_topics"]:
            return "a deletion has not ended"
        for partition in wanted.keys() - waiting:
            problem = self._partition_problem(partition, wanted[partition])
            if problem is not None:
                return f"{partition}: {problem}"
        for broker in self.brokers.values():
            if not broker.runs or broker.live != set(self.brokers) or broker.known_controller != controllers[0].id:
                return f"broker {broker.id} does not know the brokers"
            if broker.election.controller_id != controllers[0].id or broker.manager.isr.broker_epoch != broker.epoch:
                return f"broker {broker.id} does not know the controller or itself"
            if broker.cache.keys() - waiting != wanted.keys() - waiting:
                return f"broker {broker.id} knows {sorted(broker.cache)}"
            kept = {(each.topic, each.partition) for id_, each in self.invariants.taken_from if id_ == broker.id}
            orphans = sorted(broker.logs.partitions.keys() - {(each.topic, each.partition) for each in wanted} - kept)
            if orphans and not broker.disks.has_been_broken:  # A log that its directory's failure hid from the deletion is kept.
                return f"broker {broker.id} keeps logs that nobody wants: {orphans}"
        return None

    def _add_wanted(self, topic: str, wanted: Wanted, waiting: set[TopicPartition], degraded: bool) -> str | None:
        assignment = TopicAssignment.decode(self.zookeeper.nodes[f"/brokers/topics/{topic}"].data)
        partitions = {TopicPartition(topic, index): tuple(each) for index, each in assignment.partitions.items()}
        wanted.update(partitions)
        offline = {each for each, ids in partitions.items() if self._offline(each, ids)}
        is_deleted = f"/admin/delete_topics/{topic}" in self.zookeeper.nodes
        changed = {TopicPartition(topic, index) for index in {**assignment.adding, **assignment.removing}}
        if offline and not degraded:
            return f"replicas of {sorted(offline)} are offline"
        if is_deleted and (offline or (degraded and any(self._lacks_directory(ids) for ids in partitions.values()))):
            waiting.update(partitions)
        elif is_deleted:
            return f"the deletion of {topic} has not ended"
        elif changed and changed <= offline:
            waiting.update(changed)
        elif changed:
            return f"a reassignment of {topic} has not ended"
        return None

    def _offline(self, partition: TopicPartition, replicas: tuple[int, ...]) -> list[int]:
        return [each for each in replicas if self.brokers[each].up and self.brokers[each].is_offline(partition)]

    def _lacks_directory(self, replicas: tuple[int, ...]) -> bool:
        """Whether one of these brokers does without a log directory.

        Asked for a replica that it has deleted already, it answers KAFKA_STORAGE_ERROR, as Kafka does: the log may be in
        that directory. So the controller waits, if the response to the deletion was lost, or came after the notification.
        """
        return any(self.brokers[each].up and self.brokers[each].logs.offline_dirs for each in replicas)

    def _partition_problem(self, partition: TopicPartition, replicas: tuple[int, ...]) -> str | None:
        state, offline = self.invariants.states.get(partition), self._offline(partition, replicas)
        working = set(replicas) - set(offline)
        if state is None:
            return "it has no state"
        may_lead = working if self.invariants.unclean.allows(partition.topic) else working & set(state.isr)
        if may_lead and (set(state.isr) != working or state.leader not in working):
            return f"replicas {replicas}, offline {offline}, {state}"
        if not may_lead and state.leader != -1:
            return f"replicas {replicas}, offline {offline}, {state}: nobody may lead"
        for broker in self.brokers.values():
            problem = self._cache_problem(broker, partition, state, replicas, offline)
            if problem is not None:
                return problem
        for broker_id in offline:
            if self.brokers[broker_id].has_role(partition):
                return f"broker {broker_id} has a role, but its log directory has failed"
        for broker_id in working if may_lead else ():
            problem = self._role_problem(self.brokers[broker_id], partition, state)
            if problem is not None:
                return problem
        return None

    def _cache_problem(
        self,
        broker: SimulatedBroker,
        partition: TopicPartition,
        state: PartitionState,
        replicas: tuple[int, ...],
        offline: list[int],
    ) -> str | None:
        path = f"/brokers/topics/{partition.topic}/partitions/{partition.partition}/state"
        known, version = broker.cache.get(partition), self.zookeeper.nodes[path].version
        stored = (state.leader, state.leader_epoch, version)
        if known is None or (known.leader, known.leader_epoch, known.zk_version) != stored:
            return f"broker {broker.id} knows {known}"
        if known.isr != tuple(state.isr) or known.replicas != replicas or list(known.offline_replicas) != offline:
            return f"broker {broker.id} knows {known}, offline are {offline}"
        return None

    def _role_problem(self, broker: SimulatedBroker, partition: TopicPartition, state: PartitionState) -> str | None:
        hosted, role = broker.partitions.get(partition), broker.manager.states.by_key.get(partition)
        leader = self.brokers[state.leader].partitions.get(partition)
        leads = broker.id == state.leader
        if hosted is None or leader is None or role is None:
            return f"broker {broker.id} has no role"
        if (role.leader, role.leader_epoch, hosted.leader_epoch) != (state.leader, state.leader_epoch, state.leader_epoch):
            return f"broker {broker.id} has {role}, not {state}"
        if broker.roles_told.get(partition, (0, None))[1] is not leads or hosted.is_leader is not leads:
            return f"broker {broker.id} told {broker.roles_told.get(partition)} of its leadership"
        if leads and broker.manager.isr.led[partition].proposed is not None:
            return "a change of the ISR is in flight"
        start = max(hosted.log.start, leader.log.start)
        stored = leader.log.end if len(state.isr) >= min(hosted.min_isr, len(role.replicas)) else hosted.high_watermark
        if hosted.high_watermark != stored or hosted.log.end != leader.log.end:
            return f"broker {broker.id} has {hosted.log.end} and {hosted.high_watermark} of {leader.log.end} records"
        if hosted.log.records[start - hosted.log.start :] != leader.log.records[start - leader.log.start :]:
            return "the logs differ"
        return None
