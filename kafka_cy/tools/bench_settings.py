"""The words of a command line of `kafka-cy bench` as the options of a load."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from kafka_cy.tools.bench_options import ACKS, FETCHING, HOW_LONG, PRODUCING, TOPIC, WORKLOADS
from kafka_cy.tools.client import key_values, librdkafka_settings, read_properties

if TYPE_CHECKING:
    from kafka_cy.bench.load_options import LoadOptions

FOREVER_S = 10.0 * 365 * 86400
NO_LIMIT = -1
BOOLEANS = {"true": True, "false": False}

#: Client settings that are options of every generator, by Kafka's names: the option, and its type.
KNOWN_PROPERTIES: dict[str, tuple[str, Callable[[str], Any]]] = {
    "acks": ("acks", lambda text: ACKS[text]),
    "batch.size": ("batch_size", int),
    "compression.type": ("compression", str),
    "enable.idempotence": ("idempotent", lambda text: BOOLEANS[text.lower()]),
    "linger.ms": ("linger_ms", float),
    "max.in.flight.requests.per.connection": ("in_flight", int),
    "max.partition.fetch.bytes": ("fetch_bytes", int),
    "fetch.min.bytes": ("fetch_min_bytes", int),
    "fetch.max.wait.ms": ("fetch_max_wait_ms", int),
    "fetch.wait.max.ms": ("fetch_max_wait_ms", int),
}


def properties_of(given: dict[str, Any]) -> dict[str, str]:
    """The merged `--command-config` and `--command-property` settings. Raises ToolError."""
    path = given.get("command_config")
    read = read_properties(path) if path else {}
    return librdkafka_settings({**read, **key_values(given.get("command_properties", ()), "--command-property")})


def load_options(workload: str, given: dict[str, Any], client_properties: dict[str, str]) -> LoadOptions:
    """The command line's options as LoadOptions. Raises click.UsageError."""
    from kafka_cy.bench.load_options import LoadOptions
    from kafka_cy.bench.payloads import Payloads

    values: dict[str, Any] = {**WORKLOADS[workload][2]}
    renamed = {
        "duration": "duration_s",
        "warm_up": "warm_up_s",
        "compression_type": "compression",
        "max_in_flight": "in_flight",
        "fetch_size": "fetch_bytes",
    }
    context = click.get_current_context()
    for name in (
        *TOPIC,
        *HOW_LONG,
        *PRODUCING,
        *FETCHING,
        "generator",
        "idle_connections",
        "groups",
        "members",
        "group_protocol",
        "member_kind",
        "starts",
    ):
        source = context.get_parameter_source(name)
        chosen = source is not None and source is not click.core.ParameterSource.DEFAULT
        if name in given and given[name] is not None and (chosen or renamed.get(name, name) not in values):
            values[renamed.get(name, name)] = given[name]
    if "batch_size" in given and context.get_parameter_source("batch_size") is click.core.ParameterSource.COMMANDLINE:
        values["batch_records"] = given["batch_records"]
    payloads = Payloads(
        **{
            name: values.pop(name)
            for name in (
                "record_size",
                "random_bytes_ratio",
                "key_distribution",
                "keys",
                "payload_file",
                "payload_delimiter",
            )
            if name in values
        }
    )
    if "log_bytes" in given:
        values["log_bytes"] = given["log_bytes"]
    if "acks" in values:
        values["acks"] = ACKS[values["acks"]]
    if values.get("throughput", 1) == NO_LIMIT:
        values["throughput"] = None
    elif values.get("throughput", 1) <= 0:
        raise click.UsageError("--throughput must be records per second, or -1 for as fast as possible")
    if values.get("num_records") and given.get("duration") is None:
        values["duration_s"] = FOREVER_S
    values["topic_config"] = key_values(values.get("topic_config", ()), "--topic-config")
    native = values.get("generator", "native") == "native" and workload not in ("start", "recovery")
    values["producer_properties"] = client_settings(
        values, values.pop("producer_props", ()), "--producer-props", native
    )
    values["consumer_properties"] = client_settings(
        values, values.pop("consumer_props", ()), "--consumer-props", native
    )
    security = client_properties.get("security.protocol", "PLAINTEXT")
    if native and security.upper() != "PLAINTEXT":
        raise click.UsageError(
            f"the native generator supports only PLAINTEXT, not {security}: use --generator librdkafka"
        )
    if native and values.get("acks") == 0:
        raise click.UsageError(
            "the native generator measures responses, and acks=0 has none: use --generator librdkafka"
        )
    return LoadOptions(**values, payloads=payloads)


def client_settings(values: dict[str, Any], words: Any, option: str, native: bool) -> dict[str, str]:
    """Client settings: those that are also our options change `values`, the others go to librdkafka."""
    settings = key_values(words, option)
    rest = {}
    for key, text in settings.items():
        if key not in KNOWN_PROPERTIES:
            rest[key] = text
            continue
        name, convert = KNOWN_PROPERTIES[key]
        try:
            values[name] = convert(text)
        except (KeyError, ValueError):
            raise click.UsageError(f"{option}: {key} cannot be {text!r}") from None
        if name == "batch_size":
            values["batch_records"] = None
    if native and rest:
        raise click.UsageError(f"the native generator has no setting {min(rest)}: use --generator librdkafka")
    return rest
