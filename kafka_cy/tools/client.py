"""Code that the client tools share: options, connections, and errors as sentences."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from confluent_kafka import Consumer, KafkaError, Producer
    from confluent_kafka.admin import AdminClient

Command = TypeVar("Command", bound=Callable[..., Any])

REQUEST_TIMEOUT_S = 15.0
ANSWER_TIMEOUT_S = 5.0  # for the first response of a broker
#: After this time a failure that cannot pass (connection refused ...) is reported. A broker may just be starting.
FAILURE_CERTAIN_S = 0.5
SETTINGS = "kafka_cy.client_settings"  # of the running command, in click's context

#: Settings of Kafka's clients for stores of type PEM, with the names that librdkafka has for them.
PEM_NAMES = {
    "ssl.truststore.location": ("ssl.ca.location",),
    "ssl.truststore.certificates": ("ssl.ca.pem",),
    "ssl.keystore.location": ("ssl.certificate.location", "ssl.key.location"),
    "ssl.keystore.certificate.chain": ("ssl.certificate.pem",),
    "ssl.keystore.key": ("ssl.key.pem",),
}


class ToolError(Exception):
    """A command failed; the text is one sentence for the user."""


def bootstrap_option(function: Command) -> Command:
    """Add `--bootstrap-server` and `--command-config`, the same for all tools."""
    function = click.option(
        "--command-config",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        callback=_take_settings,
        expose_value=False,
        metavar="FILE",
        help="Client settings, such as security.protocol, ssl.truststore.location, sasl.mechanism and sasl.jaas.config.",
    )(function)
    return click.option(
        "-b",
        "--bootstrap-server",
        "bootstrap_servers",
        default="127.0.0.1:9092",
        show_default=True,
        envvar="KAFKA_BOOTSTRAP",
        metavar="HOST:PORT",
        help="Broker to connect to.",
    )(function)


def _take_settings(context: click.Context, _: click.Parameter, path: Path | None) -> None:
    context.meta[SETTINGS] = librdkafka_settings(read_properties(path)) if path is not None else {}


def read_properties(path: Path) -> dict[str, str]:
    """Read a properties file, with what its config providers give (KIP-421). Raises ToolError."""
    from kafka_cy.config import ConfigError
    from kafka_cy.config.properties import parse_properties
    from kafka_cy.config.providers import PROVIDERS, ConfigProviders

    try:
        found = parse_properties(path.read_text())
        if PROVIDERS not in found:
            return found
        providers = ConfigProviders(found)
        return {name: providers.resolve(name, text) for name, text in found.items() if not name.startswith(PROVIDERS)}
    except (OSError, ValueError, ConfigError) as error:
        raise ToolError(f"{path} cannot be read: {error}.") from None


def librdkafka_settings(properties: dict[str, str]) -> dict[str, str]:
    """Settings for librdkafka: its own names, and those of Kafka's clients for certificates as PEM and for SASL.

    Raises ToolError.
    """
    settings = {}
    for key, value in properties.items():
        if key in ("ssl.truststore.type", "ssl.keystore.type"):
            continue
        if key == "sasl.jaas.config":
            from kafka_cy.tools.sasl_client import settings_of

            settings.update(settings_of(properties))
            continue
        pem = key in PEM_NAMES and properties.get(f"{key[: key.index('store') + 5]}.type", "").upper() == "PEM"
        settings.update(dict.fromkeys(PEM_NAMES[key] if pem else (key,), value))
    return settings


def key_values(words: Iterable[str], option: str) -> dict[str, str]:
    """Parse the `KEY=VALUE` words of a repeated option. Raises click.UsageError."""
    result = {}
    for word in words:
        key, separator, value = word.partition("=")
        if not separator or not key:
            raise click.UsageError(f"{option} requires KEY=VALUE, not {word!r}.")
        result[key] = value
    return result


def connection_settings() -> dict[str, str]:
    """The settings of the running command's `--command-config`, with librdkafka's names."""
    context = click.get_current_context(silent=True)
    settings: dict[str, str] = context.meta.get(SETTINGS, {}) if context is not None else {}
    return settings


def _common(bootstrap_servers: str) -> dict[str, Any]:
    return {
        **connection_settings(),
        "bootstrap.servers": bootstrap_servers,
        "client.id": "kafka-cy-tool",
        "log_level": 0,  # errors come as exceptions; librdkafka's own lines would repeat them
        "error_cb": lambda error: None,
        "socket.connection.setup.timeout.ms": 5000,
    }


def connect_admin(bootstrap_servers: str) -> AdminClient:
    """An admin client whose broker has responded. Raises ToolError if none does.

    Keep it in a variable while waiting for its futures: they never finish once it is garbage-collected.
    """
    from confluent_kafka import KafkaError, KafkaException
    from confluent_kafka.admin import AdminClient

    from kafka_cy.base.connection_probe import connection_failure

    refusals: list[str] = []

    def heard(error: KafkaError) -> None:
        if error.code() in (KafkaError._AUTHENTICATION, KafkaError._SSL):
            refusals.append(error.str())

    settings = {**_common(bootstrap_servers), "error_cb": heard}
    try:
        admin = AdminClient(settings)
    except KafkaException as error:  # an unknown or unusable setting
        raise ToolError(f"{error.args[0].str()}.") from error
    waiting = admin.describe_cluster(request_timeout=ANSWER_TIMEOUT_S)
    protocol = str(settings.get("security.protocol", "PLAINTEXT"))
    check_at = time.monotonic() + FAILURE_CERTAIN_S
    while not waiting.done():
        admin.poll(0.01)  # delivers librdkafka's errors
        if time.monotonic() > check_at:
            sentence = connection_failure(bootstrap_servers, protocol, refusals)
            if sentence is not None:
                raise ToolError(sentence)
            check_at = time.monotonic() + FAILURE_CERTAIN_S
    try:
        waiting.result()
    except KafkaException as error:
        from kafka_cy.tools.advertised import unreachable_sentence

        sentence = unreachable_sentence(bootstrap_servers)
        sentence = sentence or connection_failure(bootstrap_servers, protocol, refusals, final=True)
        raise ToolError(sentence or f"No broker answers at {bootstrap_servers}.") from error
    return admin


def connect_producer(bootstrap_servers: str, settings: dict[str, Any]) -> Producer:
    """A producer. Raises ToolError for settings that librdkafka does not know."""
    from confluent_kafka import KafkaException, Producer

    connect_admin(bootstrap_servers)
    try:
        return Producer({**_common(bootstrap_servers), **settings})
    except KafkaException as error:
        raise ToolError(f"{error.args[0].str()}.") from error


def connect_consumer(bootstrap_servers: str, settings: dict[str, Any]) -> Consumer:
    """A consumer whose broker has responded. Raises ToolError as connect_admin and new_consumer do."""
    connect_admin(bootstrap_servers)
    return new_consumer(bootstrap_servers, settings)


def new_consumer(bootstrap_servers: str, settings: dict[str, Any]) -> Consumer:
    """A consumer. Raises ToolError for settings that librdkafka does not know."""
    from confluent_kafka import Consumer, KafkaException

    try:
        return Consumer({**_common(bootstrap_servers), **settings})
    except KafkaException as error:
        raise ToolError(f"{error.args[0].str()}.") from error


def sentence_of(error: Exception) -> str | None:
    """The message to the user for a client library's exception; None for other exceptions."""
    from confluent_kafka import KafkaError, KafkaException

    if isinstance(error, TimeoutError):
        return "The broker did not answer in time."
    cause = error.args[0] if isinstance(error, KafkaException) and error.args else error
    if not isinstance(cause, KafkaError):
        return None
    text = reason_of(cause)
    if cause.code() in (KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN):
        return "The broker no longer answers."
    if cause.code() in (KafkaError._TIMED_OUT, KafkaError.REQUEST_TIMED_OUT):
        return "The broker did not answer in time."
    return f"{text[:1].upper()}{text[1:]} ({cause.name().strip('_')})."


def reason_of(error: KafkaError) -> str:
    """librdkafka's text without the prefix "Broker: " of errors that a broker returned."""
    return str(error.str() or error.name()).strip().removeprefix("Broker: ").rstrip(".")
