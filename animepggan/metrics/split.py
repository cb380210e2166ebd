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
from animepggan.corpus.likeness import clusters_in as clusters_in
from animepggan.corpus.names import printable
from animepggan.errors import DataError

MOST = 1000
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
    """Hold out a share (0 to 1) of the clusters, MOST at most; which ones follows from `seed` and the names.

    Raises DataError where not at least two clusters would be on either side.
    """
    count = len(np.unique(clusters))
    wanted = min(MOST, round(share * count))
    if not 2 <= wanted <= count - 2:
        raise DataError(
            f"{printable(corpus.spec)}: {wanted} of {count} clusters cannot be held out: at least two have to be on "
            "either side\ntake another share of them, --set measures.hold_out=0.2, or do without what needs it: "
            "measures.every_kimg, augment: adaptive, apa"
        )
    out = held_out(clusters, corpus.names, wanted, seed)
    return Split(
        training=corpus.subset(np.flatnonzero(~out)),
        held_out=corpus.subset(np.flatnonzero(out)),
        labels=clusters[out],
    )


def one_of_each(clusters: NDArray[np.int64], names: Sequence[str], seed: int) -> NDArray[np.int64]:
    """A picture of each cluster, drawn by `seed` and the names alone; in random order, so that a part of them is as
    good a sample.
    """
    chosen: dict[int, tuple[bytes, int]] = {}
    for index, (cluster, name) in enumerate(zip(clusters.tolist(), names, strict=True)):
        ticket = (_lot("picture", seed, name), index)
        chosen[cluster] = min(chosen.get(cluster, ticket), ticket)
    return np.array([index for _, index in sorted(chosen.values())], np.int64)


def held_out(clusters: NDArray[np.int64], names: Sequence[str], hold_out: float, seed: int) -> NDArray[np.bool_]:
    """Which pictures are held out: bool [n], of a cluster either all or none.

    `hold_out` is a number of clusters, or below 1 a share of them. Which ones follows from `seed` and the names, not
    from how many there are: a picture that is added moves no other. Raises DataError where not at least two clusters
    would be on either side.
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
    order = sorted(first, key=lambda cluster: _lot("hold-out", seed, first[cluster]))
    return np.isin(clusters, order[:count])


def _lot(purpose: str, seed: int, name: str) -> bytes:
    return hashlib.blake2b(f"{purpose}:{seed}:{name}".encode("utf-8", "surrogatepass"), digest_size=16).digest()
