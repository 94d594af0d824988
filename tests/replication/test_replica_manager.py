"""Replica managers of several brokers, driven by LeaderAndIsr: replication, changes of the leader, diverged logs, the ISR."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.replication.replica_broker import Options
from tests.replication.replica_cluster import TOPIC, Cluster
from tests.storage.batches import batch
from tests.waiting import wait_until

Make = Callable[..., Cluster]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    made: list[Cluster] = []

    def cluster(brokers: int = 2, options: Options | None = None, **more: Any) -> Cluster:
        made.append(Cluster(tmp_path, brokers, options, **more))
        return made[-1]

    yield cluster
    for each in made:
        each.stop()


def test_records_are_replicated_and_the_leader_changes(make: Make) -> None:
    cluster = make(3)
    assert cluster.lead(1) == {1: 0, 2: 0, 3: 0}
    assert cluster.produce(1, batch(3)) == (0, 0)
    for broker in (1, 2, 3):
        cluster.await_offsets(broker, 3)
    assert cluster.produce(2, batch())[0] == 6  # not the leader
    assert cluster.lead(2) == {1: 0, 2: 0, 3: 0}
    assert cluster.produce(2, batch(2)) == (0, 3)
    for broker in (1, 2, 3):
        cluster.await_offsets(broker, 5)
    assert cluster.produce(1, batch())[0] == 6
    assert len(cluster.equal_logs()) > 0
    assert [cluster.brokers[broker].describe(TOPIC).state for broker in (1, 2, 3)] == ["follower", "online", "follower"]
    assert cluster.brokers[1].call("leadership") == [(TOPIC, 0, 0, True), (TOPIC, 0, 1, False)]
    assert cluster.brokers[2].call("leadership") == [(TOPIC, 0, 0, False), (TOPIC, 0, 1, True)]
    assert not [line for broker in cluster.brokers.values() for line in broker.call("lines") if "FAULT" in line]


@pytest.mark.parametrize("ibp", ["3.9", "2.8", "2.6"])
def test_a_diverged_tail_is_cut(make: Make, ibp: str) -> None:
    """Broker 1 leads in epochs 0 and 2, broker 2 in epoch 1: each wrote what the other one lacks."""
    cluster = make(2, Options(ibp=ibp), version=7)
    cluster.lead(1)
    cluster.produce(1, batch(10))
    cluster.await_offsets(2, 10)
    cluster.lead(1, [1], to=[1])  # alone: what follows has only broker 1
    cluster.kill(2)
    assert cluster.produce(1, batch(5, size=7)) == (0, 10)
    assert cluster.produce(1, batch(5, size=8), acks=1) == (0, 15)
    cluster.kill(1)
    cluster.start(2)
    cluster.lead(2, [2])  # an unclean election
    cluster.produce(2, batch(4, size=9))
    cluster.start(1)
    cluster.lead(2, [2], to=[2])
    cluster.lead(2, [2])
    cluster.await_offsets(1, 14)
    wait_until(lambda: cluster.brokers[2].call("isr", TOPIC) == (2, 1), "broker 1 is in the ISR")
    assert cluster.produce(2, batch(1)) == (0, 14)
    cluster.await_offsets(1, 15)
    cluster.await_offsets(2, 15)
    cluster.equal_logs()


def test_the_isr_shrinks_and_expands(make: Make) -> None:
    cluster = make(2, Options(lag_ms=400))
    cluster.lead(1)
    cluster.produce(1, batch(2))
    cluster.await_offsets(2, 2)
    cluster.kill(2)
    assert cluster.produce(1, batch(2)) == (0, 2)  # waits until the ISR is broker 1 alone
    wait_until(lambda: cluster.brokers[1].call("isr", TOPIC) == (1,), "broker 1 has noted it")  # a moment after the producer heard
    cluster.start(2)
    cluster.send(2, [(TOPIC, 0)])
    wait_until(lambda: cluster.brokers[1].call("isr", TOPIC) == (1, 2), "broker 2 is in the ISR")
    cluster.await_offsets(2, 4)
    cluster.equal_logs()
    leading, following = cluster.brokers[1].call("numbers"), cluster.brokers[2].call("numbers")
    assert (leading.isr_shrinks, leading.isr_expands, leading.fetches) == (1, 1, {})
    assert (following.max_lag, following.failed_partitions, list(following.fetches)) == (0, 0, [0])
    assert following.fetches[0] > 0
    shrink, expand = cluster.asked
    assert [member.broker_id for member in shrink.topics[0].partitions[0].new_isr] == [1]
    assert [member.broker_id for member in expand.topics[0].partitions[0].new_isr] == [1, 2]
    assert (expand.topics[0].partitions[0].partition_epoch, expand.broker_id) == (1, 1)


def test_a_refused_change_of_the_isr_is_proposed_again(make: Make) -> None:
    cluster = make(2)
    cluster.brokers[2].call("registered", 42)
    cluster.refuse = 107
    cluster.lead(1, [1])
    cluster.produce(1, batch())
    wait_until(lambda: len(cluster.asked) >= 2, "broker 1 asks again")
    assert [*cluster.asked[0].topics[0].partitions[0].new_isr] == [(1, -1), (2, 42)]  # the one that joins, with its broker epoch
    assert cluster.brokers[1].call("isr", TOPIC) == (1,)
    cluster.refuse = None
    wait_until(lambda: cluster.brokers[1].call("isr", TOPIC) == (1, 2), "broker 2 is in the ISR")


def test_a_replica_that_may_join_is_not_waited_for_when_its_broker_is_gone(make: Make) -> None:
    """Nobody appends or fetches after that: a producer with acks=all would wait for its time-out."""
    cluster = make(2, Options(lag_ms=600_000))
    cluster.refuse = 107
    cluster.lead(1, [1], replicas=[1, 2])
    cluster.produce(1, batch())
    cluster.await_offsets(2, 1)
    cluster.brokers.pop(2).kill()
    assert cluster.produce(1, batch(), acks=1) == (0, 1)
    assert cluster.brokers[1].describe(TOPIC).high_watermark == 1, "it is caught up, as far as its leader knows"
    cluster.tell_brokers()
    cluster.await_offsets(1, 2)
    assert cluster.brokers[1].call("isr", TOPIC) == (1,)


def test_min_insync_replicas(make: Make) -> None:
    cluster = make(2, Options(config=(("min.insync.replicas", 2),)))
    cluster.lead(1)
    assert cluster.produce(1, batch()) == (0, 0)
    cluster.kill(2)
    cluster.lead(1, [1])
    assert cluster.produce(1, batch())[0] == 19
    assert cluster.produce(1, batch(), acks=1) == (0, 1)
    assert cluster.brokers[1].describe(TOPIC).high_watermark == 1


def test_high_watermarks_survive_a_kill(make: Make) -> None:
    cluster = make(2)
    cluster.lead(1)
    cluster.produce(1, batch(5))
    cluster.await_offsets(2, 5)
    written = cluster.folder / "b2" / "d0" / "replication-offset-checkpoint"
    wait_until(lambda: written.exists() and written.read_text() == "0\n1\nt 0 5\n", "the high watermark is written")
    cluster.kill(2)
    cluster.start(2)
    found = cluster.brokers[2].describe(TOPIC)
    assert (found.state, found.leader_epoch, found.high_watermark, found.log_end_offset) == ("follower", -1, 5, 5)
    assert cluster.produce(2, batch(), topic=TOPIC)[0] in (3, 6)  # nobody has said who leads
    cluster.lead(2, [2])
    assert cluster.produce(2, batch()) == (0, 5)


def test_a_leader_that_moves_is_fetched_at_its_new_address(make: Make) -> None:
    cluster = make(2)
    cluster.lead(1)
    cluster.produce(1, batch())
    cluster.await_offsets(2, 1)
    cluster.kill(1)
    cluster.start(1)
    cluster.send(1, [(TOPIC, 0)])
    assert cluster.produce(1, batch()) == (0, 1)
    cluster.await_offsets(2, 2)


def test_a_follower_below_the_start_of_its_leader(make: Make) -> None:
    cluster = make(2, Options(config=(("segment.bytes", 200),)))
    cluster.lead(1, [1], to=[1], replicas=[1, 2])
    for _ in range(6):
        cluster.produce(1, batch(2))
    cluster.brokers[1].call("delete_records", TOPIC, 8)
    cluster.lead(1, [1])
    cluster.await_offsets(2, 12)
    assert cluster.brokers[2].describe(TOPIC).log_start_offset == 8
    cluster.equal_logs()


def test_topics_get_ids_while_they_are_replicated(make: Make) -> None:
    """inter.broker.protocol.version has risen to 3.9 here, and to 2.8 only later at the controller, which gives the ids."""
    cluster = make(2, version=4)
    for topic in (TOPIC, "other"):  # whose first partitions differ in nothing but the names
        cluster.lead(1, topic=topic)
    assert cluster.brokers[2].describe(TOPIC).topic_id.int == 0
    for topic in (TOPIC, "other"):
        assert cluster.produce(1, batch(3), topic=topic) == (0, 0)
        cluster.await_offsets(2, 3, topic=topic)
    cluster.version = 7
    for broker in (1, 2):
        assert cluster.send(broker, [(TOPIC, 0)]) == {(TOPIC, 0): 0}
    assert cluster.brokers[2].describe(TOPIC).topic_id == cluster.topic_ids[TOPIC]
    # Coordinators hold the former handle, with which nobody leads any more.
    assert cluster.brokers[1].call("leadership").count((TOPIC, 0, 0, True)) == 2
    assert cluster.produce(1, batch(2)) == (0, 3)
    cluster.await_offsets(2, 5)
    cluster.equal_logs()
