"""A simulated broker: the broker's own registration, election, controller and replica manager over models of all that surrounds
them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kafka_cy.cluster.change_notifications import tell_of_failed_log_dir
from kafka_cy.cluster.election import Election
from kafka_cy.cluster.isr_writer import IsrWriter
from kafka_cy.cluster.registration import NO_EPOCH, Registration
from kafka_cy.cluster.store_calls import StoreCalls
from kafka_cy.cluster.znode_formats import BrokerInfo, Endpoint, TopicAssignment
from kafka_cy.controller.context import Broker
from kafka_cy.controller.controller import Controller
from kafka_cy.controller.partition_state import TopicPartition
from kafka_cy.controller.settings import ControllerSettings, Surroundings
from kafka_cy.protocol.controller_messages import leader_and_isr, update_metadata
from kafka_cy.protocol.controller_messages.alter_partition import AlterPartitionRequest, AlterPartitionResponse
from kafka_cy.protocol.controller_messages.leader_and_isr import LeaderAndIsrRequest
from kafka_cy.protocol.controller_messages.stop_replica import StopReplicaRequest
from kafka_cy.protocol.controller_messages.update_metadata import (
    UpdateMetadataPartition,
    UpdateMetadataRequest,
    UpdateMetadataResponse,
)
from kafka_cy.protocol.errors import ErrorCode
from kafka_cy.replication.fetchers import Endpoint as FetchedFrom
from kafka_cy.replication.follower_decisions import Answer, Question
from kafka_cy.replication.replica_manager import BrokerSide, ReplicaManager
from kafka_cy.replication.settings import ReplicationSettings, request_versions
from tests.cluster.simulator.data_plane import BACKOFF_MS, SimulatedDataPlane
from tests.cluster.simulator.directories import Directories
from tests.cluster.simulator.log import SimulatedLog
from tests.cluster.simulator.logs import SimulatedLogs
from tests.cluster.simulator.network import Network
from tests.cluster.simulator.partition import LAG_MS, AskedPartition, FetchedPartition, SimulatedPartition
from tests.cluster.simulator.process import THREADS_MS, Process, SimulatedLoop
from tests.cluster.simulator.rules import Rules
from tests.cluster.simulator.zookeeper_model import ModelSession, ZooKeeperModel

CHECKPOINT_MS = 5_000.0
DIRECTORIES = 2
OF_DIRECTORIES = ("a replica is offline", "a replica cannot be deleted")  # errors that a failed log directory leads to
Key = tuple[str, int]
Respond = Callable[[object], object]


class SimulatedBroker:
    """`disks` outlive the process. `faults`: what must never happen."""

    def __init__(
        self,
        broker_id: int,
        zookeeper: ZooKeeperModel,
        network: Network,
        peers: dict[int, SimulatedBroker],
        rules: Rules,
        min_isr: int,
        *,
        truncates_first: bool = False,
        writes_isr: bool = False,
    ) -> None:
        """`truncates_first`, `writes_isr`: as with inter.broker.protocol.version below 2.7."""
        self.id = broker_id
        self.disks = Directories(DIRECTORIES)
        self.rules = rules
        self.min_isr = min_isr
        self.faults: list[str] = []
        self.needs_restart = False  # a log of an earlier topic is in the way: the next start sets it aside
        self.on_all_directories_failed: Callable[[SimulatedBroker], object] = lambda broker: None
        self.on_expand: Callable[[SimulatedBroker, int], object] = lambda leader, joining: None
        self.zookeeper = zookeeper
        self.simulation = zookeeper.simulation
        self.network = network
        self.peers = peers
        self.process = Process(self.simulation)
        self._truncates_first, self._writes_isr = truncates_first, writes_isr
        network.processes[broker_id] = self.process

    @property
    def up(self) -> bool:
        """The process is there. It may be stopped."""
        return self.process.up

    @property
    def runs(self) -> bool:
        return self.process.up and not self.process.stopped

    @property
    def registered(self) -> bool:
        return self.up and self.registration.epoch != NO_EPOCH

    @property
    def partitions(self) -> dict[Key, SimulatedPartition]:
        return self.logs.partitions

    def start(self) -> None:
        """The process starts."""
        self.process.start()
        self.simulation.changes += 1
        self.network.restarted(self.id)
        self.needs_restart = False
        self.epoch = 0
        self.controller_epoch = 0  # that UpdateMetadata has brought
        self.known_controller = -1
        self.live: set[int] = set()
        self.cache: dict[TopicPartition, UpdateMetadataPartition] = {}
        self.roles_told: dict[Key, tuple[int, bool]] = {}
        self.session: ModelSession = self.zookeeper.session(self.process)
        self._set_aside_earlier()
        process = self.process
        self._isr_writer = IsrWriter(
            self.id, lambda: StoreCalls(self.session, process.later), process.later, process.clock_ms, Log(self)
        )
        self.logs = SimulatedLogs(self.id, self.process, self.disks, self._host, self._directory_failed)
        self._loop = SimulatedLoop(self.process)
        self.manager = self._replica_manager()
        self.manager.start()
        self._control_plane()
        self.session.connect()
        self._checkpoint_later()

    def _set_aside_earlier(self) -> None:
        """As ClusterMember.open_logs: the log of an earlier topic that had the name."""
        for directory, key, log in self.disks.logs():
            node = self.zookeeper.nodes.get(f"/brokers/topics/{key[0]}")
            topic_id = TopicAssignment.decode(node.data).topic_id if node is not None else None
            if not directory.broken and topic_id is not None and topic_id.bytes != log.topic_id:
                del directory.logs[key]
        self.disks.settle_duplicates()

    def _host(self, key: Key, log: SimulatedLog) -> SimulatedPartition:
        return SimulatedPartition(key, self.id, log, self.rules, self.min_isr, self.process, self.live)

    def _replica_manager(self) -> ReplicaManager:
        settings = ReplicationSettings(
            self.id, request_versions("3.9"), lag_time_max_ms=LAG_MS, fetch_backoff_ms=int(BACKOFF_MS)
        )
        side = BrokerSide(
            alter_partition=self._alter_partition,
            topic_config=lambda topic: {},
            is_unknown=lambda topic: False,
            hosted=lambda topics: None,
            leadership=self._leadership,
            log_dir_failed=lambda: self._post(self._tell_of_failed_log_dir),
            log=Log(self),
            fault=self._fault,
        )
        return ReplicaManager(settings, self.logs, self._loop, side, self._data_plane)

    def _data_plane(self, settings: Any, side: Any, endpoint_of: Any, post: Any) -> SimulatedDataPlane:
        self.plane = SimulatedDataPlane(self, post, truncates_first=self._truncates_first)
        return self.plane

    def _control_plane(self) -> None:
        log, process = Log(self), self.process
        settings = ControllerSettings(self.id, "REPL", auto_leader_rebalance_enable=False)
        around = Surroundings(process.clock_ms, process.later, _Transport(self), log.info, log.warning)
        self.controller = Controller(settings, around, self.session, lambda release: self.election.lost(release))
        self.election = Election(
            self.session,
            self.id,
            wall_clock_ms=lambda: int(process.clock_ms()),
            call_later=process.later,
            log=log,
            elected=self.controller.elected,
            resigned=self.controller.resign,
        )
        self.registration = Registration(
            self.session,
            self.id,
            BrokerInfo((Endpoint("REPL", "PLAINTEXT", f"host{self.id}", 9000 + self.id),)),
            "REPL",
            call_later=process.later,
            log=log,
            registered=self._registered,
            lost=lambda: None,
            refused=lambda why: self.faults.append(f"the registration was refused: {why}"),
        )
        self.registration.start()

    def _registered(self, epoch: int) -> None:
        self.epoch = epoch
        self.manager.registered(epoch)
        self.election.contend()

    def _fault(self, what: str, error: BaseException) -> None:
        self.faults.append(f"{what}: {error!r}")

    def _post(self, function: Callable[[], object]) -> None:
        """To the controller's thread."""
        self.process.later(self.simulation.random.uniform(0, THREADS_MS), function)

    def _directory_failed(self, path: str, reason: str, lost: list[Any]) -> None:
        """As KafkaServer and ClusterMember.log_dir_offline."""
        self.manager.log_dir_failed(lost)
        if self.logs.all_failed:
            self.on_all_directories_failed(self)

    def _tell_of_failed_log_dir(self) -> None:
        tell_of_failed_log_dir(StoreCalls(self.session, self.process.later), self.id, Log(self))

    def is_offline(self, key: Key) -> bool:
        """Whether the broker cannot use a replica, because of its log directory."""
        return self.disks.is_broken(key) or self.manager.states.is_offline(key)

    def has_role(self, key: Key) -> bool:
        """Whether it leads or follows a partition."""
        hosted = self.partitions.get(key)
        leads = key in self.manager.isr.led or (hosted is not None and hosted.is_leader)
        return leads or key in self.manager.fetchers.following or self.roles_told.get(key, (0, False))[1]

    def elect_missing(self) -> None:
        """A topic allows unclean elections now."""
        self.controller.elect_missing()

    def _checkpoint_later(self) -> None:
        def write() -> None:
            self.logs.write_high_watermarks()
            self._checkpoint_later()

        self.process.later(CHECKPOINT_MS, write)

    def end(self, clean: bool) -> None:
        """The process ends; clean: so does its session, at once."""
        if clean:
            self.logs.write_high_watermarks()
        self.network.restarted(self.id)
        self.process.end()
        self.controller.resign()
        if clean:
            self.session.close()
        else:
            self.session.crash()

    # The controller's requests

    def receive(self, api_key: int, version: int, body: bytes, respond: Callable[[bytes | None], object]) -> None:
        """Act on a request of the controller."""
        if self.epoch == 0:
            return  # a new process listens when it is registered
        respond_to = self._responder(version, respond)
        if api_key == update_metadata.API_KEY:
            update = UpdateMetadataRequest.decode(version, body)
            respond(UpdateMetadataResponse(self._update_metadata(update)).encode(version))
        elif api_key == leader_and_isr.API_KEY:
            self.manager.leader_and_isr(lambda: LeaderAndIsrRequest.decode(version, body), respond_to)
        else:
            self.manager.stop_replica(lambda: StopReplicaRequest.decode(version, body), respond_to)

    def _responder(self, version: int, respond: Callable[[bytes | None], object]) -> Callable[[Any], object]:
        incarnation = self.process.incarnation

        def answered(response: Any) -> None:
            if not self.up or self.process.incarnation != incarnation:
                return  # the process has ended in the middle of the request
            if response is None:
                self.faults.append("a request of the controller failed")
            else:
                respond(response.encode(version))

        return answered

    def _update_metadata(self, request: UpdateMetadataRequest) -> int:
        """MetadataUpdates."""
        if -1 < request.broker_epoch < self.epoch:
            return int(ErrorCode.STALE_BROKER_EPOCH)
        if request.controller_epoch < self.controller_epoch:
            return int(ErrorCode.STALE_CONTROLLER_EPOCH)
        self.controller_epoch = request.controller_epoch
        self.known_controller = request.controller_id
        for topic in request.topics:
            for state in topic.partitions:
                partition = TopicPartition(topic.topic, state.partition)
                if state.leader == update_metadata.LEADER_DURING_DELETE:
                    self.cache.pop(partition, None)
                else:
                    self.cache[partition] = state
        self._loop.call_soon_threadsafe(self._see_controller, request.controller_epoch)
        live = {each.broker_id: FetchedFrom(f"host{each.broker_id}", 9000) for each in request.live_brokers}
        self.manager.brokers_changed(live)
        return 0

    def _see_controller(self, epoch: int) -> None:
        states = self.manager.states
        states.controller_epoch = max(states.controller_epoch, epoch)

    def _leadership(self, topic: str, partition: int, leader_epoch: int, leads: bool) -> None:
        self.roles_told[topic, partition] = leader_epoch, leads

    # Replication

    def serve_fetch(self, broker_id: int, asked: list[AskedPartition], respond: Respond, epochs_unknown: bool) -> None:
        """The leader's side of a fetch."""
        answers: dict[Key, FetchedPartition] = {}
        for each in asked:
            partition = self.partitions.get(each.key)
            if partition is None:
                answers[each.key] = FetchedPartition(int(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION))
                continue
            answers[each.key], may_join = partition.serve(broker_id, each)
            if partition.is_retired and not answers[each.key].error:
                self.faults.append(f"{each.key}: a fetch is answered, although its log directory has failed")
            if may_join:
                self.plane.tell_candidate(each.key)
        respond(answers)

    def serve_questions(self, questions: list[Question], respond: Respond) -> None:
        """ListOffsets and OffsetForLeaderEpoch."""
        answers = []
        for question in questions:
            partition = self.partitions.get(question.key)
            error = int(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
            if partition is not None:
                error = partition.check_leader(question.leader_epoch)
            if error or partition is None:
                answers.append(Answer(error))
            elif question.kind == "epoch":
                epoch, end = partition.log.end_offset_for_epoch(question.epoch)
                if not self.rules.truncate_by_epoch:
                    epoch, end = question.epoch, partition.log.end
                answers.append(Answer(0, end, epoch))
            else:
                answers.append(Answer(0, partition.log.end if question.kind == "end" else partition.log.start))
        respond(answers)

    def _alter_partition(
        self, request: AlterPartitionRequest, done: Callable[[AlterPartitionResponse | None], object]
    ) -> None:
        """To the controller, as far as it is known (ControllerChannel), or to ZooKeeper."""
        if self._writes_isr:
            self._isr_writer.alter(request, done)
            return
        for topic in request.topics:
            for change in topic.partitions:
                led = self.manager.isr.led.get((topic.topic, change.partition))
                for member in change.new_isr:
                    if led is not None and member.broker_id not in led.isr:
                        self.on_expand(self, member.broker_id)
        target = self.peers.get(self.known_controller)
        if target is None:
            self.process.later(0, done, None)
            return

        sent = request.encode(3)

        def serve(respond: Respond) -> None:
            target.controller.alter_partition(
                AlterPartitionRequest.decode(3, sent), 3, lambda response: respond(response.encode(3))
            )

        def answered(response: object) -> None:
            done(AlterPartitionResponse.decode(3, response) if isinstance(response, bytes) else None)

        self.network.call(self.id, target.id, serve, answered)


class Log:
    """A broker's log: most of what it says is of no interest."""

    def __init__(self, broker: SimulatedBroker) -> None:
        self._broker = broker

    def info(self, text: str, **details: object) -> None:
        pass

    def warning(self, text: str, **details: object) -> None:
        if "is of an earlier topic" in text:
            self._broker.needs_restart = True
        if text.startswith(("controller event", "the controller cannot start")):
            self._broker.faults.append(text)

    def repeated(self, level: str, text: str, details: dict[str, object], address: str = "") -> None:
        pass

    def error(self, text: str, **details: object) -> None:
        if not text.startswith(OF_DIRECTORIES):
            self._broker.faults.append(f"{text} {details}")


class _Transport:
    """Requests of a controller to brokers, over the simulated network."""

    def __init__(self, broker: SimulatedBroker) -> None:
        self._broker = broker

    def send(
        self, broker: Broker, api_key: int, version: int, body: bytes, done: Callable[[bytes | None], object]
    ) -> None:
        own, target = self._broker, self._broker.peers[broker.id]

        def finished(response: object) -> None:
            done(response if isinstance(response, bytes) else None)

        # UpdateMetadata has no epoch of a partition, and a deletion none at all: on one connection they do not come twice.
        own.network.call(
            own.id,
            broker.id,
            lambda respond: target.receive(api_key, version, body, respond),
            finished,
            duplicated=api_key == leader_and_isr.API_KEY,
        )

    def disconnect(self, broker_id: int) -> None:
        """Nothing is kept open."""
