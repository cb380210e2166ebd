"""The functions of `reference` with their derivatives written out: the same numbers in another order and fewer passes.

The penalty. Let S be the sum of the scores of `between` (the points between real and fake pictures), g = dS/dbetween
and P = lambda * mean((|g| - t)^2) / t^2. P depends on a weight w through g alone, so with v = dP/dg held fixed

    dP/dw = d/dw <g, v> = d/dw (dS along v),

the weight gradient of the tangent of S in the direction v: one pass forward that carries the tangent. Autograd gets the
same by a backward pass through its backward pass; written out, three things become visible.

1. Between its leaky ReLUs the discriminator is linear. Write delta for dS/d(a layer's output), a result of the pass
   that gave g. Then the derivative of the tangent by a layer's weight is that of an ordinary gradient, with the tangent
   that enters the layer in the place of its input and delta in the place of dLoss/d(output).
2. Biases and the signs in leaky ReLUs add nothing to the tangent's derivative. Only the minibatch statistic is curved:
   its second derivative, closed in `last`, sends a gradient into the features of `between` that enter it. From there
   down, that gradient is propagated together with those of real and fake.
3. The statistic's channel is constant over a group's pixels: its part of the next convolution is one number a group
   times a pattern of 4x4 pixels, and the features keep their number of channels.

So a discriminator step is: one pass forward on [between, real, fake]; one backward on between, for g; one tangent
forward; one backward on all, in which each layer takes its weight gradient from [between, real, fake] and from the
tangent. The rows stand in this order in every buffer, so that the pictures a pass works on are a slice: [:n] for S,
[n:] where the curvature has no part (the statistic and what follows), all below.

A leaky ReLU's derivative is read off its output's sign, so a layer of either network keeps one tensor, which is also
what the next one takes in. Fresh memory costs a CPU more than arithmetic: what can be done in place is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from animepggan.networks import Discriminator, Generator
from animepggan.networks.layers import pixel_norm
from animepggan.objectives import DiscriminatorLoss, Lecam, lecam_regularization
from animepggan.recipe.keys import ObjectiveOptions
from animepggan.training.fast.discriminator import DiscriminatorPasses
from animepggan.training.fast.generator import GeneratorPass


def generate(generator: Generator, latents: Tensor, alpha: float, precision: str) -> Tensor:
    """[n, latent_dim] -> float32 [n, 3, r, r]; differentiable once, by latents and parameters that require it."""
    keep = torch.is_grad_enabled()
    if generator.miner is not None:  # autograd's, as is the norm's derivative: they are small
        latents = generator.miner(latents)
    if generator.norm_latent:
        latents = pixel_norm(latents)
    dtype = _dtype(latents, precision)
    pictures: Tensor = _Generate.apply(latents, generator, alpha, dtype, keep, *generator.parameters())
    return pictures


def discriminate(discriminator: Discriminator, pictures: Tensor, alpha: float, precision: str) -> Tensor:
    """[n, 3, r, r] -> float32 [n]; differentiable once, by the pictures and by the parameters that require it."""
    dtype = _dtype(pictures, precision)
    scores: Tensor = _Discriminate.apply(pictures, discriminator, alpha, dtype, *discriminator.parameters())
    return scores


@torch.no_grad()
def wgan_gp(
    discriminator: Discriminator,
    real: Tensor,
    fake: Tensor,
    mix: Tensor,
    alpha: float,
    objective: ObjectiveOptions,
    precision: str,
    lecam: Lecam | None = None,
) -> DiscriminatorLoss:
    """The discriminator's loss (see `objectives`); its gradient is left in the parameters."""
    n = len(real)
    dtype = _dtype(real, precision)
    between = torch.lerp(real, fake, mix[:, None, None, None])
    pictures = torch.cat([between, real, fake]).to(dtype, memory_format=torch.channels_last)
    del between

    passes = DiscriminatorPasses(discriminator, alpha, dtype, batch=n)
    scores = passes.forward(pictures)
    real_scores, fake_scores = scores[n : 2 * n], scores[2 * n :]

    gradient = passes.input_gradient(torch.ones_like(scores[:n]), keep=True).to(real.dtype)
    norms = torch.linalg.vector_norm(gradient.flatten(1), dim=1)
    off = (norms - objective.penalty_target) / objective.penalty_target
    penalty = objective.gradient_penalty * off.square().mean()
    slope = 2 * objective.gradient_penalty / (n * objective.penalty_target) * off
    direction = torch.where(norms > 0, slope / norms, 0.0)  # of a norm of 0, the subgradient 0, as autograd's
    passes.tangent(gradient.mul_(direction[:, None, None, None]).to(dtype))
    del gradient

    seeds = scores[n:].clone()  # the loss's gradient by the scores
    seeds[:n].mul_(2 * objective.drift / n).sub_(1 / n)
    seeds[n:].fill_(1 / n)
    if lecam is not None:
        seeds[:n].add_(real_scores - lecam.fake, alpha=2 * lecam.weight / n)
        seeds[n:].add_(fake_scores - lecam.real, alpha=2 * lecam.weight / n)
    gradients, _ = passes.backward(seeds)
    for parameter, value in gradients.items():
        parameter.grad = value
    wasserstein = fake_scores.mean() - real_scores.mean()
    drift = objective.drift * real_scores.square().mean()
    total = wasserstein + penalty + drift
    if lecam is not None:
        total = total + lecam_regularization(real_scores, fake_scores, lecam)
    return DiscriminatorLoss(total, wasserstein, penalty, drift, real_scores, fake_scores)


def _dtype(tensor: Tensor, precision: str) -> torch.dtype:
    """What the convolutions compute in."""
    return torch.bfloat16 if precision == "bf16" else tensor.dtype


class _Generate(torch.autograd.Function):
    """Pictures of latents, with `GeneratorPass` as their derivative."""

    @staticmethod
    def forward(
        ctx: Any,
        latents: Tensor,
        generator: Generator,
        alpha: float,
        dtype: torch.dtype,
        keep: bool,
        *parameters: Tensor,
    ) -> Tensor:
        drawing = GeneratorPass(generator, alpha, dtype, keep=keep)
        ctx.drawing, ctx.parameters = drawing if keep else None, parameters
        return drawing.forward(latents).to(latents.dtype)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, delta: Tensor) -> tuple[Tensor | None, ...]:
        drawing: GeneratorPass = ctx.drawing
        del ctx.drawing  # with the tensors that it keeps, as they are used up
        gradients, by_latents = drawing.backward(delta, to_latents=ctx.needs_input_grad[0])
        return by_latents, None, None, None, None, *[gradients.get(parameter) for parameter in ctx.parameters]


class _Discriminate(torch.autograd.Function):
    """Scores of pictures, with `DiscriminatorPasses` as their derivative."""

    @staticmethod
    def forward(
        ctx: Any, pictures: Tensor, discriminator: Discriminator, alpha: float, dtype: torch.dtype, *parameters: Tensor
    ) -> Tensor:
        ctx.passes = DiscriminatorPasses(discriminator, alpha, dtype, batch=len(pictures))
        ctx.parameters = parameters
        return ctx.passes.forward(pictures.to(dtype, memory_format=torch.channels_last)).to(pictures.dtype)  # type: ignore[no-any-return]

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, seeds: Tensor) -> tuple[Tensor | None, ...]:
        passes: DiscriminatorPasses = ctx.passes
        del ctx.passes
        needed: Sequence[bool] = ctx.needs_input_grad
        if not any(needed[4:]):
            return passes.input_gradient(seeds, keep=False).to(seeds.dtype), *[None] * (len(needed) - 1)
        gradients, by_pictures = passes.backward(seeds, to_pictures=needed[0])
        if by_pictures is not None:
            by_pictures = by_pictures.to(seeds.dtype)
        return by_pictures, None, None, None, *[gradients.get(parameter) for parameter in ctx.parameters]
