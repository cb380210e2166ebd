"""The sliced Wasserstein distance between patches of two sets of pictures (Karras et al. 2018, section 5).

Both sets become Laplacian pyramids; at each level small patches are taken at random, their colors normalised, and the
two clouds of patches compared along random directions. A small distance at 16 px says that the large shapes agree, one
at the top level that the finest detail does.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from animepggan.streams import stream

LOWEST = 16  # pixels a side of the coarsest level
PATCH = 7  # pixels a side
PATCHES = 128  # a picture
DIRECTIONS = 128
REPEATS = 4
SCALE = 1000.0
_CHUNK = 64  # pictures whose pyramids are held at once


def _blurred(pictures: Tensor) -> Tensor:
    taps = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0]) / 16
    kernel = torch.outer(taps, taps).expand(3, 1, 5, 5)
    return functional.conv2d(functional.pad(pictures, (2, 2, 2, 2), mode="reflect"), kernel, groups=3)


def laplacian_pyramid(pictures: Tensor) -> dict[int, Tensor]:
    """Band-pass levels by resolution, the coarsest low-pass: [n, 3, r, r] -> {r: ..., r / 2: ..., 16: ...}.

    Each level is what the next lower one, doubled, lacks; their sum after doubling is the picture again.
    """
    levels: dict[int, Tensor] = {}
    while pictures.shape[-1] > LOWEST:
        lower = _blurred(pictures)[:, :, ::2, ::2]
        spread = torch.zeros_like(pictures)
        spread[:, :, ::2, ::2] = lower * 4
        levels[pictures.shape[-1]] = pictures - _blurred(spread)
        pictures = lower
    levels[pictures.shape[-1]] = pictures
    return levels


Clouds = dict[int, Tensor]
"""Patches of a set by level, the finest first: [n * 128, 147], every channel with mean 0 and deviation 1."""


def clouds(chunks: Iterable[Tensor], count: int, side: int, *, which: int = 0, seed: int = 0) -> Clouds:
    """Random 7x7 patches of `count` pictures that come as chunks [m, 3, side, side] in [-1, 1].

    `side` is a power of two from 16 on. The two sets of a comparison are number 0 and number 1 (`which`), so that
    their patches come from other places.
    """
    resolutions = [side >> halving for halving in range((side // LOWEST).bit_length())]
    corners = {
        r: torch.randint(0, r - PATCH + 1, (2, count, PATCHES, 1, 1), generator=stream(f"swd/patches/{which}", seed, r))
        for r in resolutions
    }
    patches: dict[int, list[Tensor]] = {r: [] for r in resolutions}
    steps = torch.arange(PATCH)
    at = 0
    with torch.no_grad():
        for chunk in chunks:
            picture = torch.arange(len(chunk))[:, None, None, None]
            for r, level in laplacian_pyramid(chunk).items():
                down, right = corners[r][:, at : at + len(chunk)]
                patches[r].append(
                    level.permute(0, 2, 3, 1)[picture, down + steps[:, None], right + steps].flatten(0, 1)
                )
            at += len(chunk)
    return {r: _normalized(torch.cat(patches.pop(r))) for r in resolutions}


def _normalized(patches: Tensor) -> Tensor:
    mean = patches.mean(dim=(0, 1, 2))
    deviation = patches.std(dim=(0, 1, 2), unbiased=False)
    return ((patches - mean) / deviation.clamp_min(1e-8)).flatten(1)


def cloud_distances(first: Clouds, second: Clouds, *, seed: int = 0) -> dict[int, float]:
    """The distance, times 1000, of two sets of as many pictures at each level, by its resolution."""
    return {level: sum(each) / REPEATS for level, each in repeated_distances(first, second, seed=seed).items()}


def repeated_distances(first: Clouds, second: Clouds, *, seed: int = 0) -> dict[int, list[float]]:
    """The same along each of REPEATS sets of directions."""
    found: dict[int, list[float]] = {}
    for resolution in first:
        generator = stream("swd/directions", seed, resolution)
        found[resolution] = []
        for _ in range(REPEATS):
            directions = torch.randn(first[resolution].shape[1], DIRECTIONS, generator=generator)
            directions = functional.normalize(directions, dim=0)
            # numpy sorts with the processor's vectors, torch does not.
            projected = [np.sort((directions.T @ sets[resolution].T).numpy(), axis=1) for sets in (first, second)]
            apart = float(np.abs(projected[0] - projected[1]).mean(dtype=np.float64))
            found[resolution].append(SCALE * apart)
    return found


def sliced_wasserstein(first: Tensor, second: Tensor, *, seed: int = 0) -> dict[int, float]:
    """The distance, times 1000, at each pyramid level, by its resolution; 0 for equal distributions.

    `first`, `second`: [n, 3, r, r] in [-1, 1], r a power of two from 16 on, and as many pictures in both, since the
    distance of finite samples falls with their number. ValueError otherwise.
    """
    side = first.shape[-1]
    if first.shape != second.shape or side < LOWEST or side & (side - 1):
        raise ValueError(
            f"two sets of one shape from {LOWEST} px on, not {tuple(first.shape)} and {tuple(second.shape)}"
        )
    sets = [
        clouds(torch.split(pictures, _CHUNK), len(pictures), side, which=which, seed=seed)
        for which, pictures in enumerate((first, second))
    ]
    return cloud_distances(*sets, seed=seed)
