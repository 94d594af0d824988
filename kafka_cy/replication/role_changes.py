"""LeaderAndIsr and StopReplica: Kafka's rules of which state is taken, and the steps by which a replica takes it.

Kafka: ReplicaManager.becomeLeaderOrFollower, stopReplicas; Partition.makeLeader, makeFollower. Each request is a task of small
steps, so that events of fetchers are handled in between; the replica manager runs one request after the other. Each partition
changes in one step, or not at all.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from functools import partial
from typing import Any, NamedTuple
from uuid import UUID

from kafka_cy.base.slices import in_work
from kafka_cy.protocol.controller_messages.leader_and_isr import (
    LeaderAndIsrRequest,
    LeaderAndIsrResponse,
    PartitionError,
    PartitionState,
    TopicErrors,
)
from kafka_cy.protocol.controller_messages.stop_replica import (
    EPOCH_DURING_DELETE,
    NO_EPOCH,
    StoppedPartition,
    StopReplicaRequest,
    StopReplicaResponse,
)
from kafka_cy.protocol.errors import ErrorCode
from kafka_cy.replication.deleted_replicas import DeletedReplicas, Deletion
from kafka_cy.replication.fetchers import Fetchers
from kafka_cy.replication.isr_changes import IsrChanges, LedPartition
from kafka_cy.replication.new_handles import NewHandles, lead_with
from kafka_cy.replication.replica_states import Key, ReplicaStates, replica_state
from kafka_cy.replication.waiting_roles import UnknownSettings, UnreadSettings, WaitingRoles
from kafka_cy.storage.log_dir import NO_TOPIC_ID
from kafka_cy.storage.log_failure import StorageFailure
from kafka_cy.storage.partition_folders import names_partition

NONE = int(ErrorCode.NONE)
REPLICAS_MAX = 1_000  # of one partition
ADOPTED_AT_ONCE = 50  # partitions that get topic ids before the metadata names their new handles
Steps = Generator[Any, None, None]


class Role(NamedTuple):
    """A state that is to be taken."""

    key: Key
    topic_id: bytes  # NO_TOPIC_ID: none was given
    state: PartitionState
    broker_epoch: int = -1  # of the registration that it was told


class Surroundings(NamedTuple):
    """What a change of roles touches. `alive(broker)`: whether its endpoint is known. All callbacks are the owner thread's.

    `topic_config(topic)`: the typed configuration of its logs; called on another thread, it may wait. Raises UnknownSettings.
    `hosted(topics)`: logs of these topics were created or deleted.
    `leadership(topic, partition, leader_epoch, leads)`: this broker leads the partition from this epoch on, or does not any more
    (epoch -1: the partition is deleted, whatever its epoch).
    `later(seconds, call)`: on the owner thread.
    """

    logs: Any  # LogManager
    states: ReplicaStates
    isr: IsrChanges
    fetchers: Fetchers
    alive: Callable[[int], bool]
    topic_config: Callable[[str], dict[str, Any]]
    hosted: Callable[[set[str]], object]
    leadership: Callable[[str, int, int, bool], object]
    log: Any  # BrokerLog
    later: Callable[[float, Callable[[], object]], object]
    waiting: WaitingRoles


class RoleChanges:
    """Owner: the replica manager's thread."""

    def __init__(self, around: Surroundings) -> None:
        self._around = around
        self._states = around.states
        self._deleted = DeletedReplicas()
        self._ignored_keys: dict[tuple[ErrorCode, str], list[tuple[Key, int]]] = {}  # of the request that is worked on
        self._handles = NewHandles(around, self._guarded)
        self._created: set[str] = set()  # topics with new logs, whose folders are not durable or of which nobody was told yet
        self._controller_id = -1  # of the last LeaderAndIsr that was not refused

    # -- LeaderAndIsr --

    def leader_and_isr(self, request: LeaderAndIsrRequest, done: Callable[[LeaderAndIsrResponse], object]) -> Steps:
        """Take the states of a request, then call `done`."""
        states, around = self._states, self._around
        if request.controller_epoch < states.controller_epoch:
            around.log.warning(
                "LeaderAndIsr of an earlier controller is refused", controller=request.controller_id,
                controller_epoch=request.controller_epoch, known=states.controller_epoch,
            )  # fmt: skip
            done(refused(request, ErrorCode.STALE_CONTROLLER_EPOCH))
            return
        states.controller_epoch = request.controller_epoch
        self._deleted.begin(request.controller_epoch)
        answers: dict[Key, int] = {}
        roles: dict[Key, Role] = {}
        broker_epoch = max(request.broker_epoch, states.broker_epoch)  # a controller may know of a registration before this thread
        for topic in request.topics:
            topic_id = NO_TOPIC_ID if topic.topic_id is None else topic.topic_id.bytes
            for state in topic.partitions:
                role = Role((topic.topic, state.partition), topic_id, state, broker_epoch)
                code = int(ErrorCode.STALE_CONTROLLER_EPOCH)  # as for an epoch that is known
                if not around.waiting.has_newer(role):
                    # In KRaft a replica may come back in the same epoch.
                    code = NONE if request.is_kraft_controller else self._check_deleted(role)
                    if code == NONE:
                        around.waiting.drop(role.key)
                        code = self._checked(role, is_kraft=request.is_kraft_controller)
                answers[role.key] = code
                if code == NONE and state.leader_epoch >= states.leader_epoch(role.key):
                    roles[role.key] = role
                yield
        self._controller_id = request.controller_id
        yield from self._take(roles, answers)
        done(_answer(request, answers))

    def take_waiting(self) -> Steps:
        """Take roles whose settings can be understood now. The controller was told that they were not taken.

        Each waits until it is taken, or refused: a fault half way loses none.
        """
        roles: dict[Key, Role] = {}
        for role in self._around.waiting.begin():
            if self._checked(role, is_kraft=False) == NONE:
                roles[role.key] = role
            else:
                self._around.waiting.drop(role.key)
            yield
        answers: dict[Key, int] = {}
        yield from self._take(roles, answers, again=True)
        taken = [key for key, code in answers.items() if code == NONE]
        if taken:
            self._around.log.info(
                "replicas have taken their roles, which have waited for the settings of topics", partitions=len(taken),
                first=_name(taken[0]),
            )  # fmt: skip

    def _take(self, roles: dict[Key, Role], answers: dict[Key, int], *, again: bool = False) -> Steps:
        """Take checked roles. Sets the answers of those that are not taken as told. `again`: roles that have waited."""
        states, around = self._states, self._around
        yield from self._create(roles, answers)
        became: list[tuple[str, int, int, bool]] = []
        leads = [role for role in roles.values() if role.state.leader == states.broker_id]
        follows = [role for role in roles.values() if role.state.leader != states.broker_id]
        for take, chosen in ((self._lead, leads), (self._follow, follows)):
            for role in chosen:
                around.waiting.drop(role.key)
                answers[role.key] = self._step(take, role, became)
                yield
        around.fetchers.stop_idle()
        self._tell_ignored("LeaderAndIsr", self._controller_id, again=again)
        if became:
            around.log.info(
                "LeaderAndIsr: partitions have new leaders", controller=self._controller_id, partitions=len(became),
                here=sum(leads for *_, leads in became),
            )  # fmt: skip
        yield from self._tell(became)

    def _checked(self, role: Role, *, is_kraft: bool) -> int:
        """Whether the state may be taken; NONE also when only the topic id is new (_adopt_id)."""
        key, epoch = role.key, role.state.leader_epoch
        known, partition = self._states.by_key.get(key), self._around.logs.partitions.get(key)
        if not names_partition(*key):
            return self._ignored(key, ErrorCode.INVALID_TOPIC_EXCEPTION, "its name is not allowed", epoch)
        if len(role.state.replicas) > REPLICAS_MAX:
            return self._ignored(key, ErrorCode.INVALID_REQUEST, "it has too many replicas", epoch)
        if self._states.is_offline(key):
            return self._ignored(key, ErrorCode.KAFKA_STORAGE_ERROR, "its log directory is offline", epoch)
        own_id = NO_TOPIC_ID if partition is None else partition.topic_id
        if NO_TOPIC_ID not in (own_id, role.topic_id) and own_id != role.topic_id:
            why = f"its log is of an earlier topic of the name, id {UUID(bytes=own_id)} and not {UUID(bytes=role.topic_id)}"
            return self._ignored(key, ErrorCode.INCONSISTENT_TOPIC_ID, why, epoch)
        own_epoch = self._states.leader_epoch(key)
        if epoch > own_epoch or (is_kraft and epoch == own_epoch >= 0):
            if self._states.broker_id not in role.state.replicas:
                why = "this broker is not among the replicas"
                return self._ignored(key, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, why, epoch)
            return NONE
        if epoch == own_epoch and known is not None and partition is not None:
            if own_id == NO_TOPIC_ID != role.topic_id:
                return NONE  # IBP 2.8 gives an id to a topic whose epoch stays
            if role.topic_id == NO_TOPIC_ID != own_id and role.state.leader != self._states.broker_id:
                return NONE
        return int(ErrorCode.STALE_CONTROLLER_EPOCH)  # a known epoch is routine: nothing is told

    def _check_deleted(self, role: Role) -> int:
        if not self._deleted.has(role.topic_id, role.key[1], role.state.leader_epoch):
            return NONE
        why = "the replica was deleted after it was sent"
        return self._ignored(role.key, ErrorCode.STALE_CONTROLLER_EPOCH, why, role.state.leader_epoch)

    def _ignored(self, key: Key, code: ErrorCode, why: str, leader_epoch: int) -> int:
        """One line tells of all partitions of a request that are ignored for the same reason (_tell_ignored)."""
        self._ignored_keys.setdefault((code, why), []).append((key, leader_epoch))
        return int(code)

    def _tell_ignored(self, api: str, controller_id: int, *, again: bool = False) -> None:
        for (code, why), found in self._ignored_keys.items():
            key, leader_epoch = found[0]
            what = f"{api} is not followed: {why}"
            details = {
                "controller": controller_id, "partitions": len(found), "first": _name(key), "leader_epoch": leader_epoch,
                "error": code.name,
            }  # fmt: skip
            if again:
                self._around.log.repeated("warning", what, details)
            else:
                self._around.log.warning(what, **details)
        self._ignored_keys.clear()

    def _give_ids(self, roles: dict[Key, Role], answers: dict[Key, int]) -> Steps:
        """Topics have ids now. Nobody can use a partition from its new handle on until that is published."""
        lacking = [role for role in roles.values() if self._handles.lacks_id(role)]
        yield from self._handles.prepare(lacking)
        for first in range(0, len(lacking), ADOPTED_AT_ONCE):
            adopted: list[Key] = []
            try:
                for role in lacking[first : first + ADOPTED_AT_ONCE]:
                    code = self._step(self._handles.adopt, role, adopted)
                    if code != NONE:
                        answers[role.key] = code
                        del roles[role.key]
                        self._around.waiting.drop(role.key)
                    yield
            finally:
                if adopted:
                    self._around.hosted({topic for topic, _ in adopted})
            # Coordinators hold the former handles, with which nobody leads.
            yield from self._tell((*key, self._states.leader_epoch(key), True) for key in adopted if self._states.leads(key))

    def _create(self, roles: dict[Key, Role], answers: dict[Key, int]) -> Steps:
        """Create logs, and make their folders durable before anybody uses them."""
        yield from self._give_ids(roles, answers)
        created = self._created
        configs: dict[str, dict[str, Any] | Exception | None] = {}
        for role in list(roles.values()):
            topic = role.key[0]
            if role.key not in self._around.logs.partitions and topic not in configs:
                configs[topic] = yield from self._config(topic)
            config = configs.get(topic)
            code = self._step(partial(self._open, config=config), role, created)
            if code != NONE:
                answers[role.key] = code
                del roles[role.key]
                if not isinstance(config, Exception):
                    self._around.waiting.drop(role.key)
            yield
        if created:
            yield from in_work(self._around.logs.sync_directories)
            self._around.hosted(created)
            self._created = set()

    def _config(self, topic: str) -> Generator[Any, None, dict[str, Any] | Exception]:
        """It may have to be read from ZooKeeper. Without it no log is created: it might keep too little."""
        try:
            return (yield from in_work(partial(self._around.topic_config, topic)))
        except Exception as error:  # noqa: BLE001 only the new replicas of this topic fail
            return error

    def _open(self, role: Role, created: set[str], *, config: dict[str, Any] | Exception | None) -> None:
        logs, (topic, index) = self._around.logs, role.key
        partition = logs.partitions.get(role.key)
        if partition is None:
            if not role.state.is_new and logs.offline_dirs:
                # It may be in one of them: a new, empty log would hide its records.
                self._states.offline.add(role.key)
                raise StorageFailure(f"{topic}-{index} has no log, but a log directory is offline", 0)
            if isinstance(config, UnknownSettings):
                raise config
            if isinstance(config, Exception):
                raise UnreadSettings(f"the settings of its topic cannot be read: {config!r}") from config
            logs.create(topic, index, role.topic_id, config)
            created.add(topic)

    def _step(self, step: Callable[[Role, Any], object], role: Role, result: Any) -> int:
        """Do one step for one partition. The broker may have registered again since this was told, or while settings were read.

        Then the controller tells it everything. It does not tell of partitions that have gone elsewhere while it was away.
        """
        if role.broker_epoch < self._states.broker_epoch:
            why = "it was told an earlier registration of this broker"
            return self._ignored(role.key, ErrorCode.STALE_BROKER_EPOCH, why, role.state.leader_epoch)
        return self._guarded(step, role, result)

    def _guarded(self, step: Callable[[Role, Any], object], role: Role, result: Any) -> int:
        """Do one step for one partition: Kafka's error code. A failure of one costs no other."""
        try:
            step(role, result)
            return NONE
        except UnknownSettings:
            return self._waits(role, "the settings of its topic are malformed or not allowed, or may not be read")
        except UnreadSettings as error:
            return self._waits(role, str(error))
        except (OSError, StorageFailure) as error:
            self._around.log.error("a replica is offline: its log fails", partition=_name(role.key), error=str(error))
            return int(ErrorCode.KAFKA_STORAGE_ERROR)
        except Exception as error:  # noqa: BLE001 the other partitions take their roles
            self._around.log.error("a replica cannot change its role", partition=_name(role.key), error=repr(error))
            return int(ErrorCode.UNKNOWN_SERVER_ERROR)

    def _waits(self, role: Role, why: str) -> int:
        """The role is taken later: a controller tells it only once."""
        then = "its role is taken when they can be used"
        if not self._around.waiting.put(role):
            then = "when they can be used, start this broker again"
        return self._ignored(role.key, ErrorCode.UNKNOWN_SERVER_ERROR, f"{why}; {then}", role.state.leader_epoch)

    def _is_outdated(self, role: Role) -> bool:
        """AlterPartition may have brought a newer state of the same leader epoch."""
        known, led = self._states.by_key.get(role.key), self._around.isr.led.get(role.key)
        if known is None:
            return False
        newest = max(known.partition_epoch, -1 if led is None else led.partition_epoch)
        return role.state.partition_epoch < newest

    def _lead(self, role: Role, became: list[tuple[str, int, int, bool]]) -> None:
        state, (topic, index) = role.state, role.key
        if self._is_outdated(role):
            return
        # In an epoch that was missed another broker may have led: what this one coordinates is loaded anew (lead_locked).
        is_new = not self._states.leads(role.key) or state.leader_epoch > self._states.leader_epoch(role.key) + 1
        partition = self._around.logs.partitions[role.key]
        replicas = tuple(dict.fromkeys(state.replicas))
        isr = tuple(dict.fromkeys(state.isr))
        led = LedPartition(UUID(bytes=partition.topic_id), state.leader_epoch, state.partition_epoch, replicas, isr)
        known = self._around.isr.led.get(role.key)
        if known is not None and known.is_repeated_by(led):
            # This state may be on its way since before what was asked of the controller. (Kafka refuses an equal leader epoch, but
            # of a controller in KRaft mode; then its leader forgets what it has asked for.)
            led = known
        lead_with(partition, led, self._states.broker_id)
        self._handles.set_adding(partition, role.key, state.adding_replicas)
        self._states.by_key[role.key] = replica_state(state, replicas)
        if led is known:
            self._around.isr.repeated(role.key)
        else:
            self._around.isr.lead(role.key, led)
        self._around.fetchers.leave(role.key)
        if is_new:
            became.append((topic, index, state.leader_epoch, True))
        if state.leader_recovery_state:
            self._around.log.info("this broker leads after an unclean election", partition=_name(role.key))

    def _follow(self, role: Role, became: list[tuple[str, int, int, bool]]) -> None:
        state, (topic, index) = role.state, role.key
        if not self._around.alive(state.leader):
            # As Kafka: the log exists from now on, the role does not change. The next state names a leader that is alive.
            self._ignored(role.key, ErrorCode.NONE, "its leader is not alive", state.leader_epoch)
            return
        if self._is_outdated(role):
            return
        is_new_epoch = state.leader_epoch > self._states.leader_epoch(role.key)
        partition = self._around.logs.partitions[role.key]
        partition.follow(state.leader_epoch)
        self._states.by_key[role.key] = replica_state(state, tuple(dict.fromkeys(state.replicas)))
        self._around.isr.resign(role.key)
        self._handles.set_adding(partition, role.key, state.adding_replicas)
        if is_new_epoch:
            became.append((topic, index, state.leader_epoch, False))
            self._around.fetchers.follow(role.key, state.leader, state.leader_epoch)

    def _tell(self, became: Iterable[tuple[str, int, int, bool]]) -> Steps:
        for each in became:
            try:
                self._around.leadership(*each)
            except Exception as error:  # noqa: BLE001 a coordinator's fault costs only itself
                self._around.log.error("a change of leadership is not told", partition=_name(each[:2]), error=repr(error))
            yield

    def tell_offline(self, keys: Iterable[Key]) -> Steps:
        """Partitions that this broker led are in a log directory that has failed: whoever coordinates what is in them ends."""
        yield from self._tell((*key, self._states.leader_epoch(key), False) for key in keys)

    # -- StopReplica --

    def stop_replica(self, request: StopReplicaRequest, done: Callable[[StopReplicaResponse], object]) -> Steps:
        """Stop the replicas of a request, and delete those that shall be deleted, then call `done`."""
        states, around = self._states, self._around
        if request.controller_epoch < states.controller_epoch:
            around.log.warning(
                "StopReplica of an earlier controller is refused", controller=request.controller_id,
                controller_epoch=request.controller_epoch, known=states.controller_epoch,
            )  # fmt: skip
            done(StopReplicaResponse(int(ErrorCode.STALE_CONTROLLER_EPOCH)))
            return
        states.controller_epoch = request.controller_epoch
        self._deleted.begin(request.controller_epoch)
        answers: dict[Key, int] = {}
        deletes: dict[Key, Deletion] = {}
        for topic in request.topics:
            for partition in topic.partitions:
                key = (topic.topic, partition.partition)
                answers[key] = code = self._stop_checked(key, partition.leader_epoch)
                if code == NONE:
                    if partition.delete_partition:
                        deletes[key] = self._deletion(key, partition.leader_epoch)
                    around.waiting.drop(key)
                    around.fetchers.leave(key)
                yield
        deleted: set[str] = set()
        for key, deletion in deletes.items():
            answers[key] = self._delete(key, deletion, deleted)
            yield from self._tell([(*key, max(deletion.leader_epoch, NO_EPOCH), False)])
            yield
        if deleted:
            yield from in_work(around.logs.sync_directories)
            around.hosted(deleted)
        around.fetchers.stop_idle()
        self._tell_ignored("StopReplica", request.controller_id)
        if deletes:
            around.log.info("StopReplica: replicas are deleted", controller=request.controller_id, partitions=len(deletes))
        done(StopReplicaResponse(NONE, tuple(StoppedPartition(*key, code) for key, code in answers.items())))

    def _stop_checked(self, key: Key, leader_epoch: int) -> int:
        if self._states.is_offline(key):
            return self._ignored(key, ErrorCode.KAFKA_STORAGE_ERROR, "its log directory is offline", leader_epoch)
        known = max(self._states.leader_epoch(key), self._around.waiting.leader_epoch(key))
        if leader_epoch in (NO_EPOCH, EPOCH_DURING_DELETE) or leader_epoch >= known:
            return NONE
        return self._ignored(key, ErrorCode.FENCED_LEADER_EPOCH, "its leader epoch is older", leader_epoch)

    def _deletion(self, key: Key, leader_epoch: int) -> Deletion:
        waiting, partition = self._around.waiting, self._around.logs.partitions.get(key)
        topic_id = waiting.topic_id(key) if partition is None else partition.topic_id
        return Deletion(topic_id, leader_epoch, max(self._states.leader_epoch(key), waiting.leader_epoch(key)))

    def _delete(self, key: Key, deletion: Deletion, deleted: set[str]) -> int:
        """The role goes first: what is deleted serves nobody. A log of which no controller has told is deleted as well."""
        self._states.by_key.pop(key, None)
        self._around.isr.resign(key)
        deleted.add(key[0])
        try:
            self._around.logs.delete(*key)
            self._deleted.add(key[1], deletion)
            return NONE
        except (OSError, StorageFailure) as error:
            self._states.offline.add(key)
            self._around.log.error("a replica cannot be deleted", partition=_name(key), error=str(error))
            return int(ErrorCode.KAFKA_STORAGE_ERROR)


def _name(key: Key) -> str:
    return f"{key[0]}-{key[1]}"


def refused(request: LeaderAndIsrRequest, code: ErrorCode) -> LeaderAndIsrResponse:
    """Nothing was done: every partition has the error, as in Kafka's getErrorResponse."""
    every = {(topic.topic, state.partition): int(code) for topic in request.topics for state in topic.partitions}
    return LeaderAndIsrResponse(int(code), _answer(request, every).topics)


def _answer(request: LeaderAndIsrRequest, answers: dict[Key, int]) -> LeaderAndIsrResponse:
    topics = []
    for topic in request.topics:
        errors = [PartitionError(state.partition, answers[topic.topic, state.partition]) for state in topic.partitions]
        topics.append(TopicErrors(topic.topic, topic.topic_id, tuple(errors)))
    return LeaderAndIsrResponse(NONE, tuple(topics))
