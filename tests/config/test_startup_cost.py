"""Every start imports and loads the configuration, so that must not import modules that the start does not need."""

import subprocess
import sys
from pathlib import Path

PROGRAM = """
import sys, collections.abc, typing
before = set(sys.modules)
import kafka_cy
from kafka_cy.config import BrokerConfig
BrokerConfig.load().log_defaults()
heavy = {"re", "json", "socket", "dataclasses", "difflib", "kafka_cy.config.keys.sasl", "kafka_cy.config.keys.share"}
print(",".join(sorted(heavy & set(sys.modules) - before)))
"""


def test_import_and_load_pull_in_little(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout == "\n"
