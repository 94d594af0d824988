"""Runs the commands in docs/tls.md."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from kafka_cy.testing import Broker
from kafka_cy.testing.broker import free_ports

PAGE = (Path(__file__).parents[2] / "docs" / "tls.md").read_text()


def block(language: str, index: int) -> str:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)[index]


def test_the_first_minute(tmp_path: Path) -> None:
    subprocess.run(["bash", "-e", "-c", block("sh", 0)], cwd=tmp_path, check=True, capture_output=True)
    plain, encrypted = free_ports(2)
    text = block("properties", 0).replace("9092", str(plain)).replace("9093", str(encrypted))
    lines = (line.partition("=") for line in text.replace("broker.pem", str(tmp_path / "broker.pem")).splitlines())
    config: dict[str, object] = {key: value for key, _, value in lines}
    del config["log.dirs"]  # relative to the folder of the reader
    client = tmp_path / "client.properties"
    client.write_text(block("properties", 1).replace("ca.pem", str(tmp_path / "ca.pem")))
    broker = Broker(config, folder=tmp_path / "broker")
    broker.port = plain
    with broker:
        command = [sys.executable, "-m", "kafka_cy", "topics"]
        where = ["-b", f"localhost:{encrypted}", "--command-config", str(client)]
        subprocess.run([*command, "create", "t", *where], check=True, capture_output=True, timeout=60)
        listed = subprocess.run([*command, "list", *where], check=True, capture_output=True, text=True, timeout=60)
        assert listed.stdout.split() == ["t"]
