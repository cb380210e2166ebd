"""A layer's convolution as the fast step takes it apart, and what its passes share: pooling, masks, sums.

All tensors are in channels-last order, and `delta` is the gradient by a layer's output, or by what is named.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from animepggan.networks.layers import NEGATIVE_SLOPE, EqualizedConv2d, widen
from animepggan.networks.minimal import MinimalFilter

WIDE = 128 if torch.backends.cpu.get_cpu_capability() == "AVX2" else 256
"""Channels on either side from which minimal filtering is quicker than torch's convolution, in float32 on a CPU; the
wider a processor's registers, the later."""
TILED_BY_4_FROM = 16
"""Pixels from which its tiles are of 4x4: below, reading the larger kernels takes longer than multiplying. Rounding is
ten times that of 2x2, 1e-6; that of the TF32 which GPUs take for float32 is 1e-3."""

aten = torch.ops.aten
Gradients = dict[nn.Parameter, Tensor]


class Convolution:
    """An `EqualizedConv2d` in `dtype`, with its resampling; the kernel is made once and serves every pass of a step."""

    def __init__(self, module: nn.Module, dtype: torch.dtype, *, side: int = 4, into: int | None = None) -> None:
        """`side`: of its larger features, pixels; `into`: of so many input channels, by default all."""
        assert isinstance(module, EqualizedConv2d)
        self.module = module
        self.resample = module.resample
        self.scale = module.scale / 4 if module.resample == "down" else module.scale
        self.bias = module.bias.detach().to(dtype)
        weight = module.weight.detach()[:, :into]
        self.weight_dtype = weight.dtype
        exact = dtype == weight.dtype and weight.device.type == "cpu"
        self.minimal: MinimalFilter | None = None
        if exact and weight.shape[2] == 3 and min(weight.shape[:2]) >= WIDE:
            tile = 4 if side >= TILED_BY_4_FROM else 2
            self.minimal = MinimalFilter(weight, tile=tile, resample=self.resample, scale=self.scale)
            return
        weight = weight * self.scale
        if self.resample is not None:
            weight = widen(weight)
        if self.resample == "up":
            weight = weight.flip(2, 3).transpose(0, 1)
        self.kernel = weight.to(dtype).contiguous(memory_format=torch.channels_last)
        stride, padding = (1, module.padding) if self.resample is None else (2, 1)
        self._options = (stride, stride), (padding, padding), (1, 1), self.resample == "up", (0, 0), 1

    def forward(self, features: Tensor, *, biased: bool = True) -> Tensor:
        """[n, in, h, w] -> [n, out, h', w']; without the bias, the output's derivative along a change of the input."""
        bias = self.bias if biased else None
        if self.minimal is not None:
            return self.minimal.forward(features, bias)
        return torch.convolution(features, self.kernel, bias, *self._options)

    def input_gradient(self, delta: Tensor, features: Tensor) -> Tensor:
        """By the inputs, whose shape `features` has."""
        if self.minimal is not None:
            return self.minimal.input_gradient(delta)
        gradient: Tensor = aten.convolution_backward(
            delta, features, self.kernel, None, *self._options, [True, False, False]
        )[0]
        return gradient

    def weight_gradient(self, pairs: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
        """By the weight, summed over pairs of (delta, inputs)."""
        if self.minimal is not None:
            return self.minimal.weight_gradient(pairs)
        parts = (
            aten.convolution_backward(delta, features, self.kernel, None, *self._options, [False, True, False])[1]
            for delta, features in pairs
        )
        total: Tensor = next(parts)
        for part in parts:
            total.add_(part)
        if self.resample == "up":
            total = total.transpose(0, 1).flip(2, 3)
        if self.resample is not None:  # through `widen`
            total = total[:, :, 1:] + total[:, :, :-1]
            total = total[:, :, :, 1:] + total[:, :, :, :-1]
        return total.to(self.weight_dtype).mul_(self.scale)

    def leave(self, gradients: Gradients, delta: Tensor, pairs: Sequence[tuple[Tensor, Tensor]]) -> None:
        """Put into `gradients` the bias's, by `delta`, and the weight's, by `pairs`, where they are trained."""
        if self.module.bias.requires_grad:
            gradients[self.module.bias] = bias_gradient(delta)
        if self.module.weight.requires_grad:
            gradients[self.module.weight] = laid_as(self.module.weight, self.weight_gradient(pairs))


def bias_gradient(delta: Tensor) -> Tensor:
    """The sum over all but the channels."""
    return delta.sum((0, 2, 3)).to(torch.float32 if delta.dtype == torch.bfloat16 else delta.dtype)


def matrix_gradient(parameter: nn.Parameter, delta: Tensor, inputs: Tensor) -> Tensor:
    """The gradient of a weight that lies in memory as a matrix from `inputs` [n, i] to what `delta` [n, o] is by."""
    if delta.dtype != parameter.dtype:
        product = (delta.t() @ inputs).view(len(parameter), *parameter.shape[2:], -1).permute(0, 3, 1, 2)
        return laid_as(parameter, product)
    gradient = torch.empty_like(parameter)
    torch.mm(delta.t(), inputs, out=gradient.permute(0, 2, 3, 1).view(delta.shape[1], inputs.shape[1]))
    return gradient


def laid_as(parameter: nn.Parameter, value: Tensor) -> Tensor:
    """`value` in the parameter's type and order of memory, as Adam's kernel wants it."""
    if value.dtype == parameter.dtype and value.stride() == parameter.stride():
        return value
    return torch.empty_like(parameter).copy_(value)


def mask_(delta: Tensor, activated: Tensor) -> Tensor:
    """Multiply `delta` by the derivative of the leaky ReLU whose output has the signs of `activated`."""
    aten.leaky_relu_backward.grad_input(delta, activated, NEGATIVE_SLOPE, True, grad_input=delta)
    return delta


def pool(features: Tensor) -> Tensor:
    """The mean over 2x2 pixels."""
    return functional.avg_pool2d(features, 2)


def add_unpooled(large: Tensor, small: Tensor) -> Tensor:
    """Add to `large` [n, c, 2h, 2w] what `small` [n, c, h, w], by the mean over 2x2 pixels, is by the pixels."""
    n, channels, height, width = small.shape
    large.view(n, channels, height, 2, width, 2).add_(small[:, :, :, None, :, None], alpha=0.25)
    return large
