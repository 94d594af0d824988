"""kcat, as a user at a terminal would run it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from command_line import tool
from confluent_kafka import Producer

pytestmark = pytest.mark.interop


def run(kcat: str, bootstrap: str, *arguments: str, stdin: str = "") -> str:
    done = subprocess.run(
        [kcat, "-b", bootstrap, *arguments], input=stdin, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_metadata(kcat: str, bootstrap: str, topic: str) -> None:
    listed = json.loads(run(kcat, bootstrap, "-L", "-J", "-t", topic))
    assert [broker["name"] for broker in listed["brokers"]] == [bootstrap]
    (described,) = listed["topics"]
    assert described["topic"] == topic
    assert [part["partition"] for part in described["partitions"]] == [0]


@pytest.mark.parametrize("codec", ["none", "gzip", "snappy", "lz4", "zstd"])
def test_produce_and_consume(kcat: str, bootstrap: str, topic: str, codec: str) -> None:
    lines = "".join(f"key{i}:value{i}\n" for i in range(200))
    run(kcat, bootstrap, "-P", "-t", topic, "-K:", "-z", codec, "-H", "colour=blue", stdin=lines)
    out = run(kcat, bootstrap, "-C", "-t", topic, "-o", "beginning", "-e", "-q", "-f", "%k:%s %h %o\n")
    assert out.splitlines() == [f"key{i}:value{i} colour=blue {i}" for i in range(200)]


def test_null_values_and_keys(kcat: str, bootstrap: str, topic: str) -> None:
    run(kcat, bootstrap, "-P", "-t", topic, "-K:", "-Z", stdin="gone:\n:anonymous\n")
    out = run(kcat, bootstrap, "-C", "-t", topic, "-o", "beginning", "-e", "-q", "-f", "%K %S\n")
    assert out == "4 -1\n-1 9\n"


def test_offset_by_time(kcat: str, bootstrap: str, topic: str) -> None:
    run(kcat, bootstrap, "-P", "-t", topic, stdin="a\nb\n")
    assert run(kcat, bootstrap, "-Q", "-t", f"{topic}:0:-1").split() == [topic, "[0]", "offset", "2"]
    assert run(kcat, bootstrap, "-Q", "-t", f"{topic}:0:1").split() == [topic, "[0]", "offset", "0"]


def test_group(kcat: str, bootstrap: str, topic: str, group: str) -> None:
    run(kcat, bootstrap, "-P", "-t", topic, stdin="a\nb\nc\n")
    settings = ("-X", "auto.offset.reset=earliest")
    assert run(kcat, bootstrap, "-G", group, "-e", "-q", *settings, topic).split() == ["a", "b", "c"]
    run(kcat, bootstrap, "-P", "-t", topic, stdin="d\n")
    assert run(kcat, bootstrap, "-G", group, "-e", "-q", *settings, topic).split() == ["d"]


@pytest.mark.parametrize(
    "letters",
    [
        r"%t %p %o %k %s %T %h|%K %S %R\n",
        r"%%\t%%%s\r\n",
        r"\x41\x4\x414\065\q\\n",
        "Grüße\\",
        "",
    ],
)
def test_format_letters_of_consume_are_those_of_kcat(kcat: str, bootstrap: str, topic: str, letters: str) -> None:
    producer = Producer({"bootstrap.servers": bootstrap})
    producer.produce(topic, b"v1", b"k1", headers=[("a", b"1"), ("none", None), ("c", b"")], timestamp=1234)
    producer.produce(topic, None, None, timestamp=1235)
    producer.produce(topic, b"", b"", timestamp=1236)
    assert producer.flush(60) == 0
    wanted = ("-b", bootstrap, "-t", topic, "-o", "beginning", "-e", "-f", letters)
    commands = ([kcat, "-C", "-q", *wanted], [sys.executable, "-m", "kafka_cy", "consume", *wanted])
    expected, got = (subprocess.run(each, capture_output=True, timeout=60, check=True).stdout for each in commands)
    assert got == expected


def test_unknown_format_letters(bootstrap: str, topic: str) -> None:
    for letters in ("%z", "%s%"):
        done = tool(bootstrap, "consume", "-t", topic, "-f", letters)
        assert done.returncode == 2 and "it knows %% %K %R %S %T %h %k %o %p %s %t." in done.stderr
    done = tool(bootstrap, "consume", "-t", topic, "-f", "%s", "--property", "print.key=true")
    assert done.returncode == 2 and "--format and --property cannot be combined." in done.stderr
