"""`animepggan data demo`: draw the demo corpora, and an episode."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import click

from animepggan.cli.common import POSITIVE, Console, common_options, output_option

OF = {  # whose options are whose
    "count": ("general", "yui", "second"),
    "strangers": ("yui", "second"),
    "others": ("yui", "second"),
    "workers": ("general", "yui", "second"),
    "seconds": ("episode",),
}
KINDS = ["general", "yui", "second", "episode"]


@click.command()
@click.argument("kind", metavar="|".join(KINDS), type=click.Choice(KINDS))
@click.option("--count", metavar="N", type=POSITIVE, help="Pictures.  [default: 8000 of general, else 4077]")
@click.option(
    "--size", metavar="PX", type=click.IntRange(16, 1080), help="Height of a picture.  [default: 128; episode 480]"
)
@click.option("--seed", metavar="S", type=int, default=0, help="Another seed, other pictures.")
@click.option("--strangers", metavar="SHARE", type=click.FloatRange(0, 0.5), help="Of yui's pictures.  [default: 0.02]")
@click.option("--others", metavar="N", type=click.IntRange(1, 1000), help="Whom they show.  [default: 1 girl]")
@click.option("--seconds", metavar="T", type=click.FloatRange(2, 3600), help="Of the episode.  [default: 75]")
@click.option("--workers", metavar="N", type=POSITIVE, help="Processes that draw.  [default: all cores]")
@output_option("data/demo-general, data/demo-episode, ...")
@common_options
def command(console: Console, /, kind: str, output: Path | None, **options: Any) -> None:
    """Draw anime faces to try everything with: many characters (general), or thousands of pictures of one girl (yui).

    The pictures go to PATH/pictures, what each of them is and where its face is to PATH/manifest.csv. In yui there are
    copies, near copies and a few pictures of another girl, as in a set that a person has collected; with more --others
    every third has her hair. second is another girl by another hand, kept for final tables.

    episode is where such a set begins: a short film with her in it, PATH/episode.mp4, screenshots of it, and in
    PATH/truth.jsonl where which face is in them. `data frames` and `data crop` take it from there. Needs `pip install
    "animepggan[video]"`.
    """
    asked = {name: value for name, value in options.items() if value is not None}
    for name in asked:
        if kind not in OF.get(name, KINDS):
            raise click.UsageError(f"--{name} is of {' and '.join(OF[name])}, not of {kind}.")
    folder = output or Path("data", f"demo-{kind}")
    if kind == "episode":
        _episode(console, folder, **asked)
    else:
        _corpus(console, kind, folder, **asked)  # type: ignore[arg-type]


def _corpus(console: Console, kind: Literal["general", "yui", "second"], folder: Path, **asked: Any) -> None:
    from animepggan.corpus.demo import draw_demo

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


def _episode(console: Console, folder: Path, size: int | None = None, **asked: Any) -> None:
    from animepggan.corpus.demo.episode import FILM, HEIGHT, TRUTH, draw_episode
    from animepggan.corpus.demo.script import FPS
    from animepggan.errors import RecipeError
    from animepggan.sampling.film import check_film, write_film

    if size is not None and size < 96:
        raise click.UsageError("--size of an episode is 96 at least.")
    try:
        check_film(folder / FILM, FPS)
    except RecipeError as error:
        raise RecipeError('an episode is a film, which needs an extra: pip install "animepggan[video]"') from error
    with console.bars("frame") as bar:
        summary = draw_episode(folder, height=size or HEIGHT, write_film=write_film, bar=bar, **asked)
    console.say(
        f"drew {summary.seconds:.0f} s of film in {summary.cuts} cuts, and {summary.screenshots} screenshots with "
        f"{summary.faces} faces, {summary.without_face} without; the truth is in {folder / TRUTH}"
    )
    console.result(str(folder), {**asdict(summary), "film": folder / FILM, "truth": folder / TRUTH})
