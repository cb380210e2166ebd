"""Near copies joined into clusters that cannot run away: every member is near its cluster's representative.

Joining whatever is near (single linkage) runs through a whole set of one character's screenshots, each frame near the
next. Here the picture with the most near copies takes them, then the next of what is left; then the representatives
are looked for near copies of their own, and a cluster that is taken over brings only those members that are near its
new representative.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

from animepggan.corpus.curation.compare import compare
from animepggan.corpus.curation.neighbors import nearest

CANDIDATES = 8
"""Nearest neighbors by hash, and again by embedding, that a picture is compared to."""
_ROUNDS = 4
_COMPARED = 8192  # pairs between two calls of progress
_DIRECTIONS = 96  # of the embedding that neighbors are looked for in


Near = dict[int, set[int]]
"""The near copies of each picture that has any."""


class Pairs:
    """The differences of the pairs of `count` pictures compared so far, each compared once."""

    def __init__(self, thumbnails: NDArray[np.uint8], progress: Callable[[int], object] | None = None) -> None:
        """`progress` is called with the number of pairs compared since it was called last."""
        self._thumbnails = thumbnails
        self._progress = progress
        self._differences: dict[int, float] = {}  # by the smaller index times the count plus the larger

    def compare(self, pairs: Iterable[tuple[int, int]]) -> None:
        """Compare those that were not yet."""
        count = len(self._thumbnails)
        new = sorted({min(pair) * count + max(pair) for pair in pairs} - self._differences.keys())
        for start in range(0, len(new), _COMPARED):
            keys = np.array(new[start : start + _COMPARED], np.int64)
            found = compare(self._thumbnails, np.stack(np.divmod(keys, count), axis=1))
            self._differences.update(zip(keys.tolist(), found.tolist(), strict=True))
            if self._progress is not None:
                self._progress(len(keys))

    def __call__(self, one: int, other: int) -> float:
        """The difference of two pictures; infinite where they were not compared, 0 of one with itself."""
        if one == other:
            return 0.0
        return self._differences.get(min(one, other) * len(self._thumbnails) + max(one, other), math.inf)

    def near(self, limit: float) -> Near:
        """Who is a near copy of whom, up to a difference of `limit`."""
        found: Near = defaultdict(set)
        for key, difference in self._differences.items():
            if difference <= limit:
                one, other = divmod(key, len(self._thumbnails))
                found[one].add(other)
                found[other].add(one)
        return found

    def differences(self) -> NDArray[np.float32]:
        """All of them, in no order."""
        return np.fromiter(self._differences.values(), np.float32, len(self._differences))


def candidates(
    hashes: NDArray[np.bool_], embeddings: NDArray[np.float32], among: NDArray[np.int64]
) -> set[tuple[int, int]]:
    """Pairs of `among` that may be near copies: neighbors by hash (saved anew) or by embedding (shifted, cut)."""
    found: set[tuple[int, int]] = set()
    for vectors in (hashes[among].astype(np.float32), reduced(embeddings[among])):
        for one, others in zip(among.tolist(), among[nearest(vectors, CANDIDATES)].tolist(), strict=True):
            found.update((min(one, other), max(one, other)) for other in others)
    return found


def reduced(embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
    """The directions of [n, d] in which it varies most: [n, at most _DIRECTIONS]."""
    if min(embeddings.shape) <= _DIRECTIONS:  # few pictures span few directions: distances would stay as they are
        return embeddings
    sample = embeddings[:: max(1, len(embeddings) // 8192)]
    mean = sample.mean(axis=0)
    centered = sample - mean
    if len(sample) < embeddings.shape[1]:  # the same directions, in a fraction of the time
        directions = np.linalg.svd(centered, full_matrices=False)[2][:_DIRECTIONS].T
    else:
        directions = np.linalg.eigh(centered.T @ centered)[1][:, -_DIRECTIONS:]
    return np.asarray((embeddings - mean) @ directions, np.float32)


def cluster(
    count: int,
    pairs: Pairs,
    limit: float,  # the difference up to which a picture is a near copy
    preference: Callable[[int], tuple[float, ...]],  # of two with as many near copies the higher represents them
    more: Callable[[NDArray[np.int64]], Iterable[tuple[int, int]]],  # candidates among representatives
) -> NDArray[np.int64]:
    """The representative of each of `count` pictures: int64 [count]; of one without near copies itself."""
    of = _stars(range(count), pairs.near(limit), preference, [1] * count)
    for _ in range(_ROUNDS):
        heads = sorted(set(of.values()))
        pairs.compare(more(np.array(heads, np.int64)))
        sizes = np.bincount(list(of.values()), minlength=count).tolist()
        taken = _stars(heads, pairs.near(limit), preference, sizes)
        joining = [(member, taken[head]) for member, head in of.items() if taken[head] != head]
        if not joining:
            break
        pairs.compare((member, to) for member, to in joining if member != to)
        left: dict[int, list[int]] = defaultdict(list)
        for member, to in joining:
            if pairs(member, to) <= limit:
                of[member] = to
            else:  # its representative has gone without it
                left[of[member]].append(member)
        near = pairs.near(limit) if left else {}
        for members in left.values():
            of |= _stars(members, near, preference, [1] * count)
    return np.array([of[member] for member in range(count)], np.int64)


def _stars(
    members: Iterable[int],
    near: Near,
    preference: Callable[[int], tuple[float, ...]],
    sizes: list[int],  # of the cluster that each picture brings
) -> dict[int, int]:
    """The representative of each of `members`: who has the most near copies takes them first."""
    of = {member: member for member in members}

    def rank(member: int) -> tuple[float, ...]:
        reach = sizes[member] + sum(sizes[other] for other in near[member] if other in of)
        return (-reach, *(-value for value in preference(member)), member)

    free = set(of)
    for member in sorted((member for member in of if near.get(member)), key=rank):
        if member in free:
            taken = near[member] & free
            of |= dict.fromkeys(taken, member)
            free -= taken | {member}
    return of
