"""Seeds to latents: a seed means the same face for a model, whatever is drawn beside it and on whatever device."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor


def latent_of(seed: int, latent_dim: int) -> Tensor:
    """N(0, 1) numbers [latent_dim], float32, on the CPU; every seed (below 2**32) has a generator of its own."""
    return torch.randn(latent_dim, generator=torch.Generator().manual_seed(seed))


def latents_of(seeds: Iterable[int], latent_dim: int) -> Iterator[Tensor]:
    """The latent of each seed, in order."""
    return (latent_of(seed, latent_dim) for seed in seeds)
