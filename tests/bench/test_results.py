"""The results file: it is read back as written, and invalid ones are refused with the place of the problem."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from kafka_cy.bench import results

DATA = Path(__file__).parent / "data"


@pytest.mark.parametrize("name", ["compare.json", "run.json"])
def test_a_file_is_read_back_as_it_was_written(name: str, tmp_path: Path) -> None:
    loaded = results.load(DATA / name)
    results.save(loaded, tmp_path / name)
    assert results.load(tmp_path / name) == loaded
    assert [each.name for each in tmp_path.iterdir()] == [name]
    assert json.loads(results.to_json(loaded)) == {"tune": None, **json.loads((DATA / name).read_text())}


def broken(change: Any) -> Any:
    value = json.loads((DATA / "run.json").read_text())
    change(value)
    return value


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda file: file.update(format=2), "the format is 2, but this version reads 1"),
        (lambda file: file.pop("machine"), "results.machine is missing"),
        (lambda file: file.update(kind="walk"), 'results.kind must be one of run, compare, tune, scaling, not "walk"'),
        (lambda file: file["runs"][0].update(outcome=None), "results.runs[0].outcome must be one of"),
        (lambda file: file["runs"][0].update(colour=1), "results.runs[0] has an unknown member 'colour'"),
        (
            lambda file: file["runs"][0]["samples"][1].update(t_s="2"),
            'results.runs[0].samples[1].t_s must be a number, not "2"',
        ),
        (lambda file: file["runs"][0]["totals"].update(requests=True), "must be an integer, not true"),
        (lambda file: file["runs"][0]["latency"].update(buckets=[1]), "latency.buckets[0] must be a list, not 1"),
        (
            lambda file: file["runs"][0]["totals"].update(duration_s=float("nan")),
            "must be a number below 2^63, not NaN",
        ),
        (lambda file: file["runs"][0]["totals"].update(bytes=2**63), "totals.bytes must be a number below 2^63"),
        (lambda file: file.update(versions=["x"]), 'results.versions must be an object, not ["x"]'),
    ],
)
def test_what_is_wrong_is_named_with_its_place(change: Any, sentence: str) -> None:
    with pytest.raises(results.ResultsError) as raised:
        results.from_json(broken(change))
    assert sentence in str(raised.value)


def test_what_is_no_results_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "some.json"
    path.write_text("{")
    with pytest.raises(results.ResultsError, match=r"some\.json is not JSON"):
        results.load(path)
    path.write_text("[]")
    with pytest.raises(results.ResultsError, match=r"some\.json: results must be an object, not \[\]"):
        results.load(path)
