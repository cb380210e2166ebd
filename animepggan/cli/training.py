"""What `pretrain` and `finetune` share on the command line: their options, and a run as people watch it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from animepggan.cli.common import POSITIVE, Console, apply_threads, check_device, device_options, options, output_option

if TYPE_CHECKING:
    from tqdm import tqdm

    from animepggan.run import Event, FinishedRun

SECONDS_BETWEEN_LINES = 10.0  # where there is no bar: at least so long between two lines of progress
PRECISION: Any = {"type": click.Choice(["fp32", "bf16"]), "default": "fp32"}
PATIENCE = "Stop when N measures in a row were no better than the best; needs measures.every_kimg."

training_options = options(
    click.option("--data", metavar="SPEC", help="A folder, zip or tar of pictures, demo:..., hub:datasets/..."),
    click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Set a recipe value; repeatable."),
    click.option("--seed", metavar="S", type=click.IntRange(0, 2**63 - 1), help="Decides every random draw."),
    click.option("--precision", help="bf16: convolutions in bfloat16, weights in float32.", **PRECISION),
    click.option("--reference", is_flag=True, help="Train by the plain step: same numbers, slower."),
    device_options,
    click.option("--resume", is_flag=True, help="Go on with the run in the output folder; fail if there is none."),
    click.option("--restart", is_flag=True, help="Start anew; a run in the output folder is moved aside."),
    click.option("--allow", multiple=True, metavar="KEY", help="Go on although this recipe value changed; repeatable."),
    click.option("--patience", metavar="N", type=POSITIVE, help=PATIENCE),
    click.option("--dry-run", is_flag=True, help="Print the plan and train nothing."),
    click.option("--no-probe", is_flag=True, help="With --dry-run: do not measure this machine."),
    output_option("runs/<recipe>-<data name>"),
)
"""Adds the options that both verbs take, passed by the names that the library's functions have for them; and
`threads`, `dry_run` and `no_probe`.
"""


def prepare(console: Console, threads: int | None, given: Mapping[str, Any]) -> None:
    """Check what no recipe is needed for, and set the threads."""
    if given["resume"] and given["restart"]:
        raise click.UsageError("--resume and --restart exclude each other.")
    apply_threads(threads)
    check_device(console, given["device"], given["precision"])


def recipe_options(given: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the options that are values of the recipe."""
    return {key: given[key] for key in ("data", "settings", "seed")}


def train(console: Console, function: Callable[..., FinishedRun], *what: str, **given: Any) -> None:
    """Call one of the library's functions, and print what happens and what it returns."""
    from animepggan.checkpoint import BEST

    with watching(console) as watch, console.bars() as bar:
        run = function(*what, **given, watch=watch, bar=bar, say=console.say, warn=console.warn)
    told = {"run": run.folder, "checkpoint": run.checkpoint, "images_seen": run.images_seen}
    told |= {"total_images": run.total_images, "best": None if run.best is None else run.folder / BEST}
    console.result(f"{run.folder}\n{run.checkpoint}", told)


@contextmanager
def watching(console: Console) -> Iterator[Callable[[Event], None]]:
    """A bar with stage, alpha and the newest measure, or lines where there is no terminal to draw it on."""
    bar: tqdm[Any] | None = None
    last_line = 0.0

    def watch(event: Event) -> None:
        nonlocal bar, last_line
        moment, record = event.progress.moment, event.record
        if bar is None:
            bar = console.bar(event.total_images, "img", "training")
            bar.unit_scale = True
            bar.initial = moment.images_seen  # the time left follows from what this process has trained
            bar.update(moment.images_seen)
        where = f"{moment.resolution} px {moment.phase.name}"
        if moment.phase.name == "fade":
            where += f" alpha {moment.alpha:.2f}"
        bar.set_description_str(where, refresh=False)
        measured = ""
        if event.measured is not None:
            measured = f"{event.measured[0]} {event.measured[1]:.4g}{', the best' if event.is_best else ''}"
            bar.set_postfix_str(measured, refresh=False)
        bar.update(event.progress.images_seen - bar.n)
        for note in event.notes:
            console.warn(note)
        if event.checkpoint is not None:
            console.say(f"saved {event.checkpoint}")
        is_due = time.monotonic() - last_line >= SECONDS_BETWEEN_LINES or event.checkpoint is not None
        if bar.disable and record is not None and (is_due or measured):
            last_line = time.monotonic()
            console.say(
                f"{where}  {record['images_seen'] / 1000:.1f}/{event.total_images / 1000:.1f} kimg  "
                f"{record['images_per_second']:.1f} images/s  D {record['loss_discriminator']:.3f}  "
                f"penalty {record['gradient_penalty']:.3f}{measured and f'  {measured}'}"
            )

    try:
        yield watch
    finally:
        if bar is not None:
            bar.close()
