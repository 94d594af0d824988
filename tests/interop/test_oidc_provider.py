"""OAUTHBEARER with the tokens of an OIDC provider from npm (oidc-provider): clients, and a broker that logs in itself."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaError, Producer
from foreign_tools import HERE, require
from java_tools import JavaTools

from kafka_cy.security.sasl.oauth_client import read_token
from kafka_cy.security.sasl.renewal import RenewalFailed
from kafka_cy.security.sasl.token_endpoint import Credentials, EndpointSettings, TokenEndpoint
from kafka_cy.security.secret import Secret
from kafka_cy.testing import Broker
from kafka_cy.testing.broker import free_ports
from tests.waiting import wait_until

pytestmark = [pytest.mark.interop, pytest.mark.timeout(300)]

MODULES = "org.apache.kafka.common.security.oauthbearer"


@dataclass(frozen=True)
class Oidc:
    """A provider, and a broker that accepts its tokens for the audience `kafka`."""

    issuer: str
    token_url: str
    address: str
    broker: Broker

    def librdkafka(self, secret: str = "ann-secret", scope: str = "kafka") -> dict[str, Any]:
        return {
            "bootstrap.servers": self.address, "security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "OAUTHBEARER",
            "sasl.oauthbearer.method": "oidc", "sasl.oauthbearer.token.endpoint.url": self.token_url,
            "sasl.oauthbearer.client.id": "ann", "sasl.oauthbearer.client.secret": secret,
            "sasl.oauthbearer.scope": scope, "log_level": 0,
        }  # fmt: skip


@pytest.fixture(scope="module")
def oidc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Oidc]:
    require(shutil.which("node"), "node")
    require((HERE / "js" / "node_modules" / "oidc-provider").is_dir(), "oidc-provider (npm)")
    provider_port, port = free_ports(2)
    errors = tmp_path_factory.mktemp("oidc") / "stderr"
    with errors.open("wb") as stderr:
        provider = subprocess.Popen(
            ["node", "oidc.mjs", str(provider_port)], cwd=HERE / "js", stdout=subprocess.PIPE, stderr=stderr, text=True
        )
    try:
        assert provider.stdout is not None
        line = provider.stdout.readline()
        assert line, errors.read_text()
        found = json.loads(line)
        name = "listener.name.sasl_plaintext.oauthbearer."
        config: dict[str, object] = {
            "listeners": f"SASL_PLAINTEXT://127.0.0.1:{port}",
            "sasl.enabled.mechanisms": "OAUTHBEARER",
            "inter.broker.listener.name": "SASL_PLAINTEXT",
            name + "sasl.jaas.config": f"{MODULES}.OAuthBearerLoginModule required;",
            name + "sasl.server.callback.handler.class": f"{MODULES}.OAuthBearerValidatorCallbackHandler",
            "sasl.oauthbearer.jwks.endpoint.url": found["jwks_uri"],
            "sasl.oauthbearer.expected.issuer": found["issuer"],
            "sasl.oauthbearer.expected.audience": "kafka",
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": "User:ann",
            "offsets.topic.num.partitions": 5,
        }
        broker = Broker(config, folder=tmp_path_factory.mktemp("broker"))
        broker.port = port
        with broker:
            yield Oidc(found["issuer"], found["token_endpoint"], f"127.0.0.1:{port}", broker)
    finally:
        provider.kill()
        provider.wait()


def test_a_client_gets_its_token_from_the_provider(oidc: Oidc) -> None:
    """The authorizer lets only User:ann in, so the broker has read the token's subject."""
    producer = Producer(oidc.librdkafka())
    for i in range(10):
        producer.produce("oidc", value=b"%d" % i)
    assert producer.flush(60) == 0
    consumer = Consumer({**oidc.librdkafka(), "group.id": "g", "auto.offset.reset": "earliest"})
    consumer.subscribe(["oidc"])
    values: list[bytes | None] = []

    def has_all() -> bool:
        message = consumer.poll(1)
        if message is not None and not message.error():
            values.append(message.value())
        return len(values) == 10

    wait_until(has_all, "all records", timeout_s=60)
    consumer.close()
    assert values == [b"%d" % i for i in range(10)]


def first_failure(settings: dict[str, Any]) -> str:
    """The text of the error that a producer meets."""
    errors: list[KafkaError] = []
    producer = Producer({**settings, "error_cb": errors.append})

    def failed() -> bool:
        producer.poll(0.2)
        return any(each.code() == KafkaError._AUTHENTICATION for each in errors)

    wait_until(failed, "the login failed", timeout_s=60)
    return next(each.str() for each in errors if each.code() == KafkaError._AUTHENTICATION)


@pytest.mark.parametrize(
    ("change", "text"),
    [({"scope": "other"}, "invalid_token"), ({"secret": "wrong"}, "invalid_client")],
    ids=["another audience", "wrong secret"],
)
def test_refused(oidc: Oidc, change: dict[str, str], text: str) -> None:
    """A token for another audience by the broker, a wrong secret by the provider."""
    assert text in first_failure(oidc.librdkafka(**change))
    if "scope" in change:
        assert "audience" in oidc.broker.log_text()


@pytest.fixture
def java_with_url(oidc: Oidc, java: JavaTools, tmp_path: Path) -> Iterator[JavaTools]:
    """Kafka's clients only ask token endpoints that the JVM allows. `java` is asked for since it requires the tools."""
    tools = JavaTools(tmp_path / "stderr.log", [f"-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls={oidc.token_url}"])
    yield tools
    tools.close()


def test_a_java_client(oidc: Oidc, java_with_url: JavaTools, tmp_path: Path) -> None:
    properties = tmp_path / "client.properties"
    properties.write_text(
        "security.protocol=SASL_PLAINTEXT\nsasl.mechanism=OAUTHBEARER\n"
        f"sasl.login.callback.handler.class={MODULES}.OAuthBearerLoginCallbackHandler\n"
        f"sasl.oauthbearer.token.endpoint.url={oidc.token_url}\n"
        f"sasl.jaas.config={MODULES}.OAuthBearerLoginModule required "
        'clientId="ann" clientSecret="ann-secret" scope="kafka";\n'
    )
    arguments = ("--bootstrap-server", oidc.address, "--command-config", properties)
    java_with_url.check("TopicCommand", *arguments, "--create", "--topic", "from-java", "--partitions", "3")
    assert "from-java" in java_with_url.check("TopicCommand", *arguments, "--list").lines


def test_the_brokers_own_login(oidc: Oidc) -> None:
    """The part of a broker's login to other brokers that talks to the provider."""

    def endpoint(secret: str) -> TokenEndpoint:
        return TokenEndpoint(oidc.token_url, Credentials("ann", Secret(secret), "kafka"), EndpointSettings())

    token = read_token(endpoint("ann-secret").retrieve())
    assert token.starts_s is not None and token.expires_s - token.starts_s == 3600
    with pytest.raises(RenewalFailed, match="invalid_client"):
        endpoint("wrong").retrieve()
