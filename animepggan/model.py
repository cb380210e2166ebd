"""`load` and `Model`: a trained generator to draw with, blend, save and measure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from animepggan import __version__
from animepggan.checkpoint import (
    MANIFEST,
    PACKAGED_BASE,
    WEIGHTS,
    Loaded,
    find_model,
    load_generator,
    read_tensors,
    verify,
    write_folder,
)
from animepggan.device import device_of
from animepggan.disk import expanded
from animepggan.errors import ModelError, RecipeError, resource_errors
from animepggan.sampling.blend import blend as blended
from animepggan.sampling.blend import check_pair, there_and_back
from animepggan.sampling.draw import Precision, draw
from animepggan.sampling.grid import grid
from animepggan.sampling.latents import closed_walk, latents_of
from animepggan.sampling.seeds import check_seeds


@resource_errors()
def load(model: str | Path | None = None, *, device: str = "auto") -> Model:
    """Find, verify and load a model.

    `model` is a checkpoint folder, a weights file, a run folder (the checkpoint that a measure chose, else its newest),
    `hub:owner/name[@revision][:subfolder]`, or `base`, which comes with the package. Without it: the newest checkpoint
    under `runs/`, else that base. `device` is `auto` (a GPU if there is one), `cpu`, `cuda`, `cuda:N` or `mps`.

        model = animepggan.load("runs/yui")
        faces = model.sample(range(16))  # uint8 [16, h, w, 3]

    Raises ModelError where there is no such model or it is damaged, HubError where the hub does not deliver it,
    RecipeError for a device that is not here, ResourceError for want of memory.
    """
    where = device_of(device)
    found = find_model(None if model is None else str(model))
    if (found.path / MANIFEST).is_file():
        verify(found.path, ("generator_ema",))
    alias = found.spec if found.commit or found.spec == PACKAGED_BASE else None
    return Model(load_generator(found.path, where), found.path, alias, found.commit)


@dataclass(frozen=True, eq=False, repr=False)
class Model:
    """A trained generator and where it came from; `animepggan.load` makes one.

    A seed (0 to 2**32 - 1) is a face: for one model it stays the same whatever is drawn beside it. What every drawing
    takes:

    - `truncation`, 0 to 2: below 1 nearer to the mean face, cleaner and less varied; 1 is untouched;
    - `resolution`, pixels, a power of two from 4 to the model's own: smaller pictures are means of 2x2 pixels;
    - `precision`: `fp32`, or `bf16`, which is faster where the processor has it, and a little off.

    RecipeError where one of them is out of its range, ModelError where the weights draw numbers that are not finite.
    """

    loaded: Loaded  # the generator, the alpha of its fade-in, config.json
    path: Path  # a checkpoint folder or a weights file, on this disk
    alias: str | None = None  # what it was loaded by, where that is no path: of the hub, or the base in the package
    commit: str | None = None  # of that repository: 40 hexadecimal digits

    def __repr__(self) -> str:
        return f"<Model {self.spec}: {self.resolution} px, {self.images_seen} images seen>"

    @property
    def spec(self) -> str:
        """What `load` takes to get it again on this machine."""
        return self.alias or str(self.path)

    @property
    def name(self) -> str:
        """What to call it elsewhere: its alias, or run and checkpoint; no path of this machine."""
        run = self.provenance.get("name")
        return self.alias or (f"{run}/{self.path.name}" if run else self.path.name)

    @property
    def config(self) -> dict[str, Any]:
        """Its config.json: `architecture`, `position` in the schedule, `provenance` (recipe, corpus, base, ...)."""
        return self.loaded.config

    @property
    def provenance(self) -> dict[str, Any]:
        """How it was made, as its config.json says; empty for a lone weights file."""
        return self.config.get("provenance") or {}

    @property
    def resolution(self) -> int:
        """Side of a picture, pixels."""
        return self.loaded.generator.resolution

    @property
    def latent_dim(self) -> int:
        """Length of a latent."""
        return self.loaded.generator.latent_dim

    @property
    def images_seen(self) -> int:
        """Real images that it was trained on, one counted as often as it was shown."""
        return int(self.config["position"]["images_seen"])

    @property
    def device(self) -> torch.device:
        """Where it draws."""
        return next(self.loaded.generator.parameters()).device

    @property
    def texts(self) -> dict[str, str]:
        """What the metadata of a picture says of its model; no paths, since pictures travel."""
        texts = {"Software": f"animepggan {__version__}", "images_seen": str(self.images_seen), "model": self.name}
        return texts | ({"commit": self.commit} if self.commit else {})

    def draw(
        self,
        seeds: Iterable[int],
        *,
        truncation: float = 1.0,
        precision: Precision = "fp32",
        resolution: int | None = None,
    ) -> Iterator[NDArray[np.uint8]]:
        """A picture a seed, uint8 [h, w, 3], RGB, in order and drawn as asked for: for more than memory holds."""
        latents = latents_of(check_seeds(seeds), self.latent_dim)
        return draw(self.loaded, latents, truncation=truncation, precision=precision, resolution=resolution)

    @resource_errors()
    def sample(
        self,
        seeds: Iterable[int],
        truncation: float = 1.0,
        *,
        precision: Precision = "fp32",
        resolution: int | None = None,
    ) -> NDArray[np.uint8]:
        """The pictures of `seeds`, in order: uint8 [n, h, w, 3], RGB, 0 to 255."""
        pictures = list(self.draw(seeds, truncation=truncation, precision=precision, resolution=resolution))
        side = resolution or self.resolution
        return np.stack(pictures) if pictures else np.empty((0, side, side, 3), np.uint8)

    @resource_errors()
    def interpolate(
        self,
        seeds: Iterable[int],
        to: Model | None = None,
        *,
        frames: int = 60,
        blend: tuple[int, int] | None = None,
        truncation: float = 1.0,
        precision: Precision = "fp32",
        resolution: int | None = None,
    ) -> Iterator[NDArray[np.uint8]]:
        """`frames` pictures, uint8 [h, w, 3], that end where they began and are drawn as they are asked for.

        They walk from the face of each seed to the next at constant speed. With `to`, a model of the same architecture,
        the faces stay, on one sheet, and the weights go over to it and back; `blend=(4, 16)` does so only for the
        layers of these resolutions.

        Raises RecipeError where there are fewer than two seeds or frames than seeds (without `to`), or no such layers;
        ModelError where the models' architectures differ.
        """
        faces = list(latents_of(check_seeds(seeds), self.latent_dim))
        if frames < 1:
            raise RecipeError(f"frames {frames}: at least 1")
        if to is None:
            if blend is not None:
                raise RecipeError("blend is for two models")
            if len(faces) < 2:
                raise RecipeError("a walk needs two faces or more: give more seeds, or a larger count")
            if frames < len(faces):
                raise RecipeError(f"frames {frames}: fewer than the {len(faces)} faces; each takes a frame at least")
            way = closed_walk(faces, frames)
            return draw(self.loaded, way, truncation=truncation, precision=precision, resolution=resolution)
        check_pair(self.loaded, to.loaded)
        lowest, highest = blend or (4, self.resolution)
        if not lowest <= highest or lowest > self.resolution:
            raise RecipeError(f"blend {lowest}-{highest}: the models have {self.resolution} px")

        def sheets() -> Iterator[NDArray[np.uint8]]:
            for share in there_and_back(frames):
                with resource_errors():
                    here = blended(self.loaded, to.loaded, share, lowest=lowest, highest=highest)
                yield grid(list(draw(here, faces, truncation=truncation, precision=precision, resolution=resolution)))

        return sheets()

    @resource_errors()
    def save(self, folder: str | Path) -> Path:
        """Write a checkpoint folder that `load` and the command line take, with a config.json as this model's.

        It holds the weights that pictures are drawn with, and the other networks where they are beside these: what
        fine-tuning needs. Raises ModelError where `folder` is there and not empty, RecipeError where it would lie below
        a file, ResourceError where the disk is full.
        """
        folder = expanded(folder)
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise ModelError(f"{folder}: is there already; name a new folder")
        tensors = {"generator_ema": self.loaded.generator.state_dict()}
        if self.path.is_dir():
            beside = [name for name in WEIGHTS[1:] if (self.path / f"{name}.safetensors").is_file()]
            if (self.path / MANIFEST).is_file():
                verify(self.path, beside)
            tensors |= {name: read_tensors(self.path / f"{name}.safetensors") for name in beside}
        write_folder(folder, tensors, self.config)
        return folder
