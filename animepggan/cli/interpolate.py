"""`animepggan interpolate`: a film that walks from face to face and back to the first."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from animepggan.cli.common import Console, apply_threads, common_options, output_option
from animepggan.cli.sample import drawing_options, open_model, seeds_of, summary

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

DEFAULT_COUNT = 3
DEFAULT_FILM = Path("samples/interpolation.gif")


@click.command()
@click.argument("model", required=False)
@click.option("--seeds", metavar="LIST", help="The faces to walk through: 1,5,9 or 3-7.")
@click.option(
    "--count", metavar="N", type=click.IntRange(min=2), help=f"Or so many of them.  [default: {DEFAULT_COUNT}]"
)
@click.option("--seed", metavar="S", type=click.IntRange(min=0), help="The first of these; S, S+1, ...  [default: 0]")
@click.option(
    "--frames", metavar="N", type=click.IntRange(min=2), default=60, show_default=True, help="Of the whole film."
)
@click.option(
    "--fps",
    metavar="N",
    type=click.IntRange(1, 100),
    default=20,
    show_default=True,
    help="Frames a second; GIF: at most 50.",
)
@drawing_options
@output_option(f"{DEFAULT_FILM}")
@common_options
def command(
    console: Console,
    model: str | None,
    seeds: str | None,
    count: int | None,
    seed: int | None,
    frames: int,
    fps: int,
    truncation: float,
    resolution: int | None,
    precision: Literal["fp32", "bf16"],
    device: str,
    threads: int | None,
    output: Path | None,
) -> None:
    """Draw a film that walks from face to face at constant speed and ends where it began; MODEL as for `sample`.

    The ending of the output's name decides: .gif, .webp, .apng, .mp4 (`pip install "animepggan[video]"`), or none for a
    folder of PNG frames.
    """
    wanted = seeds_of(seeds, seed, count, DEFAULT_COUNT)
    if len(wanted) < 2:
        raise click.UsageError("--seeds: a walk needs two faces or more.")
    if frames < len(wanted):
        raise click.UsageError(f"--frames {frames}: fewer than the {len(wanted)} faces; each takes a frame at least.")

    from animepggan.sampling.film import check_film, write_film

    path = output or DEFAULT_FILM
    check_film(path, fps)

    from animepggan.sampling.draw import draw
    from animepggan.sampling.latents import latents_of
    from animepggan.sampling.walk import walk

    apply_threads(threads)
    opened = open_model(console, model, device)
    loaded = opened.loaded
    faces = list(latents_of(wanted, loaded.generator.latent_dim))
    pictures = draw(loaded, walk(faces, frames), truncation=truncation, precision=precision, resolution=resolution)
    with console.bar(frames, "frame", "interpolate") as bar:

        def counted() -> Iterator[NDArray[np.uint8]]:
            for picture in pictures:
                bar.update()
                yield picture

        write_film(counted(), path, fps)
    console.result(
        str(path),
        {"file": path, "frames": frames, "fps": fps, **summary(opened, wanted, resolution, truncation, precision)},
    )
