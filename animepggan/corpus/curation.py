"""What is in a set of pictures, above all what training should not see as often: copies, near copies, strangers.

Nothing is deleted; what was found becomes the rows of a corpus description (`data.curate`) or a report (`data.check`).
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
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

LONG = 2.0
"""A picture whose sides differ by more loses over half of itself when it is cut square."""
SIDES = (32, 64, 128, 256, 512, 1024)  # pixels; resolutions that a set may be too small for
SUSPECTS = 24  # named in JSON and shown, whether over the limit or not


@dataclass(frozen=True)
class Curation:
    """What was found. Indices are places in `entries`; pictures that cannot be used are in `bad` only."""

    source: Source
    facts: dict[int, Facts]  # of the pictures that can be used
    bad: dict[int, Bad]
    clusters: Clusters
    backbone: str | None  # its label; None: no strangers were looked for
    scores: dict[int, float]  # how suspicious, of `strangers.judge`
    stranger_limit: float | None  # a score; None: nobody is left out, but by examples
    unsure: str = ""  # why the set does not say who is who
    examples: Mapping[str, bool] = field(default_factory=dict)  # by digest: whether it belongs
    by_hand: Mapping[str, bool] = field(default_factory=dict)  # description.decisions_in: over what is found here

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
        """The pictures left out of training, the most suspicious first: the clusters with a rejected example, and those
        whose median is over the limit and that hold no example to keep.
        """
        found = set[int]()
        for members in self.clusters.members if self.scores else ():
            told = {self.examples.get(self.facts[place].digest) for place in members}
            median = np.median([self.scores[place] for place in members])
            far = self.stranger_limit is not None and median > self.stranger_limit
            if False in told or (far and True not in told):
                found |= set(members)
        return [place for place in self.suspects if place in found]

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
            "unsure": self.unsure,
            **{name.replace(" ", "_"): count for name, count in self.counts.items()},
        }

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
            row = Row(
                entry.name,
                self.facts[place].digest,
                number[place],
                0.0 if status == "stranger" else round(1 / len(members), 6),
                status,
                round(self.scores[place], 3) if place in self.scores else None,
                reason,
            )
            keep = self.by_hand.get(self.facts[place].digest, self.by_hand.get(entry.name))
            yield row if keep is None else row.decided(keep, len(members))

    def _status(self, place: int, head: int, strange: bool) -> tuple[Status, str]:
        if strange:
            if self.examples.get(self.facts[place].digest) is False:
                return "stranger", "one of the rejected examples"
            if self.stranger_limit is None or self.scores[place] <= self.stranger_limit:
                return "stranger", "in a cluster of strangers"
            score = f"unlike the set: a score of {self.scores[place]:.1f}, over {self.stranger_limit:.1f}"
            return "stranger", f"{score}; its cluster is judged as one" if place != head else score
        if place == head:
            return "keep", ""
        if (first := self.clusters.copy_of.get(place)) is not None:
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
    stranger_limit: float | None = None,  # a score; None: strangers.LIMIT, where the set says who is who
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
        unsure, examples = "", dict[str, bool]()
        if backbone is None or opened.embeddings is None:
            stranger_limit = None
        else:
            row = {place: index for index, place in enumerate(places)}
            seen = strangers.Seen(opened.embeddings, strangers.palettes(opened.thumbnails))
            # The strangers' neighborhood is made of clusters: copies of one picture are no neighbors of it.
            single = np.array(sorted(row[members[0]] for members in clusters.members), np.int64)
            known: list[strangers.Seen | None] = []
            for some, belongs in ((keep, True), (reject, False)):
                looked = None if some is None else _seen(some, backbone, workers)
                known.append(None if looked is None else looked[0])
                examples |= {} if looked is None else dict.fromkeys(looked[1], belongs)
            judgment = strangers.judge(seen, single, backbone.label, *known)
            scores, unsure = dict(zip(places, judgment.scores.tolist(), strict=True)), judgment.unsure
            scores |= {place: scores[first] for place, first in clusters.copy_of.items()}
            if stranger_limit is None and not unsure:
                stranger_limit = strangers.LIMIT
    return Curation(
        source,
        dict(zip(places, opened.facts, strict=True)),
        opened.bad,
        clusters,
        backbone.label if backbone is not None and scores else None,
        scores,
        stranger_limit,
        unsure,
        examples,
    )


def _seen(source: Source, backbone: Describer, workers: int | None) -> tuple[strangers.Seen, list[str]]:
    """What example pictures look like, and their digests."""
    with tempfile.TemporaryDirectory() as folder:
        opened = open_all(source.entries, Path(folder), backbone=backbone, workers=workers)
        if opened.embeddings is None:
            raise DataError(f"{printable(source.spec)} holds no example picture that can be used")
        seen = strangers.Seen(opened.embeddings, strangers.palettes(opened.thumbnails))
        return seen, [facts.digest for facts in opened.facts]


# ---------------------------------------------------------------- for people to read


@dataclass(frozen=True)
class Report:
    """What `data.check` found. Indices are places in `entries`."""

    curation: Curation
    unseen: str  # why no backbone has looked for strangers; "" where one has
    source: Source
    entries: tuple[Entry, ...]  # the pictures, usable or not
    facts: dict[int, Facts]  # of those that can be used
    bad: list[Bad]  # opened and found unusable
    skipped: list[Bad]  # left out unopened, for a fault of theirs
    left_out: int  # how many pictures the description that was checked leaves out
    copies: list[list[int]]  # groups of exactly the same pixels
    near: list[list[int]]  # groups of near copies, of exact copies only the first
    strangers: list[int]  # likely ones, the most suspicious first
    flat: list[int]  # pictures of one color
    long: list[int]  # pictures that lose over half of themselves when cut square, the longest first

    @property
    def bad_share(self) -> float:
        """Unusable pictures among those opened, 0 to 1."""
        return len(self.bad) / max(1, len(self.entries))

    @property
    def clean(self) -> bool:
        """Whether there is nothing that a person should look at."""
        return not any((self.bad, self.skipped, self.copies, self.near, self.strangers, self.flat, self.long))

    def _sides(self) -> list[int]:
        """The shorter sides in pixels, ascending."""
        return sorted(min(facts.width, facts.height) for facts in self.facts.values())

    def _counted(self, what: str) -> Counter[str]:
        """Pictures by `format`, by color `mode` or by `shape`."""
        return Counter(getattr(facts, what) for facts in self.facts.values())

    def table(self) -> Iterator[tuple[str, str]]:
        """What is in the set, by name; nothing where no picture can be used."""
        if not self.facts:
            return
        sides = self._sides()
        yield "formats", _told(self._counted("format"))
        transparent = sum(facts.transparent for facts in self.facts.values())
        yield "color modes", _told(self._counted("mode")) + (f"; {transparent:,} transparent" if transparent else "")
        under = [(sum(one < side for one in sides), side) for side in SIDES]
        counted = "".join(f", {count:,} under {side}" for count, side in under if 0 < count < len(sides))
        yield "shorter side", f"{sides[0]} to {sides[-1]} px, median {sides[len(sides) // 2]}{counted}"
        largest = max(self.facts.values(), key=lambda facts: facts.pixels)
        yield "largest", f"{largest.width} x {largest.height} px"
        yield "shapes", _told(self._counted("shape"))
        if self.curation.backbone is None:
            yield "strangers", printable(self.unseen, 160)
        else:
            yield "strangers", self.curation.unsure or unlike(len(self.strangers))
            yield "seen with", printable(self.curation.backbone, 160)

    def as_json(self) -> dict[str, Any]:
        """All of it as plain values."""

        def names(indices: Iterable[int]) -> list[str]:
            return [self.entries[index].name for index in indices]

        def scored(indices: Iterable[int]) -> list[dict[str, Any]]:
            scores = self.curation.scores
            return [{"name": self.entries[index].name, "score": round(scores[index], 3)} for index in indices]

        sides = self._sides()
        unusable = list(self.unusable())
        return {
            "spec": self.source.spec,
            "commit": self.source.commit,
            "pictures": len(self.entries),
            "usable": len(self.facts),
            "bad": unusable[: len(self.bad)],
            "skipped": unusable[len(self.bad) :],
            "left_out": self.left_out,
            "formats": self._counted("format"),
            "modes": self._counted("mode"),
            "transparent": sum(facts.transparent for facts in self.facts.values()),
            "shorter_side": {
                "min": sides[0],
                "median": sides[len(sides) // 2],
                "max": sides[-1],
                "under": {str(side): sum(one < side for one in sides) for side in SIDES},
            }
            if sides
            else None,
            "shapes": self._counted("shape"),
            "copies": [names(group) for group in self.copies],
            "look_alike": [names(group) for group in self.near],
            "strangers": scored(self.strangers),
            "suspects": scored(self.curation.suspects[:SUSPECTS]),
            "stranger_limit": self.curation.stranger_limit,
            "backbone": self.curation.backbone,
            "one_color": names(self.flat),
            "long": names(self.long),
            "clean": self.clean,
        }

    def unusable(self) -> Iterator[dict[str, Any]]:
        """A line of bad.jsonl for each file that cannot be used."""
        for kind, found in (("bad", self.bad), ("skipped", self.skipped)):
            for bad in found:
                yield {"name": bad.name, "kind": kind, "reason": bad.reason}


def unlike(count: int) -> str:
    """How many pictures look like strangers, in words."""
    if not count:
        return "no picture looks unlike the rest"
    return "1 picture looks unlike the rest" if count == 1 else f"{count:,} pictures look unlike the rest"


def _told(counter: Counter[str]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counter.most_common())


def report_of(curation: Curation, unseen: str) -> Report:
    """What of a curation, and of the source, a person should look at; groups and strangers that a description has put
    into clusters are known.
    """
    source, facts, clusters = curation.source, curation.facts, curation.clusters
    entries = source.entries

    def is_new(group: list[int]) -> bool:
        known = {entries[index].cluster for index in group}
        return len(known) > 1 or None in known

    copies: dict[int, list[int]] = {}
    for place, first in sorted(clusters.copy_of.items()):
        copies.setdefault(first, [first]).append(place)
    near = (sorted(set(members) - clusters.copy_of.keys()) for members in clusters.members)
    skipped = [bad for bad in source.skipped if not bad.by_choice]
    return Report(
        curation,
        unseen,
        source,
        entries,
        facts,
        bad=list(curation.bad.values()),
        skipped=skipped,
        left_out=len(source.skipped) - len(skipped),
        copies=sorted(filter(is_new, copies.values())),
        near=sorted(group for group in near if len(group) > 1 and is_new(group)),
        strangers=[index for index in curation.strangers if entries[index].cluster is None],
        flat=[index for index, known in facts.items() if known.flat],
        long=sorted((index for index in facts if facts[index].ratio > LONG), key=lambda index: -facts[index].ratio),
    )
