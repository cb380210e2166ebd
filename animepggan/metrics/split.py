"""What is held out of training, a cluster whole or not at all: to measure against, and for methods that compare what
was shown with what was not.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from animepggan.corpus import Corpus
from animepggan.corpus.names import printable
from animepggan.errors import DataError
from animepggan.metrics.clusters import held_out
from animepggan.metrics.pool import Bar, Pool, silent

MOST = 1000
"""Clusters that are held out, however many there are: more make no measure better."""
SEARCHED = 20_000
"""In sets of more pictures no near copies are looked for: it would take longer than they matter."""


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


def clusters_in(corpus: Corpus, *, cache: Path | None = None, bar: Bar = silent) -> NDArray[np.int64]:
    """A number for each picture, the same for copies and near copies: int64 [n].

    As the corpus' description says where it joins any; else found by thumbnails, and kept in `cache`. Of more than
    SEARCHED pictures each is a cluster of its own.
    """
    if corpus.clusters is not None:
        return corpus.clusters
    count = len(corpus.names)
    if count > SEARCHED:
        return np.arange(count)
    return Pool(corpus, corpus.resolution, [None] * count, cache, bar).clusters


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
