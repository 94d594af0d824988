"""Kafka's command line tools, with many runs in one JVM (see kafka/ToolRunner.java)."""

from __future__ import annotations

import base64
import contextlib
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from foreign_tools import HERE

KAFKA_JARS = HERE.parent.parent / ".cache" / "kafka-4.3.1"


@dataclass(frozen=True)
class ToolResult:
    """The result of one run of a tool."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        """The non-empty lines of standard output."""
        return [line for line in self.out.splitlines() if line.strip()]


class JavaTools:
    """One JVM that runs tools one after the other. Owner: the test session."""

    def __init__(self, stderr_path: Path, options: Sequence[str] = ()) -> None:
        """`options`: of the JVM."""
        with open(stderr_path, "ab") as stderr:
            self._process = subprocess.Popen(
                [
                    "java",
                    "-Xmx256m",
                    "-XX:TieredStopAtLevel=1",  # tools run for a second, so optimising them costs more than it saves
                    "--add-opens=java.base/java.lang=ALL-UNNAMED",
                    *options,
                    f"-Dlog4j2.configurationFile={HERE / 'kafka' / 'log4j2.properties'}",
                    "-cp",
                    f"{KAFKA_JARS}/*",
                    str(HERE / "kafka" / "ToolRunner.java"),
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
            )

    def run(self, main_class: str, *arguments: object, stdin: str = "", timeout_s: int = 60) -> ToolResult:
        """Run a main class; names without a dot are in org.apache.kafka.tools."""
        name = main_class if main_class.startswith(("org.", "kafka.")) else f"org.apache.kafka.tools.{main_class}"
        fields = [name, stdin, str(timeout_s), *(str(each) for each in arguments)]
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(" ".join(base64.b64encode(each.encode()).decode() for each in fields) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"the JVM ended with {self._process.wait()}")
        code, out, err = answer.rstrip("\n").split(" ")
        return ToolResult(int(code), base64.b64decode(out).decode(), base64.b64decode(err).decode())

    def check(self, main_class: str, *arguments: object, stdin: str = "", timeout_s: int = 60) -> ToolResult:
        """Like `run`, but fails if the tool fails."""
        result = self.run(main_class, *arguments, stdin=stdin, timeout_s=timeout_s)
        assert result.code == 0, f"{main_class} {arguments} ended with {result.code}\n{result.out}\n{result.err}"
        return result

    def close(self) -> None:
        """End the JVM."""
        self._process.kill()
        self._process.wait()


@contextlib.contextmanager
def tool_process(main_class: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """One of Kafka's tools in a separate JVM, with its stdin open; killed at the end."""
    command = ["java", "-Xmx128m", "-XX:TieredStopAtLevel=1", "-cp", f"{KAFKA_JARS}/*"]
    command += [f"org.apache.kafka.tools.{main_class}", *(str(each) for each in arguments)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as process:
        try:
            yield process
        finally:
            process.kill()
