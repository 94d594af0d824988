"""Runs a small part of Apache Kafka's own tests, and checks that the page about all of them is complete and current."""

from __future__ import annotations

import os
import shutil
import sys
from collections import defaultdict
from pathlib import Path

import conformance_report as report
import kafka_test_harness as harness
import pytest

HERE = Path(__file__).parent


def chosen() -> dict[str, list[str]]:
    """Test methods by class, from chosen.txt."""
    by_class: dict[str, list[str]] = defaultdict(list)
    for line in (HERE / "chosen.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            by_class[line.partition("#")[0]].append(line)
    return by_class


@pytest.fixture(scope="session")
def prepared() -> None:
    if shutil.which("javac") is None and not os.environ.get("CI"):
        pytest.skip("needs a JDK (Debian: default-jdk-headless)")
    try:
        harness.prepare()
    except harness.HarnessError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))


@pytest.mark.interop
@pytest.mark.slow
@pytest.mark.parametrize("class_name", chosen())
def test_chosen_tests_pass(class_name: str, prepared: None, tmp_path: Path) -> None:
    methods = chosen()[class_name]
    verdicts = harness.run_class(class_name, methods, harness.kafka_cy_command(sys.executable), tmp_path)
    failed = [
        f"{verdict.name}: {verdict.verdict} {verdict.reason}" for verdict in verdicts if verdict.verdict != "PASSED"
    ]
    assert failed == []
    assert {verdict.method for verdict in verdicts} == set(methods)


def test_page_is_current() -> None:
    assert report.page() == report.PAGE.read_text(), "run `python tests/conformance/conformance_report.py`"


def test_every_test_that_does_not_pass_has_a_reason() -> None:
    results, reasons = report.read_results(), report.read_reasons()
    binding = [expectation.result.name for expectation in harness.read_baseline() if expectation.binding]
    failing = [name for name in binding if name in results and results[name].verdict != "PASSED"]
    assert [name for name in failing if not any(reason.pattern.search(name) for reason in reasons)] == []
