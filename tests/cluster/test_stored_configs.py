"""Stored settings that cannot be understood: their topics get no defaults."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest

from kafka_cy.cluster.embedded_store import EmbeddedStore
from kafka_cy.cluster.metadata_cache import ConfigChanged, MetadataCache
from kafka_cy.cluster.store import Children, Create, NoAuthError
from kafka_cy.cluster.store_calls import StoreCalls, run
from kafka_cy.cluster.stored_configs import MalformedSettings, StoredConfigs
from kafka_cy.cluster.topics import Topic
from kafka_cy.config import ConfigError
from kafka_cy.server.applied_config import AppliedConfig
from kafka_cy.server.arrangement import ClusterRefused
from kafka_cy.server.cluster_member import ClusterMember
from tests.cluster.store_owner import Log

BAD = b'{"version":1,"config":{"retention.ms":"abc"}}'
GOOD = b'{"version":1,"config":{"retention.ms":"-1"}}'


def typed(values: dict[str, str]) -> dict[str, str]:
    if values.get("retention.ms") == "abc":
        raise ConfigError("retention.ms", "abc", "a number")
    return dict(values)


class Stored:
    """A member that has read what is stored, and is to open its logs."""

    def __init__(self, data: bytes) -> None:
        self.store = EmbeddedStore(None)
        for path in ("/config", "/config/topics"):
            self.store.multi([Create(path)])
        self.store.create("/config/topics/t", data)
        self.member: Any = ClusterMember.__new__(ClusterMember)
        self.member._config, self.member._log = SimpleNamespace(topic_config=typed), Log()
        self.later: list[Callable[[], object]] = []
        self.configs = StoredConfigs(
            self.store, MetadataCache(1), are_usable=self.member._are_usable, wall_clock_ms=lambda: 0,
            call_later=lambda delay_ms, call: self.later.append(call), log=self.member._log,
        )  # fmt: skip
        self.read()
        self.member.configs, self.member.cache = self.configs, self.configs._cache
        self.member._session = SimpleNamespace(run=lambda steps: {"t": b"i" * 16})
        self.done: list[Any] = []
        self.logs: Any = SimpleNamespace(
            open=lambda: None,
            named_topics=lambda: {"t": b"i" * 16},
            unknown=lambda known: [SimpleNamespace(topic="t", topic_id=b"i" * 16)],
            set_config=lambda name, config: self.done.append(config),
            start=lambda known, deleting: self.done.append("started"),
        )

    def read(self) -> None:
        run(self.configs.read_all(StoreCalls(self.store, lambda *_: None)), lambda *_: None)


@pytest.mark.parametrize("data", [b"{", b'{"version":1,"config":[1]}', pytest.param(b"[" * 100_000, id="deep")])
def test_no_log_gets_default_retention(data: bytes) -> None:
    stored, called = Stored(data), []
    with pytest.raises(ClusterRefused, match="/config/topics/t"):
        stored.member.open_logs(stored.logs)
    assert stored.done == []
    stored.configs.ensure(["t"], lambda: called.append(1))
    assert called == [1], "the topics that are told together with it do not wait"
    with pytest.raises(MalformedSettings):
        stored.member.topic_config("t")
    stored.store.set("/config/topics/t", GOOD)
    stored.configs.ensure(["t"], lambda: called.append(2))
    assert called == [1, 2] and stored.member.topic_config("t") == {"retention.ms": "-1"}


def test_settings_that_are_known_stay() -> None:
    stored = Stored(GOOD)
    stored.store.set("/config/topics/t", b"{")
    stored.read()
    stored.member.open_logs(stored.logs)
    assert stored.done == [{"retention.ms": "-1"}, "started"]


def test_a_value_that_is_not_allowed_here_is_kept() -> None:
    """Apache Kafka 3 allows other values. A change of another key, which starts from what is known, must not lose it."""
    stored = Stored(BAD)
    assert stored.configs._cache.config("topics", "t") == {"retention.ms": "abc"} and not stored.configs.malformed_topics
    assert stored.configs.unusable_topics == {"t"}
    assert stored.member._log.lines == ["a stored setting of a topic is not allowed"]


def test_no_log_is_opened_with_a_value_that_is_not_allowed() -> None:
    stored = Stored(BAD)
    with pytest.raises(ClusterRefused, match=r"topic t has .* value abc for configuration retention.ms.* /config/topics/t "):
        stored.member.open_logs(stored.logs)
    assert stored.done == []


@pytest.mark.parametrize("notified", [True, False])
@pytest.mark.parametrize("is_told", [True, False])
def test_a_running_broker_keeps_the_settings_of_before(is_told: bool, notified: bool) -> None:
    """It waits for good ones. Nobody may tell of them: somebody repairs the node with ZooKeeper's own tools."""
    stored = Stored(GOOD)
    member, cache = stored.member, stored.configs._cache
    member._broker = SimpleNamespace(logs=stored.logs)
    if is_told:
        cache.put_topic(Topic("t", uuid4(), (), cache.config("topics", "t")))
        logs = SimpleNamespace(take_config=lambda name, config: stored.done.append(config))
        cache.add_listener(AppliedConfig(member._config, cache, logs, member._log)._changed)
    cache.add_listener(member._topic_settings_changed)
    faults: list[Exception | None] = []
    for data, expected in ((BAD, []), (GOOD.replace(b"-1", b"5"), [{"retention.ms": "5"}])):
        stored.store.set("/config/topics/t", data)
        if notified or data == BAD:
            steps = stored.configs._read(StoreCalls(stored.store, lambda *_: None), ["topics/t"])
            run(steps, lambda value, fault: faults.append(fault))
        else:
            stored.later.pop()()
        assert stored.done == expected and stored.configs.lacks_settings("t") == (data == BAD)
    assert not any(faults)


@pytest.mark.parametrize(("value", "elects"), [("true", 1), ("True", 1), (" TRUE ", 1), ("false", 0), (None, 0)])
def test_a_topic_that_allows_unclean_elections_gets_its_leaders_at_once(value: str | None, elects: int) -> None:
    """However the value is written."""
    elections: list[str] = []
    member: Any = ClusterMember.__new__(ClusterMember)
    member._controller = SimpleNamespace(elect_missing=lambda: elections.append("all"))
    member.cache = SimpleNamespace(topics={"t": None})
    values = {} if value is None else {"unclean.leader.election.enable": value}
    member._topic_settings_changed(ConfigChanged("topics", "t", values))
    member._topic_settings_changed(ConfigChanged("brokers", "1", values))
    assert elections == ["all"] * elects


def test_a_broker_that_stores_the_same_settings_again_hears_of_it() -> None:
    """A key store may be another one under the same name (KIP-226)."""
    configs, heard = Stored(GOOD).configs, []
    configs._cache.add_listener(heard.append)
    for _ in range(2):
        configs.stored("brokers", "1", {"k": "/path"})
        configs.stored("topics", "u", {"k": "v"})
    assert [change.entity_type for change in heard] == ["brokers", "topics", "brokers"]
    assert heard[0] == heard[2]


def test_what_changes_while_the_logs_are_recovered() -> None:
    """Nobody follows notifications yet, and they are deleted after some minutes. Clients are served with what is stored then."""
    stored = Stored(GOOD)
    cache = stored.configs._cache
    scram = b'{"version":1,"config":{"SCRAM-SHA-256":"x"}}'
    stored.store.multi([Create("/config/users"), Create("/config/users/alice", scram)])
    stored.read()
    assert cache.config("users", "alice") == {"SCRAM-SHA-256": "x"} and not stored.configs.is_current
    stored.store.multi([Create("/config/users/b%20c", scram), Create("/config/topics/old", GOOD)])
    stored.read()
    stored.store.delete("/config/users/alice")
    stored.store.delete("/config/topics/old")
    stored.store.set("/config/topics/t", GOOD.replace(b"-1", b"5"))
    waited: list[Callable[[], bool]] = []
    acls, tokens = (SimpleNamespace(start=lambda: None, is_current=False, fault=None) for _ in range(2))
    stored.member.acls, stored.member.tokens = acls, tokens
    stored.member._follow_stored(SimpleNamespace(run_until=waited.append))
    assert stored.configs.is_current and not waited[0](), "no client is served before ACLs and tokens are read, too"
    acls.is_current = True
    assert not waited[0](), "a removed token would be accepted"
    tokens.is_current = True
    assert waited[0]()
    assert cache.config("users", "alice") == {} and cache.config("topics", "t") == {"retention.ms": "5"}
    assert cache.config("users", "b%20c") == {"SCRAM-SHA-256": "x"}
    assert cache.config("topics", "old") == {} and not stored.configs.knows("old"), "it may be created with others"


def test_what_cannot_be_read_again_ends_the_start() -> None:
    """As when it cannot be read the first time. Nobody would see why the broker does not come up."""
    stored = Stored(GOOD)
    stored.member.acls = stored.member.tokens = None
    read = stored.store.read

    def denied(requests: Any, done: Any) -> None:
        if list(requests) == [Children("/config/users")]:
            done(None, NoAuthError("/config/users"))
        else:
            read(requests, done)

    stored.store.read = denied  # type: ignore[method-assign]
    with pytest.raises(ClusterRefused, match="/config/users"):
        stored.member._follow_stored(SimpleNamespace(run_until=lambda condition: condition()))
    stored.store.read = read  # type: ignore[method-assign]
    stored.configs._reads.read_all()
    assert stored.configs.is_current and stored.configs.fault is None


def test_a_topic_without_a_node_is_known_once_it_exists() -> None:
    """Else each request that names it would wait for the store."""
    configs, called = Stored(GOOD).configs, []
    configs.ensure(["u"], lambda: called.append(1))
    assert not configs.knows("u") and called == [1]
    configs._cache.topics["u"] = SimpleNamespace(name="u")  # type: ignore[assignment]
    assert configs.knows("u")


def test_what_is_stored_while_everything_is_read() -> None:
    """The children were listed before it was there."""
    stored = Stored(GOOD)
    calls = StoreCalls(stored.store, lambda *_: None)
    read = calls.read

    async def late(*operations: Any) -> Any:
        answers = await read(*operations)
        if operations == (Children("/config/topics"),):
            stored.store.create("/config/topics/new", GOOD)
            stored.configs.stored("topics", "new", {"retention.ms": "-1"})
        return answers

    calls.read = late  # type: ignore[method-assign]
    run(stored.configs.read_all(calls), lambda *_: None)
    assert stored.configs._cache.config("topics", "new") == {"retention.ms": "-1"}


def test_a_log_that_another_thread_creates_while_its_settings_change() -> None:
    """It was created with those that were read before: records would go too early."""
    member = Stored(GOOD).member
    configs = {"t": {"retention.ms": "5"}, "u": {"retention.ms": "-1"}, "v": {}, "m": {"retention.ms": "5"}, "gone": {"k": "v"}}
    configs = {"bad": {"retention.ms": "5"}, **configs, "bad2": {"retention.ms": "5"}}
    member.cache.put_config("topics", "bad2", {"retention.ms": "abc"})
    logs = SimpleNamespace(
        has_topic=lambda name: name != "v", config_of=configs.__getitem__,
        set_config_in_steps=lambda name, config: iter([configs.update({name: config})]),
    )  # fmt: skip
    member.cache.put_config("topics", "u", {"retention.ms": "-1"})
    member.configs.malformed_topics.add("m")
    member.cache.put_config("topics", "bad", {"retention.ms": "abc"})
    member._broker, member._slices = SimpleNamespace(logs=logs), SimpleNamespace(add=list)
    shown: list[set[str]] = []
    member._published = SimpleNamespace(hosted_changed=shown.append)
    expected = {**configs, "t": {"retention.ms": "-1"}}
    member.hosted_changed(set(configs))
    assert configs == expected and shown == [set(configs)]
