"""A job of Apache Flink in a process of its own, which tests kill and start again from its last checkpoint (see flink/)."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path

from foreign_tools import HERE

FLINK_JARS = HERE.parent.parent / ".cache" / "flink-2.2.0"
#: A checkpoint, which ends the transactions, four times a second. An error ends the job: it must live through the broker's restart.
SETTINGS: Mapping[str, object] = {
    "execution.checkpointing.interval": "250 ms",
    "execution.checkpointing.storage": "filesystem",
    "execution.checkpointing.externalized-checkpoint-retention": "RETAIN_ON_CANCELLATION",
    "execution.checkpointing.num-retained": 3,
    "restart-strategy.type": "disable",
    "rest.port": 0,
}
#: As Flink's own scripts for Java 17.
JAVA_OPTIONS = [f"--add-opens=java.base/java.{package}=ALL-UNNAMED" for package in ("lang", "util", "time", "net")]


def compile_flink(folder: Path) -> Path:
    """Compile the job into `folder`, which is returned: once for all starts."""
    source = HERE / "flink" / "CopyExactlyOnce.java"
    command = ["javac", "-nowarn", "-proc:none", "-cp", f"{FLINK_JARS}/*", "-d", str(folder), str(source)]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    return folder


class FlinkJob:
    """A job that copies a topic at exactly-once. `folder` gets its checkpoints and its log. Owner: one test."""

    def __init__(
        self, classes: Path, folder: Path, *, bootstrap: str, input_topic: str, output_topic: str, naming: str,
        parallelism: int,
    ) -> None:  # fmt: skip
        """`naming`: of transactions, Flink's TransactionNamingStrategy."""
        self._classes, self._parallelism, self._hold = classes, parallelism, folder / "hold"
        self._arguments = [bootstrap, input_topic, output_topic, naming, str(parallelism), str(self._hold)]
        self._checkpoints, self.log_path = folder / "checkpoints", folder / "flink.log"
        self.start()

    def last_checkpoint(self) -> Path | None:
        """The newest complete one, of all starts."""
        found = self._checkpoints.glob("*/chk-*/_metadata")
        newest = max(found, key=lambda path: path.stat().st_mtime_ns, default=None)
        return None if newest is None else newest.parent

    def start(self) -> None:
        """Start the process from the last checkpoint; returns at once."""
        for path in self._hold.parent.glob("hold*"):
            path.unlink()
        settings = {**SETTINGS, "execution.checkpointing.dir": self._checkpoints.as_uri()}
        checkpoint = self.last_checkpoint()
        if checkpoint is not None:
            settings["execution.state-recovery.path"] = checkpoint.as_uri()
        command = [
            "java", "-Xmx256m", "-XX:TieredStopAtLevel=1", *JAVA_OPTIONS,
            f"-Dlog4j2.configurationFile={HERE / 'kafka' / 'log4j2.properties'}",
            "-cp", f"{self._classes}:{FLINK_JARS}/*", "CopyExactlyOnce", *self._arguments,
            *(f"{name}={value}" for name, value in settings.items()),
        ]  # fmt: skip
        with open(self.log_path, "ab") as log:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def hold(self) -> None:
        """Have the job stop after its next checkpoint, before it commits the transactions that the checkpoint holds."""
        self._hold.touch()

    def is_held(self) -> bool:
        """Whether it has: all subtasks have stopped, and the checkpoint is complete."""
        held = [int(path.name.split("-")[2]) for path in self._hold.parent.glob("hold-*")]
        return len(held) == self._parallelism and any(self._checkpoints.glob(f"*/chk-{min(held)}/_metadata"))

    def check(self) -> None:
        """Fail if the job has ended."""
        assert self._process.poll() is None, self.log_path.read_text()[-6000:]

    def kill(self) -> None:
        """kill -9."""
        self._process.kill()
        self._process.wait()
