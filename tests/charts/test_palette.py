"""The colours of charts: two series can be told apart, also by readers with a colour vision deficiency."""

from __future__ import annotations

import itertools
import math

import pytest

from kafka_cy.charts.palette import ROLES, SERIES_COLORS

Rgb = tuple[float, ...]  # linear light, 0 to 1

# Machado, Oliveira, Fernandes (2009): simulation of a full deficiency, in linear RGB.
VISIONS = {
    "trichromacy": ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)),
    "deuteranopia": ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.01182, 0.04294, 0.968881)),
    "protanopia": ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)),
}
TO_XYZ = ((0.4124, 0.3576, 0.1805), (0.2126, 0.7152, 0.0722), (0.0193, 0.1192, 0.9505))
WHITE = (0.9505, 1.0, 1.089)
# CIELAB distances: 2.3 is just noticeable for large areas side by side; thin lines in a legend need far more.
DISTANCE_MIN = 15.0
# WCAG 2.2: 3 for graphics and large text, 4.5 for other text.
GRAPHICS_MIN, TEXT_MIN = 3.0, 4.5


def linear(color: str) -> Rgb:
    channels = (int(color[at : at + 2], 16) / 255 for at in (1, 3, 5))
    return tuple(each / 12.92 if each <= 0.04045 else ((each + 0.055) / 1.055) ** 2.4 for each in channels)


def times(matrix: tuple[Rgb, ...], color: Rgb) -> Rgb:
    return tuple(sum(a * b for a, b in zip(row, color, strict=True)) for row in matrix)


def lab(color: Rgb) -> Rgb:
    seen = times(TO_XYZ, tuple(min(max(each, 0.0), 1.0) for each in color))
    x, y, z = (
        share ** (1 / 3) if share > 0.008856 else 7.787 * share + 16 / 116
        for share in (each / white for each, white in zip(seen, WHITE, strict=True))
    )
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


def contrast(a: str, b: str) -> float:
    light, dark = sorted((times(TO_XYZ, linear(each))[1] for each in (a, b)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize("vision", VISIONS)
def test_any_two_series_can_be_told_apart(vision: str, theme: int) -> None:
    seen = [lab(times(VISIONS[vision], linear(color[theme]))) for color in SERIES_COLORS]
    for (a, first), (b, second) in itertools.combinations(enumerate(seen), 2):
        assert math.dist(first, second) >= DISTANCE_MIN, (a, b)


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_everything_stands_out_from_a_card(theme: int) -> None:
    card = ROLES["card"][theme]
    for color in SERIES_COLORS:
        assert contrast(color[theme], card) >= GRAPHICS_MIN, color
    for role in ("text", "quiet", "link", "good", "warn", "bad"):
        assert contrast(ROLES[role][theme], card) >= TEXT_MIN, role
