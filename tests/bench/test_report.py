"""Reports of results files: their contents, and that no text from a file acts as markup or a command."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from kafka_cy.bench import results
from kafka_cy.bench.figures import Summary, Text, ms_text, number_text
from kafka_cy.bench.report_html import html_page
from kafka_cy.bench.report_html.parts import spread_span
from kafka_cy.bench.results import Latency, Results
from kafka_cy.tools.bench_report import command
from kafka_cy.tools.client import ToolError

from .sample_results import sample_compare, sample_run, sample_scaling, sample_tune

HOSTILE = (
    "</title></style></script><script>alert(1)</script>\"'><img src=x onerror=alert(1)>\x1b[2J\ttab\nline[red]\ud800"
)
VOID = {"meta", "circle", "line", "polyline"}


class Page(HTMLParser):
    """The elements of a page; fails on elements that are not closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def count(self, tag: str, kind: str = "") -> int:
        return sum(name == tag and kind in (given.get("class") or "").split(" ") for name, given in self.elements)

    def text(self) -> str:
        return "\n".join(self.texts)


def report(*arguments: object) -> Result:
    return CliRunner().invoke(command, [str(each) for each in arguments])


def saved(value: Results, path: Path) -> Path:
    results.save(value, path)
    return path


@pytest.mark.parametrize("sample", [sample_run, sample_compare, sample_scaling, sample_tune])
def test_a_page_needs_nothing_else(sample: Any) -> None:
    page = Page(html_page(sample()))
    assert page.count("svg", "chart") >= 1
    for tag, given in page.elements:
        assert tag not in {"link", "img", "iframe", "object", "embed"}
        assert not {"src", "href", "srcset"} & set(given)
        assert not any(name.startswith("on") for name in given)
    assert page.count("script") == 1


def test_the_policy_allows_the_pages_own_script_only() -> None:
    import base64
    import hashlib

    text = html_page(sample_run())
    script = text.partition("<script>")[2].partition("</script>")[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'" in text


def test_a_page_shows_every_run_and_every_sample() -> None:
    sample = sample_compare()
    page = Page(html_page(sample))
    assert page.count("details") == len(sample.runs)
    text = page.text()
    for run in sample.runs:
        assert f"{run.label} / {run.target} / round {run.round}" in text
        for each in run.samples:
            assert f"{each.bytes:,}" in text
    assert "broker-died: exit code 137" in text
    # two loads, each with latency percentiles, throughput, latency over time and memory
    assert page.count("svg", "chart") == 8
    assert page.count("polyline", "c0") == 2 * (1 + 3 * 3)


def test_a_comparison_begins_with_the_ratios_and_explains_the_floor() -> None:
    compared = sample_compare()
    page = html_page(compared)
    loads = {run.label for run in compared.runs}
    summary = Page(page[page.index('<div class="card">', page.index('id="summary"')) : page.index('<h2 id="figures"')])
    rows = [tag for tag, _ in summary.elements].count("tr")
    assert rows == 1 + len(loads)  # kafka-cy beside Apache Kafka; the floor is no competitor
    assert summary.count("span", "ratio") >= 3 * len(loads)
    assert "Relative to Apache Kafka" in page and "The floor is the same load against a bare loop" in page


def test_a_spread_is_two_figures_with_the_unit_of_their_median() -> None:
    def spread(median: float, low: float, high: float, text: Text) -> str:
        return re.sub("<.*?>", "", spread_span(Summary(median, low, high, 3), text))

    assert spread(14, 13, 14, number_text) == "13.0–14.0"  # the median is the maximum
    assert spread(500, 400, 1500, number_text) == "400–1.50k"
    assert spread(2, 1, 3, ms_text) == "1.00–3.00"
    assert spread(2, 0.05, 3, ms_text) == "50.0 us–3.00 ms"
    assert spread(2, 2, 2, ms_text) == ""


def test_files_without_a_common_load_are_not_compared_in_silence(tmp_path: Path) -> None:
    a, b = sample_run(), sample_run()
    for each in b.runs:
        each.label += " of another kind"
    sentence = "A and B have no load with the same label and target in common: nothing is compared."
    assert sentence in html_page(a, b)
    done = report(saved(a, tmp_path / "a.json"), saved(b, tmp_path / "b.json"))
    assert sentence in done.output + done.stderr
    assert sentence not in html_page(a, a)


def hostile(value: Any) -> Any:
    """The same file with every free text replaced."""
    if isinstance(value, dict):
        fixed = {"kind", "outcome", "generator"}
        free = {"versions", "options", "settings", "client", "topic", "java_producer", "java_consumer"}
        return {
            key: each
            if key in fixed or key == "started"
            else {HOSTILE: HOSTILE, "at": HOSTILE, "unit": HOSTILE}
            if key in free
            else hostile(each)
            for key, each in value.items()
        }
    if isinstance(value, list):
        return [hostile(each) for each in value]
    return HOSTILE if isinstance(value, str) else value


def test_the_scaling_page_explains_its_base() -> None:
    said = Page(html_page(sample_scaling())).text()
    assert " (base)" in said and "against a broker where nothing has grown" in said


@pytest.mark.parametrize("sample", [sample_run, sample_compare, sample_scaling, sample_tune])
def test_nothing_of_a_file_is_markup_or_commands_a_terminal(sample: Any, tmp_path: Path) -> None:
    path = tmp_path / "hostile.json"
    path.write_text(json.dumps(hostile(json.loads(results.to_json(sample())))))
    done = report(path, "--html", tmp_path / "page.html")
    assert done.exit_code == 0, done.output
    assert "\x1b" not in done.output
    assert "[red]" in done.output
    page = Page((tmp_path / "page.html").read_text())
    assert page.count("script") == 1
    assert page.count("img") == 0
    assert "<img src=x onerror=alert(1)>" in page.text()
    plain = Page(html_page(sample()))
    assert {tag for tag, _ in page.elements} <= {tag for tag, _ in plain.elements} | {"p", "ul", "li", "span", "circle"}


def test_text_of_one_file(tmp_path: Path) -> None:
    path = saved(sample_compare(), tmp_path / "a.json")
    lines = [line.split("\t") for line in report(path).output.splitlines() if "\t" in line]
    assert lines[0][:5] == ["load", "target", "rounds", "records/s", "bytes/s"]
    assert [line[1] for line in lines[1:]] == ["kafka-cy", "apache-kafka", "floor"] * 2
    ours, theirs = lines[1], lines[2]
    assert re.fullmatch(r"\d+k \(3\.\d\dx\)", ours[3])
    assert re.fullmatch(r"\d+k", theirs[3])
    assert lines[5][2] == "4; exit code 137"


def test_text_of_two_files(tmp_path: Path) -> None:
    faster = sample_compare()
    for run in faster.runs:
        run.totals.records *= 2
    done = report(saved(sample_compare(), tmp_path / "a.json"), saved(faster, tmp_path / "b.json"))
    rows = [line.split("\t") for line in done.output.splitlines() if "\t" in line][1:]
    assert len(rows) == 12
    for row in rows:
        if row[1].startswith("B: "):
            assert row[3].endswith("(2.00x)")  # the rounds do not overlap
            assert row[7].endswith("(~1.00x)")  # unchanged: not more than noise
        else:
            assert "(" not in row[3]


def test_loads_that_only_one_file_has(tmp_path: Path) -> None:
    a = saved(sample_run("only in A"), tmp_path / "a.json")
    b = saved(sample_run("only in B", target="broker.example:9092"), tmp_path / "b.json")
    done = report(a, b, "--html", tmp_path / "ab.html")
    assert done.exit_code == 0, done.output
    assert "only in A\tA: kafka-cy\t1" in done.output
    assert "only in B\tB: broker.example:9092\t1" in done.output
    Page((tmp_path / "ab.html").read_text())


def test_tuning_shows_what_to_paste(tmp_path: Path) -> None:
    done = report(saved(sample_tune(), tmp_path / "tune.json"), "--html", tmp_path / "tune.html")
    assert "# librdkafka (confluent-kafka, kcat ...)\nbatch.size=262144\nacks=1\n" in done.output
    assert "batch.size=262144\nacks=1" in Page((tmp_path / "tune.html").read_text()).text()


def test_runs_that_gave_nothing_are_still_a_page(tmp_path: Path) -> None:
    sample = sample_run()
    run = sample.runs[0]
    run.samples, run.latency, run.outcome, run.error = [], None, "failed", "refused"
    run.totals.duration_s = 0.0
    for value in (sample, Results("run", "", [], sample.machine, {}, [])):
        done = report(saved(value, tmp_path / "a.json"), "--html", tmp_path / "a.html")
        assert done.exit_code == 0, done.output
        Page((tmp_path / "a.html").read_text())


def test_extreme_figures_are_drawn(tmp_path: Path) -> None:
    sample = sample_run()
    run = sample.runs[0]
    run.latency = Latency(3, 1e18, 1e18, buckets=[[0.0, 1], [1e-300, 1], [-5.0, 2], [1e18, 1e18], [3.0]])
    run.samples[0].t_s, run.samples[1].t_s, run.samples[2].rss_bytes = -1e18, 1e18, -(2**62)
    run.totals.duration_s, run.totals.broker_cpu_s = 1e-300, 1e18
    path = saved(sample, tmp_path / "a.json")
    done = report(path, "--html", tmp_path / "a.html")
    assert done.exit_code == 0, done.output
    text = (tmp_path / "a.html").read_text()
    Page(text)
    assert "nan" not in text.lower().partition("</style>")[2].partition("<script>")[0]
    assert report(path, "--openmetrics", tmp_path / "a.txt").exit_code == 0


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("", "is not JSON"),
        ("[1, 2]", "results must be an object"),
        ("\x00\xff", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ('{"hello": "world"}', "format is None"),
        ('{"format": 1, "kind": "tune"}', "started is missing"),
    ],
)
def test_broken_and_foreign_files_get_one_sentence(content: str, sentence: str, tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    path.write_bytes(content.encode("latin-1"))
    done = report(path)
    assert isinstance(done.exception, ToolError)
    assert sentence in str(done.exception)
    assert str(path) in str(done.exception)
    assert done.output == ""


def test_files_that_are_not_there_or_cannot_be_written(tmp_path: Path) -> None:
    done = report(tmp_path / "none.json")
    assert str(done.exception) == f"{tmp_path}/none.json cannot be read: No such file or directory."
    done = report(saved(sample_run(), tmp_path / "a.json"), "--html", tmp_path / "no" / "a.html")
    assert f"Invalid value for '--html': the folder {tmp_path}/no does not exist" in done.output
