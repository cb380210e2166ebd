"""All that a run carries from one step to the next: three networks, two optimisers, a few averages, one integer."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from animepggan.networks import Architecture, build_discriminator, build_generator
from animepggan.networks.layers import Equalized
from animepggan.recipe import Recipe
from animepggan.streams import stream
from animepggan.training.methods import MethodState, frozen_layers


def architecture_of(recipe: Recipe, resolution: int) -> Architecture:
    """The architecture that `recipe` asks for, grown to `resolution`."""
    network = {**recipe.network.model_dump(), "miner": recipe.network.miner or recipe.miner > 0}
    return {"resolution": resolution, "latent_dim": recipe.latent_dim, **network}


def initialize(network: nn.Module, role: str, seed: int) -> None:
    """Draw every layer's weights from a stream of its own, named by `role` and the layer.

    So a layer starts the same whatever grew before it, and a resumed run that grows later draws what it would have.
    """
    for name, module in network.named_modules():
        if isinstance(module, Equalized):
            module.reset_parameters(stream(f"weights/{role}/{name}", seed))


class Adam(torch.optim.Adam):
    """torch's, whose fused kernel on a CPU takes tensors for what their memory holds in the order of their dimensions.

    A gradient that lies in another order than its weight would change the wrong numbers, without a word; and where both
    lie in channels-last order the kernel first copies one, for nothing. So it gets all in the weight's own order.
    """

    def _init_group(
        self,
        group: dict[str, Any],
        parameters: list[torch.Tensor],
        gradients: list[torch.Tensor],
        means: list[torch.Tensor],
        squares: list[torch.Tensor],
        *others: Any,
    ) -> bool:
        found: bool = super()._init_group(group, parameters, gradients, means, squares, *others)  # type: ignore[no-untyped-call]
        for place, parameter in enumerate(parameters):
            if parameter.ndim == 4 and not parameter.is_contiguous():
                for tensors in (parameters, gradients, means, squares):
                    tensors[place] = tensors[place].permute(0, 2, 3, 1)
            gradients[place] = gradients[place].contiguous()
        return found


class State:
    """The networks at the resolution now trained, their optimisers, and `images_seen`.

    `reference` asks for the plain step in place of the fast one; the tensors are the same.
    """

    def __init__(
        self,
        recipe: Recipe,
        resolution: int,
        device: torch.device,
        *,
        reference: bool = False,
        base_resolution: int | None = None,  # pixels, of the base that the networks come from; None: from none
    ) -> None:
        self.recipe = recipe
        self.device = device
        self.reference = reference
        self.base_resolution = base_resolution
        self.images_seen = 0
        self.alpha = 1.0  # reached by the last step
        self.methods = MethodState(recipe)
        self.anchors: dict[str, dict[str, torch.Tensor]] = {}  # by network: the base's weights, where l2sp wants them
        self._build(resolution)

    @property
    def resolution(self) -> int:
        return self.generator.resolution

    @property
    def architecture(self) -> Architecture:
        """What config.json says of these networks."""
        return architecture_of(self.recipe, self.resolution)

    def _build(self, resolution: int) -> None:
        architecture = architecture_of(self.recipe, resolution)
        self.generator = build_generator(architecture)
        self.generator_ema = build_generator(architecture).requires_grad_(False)
        self.discriminator = build_discriminator(architecture)
        initialize(self.generator, "generator", self.recipe.seed)
        initialize(self.discriminator, "discriminator", self.recipe.seed)
        self.generator_ema.load_state_dict(self.generator.state_dict())
        for network in self.networks.values():
            network.to(device=self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        if self.recipe.freeze_discriminator and self.base_resolution is not None:
            down_to = self.recipe.freeze_discriminator
            for parameter in frozen_layers(self.discriminator, down_to, self.base_resolution):
                parameter.requires_grad_(False)
        options = self.recipe.optimizer
        betas = options.beta1, options.beta2
        self.optimizers = {
            role: Adam(self.networks[role].parameters(), lr=0.0, betas=betas, eps=options.eps, fused=True)
            for role in ("generator", "discriminator")
        }

    @property
    def networks(self) -> dict[str, nn.Module]:
        """The networks by the name of their weights file."""
        return {
            "generator_ema": self.generator_ema,
            "generator": self.generator,
            "discriminator": self.discriminator,
        }

    def grow(self, resolution: int) -> None:
        """Rebuild at `resolution`, keeping all that was learnt; new layers come from their own streams."""
        old_networks = {role: network.state_dict() for role, network in self.networks.items()}
        old_moments = None if self.recipe.optimizer.reset else self.moments()
        self._build(resolution)
        for role, network in self.networks.items():
            network.load_state_dict(old_networks[role], strict=False)
        if old_moments is not None:
            self.load_moments(old_moments)

    def moments(self) -> dict[str, torch.Tensor]:
        """Adam's state by name: `generator.blocks.4.conv0.weight.exp_avg` and the like; empty before the first step."""
        tensors: dict[str, torch.Tensor] = {}
        for role, optimizer in self.optimizers.items():
            for name, parameter in self.networks[role].named_parameters():
                for key, value in optimizer.state.get(parameter, {}).items():
                    tensors[f"{role}.{name}.{key}"] = value
        return tensors

    def load_moments(self, tensors: dict[str, torch.Tensor]) -> None:
        """The reverse of `moments`; parameters that `tensors` does not name start afresh. ValueError on a misfit."""
        for role, optimizer in self.optimizers.items():
            for name, parameter in self.networks[role].named_parameters():
                prefix = f"{role}.{name}."
                if f"{prefix}step" not in tensors:
                    continue
                for key, shape in (("step", ()), ("exp_avg", parameter.shape), ("exp_avg_sq", parameter.shape)):
                    found = tensors.get(prefix + key)
                    if found is None or found.shape != shape:
                        raise ValueError(f"{prefix}{key} is {'missing' if found is None else tuple(found.shape)}")
                optimizer.state[parameter] = {
                    "step": tensors[f"{prefix}step"].to(self.device),
                    **{
                        key: torch.empty_like(parameter, requires_grad=False).copy_(tensors[f"{prefix}{key}"])
                        for key in ("exp_avg", "exp_avg_sq")
                    },
                }

    @torch.no_grad()
    def average(self, images: int, images_seen: int) -> None:
        """Move the EMA generator toward the generator; `images` were seen since the last time, `images_seen` in all.

        Half-life in images, so that the average means the same at every batch size; never more than `ema.ramp` of the
        images seen, so that it does not drag the start of a run along (as Karras et al. 2020, arXiv:2006.06676, do), be
        it noise or a base that draws somebody else.
        """
        options = self.recipe.ema
        half_life = min(options.half_life_kimg * 1000, options.ramp * images_seen)
        weight = 1 - 0.5 ** (images / max(half_life, 1e-8))
        averaged: list[torch.Tensor] = list(self.generator_ema.parameters())
        current: list[torch.Tensor] = list(self.generator.parameters())
        torch._foreach_lerp_(averaged, current, weight)
