"""One training step as the papers write it: autograd over the modules of `networks`, which `--reference` trains by.

`fast` has the same three functions, and is held to the numbers of these.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from animepggan.networks import Discriminator, Generator
from animepggan.objectives import DiscriminatorLoss, Lecam, gradient_penalty, wgan_gp_discriminator
from animepggan.recipe.keys import ObjectiveOptions


def generate(generator: Generator, latents: Tensor, alpha: float, precision: str) -> Tensor:
    """[n, latent_dim] -> float32 [n, 3, r, r]."""
    with _autocast(latents, precision):
        pictures: Tensor = generator(latents, alpha)
    return pictures.to(latents.dtype)


def discriminate(discriminator: Discriminator, pictures: Tensor, alpha: float, precision: str) -> Tensor:
    """[n, 3, r, r] -> float32 [n]; differentiable twice."""
    with _autocast(pictures, precision):
        scores: Tensor = discriminator(pictures, alpha)
    return scores.to(pictures.dtype)


def wgan_gp(
    discriminator: Discriminator,
    real: Tensor,
    fake: Tensor,  # [n, 3, r, r], without a graph
    mix: Tensor,
    alpha: float,
    objective: ObjectiveOptions,
    precision: str,
    lecam: Lecam | None = None,
) -> DiscriminatorLoss:
    """The discriminator's loss (see `objectives`); its gradient is left in the parameters."""

    def score(pictures: Tensor) -> Tensor:
        return discriminate(discriminator, pictures, alpha, precision)

    with _autocast(real, precision):  # around all of it, so that the weights are cast once
        real_scores, fake_scores = score(real), score(fake)
        penalty = gradient_penalty(score, real, fake, mix, objective.penalty_target)
        loss = wgan_gp_discriminator(
            real_scores, fake_scores, penalty, weight=objective.gradient_penalty, drift=objective.drift, lecam=lecam
        )
    loss.total.backward()  # type: ignore[no-untyped-call]
    return DiscriminatorLoss(*(part.detach() for part in loss))


def _autocast(tensor: Tensor, precision: str) -> AbstractContextManager[object]:
    return torch.autocast(tensor.device.type, torch.bfloat16) if precision == "bf16" else nullcontext()
