"""Thread names in the operating system (top -H, gdb) and at /debug/threads."""

from __future__ import annotations

import re
import urllib.request
from pathlib import Path

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from kafka_cy.testing import Broker
from tests.waiting import wait_until

AT_ONCE = {
    "reactor-0", "reactor-1", "log-manager", "metrics", "lag", "signals", "coordinator", "controller", "parent",
    "metadata-store",
}  # fmt: skip
AT_NEED = {"background-0", "background-1", "log-cleaner-0", "log-cleaner-1"}


def names(broker: Broker) -> dict[int, str]:
    """By thread id."""
    return {int(task.name): (task / "comm").read_text().strip() for task in Path(f"/proc/{broker.pid}/task").iterdir()}


def test_thread_names(tmp_path: Path) -> None:
    with Broker({"num.network.threads": 2, "log.cleaner.threads": 2}, folder=tmp_path) as broker:
        wait_until(lambda: set(names(broker).values()) >= AT_ONCE, "names of what runs from the start on")
        admin = AdminClient({"bootstrap.servers": broker.bootstrap_servers})
        config = {"flush.messages": "1", "cleanup.policy": "compact"}
        admin.create_topics([NewTopic("t", 1, 1, config=config)])["t"].result(60)
        producer = Producer({"bootstrap.servers": broker.bootstrap_servers})
        producer.produce("t", b"value", b"key")
        assert producer.flush(60) == 0
        wait_until(lambda: set(names(broker).values()) >= AT_ONCE | AT_NEED, "names of what runs where it is needed")
        with urllib.request.urlopen(broker.metrics_url.replace("/metrics", "/debug/threads"), timeout=60) as answer:
            page = answer.read().decode()
        assert re.findall(r"^(reactor-\d): ", page, re.MULTILINE) == ["reactor-0", "reactor-1"]
        told = {int(thread): name for name, thread in re.findall(r"Python thread (\S+) \(native id (\d+)\)", page)}
        assert told.pop(broker.pid) == "MainThread"  # it has the name of the process
        known = names(broker)
        assert set(told.values()) == AT_ONCE - {"reactor-0", "reactor-1"}
        assert told == {thread: known[thread] for thread in told}
        unnamed = [name for thread, name in known.items() if thread != broker.pid and name == known[broker.pid]]
        assert unnamed == []
