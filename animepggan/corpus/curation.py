"""What a set of pictures holds that training should not see as often: copies, near copies, strangers. Nothing is
deleted; what was found becomes the rows of a corpus description. `data.curate` is what one calls.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from animepggan.bar import Bar, silent
from animepggan.corpus import strangers
from animepggan.corpus.description import Row, Status
from animepggan.corpus.facts import Describer, Facts, open_all
from animepggan.corpus.likeness import Clusters, cluster
from animepggan.corpus.names import printable
from animepggan.corpus.spec import Bad, Entry, Source
from animepggan.errors import DataError


@dataclass(frozen=True)
class Curation:
    """What was found. Indices are places in `entries`; pictures that cannot be used are in `bad` only."""

    source: Source
    facts: dict[int, Facts]  # of the pictures that can be used
    bad: dict[int, Bad]
    clusters: Clusters
    backbone: str | None  # its label; None: no strangers were looked for
    scores: dict[int, float]  # how suspicious: the set's median is 0, nine tenths of it are below 1
    stranger_limit: float | None  # a score

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
        found = [place for members in self.clusters.members if self._is_strange(members) for place in members]
        return sorted(found, key=lambda place: (-self.scores[place], place))

    @property
    def counts(self) -> dict[str, int]:
        """Pictures by what was found, and clusters."""
        statuses = Counter(row.status for row in self.rows())
        return {
            "pictures": len(self.entries),
            "clusters": len(self.clusters.members),
            "copies": statuses["copy"],
            "near copies": statuses["near"],
            "strangers": statuses["stranger"],
            "bad": statuses["bad"],
            "skipped": sum(not bad.by_choice for bad in self.source.skipped),
        }

    def as_json(self) -> dict[str, Any]:
        """The counts and limits as plain values."""
        return {
            "backbone": self.backbone,
            "near_limit": self.clusters.near_limit,
            "stranger_limit": self.stranger_limit,
            **{name.replace(" ", "_"): count for name, count in self.counts.items()},
        }

    def _is_strange(self, members: list[int]) -> bool:
        if self.stranger_limit is None:
            return False
        return float(np.median([self.scores[place] for place in members])) > self.stranger_limit

    def rows(self) -> Iterator[Row]:
        """A row a picture, in the order of the entries."""
        number = {place: index for index, members in enumerate(self.clusters.members) for place in members}
        strange = set(self.strangers)
        for place, entry in enumerate(self.entries):
            if place in self.bad:
                yield Row(entry.name, weight=0.0, status="bad", reason=self.bad[place].reason)
                continue
            members = self.clusters.members[number[place]]
            status, reason = self._status(place, members[0], place in strange)
            yield Row(
                entry.name,
                self.facts[place].digest,
                number[place],
                0.0 if status == "stranger" else round(1 / len(members), 6),
                status,
                round(self.scores[place], 3) if place in self.scores else None,
                reason,
            )

    def _status(self, place: int, head: int, strange: bool) -> tuple[Status, str]:
        if strange:
            score = f"unlike the set: a score of {self.scores[place]:.1f}, over {self.stranger_limit:.1f}"
            return "stranger", f"{score}; its cluster is judged as one" if place != head else score
        if place == head:
            return "keep", ""
        first = self.clusters.copy_of.get(place)
        if first is not None:
            return "copy", f"the same pixels as {self.entries[first].name}"
        near = f"{self.clusters.distances[place]:.2f}, at most {self.clusters.near_limit:.2f}"
        return "near", f"near {self.entries[head].name}: a difference of {near}"


def curation_of(
    source: Source,
    backbone: Describer | None,  # None: strangers are not looked for
    *,
    keep: Source | None = None,  # example pictures of who belongs
    reject: Source | None = None,  # and of who does not
    near_limit: float | None = None,  # in units of noise; None: from the set
    stranger_limit: float | None = None,  # a score; None: strangers.limit
    workers: int | None = None,  # threads that decode; 0: the calling one; None: one a core
    scratch: Path | None = None,  # folder for a memory map, 7 kB a picture; None: the system's temporary one
    bar: Bar = silent,
) -> Curation:
    """Find copies, near copies and, with a backbone, strangers. Copies and near copies do not depend on it.

    Raises DataError where no example picture can be used.
    """
    with tempfile.TemporaryDirectory(dir=scratch, prefix=".looking-") as folder:
        opened = open_all(source.entries, Path(folder), backbone=backbone, workers=workers, bar=bar)
        clusters = cluster(opened, near_limit=near_limit, bar=bar)
        places = opened.places.tolist()
        scores: dict[int, float] = {}
        if backbone is None or opened.embeddings is None:
            stranger_limit = None
        else:
            row = {place: index for index, place in enumerate(places)}
            seen = strangers.Seen.of(opened.embeddings, opened.thumbnails)
            # The strangers' neighborhood is made of clusters: copies of one picture are no neighbors of it.
            single = np.array(sorted(row[members[0]] for members in clusters.members), np.int64)
            known = [None if some is None else _seen(some, backbone, workers) for some in (keep, reject)]
            scores = dict(zip(places, strangers.score(seen, single, *known).tolist(), strict=True))
            scores |= {place: scores[first] for place, first in clusters.copy_of.items()}
            if stranger_limit is None:
                stranger_limit = strangers.limit(seen[single], known[0])
    return Curation(
        source,
        dict(zip(places, opened.facts, strict=True)),
        opened.bad,
        clusters,
        None if stranger_limit is None or backbone is None else backbone.label,
        scores,
        stranger_limit,
    )


def _seen(source: Source, backbone: Describer, workers: int | None) -> strangers.Seen:
    """What example pictures look like."""
    with tempfile.TemporaryDirectory() as folder:
        opened = open_all(source.entries, Path(folder), backbone=backbone, workers=workers)
        if opened.embeddings is None:
            raise DataError(f"{printable(source.spec)} holds no example picture that can be used")
        return strangers.Seen.of(opened.embeddings, opened.thumbnails)
