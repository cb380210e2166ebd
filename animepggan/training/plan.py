"""What a run will cost, before it starts: operations and memory counted without computing, time from a short probe.

The networks are built on torch's meta device, where a step has shapes but no numbers; torch's own counter gives its
floating-point operations, and the tensors that autograd keeps give the memory of a step. A probe of a few real steps
gives this machine's rate. These are estimates: the counter knows convolutions and matrices only.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from animepggan.networks import build_discriminator, build_generator
from animepggan.objectives import wgan_generator, wgan_gp_discriminator
from animepggan.recipe import Recipe, schedule_of
from animepggan.schedule import Moment, Schedule, Stage
from animepggan.training.loop import step
from animepggan.training.state import State, architecture_of

PROBE_FLOPS = 4e11
"""A step of more operations is not probed but scaled from the largest one that is."""
COPIES = {"generator": 5, "discriminator": 4}
"""Of the weights: themselves, gradient, two moments, and the generator's EMA."""


@dataclass(frozen=True)
class StagePlan:
    """The cost of one stage."""

    stage: Stage
    batch_size: int
    generator_parameters: int
    discriminator_parameters: int
    flops_per_image: float  # of one discriminator and one generator step
    memory_bytes: int  # weights, moments, and what one step keeps
    checkpoint_bytes: int
    seconds: float | None  # None without a probe


class _FlopCounter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up torch's own formulas; its FlopCounterMode also tracks modules, which the gradient penalty breaks."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.flops = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        formula = flop_registry.get(func._overloadpacket)
        if formula is not None:
            self.flops += formula(*args, **(kwargs or {}), out_val=out)
        return out


class _Noise:
    """Stands in for a corpus: a probe needs pictures of the right shape, not anybody's."""

    def batch(self, images_seen: int, batch_size: int, *, resolution: int, seed: int, mirror: bool) -> Tensor:
        return torch.rand(batch_size, 3, resolution, resolution) * 2 - 1


def plan(
    recipe: Recipe, *, first_resolution: int, device: torch.device, precision: str, probe: bool
) -> list[StagePlan]:
    """Every stage's cost, in order; with `probe`, a few steps are run on `device` to tell the time."""
    schedule = schedule_of(recipe, first_resolution=first_resolution)
    plans = []
    rate: float | None = None  # floating-point operations a second
    for stage in schedule.stages:
        batch_size = stage.phases[-1].batch_size
        parameters, flops, kept = count_step(recipe, stage.resolution, batch_size)
        if probe and (rate is None or flops <= PROBE_FLOPS):
            rate = flops / _seconds_of_step(recipe, schedule, stage, device, precision)
        checkpoint = 4 * sum(count * COPIES[role] for role, count in parameters.items()) - 4 * sum(parameters.values())
        images = stage.end - stage.start
        plans.append(
            StagePlan(
                stage=stage,
                batch_size=batch_size,
                generator_parameters=parameters["generator"],
                discriminator_parameters=parameters["discriminator"],
                flops_per_image=flops / batch_size,
                memory_bytes=kept + 4 * sum(count * COPIES[role] for role, count in parameters.items()),
                checkpoint_bytes=checkpoint,
                seconds=images * flops / batch_size / rate if rate is not None else None,
            )
        )
    return plans


def count_step(recipe: Recipe, resolution: int, batch_size: int) -> tuple[dict[str, int], float, int]:
    """Parameters by network, floating-point operations of one step, and the bytes that its autograd graph keeps."""
    architecture = architecture_of(recipe, resolution)
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage._cdata] = storage.nbytes()
        alive.append(tensor)
        return tensor

    alive: list[Tensor] = []  # a freed storage's address could otherwise come back and be counted once for two
    with torch.device("meta"):
        generator, discriminator = build_generator(architecture), build_discriminator(architecture)
        real = torch.empty(batch_size, 3, resolution, resolution)
        latents, mix = torch.empty(batch_size, recipe.latent_dim), torch.empty(batch_size)
        with _FlopCounter() as counter:
            with torch.no_grad():
                fake = generator(latents)
            with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
                loss = wgan_gp_discriminator(
                    discriminator, real, fake, mix, penalty=recipe.objective.gradient_penalty, target=1.0, drift=0.0
                )
            loss.total.backward()  # type: ignore[no-untyped-call]
            discriminator.requires_grad_(False)
            wgan_generator(discriminator(generator(latents))).backward()  # type: ignore[no-untyped-call]
    parameters = {
        "generator": sum(parameter.numel() for parameter in generator.parameters()),
        "discriminator": sum(parameter.numel() for parameter in discriminator.parameters()),
    }
    return parameters, float(counter.flops), sum(kept.values())


def _seconds_of_step(
    recipe: Recipe, schedule: Schedule, stage: Stage, device: torch.device, precision: str, repeats: int = 3
) -> float:
    state = State(recipe, stage.resolution, device)
    phase = stage.phases[-1]
    seconds = []
    for number in range(repeats + 1):  # the first step warms caches up and is not counted
        moment = Moment(phase.start + number * phase.batch_size, phase, 1.0, 0.0)
        started = time.perf_counter()
        step(state, schedule, moment, _Noise(), precision=precision)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds.append(time.perf_counter() - started)
    return sorted(seconds[1:])[repeats // 2]
