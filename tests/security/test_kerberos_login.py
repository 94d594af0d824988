"""GSSAPI to other brokers: the messages, tickets of a real KDC that are there before a connection needs them, and their ends."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest

from kafka_cy.config import BrokerConfig, ConfigError
from kafka_cy.security.sasl import renewal
from kafka_cy.security.sasl.broker_login import Login, broker_login
from kafka_cy.security.sasl.renewal import RenewalFailed
from kafka_cy.security.sasl.server import Success
from tests.kerberos import REALM, Realm, missing_program, running_realm
from tests.waiting import wait_until

try:
    from gssapi import raw
    from gssapi.raw.misc import GSSError
except ImportError:
    if os.environ.get("CI"):
        raise
    pytest.skip("python-gssapi is missing", allow_module_level=True)

from kafka_cy.security.sasl import kerberos_login
from kafka_cy.security.sasl.kerberos import KerberosAcceptor, KerberosServer, credential_store
from kafka_cy.security.sasl.kerberos_login import KerberosLogin, Tickets, TicketSettings

PRINCIPAL = f"kafka/localhost@{REALM}"
JAAS = "listener.name.a.gssapi.sasl.jaas.config"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(renewal, "RETRY_S", 0.2)


@pytest.fixture
def realm(tmp_path: Path) -> Iterator[Realm]:
    program = missing_program()
    if program is not None:
        text = f"{program} is missing (scripts/install-test-tools.sh)"
        pytest.fail(text) if os.environ.get("CI") else pytest.skip(text)
    with running_realm(tmp_path, "clockskew = 1") as realm, pytest.MonkeyPatch.context() as patch:
        for name in ("KRB5_CONFIG", "KRB5RCACHENAME"):
            patch.setenv(name, realm.environment[name])
        yield realm


@pytest.fixture
def make(realm: Realm) -> Iterator[Callable[..., KerberosLogin]]:
    made: list[KerberosLogin] = []

    def make(key_tab: Path | None = None, **settings: float) -> KerberosLogin:
        made.append(KerberosLogin(PRINCIPAL, str(key_tab or realm.key_tab), "kafka", TicketSettings(**settings)))
        return made[-1]

    yield make
    for each in made:
        each.renewal.stop()


def first_token(steps: Generator[bytes | None, bytes, None]) -> bytes:
    found: list[bytes] = []

    def look() -> bool:
        token = next(steps)
        if token is not None:
            found.append(token)
        return token is not None

    wait_until(look, "the ticket")
    return found[0]


def log_in(realm: Realm, login: KerberosLogin) -> Success | None:
    server = KerberosServer(KerberosAcceptor(PRINCIPAL, str(realm.key_tab), ["DEFAULT"]))
    steps = login.begin("localhost")
    choice = steps.send(server.step(first_token(steps)).challenge)
    assert choice is not None
    last = server.step(choice)
    with pytest.raises(StopIteration):
        steps.send(last.challenge)
    return last.success


def test_the_messages(realm: Realm, make: Callable[..., KerberosLogin]) -> None:
    login = make()
    login.renewal.start()
    assert log_in(realm, login) == log_in(realm, login) == Success("kafka")
    assert realm.logins() == 1


def test_connections_do_not_ask_the_kdc(realm: Realm, make: Callable[..., KerberosLogin]) -> None:
    login = make()
    login.renewal.start()
    assert next(login.begin("localhost")) is None, "the thread of the renewal asks"
    log_in(realm, login)
    realm.stop()
    assert log_in(realm, login) == Success("kafka")


def test_tickets_are_replaced_before_they_end(realm: Realm, make: Callable[..., KerberosLogin]) -> None:
    """With those of the brokers that were asked for."""
    realm.limit("kafka/localhost", 4)
    login = make(window_factor=0.6, min_time_before_relogin_s=0)
    login.renewal.start()
    log_in(realm, login)
    first = login.renewal.value
    wait_until(lambda: login.renewal.value is not first, "new tickets")
    second = login.renewal.value
    assert second.ends_s > first.ends_s and second.host_ends_s.keys() == {"localhost"}
    realm.stop()
    assert log_in(realm, login) == Success("kafka")
    wait_until(lambda: login.renewal.failures > 0, "a failure")
    assert login.renewal.problem == f"Cannot contact any KDC for realm '{REALM}'"
    assert login.renewal.value is second or login.renewal.value.ends_s > second.ends_s

    def has_ended() -> bool:
        try:
            next(login.begin("localhost"))
        except ValueError as error:
            return str(error).startswith("this broker's ticket has ended: Cannot contact any KDC")
        return False

    wait_until(has_ended, "the end")


def test_a_ticket_of_a_broker_stays_while_the_kdc_gives_no_new_one(
    realm: Realm, make: Callable[..., KerberosLogin], monkeypatch: pytest.MonkeyPatch
) -> None:
    realm.limit("kafka/localhost", 6)
    get, refused = Tickets.get, [False]
    monkeypatch.setattr(Tickets, "get", lambda self, service, host: get(self, service, "nowhere" if refused[0] else host))
    login = make(window_factor=0.3, min_time_before_relogin_s=0)
    login.renewal.start()
    log_in(realm, login)
    first = login.renewal.value
    refused[0] = True
    wait_until(lambda: login.renewal.value is not first, "new tickets")
    assert log_in(realm, login) == Success("kafka")
    wait_until(lambda: login.renewal.failures > 1, "another attempt")
    assert login.renewal.problem == f"no ticket of kafka@localhost: Server kafka/nowhere@{REALM} not found in Kerberos database"
    refused[0] = False
    wait_until(lambda: not login.renewal.problem, "the ticket")
    assert login.renewal.value.host_ends_s.keys() == {"localhost"} and not login.renewal.value.kept
    assert log_in(realm, login) == Success("kafka")


def test_a_ticket_that_is_kept_is_forgotten_when_it_ends(
    realm: Realm, make: Callable[..., KerberosLogin], monkeypatch: pytest.MonkeyPatch
) -> None:
    realm.limit("kafka/localhost", 3)
    get, refused = Tickets.get, [False]
    monkeypatch.setattr(Tickets, "get", lambda self, service, host: get(self, service, "nowhere" if refused[0] else host))
    login = make(window_factor=0.3, min_time_before_relogin_s=0)
    login.renewal.start()
    log_in(realm, login)
    refused[0] = True
    wait_until(lambda: login.renewal.problem, "a failure")
    wait_until(lambda: not login.renewal.problem, "the end of the ticket: nobody misses it")
    assert not login.renewal.value.kept and not login.renewal.value.host_ends_s


def test_nothing_is_left_of_tickets_that_nobody_uses(realm: Realm) -> None:
    tickets = Tickets(PRINCIPAL, str(realm.key_tab))
    store, name = credential_store(ccache=tickets._cache), raw.import_name(PRINCIPAL.encode(), raw.NameType.kerberos_principal)
    context, token = tickets.begin("kafka", "localhost")
    assert raw.acquire_cred_from(store, name, usage="initiate").creds
    del tickets
    with pytest.raises(GSSError):
        raw.acquire_cred_from(store, name, usage="initiate")
    acceptor = KerberosAcceptor(PRINCIPAL, str(realm.key_tab), ["DEFAULT"])
    other = raw.accept_sec_context(token, acceptor.credential).context
    assert raw.unwrap(context, raw.wrap(other, b"x", confidential=False).message).message == b"x", "a login goes on"


def test_tickets_of_a_broker_may_end_earlier(realm: Realm, make: Callable[..., KerberosLogin]) -> None:
    realm.add("other/localhost")
    realm.limit("other/localhost", 2)
    login = KerberosLogin(PRINCIPAL, str(realm.key_tab), "other", TicketSettings())
    login.renewal.start()
    try:
        first_token(login.begin("localhost"))
        end_s = login.renewal.value.host_ends_s["localhost"]
        wait_until(lambda: next(login.begin("localhost")) is None, "its end")
        first_token(login.begin("localhost"))
        assert login.renewal.value.host_ends_s["localhost"] > end_s and realm.logins() == 1
    finally:
        login.renewal.stop()


def test_a_broker_that_the_kdc_does_not_know(realm: Realm, make: Callable[..., KerberosLogin]) -> None:
    login = make()
    login.renewal.start()

    def reason() -> str:
        try:
            return "" if next(login.begin("nowhere")) is None else "a token"
        except ValueError as error:
            return str(error)

    wait_until(reason, "the reason")
    assert reason() == f"no ticket of kafka@nowhere: Server kafka/nowhere@{REALM} not found in Kerberos database"
    questions = realm.questions("kafka/nowhere")
    assert questions and [reason() for _ in range(10)] == [reason()] * 10
    assert realm.questions("kafka/nowhere") == questions, "the KDC is not asked again at once"
    assert login.renewal.failures == 1 and not login.renewal.problem, "it is counted, and the others are not concerned"
    assert log_in(realm, login) == Success("kafka")


def test_there_is_a_limit(realm: Realm, make: Callable[..., KerberosLogin], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kerberos_login, "HOSTS_MAX", 1)
    login = make()
    login.renewal.start()
    log_in(realm, login)
    with pytest.raises(ValueError, match="of 1 hosts already"):
        next(login.begin("another"))


def test_hosts_without_a_ticket_are_among_the_limit(
    realm: Realm, make: Callable[..., KerberosLogin], monkeypatch: pytest.MonkeyPatch
) -> None:
    """So the KDC is not asked for more than those in RETRY_S, and what is known of them stays small."""
    monkeypatch.setattr(kerberos_login, "HOSTS_MAX", 2)
    login = make()
    login.renewal.start()
    log_in(realm, login)
    assert next(login.begin("nowhere")) is None
    wait_until(lambda: login.renewal.failures == 1, "the answer")
    for _ in range(3):
        with pytest.raises(ValueError, match="no ticket of kafka@nowhere"):
            next(login.begin("nowhere"))
        with pytest.raises(ValueError, match="of 2 hosts already"):
            next(login.begin("elsewhere"))
    assert realm.questions("kafka/elsewhere") == 0
    monkeypatch.setattr(kerberos_login, "RETRY_S", 0.0)
    login._note_failure("localhost", "")
    assert login._failures.keys() == {"nowhere", "localhost"}, "the first one's time is not over"
    login._failures["nowhere"] = ("", 0.0)
    login._note_failure("localhost", "")
    assert login._failures.keys() == {"localhost"}
    login._failures["localhost"] = login._failures["nowhere"] = ("", 0.0)
    assert next(login.begin("elsewhere")) is None, "failures that are over do not count"


def test_a_fault_is_not_asked_for_again_at_once(
    realm: Realm, make: Callable[..., KerberosLogin], monkeypatch: pytest.MonkeyPatch
) -> None:
    login = make()
    login.renewal.start()

    def get(tickets: Tickets, service: str, host: str) -> None:
        raise RuntimeError("with a secret")

    monkeypatch.setattr(Tickets, "get", get)
    assert next(login.begin("localhost")) is None
    wait_until(lambda: login.renewal.failures == 1, "the fault")
    with pytest.raises(ValueError, match=r"^no ticket of kafka@localhost: RuntimeError$"):
        next(login.begin("localhost"))


@pytest.mark.parametrize("kind", ["no key", "an old key", "no file"])
def test_keys_that_are_wrong(realm: Realm, make: Callable[..., KerberosLogin], kind: str) -> None:
    if kind == "an old key":
        realm.replace_key("kafka/localhost")
    key_tab = {"no key": realm.users, "an old key": realm.key_tab, "no file": realm.folder / "nowhere"}[kind]
    with pytest.raises(RenewalFailed) as raised:
        make(key_tab).renewal.start()
    if kind == "an old key":
        assert str(raised.value) in ("Decrypt integrity check failed", "Preauthentication failed")
    else:
        assert str(raised.value) == f"no key of {PRINCIPAL} in {key_tab}"


def test_a_key_that_becomes_wrong(realm: Realm, make: Callable[..., KerberosLogin]) -> None:
    """The tickets of before stay in use; the right key in the same file is used when it is there."""
    realm.limit("kafka/localhost", 4)
    login = make(window_factor=0.2, min_time_before_relogin_s=0)
    login.renewal.start()
    realm.replace_key("kafka/localhost")
    wait_until(lambda: login.renewal.problem, "a failure")
    assert login.renewal.problem in ("Decrypt integrity check failed", "Preauthentication failed")
    realm.write_key("kafka/localhost", realm.key_tab)
    before = login.renewal.value
    wait_until(lambda: login.renewal.value is not before, "new tickets")
    assert login.renewal.problem == ""


@pytest.mark.parametrize("offer", [b"", b"\x02\x00\x00\x00", b"\x01\x00\x00"])
def test_an_offer_that_is_refused(realm: Realm, make: Callable[..., KerberosLogin], offer: bytes) -> None:
    login = make()
    login.renewal.start()
    steps = login.begin("localhost")
    acceptor = KerberosAcceptor(PRINCIPAL, str(realm.key_tab), ["DEFAULT"])
    context = raw.accept_sec_context(first_token(steps), acceptor.credential).context
    with pytest.raises(ValueError, match="offers no login without a security layer"):
        steps.send(raw.wrap(context, offer, confidential=False).message)


def test_who_does_not_know_the_key_is_not_trusted(realm: Realm, make: Callable[..., KerberosLogin]) -> None:
    login = make()
    login.renewal.start()
    steps = login.begin("localhost")
    first_token(steps)
    with pytest.raises(ValueError, match=r"\w"):
        steps.send(b"\x01\x00\x00\x00")


@pytest.mark.parametrize(
    ("lifetime_s", "settings", "due_s"),
    [
        (100, TicketSettings(window_jitter=0, min_time_before_relogin_s=1), 80),
        (100, TicketSettings(window_jitter=0, min_time_before_relogin_s=90), 90),
        (100, TicketSettings(window_jitter=0, min_time_before_relogin_s=200), 80),
        (100, TicketSettings(window_factor=2, window_jitter=0), 100),
        (0.1, TicketSettings(), 0.5),
    ],
)
def test_when_tickets_are_replaced(lifetime_s: float, settings: TicketSettings, due_s: float) -> None:
    login = KerberosLogin("p", "k", "s", settings)
    assert login._due_in_s(lifetime_s) == pytest.approx(due_s)


def configured(options: str, **more: str | None) -> Login:
    settings = {
        "zookeeper.connect": "zk:2181", "broker.id": "1", "listeners": "A://h:1",
        "listener.security.protocol.map": "A:SASL_PLAINTEXT", "inter.broker.listener.name": "A",
        "sasl.kerberos.service.name": "kafka", JAAS: f"com.sun.security.auth.module.Krb5LoginModule required {options};", **more,
    }  # fmt: skip
    return broker_login(BrokerConfig({key: value for key, value in settings.items() if value is not None}), "A", {})


GOOD = f'useKeyTab=true storeKey=true keyTab="/k" principal="{PRINCIPAL}"'


@pytest.mark.parametrize(
    ("options", "more", "reason"),
    [
        (GOOD.replace('keyTab="/k"', ""), {}, "with the option keyTab"),
        (GOOD + " isInitiator=false", {}, "isInitiator must not be false"),
        (GOOD, {"sasl.kerberos.service.name": None}, "No serviceName defined"),
        (GOOD.replace("useKeyTab=true", "useTicketCache=true"), {}, "useKeyTab must be true"),
    ],
)
def test_settings_that_stop_the_start(options: str, more: dict[str, str | None], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        configured(options, **more)


def test_settings() -> None:
    made = configured(GOOD)
    assert made.mechanism == "GSSAPI" and made.renewal is not None
