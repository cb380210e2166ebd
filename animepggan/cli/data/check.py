"""`animepggan data check`: decode every picture of a set once and say what is in it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from animepggan.cli.common import (
    NO_BACKBONE,
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

    from animepggan.corpus.check import Report
    from animepggan.corpus.spec import Bad
    from animepggan.features import Backbone
    from animepggan.report.sheet import Section, Tile

GROUPS, MEMBERS, SAMPLE, LISTED = 24, 6, 72, 200
"""Shown on the sheet at most: groups of copies, pictures of a group, pictures of the whole set, unusable files."""
NAMED = 3
"""Files that the text names."""
SEEN = 20_000
"""Pictures up to which a backbone looks at them without being asked for: more take it longer than decoding does."""
FOUND = 1
"""Exit code when there is something to look at."""


@click.command(
    epilog="Exit codes: 0 nothing to look at, 1 something to look at (the last lines say what), 3 no pictures or more "
    "bad ones than --max-bad allows."
)
@click.argument("data", metavar="SPEC")
@click.option(
    "--max-bad",
    metavar="SHARE",
    type=click.FloatRange(0, 1),
    default=0.01,
    show_default=True,
    help="Share of the pictures that may be unusable.",
)
@click.option(
    "--backbone",
    metavar="NAME",
    help="hub:owner/name[@revision], FILE.safetensors, ARCHITECTURE=FILE.safetensors, efficientnet-lite0, or none.  "
    "[default: DINOv2 small from the hub, else efficientnet-lite0; none for over 20,000 pictures]",
)
@click.option("--workers", metavar="N", type=click.IntRange(min=0), help="Threads; 0: one.  [default: all cores]")
@device_options
@output_option("data/check-NAME, after the set")
@common_options
def command(
    console: Console,
    data: str,
    max_bad: float,
    backbone: str | None,
    workers: int | None,
    device: str,
    threads: int | None,
    output: Path | None,
) -> None:
    """Decode every picture of SPEC and say what is in it: sizes, shapes, colors, copies, files that cannot be used.

    SPEC is a folder, a zip, tar or parquet file, a corpus.jsonl, demo:general, demo:yui, or
    hub:datasets/owner/name[@revision][:sub]. Nothing in it is changed. PATH/sheet.html shows what was found,
    PATH/bad.jsonl lists every file that cannot be used with the reason.

    Near copies and likely strangers (other characters) are those that `animepggan data curate` finds, which writes a
    description that training takes. Without a backbone strangers are not looked for, and only copies of other sizes or
    in other formats are found, by a coarse hash.
    """
    from animepggan.corpus.check import check
    from animepggan.corpus.description import write_lines
    from animepggan.corpus.names import printable
    from animepggan.corpus.source import no_pictures
    from animepggan.corpus.spec import resolve
    from animepggan.errors import DataError

    source = resolve(data)
    if not source.entries and not source.skipped:
        raise no_pictures(source.spec, source.skipped)
    folder = make_folder(output or Path("data", f"check-{source.name}"))
    apply_threads(threads)
    eye, unseen = _eye(backbone, len(source), device)
    with console.bar(len(source), "picture", "checking") as bar:
        report = check(source, eye, workers=workers, scratch=folder, progress=lambda done: bar.update(done - bar.n))
    sheet, listing = folder / "sheet.html", folder / "bad.jsonl"
    unusable = [*_listed("bad", report.bad), *_listed("skipped", report.skipped)]
    write_lines(listing, unusable)
    _write_sheet(sheet, report, unseen, workers)
    console.result("\n".join(_lines(report, unseen, sheet, listing)), _document(report, sheet, listing))
    if not report.looks or len(report.bad) > max_bad * len(report.entries):
        many = f"{len(report.bad)} of {len(report.entries)} pictures are unusable"
        raise DataError(f"{printable(data)}: {many}, more than --max-bad allows ({max_bad:g})\nsee {listing}")
    if not report.clean:
        raise click.exceptions.Exit(FOUND)


def _eye(name: str | None, count: int, device: str) -> tuple[Backbone | None, str]:
    """The backbone to look with, or None and why strangers are not looked for.

    That there is none is no error, unless one was asked for by name.
    """
    from animepggan.corpus.curation.look import SEEN as SIDE
    from animepggan.corpus.curation.look import hasher
    from animepggan.corpus.demo.cache import cache_folder
    from animepggan.errors import AnimepgganError
    from animepggan.interop.backbones import choose

    if name == NO_BACKBONE:
        return None, "not looked for: that takes a backbone"
    if name is None and count > SEEN:
        return None, f"not looked for in over {SEEN:,} pictures unless a --backbone is named"
    chosen = resolve_device(device)
    try:
        hasher()
        return choose(name, cache=cache_folder(), device=chosen).at(SIDE), ""
    except AnimepgganError as error:
        if name is not None:
            raise
        lines = str(error).splitlines()
        return None, "not looked for: " + "; ".join(dict.fromkeys((lines[0], lines[-1])))


def _listed(kind: str, found: Iterable[Bad]) -> Iterator[dict[str, Any]]:
    for bad in found:
        yield {"name": bad.name, "kind": kind, "reason": bad.reason}


# What the terminal shows


def _lines(report: Report, unseen: str, sheet: Path, listing: Path) -> Iterator[str]:
    """At most 24 lines."""
    from animepggan.corpus.names import printable

    source = report.source
    told = f"{len(report.looks):,} of {len(source):,} pictures can be used"
    if report.left_out:
        told += f"; {report.left_out:,} more are left out by the description"
    commit = f" at {source.commit}" if source.commit else ""
    yield f"{printable(source.spec)}{commit}: {told}"
    if report.looks:
        for name, text in _facts(report, unseen):
            yield f"  {name:<13} {text}"
    if report.clean:
        yield "nothing to look at"
    else:
        yield "to look at"
        for name, text in _findings(report):
            yield f"  {name:<13} {text}"
    yield f"see {printable(str(sheet))}" + (f" and {printable(str(listing))}" if report.bad or report.skipped else "")


def _facts(report: Report, unseen: str) -> Iterator[tuple[str, str]]:
    from animepggan.corpus.check import SIDES
    from animepggan.corpus.names import printable

    sides = report.sides()
    largest = max(report.looks.values(), key=lambda look: look.width * look.height)
    yield "formats", _counts(report.formats())
    transparent = sum(look.transparent for look in report.looks.values())
    yield "color modes", _counts(report.modes()) + (f"; {transparent:,} transparent" if transparent else "")
    under = [(sum(one < side for one in sides), side) for side in SIDES]
    counted = "".join(f", {count:,} under {side}" for count, side in under if 0 < count < len(sides))
    yield "shorter side", f"{sides[0]} to {sides[-1]} px, median {sides[len(sides) // 2]}{counted}"
    yield "largest", f"{largest.width} x {largest.height} px"
    yield "shapes", _counts(report.shapes())
    if report.curation is None:
        yield "strangers", printable(unseen, 160)
    else:
        likely = f"{len(report.strangers):,} likely" if report.strangers else "none likely"
        yield "strangers", f"{likely}, with a score over {report.curation.stranger_limit:.1f}"
        yield "seen with", printable(report.curation.backbone, 160)


def _findings(report: Report) -> Iterator[tuple[str, str]]:
    for name, bads in (("unusable", report.bad), ("skipped", report.skipped)):
        if bads:
            yield name, _some(len(bads), map(str, bads))
    for name, groups in (("exact copies", report.copies), ("look alike", report.near)):
        if groups:
            more = sum(len(group) - 1 for group in groups)
            yield name, _some(more, (" = ".join(_names(report, group[:2])) for group in groups))
    if report.strangers:
        yield "strangers", _some(len(report.strangers), (_scored(report, index) for index in report.strangers))
    for name, indices in (("one color", report.flat), ("over 2 to 1", report.long)):
        if indices:
            yield name, _some(len(indices), _names(report, indices))


def _counts(counter: Counter[str]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counter.most_common())


def _some(count: int, texts: Iterable[str]) -> str:
    """The number and the first few, a line at most."""
    from itertools import islice

    from animepggan.corpus.names import printable

    return printable(f"{count:,}: " + "; ".join(islice(texts, NAMED)), 160)


def _names(report: Report, indices: Iterable[int]) -> list[str]:
    from animepggan.corpus.names import printable

    return [printable(report.entries[index].name, 60) for index in indices]


def _scored(report: Report, index: int) -> str:
    assert report.curation is not None
    (name,) = _names(report, [index])
    return f"{name} {report.curation.scores[index]:z.1f}"


# What --json prints


def _document(report: Report, sheet: Path, listing: Path) -> dict[str, Any]:
    from animepggan.corpus.check import SIDES

    source, sides = report.source, report.sides()

    def names(indices: Iterable[int]) -> list[str]:
        return [report.entries[index].name for index in indices]

    seen = report.curation
    scores = {} if seen is None else seen.scores

    def scored(indices: Iterable[int]) -> list[dict[str, Any]]:
        return [{"name": report.entries[index].name, "score": round(scores[index], 3)} for index in indices]

    return {
        "spec": source.spec,
        "commit": source.commit,
        "pictures": len(source),
        "usable": len(report.looks),
        "bad": list(_listed("bad", report.bad)),
        "skipped": list(_listed("skipped", report.skipped)),
        "left_out": report.left_out,
        "formats": report.formats(),
        "modes": report.modes(),
        "transparent": sum(look.transparent for look in report.looks.values()),
        "shorter_side": {
            "min": sides[0],
            "median": sides[len(sides) // 2],
            "max": sides[-1],
            "under": {str(side): sum(one < side for one in sides) for side in SIDES},
        }
        if sides
        else None,
        "shapes": report.shapes(),
        "copies": [names(group) for group in report.copies],
        "look_alike": [names(group) for group in report.near],
        "strangers": scored(report.strangers),
        "suspects": scored(report.suspects[:GROUPS]),
        "stranger_limit": None if seen is None else seen.stranger_limit,
        "backbone": None if seen is None else seen.backbone,
        "one_color": names(report.flat),
        "long": names(report.long),
        "clean": report.clean,
        "sheet": sheet,
        "bad_list": listing,
    }


# What the sheet shows


def _write_sheet(path: Path, report: Report, unseen: str, workers: int | None) -> None:
    from animepggan.report.sheet import thumbnails, write_sheet

    count = len(report.looks)
    spread = sorted(report.looks)[:: max(1, -(-count // SAMPLE))]
    groups = [group[:MEMBERS] for group in (*report.copies[:GROUPS], *report.near[:GROUPS])]
    small = sorted(report.looks, key=lambda index: (_area(report, index), index))[:MEMBERS]
    singles = (spread, small, report.suspects[:GROUPS], report.flat[:GROUPS], report.long[:GROUPS])
    shown = sorted({index for some in (*groups, *singles) for index in some})
    pictures = dict(zip(shown, thumbnails([report.entries[index] for index in shown], workers), strict=True))

    strange = set(report.strangers)

    def tiles(indices: Sequence[int], score: bool = False) -> list[Tile]:
        return [
            _tile(report, index, picture, score=score, marked=score and index in strange)
            for index in indices
            if (picture := pictures[index]) is not None
        ]

    note = "Nothing to look at." if report.clean else "Something to look at."
    write_sheet(
        path, f"{report.source.name}: {count:,} pictures", note, _sections(report, unseen, tiles, spread, small)
    )


def _sections(report: Report, unseen: str, tiles: Any, spread: list[int], small: list[int]) -> Iterator[Section]:
    from animepggan.report.sheet import Section

    facts = list(_facts(report, unseen)) if report.looks else []
    yield Section("In the set", table=[("can be used", f"{len(report.looks):,} of {len(report.entries):,}"), *facts])
    if spread:
        yield Section("From all over the set", rows=[tiles(spread)])
    unusable = [*report.bad, *report.skipped]
    if unusable:
        left = f"The first {LISTED} of {len(unusable):,}; bad.jsonl has all." if len(unusable) > LISTED else ""
        yield Section("Cannot be used", left, table=[_escaped(bad) for bad in unusable[:LISTED]])
    near = "By a coarse hash: probably the same picture saved or scaled anew."
    if report.curation is not None:
        near = "Near copies: the same picture saved, scaled or cut anew, or the same moment."
    for title, note, groups in (
        ("Exact copies", "The same pixels, whatever the files.", report.copies),
        ("Look alike", near, report.near),
    ):
        if groups:
            left = f" The first {GROUPS} of {len(groups):,} groups." if len(groups) > GROUPS else ""
            yield Section(title, note + left, rows=(tiles(group[:MEMBERS]) for group in groups[:GROUPS]))
    if report.curation is not None and report.suspects:
        limit = report.curation.stranger_limit
        note = f"By their scores; over {limit:.1f}, framed, likely strangers: other characters, or no face at all."
        yield Section("The most suspicious first", note, rows=[tiles(report.suspects[:GROUPS], score=True)])
    if report.flat:
        yield Section("One color", "Nothing to learn from.", rows=[tiles(report.flat[:GROUPS])])
    if report.long:
        note = "Training takes the central square and loses more than half of these."
        yield Section("One side more than twice the other", note, rows=[tiles(report.long[:GROUPS])])
    if small:
        yield Section("The smallest", rows=[tiles(small)])


def _area(report: Report, index: int) -> int:
    look = report.looks[index]
    return look.width * look.height


def _escaped(bad: Bad) -> tuple[str, str]:
    from animepggan.corpus.names import printable

    return printable(bad.name), printable(bad.reason)


def _tile(report: Report, index: int, picture: NDArray[np.uint8], *, score: bool, marked: bool) -> Tile:
    from animepggan.corpus.names import printable
    from animepggan.report.sheet import Tile

    look = report.looks[index]
    caption = f"{printable(report.entries[index].name)} {look.width}x{look.height}"
    if score and report.curation is not None:
        caption = f"{report.curation.scores[index]:z.1f} {caption}"
    return Tile(picture, caption, marked)
