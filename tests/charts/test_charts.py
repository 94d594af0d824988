"""The charts: axes, gaps, legends and text, without a browser (tests/reports has one)."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ElementTree

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kafka_cy.charts import legend
from kafka_cy.charts.axis import TIME_STEPS, Axis, Projection, Scale
from kafka_cy.charts.bar_chart import Bar, bar_chart
from kafka_cy.charts.line_chart import line_chart
from kafka_cy.charts.palette import picture_style
from kafka_cy.charts.series import POINTS_MAX, Series, runs_of
from kafka_cy.charts.svg import picture
from kafka_cy.charts.text import fitted, text_width

SVG = "{http://www.w3.org/2000/svg}"
PLAIN = Axis("", "{:g}".format)


def ticks(low: float, high: float, count: int = 6, **more: object) -> list[float]:
    axis = Axis("", "{:g}".format, **more)  # type: ignore[arg-type]
    return Projection(axis, [low, high], 0, 100).ticks(count)


def test_ticks_are_round_numbers() -> None:
    assert ticks(0, 97) == [0, 20, 40, 60, 80, 100]
    assert ticks(0, 3, whole=True) == [0, 1, 2, 3]
    assert ticks(0, 240, count=4, steps=TIME_STEPS, most=240.0) == [0, 60, 120, 180, 240]
    assert ticks(0, 100 * 2**20, scale="binary") == [0, 32 * 2**20, 64 * 2**20, 96 * 2**20]
    assert ticks(0.01, 100, scale="log") == pytest.approx([0.01, 0.1, 1, 10, 100])
    assert ticks(3, 60, scale="log") == pytest.approx([5, 10, 20, 50])
    assert ticks(0, 0.9995, scale="percentile") == pytest.approx([0, 0.5, 0.9, 0.99, 0.999])


finite = st.floats(-1e300, 1e300)


@example([(0.0, -5e-324)], "linear")
@given(st.lists(st.tuples(st.floats(), st.floats()), max_size=20), st.sampled_from(["linear", "binary", "log"]))
def test_any_points_give_well_formed_charts(points: list[tuple[float, float]], scale: Scale) -> None:
    axis = Axis("x", "{:g}".format, scale)
    drawn = line_chart("title", [Series("name", points, 0, filled=True)], axis, axis)
    assert "nan" not in drawn and "inf" not in drawn.replace("1e+inf", "")
    ElementTree.fromstring(drawn)


def test_a_missing_point_interrupts_the_line() -> None:
    series = Series("name", [(0, 1), (1, 2), (2, math.nan), (3, 1), (4, 2), (5, math.inf), (6, 1)], 0)
    assert runs_of(series, PLAIN, PLAIN) == [[0, 1], [3, 4], [6]]
    drawn = ElementTree.fromstring(line_chart("title", [series], PLAIN, PLAIN))
    assert len(drawn.findall(f"{SVG}polyline")) == 2


def test_thinned_lines_keep_their_ends_and_gaps() -> None:
    points = [(float(x), math.nan if x == 5000 else 1.0) for x in range(10_000)]
    runs = runs_of(Series("name", points, 0), PLAIN, PLAIN)
    assert len(runs) == 2 and sum(map(len, runs)) == POINTS_MAX
    assert (runs[0][0], runs[-1][-1]) == (0, 9999)
    assert runs[0][-1] < 5000 < runs[1][0]


def test_stacked_areas_lie_on_each_other() -> None:
    below = Series("below", [(0, 1), (1, 1)], 0, filled=True, base=[0, 0])
    above = Series("above", [(0, 3), (1, 3)], 1, filled=True, base=[1, 1])
    nothing = Series("nothing", [(0, 3), (1, 3)], 2, filled=True, base=[3, 3])
    drawn = ElementTree.fromstring(line_chart("title", [below, above, nothing], PLAIN, PLAIN))
    first, second = (each.attrib["points"].split() for each in drawn.findall(f"{SVG}polygon"))
    assert second[2:] == first[1::-1]


def test_a_legend_names_each_series_once_and_in_its_rows() -> None:
    series = [Series(name, [(0, 1)], 0, faint=name == "faint") for name in ("one", "two", "one", "faint", "", "x" * 500)]
    rows = legend.rows(series, 300)
    assert [[index for _, index, _ in row] for row in rows] == [[0, 1], [5]]
    assert len(legend.rows([Series(f"series {n}", [(0, 1)], n) for n in range(50)], 300, 3)) == 3
    for row in rows:
        assert all(x + legend.KEY_WIDTH + room <= 300 for x, _, room in row)


@given(st.text(max_size=40), st.floats(20, 300))
def test_fitted_text_fits(text: str, width: float) -> None:
    assert text_width(fitted(text, width)) <= max(width, text_width(text[:1] + "…"))


def test_text_of_others_is_text() -> None:
    name = "<script>\x00\x1b[2J\ud800&\"'"
    for drawn in (
        line_chart(name, [Series(name, [(0, 1), (1, 2)], 0)], Axis(name, lambda _: name), Axis(name, lambda _: name)),
        bar_chart(name, [Bar(name, 1, name)]),
        picture(name, name, 10, 10, [], "light"),
    ):
        assert "<script>" not in drawn
        ElementTree.fromstring(drawn)


def test_charts_have_a_title_and_a_description() -> None:
    drawn = ElementTree.fromstring(
        line_chart("Throughput", [Series("kafka-cy", [(0, 1), (1, 5)], 0)], Axis("seconds", "{:g} s".format), PLAIN)
    )
    assert drawn.attrib["role"] == "img"
    assert drawn.findtext(f"{SVG}title") == "Throughput"
    assert drawn.findtext(f"{SVG}desc") == "values by seconds. kafka-cy: from 1 to 5."


def test_pictures_for_programs_without_variables_have_plain_colours() -> None:
    light, dark = picture_style("light"), picture_style("dark")
    assert light != dark
    for style in (light, dark):
        assert "var(" not in style and "light-dark(" not in style
