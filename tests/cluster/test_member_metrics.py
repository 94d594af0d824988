"""What the /metrics pages of three members tell while one of them is gone, as Apache Kafka's metrics would."""

from __future__ import annotations

import os
import urllib.request
from collections.abc import Mapping
from pathlib import Path

import pytest
from confluent_kafka import ElectionType, Producer
from confluent_kafka.admin import AdminClient, NewTopic
from prometheus_client.parser import text_string_to_metric_families

from kafka_cy.testing.broker import free_ports
from tests.cluster.member_broker import MemberBroker, seen
from tests.cluster.zookeeper_ensemble import Ensemble, Proxy, wait_until

CONTROLLER, OTHER, DEAD = 1, 2, 3
MORE = {"zookeeper.session.timeout.ms": "15000", "replica.lag.time.max.ms": "4000"}  # leaders shrink before the session ends
#: Each broker leads one partition of each topic. With min.insync.replicas=2, a single replica is enough for `one` (Kafka's
#: effective minimum is never above the number of replicas), so that it is always at its minimum.
TOPICS = {
    "one": [[DEAD], [CONTROLLER], [OTHER]],
    "two": [[DEAD, CONTROLLER], [CONTROLLER, OTHER], [OTHER, DEAD]],
    "three": [[DEAD, CONTROLLER, OTHER], [CONTROLLER, OTHER, DEAD], [OTHER, DEAD, CONTROLLER]],
}
REPLICAS = "kafka_server_replicamanager_"
OF_CONTROLLER = "kafka_controller_kafkacontroller_"
ELECTIONS = "kafka_controller_controllerstats_leaderelectionrateandtimems_count"
WAITED = "kafka_controller_controllereventmanager_eventqueuetimems"
SESSION = "kafka_server_sessionexpirelistener_"


class Pages:
    """The members' pages."""

    def __init__(self, ports: Mapping[int, int]) -> None:
        self._ports = ports

    def of(self, number: int) -> dict[str, float]:
        """All values; the labels stand behind the name."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self._ports[number]}/metrics", timeout=30) as page:
            families = list(text_string_to_metric_families(page.read().decode()))
        return {
            sample.name + "".join(f" {name}={value}" for name, value in sorted(sample.labels.items())): sample.value
            for each in families
            for sample in each.samples
        }

    def wait_for(self, number: int, wanted: Mapping[str, float]) -> None:
        def found() -> dict[str, float | None]:
            page = self.of(number)
            return {name: page.get(name) for name in wanted}

        wait_until(lambda: found() == wanted, f"{wanted} at broker {number}", lambda: str(found()))

    def wait_for_at_least(self, number: int, wanted: Mapping[str, float]) -> None:
        """Counts may be higher: on a busy machine, a follower can be late for a moment."""

        def found() -> dict[str, float]:
            page = self.of(number)
            return {name: page[name] for name in wanted}

        wait_until(lambda: all(found()[name] >= wanted[name] for name in wanted), f"{wanted} at {number}", lambda: str(found()))


def replicas(under_replicated: int, under_min_isr: int, at_min_isr: int) -> dict[str, float]:
    names = ("underreplicatedpartitions", "underminisrpartitioncount", "atminisrpartitioncount")
    return dict(zip((REPLICAS + name for name in names), (under_replicated, under_min_isr, at_min_isr), strict=True))


def of_controller(active: int, offline: int, imbalance: int) -> dict[str, float]:
    names = ("activecontrollercount", "offlinepartitionscount", "preferredreplicaimbalancecount")
    return dict(zip((OF_CONTROLLER + name for name in names), (active, offline, imbalance), strict=True))


@pytest.mark.slow
@pytest.mark.crash
@pytest.mark.timeout(600)
@pytest.mark.skipif("CLUSTER_TESTS" not in os.environ, reason="`make cluster` runs it")
def test_a_member_goes_and_comes_back(tmp_path: Path, one_zookeeper: Ensemble, zookeeper_connect: str, chroot: str) -> None:
    ports = free_ports(6)
    numbers = (CONTROLLER, OTHER, DEAD)
    pages = Pages(dict(zip(numbers, ports[3:], strict=True)))
    with Proxy(one_zookeeper.servers[0].port) as proxy:
        connects = dict.fromkeys(numbers, zookeeper_connect) | {OTHER: f"127.0.0.1:{proxy.port}{chroot}"}
        members = {
            each: MemberBroker(
                tmp_path, connects[each], each, ports[each - 1], {**MORE, "kafkacy.metrics.listen": f"127.0.0.1:{ports[each + 2]}"}
            )
            for each in numbers
        }
        try:
            for member in members.values():  # one after the other: the first is the controller
                member.start()
                member.wait()
            servers = f"127.0.0.1:{ports[0]},127.0.0.1:{ports[1]}"
            admin = AdminClient({"bootstrap.servers": servers})
            wait_until(lambda: len(seen(admin).brokers) == 3, "three brokers")
            settings = {"min.insync.replicas": "2"}
            new = [NewTopic(name, 3, replica_assignment=placed, config=settings) for name, placed in TOPICS.items()]
            for future in admin.create_topics(new).values():
                future.result()
            all_is_well(pages)
            elections = pages.of(CONTROLLER)[ELECTIONS]
            a_member_is_gone(pages, members[DEAD], servers)
            a_member_is_back(pages, members[DEAD], admin, elections)
            the_session_ends(pages, proxy, one_zookeeper, chroot)
            assert [line for member in members.values() for line in member.errors()] == []
        except BaseException:
            print(*(member.log()[-20000:] for member in members.values()), sep="\n======\n")
            raise
        finally:
            for member in members.values():
                member.kill()


@pytest.mark.crash
def test_one_of_two_members_is_killed(tmp_path: Path, one_zookeeper: Ensemble, zookeeper_connect: str) -> None:
    """The short one."""
    ports = free_ports(4)
    pages = Pages(dict(zip((1, 2), ports[2:], strict=True)))
    members = {}
    for each in (1, 2):
        more = {"zookeeper.session.timeout.ms": "2000", "kafkacy.metrics.listen": f"127.0.0.1:{ports[each + 1]}"}
        members[each] = MemberBroker(tmp_path, zookeeper_connect, each, ports[each - 1], more)
    try:
        for member in members.values():
            member.start()
            member.wait()
        admin = AdminClient({"bootstrap.servers": f"127.0.0.1:{ports[0]}"})
        wait_until(lambda: len(seen(admin).brokers) == 2, "two brokers")
        settings = {"min.insync.replicas": "2"}
        for name, placed in (("one", [[2]]), ("two", [[1, 2], [2, 1]])):
            admin.create_topics([NewTopic(name, len(placed), replica_assignment=placed, config=settings)])[name].result()
        pages.wait_for(1, {**replicas(0, 0, 1), **of_controller(1, 0, 0)})
        pages.wait_for(2, {**replicas(0, 0, 2), **of_controller(0, 0, 0)})
        members[2].kill()
        pages.wait_for(1, {**replicas(2, 2, 0), **of_controller(1, 1, 2)})
        members[2].start()
        pages.wait_for(1, {**replicas(0, 0, 2), **of_controller(1, 0, 1)})
    except BaseException:
        print(*(member.log()[-20000:] for member in members.values()), sep="\n======\n")
        raise
    finally:
        for member in members.values():
            member.kill()


def all_is_well(pages: Pages) -> None:
    """`one` and `two` are at their minimum, `three` has one replica more."""
    for number in (CONTROLLER, OTHER, DEAD):
        pages.wait_for(number, {**replicas(0, 0, 2), **of_controller(int(number == CONTROLLER), 0, 0)})
        page = pages.of(number)
        assert page[f"{SESSION}sessionstate state=CONNECTED"] == 1 and page[f"{SESSION}zookeepersyncconnects_total"] >= 1
    page = pages.of(CONTROLLER)
    assert page[f"{WAITED}_count"] > 0 and 0 < page[f"{WAITED} quantile=0.50"] <= page[f"{WAITED} quantile=0.99"]


def a_member_is_gone(pages: Pages, dead: MemberBroker, servers: str) -> None:
    before = {each: pages.of(each)[f"{REPLICAS}isrshrinks_total"] for each in (CONTROLLER, OTHER)}
    dead.kill()
    producer = Producer({"bootstrap.servers": servers, "acks": 1})
    for topic, partition in (("three", 1), ("two", 2), ("three", 2)):
        producer.produce(topic, b"what the dead member does not copy", partition=partition)
    assert producer.flush(60) == 0
    # Those leaders miss it first, because it is behind.
    for number, shrinks in ((CONTROLLER, 1), (OTHER, 2)):
        pages.wait_for_at_least(number, {f"{REPLICAS}isrshrinks_total": before[number] + shrinks})
        assert f"{REPLICAS}isrshrinkspersec" not in pages.of(number), "alerts of that dialect compare it with 0"
    # Then its session ends. Nobody leads one-0, another replica leads two-0 (alone) and three-0.
    pages.wait_for(CONTROLLER, {**replicas(3, 1, 4), **of_controller(1, 1, 3)})
    pages.wait_for(OTHER, {**replicas(2, 1, 2), **of_controller(0, 0, 0)})


def a_member_is_back(pages: Pages, dead: MemberBroker, admin: AdminClient, elections: float) -> None:
    before = {each: pages.of(each).get(f"{REPLICAS}isrexpands_total", 0) for each in (CONTROLLER, OTHER)}
    dead.start()
    dead.wait()
    pages.wait_for(CONTROLLER, {**replicas(0, 0, 3), **of_controller(1, 0, 2)})  # two-0 and three-0 stay where they are
    pages.wait_for(OTHER, replicas(0, 0, 2))
    pages.wait_for(DEAD, {**replicas(0, 0, 1), **of_controller(0, 0, 0)})
    for number, expands in ((CONTROLLER, 3), (OTHER, 2)):
        pages.wait_for_at_least(number, {f"{REPLICAS}isrexpands_total": before[number] + expands})
    assert pages.of(CONTROLLER)[ELECTIONS] > elections
    admin.elect_leaders(ElectionType.PREFERRED).result()
    for number in (CONTROLLER, OTHER, DEAD):
        pages.wait_for(number, {**replicas(0, 0, 2), **of_controller(int(number == CONTROLLER), 0, 0)})


def the_session_ends(pages: Pages, proxy: Proxy, ensemble: Ensemble, chroot: str) -> None:
    """A broker that ZooKeeper does not hear is out of the cluster, and its page tells so."""
    before = pages.of(OTHER)
    proxy.cut()
    pages.wait_for(OTHER, {f"{SESSION}sessionstate state=CONNECTING": 1})
    node = f"{chroot}/brokers/ids/{OTHER}"
    with ensemble.client() as client:
        wait_until(lambda: client.exists(node) is None, "the end of the session")
        pages.wait_for(CONTROLLER, of_controller(1, 1, 3))
        proxy.mend()
        wait_until(lambda: client.exists(node) is not None, "a registration")
    pages.wait_for(OTHER, {f"{SESSION}sessionstate state=CONNECTED": 1})
    wanted = {"disconnects": 1, "expires": 1, "syncconnects": 1}
    names = {f"{SESSION}zookeeper{name}_total": count for name, count in wanted.items()}
    pages.wait_for_at_least(OTHER, {name: before[name] + count for name, count in names.items()})
    pages.wait_for(CONTROLLER, {**of_controller(1, 0, 2), f"{REPLICAS}underreplicatedpartitions": 0})
