"""Limits of connections for host names: the newest settings count, however long a name takes to resolve."""

from __future__ import annotations

import socket
import threading
from typing import Any

import pytest

from kafka_cy.config.broker_config import BrokerConfig
from kafka_cy.server.connection_limits import ConnectionLimits, are_limited_by, protected_listeners
from tests.no_threads import forbid_threads
from tests.waiting import wait_until

NO_LIMIT = 0x7FFFFFFF
ONE, TWO = bytes([10, 0, 0, 1]), bytes([10, 0, 0, 2])


class Server:
    """The network server's limits."""

    def __init__(self) -> None:
        self.overrides: dict[bytes, int] = {}
        self.of_listeners: dict[int, tuple[int, int]] = {}

    def set_connections_max(self, limit: int) -> None:
        """Not looked at."""

    set_connections_per_ip_max = set_connection_creation_rate = set_connections_max

    def set_listener_limits(self, index: int, connections_max: int, creations_per_second: int) -> None:
        self.of_listeners[index] = connections_max, creations_per_second

    def set_connections_per_ip_overrides(self, limits: dict[bytes, int]) -> None:
        self.overrides = limits


class Config(dict[str, int]):
    """A configuration with these overrides, and no listeners."""

    listeners = ()

    def __init__(self, **overrides: int) -> None:
        super().__init__({"max.connections": 1, "max.connections.per.ip": 1, "max.connection.creation.rate": 1})
        self.connections_per_ip_overrides = {host.replace("_", "."): limit for host, limit in overrides.items()}


class Names:
    """A name server that answers when the test allows it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[str] = []
        self.may_answer = threading.Event()
        monkeypatch.setattr(socket, "getaddrinfo", self.resolve)

    def resolve(self, host: str, *_: Any, **__: Any) -> list[Any]:
        self.asked.append(host)
        assert self.may_answer.wait(60)
        if host == "nobody":
            raise socket.gaierror("not known")
        return [(0, 0, 0, "", ({"one": "10.0.0.1", "two": "10.0.0.2"}[host], 0))]


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Names:
    return Names(monkeypatch)


def resolved(limits: ConnectionLimits) -> None:
    wait_until(lambda: not limits._is_resolving, "the names are resolved")


def test_an_older_resolution_does_not_replace_newer_limits(names: Names) -> None:
    server = Server()
    limits = ConnectionLimits(server, lambda *_, **__: None)
    limits.apply(Config(one=5))
    wait_until(lambda: names.asked, "the first resolution")
    limits.apply(Config(two=7))
    limits.apply(Config(two=8, **{"10_0_0_3": 9}))
    threads = [thread.name for thread in threading.enumerate()]
    assert threads.count("resolve-hosts") == 1
    names.may_answer.set()
    resolved(limits)
    assert server.overrides == {TWO: 8, bytes([10, 0, 0, 3]): 9}
    assert names.asked == ["one", "two"]
    limits.apply(Config())
    assert server.overrides == {}


def test_a_name_keeps_its_addresses_while_it_is_resolved_again(names: Names) -> None:
    server = Server()
    lines: list[str] = []
    limits = ConnectionLimits(server, lambda text, **details: lines.append(details["host"]))
    names.may_answer.set()
    limits.apply(Config(one=5, nobody=1))
    resolved(limits)
    assert server.overrides == {ONE: 5} and lines == ["nobody"]
    names.may_answer.clear()
    limits.apply(Config(one=6))
    assert server.overrides == {ONE: 6}
    names.may_answer.set()
    resolved(limits)
    assert server.overrides == {ONE: 6}


def test_a_thread_that_cannot_start_leaves_numeric_limits(names: Names, monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server()
    lines: list[str] = []
    limits = ConnectionLimits(server, lambda text, **details: lines.append(details["error"]))
    with monkeypatch.context() as patch:
        forbid_threads(patch)
        limits.apply(Config(one=5, **{"10_0_0_2": 9}))
        assert server.overrides == {TWO: 9} and lines == ["can't start new thread"]
    names.may_answer.set()
    limits.apply(Config(one=5))
    resolved(limits)
    assert server.overrides == {ONE: 5}


def protected(**settings: str) -> frozenset[str]:
    listeners = {"listeners": "CLIENT://:9092,REPL://:9093", "inter.broker.listener.name": "REPL"}
    protocols = {"listener.security.protocol.map": "CLIENT:PLAINTEXT,REPL:PLAINTEXT,CONTROL:PLAINTEXT"}
    given = {name.replace("_", "."): value for name, value in settings.items()}
    config = BrokerConfig({"zookeeper.connect": "zk:2181", "broker.id": "1", **protocols, **listeners, **given})
    return protected_listeners(config)


def test_listeners_between_brokers_are_protected() -> None:
    """Kafka protects that of the control plane not, and one for everything neither."""
    control = "CLIENT://:9092,REPL://:9093,CONTROL://:9094"
    assert protected() == {"REPL"}
    assert protected(listeners=control, control_plane_listener_name="CONTROL") == {"REPL", "CONTROL"}
    assert protected(listeners="REPL://:9093") == frozenset()


def test_nothing_is_protected_without_other_brokers() -> None:
    config = BrokerConfig({"listeners": "PLAINTEXT://:9092,SSL://:9093"})
    assert config.inter_broker_listener_name == "PLAINTEXT"
    assert protected_listeners(config) == frozenset()


def test_a_listener_has_limits_of_its_own() -> None:
    """They apply beside those of all listeners, which are none of a listener's own."""
    config = BrokerConfig(
        {
            "listeners": "PLAINTEXT://:9092,SSL://:9093",
            "max.connections": "9",
            "listener.name.plaintext.max.connections": "5",
            "listener.name.ssl.max.connection.creation.rate": "7",
        }
    )
    assert config.warnings == []
    server = Server()
    ConnectionLimits(server, lambda *_, **__: None).apply(config)
    assert server.of_listeners == {0: (5, NO_LIMIT), 1: (NO_LIMIT, 7)}


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ({"listener.name.ssl.max.connections"}, True),
        ({"max.connections.per.ip", "num.partitions"}, True),
        ({"listener.name.ssl.ssl.keystore.location", "num.partitions"}, False),
    ],
)
def test_which_changes_concern_the_limits(names: set[str], expected: bool) -> None:
    assert are_limited_by(names) is expected
