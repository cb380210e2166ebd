"""A generator between two of one architecture: their weights blended, as from a base to the model tuned from it.

Fine-tuned networks keep the base's features in place, so that weights in between draw faces in between. Or layers of
some resolutions come from one and the rest from the other (Pinkney and Adler 2020, "Resolution Dependent GAN
Interpolation", arXiv:2010.05334): low resolutions hold pose and shape, high ones line and color.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from dataclasses import replace

import torch

from animepggan.checkpoint import Loaded
from animepggan.errors import ModelError
from animepggan.networks import complete


def check_pair(first: Loaded, second: Loaded) -> None:
    """ModelError, naming what differs, unless both generators are of one architecture."""
    here, there = (complete(loaded.config["architecture"]) for loaded in (first, second))
    differing = [key for key in here if here[key] != there.get(key)]
    if differing:
        told = "; ".join(f"{key} is {here[key]} and {there.get(key)}" for key in differing)
        raise ModelError(f"{first.path} and {second.path} cannot be blended: {told}")


def blend(
    first: Loaded,
    second: Loaded,
    share: float,  # of the second, 0 to 1
    *,
    lowest: int = 4,  # pixels: the layers of these resolutions are blended,
    highest: int = 1024,  # the others stay the first's
) -> Loaded:
    """The generator at `share` of the straight way from the first's weights to the second's; ModelError on a misfit."""
    check_pair(first, second)
    generator = copy.deepcopy(first.generator)
    theirs = dict(second.generator.named_parameters())
    with torch.no_grad():
        for name, parameter in generator.named_parameters():
            if lowest <= _resolution_of(name) <= highest:
                parameter.lerp_(theirs[name].to(parameter.device), share)
    return replace(first, generator=generator, alpha=first.alpha + share * (second.alpha - first.alpha))


def _resolution_of(name: str) -> int:
    """Of a parameter's layer: blocks.64.conv0.weight, to_rgb.64.weight; what acts on the latent is of the lowest."""
    part = name.split(".")[1]
    return int(part) if part.isdecimal() else 4


def there_and_back(frames: int) -> Iterator[float]:
    """`frames` shares from 0 to 1 and back, slow at both ends, so that a film of them loops without a jump."""
    for frame in range(frames):
        yield (1 - math.cos(2 * math.pi * frame / frames)) / 2
