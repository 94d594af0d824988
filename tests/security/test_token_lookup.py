"""Where the authentication loop finds delegation tokens: it never hashes itself."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from kafka_cy.cluster.token_cache import TokenCache
from kafka_cy.cluster.token_formats import DelegationToken, Principal
from kafka_cy.security.sasl.server import NotReady
from kafka_cy.server.sasl_listeners import SaslListeners


def test_the_work_of_a_first_login_is_handed_back() -> None:
    ann = Principal("User", "ann")
    cache = TokenCache("key", lambda: 5)
    cache.put(DelegationToken("id", ann, ann, (), 1, 10, 10))
    listeners = SaslListeners.__new__(SaslListeners)
    listeners._broker = SimpleNamespace(arrangement=SimpleNamespace(tokens=SimpleNamespace(cache=cache)))  # type: ignore[assignment]
    for mechanism in ("SCRAM-SHA-256", "SCRAM-SHA-512"):
        with pytest.raises(NotReady) as raised:
            listeners._token("id", mechanism)
        raised.value.work()
        found = listeners._token("id", mechanism)
        assert found is not None and found[1:] == ("ann", 10)
    assert listeners._token("unknown", "SCRAM-SHA-256") is None
    listeners._broker = SimpleNamespace(arrangement=None)  # type: ignore[assignment]
    assert listeners._token("id", "SCRAM-SHA-256") is None
