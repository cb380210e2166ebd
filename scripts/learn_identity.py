"""Learn in which directions of an embedding drawn characters differ: animepggan/corpus/identity.safetensors.

    scripts/learn_identity.py        of the packaged backbone, from 140 shows of three characters, 12 pictures each

Run it anew whenever `features.Backbone.describe` gives other embeddings. The heroines' styles are in none of the shows,
so that what is measured on them was not learned from. Minutes.
"""

from __future__ import annotations

import argparse
import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from safetensors.numpy import save_file

from animepggan.corpus.demo.characters import other, someone
from animepggan.corpus.demo.dice import Dice
from animepggan.corpus.demo.picture import compose, portrait
from animepggan.corpus.demo.styles import GENERAL
from animepggan.corpus.facts import SEEN
from animepggan.corpus.strangers import IDENTITY, which
from animepggan.disk import cache_folder, replacing
from animepggan.interop.backbones import PACKAGED, choose

DIRECTIONS = 40
RIDGE = 0.3  # of the mean variance within characters, added to every direction's


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shows", type=int, default=140)
    parser.add_argument("--pictures", type=int, default=12, help="of each character")
    options = parser.parse_args()
    backbone = choose(PACKAGED, cache=cache_folder()).at(SEEN)
    characters = [backbone.describe(pictures) for pictures in _drawn(options.shows, options.pictures)]
    mean, directions = discriminant(characters)
    tensors = {"mean": mean.astype(np.float16), "directions": directions.astype(np.float16)}
    with replacing(IDENTITY) as partial:
        save_file(tensors, partial, metadata={"backbone": which(backbone.label)})
    print(f"{IDENTITY}: {len(characters)} characters, {directions.shape[0]} to {directions.shape[1]} dimensions")


def discriminant(characters: list[NDArray[np.float32]]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The mean [d] and the directions [d, DIRECTIONS] of embeddings [n, d] a character, of variance one within."""
    means = np.stack([rows.mean(axis=0, dtype=np.float64) for rows in characters])
    scatter = np.zeros((means.shape[1],) * 2)
    for rows, mean in zip(characters, means, strict=True):
        scatter += (rows - mean).T @ (rows - mean)
    scatter /= sum(len(rows) - 1 for rows in characters)
    variances, axes = np.linalg.eigh(scatter)
    whiten = axes / np.sqrt(np.maximum(variances, 0) + RIDGE * variances.mean())
    _, _, across = np.linalg.svd((means - means.mean(axis=0)) @ whiten, full_matrices=False)
    return means.mean(axis=0), whiten @ across[:DIRECTIONS].T


def _drawn(shows: int, pictures: int) -> list[NDArray[np.uint8]]:
    """Of each show somebody, somebody with the same hair, and somebody else."""
    found, dice = [], np.random.default_rng(0)
    for show in range(shows):
        first = someone(Dice("prior", show), GENERAL[show % len(GENERAL)], f"prior{show}")
        for number, character in enumerate([first, other(1, first, alike=True), other(2, first)]):
            drawn = []
            for index in range(pictures):
                placed, scene = portrait(character, Dice("prior", show, number, index))
                picture = compose([placed], scene, SEEN, SEEN, seed=index)[0].convert("RGB")
                drawn.append(np.asarray(_worn(picture, index, dice)))
            found.append(np.stack(drawn))
    return found


def _worn(picture: Image.Image, index: int, dice: np.random.Generator) -> Image.Image:
    """Two of three pictures as a set holds them: of another size, or saved as JPEG. Who it is does not hang on that."""
    if index % 3 == 1:
        side = round(SEEN * dice.uniform(0.5, 1.6))
        return picture.resize((side, side), Image.Resampling.LANCZOS).resize((SEEN, SEEN), Image.Resampling.LANCZOS)
    if index % 3 == 2:
        file = io.BytesIO()
        picture.save(file, "JPEG", quality=int(dice.integers(50, 95)))
        return Image.open(file).convert("RGB")
    return picture


if __name__ == "__main__":
    main()
