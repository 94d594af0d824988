"""Signed tokens: what is accepted, and the attacks that must not be."""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from kafka_cy.security.sasl.jwks import FAMILIES, RefreshedKeySet, RefreshSettings
from kafka_cy.security.sasl.jwt import HEADER_CHARS_MAX, KEYS_TRIED_MAX, JwtSettings, JwtValidator
from kafka_cy.security.sasl.oauthbearer import AcceptedToken, TokenRejected
from tests.security.token_issuer import NOW, claims, ec_key, encoded, jwk, rsa_key, signature, token, unsecured

ONE, OTHER = rsa_key("one"), rsa_key("other")
CURVES = {"ES256": "P-256", "ES384": "P-384", "ES512": "P-521"}
SETTINGS = JwtSettings()


def key_set(*keys: dict[str, Any]) -> RefreshedKeySet:
    made = RefreshedKeySet(lambda: json.dumps({"keys": keys}).encode(), RefreshSettings())
    made.refresh()
    return made


KEYS = key_set(jwk(ONE, "one"), *(jwk(ec_key("one", curve), curve) for curve in CURVES.values()))


def accepted(jwt: str, settings: JwtSettings = SETTINGS, keys: RefreshedKeySet = KEYS) -> AcceptedToken:
    return JwtValidator(settings, keys, lambda: NOW).validate(jwt)


def reason(jwt: str, settings: JwtSettings = SETTINGS, keys: RefreshedKeySet = KEYS) -> str:
    with pytest.raises(TokenRejected) as raised:
        accepted(jwt, settings, keys)
    assert raised.value.scope is None
    return raised.value.reason


@pytest.mark.parametrize("algorithm", FAMILIES)
def test_every_algorithm(algorithm: str) -> None:
    is_rsa = FAMILIES[algorithm] == "RSA"
    key, kid = (ONE, "one") if is_rsa else (ec_key("one", CURVES[algorithm]), CURVES[algorithm])
    right = token(key, claims(), algorithm, kid)
    assert accepted(right) == AcceptedToken("alice", (NOW + 100) * 1000)
    assert accepted(token(key, claims(), algorithm, None)).name == "alice", "without kid, any key that fits"
    body, _, right_signature = right.rpartition(".")
    flipped = ("B" if right_signature[5] == "A" else "A").join((right_signature[:5], right_signature[6:]))
    for wrong in (flipped, right_signature[:-4], right_signature + "AAAA", "AAAA", encoded(bytes(64)), encoded(bytes(256))):
        assert reason(f"{body}.{wrong}") == "the signature is wrong"


def test_an_algorithm_of_the_key_is_not_enforced_but_its_type_is() -> None:
    keys = key_set(jwk(ONE, "one", alg="RS512"), jwk(ec_key("one", "P-256"), "ec", alg="RS256"))
    assert accepted(token(ONE, claims(), "PS256"), keys=keys).name == "alice"
    assert "not one of the issuer's" in reason(token(ONE, claims(), "RS256", "ec"), keys=keys)
    for algorithm in ("ES384", "ES512"):
        assert reason(token(ec_key("one", "P-256"), claims(), algorithm, "ec"), keys=keys) == "the signature is wrong"
    signed = b"text"
    assert not keys.find("one", "RSA")[0].verifies("ES256", signature(ONE, "RS256", signed), signed)
    assert keys.find("one", "RSA")[0].verifies("RS256", signature(ONE, "RS256", signed), signed)


def confused(key_text: bytes) -> str:
    """A token with an HMAC whose secret is the public key."""
    signed = f"{encoded({'alg': 'HS256', 'kid': 'one'})}.{encoded(claims())}"
    return f"{signed}.{encoded(hmac.digest(key_text, signed.encode(), hashlib.sha256))}"


PUBLIC = ONE.public_key()
ATTACKS = {
    "none": unsecured(claims(), {"alg": "none", "kid": "one"}),
    "none with a signature": unsecured(claims(), {"alg": "none", "kid": "one"}, "c2ln"),
    "None": unsecured(claims(), {"alg": "NONE"}, "c2ln"),
    "no algorithm": unsecured(claims(), {"kid": "one"}, "c2ln"),
    "algorithm as a list": unsecured(claims(), {"alg": ["RS256"], "kid": "one"}, "c2ln"),
    "HMAC with the PEM": confused(PUBLIC.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)),
    "HMAC with the DER": confused(PUBLIC.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)),
    "HMAC with the JWK": confused(json.dumps(jwk(ONE, "one")).encode()),
    "foreign key, same kid": token(OTHER, claims()),
    "foreign key without kid": token(OTHER, claims(), kid=None),
    "foreign key in the header": token(OTHER, claims(), jwk=jwk(OTHER, "one")),
    "foreign key at a URL": token(OTHER, claims(), jku="http://127.0.0.1:1/jwks", x5u="http://127.0.0.1:1/"),
    "kid as a path": token(OTHER, claims(), kid="../../dev/null"),
    "kid as SQL": token(OTHER, claims(), kid="one' OR '1'='1"),
    "kid as a list": token(ONE, claims(), kid=["one"]),
    "kid in other case": token(ONE, claims(), kid="ONE"),
    "empty kid": token(ONE, claims(), kid=""),
    "large header": token(ONE, claims(), x="x" * HEADER_CHARS_MAX),
    "critical extension": token(ONE, claims(), crit=["exp"]),
    "unencoded payload": token(ONE, claims(), b64=False),
    "changed claims": token(ONE, claims()).replace(encoded(claims()), encoded(claims(sub="admin"))),
    "no signature": token(ONE, claims()).rpartition(".")[0] + ".",
    "two parts": token(ONE, claims()).rpartition(".")[0],
    "five parts": token(ONE, claims()) + ".a.b",
    "expired": token(ONE, claims(exp=NOW - 30, iat=NOW - 99)),
    "not valid yet": token(ONE, claims(nbf=NOW + 31)),
    "issued after its end": token(ONE, claims(iat=NOW + 101)),
    "begins after its end": token(ONE, claims(nbf=NOW + 20, exp=NOW + 19)),
    "no exp": token(ONE, claims(exp=None)),
    "no iat": token(ONE, claims(iat=None)),
    "no sub": token(ONE, claims(sub=None)),
    "exp as text": token(ONE, claims(exp=str(NOW + 100))),
    "exp without end": token(ONE, claims(exp=1e300)),
    "negative iat": token(ONE, claims(iat=-1)),
    "blank sub": token(ONE, claims(sub=" ")),
    "sub as a number": token(ONE, claims(sub=7)),
    "sub as a list": token(ONE, claims(sub=["alice"])),
    "audience that nobody expects": token(ONE, claims(aud="kafka")),
    "scope twice": token(ONE, claims(scope=["a", "a "])),
    "blank scope": token(ONE, claims(scope="")),
    "scope as a number in a list": token(ONE, claims(scope=[1])),
}  # fmt: skip


@pytest.mark.parametrize("attack", ATTACKS)
def test_attacks(attack: str) -> None:
    assert accepted(token(ONE, claims())).name == "alice"
    assert "alice" not in reason(ATTACKS[attack])


def test_clock_skew() -> None:
    assert accepted(token(ONE, claims(exp=NOW - 29, iat=NOW - 99))).expires_ms == (NOW - 29) * 1000
    assert accepted(token(ONE, claims(exp=NOW + 0.9))).expires_ms == NOW * 1000
    assert accepted(token(ONE, claims(nbf=NOW + 30))).name == "alice"
    assert accepted(token(ONE, claims(iat=NOW + 50))).name == "alice", "as Kafka"
    assert reason(token(ONE, claims(exp=NOW)), JwtSettings(clock_skew_s=0)) == "the token has expired"


def test_audience_and_issuer() -> None:
    settings = JwtSettings(audiences=frozenset(("kafka", "k2")), issuer="https://issuer")
    for audience in ("kafka", ["x", "k2"], ["kafka"]):
        assert accepted(token(ONE, claims(aud=audience, iss="https://issuer")), settings).name == "alice"
    for audience in ("Kafka", ["x"], [], None, 5, {"kafka": 1}, [["kafka"]], ["kafka", 5], "kafka k2"):
        assert "audience" in reason(token(ONE, claims(aud=audience, iss="https://issuer")), settings)
    for issuer in ("https://issuer/", None, ["https://issuer"]):
        assert "issuer" in reason(token(ONE, claims(aud="kafka", iss=issuer)), settings)


def test_names_of_claims() -> None:
    settings = JwtSettings(sub_claim="client_id", scope_claim="scp")
    assert accepted(token(ONE, claims(client_id=" app ", sub=None, scope=["a", "a"])), settings).name == "app"
    assert "scope" in reason(token(ONE, claims(client_id="app", scp=["a", "a"])), settings)


def test_few_keys_are_tried_for_a_token_that_names_none() -> None:
    foreign = [jwk(rsa_key(f"foreign {number}"), f"f{number}") for number in range(KEYS_TRIED_MAX)]
    keys = key_set(*foreign, jwk(ONE, "one"))
    assert reason(token(ONE, claims(), kid=None), keys=keys) == "the signature is wrong"
    assert accepted(token(ONE, claims(), kid="one"), keys=keys).name == "alice"
    keys = key_set(*foreign[1:], jwk(ONE, "one"))
    assert accepted(token(ONE, claims(), kid=None), keys=keys).name == "alice"


RIGHT = token(ONE, claims())


@given(st.integers(0, len(RIGHT) - 1), st.sampled_from("-_.=aZ9é"))
def test_a_changed_character_is_noticed(place: int, character: str) -> None:
    changed = RIGHT[:place] + character + RIGHT[place + 1 :]
    try:
        assert accepted(changed).name == "alice"
    except TokenRejected:
        return
    # The last character of 256 bytes has two bits that mean nothing.
    assert changed == RIGHT or (place == len(RIGHT) - 1 and changed[:-1] == RIGHT[:-1])


@given(st.text(alphabet="-_.abzAZ09e", max_size=60) | st.binary(max_size=60).map(unsecured))
def test_any_token(jwt: str) -> None:
    with pytest.raises(TokenRejected):
        accepted(jwt)
