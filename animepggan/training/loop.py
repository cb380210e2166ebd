"""The one training loop, for pretraining and fine-tuning alike: a generator of `Progress`.

The loop changes the state and says what it did; logging, previews, checkpoints and bars are callers of it. Each step is
a function of (recipe, seed, images_seen): see `schedule` for what holds and `streams` for what is drawn.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from animepggan.errors import DivergedError
from animepggan.networks.layers import downsample, upsample
from animepggan.objectives import wgan_generator, wgan_gp_discriminator
from animepggan.schedule import Moment, Schedule, Stage
from animepggan.streams import stream
from animepggan.training.state import State


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


def cross_fade(real: Tensor, alpha: float) -> Tensor:
    """Real pictures as the fading generator draws: detail of the new resolution weighted by alpha (section 2)."""
    if alpha >= 1.0:
        return real
    return torch.lerp(upsample(downsample(real)), real, alpha)


def run(state: State, schedule: Schedule, corpus: Pictures, *, precision: str = "fp32") -> Iterator[Progress]:
    """Train from `state.images_seen` to the end of the schedule, growing the networks at each new stage.

    `precision` "bf16" runs the convolutions in bfloat16 under autocast, weights and moments staying float32.
    """
    while state.images_seen < schedule.total_images:
        moment = schedule.at(state.images_seen)
        if moment.resolution != state.resolution:
            state.grow(moment.resolution)
        yield step(state, schedule, moment, corpus, precision=precision)


def step(state: State, schedule: Schedule, moment: Moment, corpus: Pictures, *, precision: str = "fp32") -> Progress:
    """One discriminator step and, every `n_critic`-th time, one generator step."""
    recipe = state.recipe
    images_seen, batch_size, alpha = moment.images_seen, moment.batch_size, moment.alpha
    autocast = torch.autocast(state.device.type, torch.bfloat16, enabled=precision == "bf16")
    for optimizer in state.optimizers.values():
        optimizer.param_groups[0]["lr"] = moment.learning_rate

    real = corpus.batch(images_seen, batch_size, resolution=moment.resolution, seed=recipe.seed, mirror=recipe.mirror)
    real = cross_fade(real.to(state.device, memory_format=torch.channels_last), alpha)
    mix = torch.rand(batch_size, generator=stream("mix", recipe.seed, images_seen)).to(state.device)
    with autocast:
        with torch.no_grad():
            fake = state.generator(_latents(state, "latents/discriminator", moment), alpha).float()
        loss = wgan_gp_discriminator(
            lambda pictures: state.discriminator(pictures, alpha).float(),
            real,
            fake,
            mix,
            penalty=recipe.objective.gradient_penalty,
            target=recipe.objective.penalty_target,
            drift=recipe.objective.drift,
        )
    _descend(state, "discriminator", loss.total)

    loss_generator = None
    steps_of_phase = (images_seen - moment.phase.start) // batch_size + 1
    if steps_of_phase % recipe.schedule.n_critic == 0:
        state.discriminator.requires_grad_(False)
        with autocast:
            fake = state.generator(_latents(state, "latents/generator", moment), alpha)
            generator_loss = wgan_generator(state.discriminator(fake, alpha).float())
        _descend(state, "generator", generator_loss)
        state.discriminator.requires_grad_(True)
        state.average(batch_size * recipe.schedule.n_critic, images_seen + batch_size)
        loss_generator = generator_loss.item()

    state.images_seen += batch_size
    state.alpha = moment.phase.alpha_at(state.images_seen)
    return Progress(
        moment=moment,
        images_seen=state.images_seen,
        loss_discriminator=loss.total.item(),
        loss_generator=loss_generator,
        wasserstein=-loss.wasserstein.item(),
        gradient_penalty=loss.gradient_penalty.item(),
        drift=loss.drift.item(),
        stage_ended=schedule.stage_ending(images_seen, state.images_seen),
    )


def _latents(state: State, purpose: str, moment: Moment) -> Tensor:
    """The step's latents, [batch_size, latent_dim]; drawn on the CPU so that every device gets the same."""
    generator = stream(purpose, state.recipe.seed, moment.images_seen)
    return torch.randn(moment.batch_size, state.recipe.latent_dim, generator=generator).to(state.device)


def _descend(state: State, role: str, loss: Tensor) -> None:
    """One optimiser step on `loss`; DivergedError before a number that is not finite reaches a weight."""
    if not math.isfinite(loss.item()):
        raise DivergedError(_diverged(state, f"the {role}'s loss is {loss.item()}"))
    network: nn.Module = state.networks[role]
    optimizer = state.optimizers[role]
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    gradients = {name: value.grad for name, value in network.named_parameters() if value.grad is not None}
    largest = nn.utils.get_total_norm(gradients.values(), norm_type=math.inf)
    if not math.isfinite(largest.item()):
        name = next(name for name, gradient in gradients.items() if not gradient.isfinite().all())
        raise DivergedError(_diverged(state, f"the gradient of {role}.{name} is not finite"))
    optimizer.step()


def _diverged(state: State, what: str) -> str:
    return (
        f"training diverged at {state.images_seen} images, resolution {state.resolution}: {what}\n"
        "no weight has seen it; go on from the last checkpoint in --precision fp32 if this was bf16, or with\n"
        "--set schedule.learning_rate=LOWER --allow schedule.learning_rate"
    )
