"""Real clients with GSSAPI and tickets of a real KDC: what is not a cell of test_client_matrix.py."""

from __future__ import annotations

import struct
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from foreign_tools import require
from java_tools import KAFKA_JARS

from kafka_cy.testing import Broker
from kafka_cy.testing.broker import free_ports
from tests.kerberos import REALM, Realm, missing_program, running_realm
from tests.security.test_sasl_wire import Wire
from tests.waiting import wait_until

pytestmark = [pytest.mark.interop, pytest.mark.timeout(300)]

MODULE = "com.sun.security.auth.module.Krb5LoginModule"
# A client whose tokens a test sends itself: one token of the context, then the choice.
TOKENS = """
import sys
from gssapi import raw
target = raw.import_name(sys.argv[1].encode(), raw.NameType.kerberos_principal)
flags = [raw.RequirementFlag.integrity]
result = raw.init_sec_context(target, mech=raw.MechType.kerberos, flags=flags)
print(result.token.hex(), flush=True)
raw.unwrap(result.context, bytes.fromhex(sys.stdin.readline()))
print(raw.wrap(result.context, b"\\1\\0\\0\\0", confidential=False).message.hex(), flush=True)
"""


@dataclass(frozen=True)
class Secured:
    """A broker with a listener SASL_PLAINTEXT, and the realm of its clients."""

    broker: Broker
    realm: Realm
    port: int

    @property
    def address(self) -> str:
        return f"localhost:{self.port}"


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    program = missing_program()
    require(program is None, f"{program} of Debian's krb5-kdc, krb5-admin-server and krb5-user")
    try:
        import gssapi  # noqa: F401
    except ImportError:
        require(None, "python-gssapi")
    with running_realm(tmp_path_factory.mktemp("realm")) as realm, pytest.MonkeyPatch.context() as patch:
        patch.setenv("KAFKA_OPTS", f"-Djava.security.krb5.conf={realm.krb5_conf}")
        patch.setenv("KRB5RCACHENAME", realm.environment["KRB5RCACHENAME"])
        plain, port = free_ports(2)
        config = {
            "listeners": f"PLAINTEXT://localhost:{plain},SASL_PLAINTEXT://localhost:{port}",
            "connection.failed.authentication.delay.ms": 1,
            "listener.name.sasl_plaintext.gssapi.connections.max.reauth.ms": 3_600_000,
            "sasl.kerberos.principal.to.local.rules": "RULE:[2:$1.$2]s/ops/OPS/,DEFAULT",
            **realm.broker_config("sasl_plaintext"),
        }
        broker = Broker(config, folder=tmp_path_factory.mktemp("broker"))
        broker.host, broker.port = "localhost", plain
        with broker:
            yield Secured(broker, realm, port)


def test_java(secured: Secured, tmp_path: Path) -> None:
    """Kafka's own client, with the JDK's Kerberos: a key tab, and no mutual authentication."""
    require((KAFKA_JARS).is_dir(), f"Apache Kafka in {KAFKA_JARS}")
    path = tmp_path / "client.properties"
    path.write_text(
        "security.protocol=SASL_PLAINTEXT\nsasl.mechanism=GSSAPI\nsasl.kerberos.service.name=kafka\n"
        f"sasl.jaas.config={MODULE} required useKeyTab=true storeKey=true "
        f'keyTab="{secured.realm.users}" principal="ops/admin@{REALM}";\n'
    )
    arguments = ["--bootstrap-server", secured.address, "--command-config", str(path)]
    done = subprocess.run(
        ["java", "-XX:TieredStopAtLevel=1", f"-Djava.security.krb5.conf={secured.realm.krb5_conf}", "-cp", f"{KAFKA_JARS}/*",
         "org.apache.kafka.tools.TopicCommand", *arguments, "--create", "--topic", "java-gssapi"],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0 and "Created topic java-gssapi" in done.stdout, done.stdout + done.stderr


def test_kafka_python(secured: Secured) -> None:
    """It sends the name of the service as authorization id, which Kafka ignores."""
    user = "ops/admin"
    program = (
        "import sys\nfrom kafka import KafkaConsumer, KafkaProducer\n"
        "settings = dict(bootstrap_servers=sys.argv[1], security_protocol='SASL_PLAINTEXT', sasl_mechanism='GSSAPI',\n"
        "    sasl_kerberos_service_name='kafka', sasl_kerberos_domain_name='localhost')\n"
        "producer = KafkaProducer(**settings)\nproducer.send('python', sys.argv[2].encode()).get(60)\nproducer.close()\n"
        "consumer = KafkaConsumer('python', auto_offset_reset='earliest', consumer_timeout_ms=60000, **settings)\n"
        "assert any(record.value == sys.argv[2].encode() for record in consumer)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, secured.address, user],
        env=secured.realm.log_in(user), capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


class Tokens:
    """A process with a ticket that makes tokens."""

    def __init__(self, secured: Secured, service: str = "kafka", user: str = "ann", *options: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", TOKENS, f"{service}/localhost@{REALM}"],
            env=secured.realm.log_in(user, *options), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.first = self._token()

    def _token(self) -> bytes:
        assert self._process.stdout is not None
        return bytes.fromhex(self._process.stdout.readline())

    def choice(self, offer: bytes) -> bytes:
        assert self._process.stdin is not None
        self._process.stdin.write(offer.hex() + "\n")
        self._process.stdin.flush()
        return self._token()

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


def test_the_session_lasts_as_the_configuration_says(secured: Secured) -> None:
    """In Kafka, too, the end of the ticket does not matter: the JDK does not tell it."""
    tokens, wire = Tokens(secured, "kafka", "ann", "-l", "10m"), Wire(secured.port)
    assert wire.handshake("GSSAPI") == 0
    offer = wire.authenticate(tokens.first)
    assert offer is not None and offer[0] == 0
    assert wire.authenticate(tokens.choice(offer[2])) == (0, None, b"", 3_600_000)
    tokens.close()


def test_bare_tokens(secured: Secured) -> None:
    """SaslHandshake version 0. Nothing is sent after the last token."""
    tokens, wire = Tokens(secured), Wire(secured.port)
    assert wire.handshake("GSSAPI", version=0) == 0
    wire.raw(tokens.first)
    offer = wire.frame()
    assert offer
    wire.raw(tokens.choice(offer))
    wire.send(18, 0, b"")
    answer = wire.frame()
    assert answer is not None and struct.unpack_from(">ih", answer) == (7, 0)
    tokens.close()


def test_failures_have_one_line_in_the_log(secured: Secured) -> None:
    other, again, wire = Tokens(secured, "http"), Tokens(secured), Wire(secured.port)
    assert wire.handshake("GSSAPI") == 0
    refused = wire.authenticate(other.first)
    assert refused is not None and refused[0] == 58
    assert refused[1] is not None and refused[1].endswith("due to invalid credentials with SASL mechanism GSSAPI")
    seen = []
    for _ in range(2):
        wire = Wire(secured.port)
        assert wire.handshake("GSSAPI") == 0
        seen.append(wire.authenticate(again.first))
    assert seen[0] is not None and seen[0][0] == 0
    assert seen[1] is None  # a repeated token: as in Kafka, the client may try again
    wait_until(lambda: "replay" in secured.broker.log_text(), "the line about the repeated token")
    lines = [line for line in secured.broker.log_text().splitlines() if "authentication failed" in line]
    assert len(lines) == 2 and "http/localhost" in lines[0] and "replay" in lines[1], lines
    other.close()
    again.close()
