"""Which states of LeaderAndIsr and StopReplica a broker takes, what it answers, and what hostile requests change: nothing."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from kafka_cy.protocol.controller_messages.leader_and_isr import LeaderAndIsrRequest, PartitionState, TopicState
from tests.replication.replica_broker import UNREADABLE, Options
from tests.replication.replica_cluster import TOPIC, Cluster
from tests.storage.batches import batch
from tests.waiting import wait_until

KEY = (TOPIC, 0)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    made = Cluster(tmp_path, 1, Options(dirs=2))
    made.tell_brokers()
    made.brokers[1].call("brokers", {1: made.brokers[1].port, 2: 1})  # nobody listens on port 1
    yield made
    made.stop()


def test_epochs(cluster: Cluster) -> None:
    """Stale, equal and newer epochs of controllers, leaders and partitions; unknown brokers; other topic ids."""
    broker = cluster.brokers[1]
    cluster.lead(1, [1], replicas=[1, 2])
    cluster.lead(1, [1])
    assert cluster.send(1, [KEY]) == {KEY: 11}  # a known epoch
    cluster.states[KEY] = cluster.states[KEY]._replace(leader_epoch=0, leader=2)
    assert cluster.send(1, [KEY]) == {KEY: 11}
    assert broker.describe(TOPIC).state == "online"
    older = cluster.send_request(1, cluster.request([KEY], controller_epoch=0))
    assert (older.error_code, older.topics[0].partitions[0].error_code) == (11, 11)
    assert cluster.send(1, [KEY], controller_epoch=5) == {KEY: 11}
    assert cluster.send_request(1, cluster.request([KEY])).error_code == 11  # 5 has been seen
    cluster.controller_epoch = 5

    broker.call("registered", 77)
    cluster.states[KEY] = cluster.states[KEY]._replace(leader_epoch=7, leader=1)
    assert cluster.send_request(1, cluster.request([KEY], broker_epoch=76)).error_code == 77
    assert cluster.send(1, [KEY], broker_epoch=78) == {KEY: 0}
    assert broker.describe(TOPIC).leader_epoch == 7

    state = cluster.states[KEY]
    cluster.states[KEY] = state._replace(leader_epoch=9, replicas=(2, 3))
    assert cluster.send(1, [KEY]) == {KEY: 3}  # not a replica
    cluster.states[KEY] = state._replace(leader_epoch=9, partition_epoch=0)
    assert cluster.send(1, [KEY]) == {KEY: 0}  # skipped: an older partition epoch
    assert broker.describe(TOPIC).leader_epoch == 7
    cluster.states[KEY] = state._replace(leader_epoch=9, leader=3)
    assert cluster.send(1, [KEY]) == {KEY: 0}  # as Kafka: an unknown leader is not followed
    assert (broker.describe(TOPIC).state, broker.describe(TOPIC).leader_epoch) == ("online", 7)
    cluster.states[KEY] = state._replace(leader_epoch=9, leader=2)
    cluster.topic_ids[TOPIC] = uuid.uuid4()
    assert cluster.send(1, [KEY]) == {KEY: 103}
    assert broker.describe(TOPIC).state == "online"


def test_a_newer_state_of_the_same_leader_epoch(cluster: Cluster) -> None:
    """Of a controller in KRaft mode, which begins no leader epoch when replicas are added or removed."""
    cluster.lead(1, [1], replicas=[1])
    state = cluster.states[KEY]
    cluster.states[KEY] = state._replace(replicas=(1, 2), adding_replicas=(2,), isr=(1, 2), partition_epoch=8)
    assert cluster.send(1, [KEY]) == {KEY: 11}
    cluster.produce(1, batch(), acks=1)
    assert cluster.brokers[1].describe(TOPIC).high_watermark == 1
    for _ in range(2):  # the second one says nothing new
        assert cluster.send(1, [KEY], is_kraft_controller=True) == {KEY: 0}
        cluster.produce(1, batch(), acks=1)
        assert (cluster.brokers[1].describe(TOPIC).high_watermark, cluster.brokers[1].call("isr", TOPIC)) == (1, (1, 2))
    cluster.states[KEY] = state._replace(removing_replicas=(2,), partition_epoch=9)
    assert cluster.send(1, [KEY], is_kraft_controller=True) == {KEY: 0}
    assert (cluster.brokers[1].describe(TOPIC).high_watermark, cluster.brokers[1].call("isr", TOPIC)) == (3, (1,))


def test_a_follower_without_a_leader_has_a_log(cluster: Cluster) -> None:
    assert cluster.lead(3, [3], replicas=[1, 3]) == {1: 0}
    found = cluster.brokers[1].describe(TOPIC)
    assert (found.state, found.leader_epoch) == ("follower", -1)
    assert cluster.brokers[1].call("following") == {}
    assert cluster.send(1, [KEY]) == {KEY: 0}  # not taken, so not known
    assert cluster.lead(-1, [3]) == {1: 0}
    assert cluster.lead(2, [2]) == {1: 0}
    assert cluster.brokers[1].call("following") == {KEY: (2, 2)}


def test_a_removed_replica_in_the_isr_counts(cluster: Cluster) -> None:
    """At the end of a reassignment it is not among the replicas any more, but may still be elected."""
    cluster.lead(1, [1, 2], replicas=[1])
    cluster.produce(1, batch(), acks=1)
    assert cluster.brokers[1].describe(TOPIC).high_watermark == 0
    cluster.lead(1, [1])
    assert cluster.brokers[1].describe(TOPIC).high_watermark == 1


def test_names_that_are_none(cluster: Cluster) -> None:
    before = sorted(str(path) for path in cluster.folder.rglob("*") if path.is_dir())
    for topic in ("../x", "..", "a/b", "", "a" * 250, "a\0b"):
        assert cluster.lead(1, [1], topic=topic) == {1: 17}
    assert cluster.lead(1, [1], topic="t", index=-1) == {1: 17}
    assert sorted(str(path) for path in cluster.folder.rglob("*") if path.is_dir()) == before


def test_too_many_replicas(cluster: Cluster) -> None:
    assert cluster.lead(1, [1], replicas=range(1_001)) == {1: 42}
    assert cluster.brokers[1].call("describe", TOPIC) is None


def test_a_malformed_request(cluster: Cluster) -> None:
    for is_long in (False, True):
        assert cluster.brokers[1].call("leader_and_isr", 7, b"\0\0\0\1\0\0\0", is_long) is None
    assert cluster.lead(1, [1]) == {1: 0}
    assert not [line for line in cluster.brokers[1].call("lines") if "FAULT" in line]


def test_many_partitions_in_one_request(cluster: Cluster) -> None:
    """Other work of the replica manager is done in between."""
    for index in range(500):
        cluster.topic_ids.setdefault("many", uuid.uuid4())
        cluster.states["many", index] = PartitionState(index, 1, 1, 0, (1,), 0, (1,), is_new=True)
    body = cluster.request([("many", index) for index in range(500)])
    response = cluster.send_request(1, body, is_long=True)
    assert {each.error_code for each in response.topics[0].partitions} == {0}
    assert len(response.topics[0].partitions) == 500
    assert cluster.produce(1, batch(), topic="many", index=499) == (0, 0)
    assert {each.error_code for each in cluster.send_request(1, body).topics[0].partitions} == {11}


def test_stop_replica(cluster: Cluster) -> None:
    broker = cluster.brokers[1]
    cluster.lead(2, [2], replicas=[1, 2])
    cluster.lead(2, [2])
    assert cluster.stop_replica(1, 0) == (0, [74])
    assert cluster.stop_replica(1, 1, controller_epoch=0) == (11, [])
    broker.call("registered", 77)
    assert cluster.stop_replica(1, 1, broker_epoch=76) == (77, [])
    assert broker.call("following") == {KEY: (2, 1)}
    assert cluster.stop_replica(1, 1) == (0, [0])
    assert (broker.call("following"), broker.describe(TOPIC).state) == ({}, "follower")
    assert cluster.send(1, [KEY]) == {KEY: 11}  # its epoch is known, so nothing is fetched
    assert broker.call("following") == {}
    cluster.lead(1, [1])
    cluster.produce(1, batch())
    assert cluster.stop_replica(1, 0, delete=True) == (0, [74])
    assert cluster.stop_replica(1, -2, delete=True) == (0, [0])
    assert broker.call("describe", TOPIC) is None
    assert broker.call("leadership")[-1] == (TOPIC, 0, -1, False)
    assert cluster.produce(1, batch())[0] == 3
    assert cluster.stop_replica(1, -2, delete=True) == (0, [0])  # a repeated request, or an unknown partition
    assert [path.name for path in (cluster.folder / "b1").rglob("t-0")] == []
    cluster.topic_ids[TOPIC] = uuid.uuid4()
    cluster.states[KEY] = cluster.states[KEY]._replace(leader_epoch=0, partition_epoch=0)
    assert cluster.send(1, [KEY]) == {KEY: 0}  # the name is free for a new topic
    assert cluster.produce(1, batch()) == (0, 0)


@pytest.mark.parametrize("epoch", [-2, -1, 2])
def test_a_repeated_state_does_not_bring_a_deleted_replica_back(cluster: Cluster, epoch: int) -> None:
    """A controller sends a request again when its connection is lost; one of the two may come after the deletion."""
    broker = cluster.brokers[1]
    cluster.lead(2, [2], replicas=[1, 2])
    cluster.lead(3, [3], replicas=[1, 3])  # its leader is not alive: the epoch is not taken
    cluster.lead(2, [2], replicas=[1, 2])
    assert cluster.stop_replica(1, epoch, delete=True) == (0, [0])
    for _ in range(2):
        assert cluster.send(1, [KEY]) == {KEY: 11}
        assert broker.call("describe", TOPIC) is None
    assert [path.name for path in (cluster.folder / "b1").rglob("t-0")] == []
    assert [line for line in broker.call("lines") if "the replica was deleted after it was sent" in line]

    assert cluster.lead(1, [1]) == {1: 11 if epoch == -2 else 0}  # a reassignment gives the broker the replica again
    assert cluster.stop_replica(1, -2, delete=True) == (0, [0])
    state = cluster.states[KEY]
    cluster.states[KEY] = state._replace(leader_epoch=0)
    assert cluster.send(1, [KEY], controller_epoch=2) == {KEY: 0}  # the next controller has cancelled the deletion
    assert broker.describe(TOPIC).state == "online"


def test_a_controller_in_kraft_mode_gives_a_replica_again_in_the_same_epoch(cluster: Cluster) -> None:
    """It begins no leader epoch when a reassignment adds a replica."""
    cluster.lead(2, [2], replicas=[1, 2])
    assert cluster.stop_replica(1, 0, delete=True) == (0, [0])
    assert cluster.send(1, [KEY], is_kraft_controller=True) == {KEY: 0}
    assert cluster.brokers[1].describe(TOPIC).leader_epoch == 0


def test_a_repeated_state_does_not_bring_a_deleted_topic_back_whose_leader_was_dead(cluster: Cluster) -> None:
    """Its log was created, but no leader epoch was taken."""
    cluster.lead(3, [3], replicas=[1, 3])
    assert cluster.stop_replica(1, -2, delete=True) == (0, [0])
    assert cluster.send(1, [KEY]) == {KEY: 11}
    assert cluster.brokers[1].call("describe", TOPIC) is None


@pytest.mark.parametrize("settings", ["known", "unknown"])
def test_a_repeated_state_of_a_role_that_has_waited(cluster: Cluster, settings: str) -> None:
    """The settings of its topic could not be used before the topic was deleted."""
    cluster.brokers[1].call("unknown", {TOPIC})
    assert cluster.lead(1, [1]) == {1: -1}
    assert cluster.stop_replica(1, -2, delete=True) == (0, [0])
    cluster.brokers[1].call("unknown", {TOPIC} if settings == "unknown" else set())
    assert cluster.send(1, [KEY]) == {KEY: 11}
    assert (cluster.brokers[1].call("describe", TOPIC), cluster.brokers[1].call("numbers").waiting_roles) == (None, 0)


def test_a_repeated_state_of_a_deleted_topic_does_not_displace_a_role_that_waits(cluster: Cluster) -> None:
    """The new topic of the same name waits for its settings. Nobody would tell its role again."""
    cluster.lead(1, [1])
    deleted = cluster.topic_ids[TOPIC], cluster.states[KEY]
    assert cluster.stop_replica(1, -2, delete=True) == (0, [0])
    cluster.topic_ids[TOPIC] = uuid.uuid4()
    cluster.states.pop(KEY)
    cluster.brokers[1].call("unknown", {TOPIC})
    assert cluster.lead(1, [1]) == {1: -1}
    waiting = cluster.topic_ids[TOPIC]
    cluster.topic_ids[TOPIC], cluster.states[KEY] = deleted
    assert cluster.send(1, [KEY]) == {KEY: 11}
    assert cluster.brokers[1].call("numbers").waiting_roles == 1
    cluster.topic_ids[TOPIC] = waiting
    cluster.brokers[1].call("unknown", set())
    wait_until(lambda: cluster.brokers[1].call("describe", TOPIC) is not None, "the role of the new topic")


def test_a_new_topic_without_id_takes_the_name_of_a_deleted_one(cluster: Cluster) -> None:
    """inter.broker.protocol.version before 2.8: its states look like those of the topic before it."""
    cluster.version = 4
    for _ in range(2):
        cluster.states.pop(KEY, None)
        assert cluster.lead(1, [1]) == {1: 0}
        assert cluster.stop_replica(1, -2, delete=True) == (0, [0])


def test_a_log_of_which_no_controller_has_told_is_deleted(cluster: Cluster) -> None:
    cluster.lead(1, [1])
    cluster.kill(1)
    cluster.start(1)
    assert cluster.brokers[1].describe(TOPIC).state == "follower"
    assert cluster.stop_replica(1, 5) == (0, [0])
    assert cluster.stop_replica(1, 5, delete=True) == (0, [0])
    assert cluster.brokers[1].call("describe", TOPIC) is None


def test_a_failed_directory(cluster: Cluster) -> None:
    """Its partitions are offline, and a partition that may have its log there gets no new one."""
    broker = cluster.brokers[1]
    for index in range(2):
        cluster.lead(1, [1], index=index, replicas=[1, 2])
    broker.call("fail_dir", 0)
    wait_until(lambda: broker.call("isr", TOPIC, 0) is None or broker.call("isr", TOPIC, 1) is None, "one is offline")
    states = {index: broker.describe(TOPIC, index).state for index in range(2)}
    assert sorted(states.values()) == ["offline", "online"]
    lost = next(index for index, state in states.items() if state == "offline")
    wait_until(lambda: (TOPIC, lost, 0, False) in broker.call("leadership"), "its coordinator hears of it")
    assert cluster.send(1, [(TOPIC, 0), (TOPIC, 1)]) == {(TOPIC, lost): 56, (TOPIC, 1 - lost): 11}  # the controller's probe
    assert cluster.stop_replica(1, -2, delete=True, index=lost) == (0, [56])
    assert cluster.lead(1, [1], topic="other", is_new=True) == {1: 0}
    cluster.lead(1, [1], topic="old")
    cluster.stop_replica(1, -2, delete=True, topic="old")
    cluster.topic_ids["old"] = uuid.uuid4()
    cluster.states["old", 0] = cluster.states["old", 0]._replace(is_new=False, leader_epoch=5)
    assert cluster.send(1, [("old", 0)]) == {("old", 0): 56}
    assert cluster.stop_replica(1, -2, delete=True, topic="old") == (0, [56])


def test_a_topic_gets_its_id(cluster: Cluster) -> None:
    """inter.broker.protocol.version goes from 2.7 to 2.8."""
    broker = cluster.brokers[1]
    cluster.version = 4
    cluster.lead(1, [1])
    cluster.produce(1, batch(2))
    assert broker.describe(TOPIC).topic_id.int == 0
    assert not list((cluster.folder / "b1").rglob("partition.metadata"))
    cluster.version = 7
    assert cluster.send(1, [KEY]) == {KEY: 0}  # with the epoch that is known
    found = broker.describe(TOPIC)
    assert (found.topic_id, found.state, found.high_watermark) == (cluster.topic_ids[TOPIC], "online", 2)
    assert cluster.produce(1, batch()) == (0, 2)
    assert cluster.send(1, [KEY]) == {KEY: 11}
    assert len(list((cluster.folder / "b1").rglob("partition.metadata"))) == 1


def test_settings_that_cannot_be_read(cluster: Cluster) -> None:
    """Without them the log might keep too little."""
    assert cluster.lead(1, [1], topic=UNREADABLE) == {1: -1}
    assert cluster.brokers[1].call("describe", UNREADABLE) is None
    assert cluster.lead(1, [1]) == {1: 0}


def test_requests_that_wait_have_a_limit(cluster: Cluster) -> None:
    assert cluster.brokers[1].call("too_many") == [False, *[True] * 100, False]
    assert cluster.lead(1, [1]) == {1: 0}


def test_an_empty_request(cluster: Cluster) -> None:
    request = LeaderAndIsrRequest(99, 1, -1, (), ())
    assert cluster.send_request(1, request).topics == ()
    assert cluster.send_request(1, request._replace(topics=(TopicState(TOPIC, uuid.uuid4(), ()),))).error_code == 0
