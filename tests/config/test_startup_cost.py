"""Importing and loading the configuration is part of every start: it has to stay cheap."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent

#: CPU milliseconds; typing and collections are there anyway. Measured: 2.7.
COST_MS_MAX = 5.0

PROGRAM = """
import collections.abc, time, typing
import kafka_cy
begun = time.process_time_ns()
from kafka_cy.config import BrokerConfig
BrokerConfig.load().log_defaults()
print((time.process_time_ns() - begun) / 1e6)
import sys
heavy = {"re", "json", "socket", "dataclasses", "difflib", "kafka_cy.config.documentation"}
print(",".join(sorted(heavy & set(sys.modules) - before)))
"""


def test_import_and_load_cost_little(tmp_path: Path) -> None:
    program = "import sys, collections, typing\nbefore = set(sys.modules)\n" + PROGRAM
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment |= {"PYTHONPYCACHEPREFIX": str(tmp_path), "PYTHONPATH": str(ROOT)}
    costs = []
    for _ in range(6):  # the first one compiles
        done = subprocess.run(
            [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True, cwd=tmp_path
        )
        cost, heavy = done.stdout.splitlines() + [""] * (2 - len(done.stdout.splitlines()))
        costs.append(float(cost))
        assert heavy == ""
    assert min(costs) < COST_MS_MAX, costs
