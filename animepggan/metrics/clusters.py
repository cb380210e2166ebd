"""Copies and near copies as one: clusters, one picture for each, and hold-outs that no copy crosses."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from animepggan.errors import DataError
from animepggan.metrics.likeness import NEAR, Gallery


def clusters_of(
    gallery: Gallery,
    given: Sequence[int | None] | None = None,  # of a corpus.jsonl; None in it: a cluster of its own
    progress: Callable[[int], object] = lambda done: None,
) -> NDArray[np.int64]:
    """A number for each picture of `gallery`, the same for copies and near copies: int64 [n].

    Taken as given where anything is; else whatever is nearer than `likeness.NEAR`, directly or over others, is one.
    """
    count = len(gallery)
    if given is not None and any(cluster is not None for cluster in given):
        lone = range(1 + max(cluster for cluster in given if cluster is not None), 1 << 62)
        return np.array([next_ if own is None else own for own, next_ in zip(given, lone, strict=False)], np.int64)
    itself = np.arange(count)
    matches = gallery.find(gallery.thumbs, groups=(itself, itself), progress=progress)
    rows, columns = np.nonzero(matches.distances < NEAR)
    return _joined(count, rows, matches.neighbors[rows, columns])


def _joined(count: int, first: NDArray[np.int64], second: NDArray[np.int64]) -> NDArray[np.int64]:
    """The connected parts of a graph, each numbered by its lowest member: int64 [count]."""
    label = np.arange(count)
    while True:
        before = label.copy()
        np.minimum.at(label, first, label[second])
        np.minimum.at(label, second, label[first])
        label = label[label]
        if np.array_equal(label, before):
            return label


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
