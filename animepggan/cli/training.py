"""What `pretrain` and `finetune` share on the command line: their options, and a run as people watch it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import click

from animepggan.cli.common import Console, apply_threads, device_options, output_option, resolve_device
from animepggan.cli.processor import warn_where_emulated

if TYPE_CHECKING:
    from tqdm import tqdm

    from animepggan.run import Event, FinishedRun

Command = TypeVar("Command", bound=Callable[..., Any])
SECONDS_BETWEEN_LINES = 10.0
"""Where there is no bar: at least so long between two lines of progress."""


def training_options(function: Command) -> Command:
    """Add the options that both verbs take, passed by the names that the library's functions have for them; and
    `threads`, `dry_run` and `no_probe`.
    """
    decorated: Any = function
    for decorate in reversed(
        [
            click.option("--data", metavar="SPEC", help="A folder, zip or tar of pictures, demo:..., hub:datasets/..."),
            click.option(
                "--set", "settings", multiple=True, metavar="KEY=VALUE", help="Set a recipe value; repeatable."
            ),
            click.option("--seed", metavar="S", type=click.IntRange(0, 2**63 - 1), help="Decides every random draw."),
            click.option(
                "--precision",
                type=click.Choice(["fp32", "bf16"]),
                default="fp32",
                show_default=True,
                help="bf16: convolutions in bfloat16, weights in float32.",
            ),
            click.option("--reference", is_flag=True, help="Train by the plain step: same numbers, slower."),
            device_options,
            click.option(
                "--resume", is_flag=True, help="Go on with the run in the output folder; fail if there is none."
            ),
            click.option("--restart", is_flag=True, help="Start anew; a run in the output folder is moved aside."),
            click.option(
                "--allow", multiple=True, metavar="KEY", help="Go on although this recipe value changed; repeatable."
            ),
            click.option(
                "--patience",
                metavar="N",
                type=click.IntRange(min=1),
                help="Stop when N measures in a row were no better than the best; needs measures.every_kimg.",
            ),
            click.option("--dry-run", is_flag=True, help="Print the plan and train nothing."),
            click.option("--no-probe", is_flag=True, help="With --dry-run: do not measure this machine."),
            output_option("runs/<recipe>-<data name>"),
        ]
    ):
        decorated = decorate(decorated)
    return decorated  # type: ignore[no-any-return]


def prepare(console: Console, threads: int | None, options: Mapping[str, Any]) -> None:
    """Check what no recipe is needed for, and set the threads."""
    if options["resume"] and options["restart"]:
        raise click.UsageError("--resume and --restart exclude each other.")
    apply_threads(threads)
    warn_where_emulated(console, options["precision"], resolve_device(options["device"]))


def recipe_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the options that are values of the recipe."""
    return {key: options[key] for key in ("data", "settings", "seed")}


def train(console: Console, function: Callable[..., FinishedRun], *what: str, **options: Any) -> None:
    """Call one of the library's functions, and print what happens and what it returns."""
    from animepggan.checkpoint import BEST

    with Watcher(console) as watcher, console.bars() as bar:
        run = function(*what, **options, watch=watcher.watch, bar=bar, say=console.say, warn=console.warn)
    console.result(
        f"{run.folder}\n{run.checkpoint}",
        {
            "run": str(run.folder),
            "checkpoint": str(run.checkpoint),
            "images_seen": run.images_seen,
            "total_images": run.total_images,
            "best": None if run.best is None else run.folder / BEST,
        },
    )


class Watcher:
    """A bar with stage, alpha and the newest measure, or lines where there is no terminal to draw it on."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.bar: tqdm[Any] | None = None
        self.last_line = 0.0

    def __enter__(self) -> Watcher:
        return self

    def __exit__(self, *_: object) -> None:
        if self.bar is not None:
            self.bar.close()

    def watch(self, event: Event) -> None:
        """Show a step."""
        moment = event.progress.moment
        if self.bar is None:
            self.bar = self.console.bar(event.total_images, "img", "training")
            self.bar.unit_scale = True
            self.bar.initial = moment.images_seen  # the time left follows from what this process has trained
            self.bar.update(moment.images_seen)
        where = f"{moment.resolution} px {moment.phase.name}"
        if moment.phase.name == "fade":
            where += f" alpha {moment.alpha:.2f}"
        self.bar.set_description_str(where, refresh=False)
        measured = ""
        if event.measured is not None:
            measured = f"{event.measured[0]} {event.measured[1]:.4g}{', the best' if event.is_best else ''}"
            self.bar.set_postfix_str(measured, refresh=False)
        self.bar.update(event.progress.images_seen - self.bar.n)
        for note in event.notes:
            self.console.warn(note)
        if event.checkpoint is not None:
            self.console.say(f"saved {event.checkpoint}")
        is_due = time.monotonic() - self.last_line >= SECONDS_BETWEEN_LINES or event.checkpoint is not None
        if self.bar.disable and event.record is not None and (is_due or measured):
            self.last_line = time.monotonic()
            record = event.record
            self.console.say(
                f"{where}  {record['images_seen'] / 1000:.1f}/{event.total_images / 1000:.1f} kimg  "
                f"{record['images_per_second']:.1f} images/s  D {record['loss_discriminator']:.3f}  "
                f"penalty {record['gradient_penalty']:.3f}{measured and f'  {measured}'}"
            )
