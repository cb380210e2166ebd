"""The losses mean what the papers say."""

from __future__ import annotations

import pytest
import torch
from networks import tiny
from torch import Tensor

from animepggan.networks import build_discriminator
from animepggan.objectives import gradient_penalty, wgan_generator, wgan_gp_discriminator


def linear_score(weight: Tensor):
    return lambda pictures: (pictures * weight).sum(dim=(1, 2, 3))


def test_penalty_of_a_linear_score_is_its_distance_from_the_target() -> None:
    weight = torch.randn(3, 4, 4, dtype=torch.float64)
    real, fake = torch.randn(2, 5, 3, 4, 4, dtype=torch.float64)
    mix = torch.rand(5, dtype=torch.float64)
    norm = weight.norm()
    torch.testing.assert_close(gradient_penalty(linear_score(weight), real, fake, mix, 1.0), (norm - 1) ** 2)
    torch.testing.assert_close(gradient_penalty(linear_score(weight), real, fake, mix, 4.0), (norm / 4 - 1) ** 2)
    assert gradient_penalty(linear_score(weight / norm), real, fake, mix, 1.0).item() == pytest.approx(0)


def test_penalty_is_taken_between_each_pair() -> None:
    seen = []

    def score(pictures: Tensor) -> Tensor:
        seen.append(pictures.detach())
        return pictures.square().sum(dim=(1, 2, 3))

    real, fake = torch.randn(2, 3, 3, 4, 4)
    gradient_penalty(score, real, fake, torch.tensor([0.0, 1.0, 0.25]), 1.0)
    torch.testing.assert_close(seen[0], torch.stack([real[0], fake[1], 0.75 * real[2] + 0.25 * fake[2]]))


@pytest.mark.parametrize("statistic", ["stddev", "variance"])
@pytest.mark.parametrize("fused_down", [True, False])
def test_gradient_of_the_penalty_matches_finite_differences(statistic: str, fused_down: bool) -> None:
    torch.manual_seed(3)
    discriminator = build_discriminator(tiny(8, statistic=statistic, fused_down=fused_down)).double()
    real, fake = torch.randn(2, 4, 3, 8, 8, dtype=torch.float64)
    mix = torch.rand(4, dtype=torch.float64)

    def penalty() -> Tensor:
        return gradient_penalty(lambda pictures: discriminator(pictures, 0.6), real, fake, mix, 1.0)

    for name, parameter in discriminator.named_parameters():
        if not name.endswith("weight"):
            continue
        (gradient,) = torch.autograd.grad(penalty(), parameter, allow_unused=True)
        assert gradient is not None, name
        direction = torch.randn_like(parameter)
        step = 1e-6
        with torch.no_grad():
            parameter.add_(direction, alpha=step)
        above = penalty().item()
        with torch.no_grad():
            parameter.add_(direction, alpha=-2 * step)
        below = penalty().item()
        with torch.no_grad():
            parameter.add_(direction, alpha=step)
        expected = (gradient * direction).sum().item()
        assert (above - below) / (2 * step) == pytest.approx(expected, rel=1e-4, abs=1e-8), name


def test_discriminator_loss_adds_its_parts() -> None:
    weight = torch.randn(3, 4, 4)
    score = linear_score(weight)
    real, fake = torch.randn(2, 5, 3, 4, 4)
    penalty = gradient_penalty(score, real, fake, torch.rand(5), target=1.0)
    loss = wgan_gp_discriminator(score(real), score(fake), penalty, weight=10.0, drift=0.001)
    torch.testing.assert_close(loss.wasserstein, score(fake).mean() - score(real).mean())
    torch.testing.assert_close(loss.gradient_penalty, 10 * (weight.norm() - 1) ** 2)
    torch.testing.assert_close(loss.drift, 0.001 * score(real).square().mean())
    torch.testing.assert_close(loss.total, loss.wasserstein + loss.gradient_penalty + loss.drift)


def test_generator_wants_high_scores() -> None:
    assert wgan_generator(torch.tensor([1.0, 3.0])).item() == -2.0
