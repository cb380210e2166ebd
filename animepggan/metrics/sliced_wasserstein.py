"""The sliced Wasserstein distance between patches of two sets of pictures (Karras et al. 2018, section 5).

Both sets become Laplacian pyramids; at each level small patches are taken at random, their colors normalised, and the
two clouds of patches compared along random directions. A small distance at 16 px says that the large shapes agree, one
at the top level that the finest detail does.
"""

from __future__ import annotations

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


def _blurred(pictures: Tensor) -> Tensor:
    taps = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0]) / 16
    channels = pictures.shape[1]
    kernel = torch.outer(taps, taps).expand(channels, 1, 5, 5)
    return functional.conv2d(functional.pad(pictures, (2, 2, 2, 2), mode="reflect"), kernel, groups=channels)


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


def _patches(level: Tensor, generator: torch.Generator) -> Tensor:
    """Random 7x7 patches, every channel with mean 0 and deviation 1 over all of them: [n * 128, 147]."""
    n, channels, side, _ = level.shape
    corners = torch.randint(0, side - PATCH + 1, (2, n * PATCHES, 1, 1), generator=generator)
    steps = torch.arange(PATCH)
    picture = torch.arange(n).repeat_interleave(PATCHES)[:, None, None]
    patches = level.permute(0, 2, 3, 1)[picture, corners[0] + steps[:, None], corners[1] + steps]
    mean = patches.mean(dim=(0, 1, 2))
    deviation = patches.std(dim=(0, 1, 2), unbiased=False)
    return ((patches - mean) / deviation.clamp_min(1e-8)).reshape(n * PATCHES, PATCH * PATCH * channels)


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
    distances: dict[int, float] = {}
    with torch.no_grad():
        pyramids = laplacian_pyramid(first), laplacian_pyramid(second)
        for resolution in pyramids[0]:
            clouds = [
                _patches(pyramid[resolution], stream(f"swd/patches/{which}", seed, resolution))
                for which, pyramid in enumerate(pyramids)
            ]
            generator = stream("swd/directions", seed, resolution)
            total = 0.0
            for _ in range(REPEATS):
                directions = functional.normalize(
                    torch.randn(clouds[0].shape[1], DIRECTIONS, generator=generator), dim=0
                )
                projected = [torch.sort(cloud @ directions, dim=0).values for cloud in clouds]
                total += (projected[0] - projected[1]).abs().mean().item()
            distances[resolution] = SCALE * total / REPEATS
    return distances
