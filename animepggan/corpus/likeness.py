"""What a copy, a near copy and a cluster of pictures is: the one definition, for checking and curating a set, for the
choice of a preset, for what is held out of training, and for measures.

- A copy has the same pixels as another picture, whatever its file.
- A near copy differs from another one by no more than a limit, as `difference` measures; the set itself says where from
  LOWEST_LIMIT to HIGHEST_LIMIT it lies (`valley`).
- A cluster is a picture with its copies and near copies: each member is near the cluster's representative. Joining
  whatever is near (single linkage) would run through a whole set of one character's screenshots, each frame near the
  next.

All of it follows from the picture files alone: from no backbone, and not from the resolution that is trained at.
"""

from __future__ import annotations

import hashlib
import math
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from torch.nn import functional

from animepggan.bar import Bar, silent
from animepggan.corpus.decode import fingerprint
from animepggan.corpus.difference import SIDE, difference
from animepggan.corpus.facts import Facts, Opened, open_all, thumbnails_of
from animepggan.corpus.spec import Source
from animepggan.disk import replacing

if TYPE_CHECKING:
    from animepggan.corpus import Corpus

LOWEST_LIMIT, HIGHEST_LIMIT = 0.53, 0.95
"""Where the limit between near copies and others may lie, in units of noise."""

_EDITION = 2  # raised whenever the same pictures give other clusters
_CANDIDATES = 8  # nearest pictures by color that each is compared to
_CELL = 4  # pixels of SIDE whose mean color counts in that
_CAUTION = 0.88  # of the valley: joining two different pictures is worse than missing a near copy
_SMOOTH = 0.10  # of the logarithm of a difference: the kernel that smooths their histogram
_ROUNDS = 4  # of joining clusters
_PAIRS = 4096  # compared between two calls of the bar
_ALIKE = 1 << 24  # likenesses held at a time
_ALL = 50_000  # pictures up to which each is looked for among all others, above it among its part of the set:
_PART, _PARTS = 5000, 4  # parts of about so many pictures, of which each picture's nearest few are searched


@dataclass(frozen=True)
class Clusters:
    """Copies and near copies among pictures; all by their places."""

    members: list[list[int]]  # of each cluster, single pictures too: the representative first; the largest first
    distances: dict[int, float]  # from the representative, in units of noise; 0 of exact copies of it
    copy_of: dict[int, int]  # the first picture with the same pixels, of all but that one
    near_limit: float  # the largest difference of a near copy, in units of noise
    differences: NDArray[np.float32]  # of each picture from those most like it in color, in no order


def cluster(opened: Opened, *, near_limit: float | None = None, bar: Bar = silent) -> Clusters:
    """The clusters of pictures that are open, up to a difference of `near_limit`; None: the set's own.

    The representative is the picture that most others are near to; of equals the one with more copies, then one of a
    lossless format, then the larger one.
    """
    same: dict[str, list[int]] = defaultdict(list)
    for index, facts in enumerate(opened.facts):
        same[facts.digest].append(index)
    groups = list(same.values())
    firsts = np.array([group[0] for group in groups], np.int64)

    def preference(index: int) -> tuple[int, bool, int]:
        facts = opened.facts[firsts[index]]
        return -len(groups[index]), not facts.lossless, -facts.pixels

    pairs = _Pairs(opened.thumbnails, firsts, bar)
    pairs.compare_neighbors(list(range(len(firsts))))
    differences = np.fromiter(pairs.known.values(), np.float32, len(pairs.known))
    limit = valley(differences) if near_limit is None else near_limit
    heads = _representatives(pairs, len(firsts), limit, preference)

    places = opened.places.tolist()
    members: dict[int, list[int]] = defaultdict(list)
    distances: dict[int, float] = {}
    copy_of: dict[int, int] = {}
    for index in sorted(range(len(firsts)), key=lambda index: (heads[index] != index, index)):
        group = [places[member] for member in groups[index]]
        members[heads[index]] += group
        copy_of |= dict.fromkeys(group[1:], group[0])
        distances |= dict.fromkeys(group, pairs(index, heads[index]))
    assert all(math.isfinite(distance) for distance in distances.values())
    clusters = sorted(members.values(), key=lambda some: (-len(some), some[0]))
    return Clusters(clusters, distances, copy_of, limit, differences)


def valley(differences: NDArray[np.float32]) -> float:
    """The limit between near copies and others: between the lowest and the highest a little below where the fewest lie.

    A set without near copies thins out downward and gets the lowest; one of nothing but copies gets nearly the highest.
    """
    grid = np.linspace(np.log(LOWEST_LIMIT), np.log(HIGHEST_LIMIT), 61)
    values = np.log(np.maximum(differences[differences < 2 * HIGHEST_LIMIT], 1e-3).astype(np.float64))
    density = np.zeros_like(grid)
    for part in np.array_split(values, 1 + len(values) // 4096):
        density += np.exp(-0.5 * ((grid - part[:, None]) / _SMOOTH) ** 2).sum(axis=0)
    return float(max(LOWEST_LIMIT, _CAUTION * np.exp(grid[density.argmin()])))


class _Pairs:
    """The differences of the pairs of pictures compared so far, each compared once."""

    def __init__(self, thumbnails: NDArray[np.uint8], rows: NDArray[np.int64], bar: Bar) -> None:
        self._thumbnails, self._rows = thumbnails, rows  # the pictures are those in these rows
        self._colors = _colors(thumbnails, rows)
        self._bar = bar
        self.known: dict[tuple[int, int], float] = {}

    def compare(self, pairs: Iterable[tuple[int, int]]) -> None:
        """Compare those that were not yet."""
        new = sorted({(min(pair), max(pair)) for pair in pairs if pair[0] != pair[1]} - self.known.keys())
        for start in range(0, len(new), _PAIRS):
            part = new[start : start + _PAIRS]
            found = difference(self._thumbnails, self._rows[np.array(part, np.int64)])
            self.known.update(zip(part, found.tolist(), strict=True))
            self._bar("compare", start + len(part), len(new))

    def compare_neighbors(self, among: list[int]) -> None:
        """Compare each of some pictures with those of them that are most like it in color."""
        if len(among) < 2:
            return
        chosen = np.array(among, np.int64)
        near = chosen[_nearest(self._colors[chosen], _CANDIDATES)].tolist()
        self.compare((one, other) for one, others in zip(among, near, strict=True) for other in others)

    def __call__(self, one: int, other: int) -> float:
        """The difference of two pictures; infinite where they were not compared, 0 of one with itself."""
        return 0.0 if one == other else self.known.get((min(one, other), max(one, other)), math.inf)

    def near(self, limit: float) -> dict[int, set[int]]:
        """Who is a near copy of whom."""
        found: dict[int, set[int]] = defaultdict(set)
        for (one, other), apart in self.known.items():
            if apart <= limit:
                found[one].add(other)
                found[other].add(one)
        return found


def _representatives(
    pairs: _Pairs, count: int, limit: float, preference: Callable[[int], tuple[int, bool, int]]
) -> list[int]:
    """The representative of each of `count` pictures, by index; of one without near copies itself.

    The picture with the most near copies (of equals the one with the least `preference`) represents them, then the next
    of those that nobody represents. Then the representatives are compared with each other, their members with what is
    found near, and all is done again.
    """
    for _ in range(_ROUNDS):
        near = pairs.near(limit)
        heads: set[int] = set()
        free = set(range(count))
        for index in sorted(free, key=lambda index: (-len(near[index]), preference(index), index)):
            if index in free:
                heads.add(index)
                free -= near[index] | {index}
        # Of all that may represent a picture the one that is most like it does.
        of = [
            index if index in heads else min(near[index] & heads, key=lambda head: (pairs(index, head), head))
            for index in range(count)
        ]
        pairs.compare_neighbors(sorted(heads))
        near = pairs.near(limit)
        taken = {head: near[head] & heads for head in heads}
        if not any(taken.values()):
            break
        pairs.compare((index, other) for index, head in enumerate(of) for other in taken[head])
    return of


def _colors(thumbnails: NDArray[np.uint8], rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """Mean colors of cells, less the picture's mean, of length 1: [n, 432]. By them near copies are among the nearest
    whatever was done to them; a perceptual hash loses shifted ones, a backbone those with another mouth or blink.
    """
    found = np.empty((len(rows), 3 * (SIDE // _CELL) ** 2), np.float32)
    for start in range(0, len(rows), 1024):
        part = torch.from_numpy(thumbnails[rows[start : start + 1024]]).permute(0, 3, 1, 2).float()
        cells = functional.avg_pool2d(part, _CELL).flatten(1)
        found[start : start + 1024] = functional.normalize(cells - cells.mean(dim=1, keepdim=True), dim=1).numpy()
    return found


def _nearest(rows: NDArray[np.float32], count: int) -> NDArray[np.int64]:
    """The `count` (or all) others most like each row of [n, d], of length 1: int64 [n, count].

    Above _ALL rows only those in the same parts of the set are looked at, so that time grows with n, not its square.
    """
    n, count = len(rows), min(count, len(rows) - 1)
    values = torch.from_numpy(rows)
    if n <= _ALL:
        searches: Iterator[tuple[torch.Tensor, torch.Tensor]] = iter([(torch.arange(n), torch.arange(n))])
    else:
        middles = values[::_PART].T
        parts = torch.cat([(some @ middles).topk(_PARTS, dim=1).indices for some in torch.split(values, _PART)])
        searches = (
            (torch.nonzero((parts == part).any(dim=1))[:, 0], torch.nonzero(parts[:, 0] == part)[:, 0])
            for part in range(middles.shape[1])
        )
    best = torch.full((n, count), -torch.inf)
    index = torch.zeros((n, count), dtype=torch.int64)
    for asking, among in searches:
        for some in torch.split(asking, max(1, _ALIKE // max(1, len(among)))):
            alike = values[some] @ values[among].T
            alike[some[:, None] == among] = -torch.inf
            near = alike.topk(min(count, len(among)), dim=1)
            both = torch.cat([best[some], near.values], dim=1).topk(count, dim=1)
            best[some] = both.values
            index[some] = torch.cat([index[some], among[near.indices]], dim=1).gather(1, both.indices)
    return index.numpy()


# ---------------------------------------------------------------- of a source, of a corpus


def clusters_of(source: Source, *, cache: Path | None = None, bar: Bar = silent) -> NDArray[np.int64]:
    """A number for each entry of a source, the same for copies and near copies: int64 [n].

    As the description says where it says anything, and who has no number there is a cluster of its own. Else they are
    found, which is kept in the folder `cache`.
    """
    given = [entry.cluster for entry in source.entries]
    if any(number is not None for number in given):
        lone = range(1 + max(number for number in given if number is not None), 1 << 62)
        return np.array([other if own is None else own for own, other in zip(given, lone, strict=False)], np.int64)

    def find() -> NDArray[np.int64]:
        if cache is not None:
            cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache, prefix=".likeness-") as scratch:
            return _numbers(len(source), open_all(source.entries, Path(scratch), bar=bar), bar)

    # Without a signature of its own a source does not know whether its files have changed.
    return remembered(cache if source.find_stamp else None, "clusters", f"{_EDITION} {source.stamp}", find)


def clusters_in(corpus: Corpus, *, cache: Path | None = None, bar: Bar = silent) -> NDArray[np.int64]:
    """`clusters_of` for the pictures of a corpus: int64 [n]. Of one without picture files the pixels are compared."""
    if corpus.source is not None:
        numbers = clusters_of(corpus.source, cache=cache, bar=bar).tolist()
        by_name = dict(zip((entry.name for entry in corpus.source.entries), numbers, strict=True))
        # A file that has gone since the corpus was loaded is a cluster of its own.
        return np.array([by_name.get(name, -1 - place) for place, name in enumerate(corpus.names)], np.int64)
    if corpus.clusters is not None:
        return corpus.clusters
    count = len(corpus.names)
    thumbnails = np.empty((count, SIDE, SIDE, 3), np.uint8)
    facts = []
    for place in range(count):
        (pixels,) = corpus.pictures([place])
        (thumbnails[place],) = thumbnails_of(pixels[None])
        facts.append(Facts(pixels.shape[1], pixels.shape[0], "PNG", "RGB", False, False, fingerprint(pixels)))
        bar("look at", place + 1, count)
    return _numbers(count, Opened(np.arange(count), facts, thumbnails, None, {}), bar)


def _numbers(count: int, opened: Opened, bar: Bar) -> NDArray[np.int64]:
    """A number for each of `count` pictures, the lowest place in its cluster; what cannot be used has its own."""
    numbers = np.arange(count)
    for members in cluster(opened, bar=bar).members:
        numbers[members] = min(members)
    return numbers


def remembered(cache: Path | None, kind: str, key: str, make: Callable[[], NDArray[Any]]) -> NDArray[Any]:
    """What `make` gives, from the folder `cache` where it has been made before; any file there may be deleted."""
    if cache is None:
        return make()
    path = cache / kind / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.safetensors"
    try:
        return load_file(path)["values"]
    except (OSError, SafetensorError, KeyError):  # not there, or damaged: made anew
        pass
    values = make()
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path, shared=True) as partial:
        save_file({"values": np.ascontiguousarray(values)}, partial)
    return values
