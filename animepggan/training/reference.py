"""One training step as the papers write it: autograd, nothing fused, one operation after another.

It is the definition that `fast` is held to, and what `--reference` trains with. Both work on the same networks, whose
parameters are applied here layer by layer: a doubling before a convolution, a mean after it, each on its own.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from animepggan.networks import Discriminator, Generator
from animepggan.networks.layers import activate, downsample, pixel_norm, upsample
from animepggan.objectives import (
    DiscriminatorLoss,
    Lecam,
    gradient_penalty,
    lecam_regularization,
    wgan_gp_discriminator,
)
from animepggan.recipe.model import ObjectiveOptions


def convolve(layer: Any, features: Tensor) -> Tensor:
    """[n, in, h, w] -> [n, out, h', w']: a 3x3 layer pads by one pixel, a 1x1 or 4x4 one not at all."""
    weight: Tensor = layer.scaled_weight()
    return functional.conv2d(features, weight, layer.bias, padding=1 if weight.shape[-1] == 3 else 0)


def generate(generator: Generator, latents: Tensor, alpha: float, precision: str) -> Tensor:
    """[n, latent_dim] -> float32 [n, 3, r, r] (Karras et al. 2018, table 2 and figure 2)."""

    def finish(features: Tensor, normalized: bool = True) -> Tensor:
        if not normalized:
            return activate(features)
        return pixel_norm(activate(features)) if block.norm == "after" else activate(pixel_norm(features))

    blocks: Any = generator.blocks
    if generator.miner is not None:
        latents = generator.miner(latents)
    with _autocast(latents, precision):
        if generator.norm_latent:
            latents = pixel_norm(latents)
        for side, block in blocks.items():
            if side == "4":
                features = finish(block.conv0(latents), block.norm0)
            else:
                previous = features
                features = finish(convolve(block.conv0, upsample(features)))
            features = finish(convolve(block.conv1, features))
        pictures = convolve(generator.to_rgb[str(generator.resolution)], features)
        if alpha < 1.0 and generator.resolution > 4:
            old = upsample(convolve(generator.to_rgb[str(generator.resolution // 2)], previous))
            pictures = old + alpha * (pictures - old)
    return _at_least_float32(pictures)


def discriminate(
    discriminator: Discriminator,
    pictures: Tensor,
    alpha: float,
    precision: str,
    *,
    batches: int = 1,  # that `pictures` are, one after another: each has minibatch statistics of its own
) -> Tensor:
    """[n, 3, r, r] -> float32 [n] (Karras et al. 2018, table 2 and figure 2); differentiable twice."""

    def halve(block: Any, features: Tensor) -> Tensor:
        features = convolve(block.conv1, activate(convolve(block.conv0, features)))
        return activate(downsample(features)) if block.fused_down else downsample(activate(features))

    blocks: Any = discriminator.blocks
    with _autocast(pictures, precision):
        side = discriminator.resolution
        features = activate(convolve(discriminator.from_rgb[str(side)], pictures))
        if alpha < 1.0 and side > 4:
            new = halve(blocks[str(side)], features)
            side //= 2
            old = activate(convolve(discriminator.from_rgb[str(side)], downsample(pictures)))
            features = old + alpha * (new - old)
        while side > 4:
            features = halve(blocks[str(side)], features)
            side //= 2
        last = blocks["4"]
        features = torch.cat([last.minibatch(batch) for batch in features.chunk(batches)])
        features = activate(convolve(last.conv0, features))
        features = activate(convolve(last.conv1, features))
        scores = last.linear(features.flatten(1)).squeeze(1)
    return _at_least_float32(scores)


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
    """The discriminator's loss, its gradient left in the parameters; `fake` [n, 3, r, r] has no graph."""
    with _autocast(real, precision):  # around all of it: the weights are cast once
        both = torch.cat([real, fake])
        real_scores, fake_scores = discriminate(discriminator, both, alpha, precision, batches=2).chunk(2)
        penalty = gradient_penalty(
            lambda pictures: discriminate(discriminator, pictures, alpha, precision),
            real,
            fake,
            mix,
            objective.penalty_target,
        )
        loss = wgan_gp_discriminator(
            real_scores, fake_scores, penalty, weight=objective.gradient_penalty, drift=objective.drift
        )
        if lecam is not None:
            loss = loss._replace(total=loss.total + lecam_regularization(real_scores, fake_scores, lecam))
    loss.total.backward()  # type: ignore[no-untyped-call]
    return DiscriminatorLoss(*(part.detach() for part in loss))


def _autocast(tensor: Tensor, precision: str) -> torch.autocast:
    return torch.autocast(tensor.device.type, torch.bfloat16, enabled=precision == "bf16")


def _at_least_float32(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.dtype == torch.bfloat16 else tensor
