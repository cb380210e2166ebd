"""The discriminator: a picture in, one unbounded score out (Karras et al. 2018, appendix A, table 2)."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from animepggan.networks.generator import channels_at, resolutions_up_to
from animepggan.networks.layers import (
    EqualizedConv2d,
    EqualizedLinear,
    MinibatchStatistic,
    Statistic,
    activate,
    downsample,
)


class DiscriminatorBlock(nn.Module):
    """Two convolutions at one resolution, then half the side: [n, c, 2h, 2w] -> [n, c', h, w]."""

    def __init__(self, in_channels: int, out_channels: int, *, fused_down: bool) -> None:
        super().__init__()
        self.fused_down = fused_down
        self.conv0 = EqualizedConv2d(in_channels, in_channels, 3, padding=1)
        self.conv1 = EqualizedConv2d(in_channels, out_channels, 3, padding=1, resample="down" if fused_down else None)

    def forward(self, features: Tensor) -> Tensor:
        """[n, c, 2h, 2w] -> [n, c', h, w]."""
        features = activate(self.conv1(activate(self.conv0(features))))
        return features if self.fused_down else downsample(features)


class LastBlock(nn.Module):
    """The 4 px block: batch statistic, two convolutions, one number: [n, c, 4, 4] -> [n]."""

    def __init__(
        self, channels: int, *, group_size: int | Literal["batch"], statistic: Statistic, equalized_output: bool
    ) -> None:
        super().__init__()
        self.minibatch = MinibatchStatistic(group_size=group_size, statistic=statistic)
        self.conv0 = EqualizedConv2d(channels + 1, channels, 3, padding=1)
        self.conv1 = EqualizedConv2d(channels, channels, 4)
        self.linear = EqualizedLinear(channels, 1, gain=1.0, equalized=equalized_output)

    def forward(self, features: Tensor) -> Tensor:
        """[n, c, 4, 4] -> [n]."""
        features = activate(self.conv1(activate(self.conv0(self.minibatch(features)))))
        scores: Tensor = self.linear(features.flatten(1))
        return scores.squeeze(1)


class Discriminator(nn.Module):
    """Pictures at `resolution` to scores, higher for more real; parameters keyed by resolution as the generator's."""

    def __init__(
        self,
        *,
        resolution: int,  # pixels a side, a power of two from 4 on
        fmap_base: int,  # feature maps: see channels_at
        fmap_max: int,
        group_size: int | Literal["batch"],  # of the minibatch statistic
        statistic: Statistic,
        fused_down: bool,  # pool before bias and activation (the authors' code) or after (the paper's table 2)
        equalized_output: bool,  # whether the last layer has an equalized learning rate
    ) -> None:
        super().__init__()
        self.resolution = resolution
        self.blocks = nn.ModuleDict()
        self.from_rgb = nn.ModuleDict()
        out_channels = 0
        for side in resolutions_up_to(resolution):
            channels = channels_at(side, fmap_base, fmap_max)
            self.from_rgb[str(side)] = EqualizedConv2d(3, channels, 1)
            if side == 4:
                self.blocks["4"] = LastBlock(
                    channels, group_size=group_size, statistic=statistic, equalized_output=equalized_output
                )
            else:
                self.blocks[str(side)] = DiscriminatorBlock(channels, out_channels, fused_down=fused_down)
            out_channels = channels

    def forward(self, pictures: Tensor, alpha: float = 1.0) -> Tensor:
        """[n, 3, resolution, resolution] -> [n].

        `alpha` is the weight of the last resolution's block; the rest enters at the one before (figure 2).
        """
        side = self.resolution
        features = activate(self.from_rgb[str(side)](pictures))
        if alpha < 1.0 and side > 4:
            new = self.blocks[str(side)](features)
            side //= 2
            old = activate(self.from_rgb[str(side)](downsample(pictures)))
            features = old + alpha * (new - old)
        while side >= 4:
            features = self.blocks[str(side)](features)
            side //= 2
        return features
