"""`animepggan start`: screenshots and videos to a model of her and a page that shows it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from animepggan.cli.common import (
    NATURAL,
    Console,
    apply_threads,
    check_device,
    common_options,
    device_options,
    duration,
)
from animepggan.cli.training import PRECISION, watching

STEPS = ("frames", "crop", "curate", "review", "finetune")


@click.command()
@click.argument("sources", metavar="SOURCE...", nargs=-1, required=True)
@click.option("-o", "--output", metavar="PATH", type=click.Path(path_type=Path), required=True, help="Her folder.")
@click.option("--base", metavar="MODEL", help="What to fine-tune.  [default: the base in the package]")
@click.option("--keep", metavar="SPEC", help="Example pictures of her: strangers are found better.")
@click.option("--reject", metavar="SPEC", help="Example pictures of somebody else.")
@click.option("--until", metavar="STEP", type=click.Choice(STEPS), help=f"The last step: {', '.join(STEPS)}.")
@click.option("--yes", is_flag=True, help="Ask nothing: go on with what curation decided.")
@click.option("--dry-run", is_flag=True, help="Say what will be done, and how long each step takes here.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Set a recipe value; repeatable.")
@click.option("--seed", metavar="S", type=click.IntRange(0, 2**63 - 1), help="Decides every random draw.")
@click.option("--precision", help="bf16: convolutions in bfloat16, weights in float32.", **PRECISION)
@click.option("--workers", metavar="N", type=NATURAL, help="Processes that look for faces.  [default: all cores]")
@device_options
@common_options
def command(
    console: Console,
    /,
    sources: tuple[str, ...],
    output: Path,
    yes: bool,
    dry_run: bool,
    threads: int | None,
    **options: Any,
) -> None:
    """From screenshots and videos of her to a model that draws her.

    SOURCE is a folder, an archive, a video or any SPEC, and there may be several: stills are taken out of videos, faces
    cut out of pictures (square faces are taken as they are), copies joined, strangers set aside, a base model
    fine-tuned, and a grid, a film and a page drawn into PATH. On a terminal with a browser it stops once, for you to
    look the set over.

    Stopped anywhere, the same command goes on. Needs `pip install "animepggan[start]"`.
    """
    from animepggan import pipeline
    from animepggan.cli.data.review import has_screen, shower

    apply_threads(threads)
    check_device(console, options["device"], options["precision"])
    if dry_run:
        from animepggan.pipeline.plan import plan_of

        options = {name: value for name, value in options.items() if name not in ("keep", "reject")}
        plan = plan_of(sources, say=console.say, **options)
        lines = [
            f"{step.step:9} {'-' if step.seconds is None else duration(step.seconds):>7}  {step.what}" for step in plan
        ]
        total = sum(step.seconds or 0 for step in plan)
        console.result("\n".join([*lines, f"about {duration(total)} in all, on this machine"]), [*map(asdict, plan)])
        return

    def review(folder: Path) -> None:
        from animepggan.data import review as by_clicking

        by_clicking(folder, show=shower(console, folder, browser=True))

    with watching(console) as watch, console.bars() as bar:
        started = pipeline.start(
            sources,
            output,
            review=review if has_screen() and not yes else None,
            watch=watch,
            bar=bar,
            say=console.say,
            warn=console.warn,
            **options,
        )
    run = started.run
    told = {
        "folder": started.folder,
        "description": started.description,
        "run": None if run is None else run.folder,
        "checkpoint": None if run is None else run.best or run.checkpoint,
        "page": started.page,
    }
    if started.page is not None:
        console.say("open the page in a browser; it says what to type next")
    console.result(str(started.page or (run.folder if run else started.description) or started.folder), told)
