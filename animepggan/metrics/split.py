"""What is held out of training, a cluster of copies and near copies whole or not at all: to measure against, and for
methods that compare what was shown with what was not.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from animepggan.corpus import Corpus
from animepggan.corpus.names import printable
from animepggan.errors import DataError

_MOST = 500
"""Clusters that are held out, however many there are: more make no measure better."""


@dataclass(frozen=True, eq=False)
class Split:
    """A corpus in two."""

    training: Corpus
    held_out: Corpus
    labels: NDArray[np.int64]  # of each picture held out, the same for copies and near copies

    @property
    def count(self) -> int:
        """How many clusters are held out."""
        return len(np.unique(self.labels))


def split(corpus: Corpus, clusters: NDArray[np.int64], share: float, seed: int) -> Split:
    """Hold out about a share (0 to 1) of the clusters, _MOST at most; which ones, and DataError, as by `held_out`."""
    try:
        out = held_out(clusters, corpus.names, share, seed, most=_MOST)
    except DataError as error:
        raise DataError(
            f"{printable(corpus.spec)}: {str(error).splitlines()[0]}\n"
            "take another share of them, --set measures.hold_out=0.2, or do without what needs it: "
            "measures.every_kimg, augment: adaptive, apa"
        ) from error
    return Split(corpus.subset(np.flatnonzero(~out)), corpus.subset(np.flatnonzero(out)), clusters[out])


def one_of_each(clusters: NDArray[np.int64], names: Sequence[str], seed: int) -> NDArray[np.int64]:
    """A picture of each cluster, drawn by `seed` and the names alone; in random order, so that a part of them is as
    good a sample.
    """
    lots = sorted((_lot("picture", seed, name), index) for index, name in enumerate(names))
    order = np.array([index for _, index in lots], np.int64)
    return order[np.sort(np.unique(clusters[order], return_index=True)[1])]


def held_out(
    clusters: NDArray[np.int64],  # of each picture
    names: Sequence[str],
    hold_out: float,  # a number of clusters, or below 1 about a share of them
    seed: int,
    *,
    most: int | None = None,  # clusters
) -> NDArray[np.bool_]:
    """Which pictures are held out: bool [n], of a cluster either all or none.

    A cluster has a lot from 0 to 1 by `seed` and the first of its names; held out are the lowest lots, of a share those
    below it, but at least half and at most one and a half times as many. Within these bounds a cluster's fate does not
    hang on the others: the strangers that curation leaves out change nothing for her. DataError where not at least two
    clusters would be on either side.
    """
    first: dict[int, str] = {}
    for cluster, name in zip(clusters.tolist(), names, strict=True):
        first[cluster] = min(first.get(cluster, name), name)
    count = round(hold_out * len(first)) if hold_out < 1 else round(hold_out)
    if not 2 <= count <= len(first) - 2:
        raise DataError(
            f"{count} of {len(first)} clusters cannot be held out: at least two have to be on either side\n"
            "give a share of them (0.2), or a smaller or larger number"
        )
    lots = {cluster: _lot("hold-out", seed, name) for cluster, name in first.items()}
    if hold_out < 1:
        below = sum(lot < hold_out for lot in lots.values())
        count = min(max(below, 2, count // 2), len(first) - 2, count + count // 2)
    return np.isin(clusters, sorted(lots, key=lots.__getitem__)[: count if most is None else min(count, most)])


def _lot(purpose: str, seed: int, name: str) -> float:
    """A number from 0 to 1 that follows from all three."""
    text = f"{purpose}:{seed}:{name}".encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(text, digest_size=16).digest()) / (1 << 128)
