"""What a step takes in: real pictures as the discriminator is shown them, latents and mixing weights.

All are functions of (recipe, seed, images_seen); see `streams`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from animepggan.augment import augment
from animepggan.networks.layers import downsample, upsample
from animepggan.schedule import Moment
from animepggan.streams import stream
from animepggan.training.state import State


class Pictures(Protocol):
    """What training needs of a corpus."""

    def batch(self, images_seen: int, batch_size: int, *, resolution: int, seed: int, mirror: bool) -> Tensor:
        """The step's pictures: float32 [batch_size, 3, resolution, resolution] in [-1, 1]."""


def cross_fade(real: Tensor, alpha: float) -> Tensor:
    """Real pictures as the fading generator draws: detail of the new resolution weighted by alpha (section 2)."""
    if alpha >= 1.0:
        return real
    return torch.lerp(upsample(downsample(real)), real, alpha)


class StepInputs:
    """The latents, pictures and random draws of the step at `moment`."""

    def __init__(self, state: State, moment: Moment) -> None:
        self.recipe = state.recipe
        self.device = state.device
        self.moment = moment
        self.strength = state.methods.augment_strength
        self.apa_share = state.methods.apa_share

    def latents(self, purpose: str) -> Tensor:
        """[batch_size, latent_dim]; drawn on the CPU so that every device gets the same."""
        generator = stream(purpose, self.recipe.seed, self.moment.images_seen)
        return torch.randn(self.moment.batch_size, self.recipe.latent_dim, generator=generator).to(self.device)

    def mix(self) -> Tensor:
        """Where between each real and fake picture the gradient penalty is taken: [batch_size] in [0, 1)."""
        generator = stream("mix", self.recipe.seed, self.moment.images_seen)
        return torch.rand(self.moment.batch_size, generator=generator).to(self.device)

    def augmented(self, pictures: Tensor, purpose: str) -> Tensor:
        """`pictures` as the discriminator sees them; the same ones where no augmentation is on."""
        return augment(pictures, self.strength, purpose, self.recipe.seed, self.moment.images_seen)

    def shown(self, corpus: Pictures) -> Tensor:
        """The step's pictures of `corpus`, faded as the generator's are; not augmented."""
        moment, recipe = self.moment, self.recipe
        pictures = corpus.batch(
            moment.images_seen, moment.batch_size, resolution=moment.resolution, seed=recipe.seed, mirror=recipe.mirror
        )
        return cross_fade(pictures.to(self.device, memory_format=torch.channels_last), moment.alpha)

    def real(
        self, corpus: Pictures, base_corpus: Pictures | None, generate: Callable[[Tensor], Tensor]
    ) -> tuple[Tensor, Tensor]:
        """What the discriminator takes for real, and which of these `generate` drew for APA: bool [batch_size].

        While a stage fades in, a share of the pictures is `base_corpus`'s.
        """
        real = self.shown(corpus)
        if base_corpus is not None and self.moment.phase.name == "fade":
            general = self._chosen("extend", self.recipe.extend_share)
            real = real.index_put((general,), self.shown(base_corpus)[general])
        drawn = self._chosen("apa", self.apa_share)
        if drawn.any():
            with torch.no_grad():
                real = real.index_put((drawn,), generate(self.latents("latents/apa")[drawn]))
        return self.augmented(real, "real"), drawn

    def _chosen(self, purpose: str, share: float) -> Tensor:
        """Which pictures are replaced, each with the probability `share`: bool [batch_size]."""
        generator = stream(purpose, self.recipe.seed, self.moment.images_seen)
        return (torch.rand(self.moment.batch_size, generator=generator) < share).to(self.device)
