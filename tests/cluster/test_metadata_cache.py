"""The cluster metadata that requests read: entries are replaced as a whole, so that any Python thread may read."""

from __future__ import annotations

import threading
from typing import Any

from kafka_cy.cluster.embedded_store import EmbeddedStore
from kafka_cy.cluster.metadata import ClusterMetadata
from kafka_cy.cluster.quota_entities import entity_of, stored_at, value_text

CLUSTER_ID = "abcdefghijklmnopqrstuv"


def make_metadata() -> ClusterMetadata:
    metadata = ClusterMetadata(EmbeddedStore(None), 1, lambda: 0)
    metadata.load(CLUSTER_ID)
    return metadata


def test_what_a_reader_holds_does_not_change() -> None:
    metadata = make_metadata()
    cache = metadata.cache
    topic = metadata.topic_changes.create_topic("t", [[1]], {"retention.ms": "1"})
    assert cache.topics["t"] is cache.topic_by_id[topic.id] is topic
    config = cache.topic_config("t")
    metadata.topic_changes.create_partitions("t", [[1], [1]])
    metadata.config_changes.set_config("topics", "t", {"retention.ms": "2"})
    assert (len(topic.partitions), topic.config, config) == (1, {"retention.ms": "1"}, {"retention.ms": "1"})
    now = cache.topics["t"]
    assert (len(now.partitions), now.config, cache.topic_config("t")) == (
        3,
        {"retention.ms": "2"},
        {"retention.ms": "2"},
    )
    assert cache.topic_by_id[topic.id] is now
    metadata.topic_changes.delete_topic("t")
    assert (cache.topics, cache.topic_by_id, cache.topic_config("t"), cache.all_topics()) == ({}, {}, {}, [])


def test_listeners_are_told_what_readers_see() -> None:
    metadata = make_metadata()
    told = []
    metadata.cache.add_listener(told.append)
    with metadata.topic_changes.batch():
        metadata.topic_changes.create_topic("t", [[1]], {})
        metadata.config_changes.set_config("topics", "t", {"retention.ms": "2"})
        metadata.topic_changes.create_partitions("t", [[1]])
    (changed,) = told[-1].changed
    assert changed is metadata.cache.topics["t"]
    assert (len(changed.partitions), changed.config) == (2, {"retention.ms": "2"})


def test_a_reader_on_another_thread_sees_whole_topics() -> None:
    metadata = make_metadata()
    cache, changes = metadata.cache, metadata.topic_changes
    done = threading.Event()
    seen = []

    def read() -> None:
        while not done.is_set():
            for topic in cache.all_topics():
                if [partition.index for partition in topic.partitions] != list(range(len(topic.partitions))):
                    seen.append(topic)
            cache.config_entities("topics")

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for i in range(200):
            changes.create_topic(f"t{i}", [[1]], {})
            changes.create_partitions(f"t{i}", [[1]] * 3)
            if i % 3 == 0:
                changes.delete_topic(f"t{i}")
    finally:
        done.set()
        reader.join()
    assert seen == []


def test_brokers_that_live() -> None:
    metadata = make_metadata()
    assert metadata.cache.broker_ids == [1]
    metadata.register_broker([("PLAINTEXT", "PLAINTEXT", "localhost", 9092)], None)
    metadata.store.create("/brokers/ids/10", b"{}", ephemeral=True)
    metadata.store.create("/brokers/ids/2", b"{}", ephemeral=True)
    assert metadata.cache.broker_ids == [1, 2, 10]
    metadata.store.delete("/brokers/ids/2")
    assert metadata.cache.broker_ids == [1, 10]


NAMES = (None, "J\u00f6rg & S\u00f6hne", "a~b", "100%", "<default>", "a/clients/b", "clients", "*")


def test_quotas_survive_a_restart() -> None:
    metadata = make_metadata()
    entities = [entity_of({kind: name}) for kind in ("user", "client-id") for name in NAMES]
    entities += [entity_of({"user": user, "client-id": client}) for user in NAMES for client in NAMES]
    entities += [entity_of({"ip": None}), entity_of({"ip": "10.0.0.1"})]
    wanted = {entity: {"producer_byte_rate": float(i + 1)} for i, entity in enumerate(entities) if entity is not None}
    for entity, quotas in wanted.items():
        metadata.config_changes.set_config(
            *stored_at(entity), {key: value_text(key, each) for key, each in quotas.items()}
        )
    assert metadata.cache.quotas == wanted
    assert {"a%7Eb", "%2A", "%3Cdefault%3E", "<default>"} <= set(
        metadata.store.children("/config/users")
    )  # Kafka's Sanitizer
    metadata.store.delete("/controller")
    again = ClusterMetadata(metadata.store, 1, lambda: 0)
    again.load(CLUSTER_ID)
    assert again.cache.quotas == wanted
    assert again.cache.config_entities("users") == metadata.cache.config_entities("users")


def test_entities_without_quotas_leave_nothing() -> None:
    metadata = make_metadata()
    before = {path: metadata.store.children(path) for path in ("/config/users", "/config/clients", "/config/ips")}
    entities = [
        ("users", "a"),
        ("users", "a/clients/b"),
        ("users", "a/clients/c"),
        ("clients", "b"),
        ("ips", "<default>"),
    ]
    for last in range(len(entities)):  # every entity is the last one once
        for entity in entities:
            metadata.config_changes.set_config(*entity, {"producer_byte_rate": "1"})
        for entity in entities[last + 1 :] + entities[: last + 1]:
            metadata.config_changes.set_config(*entity, {})
            metadata.config_changes.set_config(*entity, {})
        assert metadata.cache.quotas == {}
        assert before == {path: metadata.store.children(path) for path in before}


def test_a_user_keeps_what_is_not_a_quota() -> None:
    metadata = make_metadata()
    metadata.config_changes.set_config("users", "a", {"SCRAM-SHA-256": "salt"})
    metadata.config_changes.set_config("users", "a/clients/b", {"request_percentage": "0.5"})
    metadata.config_changes.set_config("users", "a/clients/b", {})
    assert metadata.cache.quotas == {}
    assert metadata.cache.config("users", "a") == {"SCRAM-SHA-256": "salt"}
    assert metadata.store.children("/config/users") == ["a"]
    assert metadata.store.children("/config/users/a") == []


def test_a_new_topic_has_the_settings_that_were_stored_with_it() -> None:
    """Not those that were stored for the name while there was no topic."""
    metadata = make_metadata()
    metadata.config_changes.set_config("topics", "t", {"retention.ms": "1"})
    changes: list[Any] = []
    metadata.cache.add_listener(changes.append)
    metadata.topic_changes.create_topic("t", [[1]], {"retention.ms": "2"})
    assert metadata.cache.topics["t"].config == metadata.cache.topic_config("t") == {"retention.ms": "2"}
    assert [topic.config for topic in changes[-1].changed] == [{"retention.ms": "2"}]
