"""The methods against overfitting a small set: what each changes in a step, and what they remember between steps.

Each is off unless the recipe asks for it; `augment` and `objectives` hold the mathematics of those not written here.

- Augmentation of all that the discriminator sees, its strength fixed or steered by held-out pictures.
- APA (Jiang et al. 2021, arXiv:2111.06849) passes some drawn pictures for real ones; their share is steered too.
- LeCam (Tseng et al. 2021, arXiv:2104.03310) needs the average scores so far.
- FreezeD (Mo et al. 2020, arXiv:2002.10964) freezes the discriminator's layers at the picture's side: what they see,
  edges and textures, is the same on any face.
- L2-SP (Li et al. 2018, arXiv:1802.01483) holds every weight that comes from the base near what it was there.
- MineGAN (Wang et al. 2020, arXiv:1912.05270) trains a network on the latent first, then all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields

import torch
from torch import Tensor, nn

from animepggan.augment import Controller
from animepggan.networks import Discriminator, Generator
from animepggan.objectives import DiscriminatorLoss, Lecam
from animepggan.recipe import Recipe
from animepggan.schedule import resolutions

DECAY = 0.99
"""Of LeCam's averages, a step (Tseng et al. 2021)."""
STEER_EVERY = 4
"""Steps from one look at held-out pictures to the next (Karras et al. 2020, arXiv:2006.06676, section 3.1)."""


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


class MethodState:
    """What the methods that are on remember of scores between steps."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        steered = {"augment": recipe.augment == "adaptive", "apa": recipe.apa}
        self.controllers = {name: Controller() for name, on in steered.items() if on}
        self.scores = Scores()

    @property
    def augment_strength(self) -> float:
        """Of augmentation in the next step, 0 to 1."""
        if self.recipe.augment == "adaptive":
            return self.controllers["augment"].strength
        return self.recipe.augmentation.strength if self.recipe.augment == "diffaugment" else 0.0

    @property
    def apa_share(self) -> float:
        """Of the next step's real pictures, how many are drawn ones, 0 to 1."""
        return self.controllers["apa"].strength if self.recipe.apa else 0.0

    @property
    def lecam(self) -> Lecam | None:
        """What the next step regularizes by."""
        return self.scores.lecam(self.recipe.lecam)

    def update(self, loss: DiscriminatorLoss, drawn: Tensor, held_out: Tensor | None) -> None:
        """Take in a step: which of its real pictures were drawn (bool [n]), and the scores of held-out pictures."""
        if held_out is None and not self.recipe.lecam:
            return
        fake = loss.fake_scores.mean().item()
        if held_out is not None:
            real = loss.real_scores[~drawn].mean().item()
            images = STEER_EVERY * len(drawn)
            options = self.recipe.augmentation
            for name, controller in self.controllers.items():
                self.controllers[name] = controller.update(
                    real,
                    held_out.mean().item(),
                    fake,
                    images=images,
                    target=options.target,
                    ramp_kimg=options.ramp_kimg,
                )
        if self.recipe.lecam:
            self.scores = self.scores.update(loss.real_scores.mean().item(), fake)

    def report(self) -> dict[str, float]:
        """For the log: what the methods that are on stand at."""
        values = {} if self.recipe.augment == "none" else {"augment_strength": self.augment_strength}
        for controller in self.controllers.values():
            values["r_v"] = controller.overfitting
        if self.recipe.apa:
            values["apa_share"] = self.apa_share
        return values

    def tensors(self) -> dict[str, Tensor]:
        """All of it by name, for a checkpoint: `augment.strength` and the like, float64."""
        kept: dict[str, Controller | Scores] = {**self.controllers}
        if self.recipe.lecam:
            kept["lecam"] = self.scores
        return {
            f"{name}.{key}": torch.tensor(value, dtype=torch.float64)
            for name, values in kept.items()
            for key, value in asdict(values).items()
        }

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """The reverse of `tensors`; a method that has none there starts afresh."""

        def found(kind: type[Controller | Scores], name: str) -> dict[str, float]:
            keys = [field.name for field in fields(kind) if f"{name}.{field.name}" in tensors]
            return {key: tensors[f"{name}.{key}"].item() for key in keys}

        self.controllers = {name: Controller(**found(Controller, name)) for name in self.controllers}
        self.scores = Scores(**found(Scores, "lecam"))


def frozen_layers(discriminator: Discriminator, down_to: int, up_to: int) -> Iterator[nn.Parameter]:
    """The parameters of its layers at the resolutions from `up_to` (the base's) down to `down_to`, pixels.

    Layers beyond the base's resolution are new, and have nothing worth keeping.
    """
    sides = tuple(f"{kind}.{side}." for side in resolutions(down_to, up_to) for kind in ("from_rgb", "blocks"))
    for name, parameter in discriminator.named_parameters():
        if name.startswith(sides):
            yield parameter


def train_new_layers(generator: Generator, base_resolution: int, *, alone: bool) -> None:
    """MineGAN: let all of the generator train, or only what is new, the miner and layers beyond the base's side."""
    for name, parameter in generator.named_parameters():
        kind, side, *_ = name.split(".")
        new = kind == "miner" or int(side) > base_resolution
        parameter.requires_grad_(new or not alone)


@torch.no_grad()
def add_l2sp_gradient(network: nn.Module, base: Mapping[str, Tensor], weight: float) -> None:
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
