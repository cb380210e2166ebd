"""What a run will cost, before it starts: operations and memory counted without computing, time from a short probe.

The networks are built on torch's meta device, where a step has shapes but no numbers; torch's own counter gives its
floating-point operations, and the tensors that autograd keeps give the memory of a step. A probe takes a few real steps
of every phase, which gives this machine's time and memory.

For GPUs that are not at hand there is a bound (Williams et al. 2009, "Roofline"): each operation takes as long as its
arithmetic at the published peak, or as moving its tensors at the published bandwidth, whichever is longer.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections import Counter
from dataclasses import dataclass
from typing import Any

import psutil
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter
from torch.utils.flop_counter import flop_registry

from animepggan.recipe import Recipe, schedule_of
from animepggan.schedule import Moment, Phase, Schedule, Stage
from animepggan.training.adversaries import Adversaries
from animepggan.training.loop import step
from animepggan.training.state import State

PROBE_FLOPS = 4e11
"""A step of more operations is not probed but scaled from the largest one that is."""
PROBE_SECONDS = 0.4
"""A phase is probed for so long, and for three steps at least."""
COPIES = {"generator": 5, "discriminator": 4}
"""Of the weights: themselves, gradient, two moments, and the generator's EMA."""
MOVES = 10
"""Reads and writes of each weight in Adam's step and the average's."""


@dataclass(frozen=True)
class Accelerator:
    """A GPU by its maker's published figures: dense peaks with float32 accumulation."""

    name: str
    memory: float  # bytes
    bandwidth: float  # bytes a second
    float32: float  # operations a second as torch runs float32 convolutions there: in TF32 where the GPU has it
    bfloat16: float | None  # None: it has none


ACCELERATORS = (  # NVIDIA's data sheets and architecture white papers
    Accelerator("T4 16 GB", 16e9, 320e9, 8.1e12, None),
    Accelerator("RTX 3060 12 GB", 12e9, 360e9, 12.7e12, 25.5e12),
    Accelerator("RTX 4090 24 GB", 24e9, 1008e9, 82.6e12, 165.2e12),
    Accelerator("A100 80 GB", 80e9, 2039e9, 156e12, 312e12),
    Accelerator("H100 80 GB", 80e9, 3350e9, 494.7e12, 989.4e12),
)


@dataclass(frozen=True)
class Operation:
    """One of torch's, as it is counted."""

    flops: float
    bytes: float  # of the tensors it reads and writes, float32


@dataclass(frozen=True)
class StepCount:
    """What one discriminator and one generator step take."""

    parameters: dict[str, int]  # by network
    kept: int  # bytes that the autograd graph keeps, at most
    operations: tuple[Operation, ...]

    @property
    def flops(self) -> float:
        return float(sum(operation.flops for operation in self.operations))

    @property
    def weight_bytes(self) -> int:
        """Weights, gradients, moments and average."""
        return 4 * sum(count * COPIES[role] for role, count in self.parameters.items())

    def seconds(self, on: Accelerator, precision: str) -> float | None:
        """No step is faster than this on `on`; None where it cannot compute in `precision`."""
        peak = on.bfloat16 if precision == "bf16" else on.float32
        if peak is None:
            return None
        size = 0.5 if precision == "bf16" else 1.0
        moved = MOVES * 4 * sum(self.parameters.values()) / on.bandwidth
        return moved + sum(max(each.flops / peak, each.bytes * size / on.bandwidth) for each in self.operations)


@dataclass(frozen=True)
class StagePlan:
    """The cost of one stage."""

    stage: Stage
    batch_size: int
    count: StepCount
    checkpoint_bytes: int
    memory_bytes: int  # of the process and its tensors at the end of the stage, without the pictures
    seconds: float | None  # None without a probe

    @property
    def flops_per_image(self) -> float:
        """Of one discriminator and one generator step."""
        return self.count.flops / self.batch_size

    def seconds_on(self, accelerator: Accelerator, precision: str) -> float | None:
        """The bound for the whole stage."""
        seconds = self.count.seconds(accelerator, precision)
        return None if seconds is None else seconds * (self.stage.end - self.stage.start) / self.batch_size


class _Counter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes every operation, with torch's own formulas; its FlopCounterMode also tracks modules, which the gradient
    penalty breaks."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.operations: list[Operation] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        formula = flop_registry.get(func._overloadpacket)
        flops = formula(*args, **(kwargs or {}), out_val=out) if formula is not None else 0
        if not func.is_view:
            tensors = [each for each in tree_iter((args, kwargs, out)) if isinstance(each, Tensor)]
            self.operations.append(Operation(flops, sum(tensor.nbytes for tensor in tensors)))
        return out


class _Kept:
    """How many bytes autograd keeps for the way back, a storage counted once however many operations keep it."""

    def __init__(self) -> None:
        self.now = self.most = 0
        self._times: Counter[int] = Counter()

    def pack(self, tensor: Tensor) -> _Held:
        return _Held(self, tensor)

    def count(self, storage: torch.UntypedStorage, change: int) -> None:
        before = self._times[storage._cdata]
        self._times[storage._cdata] += change
        self.now += storage.nbytes() * (bool(before + change) - bool(before))
        self.most = max(self.most, self.now)


class _Held:
    """A tensor as long as autograd keeps it."""

    def __init__(self, kept: _Kept, tensor: Tensor) -> None:
        self.kept, self.tensor = kept, tensor
        kept.count(tensor.untyped_storage(), 1)

    def unpack(self) -> Tensor:
        return self.tensor

    def __del__(self) -> None:
        self.kept.count(self.tensor.untyped_storage(), -1)


class _Noise:
    """Stands in for a corpus: a probe needs pictures of the right shape, not anybody's."""

    def batch(self, images_seen: int, batch_size: int, *, resolution: int, seed: int, mirror: bool) -> Tensor:
        return torch.rand(batch_size, 3, resolution, resolution) * 2 - 1


def estimate(
    recipe: Recipe,
    *,
    first_resolution: int,
    device: torch.device,
    precision: str,
    probe: bool,
    reference: bool = False,  # whether the plain step is what trains
) -> list[StagePlan]:
    """Every stage's cost, in order; with `probe`, a few steps of every phase are run on `device`."""
    schedule = schedule_of(recipe, first_resolution=first_resolution)
    plans = []
    rate: float | None = None  # floating-point operations a second
    base, grown = peak_memory(device), 0  # bytes: the process before any step, and what the probed steps have added
    for stage in schedule.stages:
        batch_size = stage.phases[-1].batch_size
        count = count_step(recipe, stage.resolution, batch_size)
        seconds = None
        counted = count.weight_bytes + count.kept
        if probe and (rate is None or count.flops <= PROBE_FLOPS):
            seconds = 0.0
            base_resolution = first_resolution if recipe.base is not None else None
            state = State(recipe, stage.resolution, device, reference=reference, base_resolution=base_resolution)
            for phase in stage.phases:
                of_step = _seconds_of_step(state, schedule, phase, precision)
                seconds += of_step * (phase.end - phase.start) / phase.batch_size
            rate = count.flops / of_step
            grown = max(grown, peak_memory(device) - base)
            counted = grown
        elif rate is not None:
            seconds = count.flops / batch_size / rate * (stage.end - stage.start)
        parameters = sum(count.parameters.values())
        plans.append(
            StagePlan(
                stage=stage,
                batch_size=batch_size,
                count=count,
                checkpoint_bytes=count.weight_bytes - 4 * parameters,  # no gradients
                memory_bytes=base + max(grown, counted),
                seconds=seconds,
            )
        )
    return plans


def count_step(recipe: Recipe, resolution: int, batch_size: int) -> StepCount:
    """What one step of `recipe` takes at `resolution`, stabilizing; where R1 is lazy, the mean of all steps.

    The operations are autograd's, and the fast step's are as many (see `fast`), of WGAN-GP forward on three batches,
    back on one, its tangent, back on three, and four batches' weight gradients. What it keeps is less.
    """
    objective = recipe.objective
    share = 1 / objective.r1_every if objective.name == "r1-logistic" else 1.0  # of the steps that take the penalty
    counters = {weight: _Counter() for weight in (1.0, share, 1 - share)}
    kept = _Kept()
    with torch.device("meta"), torch.autograd.graph.saved_tensors_hooks(kept.pack, _Held.unpack):
        state = State(recipe, resolution, torch.device("meta"), reference=True)
        adversaries = Adversaries(state, 1.0, "fp32")
        real = torch.empty(batch_size, 3, resolution, resolution)
        latents, mix = torch.empty(batch_size, recipe.latent_dim), torch.empty(batch_size)
        with counters[1.0], torch.set_grad_enabled(objective.shared_latents):
            drawn = adversaries.generate(latents)
        for penalized, weight in ((True, share), (False, 1 - share)):
            if weight:
                with counters[weight]:
                    adversaries.discriminator_loss(real, drawn.detach(), mix, penalized=penalized)
        with counters[1.0]:
            if not objective.shared_latents:
                drawn = adversaries.generate(latents)
            adversaries.generator_loss(drawn, real).backward()  # type: ignore[no-untyped-call]
    return StepCount(
        parameters={
            role: sum(parameter.numel() for parameter in state.networks[role].parameters()) for role in state.optimizers
        },
        kept=kept.most,
        operations=tuple(
            Operation(each.flops * weight, each.bytes * weight)
            for weight, counter in counters.items()
            for each in counter.operations
        ),
    )


def _seconds_of_step(state: State, schedule: Schedule, phase: Phase, precision: str) -> float:
    """The median of some steps in the middle of `phase`; where R1 is lazy, with the share of those that take it."""
    alpha = 0.5 if phase.name == "fade" else 1.0

    def seconds(number: int) -> float:
        moment = Moment(phase.start + number * phase.batch_size, phase, alpha, 0.0)
        started = time.perf_counter()
        step(state, schedule, moment, _Noise(), precision=precision)
        if state.device.type == "cuda":
            torch.cuda.synchronize(state.device)
        return time.perf_counter() - started

    began = time.perf_counter()
    taken = [seconds(0)]  # the first one warms caches up, and is not counted
    while len(taken) < 4 or time.perf_counter() - began < PROBE_SECONDS:
        taken.append(seconds(len(taken)))
    usual = statistics.median(taken[1:])
    objective = state.recipe.objective
    if objective.name != "r1-logistic" or objective.r1_every == 1:
        return usual
    with_penalty = statistics.median(seconds(0) for _ in range(3))
    return usual + (with_penalty - usual) / objective.r1_every


def peak_memory(device: torch.device) -> int:
    """The most memory that this process has held, bytes: on the GPU where that is the device, else resident."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    try:
        import resource
    except ImportError:  # Windows has none, and psutil has this only there
        memory = psutil.Process().memory_info()
        return int(getattr(memory, "peak_wset", memory.rss))
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
