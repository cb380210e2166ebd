"""Many pictures on one sheet, and pictures enlarged pixel by pixel."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

LEGIBLE = 128  # pixels: narrower faces are hard to judge on a screen
BACKGROUND = 255  # white, between the pictures and where the last row is not full


def columns_for(count: int) -> int:
    """Columns of a sheet of `count` pictures: near the square, and full rows where that is near enough."""
    least = math.ceil(math.sqrt(count))
    return next((columns for columns in range(least, 2 * least) if count % columns == 0), least)


def grid(pictures: Sequence[NDArray[np.uint8]], columns: int | None = None) -> NDArray[np.uint8]:
    """Pictures [h, w, 3] row by row on one sheet [H, W, 3]: a small gap between them, no border around.

    `columns`: pictures a row, `columns_for` by default; no more than there are pictures. The gap is 1/64 of the width,
    at least a pixel.
    """
    columns = min(columns or columns_for(len(pictures)), len(pictures))
    rows = -(-len(pictures) // columns)
    height, width, channels = pictures[0].shape
    gap = max(1, width // 64)
    sheet = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap, channels), BACKGROUND, dtype=np.uint8)
    for index, picture in enumerate(pictures):
        row, column = divmod(index, columns)
        top, left = row * (height + gap), column * (width + gap)
        sheet[top : top + height, left : left + width] = picture
    return sheet


def enlarge(picture: NDArray[np.uint8], factor: int) -> NDArray[np.uint8]:
    """A picture [h, w, ...] as [factor h, factor w, ...]: every pixel becomes a square of its color."""
    return picture.repeat(factor, axis=0).repeat(factor, axis=1)


def legible_scale(side: int) -> int:
    """The least factor that makes a picture of `side` pixels 128 wide or more: for whatever shows many of them."""
    return -(-LEGIBLE // side)
