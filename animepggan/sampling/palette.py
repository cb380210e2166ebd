"""One palette for a whole film, and pictures reduced to it.

Colors are counted in a cube of 64 steps a channel, over every pixel of the film; the palette is found in that cube
and a picture is reduced by looking each pixel up in it, so that both take milliseconds.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

STEPS = 64  # of the cube, a channel; 0 and 255 are steps, so that black and white stay exact
MANY = 1 << 13  # colors; of more, the palette is found among their means in cubes of 2x2x2: 2 % more error
ROUNDS = 8  # of k-means: more gain less than 1 % of the error
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
    """The `size` colors (at most 256; fewer where there are fewer) that lie nearest to all pixels of `pictures`.

    Clusters are split where the most error is until there are `size` (as Wu 1991), then moved by k-means.
    """
    counts = np.zeros(STEPS**3, dtype=np.int64)
    for picture in pictures:
        counts += np.bincount(_cells(picture).ravel(), minlength=STEPS**3)
    used = np.flatnonzero(counts)
    every = _colors_of(used)
    points, weights = _joined(used, every, counts[used].astype(np.float64))
    centers = _split(points, weights, size)
    for _ in range(ROUNDS):
        labels = _nearest(points, centers)
        totals, sums = _gathered(labels, points, weights, len(centers))
        filled = totals > 0
        centers[filled] = sums[filled] / totals[filled, None]
    colors = np.rint(centers).astype(np.uint8)
    nearest, other, share = np.zeros((3, STEPS**3), np.float32)
    nearest[used], other[used], share[used] = _mixtures(every, colors.astype(np.float32))
    return Palette(colors, nearest.astype(np.uint8), other.astype(np.uint8), share)


def _cells(picture: NDArray[np.uint8]) -> NDArray[np.int32]:
    red, green, blue = (_STEP_OF[picture[..., channel]] for channel in range(3))
    return (red * STEPS + green) * STEPS + blue


def _colors_of(cells: NDArray[np.int64]) -> NDArray[np.float32]:
    """The colors at the middle of `cells`: [n, 3]."""
    return _VALUE_OF[np.stack(np.unravel_index(cells, (STEPS,) * 3), axis=1)]


def _joined(
    cells: NDArray[np.int64], colors: NDArray[np.float32], weights: NDArray[np.float64]
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Points [n, 3] and weights: the colors of `cells`, or where there are more than MANY, the means of several."""
    if len(cells) <= MANY:
        return colors, weights
    places = np.stack(np.unravel_index(cells, (STEPS,) * 3)) // 2
    _, joined = np.unique(np.ravel_multi_index(tuple(places), (STEPS // 2,) * 3), return_inverse=True)
    totals, sums = _gathered(joined, colors, weights, joined.max() + 1)
    return (sums / totals[:, None]).astype(np.float32), totals


def _gathered(
    labels: NDArray[np.int64], points: NDArray[np.float32], weights: NDArray[np.float64], count: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The weights [count] and the weighted points [count, 3], summed by label."""
    columns = [weights, *(weights * points[:, channel] for channel in range(3))]
    totals, *sums = [np.bincount(labels, column, minlength=count).astype(np.float64) for column in columns]
    return totals, np.stack(sums, axis=1)


def _nearest(points: NDArray[np.float32], centers: NDArray[np.float32]) -> NDArray[np.int64]:
    """The index of the center nearest to each point."""
    # |p - c|^2 without |p|^2, which is the same for all centers.
    half = np.square(centers).sum(axis=1) / 2
    return np.concatenate(
        [
            (half - _products(points[start : start + CHUNK], centers)).argmin(axis=1)
            for start in range(0, len(points), CHUNK)
        ]
    )


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


def _split(points: NDArray[np.float32], weights: NDArray[np.float64], size: int) -> NDArray[np.float32]:
    """Up to `size` centers [k, 3]: the cluster of the largest error is cut at its mean, across its longest axis."""
    clusters = [np.arange(len(points))]
    shapes = [_shape(points, weights)]
    while len(clusters) < size:
        worst = max(range(len(clusters)), key=lambda index: shapes[index][1])
        mean, error, axis = shapes[worst]
        if error == 0:
            break
        members = clusters[worst]
        above = (points[members] - mean) @ axis > 0
        halves = [members[above], members[~above]]
        clusters[worst : worst + 1] = halves
        shapes[worst : worst + 1] = [_shape(points[half], weights[half]) for half in halves]
    return np.stack([mean for mean, _, _ in shapes]).astype(np.float32)


def _shape(
    points: NDArray[np.float32], weights: NDArray[np.float64]
) -> tuple[NDArray[np.float64], float, NDArray[np.float64]]:
    """Mean, error (weighted sum of squared distances to it) and longest axis of a cluster."""
    mean: NDArray[np.float64] = np.average(points.astype(np.float64), axis=0, weights=weights)
    if len(points) == 1:
        return mean, 0.0, np.zeros(3)
    offsets = points - mean
    lengths, axes = np.linalg.eigh((offsets * weights[:, None]).T @ offsets)
    return mean, float(lengths.sum()), axes[:, -1]


def _bayer(order: int) -> NDArray[np.float64]:
    """The thresholds of ordered dithering (Bayer 1973), [2**order, 2**order], evenly spread over 0 to 1."""
    ranks = np.zeros((1, 1))
    for _ in range(order):
        ranks = np.block([[4 * ranks, 4 * ranks + 2], [4 * ranks + 3, 4 * ranks + 1]])
    return (ranks + 0.5) / ranks.size


_THRESHOLDS = _bayer(3).astype(np.float32)
