"""`animepggan data crop`: find the faces, align them and cut them out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from animepggan.cli.common import Console, common_options, output_option

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
    type=click.Path(path_type=Path),
    help="Search for no faces: take those of a JSONL file, or all that were found for an earlier --output.",
)
@click.option("--workers", metavar="N", type=click.IntRange(min=0), help="Processes.  [default: all cores]")
@click.option("--restart", is_flag=True, help="Throw away what an earlier start left in PATH.")
@output_option("data/NAME-faces")
@common_options
def command(
    console: Console,
    spec: str,
    size: int,
    loose: float,
    min_face: float,
    max_tilt: float,
    confidence: float,
    detector: str | None,
    landmarks: Path | None,
    workers: int | None,
    restart: bool,
    output: Path | None,
) -> None:
    """Find the faces in pictures, turn them upright by their eyes and mouth, and cut them out.

    SPEC is a folder, a zip or tar, or any other that `--data` takes. The crops go to PATH/pictures, what each of them
    is to PATH/crops.jsonl, what was left out and why to PATH/rejects.jsonl, and PATH/sheet.html shows both. The same
    command again does only what is missing.
    """
    import signal

    from animepggan.corpus.faces.crop import crop
    from animepggan.corpus.names import printable
    from animepggan.corpus.spec import resolve
    from animepggan.errors import DataError, Interrupted

    if landmarks is not None and detector is not None:
        raise click.UsageError(
            "--landmarks says where the faces are: leave --detector out.", click.get_current_context()
        )
    source = resolve(spec)
    try:
        with console.bars() as bar:
            summary = crop(
                source,
                output,
                size=size,
                loose=loose,
                min_face=min_face,
                max_tilt=max_tilt,
                confidence=confidence,
                detector=detector,
                landmarks=landmarks,
                workers=workers,
                restart=restart,
                bar=bar,
            )
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
            "crops_file": folder / "crops.jsonl",
            "rejects_file": folder / "rejects.jsonl",
            "sheet": sheet,
            "skipped": len(source.skipped),
        },
    )


def _note(summary: CropSummary) -> str:
    """What came of it, on one line."""
    reasons = ", ".join(f"{count} {reason}" for reason, count in summary.reasons.items())
    rejected = f"{summary.rejected} rejected" + (f" ({reasons})" if reasons else "")
    return (
        f"{summary.crops} faces cut from {summary.pictures} pictures by {summary.detector}; {rejected}; "
        f"{summary.without_face} pictures without a face, {summary.unreadable} unreadable"
    )


def _sections(source: Source, summary: CropSummary) -> Iterator[Section]:
    """The crops, the most doubtful first, and what was left out."""
    import heapq

    import numpy as np
    from PIL import Image

    from animepggan.corpus.faces.crop import crops, rejected
    from animepggan.corpus.names import printable
    from animepggan.report.sheet import Section, Tile

    def cut() -> Iterator[list[Tile]]:
        tiles = []
        for row in heapq.nsmallest(SHOWN, crops(summary.output), key=lambda row: row["score"]):
            with Image.open(summary.output / row["file"]) as image:
                pixels = np.array(image)
            tiles.append(Tile(pixels, f"{row['score']:.2f} {printable(row['source'])}"))
        yield tiles

    def left() -> Iterator[list[Tile]]:
        yield [
            Tile(np.array(image), f"{row['reason']} ({printable(row['source'])})", marked="box" in row)
            for row, image in rejected(source, summary.output, SHOWN)
        ]

    total = summary.rejected + summary.without_face
    if summary.crops:
        yield Section("Cut", f"{min(SHOWN, summary.crops)} of {summary.crops}, the lowest scores first", cut())
    if total:
        note = f"{min(SHOWN, total)} of {total}, the likeliest faces first; framed: a face that was found"
        yield Section("Left out", note, left())
