"""Runs the blocks of one page in order, in an own folder, against a broker on free ports."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

from kafka_cy.testing import Broker
from kafka_cy.testing.broker import free_ports
from tests.docs.blocks import ROOT, Block
from tests.waiting import wait_until

HERE = Path(__file__).parent
BLOCK_TIMEOUT_S = 60


class PageRun:
    """The state of a page between its blocks: a folder, the ports, the broker, and a process in the background.

    The documented addresses (127.0.0.1 or localhost, ports 9092, 9093, 9404, 9308) are replaced by free ports. A page that starts
    its own broker in the background is run against that one, until the page starts the next. For all others a broker is started
    here. The folder contains the sample server.properties and monitoring, as the repository does, and the sample in kafka-cy.
    """

    def __init__(self, folder: Path, blocks: list[Block]) -> None:
        self.folder = folder
        self.broker: Broker | None = None
        self.background: tuple[Block, subprocess.Popen[bytes], Path] | None = None
        spare_port = free_ports(1)[0]
        if any("run in background until" in block.directives for block in blocks):
            broker_ports = free_ports(3)
        else:
            self.broker = Broker().start()
            broker_ports = [self.broker.port, self.broker.metrics_port, self.broker.lag_port]
        self.ports = dict(zip((9093, 9092, 9404, 9308), [spare_port, *broker_ports], strict=True))
        (folder / "monitoring").symlink_to(ROOT / "monitoring")
        (folder / "kafka-cy").mkdir()
        for name in ("server.properties", "kafka-cy/server.properties"):
            (folder / name).write_text(self.localize((ROOT / "server.properties").read_text()))

    def run(self, block: Block) -> None:
        """Run one block; raises AssertionError with its output if it fails."""
        text = self.localize(block.text)
        if "file" in block.directives:
            target = self.folder / block.directives["file"]
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text)
            return
        if "run in background until" in block.directives:
            self._start(block, text, block.directives["run in background until"])
            return
        if "run until" in block.directives:
            self._run_until(block, text)
            return
        done = subprocess.run(
            self._command(block, text), cwd=self.folder, env=self._environment(), capture_output=True, text=True,
            timeout=BLOCK_TIMEOUT_S, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        assert done.returncode == 0, f"{block.where} ended with {done.returncode}\n{text}\n{done.stdout}{done.stderr}"

    def localize(self, text: str) -> str:
        """The text with the ports of this run."""
        ports = "|".join(map(str, self.ports))
        return re.sub(
            rf"\b(127\.0\.0\.1|localhost):({ports})\b", lambda match: f"{match[1]}:{self.ports[int(match[2])]}", text
        )

    def close(self) -> None:
        """Stop everything. Raises AssertionError if the process in the background failed."""
        try:
            self._end_background()
        finally:
            if self.broker is not None:
                self.broker.stop()

    def _command(self, block: Block, text: str) -> list[str]:
        if block.language == "sh":
            return ["bash", "-euo", "pipefail", "-c", text]
        if block.directives.get("run as") == "pytest":
            (self.folder / "test_page.py").write_text(text)
            return [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_page.py"]
        return [sys.executable, "-c", text]

    def _environment(self) -> dict[str, str]:
        scripts = Path(sys.executable).parent
        ports = {f"DOCS_PORT_{documented}": str(port) for documented, port in self.ports.items()}
        return {
            **os.environ,
            **ports,
            "PATH": f"{HERE / 'bin'}:{scripts}:{os.environ['PATH']}",
            "DOCS_KAFKA_CY": str(scripts / "kafka-cy"),
            "DOCS_KAFKA_JARS": str(ROOT / ".cache" / "kafka-4.3.1"),
        }

    def _run_until(self, block: Block, text: str) -> None:
        """Run a server while the broker of the page, which has the same ports, is down."""
        if self.broker is not None:
            self.broker.terminate()
        self._start(block, text, block.directives["run until"])
        self._end_background()
        if self.broker is not None:
            self.broker.start()

    def _start(self, block: Block, text: str, printed: str) -> None:
        self._end_background()
        log = self.folder / f"block-{block.line}.log"
        words = shlex.split(text, comments=True)
        with open(log, "wb") as output:
            process = subprocess.Popen(
                words, cwd=self.folder, env=self._environment(), stdout=output, stderr=output, stdin=subprocess.DEVNULL
            )
        self.background = (block, process, log)
        wait_until(lambda: printed in log.read_text(errors="replace") or process.poll() is not None, printed)
        assert process.poll() is None, f"{block.where} ended with {process.poll()}\n{log.read_text(errors='replace')}"

    def _end_background(self) -> None:
        if self.background is None:
            return
        (block, process, log), self.background = self.background, None
        process.send_signal(signal.SIGINT)
        try:
            code = process.wait(BLOCK_TIMEOUT_S)
        finally:
            process.kill()
        assert code == 0, f"{block.where} ended with {code}\n{log.read_text(errors='replace')}"
