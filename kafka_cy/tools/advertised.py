"""The addresses that brokers advertise, asked without librdkafka, which gives up if it cannot reach one of them."""

from __future__ import annotations

from typing import NamedTuple

from kafka_cy.base.connection_probe import Finding, probe
from kafka_cy.tools.client import ToolError, connection_settings
from kafka_cy.tools.raw_client import METADATA, first_broker

PROBE_TIMEOUT_S = 2.0  # a busy or distant broker needs longer than the tools' first look takes


class Advertised(NamedTuple):
    """A broker's id and the address that it tells clients, and what answers there."""

    broker_id: int
    host: str
    address: str
    finding: Finding


def uses_tls() -> bool:
    """Whether `--command-config` asks for TLS."""
    return connection_settings().get("security.protocol", "PLAINTEXT").upper() in ("SSL", "SASL_SSL")


def advertised_brokers(bootstrap_servers: str) -> list[Advertised]:
    """What each broker of the cluster advertises, by id. Raises ToolError (also for SASL)."""
    with first_broker(bootstrap_servers) as client:
        brokers = client.request(METADATA, {"topics": (), "allow_auto_topic_creation": False}).brokers
    return [look_at(each.node_id, each.host, each.port) for each in sorted(brokers, key=lambda each: int(each.node_id))]


def look_at(broker_id: int, host: str, port: int) -> Advertised:
    """Try an advertised address."""
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return Advertised(int(broker_id), host, address, probe(host, port, tls=uses_tls(), timeout_s=PROBE_TIMEOUT_S))


def unreachable_sentence(bootstrap_servers: str) -> str | None:
    """Why a broker that answers cannot be used; None if its advertised addresses can be reached or are not known."""
    try:
        brokers = advertised_brokers(bootstrap_servers)
    except ToolError:
        return None
    bad = [each for each in brokers if each.finding is not Finding.KAFKA]
    if not bad:
        return None
    told = ", ".join(f"{each.address} ({each.finding.value})" for each in bad)
    return (
        f"The broker at {bootstrap_servers} answers, but advertises an address that cannot be reached from here: {told}. "
        "Its advertised.listeners must name an address that clients can reach."
    )
