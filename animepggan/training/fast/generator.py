"""The generator's pass forward over one batch, and its pass back.

Pixel norm, y = a / rms(a) with the mean over channels: of y and 1 / rms alone, da = (dy - y * mean(dy * y)) / rms. So a
layer keeps its output and the norm's factors, and its input is the output of the layer before.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from animepggan.networks import Generator
from animepggan.networks.layers import CHUNK, NEGATIVE_SLOPE, EqualizedConv2d, Norm, finish_, upsample
from animepggan.training.fast.convolution import Convolution, Gradients, bias_gradient, mask_, matrix_gradient


class GeneratorPass:
    """One batch through the generator, forward and then backward."""

    def __init__(self, generator: Generator, alpha: float, dtype: torch.dtype, *, keep: bool) -> None:
        """`keep`: what `backward` needs."""
        side = generator.resolution
        self.alpha = alpha
        block: Any = generator.blocks["4"]
        self.first = _FirstLayer(block, dtype, keep=keep)
        self.layers: list[_Layer] = []
        for name, block in generator.blocks.items():
            if isinstance(block.conv0, EqualizedConv2d):
                norm = block.norm if block.norm0 else None
                self.layers.append(_Layer(block.conv0, norm, dtype, int(name), keep=keep))
            self.layers.append(_Layer(block.conv1, block.norm, dtype, int(name), keep=keep))
        self.to_rgb = Convolution(generator.to_rgb[str(side)], dtype)
        self.old_to_rgb: Convolution | None = None
        self.fading: list[_Layer] = []  # the block that fades in; its inputs are drawn, too
        if alpha < 1.0 and side > 4:
            self.old_to_rgb = Convolution(generator.to_rgb[str(side // 2)], dtype)
            self.layers, self.fading = self.layers[:-2], self.layers[-2:]

    def forward(self, latents: Tensor) -> Tensor:
        """[n, latent_dim], as the first layer takes them -> [n, 3, r, r]."""
        features = self.first.forward(latents)
        for layer in self.layers:
            features = layer.forward(features)
        self.previous = features
        for layer in self.fading:
            features = layer.forward(features)
        self.features = features
        pictures = self.to_rgb.forward(features)
        if self.old_to_rgb is not None:
            pictures = torch.lerp(upsample(self.old_to_rgb.forward(self.previous)), pictures, self.alpha)
        return pictures

    def backward(self, delta: Tensor, *, to_latents: bool) -> tuple[Gradients, Tensor | None]:
        """The gradients of <delta, pictures> by the parameters and by the latents; layers give up what they keep."""
        gradients: Gradients = {}
        delta = delta.to(self.features.dtype, memory_format=torch.channels_last)
        old = None
        if self.old_to_rgb is not None:
            small = functional.avg_pool2d(delta, 2, divisor_override=1).mul_(1 - self.alpha)
            delta = delta * self.alpha
            old = _backward(self.old_to_rgb, small, self.previous, gradients)
        delta = _backward(self.to_rgb, delta, self.features, gradients)
        del self.features, self.previous
        while self.fading:
            delta = self.fading.pop().backward(delta, gradients)
        if old is not None:
            delta.add_(old)
        while self.layers:
            delta = self.layers.pop().backward(delta, gradients)
        return gradients, self.first.backward(delta, gradients, to_latents)


class _Layer:
    """A convolution with its leaky ReLU and pixel norm."""

    def __init__(self, module: nn.Module, norm: Norm, dtype: torch.dtype, side: int, *, keep: bool) -> None:
        self.module = module
        self.dtype = dtype
        self.side = side
        self.norm = norm
        self.keep = keep

    def forward(self, inputs: Tensor) -> Tensor:
        convolution = self._convolution()
        outputs = convolution.forward(inputs)
        scale = finish_(outputs, self.norm)
        if self.keep:
            # Kernels for minimal filtering take more memory than making them anew takes time.
            self.convolution = convolution if convolution.minimal is None else None
            self.inputs, self.outputs, self.scale = inputs, outputs, scale
        return outputs

    def backward(self, delta: Tensor, gradients: Gradients) -> Tensor:
        """By the inputs; `delta`, by the outputs, is used up."""
        _unfinish_(delta, self.outputs, self.scale, self.norm)
        return _backward(self.convolution or self._convolution(), delta, self.inputs, gradients)

    def _convolution(self) -> Convolution:
        return Convolution(self.module, self.dtype, side=self.side)


class _FirstLayer:
    """The layer that takes the latent: a matrix, with its leaky ReLU and perhaps pixel norm."""

    def __init__(self, block: Any, dtype: torch.dtype, *, keep: bool) -> None:
        self.module = block.conv0
        self.norm: Norm = block.norm if block.norm0 else None
        self.keep = keep
        weight = self.module.weight.detach()
        self.matrix = weight.permute(0, 2, 3, 1).reshape(-1, weight.shape[1]).to(dtype)
        self.bias = self.module.bias.detach().to(dtype)

    def forward(self, latents: Tensor) -> Tensor:
        self.latents = (latents * self.module.scale).to(self.matrix.dtype)  # not the matrix: it is far larger
        features = (self.latents @ self.matrix.t()).view(len(latents), -1, 4, 4) + self.bias[:, None, None]
        outputs: Tensor = features.contiguous(memory_format=torch.channels_last)
        scale = finish_(outputs, self.norm)
        if self.keep:
            self.outputs, self.scale = outputs, scale
        return outputs

    def backward(self, delta: Tensor, gradients: Gradients, wanted: bool) -> Tensor | None:
        """By the latents, where that is wanted; `delta`, by the outputs, is used up."""
        _unfinish_(delta, self.outputs, self.scale, self.norm)
        weight, bias = self.module.weight, self.module.bias
        if bias.requires_grad:
            gradients[bias] = bias_gradient(delta)
        rows = delta.reshape(len(delta), -1)  # in the weight's order: out, height, width
        if weight.requires_grad:
            gradients[weight] = matrix_gradient(weight, rows, self.latents)
        return (rows @ self.matrix).to(weight.dtype) * self.module.scale if wanted else None


def _backward(convolution: Convolution, delta: Tensor, inputs: Tensor, gradients: Gradients) -> Tensor:
    convolution.leave(gradients, delta, [(delta, inputs)])
    return convolution.input_gradient(delta, inputs)


def _unfinish_(delta: Tensor, outputs: Tensor, scale: Tensor | None, norm: Norm) -> None:
    """Turn `delta`, by what `finish_` left in `outputs`, into that by what it was given, in place."""
    if scale is None:
        mask_(delta, outputs)
        return
    count = len(outputs) if outputs.numel() <= CHUNK else max(1, CHUNK * len(outputs) // outputs.numel())
    parts = (torch.split(tensor, count) for tensor in (delta, outputs, scale))
    for change, values, factor in zip(*parts, strict=True):
        # <change, values> is the same on either side of the leaky ReLU.
        mean = (change * values).sum(1, keepdim=True).div_(values.shape[1])
        if norm == "before":
            mask_(change, values)
            values = functional.leaky_relu(values, 1 / NEGATIVE_SLOPE)  # as they were before it
        change.addcmul_(values, mean, value=-1).mul_(factor)
        if norm == "after":
            mask_(change, values)
