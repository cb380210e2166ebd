"""`animepggan data check`: decode every picture of a set once and say what is in it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from animepggan.cli.common import NATURAL, Console, apply_threads, common_options, device_options, output_option
from animepggan.corpus.names import printable
from animepggan.errors import DataError

if TYPE_CHECKING:
    from animepggan.corpus.curation import Report

NAMED = 3  # files that a line names
FOUND = 1  # exit code when there is something to look at


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
    help="Share of the pictures that may be unusable.",
)
@click.option(
    "--backbone",
    metavar="NAME",
    help="hub:owner/name[@revision], FILE.safetensors, ARCHITECTURE=FILE.safetensors, efficientnet-lite0, ccip, "
    "or none.  [default: efficientnet-lite0, without it DINOv2 small from the hub; none for over 20,000 pictures]",
)
@click.option("--workers", metavar="N", type=NATURAL, help="Threads; 0: one.  [default: all cores]")
@device_options
@output_option("data/check-NAME, after the set")
@common_options
def command(
    console: Console, /, data: str, max_bad: float, threads: int | None, output: Path | None, **options: Any
) -> None:
    """Decode every picture of SPEC and say what is in it: sizes, shapes, colors, copies, files that cannot be used.

    SPEC is a folder, a zip, tar or parquet file, a corpus.jsonl, demo:general, demo:yui, or
    hub:datasets/owner/name[@revision][:sub]. Nothing in it is changed. PATH/sheet.html shows what was found,
    PATH/bad.jsonl lists every file that cannot be used with the reason.

    Near copies and likely strangers (other characters) are those that `animepggan data curate` finds, which writes a
    description that training takes. Without a backbone strangers are not looked for.
    """
    from animepggan import data as library
    from animepggan.corpus.source import no_pictures
    from animepggan.corpus.spec import source_of

    source = source_of(data)
    folder = output or Path("data", f"check-{source.name}")
    apply_threads(threads)
    with console.bars() as bar:
        report = library.check(source, output=folder, bar=bar, **options)
    sheet, listing = folder / "sheet.html", folder / "bad.jsonl"
    lines = "\n".join(_lines(report, sheet, listing))
    console.result(lines, {**report.as_json(), "sheet": sheet, "bad_list": listing})
    if not report.entries:
        raise DataError(f"{no_pictures(data, report.skipped)}\nsee {listing}")
    if not report.facts or report.bad_share > max_bad:
        many = f"{len(report.bad)} of {len(report.entries)} pictures are unusable"
        raise DataError(f"{printable(data)}: {many}, more than --max-bad allows ({max_bad:g})\nsee {listing}")
    if not report.clean:
        raise click.exceptions.Exit(FOUND)


def _lines(report: Report, sheet: Path, listing: Path) -> Iterator[str]:
    """At most 24 lines."""
    source = report.source
    told = f"{len(report.facts):,} of {len(source):,} pictures can be used"
    if report.left_out:
        told += f"; {report.left_out:,} more are left out by the description"
    commit = f" at {source.commit}" if source.commit else ""
    yield f"{printable(source.spec)}{commit}: {told}"
    for name, text in report.table():
        yield f"  {name:<13} {text}"
    yield "nothing to look at" if report.clean else "to look at"
    for name, count, texts in _findings(report):
        if count:
            yield f"  {name:<13} " + printable(f"{count:,}: " + "; ".join(islice(texts, NAMED)), 160)
    yield f"see {printable(str(sheet))}" + (f" and {printable(str(listing))}" if report.bad or report.skipped else "")


def _findings(report: Report) -> Iterator[tuple[str, int, Iterable[str]]]:
    """What there is to look at: its name, how many pictures, and their names."""

    def name(index: int) -> str:
        return printable(report.entries[index].name, 60)

    yield "unusable", len(report.bad), map(str, report.bad)
    yield "skipped", len(report.skipped), map(str, report.skipped)
    for what, groups in (("exact copies", report.copies), ("look alike", report.near)):
        yield what, sum(len(group) - 1 for group in groups), (f"{name(a)} = {name(b)}" for a, b, *_ in groups)
    scores, strangers = report.curation.scores, report.strangers
    yield "strangers", len(strangers), (f"{name(index)} {scores[index]:z.1f}" for index in strangers)
    yield "one color", len(report.flat), map(name, report.flat)
    yield "over 2 to 1", len(report.long), map(name, report.long)
