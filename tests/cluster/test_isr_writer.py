"""With inter.broker.protocol.version below 2.7, leaders write their ISRs themselves, and tell the controller by notifications."""

from __future__ import annotations

import json
from pathlib import Path

from kafka_cy.cluster.isr_writer import CHECK_MS, DELAY_MAX_MS, NOTIFIED_MAX, QUIET_MS, IsrWriter
from kafka_cy.cluster.store import Delete, Operation, Set
from kafka_cy.cluster.store_calls import StoreCalls
from kafka_cy.cluster.znode_formats import PartitionState, decode_partitions
from kafka_cy.cluster.znodes import state_path
from kafka_cy.protocol.controller_messages.alter_partition import (
    AlterPartitionRequest,
    AlterPartitionResponse,
    ChangedPartition,
    IsrMember,
    PartitionChange,
    TopicChange,
)
from kafka_cy.protocol.errors import ErrorCode
from tests.cluster.simulator.clock import Simulation
from tests.cluster.simulator.zookeeper_model import ZooKeeperModel

VARIANTS = json.loads((Path(__file__).parent / "golden_data" / "zookeeper_nodes.json").read_text())["variants"]
NOTIFICATIONS = "/isr_change_notification"


class Log:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def info(self, text: str, **details: object) -> None:
        self.lines.append(text)

    warning = error = info


class Leader:
    """Broker 1 leads t-0 with epoch 3, of replicas 1, 2 and 3; the state's version is 7."""

    def __init__(self) -> None:
        self.simulation = Simulation(0)
        self.zookeeper = ZooKeeperModel(self.simulation)
        for path in (NOTIFICATIONS, "/brokers/ids/1", "/brokers/ids/2", "/brokers/ids/3"):
            self.zookeeper.put(path)
        self.put("t", 0, PartitionState(1, 3, (1, 2), 5), 7)
        self.session = self.zookeeper.session(delay_ms=(0.1, 0.1))
        self.session.connect()
        self.simulation.run_for(1)
        self.log = Log()
        self.writer = IsrWriter(
            1, lambda: StoreCalls(self.session, self.simulation.call_later), self.simulation.call_later,
            self.simulation.clock_ms, self.log,
        )  # fmt: skip
        self.answers: list[AlterPartitionResponse | None] = []

    def put(self, topic: str, index: int, state: PartitionState, version: int) -> None:
        self.zookeeper.put(state_path(topic, index), state.encode(), version=version)

    def state(self, topic: str = "t", index: int = 0) -> tuple[PartitionState, int]:
        node = self.zookeeper.nodes[state_path(topic, index)]
        return PartitionState.decode(node.data), node.version

    def ask(self, *isr: int, epoch: int = 7, leader_epoch: int = 3, topic: str = "t", indexes: tuple[int, ...] = (0,)) -> None:
        members = tuple(IsrMember(each) for each in isr)
        changes = tuple(PartitionChange(index, leader_epoch, members, 0, epoch) for index in indexes)
        self.writer.alter(AlterPartitionRequest(1, 55, (TopicChange(topic, None, changes),)), self.answers.append)

    def alter(self, *isr: int, epoch: int = 7, leader_epoch: int = 3) -> ChangedPartition:
        """The answer."""
        self.ask(*isr, epoch=epoch, leader_epoch=leader_epoch)
        self.simulation.run_for(10)
        answer = self.answers.pop()
        assert answer is not None and answer.error_code == 0
        return answer.topics[0].partitions[0]

    def told(self) -> list[list[tuple[str, int]]]:
        """The notifications; they are deleted, as a controller does."""
        names = sorted(self.zookeeper.children[NOTIFICATIONS])
        found = [decode_partitions(self.zookeeper.nodes[f"{NOTIFICATIONS}/{name}"].data) for name in names]
        assert all(name.startswith("isr_change_") for name in names)
        for name in names:
            self.zookeeper.apply(None, [Delete(f"{NOTIFICATIONS}/{name}")])
        return found


def test_an_isr_grows_and_shrinks() -> None:
    """All but the ISR stays as the controller wrote it."""
    leader = Leader()
    assert leader.alter(1, 2, 3) == ChangedPartition(0, 0, 1, 3, (1, 2, 3), 0, 8)
    assert leader.state() == (PartitionState(1, 3, (1, 2, 3), 5), 8)
    assert leader.alter(1, 3, epoch=8) == ChangedPartition(0, 0, 1, 3, (1, 3), 0, 9)
    assert leader.state() == (PartitionState(1, 3, (1, 3), 5), 9)


def test_a_state_that_somebody_else_wrote_stays() -> None:
    leader = Leader()
    for state, version, error in (
        (PartitionState(1, 3, (1, 2), 5), 8, ErrorCode.INVALID_UPDATE_VERSION),
        (PartitionState(1, 4, (1, 2), 6), 8, ErrorCode.FENCED_LEADER_EPOCH),
        (PartitionState(2, 3, (1, 2), 6), 7, ErrorCode.FENCED_LEADER_EPOCH),
    ):
        leader.put("t", 0, state, version)
        assert leader.alter(1).error_code == error
        assert leader.state() == (state, version)
    leader.zookeeper.apply(None, [Delete(state_path("t", 0))])
    assert leader.alter(1).error_code == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
    leader.zookeeper.put(state_path("t", 0), b"{}", version=7)
    assert leader.alter(1).error_code == ErrorCode.INVALID_REQUEST
    leader.simulation.run_for(2 * DELAY_MAX_MS)
    assert leader.told() == [], "nothing has changed"


def test_a_write_between_the_reading_and_the_writing_is_looked_at_again() -> None:
    """The answer is none that settles the change: IsrChanges asks again."""
    leader = Leader()
    leader.ask(1)
    leader.simulation.run_for(0.25)  # the state was read
    leader.zookeeper.apply(None, [Set(state_path("t", 0), PartitionState(2, 4, (2,), 6).encode())])
    leader.simulation.run_for(10)
    (answer,) = leader.answers
    assert answer is not None and answer.topics[0].partitions[0].error_code == ErrorCode.NETWORK_EXCEPTION
    assert leader.state()[0] == PartitionState(2, 4, (2,), 6)


def test_a_broker_that_is_gone_does_not_join() -> None:
    """Kafka's leader does not look; its controller has taken the broker from the ISR, and will not do it again."""
    leader = Leader()
    leader.zookeeper.apply(None, [Delete("/brokers/ids/3")])
    assert leader.alter(1, 2, 3).error_code == ErrorCode.INELIGIBLE_REPLICA
    assert leader.state() == (PartitionState(1, 3, (1, 2), 5), 7)
    leader.zookeeper.apply(None, [Delete("/brokers/ids/2")])
    assert leader.alter(1).isr == (1,), "and may always leave"


def test_a_broker_that_has_joined_and_is_gone_is_not_refused() -> None:
    """The change was stored, but the server that was read does not have it yet: a refusal would be taken for the stored ISR."""
    leader = Leader()
    leader.ask(1, 2, 3)
    leader.simulation.run_for(0.25)  # the state was read
    leader.put("t", 0, PartitionState(1, 3, (1, 2, 3), 5), 8)
    leader.zookeeper.apply(None, [Delete("/brokers/ids/3")])
    leader.simulation.run_for(10)
    (answer,) = leader.answers
    assert answer is not None and answer.topics[0].partitions[0].error_code == ErrorCode.NETWORK_EXCEPTION
    leader.answers.clear()
    assert leader.alter(1, 2, 3) == ChangedPartition(0, 0, 1, 3, (1, 2, 3), 0, 8)


def test_a_change_whose_reply_was_lost_is_found() -> None:
    leader = Leader()
    leader.put("t", 0, PartitionState(1, 3, (1, 2, 3), 5), 8)
    assert leader.alter(1, 2, 3) == ChangedPartition(0, 0, 1, 3, (1, 2, 3), 0, 8)
    leader.simulation.run_for(CHECK_MS + QUIET_MS)
    assert leader.told() == [[("t", 0)]], "nobody has told of it"


def test_a_lost_connection() -> None:
    """It is not known what became of the change: asked again when ZooKeeper is there again, and told in any case."""
    leader = Leader()
    leader.ask(1)
    leader.simulation.run_for(0.25)
    leader.session.disconnect()
    leader.simulation.call_later(100, leader.session.connect)
    leader.simulation.run_for(1_000)
    (answer,) = leader.answers
    assert answer is not None
    if answer.topics[0].partitions[0].error_code:
        assert answer.topics[0].partitions[0].error_code == ErrorCode.NETWORK_EXCEPTION
        leader.alter(1)
    assert leader.state() == (PartitionState(1, 3, (1,), 5), 8)
    leader.simulation.run_for(CHECK_MS + QUIET_MS)
    assert leader.told() == [[("t", 0)]]


def test_a_session_that_ends_is_no_answer() -> None:
    leader = Leader()
    leader.session.disconnect()
    leader.ask(1)
    leader.zookeeper.expire(leader.session.session_id)
    leader.session.connect()
    leader.simulation.run_for(1_000)
    assert leader.answers == [None]
    assert leader.log.lines == ["an ISR cannot be stored; this is tried again"]
    leader.answers.clear()
    assert leader.alter(1).isr == (1,)


def test_a_server_that_is_behind_catches_up_first() -> None:
    """The leader may have heard of a state from a controller that reads another server."""
    leader = Leader()
    writes: list[Operation] = []
    leader.zookeeper.on_write.append(lambda session, operations, results: writes.extend(operations))
    leader.ask(1, epoch=8)
    leader.simulation.run_for(0.15)
    leader.put("t", 0, PartitionState(1, 3, (1, 2), 5), 8)
    leader.simulation.run_for(10)
    (answer,) = leader.answers
    assert answer is not None and answer.topics[0].partitions[0].partition_epoch == 9
    assert [each.path for each in writes] == ["/", state_path("t", 0)]


def test_the_controller_hears_of_changes_when_there_are_no_more() -> None:
    """Kafka looks every 2.5 s, and tells after 5 s without a change."""
    leader = Leader()
    leader.put("u", 1, PartitionState(1, 3, (1, 2), 5), 7)
    leader.alter(1)
    leader.simulation.run_for(QUIET_MS - 100)
    leader.ask(1, topic="u", indexes=(1,))
    leader.simulation.run_for(QUIET_MS - 100)
    assert leader.told() == []
    leader.simulation.run_for(CHECK_MS + 200)
    assert leader.told() == [[("t", 0), ("u", 1)]]
    leader.simulation.run_for(2 * DELAY_MAX_MS)
    assert leader.told() == [], "once"


def test_the_controller_hears_of_changes_after_a_minute_at_the_latest() -> None:
    leader = Leader()
    epoch = 7
    while leader.simulation.now_ms < DELAY_MAX_MS + CHECK_MS:
        assert leader.alter(*((1,) if epoch % 2 else (1, 2)), epoch=epoch).error_code == 0
        epoch += 1
        leader.simulation.run_for(2_000)
    assert leader.told() == [[("t", 0)]]


def test_a_notification_that_fails_is_told_again() -> None:
    leader = Leader()
    leader.alter(1)
    leader.session.disconnect()
    leader.simulation.run_for(CHECK_MS + QUIET_MS)
    leader.zookeeper.expire(leader.session.session_id)
    leader.session.connect()
    leader.simulation.run_for(CHECK_MS + QUIET_MS)
    assert leader.told()[0] == [("t", 0)]


def test_many_partitions() -> None:
    """States are written some at a time, and one notification names so many as fit into a node."""
    leader = Leader()
    count = NOTIFIED_MAX + 50
    for index in range(count):
        leader.put("many", index, PartitionState(1, 3, (1, 2), 5), 7)
    leader.ask(1, topic="many", indexes=tuple(range(count)))
    leader.simulation.run_for(1_000)
    (answer,) = leader.answers
    assert answer is not None
    assert [each.partition_epoch for each in answer.topics[0].partitions] == [8] * count
    leader.simulation.run_for(2 * (CHECK_MS + QUIET_MS))
    told = leader.told()
    assert [len(each) for each in told] == [NOTIFIED_MAX, 50]
    assert sorted(key for each in told for key in each) == [("many", index) for index in range(count)]


def test_a_notification_is_kafkas() -> None:
    name, text = next((path, text) for path, text in VARIANTS.items() if path.startswith(NOTIFICATIONS))
    leader = Leader()
    for topic, index in decode_partitions(text.encode()):
        leader.put(topic, index, PartitionState(1, 3, (1, 2), 5), 7)
        leader.ask(1, topic=topic, indexes=(index,))
        leader.simulation.run_for(10)
    leader.simulation.run_for(CHECK_MS + QUIET_MS)
    (child,) = leader.zookeeper.children[NOTIFICATIONS]
    assert name.startswith(f"{NOTIFICATIONS}/{child[:-10]}") and child[-10:].isdecimal()
    assert json.loads(leader.zookeeper.nodes[f"{NOTIFICATIONS}/{child}"].data or b"") == json.loads(text)
