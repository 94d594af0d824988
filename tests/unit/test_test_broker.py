"""`kafka_cy.Broker` and the pytest plugin, as the author of tests meets them."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

import kafka_cy

pytest_plugins = ["pytester"]


def test_a_key_that_does_not_exist_is_an_error() -> None:
    broker = kafka_cy.Broker({"num.partitons": 3})
    try:
        with pytest.raises(ValueError, match=r"unknown configuration key num\.partitons: did you mean num\.partitions\?"):
            broker.start()
        assert broker.process is None
    finally:
        broker.stop()


def test_addresses_and_text_before_during_and_after() -> None:
    broker = kafka_cy.Broker()
    assert repr(broker) == "<kafka_cy.Broker, not started>"
    for name in ("bootstrap_servers", "metrics_url", "lag_url"):
        with pytest.raises(RuntimeError, match="no address before its first start"):
            getattr(broker, name)
    with broker:
        assert repr(broker) == f"<kafka_cy.Broker {broker.bootstrap_servers}, pid {broker.pid}>"
    assert repr(broker) == f"<kafka_cy.Broker {broker.bootstrap_servers}, stopped>"


def test_in_an_event_loop() -> None:
    async def run() -> tuple[Path, int]:
        async with kafka_cy.Broker() as broker:
            os.kill(broker.pid, 0)
            return broker.folder, broker.pid

    folder, pid = asyncio.run(run())
    assert not folder.exists()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_fixtures(fresh_kafka_broker: kafka_cy.Broker, kafka_broker: kafka_cy.Broker, kafka_topic: str) -> None:
    from confluent_kafka.admin import AdminClient

    assert kafka_topic.startswith("test_fixtures-")
    assert kafka_topic in AdminClient({"bootstrap.servers": kafka_broker.bootstrap_servers}).list_topics(timeout=10).topics
    assert AdminClient({"bootstrap.servers": fresh_kafka_broker.bootstrap_servers}).list_topics(timeout=10).topics == {}
    fresh_kafka_broker.kill()


def test_a_failed_test_shows_the_broker_s_log(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        def test_fails(fresh_kafka_broker):
            assert False

        def test_passes(fresh_kafka_broker):
            pass
        """
    )
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider")
    result.assert_outcomes(failed=1, passed=1)
    assert sum("- log of fresh_kafka_broker -" in line for line in result.outlines) == 1
    result.stdout.fnmatch_lines(["*ready*"])
