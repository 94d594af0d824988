"""Clients with default settings that go on while brokers are restarted, and remember every error that an application would see."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer

from tests.cluster.kafka39 import Kafka
from tests.cluster.zookeeper_ensemble import wait_until

TOPIC = "t"
VERIFIABLE_CONSUMER = "org.apache.kafka.tools.VerifiableConsumer"
VERIFIABLE_PRODUCER = "org.apache.kafka.tools.VerifiableProducer"
#: A commit that came while the new coordinator was loading: librdkafka tells of it instead of trying again, with Apache Kafka's
#: brokers too. The next commit has those offsets.
LOADING = "COORDINATOR_LOAD_IN_PROGRESS"
#: VerifiableProducer does not try again by itself: this is what Kafka's producer does by default.
PRODUCER_DEFAULTS = "retries=2147483647\nenable.idempotence=true\n"


class Client:
    """A thread that does one step after the other. `steps` have succeeded; `failures`: what reached the application."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.steps = 0
        self.failures: list[str] = []
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name)

    def start(self) -> None:
        self._thread.start()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self.step()
            except (KafkaException, RuntimeError, BufferError) as fault:
                self.failures.append(f"{self.name} after {self.steps} steps: {fault!r}")
                if not self.recover(fault):
                    break
        self.close()

    def step(self) -> None:
        raise NotImplementedError

    def recover(self, fault: Exception) -> bool:
        """After an error: whether the client can go on, so that a test sees all errors."""
        return True

    def close(self) -> None:
        pass

    def goes_on(self) -> None:
        """Wait until more has succeeded."""
        before = self.steps
        wait_until(
            lambda: self.steps > before + 2 or not self._thread.is_alive(), f"steps of {self.name}", lambda: str(self.failures)
        )

    def stop(self) -> None:
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(120)
            if self._thread.is_alive():
                self.failures.append(f"{self.name} does not end")


class Transactor(Client):
    """One transactional producer, never renewed, whose calls have no time-outs of their own."""

    def __init__(self, servers: str, name: str) -> None:
        super().__init__(f"transactions {name}")
        self.committed: list[bytes] = []
        self._id = name
        self._producer = Producer({"bootstrap.servers": servers, "transactional.id": name})
        self._producer.init_transactions()
        self._consumer = Consumer({"bootstrap.servers": servers, "group.id": f"of-{name}", "auto.offset.reset": "earliest"})
        self._consumer.subscribe([TOPIC])
        self._number = 0

    def step(self) -> None:
        """Consumes, produces and commits both, as a stream processor does. It does not wait for records: many transactions
        are open when a broker ends."""
        read = self._consumer.consume(10, 0.05)
        for message in read:
            if message.error() is not None:
                raise KafkaException(message.error())
        self._number += 1
        values = [f"{self._id}-{self._number}-{each}".encode() for each in range(3)]
        self._producer.begin_transaction()
        for value in values:
            self._producer.produce(TOPIC, value)
        positions = [each for each in self._consumer.position(self._consumer.assignment()) if each.offset >= 0]
        if positions:
            self._again(lambda: self._producer.send_offsets_to_transaction(positions, self._consumer.consumer_group_metadata()))
        self._again(self._producer.commit_transaction)
        self.committed += values
        self.steps += 1

    @staticmethod
    def _again(call: Any) -> None:
        """The client's manual: call again what fails with an error that is retriable."""
        while True:
            try:
                call()
                return
            except KafkaException as fault:
                if not fault.args[0].retriable():
                    raise

    def recover(self, fault: Exception) -> bool:
        if isinstance(fault, KafkaException) and not fault.args[0].fatal():
            self._producer.abort_transaction()
            return True
        return False

    def close(self) -> None:
        self._consumer.close()


class Member(Client):
    """A member of a classic group, which stores its offsets by itself or commits what it has read."""

    def __init__(self, servers: str, group: str, *, commits: bool) -> None:
        super().__init__(f"consumer of {group}")
        self.values: list[bytes] = []
        self._commits = commits
        settings = {"bootstrap.servers": servers, "group.id": group, "auto.offset.reset": "earliest", "on_commit": self._committed}
        self._consumer = Consumer({**settings, **({"enable.auto.commit": False} if commits else {})})
        self._consumer.subscribe([TOPIC])

    def _committed(self, error: object, partitions: object) -> None:
        if isinstance(error, KafkaError) and not self._commits and error.name() != LOADING:
            self.failures.append(f"{self.name}: commit: {error} {partitions}")

    def step(self) -> None:
        message = self._consumer.poll(0.5)
        if message is None:
            return
        if message.error() is not None:
            raise KafkaException(message.error())
        self.values.append(message.value())
        self.steps += 1
        if self._commits and self.steps % 20 == 0:
            try:
                self._consumer.commit(asynchronous=False)
            except KafkaException as fault:
                if fault.args[0].name() != LOADING:
                    raise

    def close(self) -> None:
        self._consumer.close()


class JavaClient:
    """One of Kafka's verifiable clients, which tells what it does as lines of JSON."""

    def __init__(self, tools: Kafka, folder: Path, name: str, main_class: str, words: Sequence[str], success: str) -> None:
        self.name = name
        self._success = success
        self._path = folder / f"{name}.out"
        with open(self._path, "wb") as file:
            self.process = subprocess.Popen(tools.command("256m", main_class, *words), stdout=file, stderr=file)

    def start(self) -> None:
        """It is running already."""

    def told(self, name: str) -> list[dict[str, Any]]:
        lines = self._path.read_text().splitlines()
        return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}") and f'"name":"{name}"' in line]

    def goes_on(self) -> None:
        """Wait until more has succeeded."""
        before = len(self.told(self._success))
        wait_until(lambda: len(self.told(self._success)) > before + 2, self.name, lambda: self._path.read_text()[-5000:])

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        if self.process.poll() is None:
            self.process.terminate()
        return self.process.wait(60)

    @property
    def failures(self) -> list[str]:
        found = [str(each) for each in self.told("producer_send_error")]
        found += [str(each) for each in self.told("offsets_committed") if not each["success"]]
        ended = [] if self.told("shutdown_complete") or self.process.poll() is None else [self._path.read_text()[-3000:]]
        return [f"{self.name}: {each}" for each in (*found, *ended)]


def verifiable_producer(tools: Kafka, folder: Path, servers: str) -> JavaClient:
    (folder / "producer.properties").write_text(PRODUCER_DEFAULTS)
    words = ["--bootstrap-server", servers, "--topic", TOPIC, "--throughput", "100", "--acks", "-1"]
    words += ["--producer.config", str(folder / "producer.properties")]
    return JavaClient(tools, folder, "producer", VERIFIABLE_PRODUCER, words, "producer_send_success")


def verifiable_consumer(tools: Kafka, folder: Path, servers: str) -> JavaClient:
    """It commits what it has read and waits for the answer. A cluster with ZooKeeper has groups of the classic kind only."""
    words = ["--bootstrap-server", servers, "--topic", TOPIC, "--group-id", "java", "--reset-policy", "earliest", "--verbose"]
    return JavaClient(tools, folder, "consumer", VERIFIABLE_CONSUMER, words, "records_consumed")


def consumed_by(consumer: JavaClient) -> set[str]:
    """The values that a verbose VerifiableConsumer has read."""
    return {each["value"] for each in consumer.told("record_data")}
