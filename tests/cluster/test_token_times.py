"""When delegation tokens expire: for any times and periods, with Java's arithmetic as the model where it does not overflow."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from kafka_cy.cluster.token_formats import DelegationToken, Principal, decode_token, token_data
from kafka_cy.cluster.token_times import TIMESTAMP_MAX, TokenLifetimes, changed_expiry, new_times, renewed_expiry

LONGS = st.integers(-(2**63), TIMESTAMP_MAX) | st.integers(-10, 10**6)
POSITIVE = st.integers(1, TIMESTAMP_MAX) | st.integers(1, 10**6)
NOW = st.integers(0, 2**42)
LIFETIMES = st.builds(TokenLifetimes, POSITIVE, POSITIVE)
PRINCIPALS = st.builds(Principal, st.sampled_from(["User", "Group", ""]), st.text(max_size=20))


@given(NOW, LONGS, LIFETIMES)
@example(10, 0, TokenLifetimes(TIMESTAMP_MAX, TIMESTAMP_MAX))
@example(10, TIMESTAMP_MAX, TokenLifetimes(7, 9))
def test_a_new_token(now_ms: int, lifetime_ms: int, lifetimes: TokenLifetimes) -> None:
    expiry_ms, max_ms = new_times(now_ms, lifetime_ms, lifetimes)
    assert now_ms < expiry_ms <= max_ms <= TIMESTAMP_MAX
    assert max_ms - now_ms <= lifetimes.max_ms and expiry_ms - now_ms <= lifetimes.expiry_ms
    if lifetime_ms > 0:
        assert max_ms - now_ms <= lifetime_ms
        assert max_ms - now_ms == min(lifetime_ms, lifetimes.max_ms) or max_ms == TIMESTAMP_MAX
    else:
        assert new_times(now_ms, TIMESTAMP_MAX, lifetimes) == (expiry_ms, max_ms), "as long as possible"
    assert expiry_ms in (max_ms, now_ms + lifetimes.expiry_ms)


@given(NOW, LONGS, NOW, LIFETIMES)
def test_a_renewal(now_ms: int, period_ms: int, left_ms: int, lifetimes: TokenLifetimes) -> None:
    """It never goes beyond the maximum, however often; without a period it is as long as possible."""
    max_ms = now_ms + left_ms
    expiry_ms = renewed_expiry(now_ms, period_ms, max_ms, lifetimes)
    assert now_ms <= expiry_ms <= max_ms and expiry_ms - now_ms <= lifetimes.expiry_ms
    if period_ms <= 0:
        assert all(renewed_expiry(now_ms, each, max_ms, lifetimes) <= expiry_ms for each in (1, 1000, TIMESTAMP_MAX))
    else:
        assert expiry_ms == min(max_ms, now_ms + lifetimes.expiry_ms, now_ms + period_ms)
    assert renewed_expiry(now_ms, period_ms, max_ms, lifetimes) == expiry_ms, "a repeated request changes nothing"


@given(NOW, st.integers(0, TIMESTAMP_MAX), NOW)
def test_a_changed_expiry(now_ms: int, period_ms: int, left_ms: int) -> None:
    max_ms = now_ms + left_ms
    expiry_ms = changed_expiry(now_ms, period_ms, max_ms)
    assert now_ms <= expiry_ms <= max_ms and (expiry_ms == max_ms or expiry_ms == now_ms + period_ms)


@given(PRINCIPALS, PRINCIPALS, st.lists(PRINCIPALS, max_size=4), *[st.integers(0, TIMESTAMP_MAX)] * 4)
def test_a_stored_token_is_read_as_it_was(
    owner: Principal, requester: Principal, renewers: list[Principal], issue: int, expiry: int, most: int, now: int
) -> None:
    """Names are anything; a node of JSON that has no characters but those of ASCII."""
    token = DelegationToken("an-id_1", owner, requester, tuple(renewers), issue, expiry, most)
    data = token_data(token)
    assert decode_token(data, token.token_id) == token
    assert data.isascii() and b"\n" not in data
    assert token.has_expired(now) == (now > min(expiry, most))
    assert token.is_of(owner) and token.is_of(requester) and all(token.is_of(each) for each in renewers)
    assert token.may_renew(owner) and all(token.may_renew(each) for each in renewers)
    assert token.may_renew(requester) == (requester in (owner, *renewers))
