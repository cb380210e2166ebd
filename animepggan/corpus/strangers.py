"""Who does not belong in a set of one character: each picture's score, and whether the set says who is who.

What a picture shows besides who (pose, mood, light, place) moves its embedding more than who it is. How it does was
learned once, for the packaged backbone, from drawn characters (`scripts/learn_identity.py`): `identity.safetensors`
holds the directions in which pictures of one character differ least beside those of several (linear discriminant
analysis, Fisher 1936), each scaled so that pictures of one character have a deviation of about one.

There the set is cut into small parts of pictures that are alike (Ward 1963). The part at the set's median is hers, and
so is every part that is near one of hers: her moods and poses form a chain, and somebody else, also one with her hair,
stands apart. A tenth or a third of strangers changes nothing in that. A stranger alone in a part of hers is found at
the end: by the Mahalanobis distance from what has turned out to be hers, measured without the picture itself.

Examples that belong stand in for the median; with those that do not go the parts that they lie in, what is beyond, and
single pictures far on the way from her to them. Where nobody is in most of the set, it does not say who is who, and
nobody is left out without an example.

Of another backbone nothing was learned. Then its embedding and the colors are taken in the directions in which the set
varies most, and only the last step is done: who looks altogether different is found, who has her hair is not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms
from safetensors import safe_open

LIMIT = 1.0
"""Score over which a picture is left out of training: as far from her as her own farthest are."""
LEAST_HERS, LARGEST_RIVAL = 0.4, 0.8
"""The share of a set's clusters that she is at least, and that of hers which anybody else is at most: else the set does
not say who is who."""
FEWEST = 10
"""Clusters below which nobody is a stranger, but by examples."""
UNSURE = "the set does not say who is who: nobody is in most pictures; name examples with --keep and --reject"
IDENTITY = Path(__file__).with_name("identity.safetensors")

_Floats = NDArray[np.float64]

_SIZE = 40  # directions kept, as many as were learned
_PART, _PARTS = (8, 11, 14, 17, 20), 60  # pictures of a part, about, and parts at most; the majority counts
_APART = 5.8  # deviations between the means of parts from which they are not one character
_SAMPLED = 3000  # pictures that are cut into parts; others go to the nearest part
_SPREAD = 1.2  # of pictures that are alike, hence in one part, to that of any
_MIXED = 0.8  # of less, the rest is cut once more: among many strangers parts are mixed
_INNER = 0.6  # share of the set around its median that is taken to be mostly hers
_FOLDS, _ROUNDS = 4, 3
_FAR = 1.25  # her own farthest: so many times as far above nine tenths as these are above the median
_LIKE = 1.2  # times the square that two pictures of one character are apart by: within it of a rejected example
_HALFWAY = 0.65  # of the way to a part with a rejected example, from where parts are not hers
_OF_EXAMPLE = 0.4  # of the way to a rejected example, from which pictures are taken to show the same
_SURE = 3.5  # and at least so many deviations
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


@dataclass(frozen=True)
class Seen:
    """What pictures are judged by."""

    embeddings: NDArray[np.float32]  # [n, d]
    palettes: NDArray[np.float32]  # [n, c], of `palettes`


@dataclass(frozen=True)
class Judgment:
    """What was found of n pictures."""

    scores: NDArray[np.float32]  # [n], 0 or more; higher: more suspicious; over LIMIT: a stranger
    unsure: str  # why the set does not say who is who; "" where it does


def judge(
    seen: Seen,  # n pictures
    single: NDArray[np.int64],  # of these, the ones that stand for the set: one a cluster
    backbone: str,  # its label
    keep: Seen | None = None,  # examples that belong
    reject: Seen | None = None,  # examples that do not
) -> Judgment:
    """How suspicious each picture is."""
    examples = keep is not None or reject is not None
    if len(single) < (3 if examples else FEWEST):
        return Judgment(np.zeros(len(seen.embeddings), np.float32), "")
    place, learned = _space(seen, single, backbone)
    points, wanted, unwanted = place(seen), *(None if some is None else place(some) for some in (keep, reject))
    chosen = single[:: -(-len(single) // _SAMPLED)]
    squares = _squares(points[chosen], _median(points[chosen] if wanted is None else wanted))
    apart = np.zeros(len(points), bool)
    core = chosen[squares <= np.quantile(squares, _INNER)]
    if learned:
        hers, rival = _voted(points, chosen, wanted, unwanted)
        if FEWEST <= hers[chosen].sum() < _MIXED * len(chosen):
            hers &= _voted(points, chosen[hers[chosen]], wanted, unwanted)[0]
        apart, core = ~hers, chosen[hers[chosen]]
        if not examples and (len(core) < LEAST_HERS * len(chosen) or rival > LARGEST_RIVAL * len(core)):
            return Judgment(_scores(points, core, chosen, apart, None), UNSURE)
    return Judgment(_scores(points, core, chosen, apart, unwanted), "")


@cache
def _identity() -> tuple[_Floats, _Floats, str]:
    """What was learned: a mean [d], directions [d, _SIZE] and the backbone that it is of."""
    with safe_open(IDENTITY, "np") as file:
        mean, directions = (file.get_tensor(name).astype(np.float64) for name in ("mean", "directions"))
        return mean, directions, file.metadata()["backbone"]


def which(label: str) -> str:
    """Of a backbone's label, what its embeddings depend on: architecture, size and weights."""
    return f"{label.partition(' from ')[0]}@{label.rpartition('@')[2]}"


def _space(seen: Seen, single: NDArray[np.int64], backbone: str) -> tuple[Callable[[Seen], _Floats], bool]:
    """The map of pictures to where distances mean something, [n, at most _SIZE]; whether it was learned."""
    mean, directions, of = _identity()
    if which(backbone) == of:
        return lambda some: (some.embeddings - mean) @ directions, True

    def both(some: Seen) -> _Floats:
        return np.concatenate([some.embeddings, some.palettes], axis=1).astype(np.float64)

    rows = both(seen)[single[:: -(-len(single) // _SAMPLED)]]
    middle = rows.mean(axis=0)
    _, spreads, across = np.linalg.svd(rows - middle, full_matrices=False)
    most = max(1, min(_SIZE, len(rows) // 5, int((spreads > 1e-6 * spreads[0]).sum())))
    scale = np.sqrt(len(rows)) / (np.sqrt((spreads[:most] ** 2).mean()) + 1e-12)
    return lambda some: (both(some) - middle) @ across[:most].T * scale, False


def _median(rows: _Floats) -> _Floats:
    """The point with the smallest sum of distances to [n, d] (Weiszfeld 1937): a tenth of strangers hardly moves it."""
    point = np.asarray(np.median(rows, axis=0))
    for _ in range(30):
        weights = 1 / (np.sqrt(_squares(rows, point)) + 1e-9)
        point = weights @ rows / weights.sum()
    return point


def _squares(rows: _Floats, point: _Floats) -> _Floats:
    return np.asarray(((rows - point) ** 2).sum(axis=1))


def _voted(
    points: _Floats, chosen: NDArray[np.int64], wanted: _Floats | None, unwanted: _Floats | None
) -> tuple[NDArray[np.bool_], int]:
    """What `_hers` gives for most sizes of parts: one that is cut off by chance at one size is not at another."""
    found = [_hers(points, chosen, wanted, unwanted, size) for size in _PART]
    return np.median([hers for hers, _ in found], axis=0) > 0.5, int(np.median([rival for _, rival in found]))


def _hers(
    points: _Floats,  # [n, d]
    chosen: NDArray[np.int64],
    wanted: _Floats | None,  # [m, d], hers
    unwanted: _Floats | None,  # [m, d], not hers
    size: int,  # of a part
) -> tuple[NDArray[np.bool_], int]:
    """Which of n a chain of near parts joins to the part at her median; and how many of `chosen` such a
    chain joins of anybody else, at most.
    """
    here = points[chosen]
    part_of = ward(here, int(np.clip(len(chosen) // size, min(6, len(chosen)), _PARTS)))
    sizes = np.bincount(part_of)
    means = np.stack([here[part_of == part].mean(axis=0) for part in range(len(sizes))])
    # Of a direction, in most parts: strangers have parts of their own, and change nothing in hers.
    scatters = np.bincount(part_of, ((here - means[part_of]) ** 2).sum(axis=1)) / np.maximum(sizes - 1, 1)
    variance = _SPREAD * float(np.median(scatters[sizes > 1]) if (sizes > 1).any() else 1) / points.shape[1]
    # Means of few pictures are apart by chance alone.
    noise = points.shape[1] * variance / sizes
    near = _between(means, means) - noise - noise[:, None] < _APART**2 * variance
    chain = _chains(near)
    center = _median(here if wanted is None else wanted)
    if wanted is None:
        inner = _squares(here, center)
        center = here[inner <= np.quantile(inner, _INNER)].mean(axis=0)
    if unwanted is not None:
        squares = _between(unwanted, means)
        theirs = np.unique(squares.argmin(axis=1)[squares.min(axis=1) < _LIKE * points.shape[1] * variance])
        counts = np.bincount(chain, sizes)
        own = chain[_squares(means, center).argmin()]
        counts[chain[theirs]] *= chain[theirs] == own  # what is rejected is not hers; the rest of her chain may be
        if (
            wanted is None
            and own in chain[theirs]
            and counts[np.arange(len(counts)) != own].max(initial=0) > (LARGEST_RIVAL * counts[own])
        ):
            counts[own] = 0
            center = means[chain == counts.argmax()].mean(axis=0)
        for part in theirs:
            toward = means[part] - center
            near &= ~_crossed((means - center) @ toward > _HALFWAY * (toward @ toward))
        chain = _chains(near)
    totals = np.bincount(chain, sizes)
    own = chain[_squares(means, center).argmin()]
    hers = np.empty(len(points), bool)
    for first in range(0, len(points), _SAMPLED):
        rows = slice(first, first + _SAMPLED)
        hers[rows] = chain[_between(points[rows], means).argmin(axis=1)] == own
    hers[chosen] = chain[part_of] == own
    totals[own] = 0
    return hers, int(totals.max())


def _chains(near: NDArray[np.bool_]) -> NDArray[np.int64]:
    """The number of the chain that each part is in: parts that are joined by steps from part to near part."""
    chain = np.arange(len(near))
    for _ in range(len(near)):
        chain = np.where(near, chain, len(near)).min(axis=1)
    return chain


def _crossed(parts: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Pairs of parts of which one is among `parts`, and the other is not."""
    return np.asarray(parts[:, None] != parts)


def _between(rows: _Floats, others: _Floats) -> _Floats:
    """Squared distances [n, m]."""
    lengths = (rows**2).sum(axis=1)[:, None] + (others**2).sum(axis=1)
    return np.asarray(np.maximum(lengths - 2 * rows @ others.T, 0))


def ward(rows: _Floats, count: int) -> NDArray[np.int64]:
    """The part, 0 to `count` - 1, of each of [n, d]: those two are joined, n - `count` times, that make the sum of
    squares within parts grow least (Ward 1963; by chains of nearest neighbors, Murtagh 1983).
    """
    total = len(rows)
    costs = (_between(rows, rows) / 2).astype(np.float32)
    np.fill_diagonal(costs, np.inf)
    sizes, gone = np.ones(total, np.float32), np.zeros(total, bool)
    joined: list[tuple[float, int, int]] = []
    chain: list[int] = []  # each the nearest of the one before
    while len(joined) < total - 1:
        if not chain:
            chain.append(int(np.flatnonzero(~gone)[0]))
        last, before = chain[-1], chain[-2] if len(chain) > 1 else -1
        nearest = int(costs[last].argmin())
        if before < 0 or costs[last, nearest] < costs[last, before]:
            chain.append(nearest)
            continue
        # Each is the other's nearest: `before` becomes a part of `last` (Lance and Williams 1967).
        joined.append((float(costs[last, before]), last, before))
        grown = (sizes[last] + sizes) * costs[last] + (sizes[before] + sizes) * costs[before]
        grown = (grown - sizes * costs[last, before]) / (sizes[last] + sizes[before] + sizes)
        gone[before] = True
        grown[gone] = grown[last] = np.inf
        costs[last], costs[:, last], costs[before], costs[:, before] = grown, grown, np.inf, np.inf
        sizes[last] += sizes[before]
        del chain[-2:]
    part = np.arange(total)
    for _, kept, gone_into in sorted(joined)[: total - count]:
        part[part == part[gone_into]] = part[kept]
    return np.unique(part, return_inverse=True)[1]


def _scores(
    points: _Floats,  # [n, d]
    core: NDArray[np.int64],  # mostly hers
    chosen: NDArray[np.int64],
    apart: NDArray[np.bool_],  # [n], in a part that is not hers
    unwanted: _Floats | None,  # [m, d]
) -> NDArray[np.float32]:
    """Distances from what is hers over the farthest of her own, [n]; 1 more for what is apart from her."""
    fold = np.arange(len(points)) % _FOLDS
    size = points.shape[1]
    away, strange = np.zeros(len(points)), apart.copy()
    limit = 1.0
    for _ in range(_ROUNDS):
        for part in range(_FOLDS):
            rows = points[core[fold[core] != part]]
            if len(rows) < 2:
                rows = points[core]
            mean = rows.mean(axis=0)
            # Of few pictures, the deviation of one that was learned.
            scatter = (rows - mean).T @ (rows - mean) + size * np.eye(size)
            inverse = np.linalg.inv(scatter / (len(rows) + size))
            off = points[fold == part] - mean
            away[fold == part] = np.sqrt((off @ inverse * off).sum(axis=1))
            for example in () if unwanted is None else unwanted - mean:
                length = float(example @ inverse @ example) + 1e-12
                strange[fold == part] |= off @ inverse @ example / length > max(_OF_EXAMPLE, _SURE / length**0.5)
        median, most = np.quantile(away[core], (0.5, 0.9))
        limit = max(float(most + _FAR * (most - median)), 1e-6)
        hers = np.where(apart, away <= median, away <= limit)
        if hers[chosen].sum() < 2:
            break
        core = chosen[hers[chosen]]
    strange &= ~(apart & (away <= np.median(away[core])))
    return np.asarray(away / limit + strange, np.float32)
