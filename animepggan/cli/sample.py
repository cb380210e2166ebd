"""`animepggan sample`: pictures by seed, or one sheet of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import click

from animepggan import __version__
from animepggan.cli.common import (
    Console,
    apply_threads,
    common_options,
    device_options,
    output_option,
    resolve_device,
)
from animepggan.cli.processor import warn_where_emulated

if TYPE_CHECKING:
    from animepggan.checkpoint import Loaded

Command = TypeVar("Command", bound=Callable[..., Any])

DEFAULT_COUNT = 16


def _check_truncation(_: click.Context, __: click.Parameter, truncation: float) -> float:
    if not math.isfinite(truncation):  # which no range of click's refuses
        raise click.BadParameter(f"{truncation} is not a number from 0 to 2.")
    return truncation


def drawing_options(function: Command) -> Command:
    """Add what says how pictures are drawn: `truncation`, `precision`, `resolution`, `device`, `threads`."""
    for decorate in (
        device_options,
        click.option(
            "--precision",
            type=click.Choice(["fp32", "bf16"]),
            default="fp32",
            show_default=True,
            help="bf16 is faster where the processor has it, and a little off.",
        ),
        click.option(
            "--resolution",
            metavar="PX",
            type=click.IntRange(min=4),
            help="Side of a picture, a power of two; below the model's own by averaging.  [default: the model's]",
        ),
        click.option(
            "--truncation",
            metavar="T",
            type=click.FloatRange(0, 2),
            default=1.0,
            show_default=True,
            callback=_check_truncation,
            help="Below 1: nearer to the mean face, cleaner and less varied.",
        ),
    ):
        function = decorate(function)
    return function


def seeds_of(seeds: str | None, seed: int | None, count: int | None, default_count: int) -> Sequence[int]:
    """The seeds that `--seeds`, or else `--seed` and `--count`, ask for."""
    from animepggan.sampling.seeds import parse_seeds, seeds_from

    if seeds is None:
        return seeds_from(seed or 0, count or default_count)
    if seed is not None or count is not None:
        raise click.UsageError("--seeds names them all; leave --seed and --count out.")
    return parse_seeds(seeds)


@dataclass(frozen=True)
class Model:
    """A generator with the names it goes by."""

    loaded: Loaded
    spec: str  # what to type to get it again on this machine
    texts: dict[str, str]  # what a picture's metadata says of it; no paths, since pictures travel


def open_model(console: Console, model: str | None, device: str) -> Model:
    """Find, verify and load a model, and tell which it is."""
    from animepggan.checkpoint import find, load_generator, verify
    from animepggan.checkpoint.files import MANIFEST

    where = resolve_device(device)
    found = find(model)
    if (found.path / MANIFEST).is_file():
        verify(found.path, ("generator_ema",))
    loaded = load_generator(found.path, where)
    side, images_seen = loaded.generator.resolution, loaded.config["position"].get("images_seen")
    spec = found.spec if found.commit else str(found.path)
    fading = f", alpha {loaded.alpha:.2f}" if loaded.alpha < 1 else ""
    console.say(f"model: {spec} ({side} px{fading}) on {where}")
    name = (loaded.config.get("provenance") or {}).get("name")
    texts = {"Software": f"animepggan {__version__}", "images_seen": str(images_seen)}
    if found.commit:
        texts |= {"model": found.spec, "commit": found.commit}
    else:
        texts["model"] = f"{name}/{found.path.name}" if name else found.path.name
    return Model(loaded, spec, texts)


@click.command()
@click.argument("model", required=False)
@click.option("--count", metavar="N", type=click.IntRange(min=1), help=f"How many.  [default: {DEFAULT_COUNT}]")
@click.option(
    "--seed", metavar="S", type=click.IntRange(min=0), help="The first seed; S, S+1, ... are drawn.  [default: 0]"
)
@click.option("--seeds", metavar="LIST", help="Just these: 1,5,9 or 3-7.")
@click.option("--grid", "as_grid", is_flag=True, help="One sheet, grid.png, instead of single pictures.")
@click.option(
    "--columns", metavar="N", type=click.IntRange(min=1), help="Pictures a row of the sheet.  [default: near square]"
)
@drawing_options
@output_option("samples/")
@common_options
def command(
    console: Console,
    model: str | None,
    count: int | None,
    seed: int | None,
    seeds: str | None,
    as_grid: bool,
    columns: int | None,
    truncation: float,
    resolution: int | None,
    precision: Literal["fp32", "bf16"],
    device: str,
    threads: int | None,
    output: Path | None,
) -> None:
    """Draw pictures.

    MODEL is a checkpoint folder, a weights file, a run folder (its newest checkpoint), or hub:owner/name. Without it:
    the newest checkpoint under runs/. Of a run that was measured, RUN/checkpoints/best.json stands for its best one.

    A seed is a face: for one model it stays the same whatever is drawn beside it. Pictures are named by their seed,
    seed000042.png.
    """
    if columns is not None and not as_grid:
        raise click.UsageError("--columns is for --grid.")
    wanted = seeds_of(seeds, seed, count, DEFAULT_COUNT)
    folder = output or Path("samples")
    if folder.suffix.lower() == ".png" and not as_grid:
        raise click.UsageError(f"-o {folder}: pictures go into a folder; only --grid makes one file.")

    from animepggan.sampling.draw import draw
    from animepggan.sampling.files import replacing, write_png
    from animepggan.sampling.grid import grid
    from animepggan.sampling.latents import latents_of

    apply_threads(threads)
    warn_where_emulated(console, precision, resolve_device(device))
    opened = open_model(console, model, device)
    loaded = opened.loaded
    pictures = draw(
        loaded,
        latents_of(wanted, loaded.generator.latent_dim),
        truncation=truncation,
        precision=precision,
        resolution=resolution,
    )
    texts = {**opened.texts, "truncation": str(truncation), "precision": precision}
    files: list[Path] = []
    drawn = []
    with console.bar(len(wanted), "picture", "sample") as bar:
        for number, picture in zip(wanted, pictures, strict=True):
            if as_grid:
                drawn.append(picture)
            else:
                files.append(folder / f"seed{number:06d}.png")
                with replacing(files[-1]) as file:
                    write_png(picture, file, {**texts, "seed": str(number)})
            bar.update()
    if as_grid:
        files.append(folder if folder.suffix.lower() == ".png" else folder / "grid.png")
        with replacing(files[-1]) as file:
            write_png(grid(drawn, columns), file, {**texts, "seeds": _spelled(wanted)})
    console.result(
        "\n".join(map(str, files)), {"files": files, **summary(opened, wanted, resolution, truncation, precision)}
    )


def summary(
    opened: Model, seeds: Sequence[int], resolution: int | None, truncation: float, precision: str
) -> Mapping[str, object]:
    """What `--json` says of any drawing."""
    return {
        "model": opened.spec,
        "seeds": list(seeds),
        "resolution": resolution or opened.loaded.generator.resolution,
        "truncation": truncation,
        "precision": precision,
    }


def _spelled(seeds: Sequence[int]) -> str:
    """Seeds as `--seeds` takes them."""
    return f"{seeds[0]}-{seeds[-1]}" if isinstance(seeds, range) else ",".join(map(str, seeds))
