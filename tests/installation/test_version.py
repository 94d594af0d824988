"""`kafka-cy --version`: the version, the commit, and the versions of what it runs with."""

from __future__ import annotations

import platform
import re
import subprocess
import sys
import tomllib
import types
from pathlib import Path

import pytest

from kafka_cy import version

ROOT = Path(__file__).parents[2]


def test_the_version_is_the_project_s() -> None:
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"] == version.VERSION


def test_the_commit_of_a_checkout() -> None:
    known = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    found = version.commit()
    if known.returncode != 0:
        assert found is None
        return
    assert found is not None and len(found.removesuffix("-dirty")) >= 12
    assert known.stdout.startswith(found.removesuffix("-dirty"))


def test_a_built_package_knows_its_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    built = types.ModuleType("kafka_cy._commit")
    built.COMMIT = "0123456789ab"  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "kafka_cy._commit", built)
    assert version.commit() == "0123456789ab"


@pytest.mark.parametrize("option", ["--version", "-V"])
def test_the_option(option: str) -> None:
    done = subprocess.run([sys.executable, "-m", "kafka_cy", option], capture_output=True, text=True, timeout=60, check=True)
    found = re.fullmatch(r"kafka-cy (\S+) \(commit \S+, Python (\S+), OpenSSL (\d[\w.]+) .*\)\n", done.stdout)
    assert found, done.stdout
    assert (found[1], found[2]) == (version.VERSION, platform.python_version())
