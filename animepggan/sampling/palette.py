"""One palette for a whole film, and pictures reduced to it.

Colors are counted in a cube of 64 steps a channel, over every pixel of the film; Pillow finds the palette among them,
and a picture is reduced by looking each pixel up in the cube. Pillow's own ways to reduce one either show bands or
dither anew on each frame, and a film of that swarms (scripts/results/libraries.md).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

STEPS = 64  # of the cube, a channel; 0 and 255 are steps, so that black and white stay exact
SAMPLE = 1 << 16  # pixels that stand for the film where the palette is found, and one more for each rare color
SETTLED = 0.01  # part of them that may still change its color when k-means ends
UNREST = 0.4  # what the variance of a mixture counts beside its error: more is smoother and has more bands
CHUNK = 2048  # points a round, so that tables of all colors stay in the cache
_STEP_OF = np.round(np.arange(256) * ((STEPS - 1) / 255)).astype(np.int32)
_VALUE_OF = (np.arange(STEPS) * (255 / (STEPS - 1))).astype(np.float32)


@dataclass(frozen=True)
class Palette:
    """Colors, and for each cell of the cube that the film uses the two to mix."""

    colors: NDArray[np.uint8]  # [k, 3]
    nearest: NDArray[np.uint8]  # [64 * 64 * 64], index of the nearest color
    other: NDArray[np.uint8]  # [64 * 64 * 64], index of the color to mix in
    share: NDArray[np.float32]  # [64 * 64 * 64], how much of it, 0 to 1/2

    def reduce(self, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """A picture [h, w, 3] of the film to indices [h, w], dithered by a pattern that stands still.

        Error diffusion looks as good on one picture but starts anew on each, and a film of it swarms.
        """
        height, width, _ = picture.shape
        thresholds = np.tile(_THRESHOLDS, (-(-height // 8), -(-width // 8)))[:height, :width]
        cells = _cells(picture)
        return np.where(self.share[cells] > thresholds, self.other[cells], self.nearest[cells])


def palette_of(pictures: Iterable[NDArray[np.uint8]], size: int) -> Palette:
    """The `size` colors (at most 256; fewer where there are fewer) that lie nearest to all pixels of `pictures`."""
    counts = np.zeros(STEPS**3, dtype=np.int64)
    for picture in pictures:
        counts += np.bincount(_cells(picture).ravel(), minlength=STEPS**3)
    used = np.flatnonzero(counts)
    every = _VALUE_OF[np.stack(np.unravel_index(used, (STEPS,) * 3), axis=1)]  # the colors at the middle of cells
    times = np.maximum(1, np.rint(counts[used] * (SAMPLE / counts.sum()))).astype(np.int64)
    sample = Image.fromarray(np.repeat(np.rint(every).astype(np.uint8), times, axis=0)[None])
    settled = max(1, round(SETTLED * sample.width))
    reduced = sample.quantize(size, method=Image.Quantize.MEDIANCUT, kmeans=settled)
    colors = np.array(reduced.getpalette(), np.uint8).reshape(-1, 3)[np.unique(np.asarray(reduced))]
    nearest, other, share = np.zeros((3, STEPS**3), np.float32)
    nearest[used], other[used], share[used] = _mixtures(every, colors.astype(np.float32))
    return Palette(colors, nearest.astype(np.uint8), other.astype(np.uint8), share)


def _cells(picture: NDArray[np.uint8]) -> NDArray[np.int32]:
    red, green, blue = (_STEP_OF[picture[..., channel]] for channel in range(3))
    return (red * STEPS + green) * STEPS + blue


def _products(points: NDArray[np.float32], colors: NDArray[np.float32]) -> NDArray[np.float32]:
    """points @ colors.T; for three channels, a BLAS takes longer to wake its threads than to multiply."""
    products: NDArray[np.float32] = np.multiply.outer(points[:, 0], colors[:, 0])
    for channel in (1, 2):
        products += np.multiply.outer(points[:, channel], colors[:, channel])
    return products


def _mixtures(
    points: NDArray[np.float32], colors: NDArray[np.float32]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """For each point its nearest color, and the other color and the share of it whose mixture is best.

    Best is the least of the mixture's own error plus a part of its unrest, the variance of what is mixed.
    """
    nearest, other = np.empty((2, len(points)), np.int64)
    share = np.empty(len(points), np.float32)
    gram = colors @ colors.T
    squares = gram.diagonal()
    for start in range(0, len(points), CHUNK):
        rows = slice(start, start + CHUNK)
        products = _products(points[rows], colors)
        near = nearest[rows] = (squares / 2 - products).argmin(axis=1)
        # p is the point, c the nearest color, d every other one.
        own = squares[near] - np.take_along_axis(products, near[:, None], axis=1)[:, 0]  # (c - p) . c
        between = gram[near]
        along = products - between + own[:, None]  # (p - c) . (d - c)
        lengths = squares[near][:, None] + squares - 2 * between  # |d - c|^2
        shares = np.clip(along / np.maximum(lengths, 1), 0, 0.5)
        # |p - c - share (d - c)|^2 without |p - c|^2, which is the same for all d.
        badness = shares * (shares * lengths - 2 * along + UNREST * (1 - shares) * lengths)
        best = other[rows] = badness.argmin(axis=1)
        share[rows] = np.take_along_axis(shares, best[:, None], axis=1)[:, 0]
    return nearest, other, share


def _bayer() -> NDArray[np.float32]:
    """The thresholds of ordered dithering (Bayer 1973), [8, 8], evenly spread over 0 to 1."""
    ranks = np.zeros((1, 1))
    for _ in range(3):
        ranks = np.block([[4 * ranks, 4 * ranks + 2], [4 * ranks + 3, 4 * ranks + 1]])
    return ((ranks + 0.5) / ranks.size).astype(np.float32)


_THRESHOLDS = _bayer()
