"""`animepggan data frames`: stills out of videos."""

from __future__ import annotations

import math
import re
from dataclasses import asdict
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from animepggan.cli.common import PATH, Console, common_options, output_option
from animepggan.errors import DataError

if TYPE_CHECKING:
    from animepggan.corpus.scenes import Taken

PIPELINE = """\b
From episodes to a character, face by face:
  animepggan data frames season1/ -o data/stills
  animepggan data crop data/stills -o data/faces --size 256
  animepggan data curate data/faces -o data/yui
  animepggan finetune --base MODEL --data data/yui/corpus.jsonl
"""


def _seconds(_: click.Context, __: click.Parameter, text: str | None) -> float | None:
    """`1:02:03.5`, `2:03` or `123` to seconds."""
    if text is None:
        return None
    if re.fullmatch(r"(?:(?:\d+:)?[0-5]?\d:)?[0-5]?\d(?:\.\d+)?|\d+(?:\.\d+)?", text, re.ASCII) is None:
        raise click.BadParameter(f"{text!r} is not a time; write 1:02:03, 2:03.5 or 123.")
    return reduce(lambda seconds, part: 60 * seconds + float(part), text.split(":"), 0.0)


@click.command(epilog=PIPELINE)
@click.argument("videos", metavar="VIDEO...", type=PATH, nargs=-1, required=True)
@click.option(
    "--every",
    metavar="SECONDS",
    type=click.FloatRange(min=0),
    default=1.0,
    show_default=True,
    help="Between two stills of a scene; 0: only one where each begins.",
)
@click.option("--start", metavar="TIME", default="0", callback=_seconds, help="Skip what is before, as 1:30 or 90.")
@click.option("--end", metavar="TIME", callback=_seconds, help="Skip what is after.")
@click.option(
    "--format",
    type=click.Choice(["png", "jpeg"]),
    default="png",
    show_default=True,
    help="jpeg is smaller and loses a little.",
)
@click.option(
    "--quality", metavar="Q", type=click.IntRange(1, 100), help="Of jpeg, 1 to 100.  [default: 95]", default=None
)
@output_option("data/stills")
@common_options
def command(
    console: Console,
    /,
    videos: tuple[Path, ...],
    output: Path | None,
    quality: int | None,
    **wanted: Any,
) -> None:
    """Take still pictures out of videos: where scenes begin, and between.

    VIDEO is a file, or a folder that holds some, in whatever folders. A still that looks like an earlier one of its
    video is left out, and one of a single color too. Interlaced frames are deinterlaced, pixels that are not square
    made so. Needs `pip install "animepggan[video]"`.

    Stills are named by video and time, episode01-00h12m03.480s.png. Started again, it skips the videos that are done.
    """
    if not math.isfinite(wanted["every"]):  # which no range of click's refuses
        raise click.BadParameter(f"{wanted['every']} is not a number of seconds.", param_hint="'--every'")
    if quality is not None and wanted["format"] != "jpeg":
        raise click.UsageError("--quality is for --format jpeg.")
    if wanted["end"] is not None and wanted["end"] <= wanted["start"]:
        raise click.UsageError("--end is not after --start.")

    from animepggan.corpus.frames import DEFAULT_OUTPUT, frames

    with console.bars("s") as bar:
        summary = frames(videos, output or DEFAULT_OUTPUT, quality=quality or 95, **wanted, bar=bar)
    for bad in summary.unreadable:
        console.warn(f"nothing taken from {bad}")
    for taken in summary.videos:
        _tell(console, taken)
    if not summary.videos:
        raise DataError("no video could be read; the lines above say why")
    console.say(f"{summary.stills} stills of {len(summary.videos)} video{'s' * (len(summary.videos) > 1)}")
    console.result(
        str(summary.output),
        {
            "folder": summary.output,
            "stills": summary.stills,
            "videos": [{**asdict(video), "stills": video.stills} for video in summary.videos],
            "unreadable": [{"name": bad.name, "reason": bad.reason} for bad in summary.unreadable],
        },
    )


def _tell(console: Console, taken: Taken) -> None:
    from animepggan.corpus.names import printable
    from animepggan.corpus.video import clock

    shown = printable(taken.video)
    if taken.before:
        console.say(f"{shown}: done before, {taken.stills} stills")
    else:
        left = [f"{taken.repeats} repeats"] if taken.repeats else []
        left += [f"{taken.blank} of a single color"] if taken.blank else []
        console.say(
            f"{shown}: {taken.stills} stills up to {clock(taken.seconds)}, {taken.scenes} where a scene begins"
            + (f"; left out: {', '.join(left)}" if left else "")
        )
    if taken.damaged:
        console.warn(f"{shown}: {taken.damaged} damaged places, passed over")
    if taken.note:
        console.warn(f"{shown}: {taken.note}")
    if taken.problem:
        console.warn(f"{shown}: {taken.problem}; what was read is kept")
