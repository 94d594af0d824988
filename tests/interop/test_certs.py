"""The files of `kafka-cy certs`, read by OpenSSL, keytool, the broker, librdkafka and Java's client."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient
from foreign_tools import require
from java_tools import JavaTools

from kafka_cy.testing import Broker
from kafka_cy.testing.broker import free_ports

pytestmark = [pytest.mark.interop, pytest.mark.timeout(300)]

PASSWORD = "correct horse 7"
STORES = ("--store", "p12", "--store", "jks", "--password", "env:STORE_PASSWORD")


def run(*words: object, folder: Path, stdin: str = "") -> str:
    """The output of a program, errors included. The password is in the environment."""
    environment = {"PATH": "/usr/bin:/bin", "STORE_PASSWORD": PASSWORD}
    done = subprocess.run(
        [str(word) for word in words], cwd=folder, env=environment, input=stdin, text=True, timeout=120, check=False,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert done.returncode == 0, f"{words}\n{done.stdout}"
    return done.stdout


def certs(*words: object, folder: Path) -> str:
    return run(sys.executable, "-m", "kafka_cy", "certs", *words, folder=folder)


def properties(output: str, file: str, kind: str = "PEM") -> dict[str, str]:
    """The lines that a command printed for `file`; with another kind, those behind a #."""
    lines = output.partition(f"# {file}\n")[2].partition("\n\n")[0].replace("<the password>", PASSWORD).splitlines()
    found = {}
    for line in lines if kind == "PEM" else [*lines[: lines.index(f"# Or as {kind}:")], *others(lines, kind)]:
        if not line.startswith("#"):
            key, _, value = line.partition("=")
            found[key] = value
    return found


def others(lines: list[str], kind: str) -> list[str]:
    at = lines.index(f"# Or as {kind}:") + 1
    found = []
    while at < len(lines) and lines[at].startswith("#ssl."):
        found.append(lines[at][1:])
        at += 1
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An authority, a broker's files with an RSA key, those of alice with an EC key, and what the commands said (.txt)."""
    made = tmp_path_factory.mktemp("certs")
    certs("ca", *STORES, folder=made)
    (made / "broker.txt").write_text(certs("server", "localhost", "127.0.0.1", *STORES, folder=made))
    words = ("client", "alice", "--dn", "CN=alice,OU=shop,C=DE", "--key-type", "ec")
    (made / "alice.txt").write_text(certs(*words, *STORES, folder=made))
    return made


@pytest.mark.parametrize("name", ["broker", "alice"])
def test_openssl_reads_them(folder: Path, name: str) -> None:
    require(shutil.which("openssl"), "openssl")
    chain = f"{name}.keystore.pem"
    purpose = "sslserver" if name == "broker" else "sslclient"
    verify = ("openssl", "verify", "-x509_strict", "-purpose", purpose, "-CAfile")
    for trusted in ("ca.pem", f"{name}.truststore.pem"):
        assert run(*verify, trusted, chain, folder=folder) == f"{chain}: OK\n"
    if name == "broker":
        run(*verify, "ca.pem", "-verify_hostname", "localhost", "-verify_ip", "127.0.0.1", chain, folder=folder)
    public = run("openssl", "x509", "-in", chain, "-noout", "-pubkey", folder=folder)
    assert run("openssl", "pkey", "-in", chain, "-pubout", folder=folder) == public
    secret = ("-passin", "env:STORE_PASSWORD", "-nodes")
    kept = run("openssl", "pkcs12", "-in", f"{name}.keystore.p12", *secret, folder=folder)
    assert kept.count("BEGIN CERTIFICATE") == 2
    assert run("openssl", "pkey", "-pubout", folder=folder, stdin=kept) == public
    trusted = run("openssl", "pkcs12", "-in", f"{name}.truststore.p12", *secret, folder=folder)
    assert certificates(trusted) == certificates((folder / "ca.pem").read_text())


def certificates(text: str) -> list[str]:
    return re.findall(r"-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----", text)


@pytest.mark.parametrize("kind", ["p12", "jks"])
@pytest.mark.parametrize("name", ["broker", "alice"])
def test_keytool_reads_them(folder: Path, name: str, kind: str) -> None:
    require(shutil.which("keytool"), "keytool")
    secret = ("-storepass:env", "STORE_PASSWORD")
    listed = run("keytool", "-list", "-v", "-keystore", f"{name}.keystore.{kind}", *secret, folder=folder)
    for expected in (
        f"Keystore type: {'JKS' if kind == 'jks' else 'PKCS12'}", "Your keystore contains 1 entry", f"Alias name: {name}",
        "Entry type: PrivateKeyEntry", "Certificate chain length: 2",
    ):  # fmt: skip
        assert expected in listed
    listed = run("keytool", "-list", "-keystore", f"{name}.truststore.{kind}", *secret, folder=folder)
    assert "trustedCertEntry" in listed and "Your keystore contains 1 entry" in listed
    # The key itself: keytool decrypts it to write it into another store.
    target = folder / f"{name}-of-{kind}.p12"
    run(
        "keytool", "-importkeystore", "-noprompt", "-srckeystore", f"{name}.keystore.{kind}", "-srcstorepass:env",
        "STORE_PASSWORD", "-destkeystore", target, "-deststoretype", "PKCS12", "-deststorepass:env", "STORE_PASSWORD",
        folder=folder,
    )  # fmt: skip
    copied = run(
        "openssl", "pkcs12", "-in", target, "-passin", "env:STORE_PASSWORD", "-nodes", "-nocerts", folder=folder
    )
    key = run("openssl", "pkey", folder=folder, stdin=copied)
    assert key in (folder / f"{name}.keystore.pem").read_text()


def test_openssl_requests_and_ours(folder: Path, tmp_path: Path) -> None:
    """keytool's request is signed by us, and our request by openssl."""
    require(shutil.which("keytool"), "keytool")
    run(
        "keytool", "-genkeypair", "-alias", "b", "-keyalg", "RSA", "-dname", "CN=b", "-keystore", "b.jks", "-storepass:env",
        "STORE_PASSWORD", folder=tmp_path,
    )  # fmt: skip
    request = ("-certreq", "-alias", "b", "-ext", "SAN=DNS:b.example.org,IP:10.0.0.1", "-file", "b.csr")
    run("keytool", *request, "-keystore", "b.jks", "-storepass:env", "STORE_PASSWORD", folder=tmp_path)
    authority = ("--ca", folder / "ca.pem")
    said = certs("sign", "b.csr", "--for", "server", *authority, folder=tmp_path)
    assert "Alternative names: DNS:b.example.org, IP:10.0.0.1" in said
    reply = ("-importcert", "-noprompt", "-trustcacerts", "-alias", "b", "-file", "b.crt", "-keystore", "b.jks")
    assert "reply was installed" in run("keytool", *reply, "-storepass:env", "STORE_PASSWORD", folder=tmp_path)

    certs("server", "c.example.org", "--request", "--name", "c", "--key-type", "ec", folder=tmp_path)
    text = run("openssl", "req", "-in", "c.csr", "-verify", "-noout", "-text", folder=tmp_path)
    assert "DNS:c.example.org" in text
    sign = ("openssl", "x509", "-req", "-in", "c.csr", "-CA", folder / "ca.pem", "-CAkey", folder / "ca.key")
    run(*sign, "-copy_extensions", "copy", "-days", "3", "-out", "c.crt", folder=tmp_path)
    certs("stores", "c", *authority, *STORES, folder=tmp_path)
    run("openssl", "verify", "-CAfile", folder / "ca.pem", "c.keystore.pem", folder=tmp_path)


@pytest.fixture(scope="module", params=["PEM", "PKCS12"])
def address(request: pytest.FixtureRequest, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A broker with the settings that `certs server` printed; it accepts clients of the authority only."""
    plain, encrypted = free_ports(2)
    config: dict[str, object] = dict(
        properties((folder / "broker.txt").read_text(), "server.properties", request.param)
    )
    config |= {"listeners": f"PLAINTEXT://127.0.0.1:{plain},SSL://localhost:{encrypted}", "ssl.client.auth": "required"}
    config["offsets.topic.num.partitions"] = 1
    broker = Broker(config, folder=tmp_path_factory.mktemp("broker"))
    broker.port = plain
    with broker:
        yield f"localhost:{encrypted}"


def test_librdkafka_connects(folder: Path, address: str) -> None:
    store = str(folder / "alice.keystore.pem")
    settings = {"bootstrap.servers": address, "security.protocol": "ssl", "log_level": 0}
    settings["ssl.ca.location"] = str(folder / "ca.pem")
    mutual = {**settings, "ssl.certificate.location": store, "ssl.key.location": store}
    stored = {
        **settings, "ssl.keystore.location": str(folder / "alice.keystore.p12"), "ssl.keystore.password": PASSWORD,
    }  # fmt: skip
    for number, chosen in enumerate((mutual, stored)):
        producer = Producer(chosen)
        producer.produce("t", b"%d" % number)
        assert producer.flush(60) == 0
    consumer = Consumer({**mutual, "group.id": "g", "auto.offset.reset": "earliest"})
    consumer.subscribe(["t"])
    assert {message.value() for message in consumer.consume(2, 60)} == {b"0", b"1"}
    consumer.close()
    with pytest.raises(KafkaException) as raised:
        AdminClient(settings).list_topics(timeout=2)
    assert raised.value.args[0].code() in (KafkaError._TRANSPORT, KafkaError._SSL, KafkaError._TIMED_OUT)


@pytest.mark.parametrize("kind", ["PEM", "PKCS12", "JKS"])
def test_java_connects(folder: Path, java: JavaTools, address: str, tmp_path: Path, kind: str) -> None:
    """With the lines that `certs client` printed."""
    settings = tmp_path / "client.properties"
    lines = properties((folder / "alice.txt").read_text(), "client.properties", kind)
    assert lines["ssl.keystore.type"] == lines["ssl.truststore.type"] == kind
    settings.write_text("".join(f"{key}={value}\n" for key, value in lines.items()))
    where = ("--bootstrap-server", address, "--command-config", settings)
    java.check("TopicCommand", *where, "--create", "--topic", f"of-{kind.lower()}")
    assert f"of-{kind.lower()}" in java.check("TopicCommand", *where, "--list").lines
