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


START = """
import os, sys
import kafka_cy.server.main as server_main

def announce(broker, log):
    unwanted = {f"kafka_cy.config.keys.{name}" for name in ("ssl", "sasl", "share", "replication", "metrics", "legacy")}
    unwanted |= {"kafka_cy.coordinator.records", "kafka_cy.server.coordinators", "kio", "inspect"}
    unwanted |= {"ssl", "kafka_cy.telemetry.page_security"}
    print(",".join(sorted(unwanted & set(sys.modules))), "kafka_cy.api.offset_commit" in sys.modules, flush=True)
    os._exit(0)

server_main._announce = announce
overrides = {"listeners": "PLAINTEXT://127.0.0.1:0", "log.dirs": sys.argv[1]}
overrides |= {"kafkacy.metrics.listen": "127.0.0.1:0", "kafkacy.lag.listen": "127.0.0.1:0"}
server_main.run(None, overrides)
"""


def test_a_start_loads_what_it_needs_until_it_is_ready(tmp_path: Path) -> None:
    """Modules are most of the time from exec to the first response."""
    done = subprocess.run(
        [sys.executable, "-c", START, str(tmp_path / "data")], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert done.stdout == " True\n", done.stderr
