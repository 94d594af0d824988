"""SASL/OAUTHBEARER: the messages, and tokens without a signature."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kafka_cy.security.jaas import parse_entry
from kafka_cy.security.sasl.json_tokens import NAME_CHARS_MAX
from kafka_cy.security.sasl.oauthbearer import (
    MESSAGE_BYTES_MAX,
    PAIRS_MAX,
    AcceptedToken,
    OAuthBearerServer,
    TokenRejected,
)
from kafka_cy.security.sasl.server import SaslFailed, Step, Success
from kafka_cy.security.sasl.unsecured_jws import UnsecuredSettings, UnsecuredValidator, unsecured_settings
from tests.security.token_issuer import NOW, claims, encoded, unsecured

INVALID = "Authentication failed during authentication due to invalid credentials with SASL mechanism OAUTHBEARER"


class OneToken:
    """Accepts the token "good", and no other."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def validate(self, token: str) -> AcceptedToken:
        self.asked.append(token)
        if token != "good":
            raise TokenRejected("it is bad", "[a, b]" if token == "narrow" else None)
        return AcceptedToken("al,ice", 12345)


def step(message: bytes) -> Step:
    return OAuthBearerServer(OneToken()).step(message)


@pytest.mark.parametrize(
    "message",
    [
        b"n,,\x01auth=Bearer good\x01\x01",
        b"n,a=al=2Cice,\x01auth=bEARER   good\x01\x01",
        b"n,,\x01traceId=1=2 3\t\x01auth=Bearer good\x01port=9092\x01\x01",
    ],
)
def test_a_good_token(message: bytes) -> None:
    assert step(message) == Step(b"", Success("al,ice", 12345, False))


@pytest.mark.parametrize(
    "message",
    [
        b"", b"\x01", b"n,,", b"n,,\x01\x01", b"n,,\x01auth=Bearer good", b"n,,\x01auth=Bearer good\x01", b"good",
        b"y,,\x01auth=Bearer good\x01\x01", b"p=x,,\x01auth=Bearer good\x01\x01", b"n,\x01auth=Bearer good\x01\x01",
        b"n,,auth=Bearer good\x01\x01", b"n,a=,\x01auth=Bearer good\x01\x01", b"n,x=1,\x01auth=Bearer good\x01\x01",
        b"n,,x\x01auth=Bearer good\x01\x01", b"n,,\x01auth=Basic good\x01\x01", b"n,,\x01auth=Bearer\x01\x01",
        b"n,,\x01auth=Bearer \x01\x01", b"n,,\x01auth=Bearer go od\x01\x01", b"n,,\x01auth=Bearer good=\x01\x01",
        b"n,,\x01auth=good\x01\x01", b"n,,\x01auth=Bearer good\x01auth=Bearer good\x01\x01", b"n,,\x01port=1\x01\x01",
        b"n,,\x01auth=Bearer good\x01port=\x01\x01", b"n,,\x01auth=Bearer good\x011=x\x01\x01",
        b"n,,\x01auth=Bearer good\x01p=\xc3\xbc\x01\x01", b"n,,\x01auth=Bearer good\x01p=\x00\x01\x01",
        b"n,,\x01auth=Bearer good\x01\x01\x01", b"n,,\x01auth=Bearer good\x01" + b"a=b\x01" * MESSAGE_BYTES_MAX + b"\x01",
    ],
)  # fmt: skip
def test_a_malformed_message(message: bytes) -> None:
    with pytest.raises(SaslFailed) as raised:
        step(message)
    assert raised.value.message == INVALID


def test_the_number_of_pairs_has_a_limit() -> None:
    def message(count: int) -> bytes:
        return b"n,," + b"\x01a=b" * (count - 1) + b"\x01auth=Bearer good\x01\x01"

    assert step(message(PAIRS_MAX)).success
    with pytest.raises(SaslFailed):
        step(message(PAIRS_MAX + 1))


def test_another_authorization_id() -> None:
    with pytest.raises(SaslFailed) as raised:
        step(b"n,a=admin,\x01auth=Bearer good\x01\x01")
    assert raised.value.message == (
        "Authentication failed: Client requested an authorization id (admin) that is different from the token's principal name "
        "(al,ice)"
    )


@pytest.mark.parametrize(
    ("token", "text"),
    [("bad", '{"status":"invalid_token"}'), ("narrow", '{"status":"insufficient_scope", "scope":"[a, b]"}')],
)
def test_a_rejected_token_gets_a_challenge_and_then_the_error(token: str, text: str) -> None:
    server = OAuthBearerServer(OneToken())
    assert server.step(f"n,,\x01auth=Bearer {token}\x01\x01".encode()) == Step(text.encode(), None)
    assert json.loads(text)
    for _ in range(2):
        with pytest.raises(SaslFailed) as raised:
            server.step(b"\x01")
        assert (raised.value.message, raised.value.reason) == (text, "it is bad")


@pytest.mark.parametrize("second", [b"n,,\x01auth=Bearer good\x01\x01", b"", b"\x01\x01"])
def test_there_is_no_second_token(second: bytes) -> None:
    validator = OneToken()
    server = OAuthBearerServer(validator)
    server.step(b"n,,\x01auth=Bearer bad\x01\x01")
    with pytest.raises(SaslFailed):
        server.step(second)
    assert validator.asked == ["bad"]


PIECES = [b"n,,", b"\x01", b"auth=Bearer ", b"good", b"a=x", b",", b"k=v"]


@given(st.lists(st.binary(max_size=30) | st.lists(st.sampled_from(PIECES), max_size=8).map(b"".join), max_size=4))
def test_any_bytes(messages: list[bytes]) -> None:
    validator = OneToken()
    server = OAuthBearerServer(validator)
    for message in messages:
        try:
            if server.step(message).success is not None:
                assert validator.asked == ["good"]
        except SaslFailed:
            pass


# -- tokens without a signature --


def accepted(token: str, settings: UnsecuredSettings | None = None) -> AcceptedToken:
    return UnsecuredValidator(settings or UnsecuredSettings(), lambda: NOW).validate(token)


def test_an_unsecured_token() -> None:
    assert accepted(unsecured(claims())) == AcceptedToken("alice", (NOW + 100) * 1000)
    assert accepted(unsecured(claims(exp=NOW + 0.5, iat=None))) == AcceptedToken("alice", NOW * 1000 + 500)
    assert accepted(unsecured(claims(nbf=NOW + 50))).name == "alice", "nbf is not looked at"


@pytest.mark.parametrize(
    "token",
    [
        unsecured(claims(), {"alg": "None"}),
        unsecured(claims(), {"alg": "HS256"}),
        unsecured(claims(), {"typ": "JWT"}),
        unsecured(claims(), tail="c2ln"),
        unsecured(claims()) + ".",
        unsecured(claims()).rstrip("."),
        f".{encoded(claims())}.",
        f"{encoded({'alg': 'none'})}..",
        "",
        "..",
        unsecured(claims(sub=None)),
        unsecured(claims(sub="  ")),
        unsecured(claims(sub=1)),
        unsecured(claims(sub="x" * (NAME_CHARS_MAX + 1))),
        unsecured(claims(sub="\ud800")),
        unsecured(claims(exp=None)),
        unsecured(claims(exp="9999999999")),
        unsecured(claims(exp=True)),
        unsecured(claims(exp=NOW)),
        unsecured(claims(exp=1e300)),
        unsecured(claims(exp=10**400)),
        unsecured(claims(iat=NOW + 1)),
        unsecured(claims(iat=NOW - 1, exp=NOW - 1)),
        unsecured(claims(iat="1")),
        unsecured([claims()]),
        unsecured(b"{"),
        unsecured(b"\xff"),
        unsecured(b'{"sub":"alice","exp":NaN}'),
        unsecured(b"[" * 30_000),
        unsecured(b'{"a":' * 10_000),
        unsecured(b"1" * 5_000),
    ],
)
def test_an_unsecured_token_is_rejected(token: str) -> None:
    with pytest.raises(TokenRejected):
        accepted(token)


def test_padding_is_not_accepted() -> None:
    padded = base64.urlsafe_b64encode(b'{"alg":"none"}').decode()
    assert padded.endswith("=")
    with pytest.raises(TokenRejected):
        accepted(f"{padded}.{encoded(claims())}.")


def settings(options: str) -> UnsecuredSettings:
    return unsecured_settings(parse_entry(f"a.B required {options};"))


def test_options_of_the_login_module() -> None:
    assert settings("") == UnsecuredSettings()
    made = settings(
        'unsecuredValidatorPrincipalClaimName=" user " unsecuredValidatorScopeClaimName=scp '
        'unsecuredValidatorRequiredScope="a b" unsecuredValidatorAllowableClockSkewMs="2000"'
    )
    assert made == UnsecuredSettings("user", "scp", ("a", "b"), 2000)
    assert accepted(unsecured(claims(user="bob", scp=["b", "a", "c"])), made).name == "bob"
    late: dict[str, Any] = {"user": "bob", "scp": ["a", "b"]}
    assert accepted(unsecured(claims(exp=NOW - 1, **late)), made).expires_ms == (NOW - 1) * 1000
    assert accepted(unsecured(claims(iat=NOW + 2, **late)), made).name == "bob"
    for wrong in ({"exp": NOW - 2}, {"iat": NOW + 3}):
        with pytest.raises(TokenRejected):
            accepted(unsecured(claims(**late, **wrong)), made)
    for scope in (["a"], "a b", None, 5, [["a"], "b"]):
        with pytest.raises(TokenRejected) as raised:
            accepted(unsecured(claims(user="bob", scp=scope)), made)
        assert raised.value.scope == (None if scope == 5 else "[a, b]")
    assert accepted(unsecured(claims(scope="a")), UnsecuredSettings(required_scope=("a",))).name == "alice"


@pytest.mark.parametrize(
    ("value", "message"), [("x", 'For input string: "x"'), ("-1", "Allowable clock skew millis must not be negative: -1")]
)
def test_a_clock_difference_that_is_none(value: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        settings(f'unsecuredValidatorAllowableClockSkewMs="{value}"')


@given(st.text(alphabet="-_.abzAZ09e", max_size=60) | st.binary(max_size=60).map(unsecured))
def test_any_token(token: str) -> None:
    with pytest.raises(TokenRejected):
        accepted(token)
