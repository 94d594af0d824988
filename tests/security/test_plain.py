"""SASL/PLAIN on the side of the server."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kafka_cy.security.jaas import parse_entry
from kafka_cy.security.sasl.plain import TOKEN_BYTES_MAX, PlainServer, PlainUsers, users_in
from kafka_cy.security.sasl.server import SaslFailed, Step, Success

INVALID = "Authentication failed: Invalid username or password"
USERS = PlainUsers(
    users_in(parse_entry("a.B required username=x user_alice=secret user_bob='p,=%\"\\\\ü' user_=nobody user_empty='';").options)
)


def step(token: str | bytes) -> Step:
    return PlainServer(USERS).step(token.encode() if isinstance(token, str) else token)


@pytest.mark.parametrize("token", ["\0alice\0secret", "alice\0alice\0secret"])
def test_the_right_password(token: str) -> None:
    assert step(token) == Step(b"", Success("alice", None, False))
    assert step('\0bob\0p,=%"\\ü').success == Success("bob")


@pytest.mark.parametrize(
    ("token", "message"),
    [
        ("\0alice\0wrong", INVALID),
        ("\0alice\0Secret", INVALID),
        ("\0alice\0secret ", INVALID),
        ("\0Alice\0secret", INVALID),
        ("\0carol\0secret", INVALID),
        ("\0username\0x", INVALID),
        ("\0empty\0", "Authentication failed: password not specified"),
        ("\0\0nobody", "Authentication failed: username not specified"),
        ("", "Invalid SASL/PLAIN response: expected 3 tokens, got 1"),
        ("alice\0secret", "Invalid SASL/PLAIN response: expected 3 tokens, got 2"),
        ("\0alice\0secret\0", "Invalid SASL/PLAIN response: expected 3 tokens, got 4"),
        ("\0alice\0secret\0\0\0", "Invalid SASL/PLAIN response: expected 3 tokens, got 4"),
        ("bob\0alice\0secret", "Authentication failed: Client requested an authorization id that is different from username"),
        ("bob\0alice\0wrong", INVALID),
        (b"\0alice\0secret\xff", INVALID),
        (b"\0alice\0" + b"x" * TOKEN_BYTES_MAX, INVALID),
    ],
)
def test_refused(token: str | bytes, message: str) -> None:
    with pytest.raises(SaslFailed) as raised:
        step(token)
    assert raised.value.message == message
    assert "secret" not in raised.value.reason


def test_there_is_one_attempt() -> None:
    for first in (b"\0alice\0wrong", b"\0alice\0secret"):
        server = PlainServer(USERS)
        try:
            server.step(first)
        except SaslFailed:
            pass
        with pytest.raises(SaslFailed):
            server.step(b"\0alice\0secret")


@given(st.binary(max_size=60) | st.lists(st.sampled_from([b"\0", b"alice", b"bob", b"secre", b"t"]), max_size=8).map(b"".join))
def test_no_other_bytes_succeed(token: bytes) -> None:
    try:
        success = PlainServer(USERS).step(token).success
    except SaslFailed:
        return
    assert success is not None and token in (b"\0alice\0secret", b"alice\0alice\0secret")


def test_passwords_are_not_kept() -> None:
    assert "secret" not in str(vars(USERS))
