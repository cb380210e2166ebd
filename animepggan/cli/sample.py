"""`animepggan sample`: pictures by seed, or one sheet of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from animepggan.cli.common import (
    NATURAL,
    POSITIVE,
    Command,
    Console,
    apply_threads,
    check_device,
    common_options,
    device_options,
    options,
    output_option,
)

if TYPE_CHECKING:
    from animepggan.model import Model

DEFAULT_COUNT = 16
DEFAULT_OUTPUT = Path("samples")

drawing_options = options(
    click.option(
        "--truncation",
        metavar="T",
        type=click.FloatRange(0, 2),
        default=1.0,
        help="Below 1: nearer to the mean face, cleaner and less varied.",
    ),
    click.option(
        "--resolution",
        metavar="PX",
        type=click.IntRange(min=4),
        help="Side of a picture, a power of two; below the model's own by averaging.  [default: the model's]",
    ),
    click.option(
        "--precision",
        type=click.Choice(["fp32", "bf16"]),
        default="fp32",
        help="bf16 is faster where the processor has it, and a little off.",
    ),
    device_options,
)
"""Adds what says how pictures are drawn: `truncation`, `resolution`, `precision`, `device`, `threads`."""


def scale_option(where: str) -> Callable[[Command], Command]:
    """Add `--scale`; `where` says of what the default enlarges."""
    text = f"Every pixel becomes a square of N.  [default: {where} that makes a picture 128 px wide or more]"
    return click.option("--scale", metavar="N", type=click.IntRange(1, 64), help=text)


def seeds_of(seeds: str | None, seed: int | None, count: int | None, default_count: int) -> Sequence[int]:
    """The seeds that `--seeds`, or else `--seed` and `--count`, ask for."""
    from animepggan.sampling.seeds import parse_seeds, seeds_from

    if seeds is None:
        return seeds_from(seed or 0, count or default_count)
    if seed is not None or count is not None:
        raise click.UsageError("--seeds names them all; leave --seed and --count out.")
    return parse_seeds(seeds)


def open_model(console: Console, model: str | None, device: str) -> Model:
    """Load a model, and tell which it is."""
    from animepggan.checkpoint import PACKAGED_BASE
    from animepggan.model import load

    opened = load(model, device=device)
    fading = f", alpha {opened.loaded.alpha:.2f}" if opened.loaded.alpha < 1 else ""
    packaged = ", which comes with animepggan" if opened.alias == PACKAGED_BASE else ""
    console.say(f"model: {opened.spec}{packaged} ({opened.resolution} px{fading}) on {opened.device}")
    return opened


@click.command()
@click.argument("model", required=False)
@click.option("--count", metavar="N", type=POSITIVE, help=f"How many.  [default: {DEFAULT_COUNT}]")
@click.option("--seed", metavar="S", type=NATURAL, help="The first seed; S, S+1, ... are drawn.  [default: 0]")
@click.option("--seeds", metavar="LIST", help="Just these: 1,5,9 or 3-7.")
@click.option("--grid", "as_grid", is_flag=True, help="One sheet, grid.png, instead of single pictures.")
@click.option("--columns", metavar="N", type=POSITIVE, help="Pictures a row of the sheet.  [default: near square]")
@scale_option("1; of a sheet one")
@drawing_options
@output_option("samples/")
@common_options
def command(
    console: Console,
    /,
    model: str | None,
    count: int | None,
    seed: int | None,
    seeds: str | None,
    as_grid: bool,
    columns: int | None,
    scale: int | None,
    device: str,
    threads: int | None,
    output: Path | None,
    **drawing: Any,
) -> None:
    """Draw pictures.

    MODEL is a checkpoint folder, a weights file, a run folder (its best checkpoint where it was measured, else its
    newest), hub:owner/name, or base, which comes with animepggan. Without it: the newest checkpoint under runs/, else
    that base.

    A seed is a face: for one model it stays the same whatever is drawn beside it. Pictures are named by their seed,
    seed000042.png.
    """
    if columns is not None and not as_grid:
        raise click.UsageError("--columns is for --grid.")
    wanted = seeds_of(seeds, seed, count, DEFAULT_COUNT)
    folder = output or DEFAULT_OUTPUT
    is_file = folder.suffix.lower() == ".png"
    if is_file and not as_grid:
        raise click.UsageError(f"-o {folder}: pictures go into a folder; only --grid makes one file.")

    from animepggan.sampling.files import output_file, write_png
    from animepggan.sampling.grid import enlarge, grid, legible_scale

    apply_threads(threads)
    check_device(console, device, drawing["precision"])
    opened = open_model(console, model, device)
    pictures = opened.draw(wanted, **drawing)
    if scale is None:
        scale = legible_scale(drawing["resolution"] or opened.resolution) if as_grid else 1
    texts = {**opened.texts, "truncation": str(drawing["truncation"]), "precision": drawing["precision"]}
    files: list[Path] = []
    drawn = []
    with console.bar(len(wanted), "picture", "sample") as bar:
        for number, picture in zip(wanted, pictures, strict=True):
            if as_grid:
                drawn.append(picture)
            else:
                files.append(folder / f"seed{number:06d}.png")
                with output_file(files[-1]) as file:
                    write_png(enlarge(picture, scale), file, {**texts, "seed": str(number)})
            bar.update()
    if as_grid:
        files.append(folder if is_file else folder / "grid.png")
        spelled = f"{wanted[0]}-{wanted[-1]}" if isinstance(wanted, range) else ",".join(map(str, wanted))
        with output_file(files[-1]) as file:
            write_png(enlarge(grid(drawn, columns), scale), file, {**texts, "seeds": spelled})
    told = {"files": files, **summary(opened, wanted, **drawing), "scale": scale}
    console.result("\n".join(map(str, files)), told)


def summary(model: Model, seeds: Sequence[int], *, resolution: int | None, **drawing: object) -> dict[str, object]:
    """What `--json` says of any drawing."""
    return {"model": model.spec, "seeds": list(seeds), "resolution": resolution or model.resolution, **drawing}
