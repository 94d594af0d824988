"""kafka-cy's own tools, as commands on a pipe."""

from __future__ import annotations

import subprocess
import sys

import pytest
from command_line import check, tool

from kafka_cy.tools.client import ToolError
from kafka_cy.tools.produce import LineFormat


def test_first_five_minutes(bootstrap: str, group: str) -> None:
    topic = f"orders-{group}"
    check(bootstrap, "topics", "create", topic, "--partitions", "2", "--config", "retention.ms=3600000")
    assert topic in check(bootstrap, "topics", "list").splitlines()
    described = check(bootstrap, "topics", "describe", topic)
    assert "PartitionCount: 2" in described
    assert "retention.ms=3600000" in described
    properties = ("--property", "parse.key=true", "--property", "key.separator=:")
    check(bootstrap, "produce", "--topic", topic, *properties, "--compression-type", "lz4", stdin="a:1\nb:2\na:3\n")
    read = check(
        bootstrap,
        "consume",
        "--topic",
        topic,
        "--from-beginning",
        "--max-messages",
        "3",
        "--property",
        "print.key=true",
    )
    assert sorted(read.splitlines()) == ["a\t1", "a\t3", "b\t2"]
    grouped = ("consume", "--topic", topic, "--group", group, "--from-beginning", "--max-messages", "3")
    assert sorted(check(bootstrap, *grouped).splitlines()) == ["1", "2", "3"]
    assert f"{group}\tEmpty\tClassic" in check(bootstrap, "groups", "list").splitlines()
    rows = [line.split("\t") for line in check(bootstrap, "groups", "describe", group).splitlines()[1:]]
    assert sum(int(row[4]) for row in rows) == 3
    assert all(row[5] == "0" for row in rows)
    check(bootstrap, "groups", "reset-offsets", group, "--to-earliest", "--execute")
    assert sorted(check(bootstrap, *grouped).splitlines()) == ["1", "2", "3"]
    check(bootstrap, "groups", "delete", group)
    check(bootstrap, "topics", "delete", topic)
    assert topic not in check(bootstrap, "topics", "list").splitlines()


def test_errors_are_one_sentence(bootstrap: str, topic: str) -> None:
    for arguments, sentence in (
        (("topics", "create", topic), f"kafka-cy: Topic {topic}: Topic '{topic}' already exists"),
        (("topics", "delete", "there-is-none"), "kafka-cy: Topic there-is-none: Unknown topic or partition"),
        (("consume", "--topic", "there-is-none"), "kafka-cy: Topic there-is-none: Unknown topic or partition"),
        (("groups", "describe", "there-is-none"), "kafka-cy: Consumer group there-is-none does not exist."),
    ):
        done = tool(bootstrap, *arguments)
        assert done.returncode == 1
        assert done.stderr.startswith(sentence), done.stderr
        assert done.stderr.count("\n") == 1, done.stderr


def test_wrong_options_are_exit_code_2(bootstrap: str, topic: str) -> None:
    for arguments, sentence in (
        (("produce", "--topic", topic, "--property", "nonsense=1"), "Unknown property nonsense; known properties are "),
        (("produce", "--topic", topic, "--property", "nonsense"), "--property requires KEY=VALUE, not 'nonsense'."),
        (("consume", "--topic", topic, "--property", "nonsense=1"), "Unknown property nonsense; known properties are "),
        (("consume", "--topic", topic, "--partition", "0", "--offset", "x"), "--offset must be earliest, latest or a"),
        (("groups", "reset-offsets", "g"), "Give one of --to-earliest, "),
        (("groups", "reset-offsets", "g", "--to-earliest", "--to-latest"), "Give only one of --to-earliest, "),
    ):
        done = tool(bootstrap, *arguments)
        assert done.returncode == 2, done.stderr
        assert sentence in done.stderr


def test_reset_of_an_unknown_group(bootstrap: str, topic: str, group: str) -> None:
    done = tool(bootstrap, "groups", "reset-offsets", group, "--to-earliest", "--execute")
    assert (done.returncode, done.stdout, done.stderr) == (
        1,
        "",
        f"kafka-cy: Consumer group {group} does not exist.\n",
    )
    # With topics named, Kafka's tool creates the group with these offsets.
    check(bootstrap, "groups", "reset-offsets", group, "--topic", topic, "--to-earliest", "--execute")
    assert f"{group}\tEmpty\tClassic" in check(bootstrap, "groups", "list").splitlines()
    check(bootstrap, "groups", "delete", group)


def test_offset_out_of_range(bootstrap: str, topic: str) -> None:
    check(bootstrap, "produce", "--topic", topic, stdin="a\nb\n")
    where = ("consume", "--topic", topic, "--partition", "0", "--offset")
    assert check(bootstrap, *where, "1", "--max-messages", "1") == "b\n"
    assert check(bootstrap, *where, "2", "--timeout-ms", "1") == ""
    done = tool(bootstrap, *where, "99999999")
    assert (done.returncode, done.stdout, done.stderr) == (
        1,
        "",
        f"kafka-cy: Offset 99999999 of {topic}-0 is out of range: the log starts at 0 and ends at 2.\n",
    )


def test_consume_to_the_end(bootstrap: str, topic: str, group: str) -> None:
    check(bootstrap, "produce", "-t", topic, stdin="a\nb\nc\n")
    assert check(bootstrap, "consume", "-t", topic, "-o", "beginning", "-e") == "a\nb\nc\n"
    assert check(bootstrap, "consume", "-t", topic, "-o", "-2", "-e") == "b\nc\n"
    assert check(bootstrap, "consume", "-t", topic, "-p", "0", "-o", "1", "-c", "1") == "b\n"
    assert check(bootstrap, "consume", "-t", topic, "-g", group, "--from-beginning", "-e") == "a\nb\nc\n"


def test_a_terminated_consumer_leaves_its_group(bootstrap: str, topic: str, group: str) -> None:
    check(bootstrap, "produce", "-t", topic, stdin="a\n")
    command = [
        sys.executable,
        "-m",
        "kafka_cy",
        "consume",
        "-t",
        topic,
        "-g",
        group,
        "--from-beginning",
        "-b",
        bootstrap,
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as consumer:
        assert consumer.stdout is not None
        assert consumer.stdout.readline() == "a\n"
        consumer.terminate()
        _, told = consumer.communicate(timeout=60)
    assert consumer.returncode == 0 and " read.\n" in told, told
    assert "no active members" in tool(bootstrap, "groups", "describe", group).stderr


def test_line_without_key(bootstrap: str, topic: str) -> None:
    done = tool(bootstrap, "produce", "--topic", topic, "--property", "parse.key=true", stdin="a\n")
    assert (done.returncode, done.stderr) == (1, "kafka-cy: Line 1 has no key separator '\\t'.\n")


def test_the_lines_before_a_bad_one_are_sent(bootstrap: str, topic: str) -> None:
    check(bootstrap, "produce", "--topic", topic, stdin="first\n")
    properties = ("--property", "parse.key=true", "--property", "key.separator=:")
    done = tool(bootstrap, "produce", "--topic", topic, *properties, stdin="a:1\nb:2\nbad\nc:3\n")
    assert (done.returncode, done.stderr) == (1, "kafka-cy: Line 3 has no key separator ':'.\n")
    read = check(bootstrap, "consume", "--topic", topic, "--from-beginning", "--exit-at-end")
    assert sorted(read.splitlines()) == ["1", "2", "first"]


def test_keys_go_where_java_puts_them(bootstrap: str, group: str) -> None:
    """The hashes are those of Kafka's UtilsTest.testMurmur2."""
    topic = f"keyed-{group}"
    check(bootstrap, "topics", "create", topic, "--partitions", "7")
    hashes = {
        "21": -973932308, "foobar": -790332482, "a-little-bit-long-string": -985981536,
        "a-little-bit-longer-string": -1486304829,
    }  # fmt: skip
    properties = ("--property", "parse.key=true", "--property", "key.separator=:")
    check(bootstrap, "produce", "--topic", topic, *properties, stdin="".join(f"{key}:v\n" for key in hashes))
    read = check(bootstrap, "consume", "--topic", topic, "--from-beginning", "-c", "4", "-f", "%k %p\\n")
    placed = dict(line.split() for line in read.splitlines())
    assert placed == {key: str((number & 0x7FFFFFFF) % 7) for key, number in hashes.items()}
    check(bootstrap, "topics", "delete", topic)


def test_records_of_aborted_transactions(bootstrap: str, topic: str) -> None:
    from confluent_kafka import Producer

    producer = Producer({"bootstrap.servers": bootstrap, "transactional.id": f"aborts-{topic}"})
    producer.init_transactions(20)
    for value, end in ((b"aborted", producer.abort_transaction), (b"committed", producer.commit_transaction)):
        producer.begin_transaction()
        producer.produce(topic, value)
        producer.flush(20)
        end(20)
    consume = ("consume", "--topic", topic, "--from-beginning", "--exit-at-end")
    assert check(bootstrap, *consume).splitlines() == ["aborted", "committed"]
    assert check(bootstrap, *consume, "--isolation-level", "read_committed").splitlines() == ["committed"]


def test_a_header_whose_name_is_no_text() -> None:
    with pytest.raises(ToolError, match=r"Line 7: the name of header .* is not UTF-8"):
        LineFormat.from_properties({"parse.headers": "true"}).parse(b"\xff:1\tvalue", 7)


def test_no_broker() -> None:
    done = tool("127.0.0.1:1", "topics", "list")
    assert done.returncode == 1
    assert done.stderr == "kafka-cy: No broker answers at 127.0.0.1:1: connection refused.\n"
