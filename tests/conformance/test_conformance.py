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
import reference_broker

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


def test_a_test_that_apache_kafka_passes_in_some_runs_is_flaky(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(harness, "BASELINE", tmp_path / "baseline.tsv")
    harness.BASELINE.write_text("")
    groups = {"a.ATest": "consumer", "b.BTest": "admin"}
    steady = harness.Verdict("b.BTest#testB[]", "PASSED", "", 1.0, "3 brokers as 1")
    passed = harness.Verdict("a.ATest#testA[]", "PASSED", "", 2.0, "")
    failed = passed._replace(verdict="FAILED", reason="too late")
    for run in ([steady, passed], [steady, failed], [steady, passed]):
        reference_broker.save_verdicts(groups, run)
    first, second = harness.read_baseline()
    assert (first.group, first.result.verdict, first.result.reason) == (
        "consumer",
        "FLAKY",
        "passes in some runs: too late",
    )
    assert second == harness.Expectation("admin", steady)


def test_a_failure_s_message_is_the_same_in_every_run() -> None:
    text = "IllegalStateException: the broker on localhost:41297 keeps /tmp/conformance-x1/tmp/itest, topic FeT3mJ0xQ2KzL9bWq8sVnA"
    assert report._steady(text) == "IllegalStateException: the broker on localhost:N keeps FOLDER topic ID"


def test_a_lost_test_is_one_that_passed_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "RESULTS", tmp_path / "results.tsv")
    report.RESULTS.write_text("a.ATest#testA[]\tPASSED\na.ATest#testB[]\tFAILED\tmessage\n")
    assert report.lost(["a.ATest#testA[]", "a.ATest#testB[]", "a.ATest#testC[]"]) == ["a.ATest#testA[]"]


def test_a_class_whose_set_up_fails_fails_all_its_tests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "RESULTS", tmp_path / "results.tsv")
    monkeypatch.setattr(harness, "BASELINE", tmp_path / "baseline.tsv")
    harness.BASELINE.write_text("tools\ta.ATest#testA[]\tPASSED\ntools\ta.ATest#testB[]\tPASSED\n")
    report.save_results([harness.Verdict("a.ATest#[class]", "FAILED", "set-up", 1.0, "")])
    assert report.read_results() == dict.fromkeys(
        ["a.ATest#testA[]", "a.ATest#testB[]"], report.Result("FAILED", "set-up")
    )
