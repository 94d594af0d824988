"""The command `kafka-cy sizing`: its inputs, outputs and error messages."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from kafka_cy.sizing.inputs import SizingInputs
from kafka_cy.sizing.plan import make_plan
from kafka_cy.sizing.report import plan_html
from kafka_cy.sizing.units import format_amount
from kafka_cy.tools import cli

LOAD = ("--messages-per-day", "100M", "--message-bytes", "1kB")
EXAMPLES = Path(__file__).parents[2] / "monitoring" / "sizing"


def figures(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, float]:
    assert cli.run(["sizing", "--output", "json", *arguments]) == 0
    sections = json.loads(capsys.readouterr().out)["figures"]
    return {name: figure["value"] for section in sections.values() for name, figure in section.items()}


def test_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["sizing", *LOAD]) == 0
    lines = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == ["SECTION", "FIGURE", "VALUE", "WHY"]
    assert ["Storage", "stored a day", "100 GB", "messages a day x size / compression, one copy"] in lines


def test_options_come_before_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "load.yaml"
    path.write_text("messages-per-day: 100M\nmessage_bytes: 1 kB\nretention_days: 1\nreplication_factor: 2\n")
    found = figures(
        capsys, "--from", str(path), "--retention-days", "2d", "--segment-bytes", "1024", "--partitions", "4"
    )
    assert found["storage"] == pytest.approx(100e6 * 1000 * 2 * 2 * (1 + 20 / 4096), rel=1e-6)


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.yaml")), ids=lambda path: path.name)
def test_the_examples_can_be_used(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert figures(capsys, "--from", str(path))["brokers needed"] >= 1


def test_the_time_to_plan_for_has_units(capsys: pytest.CaptureFixture[str]) -> None:
    found = figures(capsys, *LOAD, "--growth-per-year", "50%", "--plan-for", "2y")
    assert found["planned for"] == 730
    assert found["messages a day"] == pytest.approx(2.25 * 100e6)


def test_html_needs_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "plan.html"
    assert cli.run(["sizing", *LOAD, "--growth-per-year", "40%", "--output", "html", "--out", str(path)]) == 0
    page = path.read_text()
    assert "until then it is 140,000,000 messages a day." in page
    charts = re.findall(r"<svg.*?</svg>", page, re.DOTALL)
    assert len(charts) == 4
    for chart in charts:
        assert len(list(ElementTree.fromstring(chart).iter("{http://www.w3.org/2000/svg}polyline"))) >= 2
    links = re.findall(r"""(?:src|href)\s*=|url\(|@import|<script""", page)
    assert links == []


def test_the_charts_have_the_figures_of_the_plan() -> None:
    """Small partitions in large segments: what is expired and not yet deletable decides the number of brokers."""
    plan = make_plan(
        SizingInputs(messages_per_day=1e9, message_bytes=1000, retention_days=1, partitions=3000, disk_bytes=1e12)
    )
    assert plan["expired, not yet deletable"] > plan["stored a day"]
    page = plan_html(plan)
    assert f"<title>replication factor 3: 1 d, {plan['for storage']:.0f}</title>" in page
    usable = format_amount("bytes", plan["usable disk a broker"] * plan["brokers"])
    assert f">usable (70%): {usable}<" in page


def test_a_report_about_too_few_brokers_says_so() -> None:
    plan = make_plan(SizingInputs(messages_per_day=1e9, message_bytes=1000, brokers=3))
    page = plan_html(plan)
    assert f"Sizing: {plan['brokers needed']:.0f} brokers for 1,000,000,000 messages a day (3 exist)" in page
    assert "There are too few brokers: 3 instead of" in page
    assert plan["brokers"] == 3


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((), "messages_per_day and message_bytes must be given, or measured in a cluster that receives messages."),
        (("--messages-per-day", "many"), "messages_per_day must be an amount such as 3, 200k or 1.5M, not 'many'."),
        ((*LOAD, "--disk-fill", "170%"), "disk_fill must be between 0.01 and 1, not 1.7."),
        ((*LOAD, "--topics", "1.5"), "topics must be a whole number, not 1.5."),
        ((*LOAD, "--memory-bytes", "1GB"), "process_memory_bytes leaves no part of memory_bytes for the page cache."),
        (("--from", "no-such-file"), "no-such-file cannot be read: No such file or directory."),
        (("--prometheus", "http://127.0.0.1:1"), "No Prometheus answers at http://127.0.0.1:1."),
        (("--prometheus", "127.0.0.1"), "'127.0.0.1' is not an http:// address."),
        (("--metrics", "http://x", "-b", "127.0.0.1:1"), "No broker answers at 127.0.0.1:1: connection refused."),
        ((*LOAD, "--output", "html", "--out", "/no/such"), "/no/such cannot be written: No such file or directory."),
    ],
)
def test_bad_input_is_one_sentence(
    arguments: tuple[str, ...], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["sizing", *arguments]) == 1
    captured = capsys.readouterr()
    assert captured.err == f"kafka-cy: {sentence}\n"
    assert captured.out == ""


@pytest.mark.parametrize(
    ("text", "ending"),
    [
        ("messages_per_day: [1]\n", "messages_per_day must be an amount such as 3, 200k or 1.5M, not [1]."),
        ("speed: 3\n", "Unknown input 'speed'; kafka-cy sizing --help lists the inputs."),
        ("- 1\n", "must consist of `name: amount` lines."),
        ("a: b: c\n", "is not YAML at line 1."),
        ("a: !!python/object:os.system x\n", "is not YAML at line 1."),
        ("[" * 5000, "is not YAML."),
        ("\x00", "is not YAML."),
    ],
)
def test_bad_files_are_one_sentence(text: str, ending: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "load.yaml"
    path.write_text(text)
    assert cli.run(["sizing", "--from", str(path)]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"kafka-cy: {path}")
    assert error.endswith(f"{ending}\n")
    assert error.count("\n") == 1
