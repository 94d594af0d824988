"""`kafka-cy ... | head`: a reader of the output that ends first is no error, whether Python buffers the output or not."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

PRINTS_WITHOUT_FLUSH = """
import sys, click
from kafka_cy.tools import cli
cli.commands.add_command(click.command("print")(lambda: print("x")))
sys.exit(cli.run(["print"]))
"""
FLUSHES = "import sys; from kafka_cy.tools import cli; sys.exit(cli.run(['version']))"


@pytest.mark.parametrize("code", [PRINTS_WITHOUT_FLUSH, FLUSHES])
def test_nobody_reads(code: str) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-c", code], stdout=writer, stderr=subprocess.PIPE, text=True, env=environment, timeout=60, check=False
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, "")
