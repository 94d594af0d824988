"""franz-go and Sarama: the Go tests of tests/interop/go against the broker under test."""

from __future__ import annotations

from pathlib import Path

import pytest
from foreign_tools import run_go_test

pytestmark = [pytest.mark.interop, pytest.mark.timeout(300)]


@pytest.mark.parametrize(
    "name",
    [
        "FranzCodecs",
        "FranzCooperativeGroup",
        "FranzAdmin",
        "FranzTransactions",
        "SaramaCodecs",
        "SaramaGroup",
        "SaramaAdmin",
        "SaramaTransactions",
    ],
)
def test_go_client(go_tests: Path, bootstrap: str, name: str) -> None:
    run_go_test(go_tests, name, {"KAFKA_BOOTSTRAP": bootstrap})
