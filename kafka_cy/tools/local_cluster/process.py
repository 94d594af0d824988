"""A server of a cluster as a process of its own, which Ctrl-C in the terminal does not reach."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

LAST_BYTES = 8192  # of a log, in which its last line is looked for


class ServerProcess:
    """For one thread. `name`: for messages. `answers`: whether it serves clients.

    Its standard input is a pipe that nobody writes to: a broker ends when it is closed, which the kernel does if this process is
    killed (`kafka-cy server --with-parent`).
    """

    def __init__(self, name: str, address: str, command: list[str], log: Path, answers: Callable[[], bool]) -> None:
        self.name, self.address, self.log = name, address, log
        self._command, self._answers = command, answers
        self._process: subprocess.Popen[bytes] | None = None
        self.told = False  # that it has ended
        self.returned = False  # somebody else has started it again

    def start(self) -> None:
        """Start it; what it writes is added to its log. Raises OSError."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.PIPE, stdout=log, stderr=log, cwd=self.log.parent, process_group=0
            )

    @property
    def runs(self) -> bool:
        """Whether the process was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    @property
    def has_ended(self) -> bool:
        """Whether the process was started and has ended."""
        return self._process is not None and self._process.poll() is not None

    def answers(self) -> bool:
        """Whether somebody serves clients at its address."""
        return self._answers()

    def ended(self) -> str:
        """How the process ended, with the last line of its log."""
        assert self._process is not None
        code = self._process.returncode
        how = f"exit code {code}" if code >= 0 else signal.Signals(-code).name
        return f"{how}; last line of {self.log}: {self.last_line()}"

    def last_line(self) -> str:
        """The last line of the log."""
        with self.log.open("rb") as file:
            file.seek(max(0, file.seek(0, 2) - LAST_BYTES))
            lines = file.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else "(empty)"

    def stop(self, timeout_s: float) -> str | None:
        """Send SIGTERM and wait; None, or what was wrong with the end."""
        process = self._process
        if process is None or self.told:
            return None
        if process.poll() is None:
            process.send_signal(signal.SIGCONT)
            process.terminate()
        try:
            process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            return f"it had not ended after {timeout_s:g} s and was killed (see {self.log})"
        finally:
            self._let_go()
        return self.ended() if process.returncode not in (0, -signal.SIGTERM, 128 + signal.SIGTERM) else None

    def send_kill(self) -> None:
        """Send SIGKILL; stop() waits for the end."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()

    def _let_go(self) -> None:
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
