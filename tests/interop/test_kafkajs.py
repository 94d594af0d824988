"""kafkajs as a client: one Node.js run that behaves like an application."""

from __future__ import annotations

import pytest
from foreign_tools import run_kafkajs

pytestmark = pytest.mark.interop


def test_kafkajs(node: str, bootstrap: str, group: str) -> None:
    topic = f"kafkajs-{group}"
    seen = run_kafkajs(node, bootstrap, topic, group)
    assert seen["created"] is True
    assert seen["partitions"] == 3
    first = sorted((m for m in seen["messages"] if m["partition"] == 0), key=lambda m: int(m["offset"]))
    assert [(m["key"], m["value"]) for m in first] == [("a", "one"), (None, "two"), ("c", None)]
    assert first[0]["headers"] == {"h": "x"}
    assert first[0]["timestamp"] == "1700000000000"
    assert {m["value"] for m in seen["messages"] if m["partition"] != 0} == {f"i{i}" for i in range(20)}
    assert {each["partition"]: (each["low"], each["high"]) for each in seen["offsets"]} == {
        0: ("0", "3"),
        1: ("0", "10"),
        2: ("0", "10"),
    }
    assert {each["partition"]: each["offset"] for each in seen["byTime"]}[0] == "1"
    assert {each["partition"]: each["offset"] for each in seen["committed"]} == {0: "3", 1: "10", 2: "10"}
    assert [m["offset"] for m in seen["again"]] == ["1", "2"]
    assert group in seen["groups"]
    assert seen["described"] == "Empty"
    assert seen["configs"] == [["retention.ms", "604800000"]]
    assert seen["afterDelete"] == "2"
