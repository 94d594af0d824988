"""The TLS listeners of a member of a cluster: what it connects to other brokers with, and reloads that are refused or fail."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from kafka_cy.cluster.metadata_cache import ConfigChanged
from kafka_cy.config import BrokerConfig, ConfigError
from kafka_cy.network.tls import TlsContext
from kafka_cy.security.listener_tls import tls_contexts, verifies_host
from kafka_cy.server import tls_listeners
from kafka_cy.server.tls_listeners import TlsListeners
from tests.certificates import Authority

TRUST = "listener.name.repl.ssl.truststore.location"
STORE = "listener.name.repl.ssl.keystore.location"


class Around:
    """The network server, the metadata and the log."""

    def __init__(self) -> None:
        self.contexts: dict[int, TlsContext] = {}
        self.errors: list[str] = []
        self.lines: list[str] = []
        self.listener: Callable[[Any], None] | None = None

    def set_transport(self, index: int, context: TlsContext) -> None:
        self.contexts[index] = context

    def add_listener(self, listener: Callable[[Any], None]) -> None:
        self.listener = listener

    def error(self, what: str, **details: Any) -> None:
        self.errors.append(f"{what} {details}")

    def info(self, what: str, **details: Any) -> None:
        self.lines.append(f"{what} {details}")

    warning = info


class Member:
    """Listeners REPL and CLIENT with TLS, and PLAIN."""

    def __init__(self, authority: Authority, more: Mapping[str, object] | None = None) -> None:
        settings: dict[str, object] = {
            "zookeeper.connect": "zk:2181",
            "broker.id": 1,
            "listeners": "REPL://h:1,CLIENT://h:2,PLAIN://h:3",
            "listener.security.protocol.map": "REPL:SSL,CLIENT:SSL,PLAIN:PLAINTEXT",
            "inter.broker.listener.name": "REPL",
            **authority.broker_config(),
            "listener.name.repl.ssl.truststore.type": "PEM",
            "listener.name.repl.ssl.keystore.type": "PEM",
            TRUST: authority.trusted,
            STORE: authority.broker,
        }
        settings.update(more or {})
        self.config = BrokerConfig({key: str(value) for key, value in settings.items() if value is not None})
        self.around = Around()
        self.tls = TlsListeners(self.config, self.around, self.around)  # type: ignore[arg-type]
        self.tls.start(self.around)

    def change(self, key: str, value: object) -> None:
        """As IncrementalAlterConfigs."""
        self.config.check_reconfiguration({key: str(value)})
        self.take(key, value)

    def take(self, key: str, value: object) -> None:
        self.config.set_dynamic(broker={key: str(value)}, cluster_default={})
        self.announce("1", {key: str(value)})

    def announce(self, entity: str, values: dict[str, str]) -> None:
        assert self.around.listener is not None
        self.around.listener(ConfigChanged("brokers", entity, values))


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("one"))


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("other"))


def test_which_connections_are_encrypted(authority: Authority) -> None:
    tls = Member(authority).tls
    assert tls.transport_to("REPL") is not None
    assert tls.transport_to("CLIENT") is None and tls.transport_to("PLAIN") is None
    alone = Member(authority, {"zookeeper.connect": None, "broker.id": 1}).tls
    assert alone.transport_to("REPL") is None
    both = Member(authority, {"control.plane.listener.name": "CLIENT"}).tls
    assert both.transport_to("REPL") is not None and both.transport_to("CLIENT") is not None


def test_a_broker_must_trust_its_own_certificate(authority: Authority, other: Authority) -> None:
    """As in Kafka: others have the same settings."""
    with pytest.raises(ConfigError, match="its certificate is not accepted") as raised:
        Member(authority, {TRUST: other.trusted})
    assert raised.value.key == TRUST
    assert "A client SSLEngine created with the provided settings can't connect" in raised.value.reason
    Member(authority, {"listener.name.client.ssl.truststore.location": other.trusted})


def test_whether_the_name_is_checked(authority: Authority) -> None:
    key = "ssl.endpoint.identification.algorithm"
    own = "listener.name.repl." + key
    assert verifies_host(Member(authority).config, "REPL")
    assert not verifies_host(Member(authority, {key: ""}).config, "REPL")
    assert verifies_host(Member(authority, {key: "", own: "HTTPS"}).config, "REPL")
    with pytest.raises(ConfigError, match="ldaps is not known") as raised:
        Member(authority, {own: "LDAPS"})
    assert raised.value.key == own


def test_a_reload(authority: Authority, other: Authority, tmp_path: Path) -> None:
    member = Member(authority, {"ssl.allow.dn.changes": "true", "ssl.allow.san.changes": "true"})
    both = tmp_path / "both.pem"
    both.write_bytes(authority.trusted.read_bytes() + other.trusted.read_bytes())
    contexts = dict(member.around.contexts)
    for key, path in ((TRUST, other.trusted), (TRUST, tmp_path / "nowhere"), (STORE, other.broker)):
        with pytest.raises(ConfigError):  # brokers without the new certificate could not be reached
            member.change(key, path)
    assert member.around.contexts == contexts
    transport = member.tls.transport_to("REPL")
    member.change(TRUST, both)
    assert member.around.contexts[0] is not contexts[0]
    assert member.tls.transport_to("REPL") is not None and transport is not None
    changed = dict(member.around.contexts)
    both.write_bytes(b"nonsense")
    member.take(TRUST, both)
    assert member.around.contexts == changed
    assert [line.partition(" {")[0] for line in member.around.errors] == [
        "certificates cannot be reloaded: the current ones stay in use"
    ]


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The listeners for which contexts were made."""
    names: list[str] = []

    def contexts(config: BrokerConfig, listener: str, connects: bool) -> Any:
        names.append(listener)
        return tls_contexts(config, listener, connects)

    monkeypatch.setattr(tls_listeners, "tls_contexts", contexts)
    return names


def test_other_changes_make_no_contexts(authority: Authority, made: list[str]) -> None:
    """They take 100 ms of the control thread."""
    member = Member(authority)
    made.clear()
    contexts = dict(member.around.contexts)
    member.change("log.cleaner.threads", 2)
    member.change("log.cleaner.threads", 1)
    for entity in ("2", "<default>"):
        member.announce(entity, {STORE: "/nowhere"})
    assert made == [] and member.around.contexts == contexts and member.around.lines == []


def test_a_change_makes_the_contexts_of_its_listener_once(authority: Authority, made: list[str]) -> None:
    member = Member(authority)
    contexts = dict(member.around.contexts)
    made.clear()
    member.change(STORE, authority.issue("localhost", "127.0.0.1"))
    assert made == ["REPL"]
    assert member.around.contexts[0] is not contexts[0] and member.around.contexts[1] is contexts[1]
    assert len(member.around.lines) == 1 and "REPL" in member.around.lines[0]
    member.change("log.cleaner.threads", 2)  # which removes the other setting
    assert made == ["REPL", "REPL"] and member.around.contexts[0] not in (contexts[0], None)


def test_the_same_path_is_read_again(authority: Authority, made: list[str], tmp_path: Path) -> None:
    """KIP-226. Of the cluster's settings, the values count only, as in Kafka."""
    store = tmp_path / "store.pem"
    store.write_bytes(authority.broker.read_bytes())
    member = Member(authority)
    member.change(STORE, store)
    contexts = dict(member.around.contexts)
    made.clear()
    member.change(STORE, store)
    assert made == []
    replace(store, authority.issue("localhost", "127.0.0.1").read_bytes())
    member.announce("<default>", {})
    assert made == [] and member.around.contexts == contexts
    member.change(STORE, store)
    assert made == ["REPL"] and member.around.contexts[0] is not contexts[0]
    replace(store, b"nonsense")
    with pytest.raises(ConfigError, match="cannot be read"):
        member.change(STORE, store)
    made.clear()
    store.unlink()
    member.change(STORE, store)
    assert made == [] and member.around.lines[-1].startswith("a key or trust store is not there any more")


def replace(path: Path, content: bytes) -> None:
    """As tools do: the file is another one, whatever the clock says."""
    path.with_suffix(".new").write_bytes(content)
    path.with_suffix(".new").replace(path)


def test_what_was_not_checked_before_it_was_stored(authority: Authority) -> None:
    """Another tool wrote it to ZooKeeper."""
    member = Member(authority)
    contexts = dict(member.around.contexts)
    member.take(STORE, authority.issue("elsewhere", common_name="elsewhere"))
    assert member.around.contexts == contexts and "DistinguishedName" in member.around.errors[0]


def test_a_check_under_other_rules_does_not_count(authority: Authority) -> None:
    member = Member(authority)
    settings = {STORE: str(authority.issue("elsewhere", common_name="elsewhere"))}
    allowed = {"ssl.allow.dn.changes": "true", "ssl.allow.san.changes": "true"}
    member.config.check_reconfiguration({**settings, **allowed})  # validate_only
    with pytest.raises(ConfigError, match="DistinguishedName"):
        member.config.check_reconfiguration(settings)


def test_a_listener_with_sasl_reloads(authority: Authority, made: list[str]) -> None:
    sasl = {
        "listener.security.protocol.map": "REPL:SSL,CLIENT:SASL_SSL,PLAIN:PLAINTEXT",
        "listener.name.client.sasl.enabled.mechanisms": "SCRAM-SHA-512",
        "listener.name.client.ssl.keystore.location": authority.broker,
        "listener.name.client.ssl.client.auth": "required",
    }
    member = Member(authority, sasl)
    contexts = dict(member.around.contexts)
    made.clear()
    member.change("listener.name.client.ssl.keystore.location", authority.issue("localhost", "127.0.0.1"))
    assert made == ["CLIENT"]
    assert member.around.contexts[1] is not contexts[1] and member.around.contexts[0] is contexts[0]
    member.change("ssl.client.auth", "required")
    assert made == ["CLIENT", "REPL", "CLIENT"]  # the setting before is removed


WITHOUT_THREADS = """
import sys
from kafka_cy.server.main import run
from kafka_cy.server.tls_listeners import TlsListeners

def start(*unused):
    raise OSError(11, "no thread for TLS handshakes can be started")

TlsListeners.start = start
sys.exit(run(None, dict(each.split("=", 1) for each in sys.argv[1:])))
"""


def test_a_start_without_threads_for_handshakes_is_one_line(authority: Authority, tmp_path: Path) -> None:
    config = {"listeners": "SSL://127.0.0.1:0", "log.dirs": str(tmp_path / "data"), **authority.broker_config()}
    command = [sys.executable, "-c", WITHOUT_THREADS, *(f"{key}={value}" for key, value in config.items())]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 1
    told = ended.stdout + ended.stderr
    assert "the TLS listeners cannot be started: [Errno 11] no thread for TLS handshakes" in told and "Traceback" not in told
