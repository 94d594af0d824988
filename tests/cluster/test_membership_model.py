"""Registration and election over a seeded model of ZooKeeper, whatever breaks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from kafka_cy.cluster import znodes
from kafka_cy.cluster.cluster_identity import WrongCluster, create_common_nodes, find_cluster_id, generate_broker_id
from kafka_cy.cluster.election import NO_CONTROLLER, Election
from kafka_cy.cluster.registration import NO_EPOCH, Registration
from kafka_cy.cluster.store import Create, Delete, Set
from kafka_cy.cluster.store_calls import StoreCalls, run
from kafka_cy.cluster.znode_formats import BrokerInfo, Endpoint
from tests.cluster.simulator.clock import Simulation
from tests.cluster.simulator.zookeeper_model import ZooKeeperModel
from tests.cluster.store_owner import Log

LISTENER = "REPL"


def info(broker_id: int, listener: str = LISTENER, port: int | None = None) -> BrokerInfo:
    return BrokerInfo((Endpoint(listener, "PLAINTEXT", "h", port or 9000 + broker_id),), f"r{broker_id}")


class World:
    """Virtual time, a ZooKeeper model with the common nodes, and its brokers."""

    def __init__(self, seed: int = 0) -> None:
        self.simulation = Simulation(seed)
        self.model = ZooKeeperModel(self.simulation)
        self.log = Log()
        self.session = self.model.session()
        self.session.connect()
        self.result(create_common_nodes)

    def result(self, steps: Callable[[StoreCalls], Any]) -> Any:
        """Run steps of the world's own session; what they raise is raised."""
        ended: list[tuple[Any, Exception | None]] = []
        calls = StoreCalls(self.session, self.simulation.call_later)
        run(steps(calls), lambda value, fault: ended.append((value, fault)))
        assert self.simulation.run_until(lambda: bool(ended))
        if ended[0][1] is not None:
            raise ended[0][1]
        return ended[0][0]

    def wall_clock_ms(self) -> int:
        return int(self.simulation.now_ms)


class Member:
    """A broker's registration and election, as a broker connects them."""

    def __init__(self, world: World, broker_id: int, its_info: BrokerInfo | None = None) -> None:
        self.world, self.broker_id = world, broker_id
        self.store = world.model.session()
        self.heard: list[Any] = []
        self.terms: list[int] = []
        self.controllers: list[int] = []
        self.election = Election(
            self.store,
            broker_id,
            wall_clock_ms=world.wall_clock_ms,
            call_later=world.simulation.call_later,
            log=world.log,
            elected=self._elected,
            resigned=lambda: self.heard.append("resigned"),
            controller_changed=self.controllers.append,
        )
        self.registration = Registration(
            self.store,
            broker_id,
            its_info or info(broker_id),
            LISTENER,
            call_later=world.simulation.call_later,
            log=world.log,
            registered=self._registered,
            lost=lambda: self.heard.append("lost"),
            refused=lambda why: self.heard.append(why),
        )
        self.registration.start()
        self.store.connect()

    def _registered(self, epoch: int) -> None:
        self.heard.append(epoch)
        self.election.contend()

    def _elected(self, epoch: int, epoch_version: int) -> None:
        node = self.world.model.nodes[znodes.CONTROLLER_EPOCH]
        self.terms.append(epoch)
        self.heard.append(("elected", epoch, epoch_version))
        assert int(node.data or b"") >= epoch

    @property
    def is_settled(self) -> bool:
        node = self.world.model.nodes.get(f"{znodes.BROKER_IDS}/{self.broker_id}")
        return node is not None and node.owner == self.store.session_id and self.registration.epoch == node.created_id


def settle(world: World, members: list[Member]) -> None:
    """Everybody is registered, and all agree on one controller, which knows of it."""

    def settled() -> bool:
        node = world.model.nodes.get(znodes.CONTROLLER)
        active = [member for member in members if member.election.active]
        return (
            all(member.is_settled for member in members)
            and node is not None
            and len(active) == 1
            and active[0].store.session_id == node.owner
            and {member.election.controller_id for member in members} == {active[0].broker_id}
        )

    assert world.simulation.run_until(settled), (world.log.lines[-20:], [member.heard for member in members])


def test_the_node_is_what_kafka_writes_and_its_creation_is_the_epoch() -> None:
    world = World()
    member = Member(world, 3)
    settle(world, [member])
    node = world.model.nodes["/brokers/ids/3"]
    assert (BrokerInfo.decode(node.data), node.version) == (info(3), 1)
    assert member.heard == [node.created_id, ("elected", 1, 1)]
    assert world.model.nodes[znodes.CONTROLLER_EPOCH].data == b"1"


@pytest.mark.parametrize(
    ("its_info", "why"),
    [
        (info(2, "CLIENT"), "inter.broker.listener.name is REPL, but only CLIENT is advertised"),
        (BrokerInfo(()), "inter.broker.listener.name is REPL, but only nothing is advertised"),
        (info(2, port=9001), "broker 1 has registered the advertised address h:9001 already"),
        (BrokerInfo((*info(2).endpoints, Endpoint(LISTENER, "SSL", "h", 1))), "listener REPL is advertised twice"),
    ],
)
def test_a_harmful_registration_is_refused_before_it_is_written(its_info: BrokerInfo, why: str) -> None:
    world = World()
    settle(world, [Member(world, 1)])
    member = Member(world, 2, its_info)
    world.simulation.run_for(10_000)
    assert member.heard == [why] and "/brokers/ids/2" not in world.model.nodes
    member.store.disconnect()
    member.store.connect()
    world.simulation.run_for(10_000)
    assert member.heard == [why] and "/brokers/ids/2" not in world.model.nodes


def test_other_brokers_must_have_the_inter_broker_listener() -> None:
    world = World()
    world.model.apply(world.session, [Create("/brokers/ids/7", info(7, "OTHER").encode(), ephemeral=True)])
    world.model.apply(world.session, [Create("/brokers/ids/8", b"malformed", ephemeral=True)])
    member = Member(world, 2)
    world.simulation.run_for(10_000)
    assert member.heard == ["inter.broker.listener.name is REPL, but broker 7 has only OTHER"]
    assert world.log.count("registration of broker 8 is malformed") == 1


def test_the_session_of_a_killed_process_is_waited_for() -> None:
    world = World()
    first = Member(world, 1)
    settle(world, [first])
    first.store.crash()
    second = Member(world, 1)
    world.simulation.run_for(3000)
    assert second.heard == [] and world.log.count("waiting until it ends") == 1
    settle(world, [second])
    assert world.simulation.now_ms < 10_000 and world.log.count("waiting until it ends") == 1
    assert second.registration.epoch > first.registration.epoch and second.terms == [2]


def test_a_deleted_registration_is_written_again() -> None:
    world = World()
    member = Member(world, 1)
    settle(world, [member])
    epoch = member.registration.epoch
    world.model.apply(None, [Delete("/brokers/ids/1")])
    assert world.simulation.run_until(lambda: member.registration.epoch != epoch)
    assert member.registration.epoch > epoch and world.log.count("registers again") == 1


def test_a_new_session_is_a_new_registration_and_a_new_election() -> None:
    world = World()
    members = [Member(world, 1)]
    settle(world, members)
    members.append(Member(world, 2))
    settle(world, members)
    first = members[0]
    epoch = first.registration.epoch
    world.model.expire(first.store.session_id)
    settle(world, members)
    assert first.registration.epoch > epoch
    assert [each for each in first.heard if each in ("lost", "resigned")] == ["resigned", "lost"]
    assert [member.terms for member in members] in ([[1], [2]], [[1, 2], []])


def test_when_controller_is_deleted_or_taken_over_the_old_one_resigns() -> None:
    world = World()
    members = [Member(world, 1), Member(world, 2)]
    settle(world, members)
    winner = next(member for member in members if member.election.active)
    world.model.apply(None, [Delete(znodes.CONTROLLER)])
    assert world.simulation.run_until(lambda: "resigned" in winner.heard)
    settle(world, members)
    data = znodes.controller_data(9, 0)
    old = next(member for member in members if member.election.active)
    world.model.apply(
        world.session,
        [
            Delete(znodes.CONTROLLER),
            Create(znodes.CONTROLLER, data, ephemeral=True),
            Set(znodes.CONTROLLER_EPOCH, b"3"),
        ],
    )
    assert world.simulation.run_until(lambda: all(member.election.controller_id == 9 for member in members))
    assert not old.election.active and old.heard[-1] == "resigned"
    world.model.apply(None, [Delete(znodes.CONTROLLER)])
    settle(world, members)
    assert max(term for member in members for term in member.terms) == 4


@pytest.mark.parametrize("release", [True, False])
def test_a_controller_that_cannot_go_on_leaves_the_office(release: bool) -> None:
    world = World()
    member = Member(world, 1)
    settle(world, [member])
    member.election.lost(release)
    assert not member.election.active
    settle(world, [member])
    assert member.terms == [1, 2]  # never two terms with one epoch


def test_a_controller_that_came_and_went_unseen_has_used_its_epoch() -> None:
    """Between our look at the nodes and our attempt, another broker is elected and resigns: its epoch must not be ours, too."""
    world = World()
    world.model.apply(None, [Create(znodes.CONTROLLER_EPOCH, b"0")])
    store = world.model.session()
    between = [True]
    read = store.read

    def read_and_wait(requests: Any, done: Any) -> None:
        def answered(answer: Any, error: Any) -> None:
            if between.pop() if between else False:
                data = znodes.controller_data(2, 0)
                change = [Create(znodes.CONTROLLER, data, ephemeral=True), Set(znodes.CONTROLLER_EPOCH, b"1", 0)]
                world.model.apply(world.session, change)
                world.model.apply(world.session, [Delete(znodes.CONTROLLER)])
            done(answer, error)

        read(requests, answered)

    store.read = read_and_wait  # type: ignore[method-assign]
    terms: list[tuple[int, int]] = []
    election = Election(
        store,
        1,
        wall_clock_ms=world.wall_clock_ms,
        call_later=world.simulation.call_later,
        log=world.log,
        elected=lambda epoch, epoch_version: terms.append((epoch, epoch_version)),
        resigned=lambda: None,
    )
    store.connect()
    election.contend()
    assert world.simulation.run_until(lambda: election.active)
    assert terms == [(2, 2)] and between == []


def chaos(world: World, members: list[Member]) -> None:
    """Break one connection or session, now or soon."""
    random = world.simulation.random
    member = random.choice(members)
    what = random.randrange(4)
    if what == 0:
        member.store.disconnect()
        world.simulation.call_later(random.uniform(0, 8000), member.store.connect)
    elif what == 1:
        world.model.expire(member.store.session_id)
    elif what == 2:
        controller = next((each for each in members if each.election.active), member)
        controller.election.active = False
        controller.election.lost(random.random() < 0.5)
    else:
        path = random.choice([znodes.CONTROLLER, f"{znodes.BROKER_IDS}/{member.broker_id}"])
        if path in world.model.nodes:
            world.model.apply(None, [Delete(path)])


@pytest.mark.parametrize("seed", range(60))
def test_whatever_breaks_each_epoch_has_one_controller_and_all_agree_in_the_end(seed: int) -> None:
    world = World(seed)
    random = world.simulation.random
    members = [Member(world, broker_id) for broker_id in range(1, 2 + seed % 4)]
    for _ in range(15):
        world.simulation.run_for(random.choice([0, 1, 3, 10, 300, 7000]))
        chaos(world, members)
    world.simulation.run_for(9000)
    for member in members:
        member.store.connect()
    settle(world, members)
    terms = sorted(term for member in members for term in member.terms)
    assert len(terms) == len(set(terms)), "two terms with one epoch"
    assert int(world.model.nodes[znodes.CONTROLLER_EPOCH].data or b"") == terms[-1]
    for member in members:
        assert member.registration.epoch != NO_EPOCH and member.election.controller_id != NO_CONTROLLER


def test_the_first_broker_gives_the_cluster_its_id_and_the_others_adopt_it() -> None:
    world = World()
    assert world.result(lambda calls: find_cluster_id(calls, None, lambda: "a" * 22)) == "a" * 22
    assert world.result(lambda calls: find_cluster_id(calls, None, lambda: "b" * 22)) == "a" * 22
    assert world.result(lambda calls: find_cluster_id(calls, "a" * 22, lambda: "b" * 22)) == "a" * 22
    with pytest.raises(WrongCluster, match=r"has the id a+, but the log directories belong to c+ "):
        world.result(lambda calls: find_cluster_id(calls, "c" * 22, lambda: "b" * 22))
    assert world.model.nodes[znodes.CLUSTER_ID].data == b'{"version":"1","id":"' + b"a" * 22 + b'"}'
    world.model.apply(None, [Delete(znodes.CLUSTER_ID)])
    assert world.result(lambda calls: find_cluster_id(calls, "d" * 22, lambda: "b" * 22)) == "d" * 22


def test_generated_ids_differ() -> None:
    world = World()
    ids = [world.result(lambda calls: generate_broker_id(calls, 1000)) for _ in range(3)]
    assert ids == [1001, 1002, 1003]
