"""`animepggan data curate`: find copies, near copies and strangers, and write a description to train on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from animepggan.cli.common import (
    Console,
    apply_threads,
    common_options,
    device_options,
    make_folder,
    output_option,
    resolve_device,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from animepggan.corpus.curation import Curation
    from animepggan.report.sheet import Section, Tile

CLUSTERS, MEMBERS, SUSPECTS = 60, 8, 120
"""Shown on the sheet at most: clusters, pictures of a cluster, suspicious pictures."""


@click.command()
@click.argument("data", metavar="SPEC")
@click.option(
    "--backbone",
    metavar="NAME",
    help="hub:owner/name[@revision], FILE.safetensors, ARCHITECTURE=FILE.safetensors or efficientnet-lite0.  "
    "[default: DINOv2 small from the hub, else efficientnet-lite0]",
)
@click.option("--keep", metavar="SPEC", help="Example pictures of who belongs: strangers are found better.")
@click.option("--reject", metavar="SPEC", help="Example pictures of who does not belong.")
@click.option(
    "--near-limit",
    metavar="X",
    type=click.FloatRange(min=0),
    help="Difference up to which pictures are near copies, in units of noise.  [default: from the set, 0.55 to 0.95]",
)
@click.option(
    "--stranger-limit",
    metavar="X",
    type=float,
    help="Score above which pictures are left out.  [default: from the set, at least 3.5]",
)
@click.option("--workers", metavar="N", type=click.IntRange(min=0), help="Threads; 0: one.  [default: all cores]")
@device_options
@output_option("data/curated-NAME, after the set")
@common_options
def command(
    console: Console,
    data: str,
    backbone: str | None,
    keep: str | None,
    reject: str | None,
    near_limit: float | None,
    stranger_limit: float | None,
    workers: int | None,
    device: str,
    threads: int | None,
    output: Path | None,
) -> None:
    """Find copies, near copies and strangers in SPEC, and write PATH/corpus.jsonl, which --data takes.

    Nothing is deleted: in training a cluster of copies counts as one picture, and strangers are left out. Edit that
    file by hand where it is wrong; PATH/sheet.html shows what was found, the most suspicious pictures first.
    """
    from animepggan.corpus.curation import curate, examples
    from animepggan.corpus.curation.look import SEEN
    from animepggan.corpus.demo.cache import cache_folder
    from animepggan.corpus.description import write
    from animepggan.corpus.names import printable
    from animepggan.corpus.source import no_pictures
    from animepggan.corpus.spec import resolve
    from animepggan.interop.backbones import choose

    source = resolve(data)
    if not len(source):
        raise no_pictures(source.spec, source.skipped)
    folder = make_folder(output or Path("data", f"curated-{source.name}"))
    apply_threads(threads)
    eye = choose(backbone, cache=cache_folder(), device=resolve_device(device)).at(SEEN)
    console.say(f"looking with {eye.label}")
    given = [None if spec is None else examples(resolve(spec), eye, workers=workers) for spec in (keep, reject)]
    with console.bar(len(source), "picture", "looking") as bar:
        curation = curate(
            source,
            eye,
            keep=given[0],
            reject=given[1],
            near_limit=near_limit,
            stranger_limit=stranger_limit,
            workers=workers,
            scratch=folder,
            progress=lambda phase, done: bar.update(done) if phase == "looking" else None,
        )
    description, sheet = folder / "corpus.jsonl", folder / "sheet.html"
    write(description, curation.rows(), base=source.base)
    _write_sheet(sheet, curation, workers)
    counts = _counts(curation)
    console.say("; ".join(f"{name} {value}" for name, value in counts))
    console.say(f"look at {printable(str(sheet))}")
    console.result(
        str(description),
        {
            "description": description,
            "sheet": sheet,
            "backbone": eye.label,
            "near_limit": curation.near_limit,
            "stranger_limit": curation.stranger_limit,
            **{name.replace(" ", "_"): value for name, value in counts},
        },
    )


def _counts(curation: Curation) -> list[tuple[str, int]]:
    from collections import Counter

    statuses = Counter(row.status for row in curation.rows())
    return [
        ("pictures", len(curation.entries)),
        ("clusters", len(curation.clusters)),
        ("copies", statuses["copy"]),
        ("near copies", statuses["near"]),
        ("strangers", statuses["stranger"]),
        ("bad", statuses["bad"]),
        ("skipped", sum(not bad.by_choice for bad in curation.source.skipped)),
    ]


def _write_sheet(path: Path, curation: Curation, workers: int | None) -> None:
    from animepggan.report.sheet import thumbnails, write_sheet

    clusters = [members[:MEMBERS] for members in curation.clusters[:CLUSTERS] if len(members) > 1]
    suspects = curation.suspects[:SUSPECTS]
    shown = sorted({place for some in (*clusters, suspects) for place in some})
    pictures = dict(zip(shown, thumbnails([curation.entries[place] for place in shown], workers), strict=True))
    title = f"{curation.source.name}: {len(curation.entries):,} pictures, {len(curation.clusters):,} clusters"
    note = f"Seen with {curation.backbone}. Nothing was deleted; corpus.jsonl may be edited by hand."
    write_sheet(path, title, note, _sections(curation, clusters, suspects, pictures))


def _sections(
    curation: Curation, clusters: list[list[int]], suspects: list[int], pictures: dict[int, NDArray[np.uint8] | None]
) -> Iterator[Section]:
    import numpy as np

    from animepggan.corpus.names import printable
    from animepggan.report.histogram import histogram
    from animepggan.report.sheet import Section, Tile

    out = set(curation.strangers)

    def tiles(places: Sequence[int], captions: dict[int, str]) -> list[Tile]:
        found = ((place, pictures[place]) for place in places)
        return [
            Tile(picture, f"{captions[place]} {printable(curation.entries[place].name)}", place in out)
            for place, picture in found
            if picture is not None
        ]

    yield Section("In the set", table=[(name, f"{value:,}") for name, value in _counts(curation)])
    near = curation.differences[np.isfinite(curation.differences)]
    yield Section(
        "Differences of neighbors",
        f"In units of noise; up to {curation.near_limit:.2f} a near copy; what is over 3 stands at 3.",
        drawing=histogram([(np.minimum(near, 3), "#888")], curation.near_limit, logarithmic=True),
    )
    scores = np.array(list(curation.scores.values()), np.float32)
    yield Section(
        "Scores of strangers",
        f"The median is 0, nine tenths are below 1; over {curation.stranger_limit:.1f} left out.",
        drawing=histogram([(scores, "#888")], curation.stranger_limit, logarithmic=True),
    )
    marks = {place: f"{curation.scores[place]:z.1f}" for place in suspects}
    yield Section(
        "The most suspicious first", "Framed: left out of training.", rows=[tiles(suspects, marks)] if suspects else []
    )
    if clusters:
        marks = {place: f"{curation.distances[place]:.2f}" for members in clusters for place in members}
        note = "The largest first; the representative, then its copies with their differences from it."
        yield Section("Clusters", note, rows=(tiles(members, marks) for members in clusters))
