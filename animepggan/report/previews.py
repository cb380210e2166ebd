"""Fixed-latent preview grids: the same latents at every moment of a run, the real pictures beside them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from animepggan.corpus import Corpus
from animepggan.disk import replacing
from animepggan.errors import ModelError
from animepggan.sampling.draw import to_uint8
from animepggan.sampling.grid import enlarge, grid, legible_scale
from animepggan.streams import stream
from animepggan.training.state import State


def previews_of(run: Path) -> list[Path]:
    """The saved previews of a run folder, by the images seen; ModelError where there are none."""
    named = ((path.stem.removeprefix("images-"), path) for path in (run / "previews").glob("images-*.png"))
    found = sorted((int(number), path) for number, path in named if number.isdecimal())
    if not found:
        raise ModelError(f"{run}: no previews here; give the folder of a run")
    return [path for _, path in found]


def film_of(previews: Sequence[Path]) -> Iterator[NDArray[np.uint8]]:
    """Previews as frames [h, w, 3], all of the last one's size; ModelError where one cannot be read."""
    size = _read(previews[-1]).size
    for path in previews:
        picture = _read(path)
        multiple = picture.width and size[0] % picture.width == 0 and size[1] % picture.height == 0
        resampling = Image.Resampling.NEAREST if multiple else Image.Resampling.LANCZOS
        yield np.asarray(picture if picture.size == size else picture.resize(size, resampling))


def _read(path: Path) -> Image.Image:
    try:
        with Image.open(path, formats=("PNG",)) as file:
            return file.convert("RGB")
    except (OSError, ValueError, SyntaxError) as error:
        raise ModelError(f"{path}: cannot be read: {error}") from error


@torch.no_grad()
def save_preview(state: State, folder: Path) -> Path:
    """Draw the run's fixed latents with the EMA generator as it stands."""
    options = state.recipe.previews
    count = options.columns * options.rows
    latents = torch.randn(count, state.recipe.latent_dim, generator=stream("previews", state.recipe.seed))
    # One at a time: a grid at 1024 px would otherwise need the memory of a large batch beside the training's own.
    pictures = [to_uint8(state.generator_ema(latent[None].to(state.device), state.alpha))[0] for latent in latents]
    path = folder / "previews" / f"images-{state.images_seen:09d}.png"
    _save(pictures, options.columns, state.recipe.resolution, path)
    return path


def save_real(corpus: Corpus, state: State, folder: Path) -> Path:
    """The first pictures that training shows, at the run's last resolution."""
    recipe = state.recipe
    count = recipe.previews.columns * recipe.previews.rows
    pictures = to_uint8(corpus.batch(0, count, resolution=recipe.resolution, seed=recipe.seed, mirror=recipe.mirror))
    path = folder / "previews" / "real.png"
    _save(list(pictures), recipe.previews.columns, recipe.resolution, path)
    return path


def _save(pictures: list[np.ndarray], columns: int, side: int, path: Path) -> None:
    # Early stages are enlarged pixel by pixel to the last resolution, so that all previews of a run have one size.
    factor = max(1, side // pictures[0].shape[0]) * legible_scale(side)
    enlarged = [enlarge(picture, factor) for picture in pictures]
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as partial:
        Image.fromarray(grid(enlarged, columns=columns)).save(partial, format="PNG")
