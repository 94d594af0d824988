"""The metadata store and the cluster metadata in it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kafka_cy.cluster.assignment import assign_replicas
from kafka_cy.cluster.embedded_store import EmbeddedStore
from kafka_cy.cluster.metadata import ClusterMetadata
from kafka_cy.cluster.metadata_cache import TopicsChanged
from kafka_cy.cluster.producer_ids import ProducerIdBlocks, ProducerIds
from kafka_cy.cluster.store import (
    BadVersionError,
    Check,
    Create,
    Delete,
    NodeExistsError,
    NotEmptyError,
    Set,
    StoreBroken,
)


def open_cluster(path: Path | None, cluster_id: str = "abcdefghijklmnopqrstuv") -> ClusterMetadata:
    cluster = ClusterMetadata(EmbeddedStore(str(path) if path else None), 1, lambda: 1000)
    cluster.load(cluster_id)
    return cluster


def test_store_versions_and_multi(tmp_path: Path) -> None:
    store = EmbeddedStore(str(tmp_path / "m"))
    store.create("/a", b"0")
    assert store.set("/a", b"1", 0) == 1
    with pytest.raises(BadVersionError):
        store.set("/a", b"2", 0)
    with pytest.raises(BadVersionError):
        store.multi([Create("/b"), Set("/a", b"x"), Create("/b/c"), Check("/a", 7)])
    assert store.find("/b") is None and store.get("/a").data == b"1" and store.children("/") == ["a"]
    assert store.create("/a/n_", sequential=True) == "/a/n_0000000000"
    with pytest.raises(NotEmptyError):
        store.delete("/a")
    store.create("/e", ephemeral=True)
    store.close()
    store = EmbeddedStore(str(tmp_path / "m"))
    assert store.children("/") == ["a"] and store.get("/a").version == 1
    assert store.create("/a/n_", sequential=True) == "/a/n_0000000001"


def test_store_watches() -> None:
    store, seen = EmbeddedStore(None), []
    store.find("/a", lambda path: seen.append(("data", path)))
    store.children("/", lambda path: seen.append(("children", path)))
    store.create("/a")
    store.multi([Set("/a", b"1"), Delete("/a")])
    assert seen == [("data", "/a"), ("children", "/")]


def test_topics_survive_restart(tmp_path: Path) -> None:
    cluster = open_cluster(tmp_path / "m")
    changes = []
    cluster.cache.add_listener(changes.append)
    with cluster.topic_changes.batch():
        cluster.topic_changes.create_topic("t", [[1], [1]], {"retention.ms": "5"})
        cluster.topic_changes.create_topic("u", [[1]], {})
    assert isinstance(changes[0], TopicsChanged) and [t.name for t in changes[0].changed] == ["t", "u"]
    cluster.topic_changes.create_partitions("t", [[1]])
    cluster.topic_changes.delete_topic("u")
    cluster.config_changes.set_config("topics", "t", {"retention.ms": "6"})
    with pytest.raises(NodeExistsError):
        cluster.topic_changes.create_topic("t", [[1]], {})
    topic_id = cluster.cache.topics["t"].id
    assert json.loads(cluster.store.get("/brokers/topics/t/partitions/2/state").data or b"") == {
        "version": 1, "leader": 1, "leader_epoch": 0, "controller_epoch": 1, "isr": [1],
    }  # fmt: skip
    cluster.store.close()
    cluster = open_cluster(tmp_path / "m")
    assert list(cluster.cache.topics) == ["t"] and cluster.controller.epoch == 2
    assert cluster.cache.topics["t"].id == topic_id and len(cluster.cache.topics["t"].partitions) == 3
    assert cluster.cache.topic_config("t") == {"retention.ms": "6"}
    assert cluster.cache.collides_with("t") is None
    cluster.store.close()
    with pytest.raises(StoreBroken):
        open_cluster(tmp_path / "m", "another")


def next_id(ids: ProducerIds) -> int | None:
    taken: list[int | None] = []
    ids.take(lambda producer_id, error: taken.append(producer_id))
    return taken[0]


def test_producer_id_blocks() -> None:
    store = EmbeddedStore(None)
    ids = ProducerIds(ProducerIdBlocks(store, 1).reserve)
    assert [next_id(ids) for _ in range(1001)] == list(range(1001))
    assert next_id(ProducerIds(ProducerIdBlocks(store, 1).reserve)) == 2000
    assert json.loads(store.get("/latest_producer_id_block").data or b"")["block_end"] == "2999"


def test_assignment() -> None:
    assert assign_replicas([7], 3, 1) == [[7], [7], [7]]
    assert all(len(set(replicas)) == 2 for replicas in assign_replicas([1, 2, 3], 10, 2))
    with pytest.raises(ValueError, match="replication factor 2"):
        assign_replicas([1], 1, 2)


def test_a_recorded_deletion_is_finished_by_the_next_start(tmp_path: Path) -> None:
    cluster = open_cluster(tmp_path / "m")
    cluster.topic_changes.create_topic("t", [[1], [1]], {"retention.ms": "5"})
    cluster.topic_changes.create_topic("u", [[1]], {})

    def crash(change: object) -> None:
        assert cluster.store.children("/admin/delete_topics") == ["t"] and cluster.store.find("/brokers/topics/t")
        raise KeyboardInterrupt

    cluster.cache.add_listener(crash)
    with pytest.raises(KeyboardInterrupt):
        cluster.topic_changes.delete_topic("t")
    cluster.store.close()
    cluster = open_cluster(tmp_path / "m")
    assert list(cluster.cache.topics) == ["u"] and [topic.name for topic in cluster.topic_changes.deleting] == ["t"]
    assert cluster.cache.topic_config("t") == {}
    cluster.topic_changes.finish_deletions()
    assert not cluster.topic_changes.deleting and cluster.store.children("/admin/delete_topics") == []
    assert cluster.store.children("/brokers/topics") == ["u"] == cluster.store.children("/config/topics")
    cluster.topic_changes.create_topic("t", [[1]], {})
    cluster.topic_changes.delete_topic("t")
    assert not cluster.topic_changes.deleting and cluster.store.children("/brokers/topics") == ["u"]
    cluster.store.close()


def test_every_listener_hears_of_a_change() -> None:
    """If one of them fails, the others still run; the exception is raised afterwards."""
    cache, heard = open_cluster(None).cache, []

    def fail(change: object) -> None:
        heard.append("failing")
        raise ValueError("broken")

    cache.add_listener(fail)
    cache.add_listener(lambda change: heard.append("other"))
    with pytest.raises(ValueError, match="broken"):
        cache.announce(TopicsChanged((), ()))
    assert heard == ["failing", "other"]
