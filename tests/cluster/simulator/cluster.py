"""A simulated cluster: brokers, workload, faults, and what must be true once the faults have ended."""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from typing import NamedTuple

from kafka_cy.cluster.store import Delete
from kafka_cy.cluster.znodes import CONTAINERS
from kafka_cy.controller.controller import Controller
from kafka_cy.controller.partition_machine import UNCLEAN_KEY
from kafka_cy.controller.partition_state import TopicPartition
from kafka_cy.protocol.controller_messages.controlled_shutdown import ControlledShutdownRequest
from tests.cluster.simulator.broker import SimulatedBroker
from tests.cluster.simulator.clock import Simulation
from tests.cluster.simulator.directory_faults import DirectoryFaults
from tests.cluster.simulator.health import Health
from tests.cluster.simulator.invariants import Invariants, Violation
from tests.cluster.simulator.network import Network
from tests.cluster.simulator.rules import Rules
from tests.cluster.simulator.unclean_faults import UNCLEAN_TOPIC, UncleanFaults
from tests.cluster.simulator.zookeeper_model import ZooKeeperModel

TOPICS = ("a", "b", "c", "d")
MIN_ISR = 2
CALM_MS = 120_000.0
LULLS = 0.05  # how often the faults pause


class Emphasis(NamedTuple):
    """What happens more often than otherwise, for a negative control."""

    faults: tuple[str, ...] = ()  # names of methods of SimulatedCluster, or of its kinds of faults ("directories.fail")
    late_expansions: float = 0.05  # how often a replica loses its power while it joins an ISR
    lost_answers: float = 0.05  # how often the leader does not hear that it has joined, while it hears nothing of the leader


class SimulatedCluster:
    """Everything follows from the seed."""

    def __init__(
        self,
        seed: int,
        *,
        brokers: int = 4,
        rules: Rules = Rules(),  # noqa: B008 immutable
        emphasis: Emphasis = Emphasis(),  # noqa: B008 immutable
        write_isrs: bool = True,
    ) -> None:
        """`write_isrs`: with some seeds, all or half of the leaders write ISRs themselves (inter.broker.protocol.version 2.6)."""
        self.emphasis = emphasis
        self.simulation = Simulation(seed)
        self.random = self.simulation.random
        self.zookeeper = ZooKeeperModel(self.simulation)
        for path in (*CONTAINERS, "/latest_producer_id_block"):
            self.zookeeper.put(path)
        self.zookeeper.put("/controller_epoch", b"0")
        self.network = Network(self.simulation)
        self.brokers: dict[int, SimulatedBroker] = {}
        for broker_id in range(1, brokers + 1):
            writes_isr = write_isrs and (seed % 4 == 3 or (seed % 4 == 1 and broker_id % 2 == 1))
            self.brokers[broker_id] = SimulatedBroker(
                broker_id, self.zookeeper, self.network, self.brokers, rules, MIN_ISR,
                truncates_first=seed % 4 == 3, writes_isr=writes_isr,
            )  # fmt: skip
        self.invariants = Invariants(self.zookeeper, self.brokers)
        self.health = Health(self.zookeeper, self.brokers, self.invariants)
        self.directories = DirectoryFaults(self)
        self.elections = UncleanFaults(self)
        self.log: list[str] = []
        self._values = 0
        self._calm = False
        for broker in self.brokers.values():
            broker.on_expand = self._expand
            broker.on_all_directories_failed = self.directories.all_failed
            broker.start()

    def note(self, text: str) -> None:
        self.log.append(f"{self.simulation.now_ms:10.1f} {text}")

    # The workload

    def controller(self) -> Controller | None:
        """The controller that is started, if there is one."""
        for broker in self.brokers.values():
            if broker.runs and broker.controller.is_active:
                return broker.controller
        return None

    def topics(self) -> list[str]:
        return sorted(self.zookeeper.children["/brokers/topics"])

    def create_topic(self) -> None:
        controller = self.controller()
        missing = [topic for topic in TOPICS if topic not in self.topics()]
        if controller is None or not missing:
            return
        topic = self.random.choice(missing)
        assignment = [self.random.sample(sorted(self.brokers), 3) for _ in range(self.random.randint(1, 2))]
        self.note(f"create {topic} {assignment}")
        configs = {UNCLEAN_KEY: "true"} if topic == UNCLEAN_TOPIC else {}
        controller.create_topic(topic, assignment, configs, _ignore)

    def delete_topic(self) -> None:
        controller, topics = self.controller(), self.topics()
        if controller is not None and topics:
            topic = self.random.choice(topics)
            self.note(f"delete {topic}")
            controller.delete_topic(topic, _ignore)

    def reassign(self) -> None:
        controller, topics = self.controller(), self.topics()
        if controller is None or not topics:
            return
        partition = TopicPartition(self.random.choice(topics), 0)
        target = None if self.random.random() < 0.2 else self.random.sample(sorted(self.brokers), 3)
        self.note(f"reassign {partition} {target}")
        controller.alter_reassignments({partition: target}, _ignore)

    def elect(self) -> None:
        controller = self.controller()
        if controller is not None:
            self.note("elect preferred leaders")
            controller.elect_leaders(None, False, _ignore)

    def produce(self) -> None:
        """A record to every partition, by way of whoever believes to lead it."""
        for broker in self.brokers.values():
            for partition in broker.partitions.values() if broker.runs else ():
                if partition.is_leader and self.random.random() < 0.7:
                    self._values += 1
                    partition.append(self._values)
                if self.random.random() < 0.1:
                    partition.log.flush()

    def delete_records(self) -> None:
        """DeleteRecords, or retention, at a leader."""
        for broker in self.brokers.values():
            for key, partition in broker.partitions.items() if broker.runs else ():
                if partition.is_leader and self.random.random() < 0.3:
                    offset = self.random.randint(partition.log.start, max(partition.log.start, partition.high_watermark))
                    self.note(f"delete records of {key} below {offset}")
                    partition.delete_records(offset)

    # Faults

    def kill(self) -> None:
        """kill -9: the log stays."""
        up = [broker for broker in self.brokers.values() if broker.up]
        if len(up) > 1:
            broker = self.random.choice(up)
            self.note(f"kill {broker.id}")
            broker.end(clean=False)
            self.simulation.call_later(self.random.uniform(100, 20_000), lambda: self.start(broker))

    def kill_leader(self) -> None:
        """The same, of the leader of some partition."""
        leaders = {state.leader for state in self.invariants.states.values()}
        up = [broker for broker in self.brokers.values() if broker.up]
        found = [broker for broker in up if broker.id in leaders]
        if len(up) > 1 and found:
            broker = self.random.choice(found)
            self.note(f"kill leader {broker.id}")
            broker.end(clean=False)
            self.simulation.call_later(self.random.uniform(100, 12_000), lambda: self.start(broker))

    def start(self, broker: SimulatedBroker) -> None:
        """Start a broker that is down."""
        if not broker.up:
            if not broker.disks.working():
                self.directories.repair(broker)
            self.note(f"start {broker.id}")
            broker.start()

    def pause(self) -> None:
        """SIGSTOP and SIGCONT, shorter or longer than the session."""
        broker = self.random.choice(list(self.brokers.values()))
        if broker.runs:
            time_ms = self.random.choice([200, 2_000, 5_500, 8_000, 15_000]) * self.random.uniform(0.7, 1.2)
            self.note(f"stop {broker.id} for {time_ms:.0f} ms")
            broker.process.stop()
            broker.session.process_stopped()
            self.simulation.call_later(time_ms, lambda: self._proceed(broker))

    def _proceed(self, broker: SimulatedBroker) -> None:
        if broker.process.stopped:
            self.note(f"continue {broker.id}")
            broker.process.proceed()

    def jump(self) -> None:
        """A broker's clock jumps, forward or back."""
        broker = self.random.choice(list(self.brokers.values()))
        offset_ms = self.random.choice([-10_000, -2_000, 1_000, 4_000, 30_000])
        self.note(f"the clock of {broker.id} jumps by {offset_ms} ms")
        broker.process.clock_offset_ms += offset_ms

    def lose_majority(self) -> None:
        """No majority of the ZooKeeper servers, for shorter or longer than a session."""
        if self.zookeeper.has_majority and self.random.random() < 0.5:
            time_ms = self.random.choice([300, 3_000, 12_000])
            self.note(f"ZooKeeper has no majority for {time_ms} ms")
            self.zookeeper.lose_majority()
            self.simulation.call_later(time_ms, self.zookeeper.regain_majority)

    def expire(self) -> None:
        """The servers end a session at once."""
        broker = self.random.choice(list(self.brokers.values()))
        if broker.up and broker.session.session_id and self.zookeeper.has_majority:
            self.note(f"the session of {broker.id} is ended")
            self.zookeeper.expire(broker.session.session_id)

    def shut_down(self) -> None:
        """Controlled shutdown, then the end of the process."""
        controller = self.controller()
        up = [broker for broker in self.brokers.values() if broker.runs and broker.registered]
        if controller is None or len(up) < 2:
            return
        broker = self.random.choice(up)
        self.note(f"controlled shutdown of {broker.id}")
        incarnation = broker.process.incarnation

        def stop(response: object) -> None:
            if broker.up and not broker.runs and broker.process.incarnation == incarnation:
                self.simulation.call_later(100, lambda: stop(response))  # it is stopped (SIGSTOP), and gets the response later
            elif broker.runs and broker.process.incarnation == incarnation:
                self.note(f"stop {broker.id}: {response}")
                broker.manager.stop_fetching()
                self.simulation.call_later(self.random.uniform(1, 50), end)

        def end() -> None:
            if not broker.up or broker.process.incarnation != incarnation:
                return
            if not broker.runs:
                self.simulation.call_later(100, end)
            else:
                broker.end(clean=True)
                self.simulation.call_later(self.random.uniform(100, 5_000), lambda: self.start(broker))

        controller.controlled_shutdown(ControlledShutdownRequest(broker.id, broker.epoch), stop)

    def disconnect(self) -> None:
        """A broker loses ZooKeeper, for shorter or longer than its session."""
        broker = self.random.choice(list(self.brokers.values()))
        if broker.runs and broker.session.is_connected:
            time_ms = self.random.choice([50, 1_000, 5_900, 9_000, 20_000]) * self.random.uniform(0.5, 1.1)
            self.note(f"{broker.id} loses ZooKeeper for {time_ms:.0f} ms")
            session = broker.session
            session.disconnect()
            self.simulation.call_later(time_ms, session.connect)

    def cut(self) -> None:
        """One direction between two brokers is cut."""
        pair = self.random.choice([(a, b) for a in self.brokers for b in self.brokers if a != b])
        self._cut(pair, self.random.uniform(500, 15_000))

    def _cut(self, pair: tuple[int, int], time_ms: float) -> None:
        self.note(f"cut {pair[0]} -> {pair[1]}")
        self.network.cut.add(pair)
        self.simulation.call_later(time_ms, lambda: self.network.cut.discard(pair))

    def unsettle(self) -> None:
        """Loss, duplicates and long delays for a while."""
        self.network.loss, self.network.duplicates = self.random.choice([(0.05, 0.1), (0.2, 0.0), (0.0, 0.3)])
        self.network.delay_ms = self.random.choice([(0.2, 5.0), (0.2, 300.0)])

        def settle() -> None:
            self.network.settle()

        self.simulation.call_later(self.random.uniform(1_000, 10_000), settle)

    def move_controller(self) -> None:
        """An operator deletes /controller, as Kafka's users do to move it; the old one hears of it later."""
        if "/controller" in self.zookeeper.nodes:
            self.note("delete /controller")
            self.zookeeper.apply(None, [Delete("/controller")])

    def cut_power(self) -> None:
        """A broker loses the end of its logs. In calm only: with a second failure at the same time, Kafka loses records, too."""
        controller = self.controller()
        candidates = [each for each in self.brokers.values() if each.up and each.controller is not controller]
        if candidates and self.is_undisturbed():
            self._lose_power(self.random.choice(candidates), self.random.uniform(100, 10_000))

    def is_undisturbed(self) -> bool:
        """Whether all is well, and no fault is on its way: a broker that loses records is not the second failure."""
        connected = all(broker.runs and broker.session.is_connected for broker in self.brokers.values())
        network = not self.network.cut and not self.network.loss
        return connected and network and not self.directories.any_broken() and self.health.problem() is None

    def taint(self, broker: SimulatedBroker, key: tuple[str, int]) -> None:
        """A broker has lost the end of a log."""
        state = self.invariants.states.get(TopicPartition(*key))
        if state is not None and broker.id in state.isr:
            self.invariants.tainted.add((broker.id, TopicPartition(*key)))

    def _lose_power(self, broker: SimulatedBroker, down_ms: float) -> None:
        if not broker.up:
            return
        self.note(f"power cut of {broker.id}")
        self.invariants.lost_power[broker.id] = broker.epoch
        broker.end(clean=False)
        for _, key, log in broker.disks.logs():
            log.lose_tail()
            self.taint(broker, key)
        self.simulation.call_later(down_ms, lambda: self.start(broker))
        self.stay_calm(down_ms + 2_000)

    def stay_calm(self, time_ms: float) -> None:
        """No further faults for some time, and until everything is well."""
        self._calm = True

        def recovered() -> None:
            if self.health.problem() is None:
                self._calm = False
            else:
                self.simulation.call_later(500, recovered)

        self.simulation.call_later(time_ms, recovered)

    def _expand(self, leader: SimulatedBroker, joining: int) -> None:
        """A replica joins an ISR: sometimes it loses its power while the leader's request is late."""
        controller = next((each for each in self.brokers.values() if each.runs and each.controller.is_active), None)
        if self._calm or self.directories.any_broken():
            return
        if controller is None or leader is controller or self.brokers[joining] is controller:
            return
        if self.random.random() < self.emphasis.lost_answers:
            for pair in ((controller.id, leader.id), (leader.id, joining)):
                self._cut(pair, self.random.uniform(500, 4_000))
        if self.random.random() > self.emphasis.late_expansions or leader.known_controller != controller.id:
            return
        if not self.others_have_everything(joining):
            return
        # It is away when the request arrives, or there again, but its leader has not heard of it yet.
        cut_ms, down_ms = self.random.choice([(8_500, 20_000), (14_000, 8_000)])
        self._cut((leader.id, controller.id), cut_ms)
        if down_ms < cut_ms:
            self._cut((joining, leader.id), cut_ms + 2_000)
        # At the next moment, so that the broker's own code is not in the middle of something.
        self.simulation.call_later(0, lambda: self._lose_power(self.brokers[joining], down_ms))
        self._calm = True

    def others_have_everything(self, broker_id: int) -> bool:
        """Whether each ISR that has the broker has another member, and those work: else Kafka loses records, too."""
        for partition, state in self.invariants.states.items():
            others = [self.brokers[each] for each in state.isr if each != broker_id]
            if broker_id in state.isr and not (others and all(each.up and not each.is_offline(partition) for each in others)):
                return False
        return True

    def run(self, time_ms: float) -> None:
        """Workload and faults for some virtual time, then calm, then everything must be well."""
        quiet = [self.produce, self.produce, self.produce, self.create_topic, self.elect, self.delete_records]
        faults: list[Callable[[], None]] = [
            self.kill,
            self.kill_leader,
            self.pause,
            self.jump,
            self.lose_majority,
            self.expire,
            self.shut_down,
            self.disconnect,
            self.cut,
            self.unsettle,
            self.cut_power,
            self.move_controller,
            self.reassign,
            self.reassign,
            self.directories.fail,
            self.directories.fail,
            self.directories.move,
            self.elections.flip,
            self.elections.ask,
        ]
        faults += [attrgetter(name)(self) for name in self.emphasis.faults] * 8
        end_ms = self.simulation.now_ms + time_ms
        self.simulation.run_for(2_000)
        for _ in TOPICS:
            self.create_topic()
            self.simulation.run_for(300)
        while self.simulation.now_ms < end_ms:
            if not self._calm and self.random.random() < LULLS:
                self._lull()
            choices = quiet if self._calm else quiet + faults
            if not self._calm and self.random.random() < 0.03:
                self.delete_topic()
            self.random.choice(choices)()
            self.produce()
            self.simulation.run_for(self.random.expovariate(1 / 400))
        self.calm_down()

    def _lull(self) -> None:
        """Time to recover: else most of a simulation has no leaders, and nothing can be lost. Disks stay as they are."""
        self.note("lull")
        self._end_faults()
        for _ in range(self.random.randint(4, 20)):
            self.simulation.run_for(300)
            self.produce()

    def _end_faults(self) -> None:
        self.network.cut.clear()
        self.network.settle()
        self.zookeeper.regain_majority()
        for broker in self.brokers.values():
            self._proceed(broker)
            self.start(broker)
            broker.session.connect()

    def calm_down(self) -> None:
        """The faults end: everything must become well; without the failed log directories first, then with them."""
        self._end_faults()
        self.directories.are_over = True
        self.note("calm")
        if self.directories.any_broken():
            self._become_well(degraded=True)
            for broker in self.brokers.values():
                self.directories.replace_all(broker)
        self._become_well(degraded=False)

    def _become_well(self, *, degraded: bool) -> None:
        for _ in range(3):
            if self.simulation.run_until(lambda: self.health.problem(degraded=degraded) is None, CALM_MS / 3):
                return
            if not self._restart_where_needed():
                break
        where = "without failed directories: " if degraded else ""
        raise Violation(f"7: {where}{self.health.problem(degraded=degraded)}")

    def _restart_where_needed(self) -> bool:
        """What an operator does, as with Kafka: a broker that was away while a topic was deleted keeps its log or its metadata."""
        restarted = False
        for broker in self.brokers.values():
            stale = {each.topic for each in broker.cache} - set(self.topics()) if broker.up else set()
            if broker.up and (broker.needs_restart or stale):
                self.note(f"restart {broker.id}")
                broker.end(clean=True)
                broker.start()
                restarted = True
        return restarted


def _ignore(answer: object) -> None:
    pass
