"""The table of Apache Kafka's APIs, which docs/compatibility.md shows, is the one in Kafka's own code."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from foreign_tools import HERE, require
from java_tools import KAFKA_JARS

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))

from kafka_facts import APIS

pytestmark = pytest.mark.interop


def test_versions_of_apis() -> None:
    require(shutil.which("java"), "java")
    require(KAFKA_JARS.is_dir(), f"Apache Kafka in {KAFKA_JARS}")
    program = ["java", "-XX:TieredStopAtLevel=1", "-cp", f"{KAFKA_JARS}/*", str(HERE / "kafka" / "ListApiKeys.java")]
    listed = subprocess.run(program, capture_output=True, text=True, check=True, timeout=120).stdout
    theirs = {}
    for line in listed.splitlines():
        key, name, version_min, version_max = line.split()
        theirs[int(key)] = (name, int(version_min), int(version_max))
    ours = {api.key: (api.name, api.version_min, api.version_max) for api in APIS if api.key in theirs}
    assert ours == theirs
