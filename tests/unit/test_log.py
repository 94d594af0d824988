"""The broker's log: formats, lines that repeat, lines before OpenTelemetry's export."""

from __future__ import annotations

import errno
import io
import json
import os
from importlib.metadata import version
from typing import Any

import pytest

from kafka_cy.config import BrokerConfig
from kafka_cy.server.log import EARLY_LINES_MAX, BrokerLog
from kafka_cy.server.log_formats import FORMATS, VALUE_CHARS_MAX
from kafka_cy.server.repeated_lines import INTERVAL_S, LINES_MAX, RepeatedLines
from kafka_cy.server.start_lines import HIDDEN, effective_values, shown
from kafka_cy.version import VERSION

STAMP = "2026-11-29T03:20:51.007Z"


class Written:
    """Collects what RepeatedLines writes, at a time that the test sets."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.lines: list[tuple[str, dict[str, Any]]] = []
        self.repeated = RepeatedLines(lambda level, what, details: self.lines.append((what, details)), lambda: self.now_s)

    def take(self) -> list[tuple[str, dict[str, Any]]]:
        """What was written since the last call."""
        taken, self.lines[:] = list(self.lines), []
        return taken


def test_formats() -> None:
    details = {"topic": "orders", "count": 3, "said": 'a "b"\n', "empty": "", "pair": "a=b"}
    text = FORMATS["text"](STAMP, "info", "topic created", details)
    assert text == f'{STAMP} INFO topic created topic=orders count=3 said="a \\"b\\"\\n" empty="" pair="a=b"'
    logfmt = FORMATS["logfmt"](STAMP, "info", "topic created", {"topic": "orders"})
    assert logfmt == f'time={STAMP} level=info msg="topic created" topic=orders'
    fields = {"time": STAMP, "level": "info", "msg": "topic created", **details}
    line = FORMATS["json"](STAMP, "info", "topic created", details)
    assert json.loads(line) == fields and "\n" not in line


def test_a_long_value_is_cut() -> None:
    for form in FORMATS.values():
        line = form(STAMP, "info", "x", {"value": "v" * 100_000})
        assert len(line) < VALUE_CHARS_MAX + 200 and "(100000 characters)" in line


def test_the_format_can_be_chosen() -> None:
    stream = io.StringIO()
    log = BrokerLog("info", stream)
    log.use_format("json")
    log.warning("disk full", path="/data")
    assert json.loads(stream.getvalue()) | {"time": ""} == {"time": "", "level": "warning", "msg": "disk full", "path": "/data"}
    assert set(FORMATS) == {"text", "logfmt", "json"}
    for name in FORMATS:
        assert BrokerConfig({"kafkacy.log.format": name})["kafkacy.log.format"] == name


def test_a_line_that_repeats_is_written_once_a_minute_with_a_count() -> None:
    written = Written()
    for port in range(1, 195):
        written.repeated.add("warning", "TLS handshake failed: plaintext", {"client": f"10.0.0.1:{port}"}, "10.0.0.1")
    written.repeated.add("warning", "TLS handshake failed: plaintext", {"client": "10.0.0.2:1"}, "10.0.0.2")
    what = "TLS handshake failed: plaintext"
    assert written.take() == [(what, {"client": "10.0.0.1:1"}), (what, {"client": "10.0.0.2:1"})]
    written.repeated.write_due()
    assert written.take() == []
    written.now_s = INTERVAL_S
    written.repeated.write_due()
    assert written.take() == [(what, {"client": "10.0.0.1:194", "repeated": 193})]
    written.now_s = 2 * INTERVAL_S
    written.repeated.write_due()
    written.repeated.add("warning", what, {"client": "10.0.0.1:195"}, "10.0.0.1")
    assert written.take() == [(what, {"client": "10.0.0.1:195"})]  # after a quiet minute it counts as new


def test_numbers_do_not_make_a_line_another_one() -> None:
    written = Written()
    for size in (5, 60, 700):
        written.repeated.add("warning", f"a request of {size} bytes is too large", {})
    assert len(written.take()) == 1
    written.repeated.write_due(everything=True)
    assert written.take() == [("a request of 700 bytes is too large", {"repeated": 2})]


def test_a_line_that_stands_for_many_has_a_count_at_once() -> None:
    written = Written()
    written.repeated.add("warning", "more events", {}, count=7)
    assert written.take() == [("more events", {"repeated": 7})]


def test_the_table_of_repeated_lines_is_bounded() -> None:
    written = Written()
    for number in range(LINES_MAX + 500):
        written.repeated.add("warning", "refused", {}, f"address {number}")
    assert len(written.take()) == LINES_MAX
    written.repeated.write_due(everything=True)
    assert written.take() == [("more lines of other kinds or clients were suppressed", {"repeated": 500})]


def test_disabled_repeated_lines_are_not_counted() -> None:
    stream = io.StringIO()
    log = BrokerLog("error", stream)
    log.repeated("warning", "refused", {})
    log.level = "info"
    log.repeated("warning", "refused", {})
    assert stream.getvalue().count("refused") == 1


def test_lines_before_the_export_reach_it() -> None:
    log = BrokerLog("info", io.StringIO())
    for number in range(EARLY_LINES_MAX + 1):
        log.info("early", number=number)
    received: list[tuple[int, str, str, dict[str, Any]]] = []
    log.listen(lambda *line: received.append(line))
    log.info("later")
    assert [line[2] for line in received] == ["early"] * EARLY_LINES_MAX + ["later"]
    assert all(line[0] > 0 for line in received)


def test_secrets_are_hidden() -> None:
    assert shown("ssl.keystore.password", "secret") == HIDDEN
    assert shown("listener.name.internal.ssl.key.password", "secret") == HIDDEN
    assert shown("some.unknown.key", "secret") == HIDDEN
    assert shown("log.dirs", "/data") == "/data"
    settings = {"num.partitions": "3", "ssl.keystore.password": "secret", "listener.name.plaintext.ssl.key.password": "secret"}
    values = effective_values(BrokerConfig(settings))
    assert values["num.partitions"] == "3" and values["log.retention.hours"] == "168"
    assert "secret" not in values.values() and values["ssl.keystore.password"] == HIDDEN


def test_the_version_is_that_of_the_package() -> None:
    assert version("kafka-cy") == VERSION


def test_a_pipe_that_nobody_reads_holds_up_nobody() -> None:
    reading, writing = os.pipe()
    with open(reading, "rb") as reader, open(writing, "w") as stream:
        log = BrokerLog("info", stream)
        count = 20_000
        for number in range(count):
            log.info("x" * 200, number=number)
        os.set_blocking(reading, False)
        text = b""
        while piece := reader.read(1 << 16):
            text += piece
            log.write_repeated()
        lines = text.decode().splitlines()
        assert "lines of the log were lost, because stderr was not read lines=" in lines[-1]
        lost = int(lines[-1].rpartition("=")[2])
        assert len(lines) - 1 + lost == count
        assert [line.rpartition("=")[2] for line in lines[:-1]] == [str(number) for number in range(count - lost)]


def test_a_closed_pipe_does_no_harm() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "w") as stream:
        log = BrokerLog("info", stream)
        for _ in range(3):
            log.info("nobody reads this")


def test_lines_that_a_full_disk_loses_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    write = os.write

    def full(fd: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with open(reading, "rb") as reader, open(writing, "w") as stream:
        log = BrokerLog("info", stream)
        monkeypatch.setattr(os, "write", full)
        for number in range(5):
            log.info("lost", number=number)
        log.write_repeated()  # the report would be lost as well
        monkeypatch.setattr(os, "write", write)
        log.info("first")
        log.write_repeated()
        os.set_blocking(reading, False)
        first, line = reader.read().decode().splitlines()
        assert "first" in first
        assert "lines of the log were lost, because stderr cannot be written (No space left on device) lines=5" in line


def test_a_stream_that_would_block_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    write = os.write

    def busy(fd: int, data: bytes) -> int:
        raise BlockingIOError(errno.EAGAIN, "busy")

    with open(reading, "rb") as reader, open(writing, "w") as stream:
        log = BrokerLog("info", stream)
        monkeypatch.setattr(os, "write", busy)
        log.info("first")
        monkeypatch.setattr(os, "write", write)
        log.info("second")
        os.set_blocking(reading, False)
        lines = reader.read().decode().splitlines()
        assert ["first" in lines[0], "second" in lines[1]] == [True, True]
