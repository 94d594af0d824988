"""The delegation tokens of a broker (KIP-48), if delegation.token.secret.key is set."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from kafka_cy.cluster.store import AsyncStore
    from kafka_cy.cluster.store_calls import CallLater
    from kafka_cy.cluster.token_store import StoredTokens
    from kafka_cy.server.broker import KafkaServer

SECRET_KEYS: Final = ("delegation.token.secret.key", "delegation.token.master.key")


def stored_tokens(
    broker: KafkaServer, store: AsyncStore, call_later: CallLater, removes_expired: Callable[[], bool] | None = None
) -> StoredTokens | None:
    """The tokens, which are not read yet. None: the broker knows none.

    `removes_expired`: whether it is this broker that removes the cluster's expired tokens now; the controller's thread asks.
    None: there is no other broker.
    """
    config = broker.config
    secret_key = next((config[name] for name in SECRET_KEYS if config.static.get(name)), None)  # no key is loaded without need
    if secret_key is None:
        return None
    if not config["authorizer.class.name"]:
        broker.log.warning(
            "without an authorizer every user creates delegation tokens of any user, and sees the HMACs of all tokens",
            remedy="authorizer.class.name",
        )
    from kafka_cy.cluster.token_cache import TokenCache
    from kafka_cy.cluster.token_store import StoredTokens
    from kafka_cy.cluster.token_times import TokenLifetimes

    wall_clock_ms = broker.controller_loop.wall_clock_ms
    lifetimes = TokenLifetimes(
        int(config["delegation.token.max.lifetime.ms"]), int(config["delegation.token.expiry.time.ms"])
    )
    return StoredTokens(
        store,
        TokenCache(secret_key, wall_clock_ms),
        lifetimes,
        is_alone=removes_expired is None,
        tokens_max=int(config["kafkacy.delegation.tokens.max"]),
        check_interval_ms=int(config["delegation.token.expiry.check.interval.ms"]),
        removes_expired=removes_expired or (lambda: True),
        wall_clock_ms=wall_clock_ms,
        call_later=call_later,
        log=broker.log,
    )
