"""Which client logs in with which SASL mechanism: the table, and how each client does it.

Each client creates a topic, writes COUNT records and reads them as a consumer group. `make test` runs a part, `make clients` all.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

from foreign_tools import HERE, run_go_test, run_kafkajs
from java_tools import JavaTools

from tests.kerberos import REALM, Realm

MODULES: Final = "org.apache.kafka.common.security"
KERBEROS_MODULE: Final = "com.sun.security.auth.module.Krb5LoginModule"
PLAIN, SHA256, SHA512, OAUTH, GSSAPI = "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER", "GSSAPI"
MECHANISMS: Final = (PLAIN, SHA256, SHA512, OAUTH, GSSAPI)
PROTOCOLS: Final = ("SASL_PLAINTEXT", "SASL_SSL")
USER: Final = "ann"
PASSWORD: Final = "p,=%w"  # in SCRAM, names with , and = are escaped; passwords are not
COUNT: Final = 100


class Cannot(NamedTuple):
    """Why a library cannot log in with a mechanism, and what it says then."""

    reason: str
    says: str


#: What is not here works.
CANNOT: Final[Mapping[tuple[str, str], Cannot]] = {
    ("confluent-kafka", GSSAPI): Cannot(
        "its packages on PyPI are built without GSSAPI; kcat has the same library with it",
        "No provider for SASL mechanism GSSAPI",
    ),
    ("kafkajs", GSSAPI): Cannot(
        "it has no GSSAPI; an application can bring its own `authenticationProvider`",
        "authenticationProvider is not a function",
    ),
}


class LoginFailedError(Exception):
    """The client ended with an error; what it said."""


def unsecured_token() -> str:
    """A token for OAUTHBEARER without a signature, for an hour."""
    now = int(time.time())
    parts = ({"alg": "none"}, {"sub": USER, "iat": now, "exp": now + 3600})
    encoded = (base64.urlsafe_b64encode(json.dumps(each).encode()).rstrip(b"=").decode() for each in parts)
    return ".".join(encoded) + "."


@dataclass(frozen=True)
class Cell:
    """One login, and what clients need for it. `realm`: for GSSAPI."""

    address: str
    protocol: str
    mechanism: str
    name: str  # of the topic and the group
    trusted: Path
    realm: Realm | None
    folder: Path

    @property
    def environment(self) -> Mapping[str, str]:
        """With a Kerberos ticket for GSSAPI."""
        if self.mechanism != GSSAPI:
            return os.environ
        assert self.realm is not None
        return self.realm.log_in(USER)

    @property
    def is_encrypted(self) -> bool:
        return self.protocol == "SASL_SSL"

    @property
    def sasl(self) -> str:
        """What the clients in Go and JavaScript find in KAFKA_SASL."""
        if self.mechanism == GSSAPI:
            assert self.realm is not None
            return f"{GSSAPI}:{USER}@{REALM}:{self.realm.users}"
        return f"{self.mechanism}:{USER}:{unsecured_token() if self.mechanism == OAUTH else PASSWORD}"


def _run(command: list[str], cell: Cell, stdin: str = "") -> str:
    done = subprocess.run(
        command, env=cell.environment, input=stdin, capture_output=True, text=True, timeout=120, check=False
    )
    if done.returncode:
        raise LoginFailedError(done.stdout + done.stderr)
    return done.stdout


def _python(library: str, settings: Mapping[str, Any], cell: Cell) -> None:
    program = [sys.executable, str(HERE / "python_roundtrip.py"), library]
    _run([*program, json.dumps(settings), cell.name, str(COUNT)], cell)


def _librdkafka(cell: Cell) -> dict[str, str]:
    settings = {"security.protocol": cell.protocol, "sasl.mechanism": cell.mechanism}
    if cell.is_encrypted:
        settings["ssl.ca.location"] = str(cell.trusted)
    if cell.mechanism == OAUTH:
        oauth = {"enable.sasl.oauthbearer.unsecure.jwt": "true", "sasl.oauthbearer.config": f"principal={USER}"}
        return {**settings, **oauth}
    if cell.mechanism == GSSAPI:  # the ticket is there already
        return {**settings, "sasl.kerberos.kinit.cmd": "true"}
    return {**settings, "sasl.username": USER, "sasl.password": PASSWORD}


def confluent_kafka(cell: Cell) -> None:
    _python("confluent-kafka", {"bootstrap.servers": cell.address, "log_level": 0, **_librdkafka(cell)}, cell)


def _python_settings(cell: Cell) -> dict[str, str]:
    settings = {
        "bootstrap_servers": cell.address, "security_protocol": cell.protocol, "sasl_mechanism": cell.mechanism,
        "ssl_cafile": str(cell.trusted),
    }  # fmt: skip
    if cell.mechanism == OAUTH:
        return {**settings, "token": unsecured_token()}
    if cell.mechanism == GSSAPI:
        return {**settings, "sasl_kerberos_service_name": "kafka", "sasl_kerberos_domain_name": "localhost"}
    return {**settings, "sasl_plain_username": USER, "sasl_plain_password": PASSWORD}


def kafka_python(cell: Cell) -> None:
    _python("kafka-python", _python_settings(cell), cell)


def aiokafka(cell: Cell) -> None:
    _python("aiokafka", _python_settings(cell), cell)


def kcat(cell: Cell, program: str) -> None:
    options = [part for key, value in _librdkafka(cell).items() for part in ("-X", f"{key}={value}")]
    command = [program, "-b", cell.address, *options]
    lines = "".join(f"{i}\n" for i in range(COUNT))
    _run([*command, "-P", "-t", cell.name], cell, stdin=lines)
    read = ["-X", "auto.offset.reset=earliest", "-q", "-c", str(COUNT), "-G", cell.name, cell.name]
    assert _run([*command, *read], cell) == lines


def kafkajs(cell: Cell, node: str) -> None:
    trusted = [str(cell.trusted)] if cell.is_encrypted else []
    try:
        seen = run_kafkajs(node, cell.address, cell.name, cell.name, *trusted, sasl=cell.sasl)
    except AssertionError as failure:
        raise LoginFailedError(str(failure)) from failure
    assert seen["created"] is True and len(seen["messages"]) == 23


def _go(cell: Cell, binary: Path, name: str) -> None:
    environment = {
        "KAFKA_BOOTSTRAP": cell.address, "KAFKA_SASL": cell.sasl, "KAFKA_COUNT": str(COUNT),
        "KAFKA_CA": str(cell.trusted) if cell.is_encrypted else "",
        "KRB5_CONFIG": str(cell.realm.krb5_conf) if cell.realm is not None else "",
    }  # fmt: skip
    run_go_test(binary, name, environment)


def franz_go(cell: Cell, binary: Path) -> None:
    _go(cell, binary, "FranzLogin")


def sarama(cell: Cell, binary: Path) -> None:
    _go(cell, binary, "SaramaLogin")


def _jaas(cell: Cell) -> str:
    if cell.mechanism == PLAIN:
        return f'{MODULES}.plain.PlainLoginModule required username="{USER}" password="{PASSWORD}";'
    if cell.mechanism == OAUTH:
        return f'{MODULES}.oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub="{USER}";'
    if cell.mechanism == GSSAPI:
        assert cell.realm is not None
        key = f'useKeyTab=true storeKey=true keyTab="{cell.realm.users}" principal="{USER}@{REALM}"'
        return f"{KERBEROS_MODULE} required {key};"
    return f'{MODULES}.scram.ScramLoginModule required username="{USER}" password="{PASSWORD}";'


def java_clients(cell: Cell, java: JavaTools) -> None:
    """`java` knows the realm's krb5.conf."""
    settings = cell.folder / "client.properties"
    settings.write_text(
        f"security.protocol={cell.protocol}\nsasl.mechanism={cell.mechanism}\nsasl.jaas.config={_jaas(cell)}\n"
        "sasl.kerberos.service.name=kafka\n"
        f"ssl.truststore.type=PEM\nssl.truststore.location={cell.trusted}\n"
    )
    where = ("--bootstrap-server", cell.address, "--command-config", settings)
    java.check("TopicCommand", *where, "--create", "--topic", cell.name)
    records = (*where, "--topic", cell.name, "--max-messages", COUNT)
    produced = java.check("VerifiableProducer", *records)
    assert f'"acked":{COUNT}' in produced.out.replace(" ", "")
    consumed = java.check("VerifiableConsumer", *records, "--group-id", cell.name, "--reset-policy", "earliest")
    assert sum(json.loads(line)["count"] for line in consumed.lines if '"records_consumed"' in line) == COUNT


#: The clients, and the fixture with the program of each.
CLIENTS: Final[Mapping[str, tuple[Callable[..., None], str]]] = {
    "confluent-kafka": (confluent_kafka, ""),
    "kcat": (kcat, "kcat"),
    "kafka-python": (kafka_python, ""),
    "aiokafka": (aiokafka, ""),
    "kafkajs": (kafkajs, "node"),
    "franz-go": (franz_go, "go_tests"),
    "Sarama": (sarama, "go_tests"),
    "Java": (java_clients, "kerberos_java"),
}


def is_in_make_test(client: str, mechanism: str, protocol: str) -> bool:
    """Each client has each mechanism with one protocol: with SASL_PLAINTEXT and SASL_SSL in turn."""
    return PROTOCOLS.index(protocol) == (list(CLIENTS).index(client) + MECHANISMS.index(mechanism)) % 2


def documented() -> str:
    """The table as docs/sasl.md has it."""
    lines = ["| client | " + " | ".join(MECHANISMS) + " |", "|---" * (1 + len(MECHANISMS)) + "|"]
    notes: list[str] = []
    for client in CLIENTS:
        row = [client]
        for mechanism in MECHANISMS:
            cannot = CANNOT.get((client, mechanism))
            row.append("yes" if cannot is None else "no")
            if cannot is not None:
                notes.append(f"- {client} cannot do {mechanism}: {cannot.reason}.")
        lines.append("| " + " | ".join(row) + " |")
    return "\n".join([*lines, "", *notes])
