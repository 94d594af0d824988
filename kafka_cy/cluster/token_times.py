"""When delegation tokens expire: the arithmetic of Kafka's DelegationTokenControlManager, all in milliseconds.

A period that is too long, even the longest that a message can name, ends at the token's maximum.
"""

from __future__ import annotations

from typing import Final, NamedTuple

TIMESTAMP_MAX: Final = 2**63 - 1  # of the fields in messages


class TokenLifetimes(NamedTuple):
    """The settings."""

    max_ms: int  # delegation.token.max.lifetime.ms
    expiry_ms: int  # delegation.token.expiry.time.ms: after it a token must have been renewed


def new_times(now_ms: int, lifetime_ms: int, lifetimes: TokenLifetimes) -> tuple[int, int]:
    """(expiry, maximum) of a token that is created now for `lifetime_ms`; 0 or less: as long as possible."""
    longest_ms = min(lifetime_ms, lifetimes.max_ms) if lifetime_ms > 0 else lifetimes.max_ms
    maximum = min(now_ms + longest_ms, TIMESTAMP_MAX)
    return min(now_ms + lifetimes.expiry_ms, maximum), maximum


def renewed_expiry(now_ms: int, period_ms: int, max_ms: int, lifetimes: TokenLifetimes) -> int:
    """Expiry of a token that is renewed now for `period_ms` (0 or less: as long as possible); `max_ms`: its maximum.

    It may be earlier than before.
    """
    period_ms = min(period_ms, lifetimes.expiry_ms) if period_ms > 0 else lifetimes.expiry_ms
    return min(now_ms + period_ms, max_ms)


def changed_expiry(now_ms: int, period_ms: int, max_ms: int) -> int:
    """Expiry of a token that shall expire `period_ms` from now (0 or more); `max_ms`: its maximum. It may be later than before."""
    return min(now_ms + period_ms, max_ms)
