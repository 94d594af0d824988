"""Every client with every SASL mechanism, in plaintext and over TLS: the table of client_matrix.py against a broker.

CLIENT_MATRIX=1 (`make clients`) runs all cells.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from client_matrix import (
    CANNOT,
    CLIENTS,
    GSSAPI,
    KERBEROS_MODULE,
    MECHANISMS,
    MODULES,
    OAUTH,
    PASSWORD,
    PLAIN,
    PROTOCOLS,
    SHA256,
    SHA512,
    USER,
    Cell,
    LoginFailedError,
    documented,
    is_in_make_test,
)
from confluent_kafka.admin import AdminClient, ScramCredentialInfo, ScramMechanism, UserScramCredentialUpsertion
from foreign_tools import HERE, require
from java_tools import KAFKA_JARS, JavaTools

from kafka_cy.testing import Broker
from kafka_cy.testing.broker import free_ports
from tests.certificates import Authority
from tests.kerberos import REALM, Realm, missing_program, running_realm

pytestmark = [pytest.mark.interop, pytest.mark.timeout(300)]

ALL = "CLIENT_MATRIX" in os.environ
SCRAM = {SHA256: ScramMechanism.SCRAM_SHA_256, SHA512: ScramMechanism.SCRAM_SHA_512}


@dataclass(frozen=True)
class Secured:
    """A broker with all mechanisms on listeners SASL_PLAINTEXT and SASL_SSL. Only USER may do anything there."""

    ports: Mapping[str, int]
    authority: Authority


@pytest.fixture(scope="module")
def realm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Realm | None]:
    """None without Kerberos."""
    try:
        import gssapi  # noqa: F401
    except ImportError:
        yield None
        return
    if missing_program() is not None:
        yield None
        return
    with running_realm(tmp_path_factory.mktemp("realm")) as running, pytest.MonkeyPatch.context() as patch:
        patch.setenv("KAFKA_OPTS", f"-Djava.security.krb5.conf={running.krb5_conf}")
        patch.setenv("KRB5RCACHENAME", running.environment["KRB5RCACHENAME"])
        yield running


def jaas_texts(realm: Realm | None) -> dict[str, str]:
    texts = {
        PLAIN: f'{MODULES}.plain.PlainLoginModule required user_{USER}="{PASSWORD}";',
        SHA256: f"{MODULES}.scram.ScramLoginModule required;",
        SHA512: f"{MODULES}.scram.ScramLoginModule required;",
        OAUTH: f"{MODULES}.oauthbearer.OAuthBearerLoginModule required;",
    }
    if realm is not None:
        key = f'useKeyTab=true storeKey=true keyTab="{realm.key_tab}" principal="kafka/localhost@{REALM}"'
        texts[GSSAPI] = f"{KERBEROS_MODULE} required {key};"
    return texts


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory, realm: Realm | None) -> Iterator[Secured]:
    authority = Authority(tmp_path_factory.mktemp("certificates"))
    ports = dict(zip(("PLAINTEXT", *PROTOCOLS), free_ports(3), strict=True))
    texts = jaas_texts(realm)
    config: dict[str, object] = {
        "listeners": ",".join(f"{name}://localhost:{port}" for name, port in ports.items()),
        "sasl.enabled.mechanisms": ",".join(texts),
        "sasl.kerberos.service.name": "kafka",
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": f"User:{USER};User:ANONYMOUS",  # ANONYMOUS is this test
        "offsets.topic.num.partitions": 5,
        **authority.broker_config(),
    }
    for protocol in PROTOCOLS:
        for mechanism, text in texts.items():
            config[f"listener.name.{protocol.lower()}.{mechanism.lower()}.sasl.jaas.config"] = text
    broker = Broker(config, folder=tmp_path_factory.mktemp("secured"))
    broker.host, broker.port = "localhost", ports["PLAINTEXT"]
    with broker:
        admin = AdminClient({"bootstrap.servers": broker.bootstrap_servers})
        for mechanism in SCRAM.values():
            change = UserScramCredentialUpsertion(USER, ScramCredentialInfo(mechanism, 4096), PASSWORD.encode())
            admin.alter_user_scram_credentials([change])[USER].result(60)
        yield Secured(ports, authority)


@pytest.fixture(scope="module")
def kerberos_java(realm: Realm | None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[JavaTools]:
    """Kafka's tools in a JVM that knows the realm."""
    require(shutil.which("java"), "java")
    require(KAFKA_JARS.is_dir(), f"Apache Kafka in {KAFKA_JARS}")
    options = [f"-Djava.security.krb5.conf={realm.krb5_conf}"] if realm is not None else []
    tools = JavaTools(tmp_path_factory.mktemp("java") / "stderr.log", options)
    yield tools
    tools.close()


CELLS = [
    (client, mechanism, protocol)
    for client in CLIENTS
    for mechanism in MECHANISMS
    for protocol in PROTOCOLS
    if ALL or is_in_make_test(client, mechanism, protocol)
]


@pytest.mark.parametrize(("client", "mechanism", "protocol"), CELLS)
def test_a_client_logs_in(
    request: pytest.FixtureRequest, secured: Secured, realm: Realm | None, tmp_path: Path, client: str, mechanism: str,
    protocol: str,
) -> None:  # fmt: skip
    """It creates a topic, writes and reads as a group. A client that cannot log in says what the table says."""
    if mechanism == GSSAPI:
        require(realm is not None, "Kerberos (Debian's krb5-kdc, krb5-admin-server, krb5-user; python-gssapi)")
    run, fixture = CLIENTS[client]
    programs = [request.getfixturevalue(fixture)] if fixture else []
    address = f"localhost:{secured.ports[protocol]}"
    name = f"{client}-{mechanism}-{protocol}"
    cell = Cell(address, protocol, mechanism, name, secured.authority.trusted, realm, tmp_path)
    cannot = CANNOT.get((client, mechanism))
    if cannot is None:
        run(cell, *programs)
        return
    with pytest.raises(LoginFailedError) as raised:
        run(cell, *programs)
    assert cannot.says in str(raised.value)


def test_make_test_has_each_mechanism_of_each_client() -> None:
    """Of the cells that `make test` leaves out, there is one of the other protocol."""
    chosen = {(client, mechanism) for client, mechanism, _ in CELLS}
    assert chosen == {(client, mechanism) for client in CLIENTS for mechanism in MECHANISMS}


def test_the_documentation_has_the_table() -> None:
    assert documented() in (HERE.parent.parent / "docs" / "sasl.md").read_text()
