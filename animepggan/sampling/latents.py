"""Seeds to latents (a seed means the same face for a model, whatever is drawn beside it), and walks through latents."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor


def latent_of(seed: int, latent_dim: int) -> Tensor:
    """N(0, 1) numbers [latent_dim], float32, on the CPU; every seed (below 2**32) has a generator of its own."""
    return torch.randn(latent_dim, generator=torch.Generator().manual_seed(seed))


def latents_of(seeds: Iterable[int], latent_dim: int) -> Iterator[Tensor]:
    """The latent of each seed, in order."""
    return (latent_of(seed, latent_dim) for seed in seeds)


def slerp(start: Tensor, end: Tensor, fraction: float) -> Tensor:
    """The point at `fraction` (0 to 1) of the way from `start` to `end`, both [n] (Shoemake 1985).

    The direction moves along the great circle at constant speed and the norm linearly: Gaussian latents of many
    dimensions lie close to a sphere, whose inside a straight line would cross. Opposite latents have no shortest way:
    then it leads over a fixed axis. Float64 inside; the result has the dtype of `start`.
    """
    if fraction == 0:
        return start
    from_norm, to_norm = (float(torch.linalg.vector_norm(latent.double())) for latent in (start, end))
    norm = from_norm + fraction * (to_norm - from_norm)
    if from_norm == 0 or to_norm == 0:  # no direction to turn from or to
        return torch.lerp(start.double(), end.double(), fraction).to(start.dtype)
    here, there = start.double() / from_norm, end.double() / to_norm
    # The arc cosine of the product has no digits left where it is needed most, near 0 and pi.
    angle = 2 * math.atan2(float(torch.linalg.vector_norm(there - here)), float(torch.linalg.vector_norm(there + here)))
    sideways = there - (here @ there) * here
    if torch.linalg.vector_norm(sideways) < 1e-12:
        axis = torch.zeros_like(here)
        axis[here.abs().argmin()] = 1
        sideways = axis - (here @ axis) * here
    sideways = sideways / torch.linalg.vector_norm(sideways)
    turned: Tensor = math.cos(fraction * angle) * here + math.sin(fraction * angle) * sideways
    return (norm * turned).to(start.dtype)


def closed_walk(latents: Sequence[Tensor] | Tensor, frames: int) -> Iterator[Tensor]:
    """`frames` latents on the closed way from each of `latents` (each [n]) to the next and from the last to the first.

    Every step is the same share of a segment, also the one from the last frame back to the first, which is
    `latents[0]` itself. A latent is met exactly where its turn falls on a frame: at all of them when `frames` is a
    multiple of their number.
    """
    count = len(latents)
    for frame in range(frames):
        segment, part = divmod(frame * count, frames)
        yield slerp(latents[segment], latents[(segment + 1) % count], part / frames)
