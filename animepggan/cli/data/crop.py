"""`animepggan data crop`: find the faces, align them and cut them out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from animepggan.cli.common import PATH, Console, common_options, output_option

if TYPE_CHECKING:
    from animepggan.corpus.faces.crop import CropSummary
    from animepggan.corpus.spec import Source
    from animepggan.report.sheet import Section

SHEET = "sheet.html"
SHOWN = 300  # pictures of a kind on the sheet


@click.command(
    epilog="From episodes to a set: `data frames` takes the stills, `data crop` cuts the faces, `data curate` finds "
    "copies and strangers."
)
@click.argument("spec", metavar="SPEC")
@click.option(
    "--size", metavar="PX", type=click.IntRange(16, 2048), default=256, show_default=True, help="Side of a crop."
)
@click.option(
    "--loose",
    metavar="X",
    type=click.FloatRange(0.3, 4),
    default=1.0,
    show_default=True,
    help="Times the side that eyes and mouth give a crop: 1 has room for the hair.",
)
@click.option(
    "--min-face",
    metavar="PX",
    type=click.FloatRange(min=16),
    default=80,
    show_default=True,
    help="Leave out faces less wide (without the hair). The larger, the faster.",
)
@click.option(
    "--max-tilt",
    metavar="DEG",
    type=click.FloatRange(0, 90),
    default=35,
    show_default=True,
    help="Leave out faces turned by more.",
)
@click.option(
    "--confidence",
    metavar="X",
    type=click.FloatRange(0, 1),
    default=0.85,
    show_default=True,
    help="Leave out faces of a lower score.",
)
@click.option(
    "--detector",
    metavar="NAME",
    type=click.Choice(["anime-face-detector", "animeface"]),
    help="anime-face-detector (Python 3.12, weights from the hub) or animeface (offline).  "
    "[default: the first where it is installed and its weights are at hand, else the second]",
)
@click.option(
    "--landmarks",
    metavar="PATH",
    type=PATH,
    help="Search for no faces: take those of a JSONL file, or all that were found for an earlier --output.",
)
@click.option("--workers", metavar="N", type=click.IntRange(min=0), help="Processes.  [default: all cores]")
@click.option("--restart", is_flag=True, help="Throw away what an earlier start left in PATH.")
@output_option("data/NAME-faces")
@common_options
def command(
    console: Console,
    /,
    spec: str,
    output: Path | None,
    **options: Any,
) -> None:
    """Find the faces in pictures, turn them upright by their eyes and mouth, and cut them out.

    SPEC is a folder, a zip or tar, or any other that `--data` takes. The crops go to PATH/pictures, what each of them
    is to PATH/crops.jsonl, what was left out and why to PATH/rejects.jsonl, and PATH/sheet.html shows both. The same
    command again does only what is missing.
    """
    import signal

    from animepggan.corpus.faces.crop import crop
    from animepggan.corpus.faces.face import CROPS, REJECTS
    from animepggan.corpus.names import printable
    from animepggan.corpus.spec import source_of
    from animepggan.errors import DataError, Interrupted

    if options["landmarks"] is not None and options["detector"] is not None:
        raise click.UsageError("--landmarks says where the faces are: leave --detector out.")
    source = source_of(spec)
    try:
        with console.bars() as bar:
            summary = crop(source, output, **options, bar=bar)
    except KeyboardInterrupt as error:
        raise Interrupted("interrupted: what is done is kept; the same command goes on", signal.SIGINT) from error
    folder = summary.output
    console.say(f"faces by {summary.detector}")
    sheet = folder / SHEET
    if summary.done or summary.removed or not sheet.is_file():
        from animepggan.report.sheet import write_sheet

        write_sheet(sheet, f"Faces of {source.name}", _note(summary), _sections(source, summary))
    for skipped in source.skipped[:3]:
        console.warn(f"left out: {skipped}")
    if len(source.skipped) > 3:
        console.warn(f"left out: {len(source.skipped) - 3} more files that are no pictures to open")
    if not summary.done:
        console.say("every picture was done already")
    console.say(_note(summary))
    if not summary.crops:
        raise DataError(
            f"no face to cut in {summary.pictures} pictures of {printable(spec)}: "
            f"{summary.rejected} rejected, {summary.without_face} pictures without, {summary.unreadable} unreadable\n"
            f"{printable(str(sheet))} shows them; --confidence, --min-face and --max-tilt say what is cut"
        )
    console.result(
        str(folder),
        {
            **asdict(summary),
            "crops_file": folder / CROPS,
            "rejects_file": folder / REJECTS,
            "sheet": sheet,
            "skipped": len(source.skipped),
        },
    )


def _note(summary: CropSummary) -> str:
    reasons = ", ".join(f"{count} {reason}" for reason, count in summary.reasons.items())
    rejected = f"{summary.rejected} rejected" + (f" ({reasons})" if reasons else "")
    return (
        f"{summary.crops} faces cut from {summary.pictures} pictures by {summary.detector}; {rejected}; "
        f"{summary.without_face} pictures without a face, {summary.unreadable} unreadable"
    )


def _sections(source: Source, summary: CropSummary) -> Iterator[Section]:
    """The crops, the most doubtful first, and what was left out."""
    import heapq
    from itertools import islice

    import numpy as np
    from PIL import Image

    from animepggan.corpus.description import read_lines
    from animepggan.corpus.faces.crop import rejected
    from animepggan.corpus.faces.face import CROPS
    from animepggan.corpus.names import printable
    from animepggan.report.sheet import Section, Tile

    if summary.crops:
        tiles = []
        rows = (row for _, row in read_lines(summary.output / CROPS))
        for row in heapq.nsmallest(SHOWN, rows, key=lambda row: row["score"]):
            with Image.open(summary.output / row["file"]) as image:
                tiles.append(Tile(np.array(image), f"{row['score']:.2f} {printable(row['source'])}"))
        yield Section("Cut", f"{len(tiles)} of {summary.crops}, the lowest scores first", [tiles])
    total = summary.rejected + summary.without_face
    if total:
        tiles = [
            Tile(np.array(image), f"{row['reason']} ({printable(row['source'])})", marked="box" in row)
            for row, image in islice(rejected(source, summary.output), SHOWN)
        ]
        note = f"{min(SHOWN, total)} of {total}, the likeliest faces first; framed: a face that was found"
        yield Section("Left out", note, [tiles])
