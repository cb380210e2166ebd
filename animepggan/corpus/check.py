"""What is in a set of pictures: sizes, shapes, colors, copies, strangers, and what cannot be used. `data.check` is what
one calls.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from animepggan.corpus.curation import Curation
from animepggan.corpus.facts import Facts
from animepggan.corpus.names import printable
from animepggan.corpus.spec import Bad, Entry, Source

LONG = 2.0
"""A picture whose sides differ by more loses over half of itself when it is cut square."""
SIDES = (32, 64, 128, 256, 512, 1024)  # pixels; resolutions that a set may be too small for
SUSPECTS = 24  # named in JSON and shown, whether over the limit or not


@dataclass(frozen=True)
class Report:
    """What `check` found. Indices are places in `entries`."""

    curation: Curation
    unseen: str  # why no backbone has looked for strangers; "" where one has

    @property
    def source(self) -> Source:
        """What was checked."""
        return self.curation.source

    @property
    def entries(self) -> tuple[Entry, ...]:
        """The pictures, usable or not."""
        return self.source.entries

    @property
    def facts(self) -> Mapping[int, Facts]:
        """What is known of the pictures that can be used, by index."""
        return self.curation.facts

    @property
    def bad(self) -> list[Bad]:
        """Opened and found unusable."""
        return list(self.curation.bad.values())

    @property
    def bad_share(self) -> float:
        """Unusable pictures among those opened, 0 to 1."""
        return len(self.bad) / max(1, len(self.entries))

    @property
    def skipped(self) -> list[Bad]:
        """Left out unopened, for a fault of theirs."""
        return [one for one in self.source.skipped if not one.by_choice]

    @property
    def left_out(self) -> int:
        """How many pictures the description that was checked leaves out."""
        return len(self.source.skipped) - len(self.skipped)

    @cached_property
    def copies(self) -> list[list[int]]:
        """Groups of exactly the same pixels, but for those that a description has joined."""
        groups: dict[int, list[int]] = {}
        for place, first in sorted(self.curation.clusters.copy_of.items()):
            groups.setdefault(first, [first]).append(place)
        return sorted(self._unknown(groups.values()))

    @cached_property
    def near(self) -> list[list[int]]:
        """Groups of near copies, of exact copies only the first, but for those that a description has joined."""
        again = self.curation.clusters.copy_of.keys()
        groups = (sorted(set(members) - again) for members in self.curation.clusters.members)
        return sorted(self._unknown(group for group in groups if len(group) > 1))

    def _unknown(self, groups: Iterable[list[int]]) -> Iterator[list[int]]:
        for group in groups:
            known = {self.entries[index].cluster for index in group}
            if len(known) > 1 or None in known:
                yield group

    @property
    def flat(self) -> list[int]:
        """Pictures of one color."""
        return [index for index, facts in self.facts.items() if facts.flat]

    @property
    def long(self) -> list[int]:
        """Pictures that lose over half of themselves when cut square, the longest first."""
        found = [index for index, facts in self.facts.items() if facts.ratio > LONG]
        return sorted(found, key=lambda index: (-self.facts[index].ratio, index))

    @property
    def strangers(self) -> list[int]:
        """Likely strangers, the most suspicious first, but for those that a description has put into a cluster."""
        return [index for index in self.curation.strangers if self.entries[index].cluster is None]

    @property
    def clean(self) -> bool:
        """Whether there is nothing that a person should look at."""
        return not any((self.bad, self.skipped, self.copies, self.near, self.strangers, self.flat, self.long))

    @property
    def shorter_sides(self) -> list[int]:
        """In pixels, ascending."""
        return sorted(min(facts.width, facts.height) for facts in self.facts.values())

    def counted(self, what: str) -> Counter[str]:
        """Pictures by `format`, by color `mode` or by `shape`."""
        return Counter(getattr(facts, what) for facts in self.facts.values())

    def table(self) -> Iterator[tuple[str, str]]:
        """What is in the set, by name; nothing where no picture can be used."""
        if not self.facts:
            return
        sides = self.shorter_sides
        yield "formats", _told(self.counted("format"))
        transparent = sum(facts.transparent for facts in self.facts.values())
        yield "color modes", _told(self.counted("mode")) + (f"; {transparent:,} transparent" if transparent else "")
        under = [(sum(one < side for one in sides), side) for side in SIDES]
        counted = "".join(f", {count:,} under {side}" for count, side in under if 0 < count < len(sides))
        yield "shorter side", f"{sides[0]} to {sides[-1]} px, median {sides[len(sides) // 2]}{counted}"
        largest = max(self.facts.values(), key=lambda facts: facts.pixels)
        yield "largest", f"{largest.width} x {largest.height} px"
        yield "shapes", _told(self.counted("shape"))
        if self.curation.backbone is None:
            yield "strangers", printable(self.unseen, 160)
        else:
            likely = f"{len(self.strangers):,} likely" if self.strangers else "none likely"
            yield "strangers", f"{likely}, with a score over {self.curation.stranger_limit:.1f}"
            yield "seen with", printable(self.curation.backbone, 160)

    def as_json(self) -> dict[str, Any]:
        """All of it as plain values."""

        def names(indices: Iterable[int]) -> list[str]:
            return [self.entries[index].name for index in indices]

        def scored(indices: Iterable[int]) -> list[dict[str, Any]]:
            scores = self.curation.scores
            return [{"name": self.entries[index].name, "score": round(scores[index], 3)} for index in indices]

        sides = self.shorter_sides
        return {
            "spec": self.source.spec,
            "commit": self.source.commit,
            "pictures": len(self.entries),
            "usable": len(self.facts),
            "bad": [told for told in self.unusable() if told["kind"] == "bad"],
            "skipped": [told for told in self.unusable() if told["kind"] == "skipped"],
            "left_out": self.left_out,
            "formats": self.counted("format"),
            "modes": self.counted("mode"),
            "transparent": sum(facts.transparent for facts in self.facts.values()),
            "shorter_side": {
                "min": sides[0],
                "median": sides[len(sides) // 2],
                "max": sides[-1],
                "under": {str(side): sum(one < side for one in sides) for side in SIDES},
            }
            if sides
            else None,
            "shapes": self.counted("shape"),
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


def _told(counter: Counter[str]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counter.most_common())
