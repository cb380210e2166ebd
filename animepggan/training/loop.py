"""The one training loop, for pretraining and fine-tuning alike: a generator of `Progress`.

The loop changes the state and says what it did; logging, previews, checkpoints and bars are callers of it. Each step is
a function of (recipe, seed, images_seen): see `schedule` for what holds, `inputs` for what goes in, `adversaries` for
the networks' passes and losses, and `methods` for what may stand around them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from animepggan.errors import DivergedError, RecipeError
from animepggan.schedule import Moment, Schedule, Stage
from animepggan.training.adversaries import Adversaries
from animepggan.training.inputs import Pictures, StepInputs
from animepggan.training.methods import STEER_EVERY, add_l2sp_gradient, train_new_layers
from animepggan.training.state import State


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
    if state.methods.controllers and validation is None:
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
    nth = (moment.images_seen - moment.phase.start) // moment.batch_size + 1  # step of the phase
    trains_generator = nth % recipe.schedule.n_critic == 0
    shared = recipe.objective.shared_latents and trains_generator
    inputs, adversaries = StepInputs(state, moment), Adversaries(state, moment.alpha, precision)
    for optimizer in state.optimizers.values():
        optimizer.param_groups[0]["lr"] = moment.learning_rate
    if state.generator.miner is not None:
        known = state.base_resolution or state.resolution
        train_new_layers(state.generator, known, alone=moment.images_seen < recipe.miner * 1000)

    real, drawn = inputs.real(corpus, base_corpus, adversaries.generate)
    with torch.set_grad_enabled(shared):
        fake = adversaries.generate(inputs.latents("latents/discriminator"))
    loss = adversaries.discriminator_loss(
        real,
        inputs.augmented(fake.detach(), "fake"),
        inputs.mix(),
        penalized=(nth - 1) % recipe.objective.r1_every == 0,
    )
    held_out = None
    if validation is not None and state.methods.controllers and nth % STEER_EVERY == 0 and not drawn.all():
        with torch.no_grad():  # by the weights that gave the other scores
            held_out = adversaries.discriminate(inputs.augmented(inputs.shown(validation), "validation"))
    _descend(state, "discriminator", loss.total)
    state.methods.update(loss, drawn, held_out)

    generator_loss = None
    if trains_generator:
        if not shared:
            fake = adversaries.generate(inputs.latents("latents/generator"))
        generator_loss = adversaries.generator_loss(inputs.augmented(fake, "generator"), real)
        generator_loss.backward()  # type: ignore[no-untyped-call]
        del fake
        _descend(state, "generator", generator_loss)
        state.average(moment.batch_size * recipe.schedule.n_critic, moment.images_seen + moment.batch_size)

    state.images_seen += moment.batch_size
    state.alpha = moment.phase.alpha_at(state.images_seen)
    return Progress(
        moment=moment,
        images_seen=state.images_seen,
        loss_discriminator=loss.total.item(),
        loss_generator=None if generator_loss is None else generator_loss.item(),
        wasserstein=-loss.wasserstein.item(),
        gradient_penalty=loss.gradient_penalty.item(),
        drift=loss.drift.item(),
        stage_ended=schedule.stage_ending(moment.images_seen, state.images_seen),
        methods=state.methods.report(),
    )


def _descend(state: State, role: str, loss: Tensor) -> None:
    """One optimiser step along the gradients; DivergedError before a number that is not finite reaches a weight."""
    if not math.isfinite(loss.item()):
        raise DivergedError(_diverged(state, f"the {role}'s loss is {loss.item()}"))
    network: nn.Module = state.networks[role]
    if state.anchors:
        add_l2sp_gradient(network, state.anchors[role], state.recipe.l2sp)
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
