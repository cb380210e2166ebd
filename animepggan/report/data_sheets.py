"""The pages that `data check` and `data curate` write: what was found in a set, to be looked over by a person."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path

import numpy as np

from animepggan.corpus.curation import SUSPECTS, Curation, Report
from animepggan.corpus.names import printable
from animepggan.corpus.sweep import some_of
from animepggan.report.sheet import Section, Tile, histogram, thumbnails_at, write_sheet

GROUPS, MEMBERS, SAMPLE, LISTED = 24, 6, 72, 200
"""Shown of a check at most: groups of copies, pictures of a group, pictures of the whole set, unusable files."""
CURATED_CLUSTERS, CURATED_MEMBERS, CURATED_SUSPECTS = 60, 8, 120
"""Shown of a curation at most."""


def write_check(path: Path, report: Report, workers: int | None = None) -> None:
    """Write the page of a check."""
    facts = report.facts
    spread = some_of(sorted(facts), SAMPLE)
    small = sorted(facts, key=lambda index: (facts[index].pixels, index))[:MEMBERS]
    groups = [group[:MEMBERS] for group in (*report.copies[:GROUPS], *report.near[:GROUPS])]
    suspects = report.curation.suspects[:SUSPECTS]
    singles = (spread, small, suspects, report.flat[:GROUPS], report.long[:GROUPS])
    pictures = thumbnails_at(report.entries, chain(*groups, *singles), workers)
    strange = set(report.strangers)

    def tiles(indices: Sequence[int], score: bool = False) -> list[Tile]:
        found = []
        for index in indices:
            caption = f"{printable(report.entries[index].name)} {facts[index].width}x{facts[index].height}"
            if score:
                caption = f"{report.curation.scores[index]:z.1f} {caption}"
            if (picture := pictures[index]) is not None:
                found.append(Tile(picture, caption, score and index in strange))
        return found

    def sections() -> Iterator[Section]:
        usable = f"{len(facts):,} of {len(report.entries):,}"
        yield Section("In the set", table=[("can be used", usable), *report.table()])
        if spread:
            yield Section("From all over the set", rows=[tiles(spread)])
        unusable = [*report.bad, *report.skipped]
        if unusable:
            left = f"The first {LISTED} of {len(unusable):,}; bad.jsonl has all." if len(unusable) > LISTED else ""
            listed = [(printable(bad.name), printable(bad.reason)) for bad in unusable[:LISTED]]
            yield Section("Cannot be used", left, table=listed)
        for title, note, groups in (
            ("Exact copies", "The same pixels, whatever the files.", report.copies),
            ("Look alike", "Near copies: the same picture saved, scaled or cut anew, or the same moment.", report.near),
        ):
            if groups:
                left = f" The first {GROUPS} of {len(groups):,} groups." if len(groups) > GROUPS else ""
                yield Section(title, note + left, rows=(tiles(group[:MEMBERS]) for group in groups[:GROUPS]))
        if suspects:
            note = "By their scores; framed: likely strangers, other characters or no face at all."
            note = f"{report.curation.unsure}." if report.curation.unsure else note
            yield Section("The most suspicious first", note, rows=[tiles(suspects, score=True)])
        if report.flat:
            yield Section("One color", "Nothing to learn from.", rows=[tiles(report.flat[:GROUPS])])
        if report.long:
            note = "Training takes the central square and loses more than half of these."
            yield Section("One side more than twice the other", note, rows=[tiles(report.long[:GROUPS])])
        if small:
            yield Section("The smallest", rows=[tiles(small)])

    note = "Nothing to look at." if report.clean else "Something to look at."
    title = f"{report.source.name}: {len(facts):,} pictures"
    write_sheet(path, title, note, sections())


def write_curation(path: Path, curation: Curation, workers: int | None = None) -> None:
    """Write the page of a curation."""
    members = curation.clusters.members
    clusters = [some[:CURATED_MEMBERS] for some in members[:CURATED_CLUSTERS] if len(some) > 1]
    suspects = curation.suspects[:CURATED_SUSPECTS]
    pictures = thumbnails_at(curation.entries, chain(*clusters, suspects), workers)
    out = {place for place, row in enumerate(curation.rows()) if row.status == "stranger"}

    def tiles(places: Sequence[int], numbers: Mapping[int, float], form: str) -> list[Tile]:
        return [
            Tile(picture, f"{numbers[place]:{form}} {printable(curation.entries[place].name)}", place in out)
            for place in places
            if (picture := pictures[place]) is not None
        ]

    def sections() -> Iterator[Section]:
        yield Section("In the set", table=[(name, f"{value:,}") for name, value in curation.counts.items()])
        near, limit = curation.clusters.differences, curation.clusters.near_limit
        yield Section(
            "Differences of neighbors",
            f"In units of noise; up to {limit:.2f} a near copy; what is over 3 stands at 3.",
            drawing=histogram([(np.minimum(near[np.isfinite(near)], 3), "#888")], limit, logarithmic=True),
        )
        if curation.scores:
            scores = np.array(list(curation.scores.values()), np.float32)
            limit = 1.0 if curation.stranger_limit is None else curation.stranger_limit
            note = f"1 is as far from her as her own farthest; over {limit:.1f} left out."
            yield Section(
                "Scores of strangers",
                f"{curation.unsure}." if curation.unsure else note,
                drawing=histogram([(scores, "#888")], limit, logarithmic=True),
            )
            row = [tiles(suspects, curation.scores, "z.1f")]
            yield Section("The most suspicious first", "Framed: left out of training.", rows=row)
        if clusters:
            note = "The largest first; the representative, then its copies with their differences from it."
            rows = (tiles(some, curation.clusters.distances, ".2f") for some in clusters)
            yield Section("Clusters", note, rows=rows)

    title = f"{curation.source.name}: {len(curation.entries):,} pictures, {len(members):,} clusters"
    looked = f"Seen with {curation.backbone}" if curation.backbone else "Strangers were not looked for"
    note = f"{looked}. Nothing was deleted; `animepggan data review` corrects it by clicking."
    write_sheet(path, title, note, sections())
