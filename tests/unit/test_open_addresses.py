"""A start says which listeners and pages serve other machines without asking who they are."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from kafka_cy.config import BrokerConfig
from kafka_cy.server.log import BrokerLog
from kafka_cy.server.start_lines import is_loopback, warn_of_anonymous_users, warn_of_open_addresses
from kafka_cy.testing import Broker

QUIET = {"kafkacy.metrics.listen": "127.0.0.1:9404", "kafkacy.lag.listen": "[::1]:9308"}
ONE_USER = "clients without authentication are one user for the authorizer: "
ANYTHING = "clients without authentication may do anything: "
LISTENERS, PAGES = "clients on other machines need no authentication", "pages are shown to other machines without a password"


def lines(**keys: str) -> list[str]:
    """The lines of a start with these keys (`_` for `.`), without time and level."""
    stream = io.StringIO()
    log = BrokerLog(stream=stream)
    config = BrokerConfig.load(None, {**QUIET, **{key.replace("_", "."): text for key, text in keys.items()}})
    warn_of_open_addresses(log, config)
    warn_of_anonymous_users(log, config)
    log.flush()
    written = stream.getvalue().splitlines()
    assert all(line.split(" ")[1] == "WARNING" for line in written)
    return [line.split(" ", 2)[2] for line in written]


def test_listeners() -> None:
    assert lines(listeners="PLAINTEXT://127.0.0.1:9092,SSL://[::1]:9093") == []
    assert lines(listeners="PLAINTEXT://localhost:9092") == []
    for address in (":9092", "0.0.0.0:9092", "[::]:9092", "192.0.2.1:9092"):
        (line,) = lines(listeners=f"PLAINTEXT://{address}", advertised_listeners="PLAINTEXT://b1:9092")
        assert line.startswith(f"{LISTENERS} listeners=") and f"PLAINTEXT://{address} (PLAINTEXT)" in line
    (line,) = lines(
        listeners="A://192.0.2.1:1,B://127.0.0.1:2,C://192.0.2.1:3",
        listener_security_protocol_map="A:PLAINTEXT,B:PLAINTEXT,C:SSL",
        inter_broker_listener_name="B",
    )
    assert line == f'{LISTENERS} listeners="A://192.0.2.1:1 (PLAINTEXT), C://192.0.2.1:3 (SSL)"'


@pytest.mark.parametrize(("auth", "said"), [("none", True), ("requested", True), ("required", False)])
def test_tls_is_authentication_with_certificates_only(auth: str, said: bool) -> None:
    settings = {"listeners": "SSL://192.0.2.1:9093", "inter_broker_listener_name": "SSL"}
    assert bool(lines(ssl_client_auth=auth, **settings)) is said
    assert bool(lines(listener_name_ssl_ssl_client_auth=auth, ssl_client_auth="none", **settings)) is said


@pytest.mark.parametrize("super_users", ["", "User:admin", "User:admin;User:ANONYMOUS"])
def test_an_authorizer_knows_nobody_on_a_listener_without_authentication(super_users: str) -> None:
    """Also on a loopback address: who has rights there are the users of this machine."""
    keys = {
        "listeners": "A://127.0.0.1:1,B://127.0.0.1:2,C://127.0.0.1:3",
        "listener_security_protocol_map": "A:PLAINTEXT,B:SSL,C:SASL_PLAINTEXT",
        "inter_broker_listener_name": "A",
        "super_users": super_users,
    }
    authorizer = "org.apache.kafka.metadata.authorizer.StandardAuthorizer"
    assert lines(**keys) == []
    (line,) = lines(**keys, authorizer_class_name=authorizer)
    assert line.endswith(' listeners="A://127.0.0.1:1, B://127.0.0.1:2"')
    assert line.startswith(ANYTHING if "ANONYMOUS" in super_users else ONE_USER)
    (line,) = lines(**keys, authorizer_class_name=authorizer, listener_name_b_ssl_client_auth="required")
    assert line.endswith(" listeners=A://127.0.0.1:1")
    keys |= {"inter_broker_listener_name": "C", "listeners": "C://127.0.0.1:3", "sasl_mechanism_inter_broker_protocol": "PLAIN"}
    assert lines(**keys, authorizer_class_name=authorizer) == []


def test_pages(tmp_path: Path) -> None:
    here = {"listeners": "PLAINTEXT://127.0.0.1:9092"}
    assert lines(**here, kafkacy_metrics_listen="", kafkacy_lag_listen="") == []
    (line,) = lines(**here, kafkacy_metrics_listen=":9404", kafkacy_lag_listen="192.0.2.1:9308")
    assert line == f'{PAGES} pages="metrics (:9404), lag (192.0.2.1:9308)"'
    (line,) = lines(**here, kafkacy_lag_listen="[::]:9308")
    assert line == f'{PAGES} pages="lag ([::]:9308)"'
    users = {"kafkacy_metrics_basic_auth_users_file": str(tmp_path)}
    assert lines(**here, kafkacy_metrics_listen=":9404", **users) == []


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True), ("127.1.2.3", True), ("::1", True), ("::ffff:127.0.0.1", True), ("localhost", True),
        ("", False), ("0.0.0.0", False), ("::", False), ("10.127.0.1", False), ("::ffff:10.0.0.1", False), ("fe80::1", False),
        ("127.invalid", False),
    ],
)  # fmt: skip
def test_loopback(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback


def test_a_broker_says_it_once(tmp_path: Path) -> None:
    for listen, count in (("0.0.0.0", 1), ("127.0.0.1", 0)):
        config = {"kafkacy.metrics.listen": f"{listen}:0", "kafkacy.lag.listen": ""}
        broker = Broker(config, folder=tmp_path / listen)
        with broker:
            log = broker.log_text()
        assert log.count(PAGES) == count and LISTENERS not in log


def test_sasl_is_authentication() -> None:
    keys = {"listeners": "SASL_PLAINTEXT://192.0.2.1:9092", "security_inter_broker_protocol": "SASL_PLAINTEXT"}
    assert lines(**keys, sasl_enabled_mechanisms="PLAIN", sasl_mechanism_inter_broker_protocol="PLAIN") == []
