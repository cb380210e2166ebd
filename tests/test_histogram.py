"""The SVG of how values are spread."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import numpy as np
import pytest

from animepggan.report.sheet import FLOOR, WIDTH, histogram


def bars(drawing: str) -> list[tuple[float, float, str]]:
    """Left edge, height and color of each."""
    return [
        (float(bar.get("x", "")), float(bar.get("height", "")), bar.get("fill", ""))
        for bar in ElementTree.fromstring(drawing).iter("rect")
    ]


def test_shares_are_compared_not_counts() -> None:
    few, many = np.full(3, 0.2), np.full(3000, 0.6)
    ((left, height, color), (right, other, _)) = bars(histogram([(few, "red"), (many, "gray")], 0.5, extent=(0, 1)))
    assert color == "red"
    assert height == other == FLOOR - 4
    assert (left, right) == pytest.approx((0.2 * WIDTH, 0.6 * WIDTH), abs=WIDTH / 80)


def test_one_picture_is_seen_beside_thousands_on_a_logarithmic_scale() -> None:
    values = np.array([0.0] * 5000 + [1.0])
    assert min(height for _, height, _ in bars(histogram([(values, "gray")], 0.5))) < 0.1
    assert min(height for _, height, _ in bars(histogram([(values, "gray")], 0.5, logarithmic=True))) > 5


@pytest.mark.parametrize("limit", [0.5, 3.0, -1.0])
def test_the_limit_is_within_the_picture_and_named_once(limit: float) -> None:
    drawing = histogram([(np.array([0.0, 1.0]), "gray")], limit)
    line = next(each for each in ElementTree.fromstring(drawing).iter("line") if each.get("stroke") == "#d33")
    assert 0 <= float(line.get("x1", "")) <= WIDTH
    assert re.findall(r">(-?[\d.]+)<", drawing).count(f"{limit:.2f}") == 1


def test_nothing_is_drawn_of_nothing() -> None:
    assert histogram([(np.array([]), "gray")], 1.0) == ""
