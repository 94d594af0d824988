"""No value of a key of the type PASSWORD is shown, whichever key it is."""

from __future__ import annotations

import io
import traceback
from pathlib import Path

import pytest

from kafka_cy.config import BrokerConfig, ConfigError, definitions
from kafka_cy.config.describe import describe_broker, describe_cluster_default
from kafka_cy.config.dynamic import NotDynamicError, validate_broker_settings
from kafka_cy.server import check_config
from kafka_cy.server.log import BrokerLog
from kafka_cy.server.start_lines import effective_values, log_start

SECRET = "hunter2-is-the-secret"
LISTENERS = {"listeners": "PLAINTEXT://127.0.0.1:9092,SASL_SSL://127.0.0.1:9093"}
OPEN = ("sasl.jaas.config", "ssl.keystore.password", "ssl.key.password", "ssl.truststore.password", "ssl.keystore.key")
NAMES = [
    *(key.name for key in definitions.every_broker_key() if key.type == "PASSWORD"),
    *(f"listener.name.sasl_ssl.{name}" for name in OPEN),
    "listener.name.sasl_ssl.plain.sasl.jaas.config",
    "listener.name.sasl_ssl.oauthbearer.sasl.oauthbearer.client.credentials.client.secret",
    "my.plugin.password",  # nobody knows what a key of a plugin has
]


def config_with(name: str, value: str = SECRET) -> BrokerConfig | None:
    """None: the key is refused, with an error that does not show the value."""
    try:
        return BrokerConfig({**LISTENERS, name: value})
    except ConfigError as error:
        assert SECRET not in "".join(traceback.format_exception(error)) + repr(error) + error.kafka_message
        return None


@pytest.mark.parametrize("name", NAMES)
def test_a_static_secret(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = config_with(name)
    file = tmp_path / "server.properties"
    file.write_text("".join(f"{key}={value}\n" for key, value in (LISTENERS | {name: SECRET}).items()))
    for printed in (True, False):
        check_config.run(str(file), {name: SECRET}, printed=printed)
    assert SECRET not in "".join(capsys.readouterr())
    if config is None:
        return
    assert SECRET in config.static[name]
    text = io.StringIO()
    log_start(BrokerLog("debug", text), config, str(file), {name: SECRET})
    assert name in text.getvalue()
    shown = f"{text.getvalue()} {config.warnings} {effective_values(config)} {config!r}"
    assert SECRET not in f"{shown} {describe_broker(config)}"


def test_a_secret_with_a_malformed_escape(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "server.properties"
    file.write_text(f"ssl.key.password={SECRET}\\user\n")
    assert check_config.run(str(file), {}, printed=False) == 2
    shown = "".join(capsys.readouterr())
    assert "ssl.key.password" in shown and SECRET not in shown


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("cluster_default", [False, True])
def test_a_dynamic_secret(name: str, cluster_default: bool) -> None:
    config = BrokerConfig(LISTENERS)
    try:
        validate_broker_settings(config, {name: SECRET}, cluster_default=cluster_default)
    except (ConfigError, NotDynamicError) as error:
        assert SECRET not in "".join(traceback.format_exception(error)) + repr(error)
    level = {"cluster_default" if cluster_default else "broker": {name: SECRET}}
    config.take_stored(**({"broker": {}, "cluster_default": {}} | level))
    described = f"{describe_broker(config)} {describe_cluster_default(config)}"
    assert name in described and SECRET not in f"{described} {config.warnings} {effective_values(config)}"
