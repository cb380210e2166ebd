"""`animepggan data demo`: draw the demo corpora."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Literal

import click

from animepggan.cli.common import Console, common_options, output_option


@click.command()
@click.argument("kind", metavar="[general|yui]", type=click.Choice(["general", "yui"]), required=False)
@click.option(
    "--count",
    metavar="N",
    type=click.IntRange(min=1),
    help="Pictures; of yui there is room for about 6000.  [default: 8000 of general, 4077 of yui]",
)
@click.option(
    "--size", metavar="PX", type=click.IntRange(16, 1024), default=128, show_default=True, help="Side of a picture."
)
@click.option("--seed", metavar="S", type=int, default=0, show_default=True, help="Another seed, other pictures.")
@click.option("--workers", metavar="N", type=click.IntRange(min=1), help="Processes that draw.  [default: all cores]")
@click.option("--credits", "only_credits", is_flag=True, help="Print the artists and licenses, and draw nothing.")
@output_option("data/demo-general, data/demo-yui")
@common_options
def command(
    console: Console,
    kind: Literal["general", "yui"] | None,
    count: int | None,
    size: int,
    seed: int,
    workers: int | None,
    only_credits: bool,
    output: Path | None,
) -> None:
    """Draw faces to try everything with: many characters (general), or thousands of pictures of one (yui).

    The pictures go to PATH/pictures, what each of them is to PATH/manifest.csv. In yui there are copies, near copies
    and a few pictures of another girl, as in a set that a person has collected.
    """
    from animepggan.corpus.demo import credits, draw
    from animepggan.corpus.demo.drawing import COUNTS

    if only_credits:
        text = credits()
        console.result(text.rstrip("\n"), {"credits": text})
        return
    if kind is None:
        raise click.UsageError("Say which one to draw: general or yui.", click.get_current_context())
    folder = output or Path("data", f"demo-{kind}")
    with console.bar(count or COUNTS[kind], "picture", f"demo:{kind}") as bar:
        summary = draw(
            kind,
            folder,
            count=count,
            size=size,
            seed=seed,
            workers=workers,
            progress=lambda done: bar.update(done - bar.n),
        )
    if summary.drawn:
        found = f"{summary.originals} originals"
        if kind == "yui":
            found += f", {summary.copies} copies, {summary.near} near copies, {summary.strangers} of another girl"
        console.say(f"drew {summary.count} pictures: {found}; the truth is in {folder / 'manifest.csv'}")
    else:
        console.say("this drawing was there already: nothing to do")
    console.result(str(folder), {**asdict(summary), "manifest": folder / "manifest.csv"})
