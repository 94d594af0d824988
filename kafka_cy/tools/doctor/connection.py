"""Whether the broker answers, and whether clients on this machine can use the addresses that it advertises."""

from __future__ import annotations

from typing import Any

from kafka_cy.base.connection_probe import DEFAULT_PORT, Finding, explain, joined_reasons, split_address
from kafka_cy.tools.advertised import PROBE_TIMEOUT_S, Advertised, advertised_brokers, look_at, uses_tls
from kafka_cy.tools.client import REQUEST_TIMEOUT_S, ToolError, connect_admin
from kafka_cy.tools.doctor.check import FAIL, OK, WARN, Check

REMEDIES = {
    Finding.REFUSED: "start the broker (kafka-cy server), or correct -b; one that listens on 127.0.0.1 serves its own machine only",
    Finding.UNKNOWN_HOST: "correct the name in -b, or use the address",
    Finding.UNREACHABLE: "check the network, the firewall and the address",
    Finding.NO_CONNECTION: "check the firewall: the connection attempt gets no answer",
    Finding.TLS_EXPECTED: "use --command-config with security.protocol=SSL and ssl.truststore.location (docs/tls.md)",
    Finding.PLAINTEXT_EXPECTED: "remove security.protocol=SSL from the client's settings, or use the port of the SSL listener",
    Finding.HTTP: "use the port of a Kafka listener (9092 by default), not that of the metrics",
    Finding.NOT_KAFKA: "use the port of a Kafka listener (9092 by default)",
    Finding.SILENT: "the process may be paused or overloaded; look at its log",
    Finding.KAFKA: "look at the broker's log, and at the client's TLS and SASL settings",
}


def check_bootstrap(bootstrap_servers: str) -> tuple[list[Check], Any]:
    """(what was found, an admin client or None)."""
    findings = explain(bootstrap_servers, tls=uses_tls(), timeout_s=PROBE_TIMEOUT_S)
    bad = {address: finding for address, finding in findings.items() if finding is not Finding.KAFKA}
    if findings and len(bad) == len(findings) and all(finding.certain for finding in bad.values()):
        remedy = REMEDIES[next(iter(bad.values()))]
        return [
            Check(FAIL, "bootstrap", f"no broker answers at {bootstrap_servers}: {joined_reasons(findings)}", remedy)
        ], None
    checks = [
        Check(WARN, "bootstrap", f"{address}: {finding.value}", REMEDIES[finding]) for address, finding in bad.items()
    ]
    try:
        brokers = advertised_brokers(bootstrap_servers)
    except ToolError:
        brokers = []  # SASL, for example: librdkafka knows more
    checks += check_advertised(brokers, bootstrap_servers)
    if brokers and all(each.finding is not Finding.KAFKA for each in brokers):  # librdkafka would wait for its timeout
        return [Check(OK, "bootstrap", f"a broker answers at {bootstrap_servers}"), *checks], None
    try:
        admin = connect_admin(bootstrap_servers)
    except ToolError as error:
        finding = next(iter(findings.values()), Finding.NOT_KAFKA)
        return [Check(FAIL, "bootstrap", str(error).rstrip("."), REMEDIES[finding]), *checks], None
    if not brokers:
        known = sorted(admin.list_topics(timeout=REQUEST_TIMEOUT_S).brokers.items())
        brokers = [look_at(number, str(each.host), int(each.port)) for number, each in known]
        checks += check_advertised(brokers, bootstrap_servers)
    return [Check(OK, "bootstrap", f"a broker answers at {bootstrap_servers}"), *checks], admin


def check_advertised(brokers: list[Advertised], bootstrap_servers: str) -> list[Check]:
    """Whether each broker can be reached at its advertised address: clients use this, not the bootstrap address."""
    checks = []
    from_elsewhere = not any(is_loopback(split_address(each.strip())[0]) for each in bootstrap_servers.split(","))
    for broker_id, host, address, finding in brokers:
        if finding is not Finding.KAFKA:
            text = f"broker {broker_id} advertises {address}, but from here: {finding.value}"
            remedy = "set advertised.listeners to an address that clients can reach (docs/connecting.md)"
            checks.append(Check(FAIL, "advertised listener", text, remedy))
        elif is_loopback(host) and from_elsewhere:
            text = f"broker {broker_id} advertises {address}, which on another machine is that machine"
            remedy = "set advertised.listeners to this host's name if others shall connect (docs/connecting.md)"
            checks.append(Check(WARN, "advertised listener", text, remedy))
        else:
            checks.append(Check(OK, "advertised listener", f"broker {broker_id} can be reached at {address}"))
    return checks


def nothing_listens(bootstrap_servers: str) -> bool:
    """Whether the addresses are on this machine, and no process has them: a broker is about to be started here."""
    return is_local(bootstrap_servers) and all(
        finding is Finding.REFUSED for finding in explain(bootstrap_servers, tls=uses_tls()).values()
    )


def has_default_address(bootstrap_servers: str) -> bool:
    """Whether it is the address of a broker without a configuration: its metrics have their default address, too."""
    return is_local(bootstrap_servers) and split_address(bootstrap_servers)[1] == DEFAULT_PORT


def is_loopback(host: str) -> bool:
    """Whether the name or address is that of the machine itself."""
    return host in ("localhost", "::1") or host.startswith("127.")


def is_local(bootstrap_servers: str) -> bool:
    """Whether all addresses of the bootstrap list are on this machine."""
    return all(is_loopback(split_address(each.strip())[0]) for each in bootstrap_servers.split(","))
