"""`animepggan data demo`: draw the demo corpora."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import click

from animepggan.cli.common import POSITIVE, Console, common_options, output_option


@click.command()
@click.argument("kind", metavar="general|yui|second", type=click.Choice(["general", "yui", "second"]))
@click.option("--count", metavar="N", type=POSITIVE, help="Pictures.  [default: 8000 of general, else 4077]")
@click.option("--size", metavar="PX", type=click.IntRange(16, 1024), default=128, help="Side of a picture.")
@click.option("--seed", metavar="S", type=int, default=0, help="Another seed, other pictures.")
@click.option("--strangers", metavar="SHARE", type=click.FloatRange(0, 0.5), help="Of yui's pictures.  [default: 0.02]")
@click.option("--others", metavar="N", type=click.IntRange(1, 1000), help="Whom they show.  [default: 1 girl]")
@click.option("--workers", metavar="N", type=POSITIVE, help="Processes that draw.  [default: all cores]")
@output_option("data/demo-general, data/demo-yui")
@common_options
def command(
    console: Console, /, kind: Literal["general", "yui", "second"], output: Path | None, **options: Any
) -> None:
    """Draw anime faces to try everything with: many characters (general), or thousands of pictures of one girl (yui).

    The pictures go to PATH/pictures, what each of them is and where its face is to PATH/manifest.csv. In yui there are
    copies, near copies and a few pictures of another girl, as in a set that a person has collected; with more --others
    every third has her hair. second is another girl by another hand, kept for final tables.
    """
    from animepggan.corpus.demo import draw_demo

    asked = {name: value for name, value in options.items() if value is not None}
    if kind == "general" and ("strangers" in asked or "others" in asked):
        raise click.UsageError("--strangers and --others are of yui and second: general is strangers only.")
    folder = output or Path("data", f"demo-{kind}")
    with console.bars() as bar:
        summary = draw_demo(kind, folder, bar=bar, **asked)
    if summary.drawn:
        found = f"{summary.originals} originals"
        if kind != "general":
            found += f", {summary.copies} copies, {summary.near} near copies, {summary.strangers} of others"
        console.say(f"drew {summary.count} pictures: {found}; the truth is in {folder / 'manifest.csv'}")
    else:
        console.say("this drawing was there already: nothing to do")
    console.result(str(folder), {**asdict(summary), "manifest": folder / "manifest.csv"})
