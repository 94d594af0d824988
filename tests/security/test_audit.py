"""What the authorizer decides, in the broker's log and in kafkacy.audit.log: words, bounds, rotation, faults."""

from __future__ import annotations

import hashlib
import io
import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from kafka_cy.authorizer.acls import Operation, ResourceType
from kafka_cy.authorizer.audit import Decision
from kafka_cy.authorizer.authorizer import Authorizer
from kafka_cy.network.server import ReactorDenial
from kafka_cy.server import audit_file
from kafka_cy.server.audit import LINES_OF_ONE_PER_S_MAX, LINES_PER_S_MAX, MORE, UNKNOWN_RULE, BrokerAudit
from kafka_cy.server.audit_file import NOT_A_FILE, AuditFile
from kafka_cy.server.log import BrokerLog
from tests.waiting import wait_until

DENIED = Decision(False, "alice", "1.2.3.4", Operation.READ, ResourceType.TOPIC, "t", "OffsetCommit", "app")
ALLOWED = DENIED._replace(allowed=True)


class Log:
    """A log and what it has written."""

    def __init__(self, level: str = "info") -> None:
        self._stream = io.StringIO()
        self.log = BrokerLog(level, stream=self._stream)

    @property
    def lines(self) -> list[str]:
        self.log.flush()
        return [line.split(" ", 1)[1] for line in self._stream.getvalue().splitlines()]


def made(path: Path, log: Log | None = None, **limits: int) -> AuditFile:
    return AuditFile(str(path), (log or Log()).log, **{"max_bytes": 1 << 20, "files": 3, **limits})


def records(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_lines_of_the_log() -> None:
    log = Log()
    audit = BrokerAudit(log.log)
    assert audit.wants(False) and not audit.wants(True)
    for _ in range(3):
        audit.decided(DENIED, lambda: "DefaultDeny")
    assert log.lines == [
        "INFO Principal = User:alice is Denied operation = READ from host = 1.2.3.4 on resource = Topic:LITERAL:t"
        " for request = OffsetCommit with resourceRefCount = 1 based on rule DefaultDeny"
    ]
    assert audit.denied == 3
    log.log.level = "debug"
    assert audit.wants(True)
    audit.decided(ALLOWED, lambda: "SuperUser")
    assert log.lines[-1].startswith("DEBUG Principal = User:alice is Allowed") and audit.denied == 3


def test_lines_of_the_log_are_few() -> None:
    """A client that is denied very often costs a control thread no more than a counter."""
    log, rules = Log(), []
    audit = BrokerAudit(log.log, now=lambda: 1.0)

    def rule() -> str:
        rules.append(1)
        return "DefaultDeny"

    for i in range(10 * LINES_PER_S_MAX):
        audit.decided(DENIED._replace(name=f"{'abcdefghij'[i % 10] * (i // 10 + 1)}"), rule)
    assert len(rules) == LINES_OF_ONE_PER_S_MAX and len(log.lines) == LINES_OF_ONE_PER_S_MAX + 1
    assert log.lines[-1] == f"INFO {MORE}" and audit.denied == 10 * LINES_PER_S_MAX
    audit.decided(DENIED._replace(user="bob"), rule)
    assert "User:bob" in log.lines[-1], "others have lines"
    for i in range(LINES_PER_S_MAX):
        audit.decided(DENIED._replace(user=f"u{'abcdefghij'[i % 10] * (i // 10 + 1)}"), rule)
    assert len(rules) == LINES_PER_S_MAX


def test_records_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    audit = BrokerAudit(Log().log, made(path))
    assert audit.wants(True)
    audit.decided(ALLOWED, lambda: "SuperUser")
    hostile = 'x\n{"decision": "allowed"}\udc80é' + "y" * 5000
    audit.decided(DENIED._replace(name=hostile, user=None, client_id=None, host="::ffff:10.0.0.1"), lambda: "DefaultDeny")
    audit.stop()
    first, second = records(path)
    assert first.pop("time").endswith("Z")
    assert first == {
        "principal": "User:alice", "host": "1.2.3.4", "client_id": "app", "api": "OffsetCommit", "operation": "READ",
        "resource_type": "TOPIC", "resource": "t", "decision": "allowed",
    }  # fmt: skip
    assert (second["principal"], second["host"], second["client_id"]) == ("User:ANONYMOUS", "10.0.0.1", None)
    mark = hashlib.sha256(hostile.encode(errors="replace")).hexdigest()[:16]
    assert second["resource"] == f"{hostile[: audit_file.TEXT_CHARS_MAX]}...(sha256 {mark})" and second["decision"] == "denied"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600 and audit.dropped == 0


def test_long_users_do_not_look_the_same(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    audit = BrokerAudit(Log().log, made(path))
    users = ["u" * audit_file.TEXT_CHARS_MAX + end for end in ("", "a", "b", "...")]
    for user in users:
        audit.decided(DENIED._replace(user=user), lambda: "DefaultDeny")
    audit.stop()
    shown = [record["principal"] for record in records(path)]
    assert len(set(shown)) == len(users) and shown[0] == f"User:{users[0]}"


def test_only_denials(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    audit = BrokerAudit(Log().log, made(path), file_has_allowed=False)
    assert not audit.wants(True)
    audit.decided(ALLOWED, lambda: "SuperUser")
    audit.decided(DENIED, lambda: "DefaultDeny")
    audit.stop()
    assert [each["decision"] for each in records(path)] == ["denied"]


def test_what_reactors_deny(tmp_path: Path) -> None:
    path, log = tmp_path / "audit.log", Log()
    audit, authorizer = BrokerAudit(log.log, made(path)), Authorizer()
    authorizer.open()
    generation = authorizer.image.generation
    denial = ReactorDenial("a b", "0:0:0:0:0:0:0:1", "app", 0, Operation.WRITE, ResourceType.TOPIC, "or\nders", generation, False)
    others = [denial._replace(name="u", acls_generation=generation - 1), denial._replace(name="v", cut=True)]
    audit.take_reactor_denials([denial, *others], 2, authorizer.rule)
    audit.stop()
    record = records(path)[0]
    assert record | {"time": ""} == {
        "time": "", "principal": "User:a b", "host": "0:0:0:0:0:0:0:1", "client_id": "app", "api": "Produce", "operation": "WRITE",
        "resource_type": "TOPIC", "resource": "or\nders", "decision": "denied",
    }  # fmt: skip
    start = "INFO Principal = User:a b is Denied operation = WRITE from host = 0:0:0:0:0:0:0:1 on resource = Topic:LITERAL:"
    end = " for request = Produce with resourceRefCount = 1 based on rule "
    assert log.lines == [
        f"{start}or\\nders{end}DefaultDeny", f"{start}u{end}{UNKNOWN_RULE}", f"{start}v{end}{UNKNOWN_RULE}",
        f"INFO {MORE} repeated=2",
    ]  # fmt: skip
    assert audit.denied == 5 and audit.dropped == 2


def test_rotation(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    path.write_text("an earlier run\n")
    path.chmod(0o644)
    file = made(path, max_bytes=4096, files=2)
    for i in range(300):
        file.add(DENIED._replace(name=f"t{i}"))
        wait_until(lambda: not file._queue, "the thread does not write")
    file.stop()
    assert sorted(each.name for each in tmp_path.iterdir()) == ["audit.log", "audit.log.1", "audit.log.2"]
    names = [each["resource"] for number in (".2", ".1", "") for each in records(path.with_name(f"audit.log{number}"))]
    assert names == [f"t{i}" for i in range(300 - len(names), 300)] and len(names) > 20
    for each in tmp_path.iterdir():
        assert each.stat().st_size <= 4096 and stat.S_IMODE(each.stat().st_mode) == 0o600


def test_a_slow_disk_costs_lines_and_no_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_file, "QUEUED_MAX", 10)
    held = threading_event()
    monkeypatch.setattr(AuditFile, "_write", lambda self, data: held.wait())
    file = made(tmp_path / "audit.log")
    file.add(DENIED)
    wait_until(lambda: not file._queue, "the thread takes nothing")
    for _ in range(30):
        file.add(DENIED)
    assert len(file._queue) == 10 and file.dropped == 20
    held.set()
    file.stop()


def test_what_was_allowed_leaves_room_for_denials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_file, "QUEUED_MAX", 10)
    monkeypatch.setattr(audit_file, "ALLOWED_QUEUED_MAX", 8)
    held, write = threading_event(), AuditFile._write

    def waiting(self: AuditFile, data: bytes) -> None:
        held.wait()
        write(self, data)

    monkeypatch.setattr(AuditFile, "_write", waiting)
    file = made(tmp_path / "audit.log")
    file.add(DENIED)
    wait_until(lambda: not file._queue, "the thread takes nothing")
    for _ in range(30):
        file.add(ALLOWED)
    for _ in range(3):
        file.add(DENIED)
    assert file.dropped == 22 + 1
    held.set()
    file.stop()
    decisions = [each["decision"] for each in records(tmp_path / "audit.log")]
    assert decisions == ["denied"] + 8 * ["allowed"] + 2 * ["denied"]


def test_a_full_file_that_cannot_be_renamed(tmp_path: Path) -> None:
    """It grows, no line is lost, and the log says so; later it is tried again."""
    log, path = Log(), tmp_path / "audit.log"
    obstacle = tmp_path / "audit.log.1"
    obstacle.mkdir()  # a file cannot take its place
    file = made(path, log, max_bytes=4096, files=1)

    def add(start: int, end: int) -> None:
        for i in range(start, end):
            file.add(DENIED._replace(name=f"t{i}"))
            wait_until(lambda: not file._queue, "the thread does not write")

    add(0, 60)
    assert path.stat().st_size > 8192
    obstacle.rmdir()
    count = 60
    while not obstacle.exists():
        add(count, count + 1)
        count += 1
    file.stop()
    names = [each["resource"] for each in [*records(obstacle), *records(path)]]
    assert names == [f"t{i}" for i in range(count)] and file.dropped == 0
    (line,) = [line for line in log.lines if "the full audit log cannot be renamed" in line]
    assert line.startswith("ERROR")


def threading_event() -> Any:
    import threading

    return threading.Event()


def test_a_file_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The log says so, the lines count as dropped, and it is tried again."""
    monkeypatch.setattr(audit_file, "AGAIN_AFTER_S", 0.0)
    log, path, fails = Log(), tmp_path / "audit.log", [True]
    write = AuditFile._write

    def failing(self: AuditFile, data: bytes) -> None:
        if fails.pop() if fails else False:
            raise OSError(28, "No space left on device")
        write(self, data)

    monkeypatch.setattr(AuditFile, "_write", failing)
    file = made(path, log)
    file.add(DENIED)
    wait_until(lambda: file.dropped == 1, "the line is not dropped")
    file.add(DENIED._replace(name="second"))
    file.stop()
    assert [each["resource"] for each in records(path)] == ["second"]
    assert any("the audit log cannot be written" in line and "No space left" in line for line in log.lines)


def test_a_file_that_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(OSError):
        made(tmp_path / "none" / "audit.log")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["link", "pipe", "folder", "device"])
def test_what_is_not_a_file_is_refused(tmp_path: Path, kind: str) -> None:
    """And left as it is: a link could lead to any file."""
    path, target = tmp_path / "audit.log", tmp_path / "target"
    terminal = os.openpty()
    target.write_text("other\n")
    target.chmod(0o644)
    if kind == "link":
        path.symlink_to(target)
    elif kind == "pipe":
        os.mkfifo(path, 0o644)
    elif kind == "folder":
        path.mkdir(0o755)
    else:
        path = Path(os.ttyname(terminal[1]))
    before = path.lstat().st_mode
    with pytest.raises(OSError, match="Is a directory" if kind == "folder" else NOT_A_FILE):
        made(path)
    after = path.lstat().st_mode
    for fd in terminal:
        os.close(fd)
    assert after == before and stat.S_IMODE(target.stat().st_mode) == 0o644


def test_a_pipe_with_a_reader_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        with pytest.raises(OSError, match=NOT_A_FILE):
            made(path)
    finally:
        os.close(reader)
