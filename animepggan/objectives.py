"""Adversarial losses and penalties: tensors and callables in, tensors out.

- wgan-gp: Gulrajani et al. 2017 (arXiv:1704.00028), with the drift term of Karras et al. 2018, section A.1;
- r1-logistic: the non-saturating loss of Goodfellow et al. 2014 (arXiv:1406.2661) with the R1 penalty of Mescheder et
  al. 2018 (arXiv:1801.04406), taken every so many steps (Karras et al. 2020, arXiv:1912.04958, appendix B);
- r3: the relativistic pairing loss with R1 and R2 of Huang et al. 2024 (arXiv:2501.05441).

Beside any of them may stand LeCam, the regularization of scores by Tseng et al. 2021 (arXiv:2104.03310).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional


class DiscriminatorLoss(NamedTuple):
    """What the discriminator minimises, and its parts, scalars; and the scores that it comes from, [n]."""

    total: Tensor
    wasserstein: Tensor  # mean score of the fakes minus that of the reals: WGAN's negated estimate of the distance
    gradient_penalty: Tensor  # weighted
    drift: Tensor  # weighted; of WGAN-GP only
    real_scores: Tensor
    fake_scores: Tensor


class Lecam(NamedTuple):
    """What LeCam needs to know."""

    weight: float  # lambda
    real: float  # alpha_R, the average score of real pictures so far
    fake: float  # alpha_F, that of drawn ones


def gradient_penalty(
    discriminator: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor, mix: Tensor, target: float
) -> Tensor:
    """Mean of (|gradient| - target)^2 / target^2 at a random point between each real and fake pair; a scalar.

    `real`, `fake`: [n, 3, r, r]. `mix`: [n], uniform in [0, 1], the weight of the fake. The gradient is that of a
    picture's score with respect to the picture, its norm taken over all its pixels and channels (Gulrajani et al. 2017,
    equation 3). `target` is gamma: 1, or 750 in the paper's CIFAR-10 runs.
    """
    between = torch.lerp(real, fake, mix[:, None, None, None]).detach().requires_grad_(True)
    # The sum's gradient is every picture's own only where scores do not share statistics; the minibatch statistic
    # does share them, and the authors' code takes the gradient of the sum all the same.
    (gradient,) = torch.autograd.grad(discriminator(between).sum(), between, create_graph=True)
    norms = torch.linalg.vector_norm(gradient.flatten(1), dim=1)
    penalty: Tensor = ((norms - target) / target).square().mean()
    return penalty


def wgan_gp_discriminator(
    real_scores: Tensor,
    fake_scores: Tensor,
    penalty: Tensor,  # of `gradient_penalty`
    *,
    weight: float,  # lambda: 10 in both papers
    drift: float,  # epsilon_drift: 0.001, keeps the real scores near 0
    lecam: Lecam | None = None,
) -> DiscriminatorLoss:
    """The discriminator's loss; scores [n]."""
    wasserstein = fake_scores.mean() - real_scores.mean()
    weighted_penalty = weight * penalty
    weighted_drift = drift * real_scores.square().mean()
    total = wasserstein + weighted_penalty + weighted_drift
    if lecam is not None:
        total = total + lecam_regularization(real_scores, fake_scores, lecam)
    return DiscriminatorLoss(total, wasserstein, weighted_penalty, weighted_drift, real_scores, fake_scores)


def wgan_generator(fake_scores: Tensor) -> Tensor:
    """The generator's loss, minus the mean score of its pictures; a scalar."""
    return -fake_scores.mean()


def logistic_discriminator(real_scores: Tensor, fake_scores: Tensor) -> Tensor:
    """The mean of -log sigmoid(real) and -log(1 - sigmoid(fake)), added; scores [n], a scalar."""
    return functional.softplus(-real_scores).mean() + functional.softplus(fake_scores).mean()


def logistic_generator(fake_scores: Tensor) -> Tensor:
    """The non-saturating loss, the mean of -log sigmoid(fake); scores [n], a scalar."""
    return functional.softplus(-fake_scores).mean()


def relativistic(higher: Tensor, lower: Tensor) -> Tensor:
    """The mean of -log sigmoid(higher - lower) over pairs; scores [n], a scalar.

    The discriminator wants real scores higher than those of the fakes they are paired with, the generator the reverse
    (Huang et al. 2024, section 2).
    """
    return functional.softplus(lower - higher).mean()


def lecam_regularization(real_scores: Tensor, fake_scores: Tensor, options: Lecam) -> Tensor:
    """Tseng et al.'s R_LC, weighted; scores [n], a scalar.

    Real scores are pulled to the average of the drawn pictures', and the other way round: the discriminator pays for
    each step that it takes ahead of the generator.
    """
    apart = (real_scores - options.fake).square().mean() + (fake_scores - options.real).square().mean()
    return options.weight * apart


def squared_gradient(discriminator: Callable[[Tensor], Tensor], pictures: Tensor) -> Tensor:
    """Mean over the pictures [n, 3, r, r] of the squared norm of the score's gradient; a scalar.

    At real pictures it is R1, at drawn ones R2 (Mescheder et al. 2018, equation 9), there with the weight gamma / 2.
    """
    pictures = pictures.detach().requires_grad_(True)
    (gradient,) = torch.autograd.grad(discriminator(pictures).sum(), pictures, create_graph=True)
    return gradient.square().sum(dim=(1, 2, 3)).mean()
