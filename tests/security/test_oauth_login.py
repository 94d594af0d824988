"""OAUTHBEARER to other brokers: the messages, tokens that the broker writes, and those of an issuer or a file."""

from __future__ import annotations

import json
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from kafka_cy.config import BrokerConfig, ConfigError
from kafka_cy.security.jaas import parse_entry
from kafka_cy.security.sasl import token_endpoint
from kafka_cy.security.sasl.broker_login import Login, broker_login
from kafka_cy.security.sasl.json_tokens import decoded_part
from kafka_cy.security.sasl.oauth_client import LoginToken, read_token
from kafka_cy.security.sasl.oauth_login import FILE_BYTES_MAX, ISSUED, UNSECURED, RefreshSettings, refresh_in_s
from kafka_cy.security.sasl.oauthbearer import OAuthBearerServer
from kafka_cy.security.sasl.renewal import RenewalFailed
from kafka_cy.security.sasl.server import SaslFailed
from kafka_cy.security.sasl.token_endpoint import Credentials, EndpointSettings, TokenEndpoint
from kafka_cy.security.sasl.unsecured_jws import UnsecuredSettings, UnsecuredValidator
from kafka_cy.security.sasl.unsecured_login import UnsecuredTokens
from kafka_cy.security.secret import Secret
from tests.security.issuer_server import CLIENT_ID, SECRET, Issuer
from tests.security.token_issuer import NOW, claims, rsa_key, token, unsecured

MODULE = "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule"
OWN = "listener.name.a.oauthbearer."
HANDLER, JAAS, URL = OWN + "sasl.login.callback.handler.class", OWN + "sasl.jaas.config", "sasl.oauthbearer.token.endpoint.url"


def login(options: str, **more: str | None) -> Login:
    settings = {
        "zookeeper.connect": "zk:2181", "broker.id": "1", "listeners": "A://h:1",
        "listener.security.protocol.map": "A:SASL_PLAINTEXT",
        "inter.broker.listener.name": "A", "sasl.enabled.mechanisms": "OAUTHBEARER",
        "sasl.mechanism.inter.broker.protocol": "OAUTHBEARER", JAAS: f"{MODULE} required {options};",
        **{key.replace("__", "."): value for key, value in more.items()},
    }  # fmt: skip
    return broker_login(BrokerConfig({key: value for key, value in settings.items() if value is not None}), "A", {})


def issued(options: str, url: str | None, **more: str | None) -> Login:
    return login(options, **{HANDLER: ISSUED[0], URL: url, **more})


CREDENTIALS = f'clientId="{CLIENT_ID}" clientSecret="{SECRET}"'


# -- the messages --


def test_tokens_that_the_broker_writes() -> None:
    made = login('unsecuredLoginStringClaim_sub="the broker" unsecuredLoginExtension_trace="a b"')
    assert made.mechanism == "OAUTHBEARER" and made.renewal is None
    steps = made.begin("h")
    first = next(steps)
    assert first is not None and first.endswith(b"\x01trace=a b\x01\x01")
    server = OAuthBearerServer(UnsecuredValidator(UnsecuredSettings()))
    success = server.step(first).success
    assert success is not None and success.name == "the broker" and success.expires_ms is not None
    assert abs(success.expires_ms / 1000 - time.time() - 3600) < 60
    with pytest.raises(StopIteration):
        steps.send(b"")


def test_a_rejected_token() -> None:
    """The client's answer to the JSON text gets the error."""
    steps = login("unsecuredLoginStringClaim_sub=b unsecuredLoginLifetimeSeconds=\"0\"").begin("h")
    server = OAuthBearerServer(UnsecuredValidator(UnsecuredSettings()))
    first = next(steps)
    assert first is not None
    challenge = server.step(first).challenge
    assert challenge and steps.send(challenge) == b"\x01"
    with pytest.raises(SaslFailed):
        server.step(b"\x01")
    with pytest.raises(ValueError, match="rejected the token"):
        steps.send(b"")


def test_each_login_has_a_token_of_its_own() -> None:
    now = [1000.0]
    options = (
        "unsecuredLoginStringClaim_who=b unsecuredLoginPrincipalClaimName=who unsecuredLoginNumberClaim_n=\"1.5\" "
        "unsecuredLoginListClaim_scope=\"|x|y\" unsecuredLoginListClaim_none=\"|\" unsecuredLoginLifetimeSeconds=\"20\""
    )
    tokens = UnsecuredTokens(parse_entry(f"{MODULE} required {options};"), lambda: now[0])
    head, payload, tail = tokens.token().split(".")
    assert json.loads(decoded_part(head)) == {"alg": "none"} and tail == ""
    expected = {"exp": 1020.0, "iat": 1000.0, "who": "b", "n": 1.5, "scope": ["x", "y"], "none": []}
    assert json.loads(decoded_part(payload)) == expected
    now[0] = 2000.0009
    assert json.loads(decoded_part(tokens.token().split(".")[1])) == {**expected, "exp": 2020.0, "iat": 2000.0}, "not the future"


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ("", "the claim sub is missing"),
        ("unsecuredLoginStringClaim_sub=\"\"", "the claim sub is missing"),
        ("unsecuredLoginStringClaim_sub=b unsecuredLoginStringClaim_exp=canary", "Cannot explicitly set the 'exp' claim"),
        ("unsecuredLoginStringClaim_sub=b unsecuredLoginNumberClaim_n=canary", "unsecuredLoginNumberClaim_n is not a number"),
        ("unsecuredLoginStringClaim_sub=b unsecuredLoginNumberClaim_n=NaN", "unsecuredLoginNumberClaim_n is not a number"),
        ("unsecuredLoginStringClaim_sub=b unsecuredLoginStringClaim_=canary", "names no claim"),
        ("unsecuredLoginStringClaim_sub=b unsecuredLoginLifetimeSeconds=canary", "LifetimeSeconds is not a number"),
        ("unsecuredLoginStringClaim_sub=b unsecuredLoginExtension_auth=canary", "Extension name auth is invalid"),
        ("unsecuredLoginStringClaim_sub=b unsecuredLoginExtension_x=\"\\001canary\"", "the value of the extension x"),
        (f"unsecuredLoginStringClaim_sub=b unsecuredLoginExtension_x={'canary' * 170}", "the extensions have more than 1000 bytes"),
    ],
)  # fmt: skip
def test_options_that_stop_the_start(options: str, reason: str) -> None:
    with pytest.raises(ConfigError) as raised:
        login(options)
    assert reason in str(raised.value) and raised.value.key == JAAS and "canary" not in str(raised.value)


@pytest.mark.parametrize(
    ("options", "more", "key", "reason"),
    [
        ("", {HANDLER: "com.example.Own"}, HANDLER, "Java classes cannot be loaded"),
        ("", {"sasl.login.callback.handler.class": ISSUED[0]}, "sasl.login.callback.handler.class", f"the key must be {HANDLER}"),
        (CREDENTIALS, {HANDLER: ISSUED[1]}, URL, "value is required"),
        (CREDENTIALS, {HANDLER: ISSUED[0], URL: "ftp://h/x"}, URL, "invalid protocol"),
        (CREDENTIALS, {HANDLER: ISSUED[0], URL: "http://h:99999/x"}, URL, "ort"),
        ("clientId=canary", {HANDLER: ISSUED[0], URL: "http://h/x"}, JAAS, "clientId and clientSecret"),
        ("clientSecret=canary", {HANDLER: ISSUED[0], URL: "http://h/x"}, JAAS, "clientId and clientSecret"),
        (CREDENTIALS + " extension_x=\"\"", {HANDLER: ISSUED[0], URL: "http://h/x"}, JAAS, "extension x"),
        (CREDENTIALS, {HANDLER: ISSUED[0], URL: "http://h/x", "sasl.login.retry.backoff.ms": "-1"}, "sasl.login.retry.backoff.ms",
         "must be non-negative"),
        (CREDENTIALS + ' ssl.truststore.location="/x"', {HANDLER: ISSUED[0], URL: "https://h/x"}, JAAS, "options ssl.*"),
    ],
)  # fmt: skip
def test_settings_that_stop_the_start(options: str, more: dict[str, str], key: str, reason: str) -> None:
    with pytest.raises(ConfigError) as raised:
        login(options, **more)
    assert reason in str(raised.value) and raised.value.key == key
    assert "canary" not in str(raised.value) and SECRET not in str(raised.value)


def test_the_unsecured_handler_may_be_named() -> None:
    assert login("unsecuredLoginStringClaim_sub=b", **{HANDLER: UNSECURED[1]}).renewal is None


# -- tokens of an issuer --


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with Issuer().running() as running:
        yield running


def test_a_token_of_an_issuer(issuer: Issuer) -> None:
    made = issued(CREDENTIALS + ' scope="a b" extension_trace=x', issuer.tokens)
    assert made.renewal is not None and issuer.issued == 0, "nothing is asked before the start"
    made.renewal.start()
    try:
        for _ in range(2):
            first = next(made.begin("h"))
            assert first is not None and first.startswith(b"n,,\x01auth=Bearer ey") and first.endswith(b"\x01trace=x\x01\x01")
            assert first.split(b"Bearer ")[1].split(b"\x01")[0].decode() == made.renewal.value.text
    finally:
        made.renewal.stop()
    assert issuer.issued == 1 and issuer.forms == [{"grant_type": ["client_credentials"], "scope": ["a b"]}]


def started(made: Login) -> None:
    assert made.renewal is not None
    made.renewal.start()
    made.renewal.stop()


def problem(made: Login) -> str:
    with pytest.raises(RenewalFailed) as raised:
        started(made)
    text = str(raised.value)
    assert SECRET not in text and "canary" not in text and "ey" not in text
    return text


QUICK = {"sasl.login.retry.backoff.max.ms": "0"}


def test_a_wrong_secret(issuer: Issuer) -> None:
    made = issued(f'clientId="{CLIENT_ID}" clientSecret="canary"', issuer.tokens)
    assert problem(made) == "the token endpoint answers 401 (invalid_client)"
    assert len(issuer.forms) == 1, "another attempt would be refused, too"


def test_an_encoded_header(issuer: Issuer) -> None:
    """This issuer does not decode it."""
    made = issued(CREDENTIALS, issuer.tokens, **{OWN + "sasl.oauthbearer.header.urlencode": "true"})
    assert problem(made) == "the token endpoint answers 401 (invalid_client)"


@pytest.mark.parametrize(
    ("refusal", "text"),
    [
        ((403, b"canary"), "the token endpoint answers 403"),
        ((400, b'{"error":"canary canary"}'), "the token endpoint answers 400"),
        ((302, b""), "the token endpoint answers 302"),
        ((200, b"canary"), "the answer of the token endpoint has no access_token"),
        ((200, b"[]"), "the answer of the token endpoint has no access_token"),
        ((200, b'{"access_token":" "}'), "the answer of the token endpoint has no access_token"),
        ((200, b'{"access_token":"canary"}'), "the access token is not a JSON web token of at most 31 KiB"),
        ((200, b"x" * (64 << 10) + b"x"), "the answer of the token endpoint has more than 65536 bytes"),
        ((200, json.dumps({"access_token": unsecured(claims(sub=None))}).encode()),
         "the access token cannot be used: the claim sub is missing or not a text"),
        ((200, json.dumps({"access_token": unsecured(claims())}).encode()), "the access token has expired"),
    ],
)  # fmt: skip
def test_answers_that_are_no_token(issuer: Issuer, refusal: tuple[int, bytes], text: str) -> None:
    issuer.refusal = refusal
    assert problem(issued(CREDENTIALS, issuer.tokens, **QUICK)) == text


def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    assert problem(issued(CREDENTIALS, f"http://127.0.0.1:{port}/", **QUICK)) == (
        "the token endpoint cannot be asked: Connection refused"
    )


def test_nobody_answers() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/"
        made = issued(CREDENTIALS, url, **QUICK, **{"sasl.login.read.timeout.ms": "50"})
        assert problem(made) == "the token endpoint cannot be asked: TimeoutError"


@pytest.mark.parametrize("head", [b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 200 OK\r\nx: ", b"HTTP/1.1 "])
def test_an_answer_without_end(monkeypatch: pytest.MonkeyPatch, head: bytes) -> None:
    monkeypatch.setattr(token_endpoint, "ANSWER_S", 0.2)
    ended = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        def drip() -> None:
            peer, _ = listening.accept()
            with peer:
                peer.recv(10000)
                peer.sendall(head)
                while not ended.wait(0.02):
                    try:
                        peer.sendall(b" ")
                    except OSError:
                        break

        thread = threading.Thread(target=drip)
        thread.start()
        try:
            made = issued(CREDENTIALS, f"http://127.0.0.1:{listening.getsockname()[1]}/", **QUICK)
            assert "takes more than" in problem(made)
        finally:
            ended.set()
            thread.join()


def test_attempts_are_repeated_with_pauses_that_grow(issuer: Issuer) -> None:
    """Kafka's Retry."""
    issuer.refusal = (503, b"")
    pauses: list[float] = []

    def sleep(pause_s: float) -> None:
        pauses.append(pause_s)
        if len(pauses) == 4:
            issuer.refusal = None

    settings = EndpointSettings(retry_ms=100, retry_max_ms=600_000)
    endpoint = TokenEndpoint(issuer.tokens, Credentials(CLIENT_ID, Secret(SECRET), None), settings, sleep=sleep)
    assert endpoint.retrieve().startswith("ey") and pauses == [0.1, 0.2, 0.4, 0.8] and issuer.refused == 4


def test_id_and_secret_are_encoded_if_that_is_wanted() -> None:
    made = Credentials("a b", Secret("x:ä"), None)
    assert made.header(url_encode=False) == "Basic YSBiOng6w6Q=" and made.header(url_encode=True) == "Basic YStiOnglM0ElQzMlQTQ="
    assert SECRET not in repr(Credentials("a", Secret(SECRET), None))


def test_a_token_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "token"
    made = issued("", path.as_uri())
    assert "No such file" in problem(made)
    path.write_bytes(b"\xff")
    assert "is not a token" in problem(made)
    path.write_text("x" * FILE_BYTES_MAX * 2)
    assert "not a JSON web token" in problem(made)
    text = unsecured(claims(exp=time.time() + 1000))
    path.write_text(text + "\n")
    started(made)
    assert made.renewal is not None and made.renewal.value.text == text


def test_tokens_are_not_shown() -> None:
    text = token(rsa_key("one"), claims())
    read = read_token(text)
    assert (read.starts_s, read.expires_s) == (NOW - 10, NOW + 100) and text not in repr(read) and text not in str(read)


@pytest.mark.parametrize(
    ("starts", "expires", "settings", "chance", "expected"),
    [
        (0, 3600, RefreshSettings(), 0, 2880),
        (0, 3600, RefreshSettings(), 1, 3060),
        (None, 3600, RefreshSettings(), 0, 2880),
        (50, 3600, RefreshSettings(), 0, 2890),  # it begins in the future
        (-900, 100, RefreshSettings(), 0, 80),
        (-3600, 3600, RefreshSettings(), 0, 2160),
        (0, 1000, RefreshSettings(), 0, 700),  # the buffer of 300 s
        (0, 60, RefreshSettings(), 0, 48),  # neither buffer nor period fit
        (-9000, 1000, RefreshSettings(buffer_s=0), 0, 60),  # the period of 60 s
        (0, 10, RefreshSettings(min_period_s=1, buffer_s=0), 0, 8),
    ],
)
def test_when_a_token_is_replaced(
    starts: float | None, expires: float, settings: RefreshSettings, chance: float, expected: float
) -> None:
    assert refresh_in_s(LoginToken("", starts, expires), 0, settings, chance) == pytest.approx(expected)


def test_https_trusts_the_authorities_of_the_login_module(tmp_path: Path) -> None:
    from tests.certificates import Authority

    authority = Authority(tmp_path)
    trusted = f' ssl.truststore.type="PEM" ssl.truststore.location="{authority.trusted}"'
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority.broker)
    made = Issuer()
    made.encrypt(context)
    with made.running() as issuer:
        started(issued(CREDENTIALS + trusted, issuer.tokens.replace("http:", "https:"), **QUICK))
        text = problem(issued(CREDENTIALS, issuer.tokens.replace("http:", "https:"), **QUICK))
    assert "certificate verify failed" in text and issuer.issued == 1


