"""What `pretrain` and `finetune` share on the command line: their options, and a run as people watch it."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import click

from animepggan.cli.common import (
    NATURAL,
    SECONDS_BETWEEN_LINES,
    Console,
    apply_threads,
    check_device,
    device_options,
    duration,
    options,
)

if TYPE_CHECKING:
    from tqdm import tqdm

    from animepggan.run import Event, FinishedRun

SECONDS_TO_FIRST_LINE = 3.0
PRECISION: Any = {"type": click.Choice(["fp32", "bf16"]), "default": "fp32"}
PATIENCE = "Stop when N measures in a row were not clearly better; 0: never.  [default: 5 of those taken by default]"

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
    click.option("--patience", metavar="N", type=NATURAL, help=PATIENCE),
    click.option("--dry-run", is_flag=True, help="Print the plan and train nothing."),
    click.option("--no-probe", is_flag=True, help="With --dry-run: do not measure this machine."),
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
    """Call one of the library's functions, and print what happens, what it returns and what to type next."""
    from animepggan.checkpoint import BEST

    with watching(console) as watch, console.bars() as bar:
        run = function(*what, **given, watch=watch, bar=bar, say=console.say, warn=console.warn)
    if previews := sorted((run.folder / "previews").glob("images-*.png")):
        console.say(f"newest preview: {previews[-1]}")
    folder, data = shlex.quote(str(run.folder)), shlex.quote(str(given.get("data") or "SPEC"))
    further = f"evaluate {folder} --data {data}" if "base" in given else f"finetune --base {folder} --data yui/"
    following = ("sample " + folder + " --grid", f"interpolate {folder}", further)
    console.say("\n".join(["next:", *(f"    animepggan {each}" for each in following)]))
    told = {"run": run.folder, "checkpoint": run.checkpoint, "images_seen": run.images_seen}
    told |= {"total_images": run.total_images, "best": None if run.best is None else run.folder / BEST}
    console.result(f"{run.folder}\n{run.checkpoint}", told)


class Speed:
    """Images a second since the first step that was seen, which is slower than the rest."""

    def __init__(self) -> None:
        self._first: tuple[int, float] | None = None

    def at(self, images_seen: int) -> float | None:
        """None as long as it is not known."""
        if self._first is None or images_seen < self._first[0]:  # the run has gone back
            self._first = images_seen, time.monotonic()
        images, since = self._first
        seconds = time.monotonic() - since
        return (images_seen - images) / seconds if images_seen > images and seconds > 0 else None


@contextmanager
def watching(console: Console) -> Iterator[Callable[[Event], None]]:
    """A bar with stage, alpha, loss and the newest measure, or lines where there is no terminal to draw it on."""
    bar: tqdm[Any] | None = None
    speed = Speed()
    next_line = time.monotonic() + SECONDS_TO_FIRST_LINE

    def watch(event: Event) -> None:
        nonlocal bar, next_line
        moment, progress = event.progress.moment, event.progress
        if bar is None:
            bar = console.bar(event.total_images, "img", "training")
            bar.unit_scale = True
            bar.initial = moment.images_seen  # the time left follows from what this process has trained
            bar.update(moment.images_seen)
        where = f"{moment.resolution} px {moment.phase.name}"
        if moment.phase.name == "fade":
            where += f" alpha {moment.alpha:.2f}"
        measured = ""
        if event.measured is not None:
            measured = f"{event.measured[0]} {event.measured[1]:.4g}{', the best' if event.is_best else ''}"
        losses = f"D {progress.loss_discriminator:.2f}"
        if progress.loss_generator is not None:
            losses += f" G {progress.loss_generator:.2f}"
        with suppress(OSError):  # the terminal is gone: the run saves and ends by itself
            bar.set_description_str(where, refresh=False)
            bar.set_postfix_str(f"{losses}{measured and f', {measured}'}", refresh=False)
            bar.update(progress.images_seen - bar.n)
        for note in event.notes:
            console.warn(note)
        if event.checkpoint is not None:
            preview = f"; newest preview {event.preview}" if event.preview else ""
            console.say(f"saved {event.checkpoint}{preview}")
        per_second = speed.at(progress.images_seen)
        is_due = time.monotonic() >= next_line or event.checkpoint is not None or measured
        if bar.disable and is_due:
            next_line = time.monotonic() + SECONDS_BETWEEN_LINES
            line = f"{where}  {progress.images_seen / 1000:.1f}/{event.total_images / 1000:.1f} kimg  {losses}"
            if per_second is not None:
                left = duration((event.total_images - progress.images_seen) / per_second)
                line += f"  {per_second:.1f} images/s, about {left} left"
            console.say(f"{line}{measured and f'  {measured}'}")

    try:
        yield watch
    finally:
        if bar is not None:
            with suppress(OSError):
                bar.close()
