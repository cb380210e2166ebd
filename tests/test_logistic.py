"""The logistic objectives: what their terms mean, and that a step descends their sum."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import runs
import torch
from torch import Tensor
from torch.nn import functional

from animepggan.objectives import (
    logistic_discriminator,
    logistic_generator,
    relativistic,
    squared_gradient,
)
from animepggan.streams import stream
from animepggan.training.loop import step
from animepggan.training.state import State

REAL, FAKE = torch.randn(2, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 3


def test_logistic_losses_are_cross_entropies() -> None:
    def cross_entropy(scores: Tensor, label: float) -> Tensor:
        return functional.binary_cross_entropy_with_logits(scores, torch.full_like(scores, label))

    torch.testing.assert_close(logistic_discriminator(REAL, FAKE), cross_entropy(REAL, 1) + cross_entropy(FAKE, 0))
    torch.testing.assert_close(logistic_generator(FAKE), cross_entropy(FAKE, 1))


def test_the_relativistic_loss_knows_differences_of_pairs_only() -> None:
    torch.testing.assert_close(relativistic(REAL, FAKE), relativistic(REAL + 7, FAKE + 7))
    assert relativistic(REAL, FAKE) != relativistic(REAL, FAKE.flip(0))
    assert relativistic(REAL + 50, FAKE) < 1e-9
    torch.testing.assert_close(relativistic(REAL, REAL), torch.tensor(2.0, dtype=torch.float64).log())


def test_the_squared_gradient_of_a_linear_score() -> None:
    weight = torch.randn(3, 4, 4, dtype=torch.float64)
    pictures = torch.randn(5, 3, 4, 4, dtype=torch.float64)
    squared = squared_gradient(lambda seen: (seen * weight).sum(dim=(1, 2, 3)), pictures)
    torch.testing.assert_close(squared, weight.square().sum())


def step_and_expectation(*overrides: str, steps_before: int = 0) -> tuple[Any, dict[str, Tensor], dict[str, Tensor]]:
    """A step's progress, the gradient it left in the discriminator, and autograd's of the whole loss."""
    given = runs.recipe(*overrides, "schedule.batch_size=8")
    state = State(given, 4, runs.CPU)
    pictures, moment = runs.corpus(), runs.schedule(given).at(8 * steps_before)
    twin = copy.deepcopy(state.discriminator)
    real = pictures.batch(moment.images_seen, 8, resolution=4, seed=given.seed, mirror=given.mirror)
    latents = torch.randn(
        8, given.latent_dim, generator=stream("latents/discriminator", given.seed, moment.images_seen)
    )
    with torch.no_grad():
        fake = state.generator(latents)
    objective = given.objective
    if objective.name == "r3":
        loss = relativistic(twin(real), twin(fake))
        loss = loss + objective.r1_gamma / 2 * (squared_gradient(twin, real) + squared_gradient(twin, fake))
    else:
        loss = logistic_discriminator(twin(real), twin(fake))
        if steps_before % objective.r1_every == 0:
            loss = loss + objective.r1_every * objective.r1_gamma / 2 * squared_gradient(twin, real)
    loss.backward()
    gradients = runs.gradients_of(state)
    progress = step(state, runs.schedule(given), moment, pictures)
    assert progress.loss_discriminator == pytest.approx(loss.item(), rel=1e-4)
    return progress, gradients["discriminator"], {name: value.grad for name, value in twin.named_parameters()}


@pytest.mark.parametrize(("objective", "steps_before"), [("r1-logistic", 0), ("r1-logistic", 1), ("r3", 0), ("r3", 1)])
def test_a_step_descends_the_whole_loss(objective: str, steps_before: int) -> None:
    options = (f"objective.name={objective}", "objective.r1_gamma=3", "objective.r1_every=2")
    progress, left, expected = step_and_expectation(*options, steps_before=steps_before)
    due = objective == "r3" or steps_before % 2 == 0
    assert (progress.gradient_penalty > 0) == due
    assert progress.drift == 0
    assert left.keys() == expected.keys()
    for name, gradient in expected.items():
        # Of r3 the last bias has none but rounding's: only differences of scores count.
        torch.testing.assert_close(left[name], gradient, rtol=1e-3, atol=1e-5, msg=name)


@pytest.mark.parametrize("objective", ["r1-logistic", "r3"])
def test_the_generator_descends_its_own_loss(objective: str) -> None:
    given = runs.recipe(f"objective.name={objective}", "schedule.batch_size=8", "objective.r1_gamma=0")
    state = State(given, 4, runs.CPU)
    pictures, moment = runs.corpus(), runs.schedule(given).at(0)
    generator = copy.deepcopy(state.generator)
    gradients = runs.gradients_of(state)
    step_ = step(state, runs.schedule(given), moment, pictures)
    real = pictures.batch(0, 8, resolution=4, seed=given.seed, mirror=given.mirror)
    latents = torch.randn(8, given.latent_dim, generator=stream("latents/generator", given.seed, 0))
    fake_scores = state.discriminator(generator(latents))
    loss = (
        relativistic(fake_scores, state.discriminator(real)) if objective == "r3" else logistic_generator(fake_scores)
    )
    assert step_.loss_generator == pytest.approx(loss.item(), rel=1e-4)
    loss.backward()
    for name, twin in generator.named_parameters():
        torch.testing.assert_close(gradients["generator"][name], twin.grad, rtol=1e-3, atol=1e-6, msg=name)
