"""docs/benchmarks.md: it has every command, option and metric, and its examples can be parsed."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest

from kafka_cy.bench.openmetrics import METRICS, PREFIX
from kafka_cy.bench.tune_settings import SETTINGS
from kafka_cy.tools import bench
from kafka_cy.tools.cli import commands

ROOT = Path(__file__).parent.parent.parent
PAGES = (ROOT / "docs" / "benchmarks.md", ROOT / "README.md")
EXAMPLES = [
    line.strip()
    for page in PAGES
    for block in re.findall(r"```sh\n(.*?)```", page.read_text(), re.DOTALL)
    for line in block.replace("\\\n", " ").splitlines()
    if line.strip().startswith("kafka-cy bench ")
]


def test_the_reference_is_fresh() -> None:
    script = ROOT / "scripts" / "write_benchmark_docs.py"
    done = subprocess.run([sys.executable, script, "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("line", EXAMPLES)
def test_examples_parse(line: str) -> None:
    command: click.Command = commands
    words = shlex.split(line, comments=True)[1:]
    context = click.Context(command)
    while isinstance(command, click.Group):
        name = words.pop(0)
        found = command.get_command(context, name)
        assert found is not None, f"there is no command {name}"
        command = found
    command.make_context("example", words)


def test_there_are_examples() -> None:
    assert EXAMPLES


def test_every_metric_command_and_setting_is_named() -> None:
    text = PAGES[0].read_text()
    for name, kind, _ in METRICS:
        assert f"`{PREFIX}{name}{'_info' if kind == 'info' else ''}`" in text
    for name in bench.commands.commands:
        assert f"`{name}`" in text or f"`kafka-cy bench {name}" in text
    for setting in SETTINGS:
        assert f"`{setting.name}`" in text or setting.name == "partitions"
