"""A generator for drawing only: the same function, with what its layers do to their weights at run time done."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from animepggan.networks import Generator
from animepggan.networks.generator import GeneratorBlock
from animepggan.networks.layers import Equalized, EqualizedConv2d, finish_, widen
from animepggan.networks.minimal import MinimalFilter

WIDE = 128
"""Output channels from which minimal filtering is the quicker convolution on a processor,"""
WIDE_UP = 256  # those where it upsamples first,
WIDE_FROM = 16  # pixels: and the resolution; below, reading its larger kernels takes longer than multiplying
TILE = 4  # outputs a side: ten times the rounding of 2, 1e-6, which no picture shows


class _Block(GeneratorBlock):
    """A block that activates and normalizes in place."""

    def _finish(self, features: Tensor, normalized: bool) -> Tensor:
        features = features.contiguous(memory_format=torch.channels_last)
        finish_(features, self.norm if normalized else None)
        return features


class WideConvolution(nn.Module):
    """A 3x3 convolution by minimal filtering, from the weight that is applied, any scale included."""

    def __init__(self, weight: Tensor, bias: Tensor, *, up: bool = False) -> None:
        super().__init__()
        self.filter = MinimalFilter(weight, tile=TILE, resample="up" if up else None)
        self.bias = _parameter(bias, bias.dtype)

    def forward(self, features: Tensor) -> Tensor:
        """[n, in, h, w] -> [n, out, h, w], or twice the sides."""
        return self.filter.forward(features, self.bias)


@torch.no_grad()
def fold(generator: Generator, dtype: torch.dtype) -> Generator:
    """A copy of `generator` with its constants multiplied in and its kernels made for drawing, in `dtype`.

    Weights are computed in the generator's own float32 and rounded to `dtype` at the end.
    """
    # The copy's own parameters follow; until then it has those of the original.
    folded = copy.deepcopy(generator, {id(parameter): parameter for parameter in generator.parameters()})
    for name, layer in generator.named_modules():
        if isinstance(layer, Equalized):
            place = name.split(".")[1]  # the resolution, but for layers on the latent
            folded.set_submodule(name, _folded(layer, int(place) if place.isdecimal() else 0, dtype))
    if dtype == torch.float32 and next(generator.parameters()).device.type == "cpu":
        for side, block in folded.blocks.items():
            assert isinstance(block, GeneratorBlock)
            folded.blocks[side] = _Block(block.conv0, block.conv1, norm=block.norm, norm0=block.norm0)
    return folded.requires_grad_(False)


def _folded(layer: Equalized, side: int, dtype: torch.dtype) -> nn.Module:
    weight, bias = layer.scaled_weight(), layer.bias
    if isinstance(layer, EqualizedConv2d) and _is_wide(weight, layer.resample == "up", side, dtype):
        return WideConvolution(weight, bias, up=layer.resample == "up")
    if isinstance(layer, EqualizedConv2d) and layer.resample == "up":
        out, into = weight.shape[:2]
        # `widen` as a matrix, on the weight in the order the kernel has in memory: far quicker than on small squares.
        widening = widen(torch.eye(9).to(weight).view(9, 1, 3, 3)).flip(2, 3).view(9, 16)
        lines = weight.permute(1, 2, 3, 0).reshape(into, 9, out)
        kernel = torch.matmul(widening.t(), lines).view(into, 4, 4, out).permute(0, 3, 1, 2)
        upsampling = nn.ConvTranspose2d(into, out, kernel_size=4, stride=2, padding=1, device="meta")
        upsampling.weight, upsampling.bias = _parameter(kernel, dtype), _parameter(bias, dtype)
        return upsampling
    plain = copy.deepcopy(layer, {id(layer.weight): _parameter(weight, dtype), id(layer.bias): _parameter(bias, dtype)})
    plain.scale = 1.0
    return plain


def _is_wide(weight: Tensor, up: bool, side: int, dtype: torch.dtype) -> bool:
    """Whether it is worth it, and exact enough."""
    on_processor = weight.device.type == "cpu" and dtype == torch.float32
    return on_processor and side >= WIDE_FROM and weight.shape[2] == 3 and len(weight) >= (WIDE_UP if up else WIDE)


def _parameter(values: torch.Tensor, dtype: torch.dtype) -> nn.Parameter:
    layout = torch.channels_last if values.ndim == 4 else torch.preserve_format
    # A copy even where nothing changes: the folded generator shares no numbers with its original.
    return nn.Parameter(values.detach().to(dtype=dtype, memory_format=layout, copy=True), requires_grad=False)
