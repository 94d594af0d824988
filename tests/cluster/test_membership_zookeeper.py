"""Registration, election and change notifications with a real ZooKeeper, and what Apache Kafka 3.9.2 wrote in the same places."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kafka_cy.cluster import znodes
from kafka_cy.cluster.change_formats import ConfigChange
from kafka_cy.cluster.change_notifications import CONFIGS, EXPIRY_MS, ISRS, ChangeNotifications, notify
from kafka_cy.cluster.cluster_identity import COMMON_NODES, create_common_nodes, find_cluster_id, generate_broker_id
from kafka_cy.cluster.election import Election
from kafka_cy.cluster.registration import Registration
from kafka_cy.cluster.store import BadVersionError, Check, Create, Delete, Get, SessionEvent, Set
from kafka_cy.cluster.store_calls import StoreCalls, run
from kafka_cy.cluster.znode_formats import BrokerInfo, Endpoint
from tests.cluster.store_owner import Owner
from tests.cluster.zookeeper_ensemble import MULTI, Ensemble, Proxy

GOLDEN = json.loads((Path(__file__).parent / "golden_data" / "zookeeper_nodes.json").read_text())
LISTENER = "REPL"


def info(broker_id: int) -> BrokerInfo:
    return BrokerInfo((Endpoint(LISTENER, "PLAINTEXT", "h", 9000 + broker_id),), f"r{broker_id}")


def now_ms() -> int:
    return time.time_ns() // 1_000_000


class Member(Owner):
    """A broker's store, registration and election."""

    def __init__(self, connect: str, broker_id: int, its_info: BrokerInfo | None = None, version: int = 5) -> None:
        super().__init__(connect)
        self.broker_id = broker_id
        self.heard: list[Any] = []
        self.before_election: Callable[[], object] = lambda: None
        self.terms: list[tuple[int, int]] = []
        self.election = Election(
            self.store,
            broker_id,
            wall_clock_ms=now_ms,
            call_later=self.call_later,
            log=self.log,
            elected=lambda epoch, epoch_version: self.terms.append((epoch, epoch_version)),
            resigned=lambda: self.heard.append("resigned"),
        )
        self.registration = Registration(
            self.store,
            broker_id,
            its_info or info(broker_id),
            LISTENER,
            version=version,
            call_later=self.call_later,
            log=self.log,
            registered=self._registered,
            lost=lambda: self.heard.append("lost"),
            refused=self.heard.append,
        )
        self.registration.start()

    def _registered(self, epoch: int) -> None:
        self.heard.append(epoch)
        self.before_election()
        self.election.contend()

    def client_id(self) -> tuple[int, bytes]:
        return self.zookeeper._connection._client.client_id


def run_all(members: list[Member], condition: Callable[[], object]) -> None:
    """Run the loops of all members in turn until a condition holds."""
    for _ in range(6000):
        if condition():
            return
        for member in members:
            member.run_for(100)
        time.sleep(0.01)
    raise AssertionError([(member.heard, member.log.lines) for member in members])


def test_the_common_nodes_are_those_of_kafka(zookeeper_connect: str, one_zookeeper: Ensemble, chroot: str) -> None:
    with Owner(zookeeper_connect) as owner, one_zookeeper.client(chroot) as other:
        owner.steps(create_common_nodes)
        owner.steps(create_common_nodes)
        cluster_id = json.loads(GOLDEN["/cluster/id"]["data"])["id"]
        assert owner.steps(lambda calls: find_cluster_id(calls, None, lambda: cluster_id)) == cluster_id
        assert json.loads(other.get("/cluster/id")[0]) == json.loads(GOLDEN["/cluster/id"]["data"])
        assert [owner.steps(lambda calls: generate_broker_id(calls, 1000)) for _ in range(2)] == [1001, 1002]
        for path in ("/admin", "/brokers", "/cluster", "/config", *COMMON_NODES):
            if path not in ("/brokers/seqid", "/config/groups", "/config/client-metrics"):
                data = other.get(path)[0]
                assert data is None and (path in GOLDEN or path == "/admin"), path
        containers = {path for path, node in GOLDEN.items() if path != "variants" and node["data"] is None}
        of_others = ("/kafka-acl", "/delegation_token", "/brokers/topics/", "/config/users/")
        for path in sorted(containers):
            assert path.startswith(of_others) or other.exists(path), path


@pytest.mark.parametrize("version", [4, 5])
def test_the_registration_is_what_kafka_writes(
    zookeeper_connect: str, one_zookeeper: Ensemble, chroot: str, version: int
) -> None:
    golden = GOLDEN["/brokers/ids/1"]["data"] if version == 5 else GOLDEN["variants"]["/brokers/ids/1 at IBP 2.6"]
    with (
        Member(zookeeper_connect, 1, BrokerInfo.decode(golden.encode()), version) as member,
        one_zookeeper.client(chroot) as other,
    ):
        member.run_until(lambda: member.terms)
        data, stat = other.get("/brokers/ids/1")
        assert json.loads(data) == json.loads(golden)
        assert (stat.version, stat.ephemeralOwner) == (GOLDEN["/brokers/ids/1"]["version"], member.store.session_id)
        assert member.heard == [stat.czxid]
        data, stat = other.get("/controller")
        written, kafkas = json.loads(data), json.loads(GOLDEN["/controller"]["data"])
        assert written.pop("timestamp").isdecimal() and kafkas.pop("timestamp")
        assert written == kafkas and (stat.version, stat.ephemeralOwner) == (0, member.store.session_id)
        data, stat = other.get("/controller_epoch")
        assert (data.decode(), stat.version) == (GOLDEN["/controller_epoch"]["data"], GOLDEN["/controller_epoch"]["version"])
        assert member.terms == [(1, 1)]


def test_the_registration_of_another_session_is_waited_for(
    zookeeper_connect: str, one_zookeeper: Ensemble
) -> None:
    with Member(zookeeper_connect, 1) as first, Member(zookeeper_connect, 1) as second:
        first.run_until(lambda: first.terms)
        second.run_until(lambda: second.log.count("waiting until it ends"))
        one_zookeeper.end_session(first.client_id())
        second.run_until(lambda: second.terms)
        assert second.log.count("waiting until it ends") == 1
        assert second.heard[0] > first.heard[0] and second.terms == [(2, 2)]


def test_an_ended_session_is_followed_by_a_new_registration(zookeeper_connect: str, one_zookeeper: Ensemble) -> None:
    with Member(zookeeper_connect, 1) as member:
        member.run_until(lambda: member.terms)
        one_zookeeper.end_session(member.client_id())
        member.run_until(lambda: len(member.terms) == 2)
        first, *lost, second = member.heard
        assert sorted(lost) == ["lost", "resigned"] and second > first and member.terms == [(1, 1), (2, 2)]


def test_a_node_of_an_earlier_session_of_this_process_is_replaced(
    zookeeper_connect: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Member(zookeeper_connect, 1) as member:
        member.run_until(lambda: member.terms)
        session = member.store.session_id
        with monkeypatch.context() as patch:  # kazoo fails, and its session lives on for its time-out
            patch.setattr(member.zookeeper._connection._client._connection, "_read_response", lambda *_: 1 // 0)
            patch.setattr(member.zookeeper._connection, "_stop", lambda: None)
            member.store.read([Get("/")], lambda answer, error: None)
            member.run_until(lambda: len(member.heard) == 4)
        assert member.heard[3] > member.heard[0] and member.log.count("waiting until it ends") == 0
        assert member.read(Get("/brokers/ids/1"))[0].owner == member.store.session_id != session


@pytest.mark.parametrize("lost", [1, 2, 3])
def test_a_lost_reply_to_registration_or_election_changes_nothing(
    zookeeper_connect: str, one_zookeeper: Ensemble, chroot: str, lost: int
) -> None:
    """The changes of a new broker: /brokers/ids, /controller_epoch, the election."""
    with (
        Owner(zookeeper_connect) as other,
        Proxy(one_zookeeper.servers[0].port) as proxy,
        Member(f"127.0.0.1:{proxy.port}{chroot}", 1) as member,
    ):
        other.steps(create_common_nodes)
        if lost == 1:
            proxy.lose_replies_of.add(MULTI)
        else:
            member.before_election = lambda: proxy.lose_replies_of.add(MULTI)
        if lost == 3:
            other.change(Create(znodes.CONTROLLER_EPOCH, b"0"))
        member.run_until(lambda: member.terms and proxy.lost)
        assert proxy.lost == 1 and member.terms == [(1, 1)]
        node = member.read(Get("/brokers/ids/1"))[0]
        assert member.heard == [node.created_id] and node.version == 1
        assert other.read(Get(znodes.CONTROLLER_EPOCH))[0].data == b"1"


def test_the_next_controller_and_the_fence_of_the_old_one(zookeeper_connect: str, one_zookeeper: Ensemble) -> None:
    members = [Member(zookeeper_connect, broker_id) for broker_id in (1, 2, 3)]
    try:
        run_all(members, lambda: sum(member.election.active for member in members) == 1)
        first = next(member for member in members if member.election.active)
        run_all(members, lambda: {member.election.controller_id for member in members} == {first.broker_id})
        fence = Check(znodes.CONTROLLER_EPOCH, first.terms[0][1])
        one_zookeeper.end_session(first.client_id())
        others = [member for member in members if member is not first]
        run_all(others, lambda: any(member.election.active for member in others))
        second = next(member for member in others if member.election.active)
        run_all(members, lambda: first.election.controller_id == second.broker_id)
        assert not first.election.active and second.terms == [(2, 2)]
        with pytest.raises(BadVersionError) as refused:
            first.change(fence, Create("/of-the-old-controller"))
        assert refused.value.operation == 0
        second.change(Delete(znodes.CONTROLLER))
        run_all(members, lambda: sorted(epoch for member in members for epoch, _ in member.terms) == [1, 2, 3])
    finally:
        for member in members:
            member.store.close()


def test_notifications_reach_every_broker_and_old_ones_go(
    zookeeper_connect: str, one_zookeeper: Ensemble, chroot: str
) -> None:
    with Owner(zookeeper_connect) as owner, Owner(zookeeper_connect) as writer, one_zookeeper.client(chroot) as other:
        seen: list[ConfigChange] = []
        ahead_ms = [0]
        ChangeNotifications(
            owner.store,
            CONFIGS,
            lambda data: seen.append(ConfigChange.decode(data)),
            missed=lambda: seen.clear(),
            wall_clock_ms=lambda: now_ms() + ahead_ms[0],
            call_later=owner.call_later,
            log=owner.log,
        ).start()
        changes = [
            ConfigChange.decode(GOLDEN[f"/config/changes/config_change_{number:010d}"]["data"].encode())
            for number in range(9)
        ]
        for change in changes:
            writer.steps(lambda calls, change=change: notify(calls, CONFIGS, change.encode()))
        owner.run_until(lambda: len(seen) == 9)
        assert seen == changes
        for number, name in enumerate(sorted(other.get_children("/config/changes"))):
            assert name == f"config_change_{number:010d}"
            assert json.loads(other.get(f"/config/changes/{name}")[0]) == json.loads(
                GOLDEN[f"/config/changes/{name}"]["data"]
            )
        one_zookeeper.end_session(owner.zookeeper._connection._client.client_id)
        owner.run_until(lambda: len(seen) == 18)
        assert seen[9:] == changes and SessionEvent.EXPIRED in owner.events
        ahead_ms[0] = EXPIRY_MS + 60_000
        writer.steps(lambda calls: notify(calls, CONFIGS, changes[0].encode()))
        owner.run_until(lambda: other.get_children("/config/changes") == ["config_change_0000000009"])
        assert len(seen) == 19
        writer.steps(lambda calls: notify(calls, ISRS, b"{}"))
        assert other.get_children("/isr_change_notification") == ["isr_change_0000000000"]


def test_three_servers_of_which_most_are_lost_and_come_back(tmp_path: Path) -> None:
    with Ensemble(tmp_path, 3) as ensemble, Owner(ensemble.hosts + "/cluster", session_timeout_ms=30_000) as owner:
        owner.change(Create("/n", b"0"), Create("/mine", ephemeral=True))
        session = owner.store.session_id
        seen: list[str] = []
        owner.read(Get("/n", seen.append))
        used = owner.zookeeper._connection._client._connection._socket.getpeername()[1]
        first = next(server for server in ensemble.servers if server.port == used)
        first.kill()
        owner.run_until(lambda: owner.saw(SessionEvent.SUSPENDED, SessionEvent.CONNECTED))
        assert owner.store.session_id == session
        assert owner.change(Set("/n", b"1")) == [1] and seen == ["/n"]
        second = next(server for server in ensemble.servers if server is not first)
        second.kill()
        owner.run_until(lambda: owner.events.count(SessionEvent.SUSPENDED) == 2)
        late: list[Any] = []

        async def steps(calls: StoreCalls) -> None:
            late.append((await calls.read(Get("/mine")))[0].owner)
            await calls.create_missing(["/later"])

        run(steps(StoreCalls(owner.store, owner.call_later)), lambda value, fault: late.append(fault))
        owner.run_for(100)
        assert late == []
        first.start()
        owner.run_until(lambda: len(late) == 2)
        assert late == [session, None] and SessionEvent.EXPIRED not in owner.events
