"""The one training loop, for pretraining and fine-tuning alike: a generator of `Progress`.

The loop changes the state and says what it did; logging, previews, checkpoints and bars are callers of it. Each step is
a function of (recipe, seed, images_seen): see `schedule` for what holds and `streams` for what is drawn. What a step
computes is written twice, plainly in `reference` and quickly in `fast`; the state says which one it is trained by.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from animepggan.augment import augment
from animepggan.errors import DivergedError, RecipeError
from animepggan.networks import Discriminator
from animepggan.networks.layers import downsample, upsample
from animepggan.objectives import (
    DiscriminatorLoss,
    Lecam,
    lecam_regularization,
    logistic_discriminator,
    logistic_generator,
    relativistic,
    squared_gradient,
    wgan_generator,
)
from animepggan.schedule import Moment, Schedule, Stage
from animepggan.streams import stream
from animepggan.training import fast, reference
from animepggan.training.regularizers import chosen, mine, pull, replaced
from animepggan.training.state import State

STEER_EVERY = 4
"""Steps from one look at pictures held out to the next (Karras et al. 2020, arXiv:2006.06676, section 3.1)."""


class Pictures(Protocol):
    """What the loop needs of a corpus."""

    def batch(self, images_seen: int, batch_size: int, *, resolution: int, seed: int, mirror: bool) -> Tensor:
        """The step's pictures: float32 [batch_size, 3, resolution, resolution] in [-1, 1]."""


@dataclass(frozen=True)
class Progress:
    """One step done."""

    moment: Moment  # what held for the step
    images_seen: int  # after the step
    loss_discriminator: float
    loss_generator: float | None  # None where n_critic skipped the generator
    wasserstein: float  # mean score of reals minus fakes
    gradient_penalty: float  # weighted
    drift: float  # weighted
    stage_ended: Stage | None  # the stage whose last step this was
    methods: Mapping[str, float] = field(default_factory=dict)  # of those that are on: augment_strength, r_v, apa_share


def cross_fade(real: Tensor, alpha: float) -> Tensor:
    """Real pictures as the fading generator draws: detail of the new resolution weighted by alpha (section 2)."""
    if alpha >= 1.0:
        return real
    return torch.lerp(upsample(downsample(real)), real, alpha)


def run(
    state: State,
    schedule: Schedule,
    corpus: Pictures,
    *,
    precision: str = "fp32",
    validation: Pictures | None = None,  # held out of `corpus`; augment adaptive and apa look at them
    base_corpus: Pictures | None = None,  # shown among the others while a stage fades in
) -> Iterator[Progress]:
    """Train from `state.images_seen` to the end of the schedule, growing the networks at each new stage.

    `precision` "bf16" runs the convolutions in bfloat16 under autocast, weights and moments staying float32.
    RecipeError where the recipe needs pictures held out and there are none.
    """
    if state.controllers and validation is None:
        method = "apa" if state.recipe.apa else "augment adaptive"
        raise RecipeError(
            f"{method}: needs pictures that are held out of training, and there are none\n"
            "set measures.hold_out above 0, or take augment diffaugment, which needs none"
        )
    while state.images_seen < schedule.total_images:
        moment = schedule.at(state.images_seen)
        if moment.resolution != state.resolution:
            state.grow(moment.resolution)
        yield step(state, schedule, moment, corpus, precision=precision, validation=validation, base_corpus=base_corpus)


def step(
    state: State,
    schedule: Schedule,
    moment: Moment,
    corpus: Pictures,
    *,
    precision: str = "fp32",
    validation: Pictures | None = None,
    base_corpus: Pictures | None = None,
) -> Progress:
    """One discriminator step and, every `n_critic`-th time, one generator step; see `run`."""
    recipe = state.recipe
    images_seen, batch_size, alpha = moment.images_seen, moment.batch_size, moment.alpha
    written: Any = reference if state.reference else fast
    steps_of_phase = (images_seen - moment.phase.start) // batch_size + 1
    trains_generator = steps_of_phase % recipe.schedule.n_critic == 0
    shared = recipe.objective.shared_latents and trains_generator
    for optimizer in state.optimizers.values():
        optimizer.param_groups[0]["lr"] = moment.learning_rate

    if state.generator.miner is not None:
        known = state.base_resolution or state.resolution
        mine(state.generator, known, alone=images_seen < recipe.miner * 1000)
    strength = state.strength

    def shown(source: Pictures) -> Tensor:
        found = source.batch(
            images_seen, batch_size, resolution=moment.resolution, seed=recipe.seed, mirror=recipe.mirror
        )
        return cross_fade(found.to(state.device, memory_format=state.memory_format), alpha)

    def augmented(pictures: Tensor, purpose: str) -> Tensor:
        return augment(pictures, strength, purpose, recipe.seed, images_seen)

    def score(pictures: Tensor) -> Tensor:
        scores: Tensor = written.discriminate(state.discriminator, pictures, alpha, precision)
        return scores

    real = shown(corpus)
    if base_corpus is not None and moment.phase.name == "fade":
        general = chosen("extend", recipe.extend_share, batch_size, recipe.seed, images_seen)
        real = replaced(real, general, shown(base_corpus)[general])
    share = state.controllers["apa"].strength if recipe.apa else 0.0
    passed = chosen("apa", share, batch_size, recipe.seed, images_seen)
    if passed.any():
        with torch.no_grad():
            latents = _latents(state, "latents/apa", moment)[passed]
            real = replaced(real, passed, written.generate(state.generator, latents, alpha, precision))
    real = augmented(real, "real")
    with torch.set_grad_enabled(shared):
        fake = written.generate(state.generator, _latents(state, "latents/discriminator", moment), alpha, precision)
    mix = torch.rand(batch_size, generator=stream("mix", recipe.seed, images_seen)).to(state.device)
    judged, lecam = augmented(fake.detach(), "fake"), state.scores.lecam(recipe.lecam)
    if recipe.objective.name == "wgan-gp":
        loss = written.wgan_gp(state.discriminator, real, judged, mix, alpha, recipe.objective, precision, lecam)
    else:
        due = (steps_of_phase - 1) % recipe.objective.r1_every == 0
        loss = _logistic(state, written.discriminate, real, judged, alpha, precision, lecam, penalized=due)
    held_out = None
    if validation is not None and state.controllers and steps_of_phase % STEER_EVERY == 0 and not passed.all():
        with torch.no_grad():  # by the weights that gave the other scores
            held_out = score(augmented(shown(validation), "validation")).mean().item()
    _descend(state, "discriminator", loss.total)
    if held_out is not None:
        train, drawn = loss.real_scores[~passed.to(state.device)].mean().item(), loss.fake_scores.mean().item()
        state.steer(train, held_out, drawn, images=STEER_EVERY * batch_size)
    if recipe.lecam:
        state.scores = state.scores.update(loss.real_scores.mean().item(), loss.fake_scores.mean().item())

    generator_loss = None
    if trains_generator:
        if not shared:
            fake = written.generate(state.generator, _latents(state, "latents/generator", moment), alpha, precision)
        with _frozen(state.discriminator):
            scores = score(augmented(fake, "generator"))
            if recipe.objective.name == "wgan-gp":
                generator_loss = wgan_generator(scores)
            elif recipe.objective.name == "r1-logistic":
                generator_loss = logistic_generator(scores)
            else:
                generator_loss = relativistic(scores, score(real))
            generator_loss.backward()  # type: ignore[no-untyped-call]
        del fake
        _descend(state, "generator", generator_loss)
        state.average(batch_size * recipe.schedule.n_critic, images_seen + batch_size)

    state.images_seen += batch_size
    state.alpha = moment.phase.alpha_at(state.images_seen)
    return Progress(
        moment=moment,
        images_seen=state.images_seen,
        loss_discriminator=loss.total.item(),
        loss_generator=None if generator_loss is None else generator_loss.item(),
        wasserstein=-loss.wasserstein.item(),
        gradient_penalty=loss.gradient_penalty.item(),
        drift=loss.drift.item(),
        stage_ended=schedule.stage_ending(images_seen, state.images_seen),
        methods=_methods(state),
    )


def _methods(state: State) -> dict[str, float]:
    """What the methods that are on stand at."""
    told = {} if state.recipe.augment == "none" else {"augment_strength": state.strength}
    for controller in state.controllers.values():
        told["r_v"] = controller.overfitting
    if state.recipe.apa:
        told["apa_share"] = state.controllers["apa"].strength
    return told


def _logistic(
    state: State,
    discriminate: Callable[[Discriminator, Tensor, float, str], Tensor],
    real: Tensor,
    fake: Tensor,
    alpha: float,
    precision: str,
    lecam: Lecam | None,
    *,
    penalized: bool,  # whether this step is one of those that R1 is taken at, for itself and those between
) -> DiscriminatorLoss:
    """The discriminator's loss of r1-logistic and r3, its gradient left in the parameters."""
    objective, discriminator = state.recipe.objective, state.discriminator
    real_scores, fake_scores = (discriminate(discriminator, pictures, alpha, precision) for pictures in (real, fake))
    at: tuple[Tensor, ...]  # where the squared gradient is penalized
    if objective.name == "r3":
        adversarial, at, weight = relativistic(real_scores, fake_scores), (real, fake), 1
    else:
        adversarial, at, weight = logistic_discriminator(real_scores, fake_scores), (), objective.r1_every
        if penalized:
            at = (real,)
    if lecam is not None:
        adversarial = adversarial + lecam_regularization(real_scores, fake_scores, lecam)
    adversarial.backward()  # type: ignore[no-untyped-call]
    penalty = torch.zeros(())
    if objective.r1_gamma:
        for pictures in at:
            with torch.autocast(state.device.type, torch.bfloat16, enabled=precision == "bf16"):
                squared = squared_gradient(lambda seen: discriminator(seen, alpha).to(seen.dtype), pictures)
            part = objective.r1_gamma / 2 * weight * squared
            part.backward()  # type: ignore[no-untyped-call]
            penalty = penalty + part.detach().cpu()
    adversarial, real_scores, fake_scores = (kept.detach() for kept in (adversarial, real_scores, fake_scores))
    return DiscriminatorLoss(
        adversarial + penalty.to(adversarial),
        fake_scores.mean() - real_scores.mean(),
        penalty,
        torch.zeros(()),
        real_scores,
        fake_scores,
    )


def _latents(state: State, purpose: str, moment: Moment) -> Tensor:
    """The step's latents, [batch_size, latent_dim]; drawn on the CPU so that every device gets the same."""
    generator = stream(purpose, state.recipe.seed, moment.images_seen)
    return torch.randn(moment.batch_size, state.recipe.latent_dim, generator=generator).to(state.device)


@contextmanager
def _frozen(network: nn.Module) -> Iterator[None]:
    """No parameter of `network` requires a gradient for the time of the block."""
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    for parameter in parameters:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)


def _descend(state: State, role: str, loss: Tensor) -> None:
    """One optimiser step along the gradients; DivergedError before a number that is not finite reaches a weight."""
    if not math.isfinite(loss.item()):
        raise DivergedError(_diverged(state, f"the {role}'s loss is {loss.item()}"))
    network: nn.Module = state.networks[role]
    if state.anchors:
        pull(network, state.anchors[role], state.recipe.l2sp)
    optimizer = state.optimizers[role]
    gradients = [each.grad for each in optimizer.param_groups[0]["params"] if each.grad is not None]
    # The largest element says the same, and takes nine times as long on a CPU. This may also overflow.
    if not math.isfinite(nn.utils.get_total_norm(gradients).item()):
        for name, value in network.named_parameters():
            if value.grad is not None and not value.grad.isfinite().all():
                raise DivergedError(_diverged(state, f"the gradient of {role}.{name} is not finite"))
    optimizer.step()
    optimizer.zero_grad()  # at once: the other network's step has no use for these gradients' memory


def _diverged(state: State, what: str) -> str:
    return (
        f"training diverged at {state.images_seen} images, resolution {state.resolution}: {what}\n"
        "no weight has seen it; go on from the last checkpoint in --precision fp32 if this was bf16, or with\n"
        "--set schedule.learning_rate=LOWER --allow schedule.learning_rate"
    )
