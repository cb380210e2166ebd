"""Who does not belong: each picture's distance to its neighborhood, in an embedding where the set's own variety counts
little.

What varies within a set of one character (her place, her face, the background) spreads the embedding along some
directions; who she is, along others, in which the set hardly varies. So the embedding is whitened by the covariance of
the set, taken without its farthest tenth. There the distance to the neighbor at `SHARE` of the set is large for single
strangers and for a group of strangers alike, as long as the group is smaller than that share.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from animepggan.corpus.curation.neighbors import distance_to

SHARE = 0.05
"""A group of strangers larger than this share of the set is taken to belong."""
CAUTIOUS = 3.5
"""Score from which a picture is left out of training, unless the limit is given: so many times as far above the median
as the picture at nine tenths of the set is. Where many pictures are strange that one is far out itself, and few are
left out: a set of which much is wrong needs a person to look at it."""

_RIDGE = 1.0  # of the mean variance, added to every direction's
_ROUNDS, _TRIMMED = 3, 0.1
_LANDMARKS = 4000  # pictures that stand for the set as neighbors
_FITTED = 20_000  # pictures that the covariance is taken from
_EXAMPLES = 3  # nearest examples that a picture is compared to


@dataclass(frozen=True)
class Space:
    """An affine map of embeddings to where distances mean something."""

    mean: NDArray[np.float32]  # [d]
    matrix: NDArray[np.float32]  # [d, d]

    def __call__(self, embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
        """[n, d] to [n, d]."""
        return np.asarray((embeddings - self.mean) @ self.matrix, np.float32)


def whiten(embeddings: NDArray[np.float32]) -> Space:
    """The space in which the covariance of [n, d], without its farthest tenth, is nearly the same in all directions."""
    sample = _spread(embeddings, _FITTED).astype(np.float64)
    inside = np.ones(len(sample), bool)
    for _ in range(_ROUNDS):
        mean = sample[inside].mean(axis=0)
        centered = sample - mean
        covariance = centered[inside].T @ centered[inside] / inside.sum()
        variances, directions = np.linalg.eigh(covariance)
        variances = np.maximum(variances, 0)
        matrix = directions / np.sqrt(variances + _RIDGE * variances.mean() + 1e-12)
        far = ((centered @ matrix) ** 2).sum(axis=1)
        inside = far <= np.quantile(far, 1 - _TRIMMED)
    return Space(mean.astype(np.float32), matrix.astype(np.float32))


def score(
    embeddings: NDArray[np.float32],  # [n, d]
    single: NDArray[np.int64],  # of these, the ones that stand for the set: one a cluster
    keep: NDArray[np.float32] | None = None,  # [k, d] of examples that belong
    reject: NDArray[np.float32] | None = None,  # [r, d] of examples that do not
) -> NDArray[np.float32]:
    """How suspicious each picture is: float32 [n]; the set's median is 0, its nine tenths are below 1.

    Examples that belong replace the set as the neighborhood; the distance to those that do not is subtracted.
    """
    if len(single) < 3:
        return np.zeros(len(embeddings), np.float32)
    space = whiten(embeddings[single])
    placed = space(embeddings)
    if keep is not None and len(keep):
        suspicion = _standard(distance_to(placed, space(keep), _EXAMPLES), single)
    else:
        around = _spread(placed[single], _LANDMARKS)
        suspicion = _standard(distance_to(placed, around, 1 + max(2, round(SHARE * len(around)))), single)
    if reject is not None and len(reject):
        suspicion -= _standard(distance_to(placed, space(reject), _EXAMPLES), single)
        suspicion = _standard(suspicion, single)
    return suspicion


def _spread(rows: NDArray[np.float32], most: int) -> NDArray[np.float32]:
    """At most so many rows, evenly from the whole."""
    return rows[:: -(-len(rows) // most)] if len(rows) > most else rows


def _standard(values: NDArray[np.float32], single: NDArray[np.int64]) -> NDArray[np.float32]:
    """With the median of the pictures that stand for the set at 0, and nine tenths of them below 1."""
    median, most = np.quantile(values[single], (0.5, 0.9))
    return np.asarray((values - median) / max(float(most - median), 1e-6), np.float32)
