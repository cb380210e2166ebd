"""The generator: a latent in, a picture out (Karras et al. 2018, appendix A, table 2)."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from animepggan.networks.layers import (
    HE_GAIN,
    EqualizedConv2d,
    EqualizedLinear,
    LatentToFeatures,
    activate,
    pixel_norm,
    upsample,
)


def channels_at(resolution: int, fmap_base: int, fmap_max: int) -> int:
    """Feature maps at `resolution`: 2 * fmap_base / resolution, at most fmap_max (16 at 1024 by the paper's values)."""
    return max(1, min(2 * fmap_base // resolution, fmap_max))


def resolutions_up_to(resolution: int) -> list[int]:
    """4, 8, ... `resolution`; ValueError where that is not a power of two from 4 on."""
    if resolution < 4 or resolution & (resolution - 1):
        raise ValueError(f"resolution {resolution} is not a power of two from 4 on")
    return [1 << power for power in range(2, resolution.bit_length())]


class Miner(nn.Module):
    """A change of the latent that is learnt: where in the generator's space the wanted pictures are.

    It begins as the identity. Wang et al. 2020 ("MineGAN", arXiv:1912.05270) map the latent anew; here the map is added
    to it, so that the first picture of a fine-tuning run is the base's.
    """

    def __init__(self, latent_dim: int) -> None:
        super().__init__()
        self.dense0 = EqualizedLinear(latent_dim, latent_dim, gain=HE_GAIN, equalized=True)
        self.dense1 = EqualizedLinear(latent_dim, latent_dim, gain=1.0, equalized=True)
        self.dense1.deviation = 0.0
        self.dense1.reset_parameters()

    def forward(self, latents: Tensor) -> Tensor:
        """[n, latent_dim] -> [n, latent_dim]."""
        moved: Tensor = self.dense1(activate(self.dense0(latents)))
        return latents + moved


class GeneratorBlock(nn.Module):
    """Two layers at one resolution; the first takes the latent (4 px) or doubles the side (from 8 px on)."""

    def __init__(
        self,
        conv0: nn.Module,
        conv1: nn.Module,
        *,
        norm: Literal["after", "before"],  # the pixel norm, as seen from the activation
        norm0: bool,  # whether the first layer has one
    ) -> None:
        super().__init__()
        self.conv0 = conv0
        self.conv1 = conv1
        self.norm = norm
        self.norm0 = norm0

    def _finish(self, features: Tensor, normalized: bool) -> Tensor:
        if not normalized:
            return activate(features)
        return pixel_norm(activate(features)) if self.norm == "after" else activate(pixel_norm(features))

    def first(self, inputs: Tensor) -> Tensor:
        """The first layer with its activation and norm."""
        return self._finish(self.conv0(inputs), self.norm0)

    def second(self, features: Tensor) -> Tensor:
        """The second layer with its activation and norm."""
        return self._finish(self.conv1(features), True)

    def forward(self, inputs: Tensor) -> Tensor:
        """[n, latent_dim] or [n, c, h, w] -> [n, c', r, r]."""
        return self.second(self.first(inputs))


class Generator(nn.Module):
    """Latents to pictures at `resolution`, with every lower resolution's `to_rgb` kept.

    Parameters are keyed by resolution (`blocks.64.conv0.weight`, `to_rgb.64.weight`), so that the parameters of a
    generator are a subset of those of the same one grown further.
    """

    def __init__(
        self,
        *,
        resolution: int,  # pixels a side, a power of two from 4 on
        latent_dim: int,
        fmap_base: int,  # feature maps: see channels_at
        fmap_max: int,
        norm: Literal["after", "before"],  # pixel norm after the activation (the paper) or before it (the article)
        norm_first: bool,  # whether the first layer has a pixel norm too
        norm_latent: bool,  # whether the latent is normalised
        to_rgb_gain: float,  # 1 for a linear output
        miner: bool = False,  # whether a network on the latent comes first
    ) -> None:
        super().__init__()
        self.resolution = resolution
        self.latent_dim = latent_dim
        self.norm_latent = norm_latent
        self.miner = Miner(latent_dim) if miner else None
        self.blocks = nn.ModuleDict()
        self.to_rgb = nn.ModuleDict()
        in_channels = latent_dim
        for side in resolutions_up_to(resolution):
            channels = channels_at(side, fmap_base, fmap_max)
            conv0: nn.Module
            if side == 4:
                conv0 = LatentToFeatures(latent_dim, channels)
            else:
                conv0 = EqualizedConv2d(in_channels, channels, 3, resample="up")
            conv1 = EqualizedConv2d(channels, channels, 3, padding=1)
            self.blocks[str(side)] = GeneratorBlock(conv0, conv1, norm=norm, norm0=norm_first or side > 4)
            self.to_rgb[str(side)] = EqualizedConv2d(channels, 3, 1, gain=to_rgb_gain)
            in_channels = channels

    def first_features(self, latents: Tensor) -> Tensor:
        """The first layer's output, what truncation acts on: [n, latent_dim] -> [n, c, 4, 4]."""
        if self.miner is not None:
            latents = self.miner(latents)
        if self.norm_latent:
            latents = pixel_norm(latents)
        features: Tensor = self.blocks["4"].first(latents)  # type: ignore[operator]
        return features

    def up_to(self, side: int, features: Tensor) -> Tensor:
        """The output of the block at `side`, from `first_features`: [n, c, 4, 4] -> [n, c', side, side]."""
        features = self.blocks["4"].second(features)  # type: ignore[operator]
        for name, block in self.blocks.items():
            if 4 < int(name) <= side:
                features = block(features)
        return features

    def from_block(self, side: int, features: Tensor, alpha: float = 1.0) -> Tensor:
        """The pictures that continue from the block at `side`, 4 or below the last: [n, c, s, s] -> [n, 3, r, r]."""
        previous = features
        for name, block in self.blocks.items():
            if int(name) > side:
                previous, features = features, block(features)
        pictures: Tensor = self.to_rgb[str(self.resolution)](features)
        if alpha < 1.0 and self.resolution > 4:
            old = upsample(self.to_rgb[str(self.resolution // 2)](previous))
            pictures = old + alpha * (pictures - old)
        return pictures

    def forward(self, latents: Tensor, alpha: float = 1.0) -> Tensor:
        """[n, latent_dim] -> [n, 3, resolution, resolution], trained toward [-1, 1] but not bounded.

        `alpha` is the weight of the last resolution's output; the rest is the one before, upsampled (figure 2).
        """
        return self.from_block(4, self.up_to(4, self.first_features(latents)), alpha)
