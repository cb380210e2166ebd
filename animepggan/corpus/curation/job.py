"""Curation of a whole corpus, and what it found as rows of a description."""

from __future__ import annotations

import math
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from animepggan.corpus.curation import strangers
from animepggan.corpus.curation.clusters import Pairs, candidates, cluster
from animepggan.corpus.curation.compare import valley
from animepggan.corpus.curation.look import Describer, Looks, look_at
from animepggan.corpus.description import Row, Status
from animepggan.corpus.names import printable
from animepggan.corpus.spec import Bad, Entry, Source
from animepggan.errors import DataError

Progress = Callable[[str, int], object]
"""Called as progress(phase, pictures or pairs done in it since the last call)."""


@dataclass(frozen=True)
class Curation:
    """What was found. Indices are places in `entries`; pictures that cannot be used are in `bad` only."""

    source: Source
    backbone: str  # its label
    examples: tuple[int, int]  # pictures given as examples: to keep, to reject
    bad: dict[int, Bad]
    digests: dict[int, str]  # sha256 of the decoded pixels
    clusters: list[list[int]]  # of copies and near copies, single pictures too; the representative first
    distances: dict[int, float]  # from the representative, in units of noise; 0 of exact copies of it
    copy_of: dict[int, int]  # the first picture with the same pixels, of all but that one
    scores: dict[int, float]  # how suspicious: the set's median is 0, nine tenths of it are below 1
    near_limit: float  # in units of noise
    stranger_limit: float  # a score
    differences: NDArray[np.float32]  # of all pairs compared, in no order

    @property
    def entries(self) -> tuple[Entry, ...]:
        """The pictures, usable or not."""
        return self.source.entries

    @property
    def suspects(self) -> list[int]:
        """All pictures that can be used, the most suspicious first."""
        return sorted(self.scores, key=lambda place: (-self.scores[place], place))

    @property
    def strangers(self) -> list[int]:
        """The pictures left out of training, the most suspicious first: the clusters whose median is over the limit."""
        found = [place for members in self.clusters if self._is_strange(members) for place in members]
        return sorted(found, key=lambda place: (-self.scores[place], place))

    def _is_strange(self, members: list[int]) -> bool:
        return float(np.median([self.scores[place] for place in members])) > self.stranger_limit

    def rows(self) -> Iterator[Row]:
        """A row a picture, in the order of the entries."""
        number: dict[int, int] = {}
        strange: set[int] = set()
        for index, members in enumerate(self.clusters):
            number |= dict.fromkeys(members, index)
            if self._is_strange(members):
                strange.update(members)
        for place, entry in enumerate(self.entries):
            if place in self.bad:
                yield Row(entry.name, weight=0.0, status="bad", reason=self.bad[place].reason)
                continue
            members = self.clusters[number[place]]
            status, reason = self._status(place, members[0], place in strange)
            yield Row(
                entry.name,
                self.digests[place],
                number[place],
                0.0 if status == "stranger" else round(1 / len(members), 6),
                status,
                round(self.scores[place], 3),
                reason,
            )

    def _status(self, place: int, head: int, strange: bool) -> tuple[Status, str]:
        if strange:
            score = f"unlike the set: a score of {self.scores[place]:.1f}, over {self.stranger_limit:.1f}"
            return "stranger", f"{score}; its cluster is judged as one" if place != head else score
        if place == head:
            return "keep", ""
        first = self.copy_of.get(place)
        if first is not None:
            return "copy", f"the same pixels as {self.entries[first].name}"
        near = f"{self.distances[place]:.2f}, at most {self.near_limit:.2f}"
        return "near", f"near {self.entries[head].name}: a difference of {near}"


def curate(
    source: Source,
    backbone: Describer,
    *,
    keep: strangers.Seen | None = None,  # of `examples`
    reject: strangers.Seen | None = None,
    near_limit: float | None = None,  # in units of noise; None: from the set
    stranger_limit: float | None = None,  # a score; None: strangers.limit
    workers: int | None = None,  # threads that decode; 0: the calling one; None: one a core
    scratch: Path | None = None,  # folder for memory maps, 11 kB a picture; None: the system's temporary one
    progress: Progress | None = None,
) -> Curation:
    """Find copies, near copies and strangers. Raises DataError where there is no picture that can be used."""
    tell = progress or (lambda phase, done: None)
    with tempfile.TemporaryDirectory(dir=scratch, prefix=".curating-") as folder:
        looks = look_at(source.entries, backbone, Path(folder), workers=workers, progress=lambda _: tell("looking", 1))
        if not len(looks):
            first = "".join(f": {bad}" for bad in list(looks.bad.values())[:1])
            raise DataError(f"{printable(source.spec)} holds no picture that can be used{first}")
        return judge(source, backbone.label, looks, keep, reject, near_limit, stranger_limit, tell)


def examples(source: Source, backbone: Describer, *, workers: int | None = None) -> strangers.Seen:
    """What example pictures look like. Raises DataError where there are none."""
    with tempfile.TemporaryDirectory() as folder:
        looks = look_at(source.entries, backbone, Path(folder), workers=workers, progress=None)
        if not len(looks):
            raise DataError(f"{printable(source.spec)} holds no example picture that can be used")
        return strangers.Seen.of(np.array(looks.embeddings), looks.thumbnails)


def judge(
    source: Source,
    label: str,  # of the backbone
    looks: Looks,  # of one picture at least
    keep: strangers.Seen | None = None,
    reject: strangers.Seen | None = None,
    near_limit: float | None = None,
    stranger_limit: float | None = None,
    tell: Progress = lambda phase, done: None,
) -> Curation:
    """What `curate` finds, of pictures that were looked at."""
    same: dict[str, list[int]] = defaultdict(list)  # indices of looks by their pixels
    for index, digest in enumerate(looks.digests):
        same[digest].append(index)
    firsts = np.array([members[0] for members in same.values()], np.int64)
    groups = list(same.values())

    thumbnails = looks.thumbnails[firsts] if len(firsts) < len(looks) else looks.thumbnails
    pairs = Pairs(thumbnails, lambda n: tell("comparing", n))
    hashes, embeddings = looks.hashes[firsts], np.asarray(looks.embeddings[firsts])
    pairs.compare(candidates(hashes, embeddings, np.arange(len(firsts))))
    differences = pairs.differences()
    limit = valley(differences) if near_limit is None else near_limit

    def preference(index: int) -> tuple[float, ...]:
        first = firsts[index]
        return float(len(groups[index])), float(looks.lossless[first]), float(looks.pixels[first])

    heads = cluster(len(firsts), pairs, limit, preference, lambda among: candidates(hashes, embeddings, among))

    # The strangers' neighborhood is made of clusters: copies of one picture are no neighbors of it.
    single = np.unique(heads)
    seen = strangers.Seen.of(embeddings, thumbnails)
    scored = strangers.score(seen, single, keep, reject)
    cut = strangers.limit(seen[single], keep) if stranger_limit is None else stranger_limit

    place = looks.places.tolist()
    members: dict[int, list[int]] = defaultdict(list)  # places by the index of the representative, it first
    distances: dict[int, float] = {}
    copy_of: dict[int, int] = {}
    scores: dict[int, float] = {}
    for index in sorted(range(len(firsts)), key=lambda index: (heads[index] != index, index)):
        group = [place[member] for member in groups[index]]
        members[int(heads[index])] += group
        copy_of |= dict.fromkeys(group[1:], group[0])
        distances |= dict.fromkeys(group, pairs(index, int(heads[index])))
        scores |= dict.fromkeys(group, float(scored[index]))
    assert all(math.isfinite(distance) for distance in distances.values())
    clusters = sorted(members.values(), key=lambda some: (-len(some), some[0]))
    return Curation(
        source,
        label,
        (0 if keep is None else len(keep), 0 if reject is None else len(reject)),
        looks.bad,
        dict(zip(place, looks.digests, strict=True)),
        clusters,
        distances,
        copy_of,
        scores,
        limit,
        cut,
        differences,
    )
