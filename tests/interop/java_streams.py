"""Kafka Streams applications in processes of their own, which tests start, kill and start again (see streams/*.java)."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Mapping
from pathlib import Path

from foreign_tools import HERE
from java_tools import KAFKA_JARS

from tests.waiting import wait_until

#: Small and quick: one thread, no cache (each change of a count is a record of the output), a commit every 100 ms.
SETTINGS: Mapping[str, object] = {
    "num.stream.threads": 1,
    "statestore.cache.max.bytes": 0,
    "commit.interval.ms": 100,
    "replication.factor": 1,
    "auto.offset.reset": "earliest",
}


def compile_streams(folder: Path) -> Path:
    """Compile the applications into `folder`, which is returned: once for all starts."""
    sources = sorted(str(path) for path in (HERE / "streams").glob("*.java"))
    command = ["javac", "-nowarn", "-proc:none", "-cp", f"{KAFKA_JARS}/*", "-d", str(folder), *sources]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    return folder


class StreamsApplication:
    """One instance of an application. `state_dir` must be one of its own; after kill() another instance may take it over."""

    def __init__(
        self, classes: Path, main_class: str, *topics: str, bootstrap: str, application_id: str, state_dir: Path,
        processing_guarantee: str = "exactly_once_v2", group_protocol: str = "classic",
        settings: Mapping[str, object] | None = None,
    ) -> None:  # fmt: skip
        """`topics` are the first arguments of the application; `settings` are more settings of Kafka Streams."""
        everything = {
            **SETTINGS,
            "bootstrap.servers": bootstrap,
            "application.id": application_id,
            "state.dir": state_dir,
            "processing.guarantee": processing_guarantee,
            "group.protocol": group_protocol,
            **(settings or {}),
        }
        state_dir.mkdir(parents=True, exist_ok=True)
        command = [
            "java", "-Xmx192m", "-XX:TieredStopAtLevel=1",
            f"-Dlog4j2.configurationFile={HERE / 'kafka' / 'log4j2.properties'}",
            "-cp", f"{classes}:{KAFKA_JARS}/*", main_class, *topics,
            *(f"{name}={value}" for name, value in everything.items()),
        ]  # fmt: skip
        self.lines: list[str] = []
        self.log_path = state_dir / "log"
        with open(self.log_path, "ab") as stderr:
            self.process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, text=True
            )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))

    @property
    def state(self) -> str:
        """The state that it told last: CREATED, REBALANCING, RUNNING, ERROR, NOT_RUNNING, ..."""
        return next((line.split()[1] for line in reversed(self.lines) if line.startswith("state ")), "CREATED")

    def wait_for(self, state: str, timeout_s: float = 90.0) -> None:
        """Wait until it has told the state, now or before. Fails at once if the process ends."""

        def told() -> bool:
            ended = self.process.poll() is not None
            if f"state {state}" in self.lines:
                return True
            assert not ended, self.problem()
            return False

        wait_until(told, f"{state}: {self.lines}", timeout_s)

    def problem(self) -> str:
        """What it told, and the end of its log."""
        return "\n".join([*self.lines, self.log_path.read_text()[-4000:]])

    def kill(self) -> None:
        """kill -9."""
        self.process.kill()
        self.process.wait()
        self._reader.join()

    def close(self) -> None:
        """End it in an orderly way: it leaves its group."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(60)
        self._reader.join()
        assert "closed" in self.lines, self.problem()
