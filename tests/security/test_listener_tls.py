"""The `ssl.*` keys of a listener: formats of keys and certificates, keys of a single listener, and refused starts."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from kafka_cy.config import BrokerConfig, ConfigError
from kafka_cy.network.tls_client import handshake_problem
from kafka_cy.security.listener_tls import (
    FILE_BYTES_MAX,
    TLS_KEYS,
    KeysOfTls,
    _ListenerKeys,
    tls_contexts,
    tls_needs,
    verifies_host,
)
from tests.certificates import PASSWORD, Authority


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"))


def made(settings: Mapping[str, object], listener: str = "SSL") -> bytes:
    """The subject of the certificate that a listener would present; it is not empty."""
    static = {"listeners": "SSL://h:1,INNER://h:2", "listener.security.protocol.map": "SSL:SSL,INNER:SSL"}
    config = BrokerConfig({**static, **{key: str(value) for key, value in settings.items()}})
    return tls_contexts(config, listener, connects=False)[0].subject


def one_line(path: Path) -> str:
    return " ".join(path.read_text().split("\n"))


def test_every_format(authority: Authority) -> None:
    pem, store = authority.broker, authority.key_store(authority.broker)
    jks = {"ssl.keystore.location": store, "ssl.keystore.password": PASSWORD}
    inline = {"ssl.keystore.key": one_line(pem), "ssl.keystore.certificate.chain": one_line(pem)}
    shown = {
        made({"ssl.keystore.type": "PEM", "ssl.keystore.location": pem}),
        made({"ssl.keystore.type": "pem", **inline}),
        made({"ssl.keystore.type": "PKCS12", **jks}),
        made(jks),  # JKS is the default type, and since Java 9, keytool also writes PKCS#12 under that name
    }
    assert len(shown) == 1 and b"" not in shown


@pytest.mark.parametrize("form", ["pkcs8", "rsa", "ec", "encrypted"])
def test_forms_of_keys(tmp_path: Path, form: str) -> None:
    """Keys and certificates as openssl writes them."""
    key, certificate, store = tmp_path / "key", tmp_path / "certificate", tmp_path / "store.pem"
    kind = ["ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"] if form == "ec" else ["rsa:2048"]
    run("req", "-x509", "-newkey", *kind, "-nodes", "-subj", "/CN=h", "-keyout", key, "-out", certificate)
    if form == "rsa":
        run("rsa", "-in", key, "-traditional", "-out", key)
    elif form == "ec":
        run("ec", "-in", key, "-out", key)
    elif form == "encrypted":
        run("pkcs8", "-topk8", "-in", key, "-passout", f"pass:{PASSWORD}", "-out", tmp_path / "locked")
        key = tmp_path / "locked"
    store.write_bytes(certificate.read_bytes() + key.read_bytes())
    settings = {"ssl.keystore.type": "PEM", "ssl.keystore.location": store}
    if form == "encrypted":
        for password in ({}, {"ssl.key.password": "wrong"}):
            with pytest.raises(ConfigError, match=r"ssl\.keystore\.location: SSL: the private key cannot be read"):
                made({**settings, **password})
        settings["ssl.key.password"] = PASSWORD
    assert made(settings) != b""


def run(*arguments: object) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


def test_stores_of_older_javas_are_told(authority: Authority, tmp_path: Path) -> None:
    store = tmp_path / "old.p12"
    run("pkcs12", "-export", "-legacy", "-in", authority.broker, "-passout", f"pass:{PASSWORD}", "-out", store)
    with pytest.raises(ConfigError, match="Java before 16"):
        made({"ssl.keystore.location": store, "ssl.keystore.password": PASSWORD})


def test_a_listeners_own_keys_come_first(authority: Authority) -> None:
    own = authority.issue("inner.example.org", common_name="inner")
    settings = {
        **authority.broker_config(),
        "listener.name.inner.ssl.keystore.location": own,
    }
    assert made(settings, "SSL") != made(settings, "INNER")
    with pytest.raises(ConfigError, match=r"for configuration listener\.name\.inner\.ssl\.keystore\.location: INNER"):
        made({**settings, "listener.name.inner.ssl.keystore.location": "/nowhere"}, "INNER")
    with pytest.raises(ConfigError, match=r"listener\.name\.inner\.ssl\.client\.auth"):
        made({**settings, "listener.name.inner.ssl.client.auth": "perhaps"}, "INNER")


def test_certificates_of_clients(authority: Authority) -> None:
    base = {**authority.broker_config(), "ssl.client.auth": "required"}
    made(base)  # trusts the authorities that this machine trusts
    made({**base, "ssl.truststore.type": "PEM", "ssl.truststore.location": authority.trusted})
    made({**base, "ssl.truststore.type": "PEM", "ssl.truststore.certificates": one_line(authority.trusted)})
    store = authority.key_store(authority.broker)
    made({**base, "ssl.truststore.location": store, "ssl.truststore.password": PASSWORD})


def wrong(authority: Authority) -> dict[str, tuple[dict[str, object], str]]:
    pem: dict[str, object] = {"ssl.keystore.type": "PEM"}
    good = authority.broker_config()
    text = one_line(authority.broker)
    store = authority.key_store(authority.broker)
    jks = authority.folder / "old.jks"
    jks.write_bytes(b"\xfe\xed\xfe\xed\x00\x00\x00\x02")
    huge = authority.folder / "huge.pem"
    huge.write_bytes(authority.broker.read_bytes() + b"\n" * FILE_BYTES_MAX)
    trust: dict[str, object] = {**good, "ssl.client.auth": "required", "ssl.truststore.type": "PEM"}
    file_trust = {**trust, "ssl.truststore.location": authority.trusted}
    return {
        "ssl.keystore.location": ({}, "it is not set"),
        "ssl.keystore.key": (pem, "it is not set"),
        "ssl.keystore.type": ({**good, "ssl.keystore.type": "BKS"}, "BKS is not read"),
        "ssl.keystore.password": ({**good, "ssl.keystore.password": "x"}, "only key password may be specified"),
        " ssl.keystore.password": ({"ssl.keystore.location": store}, "password is not specified"),
        " ssl.keystore.key": ({**good, "ssl.keystore.key": text}, "Both SSL key store location and"),
        "ssl.keystore.certificate.chain": ({**pem, "ssl.keystore.key": text}, "certificate chain is not specified"),
        " ssl.keystore.location": ({**pem, "ssl.keystore.location": "/nowhere"}, "No such file"),
        "  ssl.keystore.location": ({**pem, "ssl.keystore.location": "/"}, "Is a directory"),
        "      ssl.keystore.location": ({**pem, "ssl.keystore.location": huge}, "it is larger"),
        "   ssl.keystore.location": ({**pem, "ssl.keystore.location": authority.trusted}, "the private key cannot be read"),
        "    ssl.keystore.location": ({"ssl.keystore.location": jks, "ssl.keystore.password": "x"}, "keytool"),
        "     ssl.keystore.location": ({"ssl.keystore.location": store, "ssl.keystore.password": "x"}, "password is"),
        "ssl.truststore.password": ({**file_trust, "ssl.truststore.password": "x"}, "cannot be specified for PEM"),
        "ssl.truststore.certificates": ({**file_trust, "ssl.truststore.certificates": text}, "Both SSL trust store"),
        " ssl.truststore.certificates": ({**trust, "ssl.truststore.certificates": "none"}, "cannot be read"),
        "ssl.truststore.location": ({**trust, "ssl.truststore.location": "/nowhere"}, "No such file"),
        "ssl.enabled.protocols": ({**good, "ssl.enabled.protocols": "TLSv1.2,SSLv3"}, "SSLv3: only TLSv1.2"),
        "ssl.cipher.suites": ({**good, "ssl.cipher.suites": "TLS_NONSENSE"}, "TLS_NONSENSE"),
        "ssl.engine.factory.class": ({**good, "ssl.engine.factory.class": "org.X"}, "Java classes"),
    }


def test_what_stops_a_start(authority: Authority) -> None:
    for name, (settings, reason) in wrong(authority).items():
        with pytest.raises(ConfigError) as raised:
            made(settings)
        assert raised.value.key == name.strip(), name
        assert reason in raised.value.reason, (name, raised.value.reason)
        assert raised.value.allowed and "PRIVATE KEY" not in str(raised.value)


def test_a_file_is_read_once(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    """A PKCS#12 file takes some 50 ms: the listener and the connections to other brokers share what is in it."""
    read: list[str] = []
    content = KeysOfTls.content
    monkeypatch.setattr(KeysOfTls, "content", lambda self, name: read.append(name) or content(self, name))  # type: ignore[func-returns-value]
    for client_auth in ("none", "required"):
        server, client = tls_contexts(stores(authority, client_auth), "SSL", connects=True)
        assert sorted(read) == ["ssl.keystore.location", "ssl.truststore.location"]
        assert client is not None and client.subject == server.subject != b""
        read.clear()


def stores(authority: Authority, client_auth: str) -> BrokerConfig:
    store = str(authority.key_store(authority.broker))
    return BrokerConfig({
        "listeners": "SSL://h:1",
        "ssl.client.auth": client_auth,
        **{f"ssl.{kind}store.location": store for kind in ("key", "trust")},
        **{f"ssl.{kind}store.password": PASSWORD for kind in ("key", "trust")},
    })  # fmt: skip


def test_connections_present_the_whole_chain(tmp_path: Path) -> None:
    """A broker that asks for certificates knows the root only."""
    authority = Authority(tmp_path)
    issued = authority.authority.create_child_ca().issue_cert("localhost")
    authority.broker = tmp_path / "below.pem"
    issued.private_key_and_cert_chain_pem.write_to_path(str(authority.broker))
    assert authority.broker.read_bytes().count(b"BEGIN CERTIFICATE") == 2
    settings = {**authority.broker_config(), "ssl.truststore.type": "PEM", "ssl.truststore.location": authority.trusted}
    static = {"listeners": "SSL://h:1", **{key: str(value) for key, value in settings.items()}}
    asks, _ = tls_contexts(BrokerConfig({**static, "ssl.client.auth": "required"}), "SSL", connects=False)
    for client_auth in ("none", "requested"):
        server, client = tls_contexts(BrokerConfig({**static, "ssl.client.auth": client_auth}), "SSL", connects=True)
        assert client is not None
        assert handshake_problem(client, asks) is None and handshake_problem(client, server) is None


def test_which_keys_make_contexts(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key that is missing in TLS_KEYS could be changed without effect."""
    read: set[str] = set()
    value = _ListenerKeys.__getitem__

    def noted(self: _ListenerKeys, name: str) -> object:
        read.add(name)
        return value(self, name)

    monkeypatch.setattr(_ListenerKeys, "__getitem__", noted)
    pem = {key: str(found) for key, found in authority.broker_config().items()}
    for config in (stores(authority, "required"), BrokerConfig({"listeners": "SSL://h:1", **pem})):
        tls_contexts(config, "SSL", connects=True)
        verifies_host(config, "SSL")
    assert read == set(TLS_KEYS)
    assert tls_needs(config, "SSL") == tls_needs(config, "SSL")
