"""Pareto fronts: their defining properties, for any input."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from kafka_cy.bench.pareto import dominates, front

VALUES = st.one_of(st.integers(0, 4).map(float), st.floats(-1e9, 1e9))
OBJECTIVES = st.integers(1, 4)


@st.composite
def problems(draw: st.DrawFn) -> tuple[list[list[float]], list[bool]]:
    width = draw(OBJECTIVES)
    rows = draw(st.lists(st.lists(VALUES, min_size=width, max_size=width), max_size=25))
    return rows, draw(st.lists(st.booleans(), min_size=width, max_size=width))


@given(problems())
def test_nothing_in_the_front_is_dominated_and_all_else_is(problem: tuple[list[list[float]], list[bool]]) -> None:
    rows, larger = problem
    chosen = front(rows, larger)
    assert chosen == sorted(set(chosen))
    assert bool(chosen) == bool(rows)
    for index, row in enumerate(rows):
        beaten_by = [other for other in chosen if dominates(rows[other], row, larger)]
        assert bool(beaten_by) == (index not in chosen)


@given(problems(), st.randoms(use_true_random=False))
def test_order_does_not_matter(problem: tuple[list[list[float]], list[bool]], random: object) -> None:
    rows, larger = problem
    order = list(range(len(rows)))
    random.shuffle(order)  # type: ignore[attr-defined]
    shuffled = front([rows[index] for index in order], larger)
    assert sorted(order[index] for index in shuffled) == front(rows, larger)


@given(problems())
def test_turning_an_objective_round_is_changing_its_sign(problem: tuple[list[list[float]], list[bool]]) -> None:
    rows, larger = problem
    turned = [[-value for value in row] for row in rows]
    assert front(turned, [not each for each in larger]) == front(rows, larger)


@given(problems())
def test_the_best_of_each_objective_is_reached_by_the_front(problem: tuple[list[list[float]], list[bool]]) -> None:
    rows, larger = problem
    for objective, is_larger in enumerate(larger):
        best = max if is_larger else min
        values = [row[objective] for row in rows]
        if values:
            assert best(values) == best(rows[index][objective] for index in front(rows, larger))


def test_what_was_not_measured_is_left_out() -> None:
    rows = [[1.0, None], [2.0, 5.0], [math.nan, 1.0], [1.0, 6.0]]
    assert front(rows, [True, False]) == [1]
    assert front([], [True]) == []


def test_equal_rows_do_not_dominate_each_other() -> None:
    assert front([[1.0, 1.0], [1.0, 1.0]], [True, True]) == [0, 1]
