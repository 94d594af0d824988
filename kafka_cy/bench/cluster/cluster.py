"""Three brokers as one target of the loads."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from kafka_cy.bench.brokers import BrokerError, connect_admin, parse_address
from kafka_cy.bench.cluster.metadata import View, view_of
from kafka_cy.bench.cluster.servers import MEMBER_CONFIG, Member, ZooKeeper, new_member, wait_until
from kafka_cy.bench.process_sampler import Pids

REPLICAS = 3
TIMEOUT_S = 120.0
STEP_S = 0.05
#: Topics of idle partitions, and how many partitions each has.
IDLE_PREFIX = "idle-"
IDLE_PARTITIONS = 500


class Cluster:
    """See Target. `name` is a results file's `target`. For one thread."""

    def __init__(self, name: str, zookeeper: ZooKeeper, jars: Path | None, config: Mapping[str, object]) -> None:
        self.name = name
        self.zookeeper = zookeeper
        self.client_properties: dict[str, str] = {}
        self.brokers: dict[int, Member] = {}
        self.idle_partitions = 0
        self._chroot = f"/{name}"
        values = {**MEMBER_CONFIG, "zookeeper.connect": f"127.0.0.1:{zookeeper.port}{self._chroot}", **config}
        try:
            for number in range(1, REPLICAS + 1):
                self.brokers[number] = new_member(name, jars, {**values, "broker.id": number})
            self.wait_until_whole()
        except BaseException:
            self.stop()
            raise

    @property
    def bootstrap_servers(self) -> str:
        return ",".join(each.bootstrap_servers for each in self.brokers.values())

    @property
    def pid(self) -> Pids:
        return self.pids_of(list(self.brokers))

    def pids_of(self, broker_ids: list[int]) -> tuple[int, ...]:
        """The processes of some brokers."""
        return tuple(pid for each in broker_ids if (pid := self.brokers[each].pid) is not None)

    def alive(self) -> bool:
        return all(each.alive() for each in self.brokers.values())

    def stop(self) -> None:
        for each in self.brokers.values():
            each.kill()  # none waits for another one
        for each in self.brokers.values():
            each.stop()

    # -- what it says --

    def view(self, broker_id: int) -> View:
        """What a broker tells clients. Raises OSError when it does not answer."""
        return view_of(parse_address(self.brokers[broker_id].bootstrap_servers))

    def registered(self, broker_id: int) -> bool:
        """Whether the broker's session is alive."""
        return self.zookeeper.exists(f"{self._chroot}/brokers/ids/{broker_id}")

    def controller(self) -> int:
        """The controller's id. Raises BrokerError."""
        found: list[int] = []

        def known() -> bool:
            found.append(self.view(next(iter(self.brokers))).controller_id)
            return found[-1] in self.brokers

        wait_until(known, f"{self.name} has no controller", TIMEOUT_S)
        return found[-1]

    def wait_until_whole(self) -> None:
        """Wait until every broker knows all brokers, and that all replicas are in sync. Raises BrokerError."""
        for broker_id in self.brokers:
            wait_until(partial(self._is_whole, broker_id), f"{self.name} is not in sync", TIMEOUT_S, STEP_S)

    def _is_whole(self, broker_id: int) -> bool:
        view = self.view(broker_id)
        if view.broker_ids != frozenset(self.brokers) or view.controller_id not in self.brokers:
            return False
        return all(
            leader in self.brokers and in_sync == replicas for leader, replicas, in_sync in view.partitions("")
        )

    def wait_for_leaders(self, prefix: str, count: int, among: set[int]) -> None:
        """Wait until the brokers in `among` know that they lead all `count` partitions of these topics. Raises BrokerError."""

        def led(broker_id: int) -> bool:
            view = self.view(broker_id)
            found = view.partitions(prefix)
            return view.controller_id in among and len(found) == count and all(each[0] in among for each in found)

        for broker_id in among:
            wait_until(partial(led, broker_id), f"partitions of {self.name} have no leader", TIMEOUT_S, STEP_S)

    # -- topics --

    def create(self, name: str, partitions: int, assignment: list[list[int]] | None = None) -> None:
        """Create a topic of three replicas. Raises BrokerError."""
        from confluent_kafka import KafkaException
        from confluent_kafka.admin import NewTopic

        if assignment is not None:
            new = NewTopic(name, partitions, replica_assignment=assignment)
        else:
            new = NewTopic(name, partitions, REPLICAS)
        admin = connect_admin(self)
        try:
            admin.create_topics([new], request_timeout=TIMEOUT_S, operation_timeout=TIMEOUT_S)[name].result(TIMEOUT_S)
        except KafkaException as error:
            raise BrokerError(f"{self.name} did not create a topic: {error.args[0].str()}.") from None
        except TimeoutError:
            raise BrokerError(f"{self.name} did not create a topic in {TIMEOUT_S:.0f} s.") from None

    def delete(self, name: str) -> None:
        """Delete a topic; returns when the controller has finished, and all brokers know. Raises BrokerError."""
        from confluent_kafka import KafkaException

        admin = connect_admin(self)
        try:
            admin.delete_topics([name], request_timeout=TIMEOUT_S)[name].result(TIMEOUT_S)
        except (KafkaException, TimeoutError) as error:
            raise BrokerError(f"{self.name} did not delete a topic: {error}.") from None
        path = f"{self._chroot}/brokers/topics/{name}"
        wait_until(lambda: not self.zookeeper.exists(path), f"{self.name} has not deleted {name}", TIMEOUT_S)
        for broker_id in self.brokers:
            wait_until(partial(self._lacks, broker_id, name), f"{self.name} still has {name}", TIMEOUT_S, STEP_S)

    def _lacks(self, broker_id: int, topic: str) -> bool:
        return topic not in self.view(broker_id).topics

    def fill(self, partitions: int) -> None:
        """Create idle partitions until there are so many. Raises BrokerError."""
        while self.idle_partitions < partitions:
            some = min(IDLE_PARTITIONS, partitions - self.idle_partitions)
            self.create(f"{IDLE_PREFIX}{uuid.uuid4().hex[:12]}", some)
            self.idle_partitions += some
        self.wait_for_leaders(IDLE_PREFIX, self.idle_partitions, set(self.brokers))


