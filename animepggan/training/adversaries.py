"""The two networks in one step, at its alpha and in its precision: passes and losses, by the fast way or the plain one.

`fast` and `reference` each write the passes and WGAN-GP's loss; what the other objectives add is here.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor

from animepggan.objectives import (
    DiscriminatorLoss,
    lecam_regularization,
    logistic_discriminator,
    logistic_generator,
    relativistic,
    squared_gradient,
    wgan_generator,
)
from animepggan.training import fast, reference
from animepggan.training.state import State


class Adversaries:
    """Generator and discriminator of `state`."""

    def __init__(self, state: State, alpha: float, precision: str) -> None:
        self.state = state
        self.objective = state.recipe.objective
        self.alpha = alpha
        self.precision = precision
        self.passes: Any = reference if state.reference else fast

    def generate(self, latents: Tensor) -> Tensor:
        """[n, latent_dim] -> [n, 3, r, r]."""
        pictures: Tensor = self.passes.generate(self.state.generator, latents, self.alpha, self.precision)
        return pictures

    def discriminate(self, pictures: Tensor) -> Tensor:
        """[n, 3, r, r] -> [n]."""
        scores: Tensor = self.passes.discriminate(self.state.discriminator, pictures, self.alpha, self.precision)
        return scores

    def discriminator_loss(self, real: Tensor, fake: Tensor, mix: Tensor, *, penalized: bool) -> DiscriminatorLoss:
        """The discriminator's loss; its gradient is left in the parameters.

        `penalized`: whether this step is one of those that take R1, for itself and those between.
        """
        objective, lecam = self.objective, self.state.methods.lecam
        if objective.name == "wgan-gp":
            loss: DiscriminatorLoss = self.passes.wgan_gp(
                self.state.discriminator, real, fake, mix, self.alpha, objective, self.precision, lecam
            )
            return loss
        real_scores, fake_scores = self.discriminate(real), self.discriminate(fake)
        at: tuple[Tensor, ...]  # where the squared gradient is penalized
        if objective.name == "r3":
            adversarial, at, weight = relativistic(real_scores, fake_scores), (real, fake), 1
        else:
            adversarial, at, weight = logistic_discriminator(real_scores, fake_scores), (), objective.r1_every
            if penalized:
                at = (real,)
        if lecam is not None:
            adversarial = adversarial + lecam_regularization(real_scores, fake_scores, lecam)
        twice_differentiable = partial(
            reference.discriminate, self.state.discriminator, alpha=self.alpha, precision=self.precision
        )
        adversarial.backward()  # type: ignore[no-untyped-call]
        penalty = torch.zeros((), device=real.device)
        for pictures in at if objective.r1_gamma else ():
            part = objective.r1_gamma / 2 * weight * squared_gradient(twice_differentiable, pictures)
            part.backward()  # type: ignore[no-untyped-call]
            penalty += part.detach()
        adversarial, real_scores, fake_scores = (kept.detach() for kept in (adversarial, real_scores, fake_scores))
        wasserstein = fake_scores.mean() - real_scores.mean()
        return DiscriminatorLoss(adversarial + penalty, wasserstein, penalty, torch.zeros(()), real_scores, fake_scores)

    def generator_loss(self, fake: Tensor, real: Tensor) -> Tensor:
        """The generator's loss, a scalar that `fake` is differentiable from; only r3 looks at `real`."""
        with self._discriminator_frozen():
            scores = self.discriminate(fake)
            if self.objective.name == "wgan-gp":
                return wgan_generator(scores)
            if self.objective.name == "r1-logistic":
                return logistic_generator(scores)
            return relativistic(scores, self.discriminate(real))

    @contextmanager
    def _discriminator_frozen(self) -> Iterator[None]:
        """No parameter of the discriminator requires a gradient for the time of the block."""
        parameters = [each for each in self.state.discriminator.parameters() if each.requires_grad]
        for parameter in parameters:
            parameter.requires_grad_(False)
        try:
            yield
        finally:
            for parameter in parameters:
                parameter.requires_grad_(True)
