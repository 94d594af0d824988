"""What happens once in a run, and how long it takes: topics are created, a broker ends, a controller takes over."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from kafka_cy.bench.brokers import BrokerError
from kafka_cy.bench.cluster.acknowledged import AcknowledgedLoad
from kafka_cy.bench.cluster.cluster import IDLE_PREFIX, TIMEOUT_S, Cluster
from kafka_cy.bench.cluster.servers import wait_until
from kafka_cy.bench.process_sampler import usage

LOOK_S = 0.005


@dataclass
class Happened:
    """`ms` is the figure of the row; `cpu_s` that of the brokers that were there all the time; `more`: named details."""

    ms: float
    duration_s: float
    cpu_s: float | None = None
    more: dict[str, float] = field(default_factory=dict)


def create_partitions(cluster: Cluster, count: int) -> Happened:
    """From CreateTopics until every broker tells the leaders of all partitions."""
    name = _new_name()
    before = usage(cluster.pid)
    begun_s = time.monotonic()
    cluster.create(name, count)
    answered_s = time.monotonic()
    cluster.wait_for_leaders(name, count, set(cluster.brokers))
    ended_s = time.monotonic()
    cpu_s = _difference(usage(cluster.pid).cpu_s, before.cpu_s)
    cluster.delete(name)
    more = {"answered_ms": _ms(answered_s - begun_s), "deleted_ms": _ms(time.monotonic() - ended_s)}
    return Happened(_ms(ended_s - begun_s), ended_s - begun_s, cpu_s, more)


def controller_killed(cluster: Cluster, partitions: int) -> Happened:
    """From the end of the killed controller's session until both others tell that they lead all partitions."""
    killed = cluster.controller()
    others = set(cluster.brokers) - {killed}
    pids = cluster.pids_of(sorted(others))
    with _restarted(cluster, killed):
        begun_s = time.monotonic()
        cluster.brokers[killed].kill()
        wait_until(lambda: not cluster.registered(killed), "The session of a killed broker goes on", TIMEOUT_S, LOOK_S)
        before, ended_s = usage(pids), time.monotonic()
        cluster.wait_for_leaders(IDLE_PREFIX, partitions, others)
        led_s = time.monotonic()
        cpu_s = _difference(usage(pids).cpu_s, before.cpu_s)
    more = {"session_ms": _ms(ended_s - begun_s), "in_sync_ms": _ms(time.monotonic() - led_s)}
    return Happened(_ms(led_s - ended_s), led_s - ended_s, cpu_s, more)


def leader_killed(cluster: Cluster) -> Happened:
    """The longest time without an acknowledgement. The leader is not the controller."""
    with _led_topic(cluster) as (topic, leader), _restarted(cluster, leader), AcknowledgedLoad(cluster, topic) as load:
        load.settle()
        begun_s = time.monotonic()
        cluster.brokers[leader].kill()
        witness = next(each for each in cluster.brokers if each != leader)
        session_s: list[float] = []
        led_s: list[float] = []

        def served() -> bool:
            if not session_s and not cluster.registered(leader):
                session_s.append(time.monotonic() - begun_s)
            if session_s and not led_s and leader != cluster.view(witness).topics[topic][0][0] >= 0:
                led_s.append(time.monotonic() - begun_s)
            return bool(led_s) and load.steady(begun_s)

        load.go_on(served)
        duration_s = time.monotonic() - begun_s
        more = {"session_ms": _ms(session_s[0]), "led_ms": _ms(led_s[0])}
        return Happened(_ms(load.longest_gap_s(begun_s)), duration_s, None, more)


def leader_shut_down(cluster: Cluster) -> Happened:
    """The latest acknowledgement of a record, from when it was due, while its leader stops. It is not the controller."""
    with _led_topic(cluster) as (topic, leader), _restarted(cluster, leader), AcknowledgedLoad(cluster, topic) as load:
        before_s = load.latest_s(load.settle())
        begun_s = time.monotonic()
        cluster.brokers[leader].shut_down()
        ended_s: list[float] = []

        def ended() -> bool:
            if not ended_s and not cluster.brokers[leader].alive():
                ended_s.append(time.monotonic())
            return bool(ended_s) and load.steady(ended_s[0])

        load.go_on(ended)
        more = {"before_ms": _ms(before_s), "stopped_ms": _ms(ended_s[0] - begun_s)}
        return Happened(_ms(load.latest_s(begun_s)), time.monotonic() - begun_s, None, more)


def idle(cluster: Cluster, duration_s: float) -> Happened:
    """The CPU time of all brokers within a second, with nothing to do but to replicate nothing."""
    before, begun_s = usage(cluster.pid), time.monotonic()
    time.sleep(duration_s)
    took_s = time.monotonic() - begun_s
    cpu_s = _difference(usage(cluster.pid).cpu_s, before.cpu_s)
    if cpu_s is None:
        raise BrokerError("The CPU time of the brokers is unknown.")
    return Happened(cpu_s / took_s * 1000, took_s, cpu_s)


@contextmanager
def _led_topic(cluster: Cluster) -> Iterator[tuple[str, int]]:
    """A topic of one partition, and its leader, which is not the controller."""
    controller = cluster.controller()
    others = [each for each in cluster.brokers if each != controller]
    name = _new_name()
    cluster.create(name, 1, [[*others, controller]])
    cluster.wait_for_leaders(name, 1, set(cluster.brokers))
    try:
        yield name, others[0]
    finally:
        if cluster.alive():
            cluster.delete(name)


@contextmanager
def _restarted(cluster: Cluster, broker_id: int) -> Iterator[None]:
    """Afterwards the broker runs again, and all replicas are in sync."""
    yield
    if not cluster.brokers[broker_id].alive():
        cluster.brokers[broker_id].start()
    cluster.wait_until_whole()


def _new_name() -> str:
    return f"bench-{uuid.uuid4().hex[:12]}"


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 3)


def _difference(after: float | None, before: float | None) -> float | None:
    return None if after is None or before is None else max(0.0, after - before)
