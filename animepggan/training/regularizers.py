"""What stands around a step against learning a small set by heart: what is remembered of scores, what is held still.

The methods themselves are elsewhere (`augment`, `objectives`); each is off unless the recipe asks for it.

- LeCam (Tseng et al. 2021, arXiv:2104.03310) needs the average scores so far.
- FreezeD (Mo et al. 2020, arXiv:2002.10964) holds the discriminator's layers at the picture's side as the base has
  them: what they see, edges and textures, is the same on any face.
- L2-SP (Li et al. 2018, arXiv:1802.01483) pulls every weight that comes from the base back to what it was there.
- APA (Jiang et al. 2021, arXiv:2111.06849) passes some drawn pictures for real ones.
- MineGAN (Wang et al. 2020, arXiv:1912.05270) trains a network on the latent first, then all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from animepggan.networks import Discriminator, Generator
from animepggan.objectives import Lecam
from animepggan.schedule import resolutions
from animepggan.streams import stream

DECAY = 0.99
"""Of LeCam's averages, a step (Tseng et al. 2021)."""


@dataclass(frozen=True)
class Scores:
    """Running averages of the scores of real and of drawn pictures; both are 0 until a step has been taken."""

    real: float = 0.0
    fake: float = 0.0
    weight: float = 0.0  # of all steps so far, in either; toward 1

    def update(self, real: float, fake: float) -> Scores:
        """The averages after a step with these mean scores."""
        return Scores(
            DECAY * self.real + (1 - DECAY) * real,
            DECAY * self.fake + (1 - DECAY) * fake,
            DECAY * self.weight + (1 - DECAY),
        )

    def lecam(self, weight: float) -> Lecam | None:
        """What the next step regularizes by; None where `weight` is 0 or there is no average yet."""
        if not weight or not self.weight:
            return None
        return Lecam(weight, self.real / self.weight, self.fake / self.weight)


def frozen_layers(discriminator: Discriminator, down_to: int, up_to: int) -> Iterator[nn.Parameter]:
    """The parameters of its layers at the resolutions from `up_to` (the base's) down to `down_to`, pixels.

    Layers beyond the base's resolution are new, and have nothing worth keeping.
    """
    sides = tuple(f"{kind}.{side}." for side in resolutions(down_to, up_to) for kind in ("from_rgb", "blocks"))
    for name, parameter in discriminator.named_parameters():
        if name.startswith(sides):
            yield parameter


def mine(generator: Generator, base_resolution: int, *, alone: bool) -> None:
    """Let all of the generator train, or only what is new: the miner, and layers beyond the base's resolution."""
    for name, parameter in generator.named_parameters():
        kind, side, *_ = name.split(".")
        new = kind == "miner" or int(side) > base_resolution
        parameter.requires_grad_(new or not alone)


@torch.no_grad()
def pull(network: nn.Module, base: Mapping[str, Tensor], weight: float) -> None:
    """Add the gradient of `weight` / 2 * |w - w_base|^2 to that of every trained weight w that `base` names."""
    pairs = [
        (parameter, base[name])
        for name, parameter in network.named_parameters()
        if parameter.grad is not None and name in base
    ]
    if not pairs:
        return
    parameters, anchors = ([*column] for column in zip(*pairs, strict=True))
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    torch._foreach_add_(gradients, torch._foreach_sub(parameters, anchors), alpha=weight)


def chosen(purpose: str, share: float, batch_size: int, *numbers: int) -> Tensor:
    """Which pictures of a batch are replaced, each with the probability `share`: bool [batch_size], on the CPU."""
    if not share:
        return torch.zeros(batch_size, dtype=torch.bool)
    return torch.rand(batch_size, generator=stream(purpose, *numbers)) < share


def replaced(pictures: Tensor, which: Tensor, by: Tensor) -> Tensor:
    """`pictures` [n, 3, r, r] with those of `which` (bool [n]) given by `by` [k, 3, r, r]; a tensor of its own."""
    return pictures.index_put((which.to(pictures.device),), by)
