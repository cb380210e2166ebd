"""Histograms as SVG, for the sheets: readable in light and dark, no script."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

WIDTH, HEIGHT = 760, 130  # pixels, in all
FLOOR = 108  # where the bars stand; the numbers are below
BINS = 80


def histogram(
    spreads: Sequence[tuple[NDArray[np.floating], str]],  # values, and the color of their bars
    limit: float,
    *,
    extent: tuple[float, float] | None = None,  # values; None: from the least to the greatest
    logarithmic: bool = False,  # in the counts, so that a bar of one picture is seen beside one of thousands
) -> str:
    """How values are spread, as shares of each of `spreads`, and a line at `limit`; nothing where there are none."""
    values = np.concatenate([values for values, _ in spreads])
    if not len(values):
        return ""
    low, high = extent or (float(min(values.min(), limit)), float(max(values.max(), limit)) + 1e-6)
    bars = []
    for values, color in spreads:
        counts = np.histogram(values, BINS, (low, high))[0]
        heights = np.log1p(counts) / np.log1p(max(1, len(values))) if logarithmic else counts / max(1, len(values))
        bars.append((heights, color))
    highest = max(float(heights.max()) for heights, _ in bars) or 1.0
    step = WIDTH / BINS
    drawn = "".join(
        f'<rect x="{place * step:.1f}" y="{FLOOR - height:.1f}" width="{step - 1:.1f}" height="{height:.1f}" '
        f'fill="{color}" fill-opacity=".6"/>'
        for heights, color in bars
        for place, height in enumerate(heights / highest * (FLOOR - 4))
        if height
    )
    at = (limit - low) / (high - low) * WIDTH
    line = f'<line x1="{at:.1f}" x2="{at:.1f}" y1="0" y2="{FLOOR}" stroke="#d33" stroke-width="2"/>'
    numbers = _number(low, 0, "start") + _number(high, WIDTH, "end")
    if 0.08 * WIDTH < at < 0.92 * WIDTH:  # else it would stand on one of those
        numbers += _number(limit, at, "middle", "#d33")
    axis = f'<line x1="0" x2="{WIDTH}" y1="{FLOOR}" y2="{FLOOR}" stroke="#777"/>'
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" role="img" aria-label="histogram">'
        f"{drawn}{axis}{line}{numbers}</svg>\n"
    )


def _number(value: float, at: float, anchor: str, color: str = "#777") -> str:
    place = f'x="{at:.1f}" y="{HEIGHT - 6}" text-anchor="{anchor}"'
    return f'<text {place} font-size="12" fill="{color}">{value:.2f}</text>'
