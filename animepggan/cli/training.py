"""What `pretrain` and `finetune` share: their options, and a run as people watch it."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import click

from animepggan.cli.common import Console, apply_threads, device_options, output_option, resolve_device
from animepggan.cli.processor import warn_where_emulated

if TYPE_CHECKING:
    import torch
    from tqdm import tqdm

    from animepggan.corpus import Corpus
    from animepggan.recipe import Resolved
    from animepggan.run import Event, Run
    from animepggan.transfer import Base

Command = TypeVar("Command", bound=Callable[..., Any])
SECONDS_BETWEEN_LINES = 10.0
"""Where there is no bar: at least so long between two lines of progress."""


@dataclass(frozen=True)
class Options:
    """The options that both verbs take, as given."""

    data: str | None
    settings: tuple[str, ...]
    seed: int | None
    precision: str
    reference: bool
    capture: bool
    resume: bool
    restart: bool
    allow: tuple[str, ...]
    dry_run: bool
    no_probe: bool
    output: Path | None
    device: str
    threads: int | None
    patience: int | None

    def prepare(self, console: Console) -> torch.device:
        """Check what no recipe is needed for, set the threads, and name the device."""
        if self.resume and self.restart:
            raise click.UsageError("--resume and --restart exclude each other.")
        if self.reference and self.capture:
            raise click.UsageError("--reference and --capture exclude each other.")
        apply_threads(self.threads)
        device = resolve_device(self.device)
        warn_where_emulated(console, self.precision, device)
        if self.capture and device.type != "cuda":
            raise click.BadParameter(
                f"CUDA graphs need a CUDA device, and this run is on {device}; leave it out.", param_hint="--capture"
            )
        return device

    def values(self, **more: object) -> dict[str, object]:
        """Recipe values given by options of their own."""
        given = {"data": self.data, "seed": self.seed, **more}
        return {key: value for key, value in given.items() if value is not None}


def training_options(function: Command) -> Command:
    """Add the options of `Options`; the function gets them as its keyword argument `options`."""

    @functools.wraps(function)  # carries the options that click has gathered so far, too
    def gathered(*arguments: Any, **keywords: Any) -> Any:
        names = Options.__dataclass_fields__
        options = Options(**{name: keywords.pop(name) for name in names})
        return function(*arguments, options=options, **keywords)

    decorated: Any = gathered
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
            click.option("--capture", is_flag=True, help="Replay the step as CUDA graphs: same numbers; needs a GPU."),
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


def load_corpus(console: Console, resolved: Resolved, spec: str | None = None) -> Corpus:
    """The pictures of `spec`, by default the recipe's, from the cache or decoded with a bar; DataError where there is
    neither.
    """
    from animepggan.corpus import Corpus
    from animepggan.corpus.names import printable
    from animepggan.errors import DataError

    recipe = resolved.recipe
    data = spec or recipe.data
    if data is None:
        raise DataError(
            f"{resolved.file}: no data: say which pictures to train on\n"
            "--data takes a folder, a zip, a tar, demo:general, demo:yui, or hub:datasets/owner/name"
        )
    _draw_demo(console, data)
    bars: list[tqdm[Any]] = []  # none where nothing has to be decoded

    def progress(done: int, total: int) -> None:
        if not bars:
            bars.append(stack.enter_context(console.bar(total, "pictures", "decoding")))
        bars[0].update(done - bars[0].n)

    with ExitStack() as stack:
        corpus = Corpus.load(
            data,
            resolution=recipe.resolution,
            random_shift=recipe.random_shift,
            background=recipe.background,
            max_bad=recipe.max_bad,
            progress=progress,
            say=console.say,
        )
    count = f"{len(corpus)} pictures"
    if len(corpus) < len(corpus.names):
        count = f"{len(corpus.names)} pictures in {len(corpus)} clusters"
    console.say(f"corpus: {count}, {corpus.distinct} of them different, from {printable(data)}")
    for bad in corpus.bad[:3]:
        console.warn(f"left out {bad}")
    if len(corpus.bad) > 3:
        console.warn(f"left out {len(corpus.bad) - 3} more pictures")
    return corpus


def _draw_demo(console: Console, data: str) -> None:
    """With a bar: `demo:general` and `demo:yui` are drawn into the cache on first use."""
    kinds: dict[str, Literal["general", "yui"]] = {"demo:general": "general", "demo:yui": "yui"}
    if data not in kinds:
        return
    from animepggan.corpus.demo import cached

    with console.bars() as bar:
        cached(kinds[data], bar=bar)


def default_output(resolved: Resolved, corpus: Corpus) -> Path:
    """`runs/<recipe>-<data name>`."""
    return Path("runs") / f"{resolved.recipe.name}-{corpus.name}"


def train(
    console: Console,
    resolved: Resolved,
    corpus: Corpus,
    options: Options,
    device: torch.device,
    base: Base | None = None,
) -> None:
    """Start or continue the run in the output folder, and watch it to its end."""
    from animepggan.checkpoint import BEST
    from animepggan.run import open_run

    folder = options.output or default_output(resolved, corpus)
    extend_data = resolved.recipe.extend_data
    base_corpus = None if extend_data is None else load_corpus(console, resolved, extend_data)
    with (
        console.bars() as bar,
        open_run(
            folder,
            resolved,
            corpus,
            device=device,
            precision=options.precision,
            reference=options.reference,
            capture=options.capture,
            base=base,
            base_corpus=base_corpus,
            resume=options.resume,
            restart=options.restart,
            allow=options.allow,
            patience=options.patience,
            bar=bar,
        ) as run,
    ):
        for note in run.notes:
            console.warn(note)
        if run.finished:
            console.say(f"{folder}: this run is complete")
        else:
            verb = "continuing" if run.state.images_seen else "starting"
            console.say(f"{verb} {folder} at {run.state.images_seen} of {run.schedule.total_images} images")
            _watch(console, run)
        if run.gave_up is not None:
            console.say(f"stopped: {run.gave_up}")
        best = None if run.best is None else folder / BEST
        if run.best is not None:
            console.say(f"best by {run.best.measure}, {run.best.value:.4g}: {run.best.checkpoint}; as a MODEL: {best}")
        checkpoint = run.last_checkpoint
        console.result(
            f"{folder}\n{checkpoint}",
            {
                "run": str(folder),
                "checkpoint": str(checkpoint),
                "images_seen": run.state.images_seen,
                "total_images": run.schedule.total_images,
                "best": best,
            },
        )


def _watch(console: Console, run: Run) -> None:
    total = run.schedule.total_images / 1000
    with console.bar(run.schedule.total_images, "img", "training") as bar:
        bar.unit_scale = True
        bar.update(run.state.images_seen)
        bar.start_t, bar.initial = time.time(), run.state.images_seen
        last_line = 0.0
        for event in run.train():
            moment = event.progress.moment
            where = f"{moment.resolution} px {moment.phase.name}"
            if moment.phase.name == "fade":
                where += f" alpha {moment.alpha:.2f}"
            bar.set_description_str(where, refresh=False)
            if event.measured is not None:
                bar.set_postfix_str(_measured(event), refresh=False)
            bar.update(event.progress.images_seen - bar.n)
            for note in event.notes:
                console.warn(note)
            if event.checkpoint is not None:
                console.say(f"saved {event.checkpoint}")
            if bar.disable and event.record is not None and _is_due(event, last_line):
                last_line = time.monotonic()
                console.say(_line(event, where, total))


def _is_due(event: Event, last_line: float) -> bool:
    return (
        event.checkpoint is not None
        or event.measured is not None
        or time.monotonic() - last_line >= SECONDS_BETWEEN_LINES
    )


def _line(event: Event, where: str, total_kimg: float) -> str:
    record = event.record
    assert record is not None
    measured = "" if event.measured is None else f"  {_measured(event)}"
    return (
        f"{where}  {record['images_seen'] / 1000:.1f}/{total_kimg:.1f} kimg  "
        f"{record['images_per_second']:.1f} images/s  "
        f"D {record['loss_discriminator']:.3f}  penalty {record['gradient_penalty']:.3f}{measured}"
    )


def _measured(event: Event) -> str:
    assert event.measured is not None
    name, value = event.measured
    return f"{name} {value:.4g}{', the best' if event.is_best else ''}"


def load_recipe(console: Console, spec: str, options: Options, **more: object) -> Resolved:
    """The recipe with the command line's values over it; says where a missing path fell back to a shipped recipe."""
    from animepggan.recipe import find, load

    found = find(spec)
    if found.fell_back:
        console.say(f"{spec}: no such file here; taking the shipped recipe {found.path}")
    return load(spec, overrides=options.settings, settings=options.values(**more))


def say_origins(console: Console, resolved: Resolved) -> None:
    """Print the values that came from the preset, and those from the base."""
    from animepggan.recipe.model import leaves

    values = leaves(resolved.recipe)
    for source in ("preset", "base"):
        listed = [f"{key} {values[key]}" for key, origin in resolved.origins.items() if origin.split()[0] == source]
        if listed:
            console.say(f"from the {source}: {', '.join(listed)}")
