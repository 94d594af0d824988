"""Small works end within one call, however slow the machine is; tests of slices set the length of a slice themselves."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from kafka_cy.base import slices


@pytest.fixture(autouse=True, scope="module")
def long_slices() -> Iterator[None]:
    before = slices.SLICE_S
    slices.SLICE_S = 60.0
    yield
    slices.SLICE_S = before
