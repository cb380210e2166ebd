"""The step of `fast`, recorded once as CUDA graphs and replayed: a GPU gets all its work of a pass in one call.

At the small resolutions a GPU waits for Python to name its next operation; a graph (`torch.cuda.CUDAGraph`) names them
all at once. What is recorded is bound to the addresses and to the Python numbers of its first call, so:

- inputs are copied into tensors of the record's own, and results lie in others, valid until the next replay;
- what changes from step to step as a Python number is not recorded but done as in `fast`: a step that fades in (its
  alpha), and LeCam's (its averages);
- neither is a pass that may be called again before its backward pass, which would find the other call's activations.

There is one of these for every stage, as growing replaces the networks. On a CPU there is nothing to gain, and nothing
of it here has been timed on a GPU.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

import torch
from torch import Tensor, nn

from animepggan.networks import Discriminator, Generator
from animepggan.objectives import DiscriminatorLoss, Lecam
from animepggan.recipe.model import ObjectiveOptions
from animepggan.training import fast

WARM_UP = 3  # calls before the recording, in which libraries choose their algorithms and allocate what they keep


class Captured:
    """The functions of `fast`, for the networks of one stage."""

    def __init__(self) -> None:
        self._known: dict[Hashable, Any] = {}

    def generate(self, generator: Generator, latents: Tensor, alpha: float, precision: str) -> Tensor:
        """As `fast.generate`; the pictures are overwritten by the next call of the same shape and gradient mode."""
        if alpha < 1.0 or latents.requires_grad:
            return fast.generate(generator, latents, alpha, precision)
        key = "generate", latents.shape, torch.is_grad_enabled(), _trained(generator), precision
        if key not in self._known:
            self._known[key] = differentiable(_Pass(generator, fast.generate, precision), latents)
        pictures: Tensor = self._known[key](latents)
        return pictures

    def discriminate(self, discriminator: Discriminator, pictures: Tensor, alpha: float, precision: str) -> Tensor:
        """As `fast.discriminate`; recorded where a gradient is wanted by the pictures, in the generator's step."""
        if alpha < 1.0 or not pictures.requires_grad:
            return fast.discriminate(discriminator, pictures, alpha, precision)
        key = "discriminate", pictures.shape, _trained(discriminator), precision
        if key not in self._known:
            self._known[key] = differentiable(_Pass(discriminator, fast.discriminate, precision), pictures)
        scores: Tensor = self._known[key](pictures)
        return scores

    def wgan_gp(
        self,
        discriminator: Discriminator,
        real: Tensor,
        fake: Tensor,
        mix: Tensor,
        alpha: float,
        objective: ObjectiveOptions,
        precision: str,
        lecam: Lecam | None = None,
    ) -> DiscriminatorLoss:
        """As `fast.wgan_gp`; losses and gradients are overwritten by the next call of the same shape."""
        if alpha < 1.0 or lecam is not None:
            return fast.wgan_gp(discriminator, real, fake, mix, alpha, objective, precision, lecam)
        key = "wgan_gp", real.shape, _trained(discriminator), precision
        if key not in self._known:
            self._known[key] = _Critic(discriminator, objective, precision, (real, fake, mix))
        loss: DiscriminatorLoss = self._known[key](real, fake, mix)
        return loss


class _Pass(nn.Module):
    """A network with what `fast` does with it, at alpha 1: a module, so that its parameters are seen."""

    def __init__(self, network: nn.Module, function: Callable[..., Tensor], precision: str) -> None:
        super().__init__()
        self.network = network
        self.function = function
        self.precision = precision

    def forward(self, inputs: Tensor) -> Tensor:
        return self.function(self.network, inputs, 1.0, self.precision)


class _Critic:
    """The discriminator's step, recorded with the gradients that it leaves."""

    def __init__(
        self, discriminator: Discriminator, objective: ObjectiveOptions, precision: str, inputs: tuple[Tensor, ...]
    ) -> None:
        self.inputs = tuple(tensor.detach().clone() for tensor in inputs)
        real, fake, mix = self.inputs
        self.loss, self.replay = record(lambda: fast.wgan_gp(discriminator, real, fake, mix, 1.0, objective, precision))
        self.gradients = [(parameter, parameter.grad) for parameter in discriminator.parameters()]

    def __call__(self, *inputs: Tensor) -> DiscriminatorLoss:
        for kept, tensor in zip(self.inputs, inputs, strict=True):
            kept.copy_(tensor)
        self.replay()
        for parameter, gradient in self.gradients:
            parameter.grad = gradient
        return self.loss


def _trained(network: nn.Module) -> tuple[bool, ...]:
    """Which parameters are: a record has the gradients of these."""
    return tuple(parameter.requires_grad for parameter in network.parameters())


def differentiable(module: nn.Module, inputs: Tensor) -> Callable[[Tensor], Tensor]:
    """`module` with its forward and its backward pass recorded, for inputs like these."""
    sample = inputs.detach().clone().requires_grad_(inputs.requires_grad)
    graphed: Any = torch.cuda.make_graphed_callables(
        module,
        (sample,),
        num_warmup_iters=WARM_UP,
        allow_unused_input=True,  # the layers of the stage before, which only fading uses
    )
    return graphed  # type: ignore[no-any-return]


def record(function: Callable[[], DiscriminatorLoss]) -> tuple[DiscriminatorLoss, Callable[[], None]]:
    """Record `function`: its result, and what computes that anew in the same tensors."""
    aside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        for _ in range(WARM_UP):
            function()
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        result = function()
    return result, graph.replay
