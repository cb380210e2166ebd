"""Who does not belong: each picture's distance to its neighborhood, in an embedding where the set's own variety counts
little.

What varies within a set of one character (her place, her face, the background) spreads the embedding along some
directions; who she is, along others, in which the set hardly varies. So the embedding is whitened by the covariance of
the set, taken without its farthest tenth. There the distance to the neighbor at `SHARE` of the set is large for single
strangers and for a group of strangers alike, as long as the group is smaller than that share.

A backbone trained on photographs sees shapes and hardly the color of hair and eyes, by which drawn characters are told
apart. So each picture's colors are compared as well: the Hellinger distance of histograms over CIE L*a*b*, to the same
neighbor. Both distances are brought to the set's own scale and added.

The tenth that the covariance does not know looks farther away than it is where there are few pictures, fewer than the
embedding has directions: then any picture does that was not fitted to. So a small set's limit comes from its own
pictures, as far away as they look when they are left out of the fit (`limit`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageCms

SHARE = 0.05
"""A group of strangers larger than this share of the set is taken to belong."""
CAUTIOUS = 3.5
"""Score from which a picture of a large set is left out of training, unless the limit is given: so many times as far
above the median as the picture at nine tenths of the set is. Where many pictures are strange that one is far out
itself, and few are left out: a set of which much is wrong needs a person to look at it."""
LARGE = 1000
"""Clusters from which on a picture looks alike whether it was fitted to or not."""

_RIDGE = 1.0  # of the mean variance, added to every direction's
_ROUNDS, _TRIMMED = 3, 0.1
_LANDMARKS = 4000  # pictures that stand for the set as neighbors
_FITTED = 20_000  # pictures that the covariance is taken from
_EXAMPLES = 3  # nearest examples that a picture is compared to
_PARTS = 5  # of a small set, each left out once
_CELLS = 1 << 24  # distances held at a time
_BINS = (4, 8, 8)  # of lightness 0 to 100 and of a* and b*
_FROM, _TO = -56, 64  # of a* and b*: where nearly all drawn colors lie; those outside count in the bins at the border
_TO_LAB = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")


def palettes(pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Histograms over CIE L*a*b* of uint8 [n, h, w, 3], sRGB: float32 [n, 256].

    Of each bin the square root of its share: Euclidean distance is then sqrt(2) times that of Hellinger, 0 to sqrt(2).
    """
    found = np.empty((len(pictures), _BINS[0] * _BINS[1] * _BINS[2]), np.float32)
    for index, pixels in enumerate(pictures):
        lab = np.asarray(ImageCms.applyTransform(Image.fromarray(pixels), _TO_LAB)).reshape(-1, 3)
        lightness = lab[:, 0].astype(np.int64) * _BINS[0] // 256
        a, b = ((lab[:, 1:].view(np.int8).astype(np.int64) - _FROM) * _BINS[1] // (_TO - _FROM)).clip(0, _BINS[1] - 1).T
        counts = np.bincount((lightness * _BINS[1] + a) * _BINS[2] + b, minlength=found.shape[1])
        found[index] = np.sqrt(counts / len(lab))
    return found


def distance_to(vectors: NDArray[np.float32], others: NDArray[np.float32], count: int) -> NDArray[np.float32]:
    """The distance of each row of [n, d] to its `count`th nearest of `others` [m, d], itself among them or not: [n]."""
    found = np.empty(len(vectors), np.float32)
    fixed = torch.from_numpy(np.ascontiguousarray(others))
    lengths = (fixed**2).sum(dim=1)
    rows = max(1, _CELLS // len(others))
    for start in range(0, len(vectors), rows):
        part = torch.from_numpy(np.ascontiguousarray(vectors[start : start + rows]))
        squares = torch.addmm(lengths + (part**2).sum(dim=1, keepdim=True), part, fixed.T, alpha=-2).clamp_min_(0)
        found[start : start + rows] = squares.kthvalue(min(count, len(others)), dim=1).values.sqrt().numpy()
    return found


@dataclass(frozen=True)
class Seen:
    """What pictures are judged by."""

    embeddings: NDArray[np.float32]  # [n, d]
    palettes: NDArray[np.float32]  # [n, c], of `palettes`

    def __getitem__(self, rows: NDArray[np.int64] | slice) -> Seen:
        return Seen(self.embeddings[rows], self.palettes[rows])


_Space = tuple[NDArray[np.float64], NDArray[np.float64]]
"""Mean [d] and whitening matrix [d, d]: the affine map of embeddings to where distances mean something."""


def whiten(embeddings: NDArray[np.float32]) -> tuple[_Space, NDArray[np.int64]]:
    """The space in which the covariance of [n, d], without its farthest tenth, is nearly the same in all directions;
    and the rows that it was taken from, of at most _FITTED.
    """
    sample = embeddings[_evenly(len(embeddings), _FITTED)].astype(np.float64)
    inside = np.arange(len(sample))
    for _ in range(_ROUNDS):
        fitted = inside
        mean, matrix = fit(sample[fitted])
        far = (((sample - mean) @ matrix) ** 2).sum(axis=1)
        inside = np.flatnonzero(far <= np.quantile(far, 1 - _TRIMMED))
    return (mean, matrix), fitted


def fit(rows: NDArray[np.float64]) -> _Space:
    """The space in which the covariance of all of [n, d] is nearly the same in all directions."""
    mean = rows.mean(axis=0)
    centered = rows - mean
    count, size = rows.shape
    if count < size:  # most directions have no variance at all: they need not be looked for
        _, spreads, across = np.linalg.svd(centered, full_matrices=False)
        variances, directions = spreads**2 / count, across.T
    else:
        variances, directions = np.linalg.eigh(centered.T @ centered / count)
    ridge = _RIDGE * max(0.0, variances.sum()) / size + 1e-12
    scales = 1 / np.sqrt(np.maximum(variances, 0) + ridge) - 1 / np.sqrt(ridge)
    return mean, (directions * scales) @ directions.T + np.eye(size) / np.sqrt(ridge)


def score(
    seen: Seen,  # n pictures
    single: NDArray[np.int64],  # of these, the ones that stand for the set: one a cluster
    keep: Seen | None = None,  # examples that belong
    reject: Seen | None = None,  # examples that do not
) -> NDArray[np.float32]:
    """How suspicious each picture is: float32 [n]; the set's median is 0, its nine tenths are below 1.

    Examples that belong replace the set as the neighborhood; the distance to those that do not is subtracted.
    """
    if len(single) < 3:
        return np.zeros(len(seen.embeddings), np.float32)

    def standard(values: NDArray[np.float32]) -> NDArray[np.float32]:
        return _standard(values, values[single])

    space, _ = whiten(seen.embeddings[single])
    shapes, colors = _distances(space, seen, seen[single], keep)
    suspicion = standard(standard(shapes) + standard(colors))
    if reject is not None:
        shapes, colors = _to_neighbor(space, seen, reject, _EXAMPLES)
        suspicion = standard(suspicion - standard(standard(shapes) + standard(colors)))
    return suspicion


def limit(clusters: Seen, keep: Seen | None = None) -> float:
    """The score above which pictures are left out of training, of a set with these clusters (a picture of each):
    CAUTIOUS, or more where they are few.

    Each part of the pictures that the space was fitted to is left out of another fit, and its distances are taken there
    (cross-validation). With them median and nine tenths are those of pictures that the space does not know, as are the
    farthest; the limit is CAUTIOUS by these, in the words of `score`.
    """
    count = len(clusters.embeddings)
    if not 3 <= count < LARGE:
        return CAUTIOUS
    space, fitted = whiten(clusters.embeddings)
    known, colors = _distances(space, clusters, clusters, keep)
    unknown = known.copy()
    outside = np.setdiff1d(np.arange(count), fitted)  # in no fit: by them distances are brought to one scale
    for part in np.array_split(fitted, _PARTS):  # neighbors by name go together: they may be of one scene
        rest = np.setdiff1d(fitted, part)
        if not len(part) or len(rest) < 2 or not len(outside):
            return CAUTIOUS
        there, _ = _distances(fit(clusters.embeddings[rest].astype(np.float64)), clusters, clusters, keep)
        unknown[part] = there[part] * np.median(known[outside] / np.maximum(there[outside], 1e-6))
    by_color = _standard(colors, colors)
    median, most = np.quantile(_standard(known, known) + by_color, (0.5, 0.9))
    middle, far = np.quantile(_standard(unknown, known) + by_color, (0.5, 0.9))
    return max(CAUTIOUS, float((middle + CAUTIOUS * (far - middle) - median) / max(float(most - median), 1e-6)))


def _distances(
    space: _Space, seen: Seen, clusters: Seen, keep: Seen | None
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """How far each of n is from its neighborhood in the set, or from the examples that belong: in `space`, and in
    colors, [n] each.
    """
    if keep is not None:
        return _to_neighbor(space, seen, keep, _EXAMPLES)
    around = clusters[_evenly(len(clusters.embeddings), _LANDMARKS)]
    return _to_neighbor(space, seen, around, 1 + max(2, round(SHARE * len(around.embeddings))))


def _to_neighbor(
    space: _Space, seen: Seen, others: Seen, count: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The distance to the `count`th nearest of `others`, in `space` and in colors."""
    mean, matrix = (value.astype(np.float32) for value in space)
    here, there = (np.asarray((some.embeddings - mean) @ matrix, np.float32) for some in (seen, others))
    return distance_to(here, there, count), distance_to(seen.palettes, others.palettes, count)


def _evenly(count: int, most: int) -> slice:
    """At most so many of so many rows, from the whole."""
    return slice(None, None, max(1, -(-count // most)))


def _standard(values: NDArray[np.float32], of: NDArray[np.float32]) -> NDArray[np.float32]:
    """With the median of `of` at 0, and nine tenths of them below 1."""
    median, most = np.quantile(of, (0.5, 0.9))
    width = float(most - median)
    # Where nothing differs (pictures without colors), nothing is told by it.
    return np.asarray((values - median) / width if width > 1e-6 else values * 0, np.float32)
