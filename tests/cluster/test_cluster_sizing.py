"""What `kafka-cy sizing` measures of a cluster is that of all brokers, whichever member is asked, and it says what is not."""

from __future__ import annotations

import itertools
import json
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from kafka_cy.sizing.units import SECONDS_PER_DAY
from kafka_cy.testing.broker import free_ports
from kafka_cy.tools import cli, measure_cluster
from kafka_cy.tools import measure_broker as module
from kafka_cy.tools.measure_broker import measure_broker
from tests.cluster.member_broker import MemberBroker, seen
from tests.cluster.zookeeper_ensemble import Ensemble, wait_until

VALUE = b"x" * 100
HERE, ELSEWHERE = 10, 90  # records of each round: led by the broker whose page is given, and by the other one


class Clock:
    """Of the measurement: records arrive in its first pause, and each look at the cluster is five seconds after the one before."""

    def __init__(self, server: str) -> None:
        self._producer = Producer({"bootstrap.servers": server, "acks": "all"})
        self._pauses = 0
        self._looks = itertools.count()
        self.of_pages = SimpleNamespace(monotonic=time.monotonic, sleep=self._pause)
        self.of_cluster = SimpleNamespace(monotonic=lambda: 5.0 * next(self._looks))

    def _pause(self, seconds: float) -> None:
        if self._pauses == 0:
            self.produce()
        self._pauses += 1
        time.sleep(seconds)

    def produce(self, topic: str = "t") -> None:
        for partition, count in enumerate((HERE, ELSEWHERE)):
            for _ in range(count):
                self._producer.produce(topic, VALUE, partition=partition)
        assert self._producer.flush(60) == 0


@pytest.mark.slow
def test_any_member_tells_of_the_whole_cluster(
    tmp_path: Path, one_zookeeper: Ensemble, zookeeper_connect: str, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    ports = free_ports(4)
    members = [
        MemberBroker(
            tmp_path, zookeeper_connect, number, ports[number], {"kafkacy.metrics.listen": f"127.0.0.1:{ports[number + 2]}"}
        )
        for number in (0, 1)
    ]
    server = f"127.0.0.1:{ports[0]}"
    pages = tuple(f"http://127.0.0.1:{port}/metrics" for port in ports[2:])
    try:
        for member in members:
            member.start()
        for member in members:
            member.wait()
        admin = AdminClient({"bootstrap.servers": server})
        wait_until(lambda: len(seen(admin).brokers) == 2, "two brokers")
        admin.create_topics([NewTopic("t", 2, replica_assignment=[[0, 1], [1, 0]])])["t"].result()
        clock = Clock(server)
        clock.produce()
        with monkeypatch.context() as patch:
            patch.setattr(module, "time", clock.of_pages)
            patch.setattr(measure_cluster, "time", clock.of_cluster)
            found = measure_broker(server, pages[:1], 1.0)
        assert found.values["messages_per_day"] == (HERE + ELSEWHERE) / 5 * SECONDS_PER_DAY
        assert found.values["growth_bytes_per_day"] > 2 * (HERE + ELSEWHERE) * len(VALUE) / 5 * SECONDS_PER_DAY
        [own, others] = [
            member.logs / f"t-{partition}" / "00000000000000000000.log" for member, partition in zip(members, (0, 1), strict=True)
        ]
        idle, whole = (measure_broker(server, urls, 1.0) for urls in (pages[:1], pages))
        assert idle.values["used_bytes"] == whole.values["used_bytes"]
        assert idle.values["used_bytes"] == 2 * (own.stat().st_size + others.stat().st_size), "both copies of both partitions"
        assert (whole.values["topics"], whole.warnings) == (1, [])
        assert idle.values["disk_bytes"] > 0
        [warning] = found.warnings
        assert warning.startswith("Measured of 1 of 2 brokers only, because --metrics names no more: message_bytes, ")
        assert measure_broker(server, (*pages[:1], *pages[:1]), 1.0).warnings, "the same page twice is one broker"

        arguments = ["sizing", "-b", server, "--metrics", pages[0], "--watch", "1", "--messages-per-day", "1M"]
        assert cli.run([*arguments, "--message-bytes", "100", "--output", "json"]) == 0
        warnings = json.loads(capsys.readouterr().out)["warnings"]
        assert any(text.startswith("Measured of 1 of 2 brokers only") for text in warnings)
        assert [line for member in members for line in member.errors()] == []

        admin.create_topics([NewTopic("half", 2, replica_assignment=[[0], [1]])])["half"].result()
        clock.produce("half")
        members[1].terminate()
        wait_until(lambda: seen(admin).topics["half"].partitions[1].leader < 0, "a partition without leader")
        ends = measure_cluster.end_offsets(admin)
        own_ends = {place: end for place, end in ends.items() if place[0] in ("t", "half")}
        assert own_ends == {("t", 0): 2 * HERE, ("t", 1): 2 * ELSEWHERE, ("half", 0): HERE}
        assert measure_broker(server, pages[:1], 1.0).values["message_bytes"] > len(VALUE)
    except BaseException:
        print(*(member.log() for member in members), sep="\n======\n")
        raise
    finally:
        for member in members:
            member.kill()
