"""Reports and pictures of boards in a real browser: nothing overlaps, is cut off, is asked from elsewhere, or fails."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from grafana.queries import load_boards
from grafana.render.__main__ import board_svg
from kafka_cy.bench.report_html import html_page
from kafka_cy.bench.results import Results
from kafka_cy.sizing.inputs import SizingInputs, read_yaml
from kafka_cy.sizing.plan import make_plan
from kafka_cy.sizing.report import plan_html
from kafka_cy.tools.prometheus import TimeSeries
from tests.bench.sample_results import sample_compare, sample_run, sample_scaling, sample_tune

from .browser import Browser, running_browser

WIDTHS = (1400, 700)
SIZING = Path(__file__).parents[2] / "monitoring/sizing"
LONG = "a-rather-long-name-that-somebody-gave-to-a-topic-or-a-client-in-production-eu-west"

# Pairs of texts in the same SVG that overlap, and texts that reach beyond it. Returns a list of sentences.
TEXTS_THAT_COLLIDE = """
const wrong = [];
for (const svg of document.querySelectorAll("svg")) {
  const frame = svg.getBoundingClientRect();
  if (frame.width === 0) continue;
  const texts = [...svg.querySelectorAll("text")].filter((each) => each.getBBox().width > 0).map((each) => {
    const words = [...each.childNodes].filter((node) => node.nodeType === Node.TEXT_NODE).map((node) => node.data).join("");
    return { words, box: each.getBoundingClientRect() };
  });
  for (const [index, { words, box }] of texts.entries()) {
    if (box.left < frame.left - 1 || box.right > frame.right + 1 || box.top < frame.top - 1 || box.bottom > frame.bottom + 1)
      wrong.push(`"${words}" is cut off`);
    for (const other of texts.slice(index + 1)) {
      const across = Math.min(box.right, other.box.right) - Math.max(box.left, other.box.left);
      const down = Math.min(box.bottom, other.box.bottom) - Math.max(box.top, other.box.top);
      if (across > 1 && down > 3) wrong.push(`"${words}" is over "${other.words}"`);
    }
  }
}
return wrong;
"""
TABLES_THAT_SCROLL = """
return [...document.querySelectorAll(".scroll, pre, .tables td")].filter((each) => each.scrollWidth > each.clientWidth + 1)
  .map((each) => each.textContent.slice(0, 60));
"""
WIDER_THAN_THE_WINDOW = "return document.documentElement.scrollWidth > innerWidth;"
UNNAMED = """
return [...document.querySelectorAll("svg")].filter((svg) => {
  const name = svg.getAttribute("aria-label") || svg.querySelector(":scope > title")?.textContent;
  return svg.getAttribute("role") !== "img" || !name || !svg.querySelector(":scope > desc")?.textContent;
}).length;
"""
OPEN_EVERYTHING = "for (const each of document.querySelectorAll('details')) each.open = true;"
BACKGROUND = "return getComputedStyle(document.body).backgroundColor;"
POINT_AT_A_CHART = """
const chart = document.querySelector("svg.chart");
const box = chart.querySelector("circle").getBoundingClientRect();
const [clientX, clientY] = [box.x + box.width / 2, box.y + box.height / 2];
chart.dispatchEvent(new PointerEvent("pointermove", { clientX, clientY }));
const tip = document.querySelector("#tip");
return tip.hidden ? "" : tip.textContent;
"""


class SyntheticPrometheus:
    """Answers every query with three series; the labels have the values that real ones have, and one is long."""

    NAMES = ("orders", LONG, "payments")

    def instant(self, query: str, at: float | None = None) -> list[TimeSeries]:
        return [TimeSeries(each.labels, each.points[-1:]) for each in self.range(query, at or 0.0, (at or 0.0) + 9, 9)]

    def range(self, query: str, start: float, end: float, step: float) -> list[TimeSeries]:
        names = set(re.findall(r"[a-z_]\w*", query, re.IGNORECASE)) | {"instance", "topic", "request", "client_id"}
        scale = 10 ** (len(query) % 11 - 2)
        series = []
        for number, name in enumerate(self.NAMES):
            count = int((end - start) / step) + 1
            values = [scale * (2 + number + math.sin(index / 9 + number)) for index in range(count)]
            points = [(start + index * step, value) for index, value in enumerate(values)]
            series.append(TimeSeries(dict.fromkeys(names, name), points))
        return series


def long_names() -> Results:
    """A comparison whose label is long and has no place to break."""
    found = sample_compare()
    for run in found.runs:
        run.label = f"{run.label} {LONG}"
        if run.target == "floor":
            run.target = LONG
    return found


def sizing_page(name: str, **more: Any) -> str:
    values: dict[str, Any] = {**read_yaml(SIZING / name), **more}
    return plan_html(make_plan(SizingInputs(**values)))


PAGES = {
    "run": lambda: html_page(sample_run()),
    "compare": lambda: html_page(sample_compare()),
    "two files": lambda: html_page(sample_compare(), sample_compare()),
    "scaling": lambda: html_page(sample_scaling()),
    "tune": lambda: html_page(sample_tune()),
    "long names": lambda: html_page(long_names()),
    "sizing": lambda: sizing_page("large.yaml"),
    "small sizing": lambda: sizing_page("small.yaml"),
    "sizing with warnings": lambda: sizing_page("large.yaml", brokers=3, used_bytes=2e12, growth_bytes_per_day=1e11),
}


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with running_browser(tmp_path_factory.mktemp("profile")) as started:
        yield started


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", PAGES)
def test_report(name: str, width: int, browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_text(PAGES[name]())
    browser.open(path, width)
    browser.run(OPEN_EVERYTHING)
    assert not browser.run(WIDER_THAN_THE_WINDOW)
    assert browser.run(TEXTS_THAT_COLLIDE) == []
    assert browser.run(UNNAMED) == 0
    if width == max(WIDTHS) and name != "long names":
        assert browser.run(TABLES_THAT_SCROLL) == []
    assert browser.requested() == [path.as_uri()]
    assert browser.logged("browser") == []


@pytest.mark.parametrize("name", sorted(load_boards()))
def test_picture_of_a_board(name: str, browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "board.svg"
    prometheus: Any = SyntheticPrometheus()
    path.write_text(board_svg(name, load_boards()[name], prometheus, 15, "1m", end=1_795_000_000.0))
    browser.open(path, max(WIDTHS))
    assert not browser.run(WIDER_THAN_THE_WINDOW)
    assert browser.run(TEXTS_THAT_COLLIDE) == []
    assert browser.requested() == [path.as_uri()]
    assert browser.logged("browser") == []


def test_themes(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_text(PAGES["run"]())
    colors = []
    for theme in ("light", "dark"):
        browser.open(path, 1400, theme)
        colors.append(sum(map(int, re.findall(r"\d+", browser.run(BACKGROUND)))))
    assert colors[0] > 3 * 200 and colors[1] < 3 * 60


def test_values_at_the_pointer(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_text(PAGES["run"]())
    browser.open(path, 1400)
    assert re.search(r"kafka-cy: .*% within \d", browser.run(POINT_AT_A_CHART))


def test_the_sizing_report_agrees_with_its_plan(browser: Browser, tmp_path: Path) -> None:
    """The figures at the top, in the tables and in the legends are the same ones."""
    values: dict[str, Any] = dict(read_yaml(SIZING / "large.yaml"))
    plan = make_plan(SizingInputs(**values))
    path = tmp_path / "plan.html"
    path.write_text(plan_html(plan))
    browser.open(path, 1400)
    text = browser.run("return document.body.innerText;")
    assert f"Sizing: {plan['brokers needed']:,.0f} brokers" in text
    figures = {each.name: each.text for found in plan.sections.values() for each in found}
    shown = browser.run(
        "return [...document.querySelectorAll('dl div, .tables tr')].map("
        "(each) => [...each.children].slice(0, 2).map((cell) => cell.textContent));"
    )
    for name, value in shown:
        if name in figures:
            assert value == figures[name], name
    assert set(figures) <= {name for name, _ in shown}
    assert plan.days_until_full() >= asdict(plan.inputs)["plan_for_days"]
