"""Passwords in the settings of a broker that is kafka-cy and Apache Kafka 3.9.2 by turns: each decodes what the other stored."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource

from kafka_cy.config.password_encoder import PasswordEncoder, is_encoded
from kafka_cy.testing.broker import free_ports
from tests.cluster.kafka39 import Kafka
from tests.cluster.member_broker import MemberBroker, seen
from tests.cluster.zookeeper_ensemble import Ensemble, wait_until

KEY = "listener.name.other.ssl.keystore.password"
JAAS = "listener.name.other.plain.sasl.jaas.config"
TEXT = 'Module required user_x="hunter2";'


def client(port: int) -> AdminClient:
    """When the broker serves."""
    admin = AdminClient({"bootstrap.servers": f"127.0.0.1:{port}", "log_level": 0})
    seen(admin)
    return admin


def set_passwords(port: int, settings: dict[str, str], *, validate_only: bool = False) -> None:
    admin = client(port)
    entries = [ConfigEntry(key, value, incremental_operation=AlterConfigOpType.SET) for key, value in settings.items()]
    resource = ConfigResource(ConfigResource.Type.BROKER, "1", incremental_configs=entries)
    (answer,) = admin.incremental_alter_configs([resource], validate_only=validate_only, request_timeout=60).values()
    answer.result(60)


def stored(zookeeper: Ensemble, chroot: str) -> dict[str, str]:
    with zookeeper.client(chroot) as other:
        return dict(json.loads(other.get("/config/brokers/1")[0])["config"])


def decoded(zookeeper: Ensemble, chroot: str, secret: str) -> dict[str, str]:
    decoder = PasswordEncoder(secret, None, "AES/CBC/PKCS5Padding", 128, 1024)
    return {name: decoder.decode(text) for name, text in stored(zookeeper, chroot).items()}


def is_decoded(zookeeper: Ensemble, chroot: str, secret: str) -> bool:
    try:
        return bool(decoded(zookeeper, chroot, secret))
    except Exception:  # noqa: BLE001 (encoded with another one until then)
        return False


@pytest.mark.timeout(300)
def test_each_decodes_what_the_other_has_stored(
    tmp_path: Path, one_zookeeper: Ensemble, chroot: str, zookeeper_connect: str
) -> None:
    port, other_port = free_ports(2)
    secret, old = "password.encoder.secret", "password.encoder.old.secret"
    ours = MemberBroker(tmp_path, zookeeper_connect, 1, port, {secret: "first"})
    controller = MemberBroker(tmp_path, zookeeper_connect, 2, other_port)  # Kafka needs one to encode passwords at its start
    try:
        for broker in (controller, ours):
            broker.start()
            broker.wait()
        set_passwords(port, {KEY: "from kafka-cy", JAAS: TEXT})
        assert all(is_encoded(text) for text in stored(one_zookeeper, chroot).values())
        assert decoded(one_zookeeper, chroot, "first") == {KEY: "from kafka-cy", JAAS: TEXT}
        assert ours.terminate() == 0
        with Kafka(tmp_path, zookeeper_connect, 1, port, {secret: "second", old: "first", "log.dirs": str(ours.logs)}) as kafka:
            client(port)
            wait_until(lambda: is_decoded(one_zookeeper, chroot, "second"), "Kafka to encode them again")
            assert decoded(one_zookeeper, chroot, "second") == {KEY: "from kafka-cy", JAAS: TEXT}
            set_passwords(port, {KEY: "from Kafka"})
            assert kafka.terminate() == 143  # of a JVM that SIGTERM ended
        kept = stored(one_zookeeper, chroot)
        ours.settings |= {secret: "third", old: "second"}
        ours.start()
        ours.wait()
        wait_until(lambda: is_decoded(one_zookeeper, chroot, "third"), "kafka-cy to encode them again")
        assert decoded(one_zookeeper, chroot, "third") == {KEY: "from Kafka", JAAS: TEXT}
        assert set(kept) == {KEY, JAAS}
        assert "could not be decoded" not in ours.log() + kafka.log()
        assert not ours.errors()
        assert "hunter2" not in ours.log()
    finally:
        ours.kill()
        controller.kill()


@pytest.mark.timeout(300)
def test_without_a_secret_both_refuse_a_password(
    tmp_path: Path, one_zookeeper: Ensemble, chroot: str, zookeeper_connect: str
) -> None:
    (port,) = free_ports(1)
    errors = []
    ours, kafka = MemberBroker(tmp_path, zookeeper_connect, 1, port), Kafka(tmp_path, zookeeper_connect, 1, port)
    try:
        for broker in (ours, kafka):
            broker.start()
            client(port)
            set_passwords(port, {KEY: "hunter2"}, validate_only=True)
            with pytest.raises(KafkaException) as raised:
                set_passwords(port, {KEY: "hunter2"})
            errors.append((raised.value.args[0].code(), raised.value.args[0].str()))
            broker.terminate()
    finally:
        ours.kill()
        kafka.kill()
    assert errors[0] == errors[1] and "Password encoder secret not configured" in errors[0][1]
    assert "hunter2" not in ours.log()


@pytest.mark.timeout(120)
def test_a_running_broker_says_which_password_it_ignores(
    tmp_path: Path, one_zookeeper: Ensemble, chroot: str, zookeeper_connect: str
) -> None:
    (port,) = free_ports(1)
    ours = MemberBroker(tmp_path, zookeeper_connect, 1, port, {"password.encoder.secret": "right"})
    text = PasswordEncoder("wrong", None, "AES/CBC/PKCS5Padding", 128, 1024).encode("hunter2")
    try:
        ours.start()
        ours.wait()
        with one_zookeeper.client(chroot) as other:
            other.create("/config/brokers/1", json.dumps({"version": 1, "config": {KEY: text}}).encode(), makepath=True)
            change = json.dumps({"version": 2, "entity_path": "brokers/1"}).encode()
            other.create("/config/changes/config_change_", change, sequence=True)
        line = f"Dynamic password config {KEY} could not be decoded, ignoring"
        wait_until(lambda: line in ours.log(), "a warning")
    finally:
        ours.kill()
