"""The layers of a progressive GAN (Karras et al. 2018, "Progressive Growing of GANs", arXiv:1710.10196).

Weights are drawn from N(0, 1) and multiplied at run time by He's constant, gain / sqrt(fan_in) (section 4.1), so that
Adam's steps, which do not know a weight's scale, mean the same in every layer.

Two pairs of operations are computed as one, exactly (a linear map followed by a linear map):

- nearest upsampling then a 3x3 convolution is a transposed 4x4 convolution of stride 2;
- a 3x3 convolution then 2x2 averaging is a 4x4 convolution of stride 2, where nothing stands between the two.

The 4x4 kernel is in both cases the 3x3 one summed over the four shifts of a 2x2 window (`widen`).
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

NEGATIVE_SLOPE = 0.2  # of every leaky ReLU (appendix A)
HE_GAIN = math.sqrt(2)

Statistic = Literal["stddev", "variance"]
Norm = Literal["after", "before"] | None  # the pixel norm, as seen from the activation

EPS = 1e-8
CHUNK = 1 << 18  # numbers that a chain of operations works on at a time, so that they stay in the cache


def activate(features: Tensor) -> Tensor:
    """Leaky ReLU of slope 0.2."""
    return functional.leaky_relu(features, NEGATIVE_SLOPE)


def pixel_norm(features: Tensor) -> Tensor:
    """Divide each pixel by the root mean square over its channels, dimension 1 (section 4.2)."""
    # vector_norm reduces a channels-last tensor many times faster than square().mean(1).
    mean_square = torch.linalg.vector_norm(features, dim=1, keepdim=True).square() / features.shape[1]
    return features * torch.rsqrt(mean_square + EPS)


def finish_(features: Tensor, norm: Norm) -> Tensor | None:
    """Leaky ReLU and pixel norm of a channels-last tensor, in place; what the norm multiplied by, [n, 1, h, w]."""
    n, channels, height, width = features.shape
    exact = torch.float32 if features.dtype == torch.bfloat16 else features.dtype
    scales = []
    for part in torch.split(features.permute(0, 2, 3, 1).view(-1, channels), max(1, CHUNK // channels)):
        if norm != "before":
            functional.leaky_relu_(part, NEGATIVE_SLOPE)
        if norm is not None:
            size = torch.linalg.vector_norm(part, dim=1, keepdim=True, dtype=exact)
            scale = size.square_().div_(channels).add_(EPS).rsqrt_().to(part.dtype)
            part.mul_(scale)
            scales.append(scale)
        if norm == "before":
            functional.leaky_relu_(part, NEGATIVE_SLOPE)
    if not scales:
        return None
    return (torch.cat(scales) if len(scales) > 1 else scales[0]).view(n, 1, height, width)


def upsample(pictures: Tensor) -> Tensor:
    """Nearest neighbour, twice the side: [n, c, h, w] -> [n, c, 2h, 2w]."""
    n, channels, height, width = pictures.shape
    # A copy by broadcasting: `interpolate` is slow on NCHW tensors, and its double backward slower.
    repeated = pictures[:, :, :, None, :, None].expand(n, channels, height, 2, width, 2)
    return repeated.reshape(n, channels, 2 * height, 2 * width)


def downsample(pictures: Tensor) -> Tensor:
    """The mean of every 2x2 pixels: [n, c, 2h, 2w] -> [n, c, h, w]."""
    return functional.avg_pool2d(pictures, 2)


def widen(weight: Tensor) -> Tensor:
    """The sum of a 3x3 kernel over the four shifts of a 2x2 window: [o, i, 3, 3] -> [o, i, 4, 4]."""
    padded = functional.pad(weight, (1, 1, 1, 1))
    rows = padded[:, :, 1:] + padded[:, :, :-1]
    return rows[:, :, :, 1:] + rows[:, :, :, :-1]


class Equalized(nn.Module):
    """A weight with its bias under the equalized learning rate; the kinds of layer differ in how they apply it."""

    def __init__(
        self,
        weight_shape: tuple[int, ...],  # [out, in, ...]
        *,
        gain: float = HE_GAIN,
        equalized: bool = True,  # False: the constant is drawn into the weight once, as in an ordinary layer
    ) -> None:
        super().__init__()
        constant = gain / math.sqrt(math.prod(weight_shape[1:]))
        self.scale = constant if equalized else 1.0
        self.deviation = 1.0 if equalized else constant
        self.weight = nn.Parameter(torch.empty(weight_shape))
        self.bias = nn.Parameter(torch.empty(weight_shape[0]))
        self.reset_parameters()

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw the weight from `generator` (torch's global one by default); the bias starts at 0."""
        if self.weight.is_meta:  # no numbers to draw, and the attempt makes torch import its compiler: two seconds
            return
        with torch.no_grad():
            self.weight.copy_(torch.randn(self.weight.shape, generator=generator) * self.deviation)
            self.bias.zero_()

    def scaled_weight(self) -> Tensor:
        """The weight that the layer applies."""
        return self.weight * self.scale if self.scale != 1.0 else self.weight


class EqualizedConv2d(Equalized):
    """A convolution of stride 1; `resample` says what stands before or after it and is computed with it."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        padding: int = 0,  # pixels
        resample: Literal["up", "down"]
        | None = None,  # nearest up before, or 2x2 mean after (before the bias); 3x3 only
        gain: float = HE_GAIN,
    ) -> None:
        super().__init__((out_channels, in_channels, kernel_size, kernel_size), gain=gain)
        self.padding = padding
        self.resample = resample

    def forward(self, features: Tensor) -> Tensor:
        """[n, in, h, w] -> [n, out, h', w']."""
        weight = self.scaled_weight()
        if self.resample == "up":
            kernel = widen(weight).flip(2, 3).transpose(0, 1)
            return functional.conv_transpose2d(features, kernel, self.bias, stride=2, padding=1)
        if self.resample == "down":
            return functional.conv2d(features, widen(weight) / 4, self.bias, stride=2, padding=1)
        return functional.conv2d(features, weight, self.bias, padding=self.padding)


class EqualizedLinear(Equalized):
    """A matrix: [n, in] -> [n, out]."""

    def __init__(self, in_features: int, out_features: int, *, gain: float, equalized: bool) -> None:
        super().__init__((out_features, in_features), gain=gain, equalized=equalized)

    def forward(self, features: Tensor) -> Tensor:
        """[n, in] -> [n, out]."""
        return functional.linear(features, self.scaled_weight(), self.bias)


class LatentToFeatures(Equalized):
    """The generator's first layer, "Conv 4x4" on a latent of one pixel: [n, latent_dim] -> [n, out, 4, 4].

    On one pixel padded by 3 a 4x4 convolution is a matrix; the fan-in is the convolution's, latent_dim * 16.
    """

    def __init__(self, latent_dim: int, out_channels: int) -> None:
        super().__init__((out_channels, latent_dim, 4, 4))

    def forward(self, latents: Tensor) -> Tensor:
        """[n, latent_dim] -> [n, out, 4, 4]."""
        features = torch.einsum("ni,oihw->nohw", latents, self.scaled_weight())
        return features + self.bias[:, None, None]


class MinibatchStatistic(nn.Module):
    """Append one channel: how much the pictures of a group differ (section 3).

    The statistic is the biased standard deviation over the group of every feature at every pixel, averaged into one
    number a group. Groups are contiguous: pictures 0 to group_size - 1 are the first. The authors' code takes groups of
    4 strided over the batch; which pictures share a group is chance either way.

    The 2017 article took the variance because its standard deviation was unstable, and suspected its own square root.
    It was right: in that code the second derivative of the square root multiplies by the wrong gradient, `g` (the
    one that arrives) where `gy` (the one that was passed on) belongs, and the gradient penalty needs just that
    derivative. Here 1e-8 is added under the root, and the second derivative is tested against finite differences.
    """

    def __init__(self, *, group_size: int | Literal["batch"], statistic: Statistic) -> None:
        super().__init__()
        self.group_size = group_size
        self.statistic = statistic

    def forward(self, features: Tensor) -> Tensor:
        """[n, c, h, w] -> [n, c + 1, h, w]; the group size (at most n) must divide n."""
        n, channels, height, width = features.shape
        group_size = n if self.group_size == "batch" else min(self.group_size, n)
        groups = features.reshape(n // group_size, group_size, channels, height, width)
        spread = (groups - groups.mean(dim=1, keepdim=True)).square().mean(dim=1)
        if self.statistic == "stddev":
            spread = torch.sqrt(spread + EPS)
        channel = spread.mean(dim=(1, 2, 3)).repeat_interleave(group_size)
        return torch.cat([features, channel[:, None, None, None].expand(n, 1, height, width)], dim=1)
