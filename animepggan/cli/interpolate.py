"""`animepggan interpolate`: a film that walks from face to face, or from one model to another, or through a run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from animepggan.cli.common import NATURAL, POSITIVE, Console, apply_threads, check_device, common_options, output_option
from animepggan.cli.sample import drawing_options, open_model, scale_option, seeds_of, summary

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

DEFAULT_COUNT = 3
DEFAULT_FACES = 9
DEFAULT_FILM = Path("samples/interpolation.gif")
PREVIEWS_FPS = 5


def _check_blend(_: click.Context, __: click.Parameter, text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    low, dash, high = (part.strip() for part in text.partition("-"))
    sides = [int(side) if side.isascii() and side.isdecimal() else 0 for side in (low, high if dash else low)]
    if any(side < 4 or side & (side - 1) for side in sides) or sides[0] > sides[1]:
        raise click.BadParameter(f"{text!r} is no range of resolutions; write 4-16, both powers of two.")
    return sides[0], sides[1]


@click.command()
@click.argument("model", required=False)
@click.argument("model2", required=False)
@click.option("--seeds", metavar="LIST", help="The faces: 1,5,9 or 3-7.")
@click.option(
    "--count",
    metavar="N",
    type=POSITIVE,
    help=f"Or so many of them.  [default: {DEFAULT_COUNT}; with MODEL2 {DEFAULT_FACES}]",
)
@click.option("--seed", metavar="S", type=NATURAL, help="The first of these; S, S+1, ...  [default: 0]")
@click.option(
    "--blend",
    metavar="LOW-HIGH",
    callback=_check_blend,
    help="With MODEL2: only the layers of these resolutions, as in 4-16, go over to it.  [default: all]",
)
@click.option("--previews", is_flag=True, help="Of the run MODEL: its saved previews, in order.")
@click.option("--frames", metavar="N", type=click.IntRange(min=2), default=60, help="Of the whole film.")
@click.option(
    "--fps",
    metavar="N",
    type=click.IntRange(1, 100),
    default=20,
    show_default=False,
    help=f"Frames a second; GIF: at most 50.  [default: 20; with --previews {PREVIEWS_FPS}]",
)
@scale_option("one")
@drawing_options
@output_option(str(DEFAULT_FILM))
@common_options
@click.pass_context
def command(
    context: click.Context,
    console: Console,
    /,
    model: str | None,
    model2: str | None,
    seeds: str | None,
    count: int | None,
    seed: int | None,
    blend: tuple[int, int] | None,
    previews: bool,
    frames: int,
    fps: int,
    scale: int | None,
    device: str,
    threads: int | None,
    output: Path | None,
    **drawing: Any,
) -> None:
    """Draw a film that walks from face to face at constant speed and ends where it began; MODEL as for `sample`.

    With MODEL2 the faces stay, on one sheet, and the model goes over to MODEL2 and back: its weights are blended. Both
    have to be of one architecture, as a base and what was fine-tuned from it are. With --previews the film shows how a
    run came along.

    The ending of the output's name decides: .gif, .webp, .apng, .mp4 (`pip install "animepggan[video]"`), or none for a
    folder of PNG frames.
    """

    def given(name: str) -> bool:
        return context.get_parameter_source(name) is ParameterSource.COMMANDLINE

    if blend is not None and model2 is None:
        raise click.UsageError("--blend is for two models.")
    if previews:
        others = ["model2", "seeds", "count", "seed", "blend", "frames", "scale"]
        others += ["truncation", "resolution", "precision"]
        if taken := next(filter(given, others), None):
            raise click.UsageError(f"--previews shows pictures that are there already; leave {taken.upper()} out.")
        if model is None:
            raise click.UsageError("--previews: say of which run.")
        fps = fps if given("fps") else PREVIEWS_FPS

    from animepggan.sampling.film import check_film, write_film
    from animepggan.sampling.grid import legible_scale

    path = output or DEFAULT_FILM
    wanted = seeds_of(seeds, seed, count, DEFAULT_COUNT if model2 is None else DEFAULT_FACES)
    check_film(path, fps)
    apply_threads(threads)
    if previews:
        from animepggan.disk import expanded
        from animepggan.report.previews import film_of, previews_of

        assert model is not None
        files = previews_of(expanded(model))
        drawn, frames, factor = film_of(files), len(files), 1  # as they were saved, enlarged already
        told: dict[str, object] = {"previews": files}
    else:
        check_device(console, device, drawing["precision"])
        opened = open_model(console, model, device)
        told = summary(opened, wanted, **drawing)
        second = None
        if model2 is not None:
            second = open_model(console, model2, device)
            told |= {"model2": second.spec, "blend": blend or (4, opened.resolution)}
        factor = scale or legible_scale(drawing["resolution"] or opened.resolution)
        told["scale"] = factor
        drawn = opened.interpolate(wanted, second, frames=frames, blend=blend, **drawing)
    with console.bar(frames, "frame", "interpolate") as bar:

        def counted() -> Iterator[NDArray[np.uint8]]:
            for frame in drawn:
                bar.update()
                yield frame

        write_film(counted(), path, fps, factor)
    console.result(str(path), {"file": path, "frames": frames, "fps": fps, **told})
