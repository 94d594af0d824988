"""The checker finds what a broker that breaks a rule does."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from kafka_cy.testing import Broker

from .anomalies import anomalies_of
from .workload import BROKER, OneBroker, Workload

ROOT = Path(__file__).parent.parent.parent
SEEDS = range(40)  # at most: one rule is seen only if two requests meet, in every third history


class BrokenBroker(Broker):
    """A broker that breaks a rule."""

    rule = ""

    def command(self) -> list[str]:
        script = str(ROOT / "tests" / "histories" / "broken_broker.py")
        return [sys.executable, script, self.rule, *super().command()[3:]]


@pytest.mark.parametrize(
    ("rule", "kinds"),
    [
        ("commit-what-was-aborted", {"aborted-read"}),
        ("abort-what-was-committed", {"lost-write", "torn-transaction"}),
        ("forget-markers", {"lost-write", "torn-transaction"}),
        ("commit-offsets-at-once", {"dirty-offset"}),
        ("write-behind-markers", {"lost-write", "aborted-read"}),
    ],
)
def test_a_broken_rule_is_found(rule: str, kinds: set[str]) -> None:
    broken = BrokenBroker(BROKER)
    broken.rule = rule
    found: set[str] = set()
    with broken:
        for seed in SEEDS:
            found |= {anomaly.kind for anomaly in anomalies_of(Workload(OneBroker(broken, stops=False), seed).run())}
            if found & kinds:
                break
    assert found & kinds, found
