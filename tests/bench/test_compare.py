"""`bench compare` and `bench scaling`: short runs, their interleaving, and how their tables show noise."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import pytest
from foreign_tools import require

from kafka_cy.bench import brokers, report_text, results, scaling
from kafka_cy.bench.compare import ROWS, Compare, CompareOptions
from kafka_cy.bench.measure import NoProgress
from kafka_cy.bench.scaling import CURVES, Scaling, ScalingOptions, pairs_of

from .apache_kafka import needed_jars
from .sample_results import sample_scaling, sample_tune

DATA = Path(__file__).parent / "data"


def new_file(kind: Any) -> results.Results:
    return results.Results(kind, "2026-01-01T00:00:00Z", ["x"], results.Machine("cpu", 1, 1, "6.1"), {})


def test_compare_interleaves_its_targets() -> None:
    file = new_file("compare")
    options = CompareOptions(duration_s=0.1, rounds=2, rows="connection", touch_bytes=0, jvm_warm_up_s=0)
    Compare(file, options, NoProgress()).run()
    rows = [row.label for row in ROWS if "connection" in row.label]
    assert [(run.round, run.label) for run in file.runs[::2]] == [(round_, row) for round_ in (1, 2) for row in rows]
    first, second = ([run.target for run in file.runs if run.round == each][:2] for each in (1, 2))
    assert first == second[::-1]  # no target always goes first
    assert {run.outcome for run in file.runs} == {"completed"}
    text = report_text.markdown(file)
    assert all(f"| {row} |" in text for row in rows)


@pytest.mark.interop
@pytest.mark.parametrize("rows", ["TLS: full handshakes", "TLS and SASL: the same"])
def test_rows_with_tls(rows: str) -> None:
    require(shutil.which("openssl"), "openssl")
    file = new_file("compare")
    options = CompareOptions(duration_s=2.0, rounds=1, rows=rows, touch_bytes=0, jvm_warm_up_s=0)
    Compare(file, options, NoProgress()).run()
    [run] = file.runs
    assert (run.target, run.outcome, run.error) == (results.KAFKA_CY, "completed", None)
    assert run.totals.requests or run.totals.records


@pytest.mark.interop
def test_compare_with_apache_kafka() -> None:
    jars = needed_jars()
    file = new_file("compare")
    options = CompareOptions(duration_s=0.2, rounds=1, rows="1 connection", touch_bytes=0, jvm_warm_up_s=0.5, jars=jars)
    Compare(file, options, NoProgress()).run()
    assert {run.target for run in file.runs} == {results.KAFKA_CY, results.APACHE_KAFKA, results.FLOOR}
    assert {run.outcome for run in file.runs} == {"completed"}
    assert all(run.totals.requests for run in file.runs)


@pytest.mark.parametrize("curve", [curve.name for curve in CURVES])
def test_scaling_alternates_base_and_variant(curve: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scaling, "CURVES", [dataclasses.replace(each, quick_points=(2,)) for each in CURVES])
    file = new_file("scaling")
    Scaling(file, ScalingOptions(duration_s=0.05, pairs=2, curves=(curve,), quick=True), NoProgress()).run()
    roles = [run.options["role"] for run in file.runs]
    assert roles[:4] == ["base", "variant", "variant", "base"]
    assert {run.outcome for run in file.runs} == {"completed"}
    points = list(pairs_of(file))
    assert points and all(len(pairs) == 2 for _, _, _, pairs in points)
    assert f"**{curve}**" in report_text.markdown(file)


@pytest.mark.parametrize(
    ("pairs", "median", "noise"),
    [
        ([(2.0, 1.0)] * 3, 2.0, False),
        ([(2.0, 1.0)] * 2, 2.0, True),  # two rounds cannot show noise
        ([(1.1, 1.0), (1.3, 1.0), (0.9, 1.0)], 1.1, True),
        ([(1.5, 1.0), (1.52, 1.0), (1.48, 1.0)], 1.5, False),
        ([(1.0, 1.0)] * 5, 1.0, True),
        ([(1.0, None), (3.0, 1.0)], 3.0, True),
    ],
)
def test_a_ratio_says_when_noise_may_be_all_of_it(pairs: Any, median: float, noise: bool) -> None:
    found = report_text.ratio(pairs)
    assert found is not None
    assert (found.median, found.noise) == (pytest.approx(median), noise)
    assert found.text().startswith("~") == noise


def test_an_installed_package_does_not_name_scripts_of_the_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(brokers.BrokerError, match=f"are not in {tmp_path}"):
        brokers.kafka_jars(str(tmp_path))
    monkeypatch.setattr(brokers, "__file__", str(tmp_path / "site-packages/kafka_cy/bench/brokers.py"))
    with pytest.raises(brokers.BrokerError, match="name the folder libs in it with --kafka-jars") as raised:
        brokers.kafka_jars(None)
    assert "scripts/" not in str(raised.value)


def test_ratios_of_nothing_are_nothing() -> None:
    assert report_text.ratio([]) is None
    assert report_text.ratio([(None, 1.0), (1.0, 0.0)]) is None


def test_the_page_of_results_is_made_of_files() -> None:
    page = report_text.results_page([results.load(DATA / "run.json"), results.load(DATA / "compare.json")])
    assert page.index("## Compared with Apache Kafka") < page.index("## Single runs")
    assert "| produce one 100 B record, 1 in flight |" in page
    assert "\n1000 acks=all" not in page and page.endswith("|\n")


def test_the_page_says_what_was_tuned_and_started() -> None:
    started = results.load(DATA / "run.json")
    for run in started.runs:
        run.workload = run.label = "start"
    tuned = sample_tune()
    page = report_text.results_page([tuned, started])
    assert page.index("## Start") < page.index("## Tuning")
    assert "| run | target | starts | written before | median | slowest |" in page
    assert tuned.tune is not None
    for recommendation in tuned.tune.recommendations:
        settings = report_text.changes_text(tuned.tune.trials[recommendation.trial], tuned.tune.trials[0])
        assert f"| {recommendation.goal} | {settings} |" in page
    assert "batch.size 3.40x (262144 best, 4096 worst) for throughput" in page


def grown(factors: list[float]) -> results.Results:
    """A scaling file; `factors`: the CPU time at the last point relative to its base, pair by pair."""
    file = sample_scaling()
    file.runs = [
        dataclasses.replace(run, options={**run.options, "pair": pair}, totals=dataclasses.replace(run.totals))
        for run in file.runs
        for pair in range(len(factors))
    ]
    for run in file.runs:
        last = run.options["at"] == 20_000 and run.options["role"] == "variant"
        run.totals.requests = 1000
        run.totals.broker_cpu_s = factors[run.options["pair"]] if last else 1.0
    return file


@pytest.mark.parametrize(
    ("factors", "line"),
    [
        ([1.0, 1.02, 0.98], "**The cost of a request is flat**: at 20,000 partitions it is 1.00x to 1.00x of the cost"),
        ([1.5, 0.8, 3.0], "**The noise hides whether the cost of a request grows**: produce one 100 B record at"),
        ([1.5, 1.5, 1.6], "**The cost of a request grows**: produce one 100 B record at 20,000 partitions 1.50x"),
    ],
    ids=["flat", "noise", "grows"],
)
def test_the_growth_table_says_first_whether_cost_is_flat(factors: list[float], line: str) -> None:
    text = report_text.markdown(grown(factors))
    assert text.index(line) < text.index("**partitions**")


def test_ctrl_c_between_two_runs_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setitem(scaling.GROW, "partitions", interrupt)
    monkeypatch.setattr(Compare, "_run", interrupt)
    file = new_file("scaling")
    assert not Scaling(file, ScalingOptions(duration_s=0.05, pairs=1, curves=("partitions",), quick=True), NoProgress()).run()
    assert not Compare(file, CompareOptions(touch_bytes=0), NoProgress()).run()
    assert file.runs == []
