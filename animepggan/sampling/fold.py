"""A generator for drawing only: the same function, with what its layers do to their weights at run time done."""

from __future__ import annotations

import copy

import torch
from torch import nn

from animepggan.networks import Generator
from animepggan.networks.layers import Equalized, EqualizedConv2d, widen
from animepggan.sampling.wide import WideConvolution, WideUpsampling

WIDE = 256
"""Feature maps out from which on the convolutions of `wide` are the quicker ones on a processor."""


@torch.no_grad()
def fold(generator: Generator, dtype: torch.dtype) -> Generator:
    """A copy of `generator` with its constants multiplied in and its kernels made for drawing, in `dtype`.

    Weights are computed in the generator's own float32 and rounded to `dtype` at the end.
    """
    # The copy's own parameters follow; until then it has those of the original.
    folded = copy.deepcopy(generator, {id(parameter): parameter for parameter in generator.parameters()})
    for name, layer in generator.named_modules():
        if isinstance(layer, Equalized):
            folded.set_submodule(name, _folded(layer, dtype))
    return folded.requires_grad_(False)


def _folded(layer: Equalized, dtype: torch.dtype) -> nn.Module:
    weight, bias = layer.scaled_weight(), layer.bias
    if isinstance(layer, EqualizedConv2d) and weight.shape[0] >= WIDE and weight.device.type == "cpu":
        if layer.resample == "up":
            return WideUpsampling(weight, bias, dtype)
        # In bfloat16 the sums before its products would be rounded too: twice the error.
        if weight.shape[2:] == (3, 3) and dtype == torch.float32:
            return WideConvolution(weight, bias, dtype)
    if isinstance(layer, EqualizedConv2d) and layer.resample == "up":
        kernel = widen(weight).flip(2, 3).transpose(0, 1)
        upsampling = nn.ConvTranspose2d(
            kernel.shape[0], kernel.shape[1], kernel_size=4, stride=2, padding=1, device="meta"
        )
        upsampling.weight, upsampling.bias = _parameter(kernel, dtype), _parameter(bias, dtype)
        return upsampling
    plain = copy.deepcopy(layer, {id(layer.weight): _parameter(weight, dtype), id(layer.bias): _parameter(bias, dtype)})
    plain.scale = 1.0
    return plain


def _parameter(values: torch.Tensor, dtype: torch.dtype) -> nn.Parameter:
    layout = torch.channels_last if values.ndim == 4 else torch.preserve_format
    # A copy even where nothing changes: the folded generator shares no numbers with its original.
    return nn.Parameter(values.detach().to(dtype=dtype, memory_format=layout, copy=True), requires_grad=False)
